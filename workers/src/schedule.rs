//! Fires cron triggers when their times come.
//!
//! Every node looks, so that none has to go for another to fire: whoever is first has fired, and the others' commits are
//! refused. What time it is the database says. Between two times nothing is done but to wait for the next, at most
//! a minute: a clock that is put forward is noticed by then.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::{
    event::{Actor, cron::Fired},
    id::{AppId, TriggerId},
    log::{Commit, CommitError, Committer, NewEvent, Node, Position, Read, Rejected},
    schedule::{MissedPolicy, OverlapPolicy, Schedule},
    trigger::When,
};
use picloud_projections::{
    cron::{self, Settled},
    setup::{LiveSetup, Setup},
};
use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How long to wait at most before looking what time it is.
const LOOK: Duration = Duration::from_secs(60);

/// How long to wait after trouble.
const PAUSE: Duration = Duration::from_secs(1);

/// How many times that were missed are fired at most, the latest.
const MAX_MISSED: usize = 100;

/// What firing leans on.
#[derive(Clone, Debug)]
pub struct Scheduler {
    /// How apps are set up.
    pub setup: LiveSetup,
    /// Where it is told up to when all was fired.
    pub database: PgPool,
    /// Where times go.
    pub committer: Committer,
    /// By what right.
    pub node: Node,
}

/// A trigger whose times come.
#[derive(Debug)]
struct Clock {
    app: AppId,
    trigger: TriggerId,
    schedule: Schedule,
    missed: MissedPolicy,
    overlap: OverlapPolicy,
    /// Since when it counts.
    since: DateTime<Utc>,
    is_paused: bool,
}

/// Why there was no firing.
#[derive(Debug, thiserror::Error)]
enum NotFired {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Scheduler {
    /// Fires until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut changes = self.setup.watch();
        // What a policy passed over leaves no word in the log: it is decided once, here.
        let mut passed: HashMap<TriggerId, DateTime<Utc>> = HashMap::new();
        loop {
            changes.mark_unchanged();
            let setup = self.setup.get();
            let clocks = clocks(&setup);
            let wait = match self.look(&setup, &clocks, &mut passed).await {
                Ok(wait) => wait,
                Err(error) => {
                    warn!(%error, "Failed to fire cron triggers: the next look will");
                    Some(PAUSE)
                }
            };
            passed.retain(|trigger, _| clocks.iter().any(|clock| clock.trigger == *trigger));
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = changes.changed() => {}
                () = after(wait) => {}
            }
        }
    }

    /// Fires what is due; says how long to wait for more. None: until there is a trigger.
    async fn look(
        &self,
        setup: &Setup,
        clocks: &[Clock],
        passed: &mut HashMap<TriggerId, DateTime<Utc>>,
    ) -> Result<Option<Duration>, NotFired> {
        if clocks.is_empty() {
            return Ok(None);
        }
        let (settled, now) = cron::settled(&self.database).await?;
        let (mut wait, mut failed) = (LOOK, None);
        for clock in clocks {
            let last = settled.get(&clock.trigger);
            let done = last.map_or(clock.since, |last| last.at.max(clock.since));
            let done = passed.get(&clock.trigger).map_or(done, |passed| done.max(*passed));
            if !clock.is_paused {
                let due = clock.schedule.due(done, now, clock.missed, MAX_MISSED);
                passed.insert(clock.trigger, due.settled);
                match self.fire(setup, clock, last, due.fire, due.skipped).await {
                    Ok(()) => {}
                    Err(NotFired::Commit(CommitError::Rejected(Rejected::Stale))) => {
                        debug!(trigger.id = %clock.trigger, "Another node fired, or the app was set up differently");
                        passed.remove(&clock.trigger);
                        wait = wait.min(Duration::from_millis(100));
                        continue;
                    }
                    // The others' times have come, too.
                    Err(error) => {
                        passed.remove(&clock.trigger);
                        failed = Some(error);
                        continue;
                    }
                }
            }
            if let Some(next) = clock.schedule.next_after(now) {
                // Not before: whoever comes too early would have to come again.
                wait = wait.min((next - now + TimeDelta::milliseconds(1)).to_std().unwrap_or(Duration::ZERO));
            }
        }
        failed.map_or(Ok(Some(wait)), Err)
    }

    async fn fire(
        &self,
        setup: &Setup,
        clock: &Clock,
        last: Option<&Settled>,
        times: Vec<DateTime<Utc>>,
        mut passed_over: u64,
    ) -> Result<(), NotFired> {
        let Clock { app, trigger, .. } = *clock;
        let mut version = last.map_or(Position::ZERO, |last| last.position);
        for due_at in times {
            let is_skipped = clock.overlap == OverlapPolicy::Skip
                && cron::is_busy(&self.database, app, &trigger.to_string()).await?;
            let fired = Fired { trigger, due_at, passed_over, is_skipped };
            let event = NewEvent::new(Some(app), &Actor::SYSTEM, fired);
            let reads = vec![Read::Cron { trigger, version }, Read::Config { app: Some(app), as_of: setup.position }];
            let commit = Commit { reads, ..Commit::new(self.node.authority(), vec![event]) };
            version = self.committer.commit(commit).await?.first;
            passed_over = 0;
        }
        Ok(())
    }
}

fn clocks(setup: &Setup) -> Vec<Clock> {
    let mut clocks = Vec::new();
    // What was to come while the outbox was paused is left out, whatever the trigger's policy: after a restore the life before
    // may have seen to it, and nobody wants all of it at the moment of going on.
    let resumed_at = setup.outbox.changed_at;
    for app in setup.apps.values() {
        for trigger in app.triggers.iter().filter(|trigger| trigger.is_enabled) {
            let When::Cron(cron) = &trigger.definition.when else { continue };
            match cron.times() {
                Ok(schedule) => clocks.push(Clock {
                    app: app.id,
                    trigger: trigger.id,
                    schedule,
                    missed: cron.missed,
                    overlap: cron.overlap,
                    since: resumed_at.map_or(trigger.since, |resumed_at| resumed_at.max(trigger.since)),
                    is_paused: app.is_paused || setup.outbox.is_paused,
                }),
                Err(error) => {
                    warn!(%error, trigger.id = %trigger.id, "A stored schedule cannot be read: it does not fire");
                }
            }
        }
    }
    clocks
}

async fn after(wait: Option<Duration>) {
    match wait {
        Some(wait) => sleep(wait).await,
        None => std::future::pending().await,
    }
}
