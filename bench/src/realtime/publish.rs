//! Publishing over connections that stay open.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::outbox::now_us;

/// In each message once, and nowhere else in a stream.
pub const MARK: u8 = b'~';

/// Before the time at which a message was sent, in microseconds since 1970.
pub const SENT: &str = "\"sent_us\":";

const TEXT: &str =
    "a hundred letters, as much as a line of a chat, a price that moved, or where a bus is at the moment …";

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Publisher {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Publisher {
    pub async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::new() })
    }

    /// Publishes one message; returns when it is said to be published.
    pub async fn publish(&mut self, topic: &str) -> anyhow::Result<()> {
        self.post(&format!("/publish/{topic}"), &message()).await
    }

    /// Publishes one message to each of some topics, in one call.
    pub async fn publish_to_all(&mut self, topics: &[&str]) -> anyhow::Result<()> {
        let topics = serde_json::to_string(topics)?;
        self.post("/publish-to-all", &format!("{{\"topics\":{topics},\"message\":{}}}", message())).await
    }

    async fn post(&mut self, path: &str, body: &str) -> anyhow::Result<()> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        timeout(PATIENCE, self.answered()).await.context("no answer in time")?
    }

    async fn answered(&mut self) -> anyhow::Result<()> {
        self.answer.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.answer).await? > 0, "the connection ended before the answer did");
            let text = String::from_utf8_lossy(&self.answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            ensure!(head.starts_with("HTTP/1.1 2"), "a message was not published: {text}");
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Ok(());
            }
        }
    }
}

fn message() -> String {
    format!("{{\"mark\":\"{}\",{SENT}{},\"text\":\"{TEXT}\"}}", char::from(MARK), now_us())
}
