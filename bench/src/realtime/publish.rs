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
        let body = format!("{{\"mark\":\"{}\",{SENT}{},\"text\":\"{TEXT}\"}}", char::from(MARK), now_us());
        let request = format!(
            "POST /publish/{topic} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
            content-length: {}\r\n\r\n{body}",
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
