//! Serves a router on a listener: both planes use it.
//!
//! Every connection has limits before it has a request: how many there may be, how long its headers may take, how many
//! and how large they may be. Stopping means accepting nothing more and letting what has begun end, up to a deadline.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use crate::proxies::TrustedProxies;

/// What a connection may cost.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Connections at once; the next waits in the listener's backlog.
    pub max_connections: usize,
    /// From the connection, or from the end of an answer, to the end of the next request's headers.
    pub header_read_timeout: Duration,
    /// Headers of one request.
    pub max_headers: usize,
    /// All of a request's headers together, its request line included.
    pub max_header_bytes: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// How long what was sent may wait for the client to take it: one that is gone, or does not read, is cut then.
    pub stalled_timeout: Duration,
    /// How long what has begun may take to end when the server stops.
    pub drain_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_connections: 20_000,
            header_read_timeout: Duration::from_secs(30),
            max_headers: 100,
            max_header_bytes: 64 * 1024,
            max_concurrent_streams: 200,
            stalled_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Serves until `stop` is cancelled and what had begun has ended, or its time is up.
///
/// A request knows its client's address as [`ConnectInfo<SocketAddr>`], as far as `proxies` are trusted to tell it.
///
/// # Errors
/// When the listener itself fails; a connection that fails ends alone.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServerLimits,
    proxies: TrustedProxies,
    stop: CancellationToken,
) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    let connections = GracefulShutdown::new();
    let builder = Arc::new(builder(&limits));
    // Ends connections that outstay the drain; without it they would live on in tasks of their own.
    let abort = CancellationToken::new();
    let _abort_on_return = abort.clone().drop_guard();
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await?;
                continue;
            }
        };
        let proxies = proxies.clone();
        let serving = Serving { builder: Arc::clone(&builder), router: router.clone(), limits, proxies };
        let (watcher, abort) = (connections.watcher(), abort.clone());
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = serving.connection(stream, address, watcher) => {}
                () = abort.cancelled() => {}
            }
        });
    }
    drop(listener);
    let open = connections.count();
    if timeout(limits.drain_timeout, connections.shutdown()).await.is_err() {
        warn!(connections = open, "Stopped before all requests had ended");
    } else if open > 0 {
        info!(connections = open, "All connections have ended");
    }
    Ok(())
}

fn builder(limits: &ServerLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_headers(limits.max_headers)
        // hyper takes nothing smaller; the same buffer bounds how much of a body is read ahead. (No `pipeline_flush`: with
        // it a request that cannot be parsed is never answered.)
        .max_buf_size(limits.max_header_bytes.max(8 * 1024));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX));
    builder
}

struct Serving {
    builder: Arc<auto::Builder<TokioExecutor>>,
    router: Router,
    limits: ServerLimits,
    proxies: TrustedProxies,
}

impl Serving {
    async fn connection(self, stream: TcpStream, address: SocketAddr, watcher: hyper_util::server::graceful::Watcher) {
        // Small answers must not wait for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "Failed to set TCP_NODELAY");
        }
        // The kernel knows best: what was sent and not acknowledged, or could not be sent for want of room over there.
        if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(self.limits.stalled_timeout)) {
            debug!(%error, "Failed to set TCP_USER_TIMEOUT");
        }
        let begun = Arc::new(AtomicBool::new(false));
        let service = {
            let begun = Arc::clone(&begun);
            let (router, proxies) = (self.router, self.proxies);
            service_fn(move |mut request: Request<Incoming>| {
                begun.store(true, Ordering::Relaxed);
                let client = proxies.client(address, request.headers());
                request.extensions_mut().insert(ConnectInfo(client));
                router.clone().oneshot(request)
            })
        };
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let mut connection = pin!(watcher.watch(connection));
        // hyper's own timer starts once it knows the protocol: a client that sends half a preface would stay for ever.
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = sleep(self.limits.header_read_timeout) => {
                if !begun.load(Ordering::Relaxed) {
                    debug!("Closed a connection that asked for nothing");
                    return;
                }
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(error, "A connection failed");
        }
    }
}

/// Whether the listener can go on: a connection that went away before it was accepted, or too many open files.
async fn pause_after(error: &io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused => Ok(()),
        io::ErrorKind::InvalidInput => Err(io::Error::new(error.kind(), error.to_string())),
        _ => {
            warn!(%error, "Failed to accept a connection; trying again in a second");
            sleep(Duration::from_secs(1)).await;
            Ok(())
        }
    }
}
