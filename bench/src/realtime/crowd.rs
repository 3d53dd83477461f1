//! Many subscribers in one process, which only count what they are told; a few look closer.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::publish::{MARK, SENT};
use crate::outbox::now_us;

/// A service takes only so many streams of one address.
const PER_ADDRESS: usize = 1_000;

/// How many connect at the same time; the listener's backlog is bounded.
const CONNECTING: usize = 256;

/// One of so many looks closer.
const SAMPLED: usize = 50;

/// They are cut when this goes.
pub struct Crowd {
    _tasks: JoinSet<()>,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    open: AtomicUsize,
    lost: AtomicUsize,
    messages: AtomicU64,
    latencies_ms: Mutex<Vec<f64>>,
    cursor: Mutex<String>,
    failure: Mutex<Option<String>>,
}

impl Crowd {
    /// So many subscribers, spread evenly over topics, who go on after a cursor. All of them begin at once; see
    /// [`Crowd::all_listen`].
    pub fn gather(port: u16, count: usize, topics: &[String], cursor: Option<&str>) -> Self {
        let told = Arc::new(Told::default());
        let connecting = Arc::new(Semaphore::new(CONNECTING));
        let mut tasks = JoinSet::new();
        for n in 0..count {
            let last_event_id = cursor.map_or_else(String::new, |cursor| format!("last-event-id: {cursor}\r\n"));
            let topic = &topics[n % topics.len()];
            let request = format!("GET /realtime/topics/{topic} HTTP/1.1\r\nhost: localhost\r\n{last_event_id}\r\n");
            let (told, connecting) = (Arc::clone(&told), Arc::clone(&connecting));
            tasks.spawn(async move {
                let listened = async {
                    let stream = {
                        let _turn = connecting.acquire().await?;
                        let stream = connect(port, n, &request).await?;
                        // Taken by the server, and not only queued by the kernel, whose queue is short.
                        stream.peek(&mut [0]).await?;
                        stream
                    };
                    listen(stream, n % SAMPLED == 0, &told).await
                };
                if let Err(error) = listened.await {
                    told.failure.lock().get_or_insert_with(|| format!("{error:#}"));
                }
                told.lost.fetch_add(1, Relaxed);
            });
        }
        Self { _tasks: tasks, told }
    }

    /// Waits until so many are told what comes.
    pub async fn all_listen(&self, count: usize, at_most: Duration) -> anyhow::Result<()> {
        self.wait(at_most, || self.told.open.load(Relaxed) >= count).await.context("not all subscribers listen")
    }

    /// Waits until they were told so many messages all together.
    pub async fn were_told(&self, messages: u64, at_most: Duration) -> anyhow::Result<()> {
        self.wait(at_most, || self.messages() >= messages)
            .await
            .with_context(|| format!("of {messages} messages {} were told", self.messages()))
    }

    async fn wait(&self, at_most: Duration, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + at_most;
        while !is_so() {
            let lost = self.told.lost.load(Relaxed);
            ensure!(
                lost == 0,
                "{lost} subscribers were cut: {}",
                self.told.failure.lock().as_deref().unwrap_or("ended")
            );
            ensure!(Instant::now() < deadline, "not within {at_most:?}");
            sleep(Duration::from_micros(500)).await;
        }
        Ok(())
    }

    /// Messages told to all of them together.
    pub fn messages(&self) -> u64 {
        self.told.messages.load(Relaxed)
    }

    /// From publishing to reading, in milliseconds, of a sample since this was asked last.
    pub fn latencies_ms(&self) -> Vec<f64> {
        std::mem::take(&mut self.told.latencies_ms.lock())
    }

    /// Where somebody stands.
    pub fn cursor(&self) -> String {
        self.told.cursor.lock().clone()
    }
}

async fn connect(port: u16, n: usize, request: &str) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let address = u8::try_from(2 + n / PER_ADDRESS).context("too many subscribers")?;
    socket.bind(SocketAddr::from(([127, 0, 0, address], 0)))?;
    let mut stream = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

async fn listen(mut stream: TcpStream, is_sampled: bool, told: &Told) -> anyhow::Result<()> {
    let mut buffer = vec![0; 8 << 10];
    let mut head = Vec::new();
    // Up to the first frame that says that what comes is live; what was missed comes before it.
    let mut is_open = false;
    let mut sample = is_sampled.then(Sample::default);
    loop {
        let read = stream.read(&mut buffer).await?;
        ensure!(read > 0, "the stream ended: {}", String::from_utf8_lossy(&head[head.len().saturating_sub(300)..]));
        let bytes = &buffer[..read];
        let messages = bytes.iter().filter(|byte| **byte == MARK).count() as u64;
        told.messages.fetch_add(messages, Relaxed);
        if !is_open {
            head.extend_from_slice(bytes);
            is_open = head.windows(UP_TO_DATE.len()).any(|window| window == UP_TO_DATE);
            if is_open {
                head = Vec::new();
                told.open.fetch_add(1, Relaxed);
            } else if head.len() > 4 * UP_TO_DATE.len() && head.starts_with(b"HTTP/1.1 200") {
                // Only what the frame may be split over is needed.
                head.drain(12..head.len() - UP_TO_DATE.len());
            }
        }
        if let Some(sample) = &mut sample {
            sample.take(bytes, told);
        }
    }
}

const UP_TO_DATE: &[u8] = b"event: up-to-date";

/// What one subscriber reads, line by line.
#[derive(Default)]
struct Sample {
    rest: Vec<u8>,
}

impl Sample {
    fn take(&mut self, bytes: &[u8], told: &Told) {
        let now = now_us();
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        let text = String::from_utf8_lossy(&lines);
        for line in text.lines() {
            if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut told.cursor.lock());
            } else if let Some((_, sent)) = line.split_once(SENT) {
                let digits = sent.split(|character: char| !character.is_ascii_digit()).next().unwrap_or_default();
                if let Ok(sent_us) = digits.parse::<i64>() {
                    told.latencies_ms.lock().push((now - sent_us) as f64 / 1e3);
                }
            }
        }
    }
}
