//! Takes up jobs that no other node works on, one of each app at a time.
//!
//! It is woken by the log; what a dead node leaves it finds with a slow timer.

use std::{collections::HashMap, sync::Arc, time::Duration};

use picloud_core::{
    event::Event,
    id::JobId,
    keys::Keyring,
    log::{Committer, Follow, Node, Recorded, Tail, jobs as leases},
};
use picloud_projections::setup::LiveSetup;
use sqlx::PgPool;
use tokio::{
    task::{Id, JoinSet},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// How often to look without being told.
const TIMER: Duration = Duration::from_secs(3);

/// What working on jobs leans on.
#[derive(Clone)]
pub struct JobParts {
    /// Where letters lie.
    pub database: PgPool,
    /// Where decisions go.
    pub committer: Committer,
    /// By what right.
    pub node: Node,
    /// What payloads are under.
    pub keyring: Keyring,
    /// Which apps there are.
    pub setup: LiveSetup,
}

/// Works on jobs.
pub struct Jobs {
    parts: Arc<JobParts>,
    tasks: JoinSet<()>,
    jobs: HashMap<Id, JobId>,
}

impl Jobs {
    /// For one node.
    #[must_use]
    pub fn new(parts: JobParts) -> Self {
        Self { parts: Arc::new(parts), tasks: JoinSet::new(), jobs: HashMap::new() }
    }

    /// Works until it is told to stop; what is under way then is another node's, once this one has given up its right to
    /// write.
    pub async fn run(mut self, tail: Tail, stop: CancellationToken) {
        let mut log = tail.follow(tail.position());
        let mut timer = interval(TIMER);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                events = next(&mut log) => match events {
                    Some(events) if events.iter().any(is_news) => {}
                    Some(_) => continue,
                    None => break,
                },
                Some(ended) = self.tasks.join_next_with_id() => {
                    let (id, panicked) = match ended {
                        Ok((id, ())) => (id, false),
                        Err(error) => (error.id(), error.is_panic()),
                    };
                    if let Some(job) = self.jobs.remove(&id).filter(|_| panicked) {
                        error!(job.id = %job, "A job brought down who worked on it");
                        self.parts.give_up(job).await;
                    }
                }
                _ = timer.tick() => {}
            }
            self.claim(&stop).await;
        }
        while self.tasks.join_next().await.is_some() {}
    }

    async fn claim(&mut self, stop: &CancellationToken) {
        let claimed = match leases::claim(&self.parts.database, self.parts.node.epoch()).await {
            Ok(claimed) => claimed,
            Err(error) => {
                // The timer looks again.
                warn!(%error, "Failed to look for jobs");
                return;
            }
        };
        for job in claimed {
            let (parts, stop) = (Arc::clone(&self.parts), stop.clone());
            let task = self.tasks.spawn(async move { parts.see_through(job, &stop).await });
            self.jobs.insert(task.id(), job);
        }
    }
}

/// Whether there may be a job to take up: another node's end lets the next of its app begin.
fn is_news(recorded: &Recorded) -> bool {
    matches!(recorded.event.event, Event::JobStarted(_) | Event::JobEnded(_))
}

/// What comes next in the log; none when it has ended.
async fn next(log: &mut Follow) -> Option<Vec<Recorded>> {
    loop {
        match log.next().await {
            Ok(events) => return events,
            Err(error) => {
                warn!(%error, "Failed to follow the log for jobs");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
