//! A server that takes mail, or says what it is told to.

#![allow(dead_code, reason = "each binary of tests uses its part of it")]

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// A message that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub from: String,
    pub to: Vec<String>,
    /// Headers and text, as they came.
    pub message: String,
}

impl Got {
    /// What a header says, which may be written on several lines.
    pub fn header(&self, name: &str) -> Option<String> {
        let headers = self.message.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
        headers.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    }
}

/// Says something else than a server that is well would: to a line that it hears, `greeting`, or `.` at the end of a message.
type Reply = Box<dyn Fn(&str) -> Option<&'static str> + Send + Sync>;

/// Instead of an answer: nothing, for ever.
pub const SILENCE: &str = "silence";

pub struct SmtpServer {
    pub port: u16,
    inner: Arc<Inner>,
    task: AbortHandle,
}

struct Inner {
    reply: Reply,
    /// Whom it knows, and by what password.
    known: (&'static str, &'static str),
    acceptor: Option<TlsAcceptor>,
    got: watch::Sender<Vec<Got>>,
    heard: watch::Sender<Vec<String>>,
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SmtpServer {
    pub async fn start(
        reply: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static,
        acceptor: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner {
            reply: Box::new(reply),
            known: ("me@example.com", "hunter2:open/sesame"),
            acceptor,
            got: watch::Sender::default(),
            heard: watch::Sender::default(),
        });
        let serving = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            // They end with this task.
            let mut served = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let inner = Arc::clone(&serving);
                // Whoever has hung up has.
                served.spawn(async move { inner.serve(stream).await.unwrap_or_default() });
            }
        });
        Self { port, inner, task: task.abort_handle() }
    }

    /// One that takes everything.
    pub async fn willing() -> Self {
        Self::start(|_| None, None).await
    }

    /// To be reached by those that it knows.
    pub fn url(&self) -> String {
        format!("smtp://me%40example.com:hunter2%3Aopen%2Fsesame@127.0.0.1:{}", self.port)
    }

    /// What it took.
    pub fn got(&self) -> Vec<Got> {
        self.inner.got.borrow().clone()
    }

    /// Resolves when it took so many.
    pub async fn has(&self, count: usize) -> Vec<Got> {
        self.inner.got.subscribe().wait_for(|got| got.len() >= count).await.unwrap().clone()
    }

    /// All lines that were commands.
    pub fn heard(&self) -> Vec<String> {
        self.inner.heard.borrow().clone()
    }

    /// Resolves when it heard so many that begin so.
    pub async fn hears(&self, count: usize, command: &str) {
        let is_heard = |heard: &Vec<String>| heard.iter().filter(|line| line.starts_with(command)).count() >= count;
        self.inner.heard.subscribe().wait_for(is_heard).await.unwrap();
    }
}

impl Inner {
    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        self.say(&mut stream, "greeting", "220 mail.test ESMTP").await?;
        if self.speak(&mut stream).await? {
            let acceptor = self.acceptor.as_ref().unwrap();
            let mut stream = BufReader::new(acceptor.accept(stream.into_inner()).await?);
            self.speak(&mut stream).await?;
        }
        Ok(())
    }

    /// Whether TLS comes next.
    async fn speak<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut BufReader<S>) -> std::io::Result<bool> {
        let (mut from, mut to) = (String::new(), Vec::new());
        while let Some(line) = read_line(stream).await? {
            self.heard.send_modify(|heard| heard.push(line.clone()));
            let inside = |line: &str| line.split(['<', '>']).nth(1).unwrap().to_owned();
            match line.split([' ', ':']).next().unwrap() {
                "EHLO" => {
                    let tls = if self.acceptor.is_some() { "250-STARTTLS\r\n" } else { "" };
                    self.say(stream, &line, &format!("250-mail.test\r\n{tls}250 AUTH PLAIN LOGIN")).await?;
                }
                "STARTTLS" => {
                    self.say(stream, &line, "220 go on").await?;
                    return Ok(true);
                }
                "AUTH" => {
                    let said = line.rsplit(' ').next().map(|said| BASE64_STANDARD.decode(said).unwrap()).unwrap();
                    let known = format!("\0{}\0{}", self.known.0, self.known.1).into_bytes();
                    self.say(stream, &line, if said == known { "235 welcome" } else { "535 who is that" }).await?;
                }
                "MAIL" => {
                    from = inside(&line);
                    self.say(stream, &line, "250 ok").await?;
                }
                "RCPT" => {
                    if self.say(stream, &line, "250 ok").await? {
                        to.push(inside(&line));
                    }
                }
                "DATA" => {
                    if !self.say(stream, &line, "354 end with a full stop").await? {
                        continue;
                    }
                    let mut message = Vec::new();
                    while let Some(line) = read_line(stream).await?.filter(|line| line != ".") {
                        message.push(line.strip_prefix('.').unwrap_or(&line).to_owned());
                    }
                    let got = Got { from: from.clone(), to: std::mem::take(&mut to), message: message.join("\r\n") };
                    let is_taken = (self.reply)(".").is_none_or(|reply| reply.starts_with('2'));
                    if is_taken {
                        self.got.send_modify(|all| all.push(got));
                    }
                    self.say(stream, ".", "250 2.0.0 queued as 42").await?;
                }
                "QUIT" => {
                    self.say(stream, &line, "221 bye").await?;
                    return Ok(false);
                }
                _ => {
                    self.say(stream, &line, "502 what?").await?;
                }
            }
        }
        Ok(false)
    }

    /// Whether it is what it would say.
    async fn say<S: AsyncWrite + Unpin>(&self, stream: &mut S, heard: &str, usual: &str) -> std::io::Result<bool> {
        let other = (self.reply)(heard);
        if other == Some(SILENCE) {
            std::future::pending::<()>().await;
        }
        stream.write_all(format!("{}\r\n", other.unwrap_or(usual)).as_bytes()).await?;
        stream.flush().await?;
        Ok(other.is_none())
    }
}

/// Without its end; none when the other side has hung up.
async fn read_line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8(line).unwrap();
    Ok(Some(line.strip_suffix("\r\n").expect("lines end as they should").to_owned()))
}
