//! Async calls over connections that stay open, each with when it was sent and which item it became. `wrk` would not say.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

/// The same as all other calls of the benchmark send.
const BODY: &str = r#"{"name":"zed","count":7}"#;

const PATIENCE: Duration = Duration::from_secs(30);

/// A call that was accepted.
#[derive(Clone, Debug)]
pub struct Posted {
    /// `out_…`.
    pub item: String,
    /// Microseconds since 1970, just before the request was written.
    pub sent_us: i64,
}

/// This machine's clock, which is PostgreSQL's too.
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A connection to the data plane.
pub struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    pub async fn open(port: u16, path: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
            BODY.len()
        );
        Ok(Self { stream, request: request.into_bytes(), answer: Vec::with_capacity(1024) })
    }

    /// Sends one call. Any other answer than 202 is an error.
    pub async fn post(&mut self) -> anyhow::Result<Posted> {
        let sent_us = now_us();
        self.stream.write_all(&self.request).await?;
        let item = timeout(PATIENCE, self.accepted()).await.context("no answer in time")??;
        Ok(Posted { item, sent_us })
    }

    async fn accepted(&mut self) -> anyhow::Result<String> {
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "the connection ended before the answer did");
            if let Some(item) = item_of(&self.answer)? {
                return Ok(item);
            }
        }
    }
}

/// The item that an answer names; none, while there is more of the answer to come.
fn item_of(answer: &[u8]) -> anyhow::Result<Option<String>> {
    let text = std::str::from_utf8(answer).context("the answer is no text")?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let header = |wanted: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let length: usize = header("content-length").context("no content-length")?.parse()?;
    if body.len() < length {
        return Ok(None);
    }
    ensure!(head.starts_with("HTTP/1.1 202"), "a call was not accepted: {text}");
    Ok(Some(header("x-picloud-outbox").context("no item is named")?.to_owned()))
}

/// Calls from so many connections, each the next as soon as the one before is accepted, for a while.
pub async fn closed_loop(
    port: u16,
    path: &'static str,
    connections: usize,
    lasting: Duration,
) -> anyhow::Result<Vec<Posted>> {
    let until = Instant::now() + lasting;
    gather(connections, |_| async move {
        let mut connection = Connection::open(port, path).await?;
        let mut posted = Vec::new();
        while Instant::now() < until {
            posted.push(connection.post().await?);
        }
        Ok(posted)
    })
    .await
}

/// So many calls from a few connections, as fast as they are accepted.
pub async fn number(port: u16, path: &'static str, count: usize) -> anyhow::Result<Vec<Posted>> {
    const CONNECTIONS: usize = 64;
    gather(CONNECTIONS, |n| async move {
        let mut connection = Connection::open(port, path).await?;
        let mut posted = Vec::new();
        for _ in (n..count).step_by(CONNECTIONS) {
            posted.push(connection.post().await?);
        }
        Ok(posted)
    })
    .await
}

/// Calls at a steady rate, however long each takes, as long as the connections suffice.
pub async fn steady(port: u16, path: &'static str, per_second: f64, lasting: Duration) -> anyhow::Result<Vec<Posted>> {
    const CONNECTIONS: usize = 32;
    let began = Instant::now();
    let pause = Duration::from_secs_f64(CONNECTIONS as f64 / per_second.max(1.0));
    gather(CONNECTIONS, |n| async move {
        let mut connection = Connection::open(port, path).await?;
        let mut posted = Vec::new();
        let mut at = began + pause.mul_f64(n as f64 / CONNECTIONS as f64);
        while at < began + lasting {
            sleep_until(at).await;
            posted.push(connection.post().await?);
            at += pause;
        }
        Ok(posted)
    })
    .await
}

async fn gather<F>(connections: usize, each: impl Fn(usize) -> F) -> anyhow::Result<Vec<Posted>>
where
    F: Future<Output = anyhow::Result<Vec<Posted>>> + Send + 'static,
{
    let mut tasks: JoinSet<anyhow::Result<Vec<Posted>>> = (0..connections).map(each).collect();
    let mut all = Vec::new();
    while let Some(posted) = tasks.join_next().await {
        all.extend(posted??);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nX-PiCloud-Outbox: out_1\r\ncontent-length: 2\r\n\r\n{}";

    #[test]
    fn an_answer_is_waited_for_whole_and_names_its_item() {
        for end in 0..ACCEPTED.len() {
            assert_eq!(item_of(&ACCEPTED.as_bytes()[..end]).unwrap(), None, "{end}");
        }
        assert_eq!(item_of(ACCEPTED.as_bytes()).unwrap().as_deref(), Some("out_1"));
    }

    #[test]
    fn what_was_not_accepted_is_an_error() {
        let busy = ACCEPTED.replace("202 Accepted", "503 Service Unavailable");
        assert!(item_of(busy.as_bytes()).expect_err("refused").to_string().contains("503"));
    }
}
