//! A server that says what it is told to.

#![allow(dead_code, reason = "each binary of tests uses its part of it")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinHandle,
};

/// What a server was asked.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The request line and headers, names in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// How a server answers.
pub enum Reply {
    /// With these bytes, and goes on listening.
    Stays(Vec<u8>),
    /// With these bytes, and goes.
    Leaves(Vec<u8>),
    /// With these bytes, and nothing more for ever.
    Hangs(Vec<u8>),
    /// With these bytes, and then with the others again and again.
    Repeats(Vec<u8>, Vec<u8>),
    /// With these bytes once it is told to, and goes on listening.
    Waits(Arc<Notify>, Vec<u8>),
}

/// A whole answer.
pub fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

pub struct Server {
    pub address: SocketAddr,
    seen: watch::Sender<Vec<Seen>>,
    connections: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (watch::Sender::new(Vec::new()), Arc::<Mutex<usize>>::default());
        let (all, count, reply) = (seen.clone(), Arc::clone(&connections), Arc::new(reply));
        let task = tokio::spawn(async move {
            // They end with this task.
            let mut served = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *count.lock().unwrap() += 1;
                let (all, reply) = (all.clone(), Arc::clone(&reply));
                served.spawn(async move { serve(stream, &all, &*reply).await });
            }
        });
        Self { address, seen, connections, task }
    }

    /// One that answers everything in the same way.
    pub async fn saying(bytes: Vec<u8>) -> Self {
        Self::start(move |_| Reply::Stays(bytes.clone())).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// Resolves when it was asked so often.
    pub async fn was_asked(&self, times: usize) {
        self.seen.subscribe().wait_for(|seen| seen.len() >= times).await.unwrap();
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

/// Answers on a connection until the other side has enough of it.
async fn serve(mut stream: TcpStream, all: &watch::Sender<Vec<Seen>>, reply: &(dyn Fn(&Seen) -> Reply + Send + Sync)) {
    while let Some(seen) = read(&mut stream).await {
        all.send_modify(|all| all.push(seen.clone()));
        // Whoever has hung up is not there to be told.
        match reply(&seen) {
            Reply::Stays(bytes) => _ = stream.write_all(&bytes).await,
            Reply::Waits(told, bytes) => {
                told.notified().await;
                let _ = stream.write_all(&bytes).await;
            }
            Reply::Leaves(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Reply::Hangs(bytes) => {
                let _ = stream.write_all(&bytes).await;
                std::future::pending::<()>().await;
            }
            Reply::Repeats(bytes, more) => {
                let _ = stream.write_all(&bytes).await;
                while stream.write_all(&more).await.is_ok() {}
                return;
            }
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = bytes.split_off(end);
    let mut lines = String::from_utf8(bytes).unwrap();
    lines.truncate(end - 4);
    let head = lines
        .lines()
        .enumerate()
        .map(|(at, line)| match line.split_once(": ").filter(|_| at > 0) {
            Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
            None => line.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("\n");
    let mut seen = Seen { head, body: Vec::new() };
    let length: usize = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    while body.len() < length {
        assert!(stream.read_buf(&mut body).await.unwrap() > 0);
    }
    seen.body = body;
    Some(seen)
}
