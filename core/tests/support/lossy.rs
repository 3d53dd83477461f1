//! A connection to the database that can lose an answer: what was asked for was done, and nobody is told.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    task::JoinHandle,
};

/// Stands between a client and the server. Ends with it.
pub struct Lossy {
    options: PgConnectOptions,
    lose: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Lossy {
    pub async fn before(server: &PgConnectOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(listener.local_addr().unwrap().port())
            .username(server.get_username())
            .database(server.get_database().expect("tests name their database"))
            .ssl_mode(PgSslMode::Disable);
        let lose = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(accept(listener, server.clone(), Arc::clone(&lose)));
        Self { options, lose, task }
    }

    /// How to connect through it.
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// Loses the `n`th answer from now, counted from 1, and the connection with it.
    pub fn lose_answer(&self, n: usize) {
        self.lose.store(n, Ordering::SeqCst);
    }

    /// Whether the answer that was to be lost is.
    pub fn has_lost(&self) -> bool {
        self.lose.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: PgConnectOptions, lose: Arc<AtomicUsize>) {
    while let Ok((client, _)) = listener.accept().await {
        let (server, lose) = (server.clone(), Arc::clone(&lose));
        tokio::spawn(async move {
            let host = server.get_socket().map_or(server.get_host().to_owned(), |path| path.display().to_string());
            if host.starts_with('/') {
                let path = format!("{host}/.s.PGSQL.{}", server.get_port());
                relay(client, UnixStream::connect(path).await.unwrap(), &lose).await;
            } else {
                relay(client, TcpStream::connect((host, server.get_port())).await.unwrap(), &lose).await;
            }
        });
    }
}

async fn relay(mut client: TcpStream, mut server: impl AsyncRead + AsyncWrite + Unpin, lose: &AtomicUsize) {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut asked = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(n) if n > 0 => {
                    asked = true;
                    server.write_all(&up[..n]).await.unwrap();
                }
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(n) if n > 0 => {
                    // The server sends nothing of an answer before it has done what was asked.
                    let answer = std::mem::take(&mut asked);
                    if answer && lose.load(Ordering::SeqCst) > 0 && lose.fetch_sub(1, Ordering::SeqCst) == 1 {
                        return;
                    }
                    if client.write_all(&down[..n]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}
