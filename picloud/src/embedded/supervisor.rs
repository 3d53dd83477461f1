//! Keeping the server up while the service lives, and ending it with the service.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::sleep,
};
use tracing::{error, info, warn};

use super::{Cluster, Error, cluster::stop, lock::Lock, postmaster::Postmaster};

/// The longest pause between two attempts to bring a server back.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A running embedded PostgreSQL. Dropped without [`Self::stop`], it asks the server to stop and does not wait.
#[derive(Debug)]
pub struct Embedded {
    socket_dir: PathBuf,
    pid: watch::Receiver<Option<u32>>,
    end: oneshot::Sender<End>,
    task: JoinHandle<Result<(), Error>>,
    /// Given back last: the next service finds the server gone, or going.
    _lock: Lock,
}

/// What becomes of the server when supervision ends.
#[derive(Debug)]
enum End {
    Stop,
    Abandon,
}

impl Embedded {
    pub(super) fn supervise(cluster: Cluster, postmaster: Postmaster, lock: Lock) -> Self {
        let socket_dir = postmaster.socket_dir.clone();
        let (tell_pid, pid) = watch::channel(Some(postmaster.id()));
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(keep_up(cluster, postmaster, tell_pid, ended));
        Self { socket_dir, pid, end, task, _lock: lock }
    }

    /// The server's process id; none while it is being brought back.
    #[must_use]
    pub fn pid(&self) -> watch::Receiver<Option<u32>> {
        self.pid.clone()
    }

    pub(super) fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// Ends connections, writes everything out and waits until the server is gone. Close pools first.
    ///
    /// # Errors
    /// [`Error::WontStop`].
    pub async fn stop(self) -> Result<(), Error> {
        self.finish(End::Stop).await
    }

    /// Lets go of the server and leaves it running, as a service that is killed does. The next start adopts it.
    ///
    /// # Errors
    /// None that a running server gives.
    pub async fn abandon(self) -> Result<(), Error> {
        self.finish(End::Abandon).await
    }

    async fn finish(self, end: End) -> Result<(), Error> {
        // It cannot be sent to a supervisor that has already ended, and none has before it is told to.
        let _ = self.end.send(end);
        self.task.await.expect("the supervisor does not panic, and nobody else can abort it")
    }
}

/// PostgreSQL restarts its own processes when one dies, but nobody restarts the first.
async fn keep_up(
    cluster: Cluster,
    mut postmaster: Postmaster,
    pid: watch::Sender<Option<u32>>,
    mut ended: oneshot::Receiver<End>,
) -> Result<(), Error> {
    loop {
        let status = tokio::select! {
            biased;
            end = &mut ended => return match end {
                Ok(End::Stop) => stop(&mut postmaster).await,
                Ok(End::Abandon) => { postmaster.abandon(); Ok(()) }
                // The handle was dropped, and dropping the server asks it to stop.
                Err(_) => Ok(()),
            },
            status = postmaster.ended() => status,
        };
        pid.send_replace(None);
        let status = status.map_or_else(String::new, |status| format!(" ({status})"));
        warn!("PostgreSQL ended unexpectedly{status}; bringing it back");
        let Some(back) = bring_back(&cluster, &mut ended).await else { return Ok(()) };
        info!("PostgreSQL is back");
        pid.send_replace(Some(back.id()));
        postmaster = back;
    }
}

/// Tries until it is up again; none when the service ends first.
async fn bring_back(cluster: &Cluster, ended: &mut oneshot::Receiver<End>) -> Option<Postmaster> {
    let mut pause = Duration::from_millis(250);
    loop {
        tokio::select! {
            biased;
            _ = &mut *ended => return None,
            launched = cluster.launch() => match launched {
                Ok(postmaster) => return Some(postmaster),
                Err(error) => error!(%error, "PostgreSQL does not start"),
            },
        }
        tokio::select! {
            biased;
            _ = &mut *ended => return None,
            () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}
