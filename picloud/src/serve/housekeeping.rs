//! What has to be done now and then: saying that this node lives, noticing those that do not, making room in the log,
//! forgetting what has expired. Leader's work is done under a lock of the database: one node at a time does it.

use std::{convert::Infallible, time::Duration};

use anyhow::Context;
use picloud_core::{
    keys::{Keyring, sweep_destinations},
    log::{Committer, Node, Position, idempotency, jobs, lookup, node, outbox, partitions},
};
use picloud_ingress::auth;
use picloud_projections::{kv, setup::LiveSetup};
use picloud_workers::{letters, outbox as workers};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Held by whoever does the leader's work. Any number will do that nobody else uses.
const LEADER_LOCK: i64 = 7_305_804_403;

/// Sweeps and room come around every so many heartbeats.
const CHORES_EVERY: u64 = 10;

/// So long is what was appended read from end to end at most, by who looks something up.
const LOOKUPS_EVERY: Duration = Duration::from_secs(10);

/// Keeps house for one node.
pub(super) struct House {
    pub database: PgPool,
    pub committer: Committer,
    pub node: Node,
    pub keyring: Keyring,
    pub setup: LiveSetup,
    pub revoked: CancellationToken,
}

impl House {
    /// Until it is told to stop, or finds that the node has no right to go on.
    pub(super) async fn keep(self, stop: CancellationToken) {
        // Beside the heartbeat: the indexes of a large leaf take minutes to make.
        tokio::select! {
            () = self.beat(stop) => {}
            never = self.keep_lookups() => match never {},
        }
    }

    /// What was appended can be looked up soon after.
    async fn keep_lookups(&self) -> Infallible {
        let mut tick = interval(LOOKUPS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut done_up_to = Position::ZERO;
        loop {
            tick.tick().await;
            let head = self.committer.head();
            if head == done_up_to {
                continue;
            }
            match self.summarize(head).await {
                Ok(()) => done_up_to = head,
                Err(error) => warn!(%error, "Failed to summarize the log: what is looked up in it takes longer"),
            }
        }
    }

    async fn summarize(&self, head: Position) -> Result<(), sqlx::Error> {
        // Indexes take as long as they take, and nobody waits for them: that is nothing to warn of.
        let quiet = self.database.connect_options().as_ref().clone().disable_statement_logging();
        let mut connection = quiet.connect().await?;
        while lookup::keep(&mut connection, head).await? {}
        connection.close().await
    }

    async fn beat(&self, stop: CancellationToken) {
        let mut heartbeat = interval(node::HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for beat in 0_u64.. {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = heartbeat.tick() => {}
            }
            if self.committer.is_revoked() {
                // It has said why.
                self.revoked.cancel();
                return;
            }
            // First: a node that slept must not take others, or itself, for dead before it has said that it lives.
            // Whoever waits for a connection tries ever more rarely to make one: after a beat it is better to begin anew.
            match timeout(node::HEARTBEAT, self.node.heartbeat(&self.database)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    error!(node.epoch = %self.node.epoch(), "Other nodes have declared this one dead: it ends");
                    self.revoked.cancel();
                    return;
                }
                Ok(Err(error)) => {
                    warn!(%error, "Failed to say that this node lives");
                    continue;
                }
                Err(_) => {
                    warn!("Failed to say that this node lives: the database does not answer");
                    continue;
                }
            }
            if let Err(error) = self.lead(beat).await {
                warn!(error = format!("{error:#}"), "Failed to keep house");
            }
        }
    }

    async fn lead(&self, beat: u64) -> anyhow::Result<()> {
        let mut connection = self.database.acquire().await.context("failed to get a connection")?;
        let mut transaction = connection.begin().await?;
        // Of the transaction, so that it works through a pooler too.
        // A leader that was stopped in the middle must not keep others from declaring it dead.
        let leads = sqlx::query_scalar!(
            r#"select set_config('idle_in_transaction_session_timeout', '8s', true) is not null
                and pg_try_advisory_xact_lock($1) as "leads!""#,
            LEADER_LOCK
        )
        .fetch_one(&mut *transaction)
        .await?;
        if !leads {
            return Ok(());
        }
        for silent in node::revoke_silent(&self.database).await.context("failed to look for dead nodes")? {
            warn!(node.epoch = %silent, "A node has been silent for too long: it may not write any more");
        }
        let abandoned = node::abandon_orphans(&self.database, &self.committer, &self.node).await?;
        if abandoned > 0 {
            info!(runs = abandoned, "Ended the runs that dead nodes left behind");
        }
        let Self { database, committer, node, keyring, setup, .. } = self;
        let taken = workers::take_over(database, committer, node, keyring, &setup.get()).await?;
        if taken > 0 {
            info!(items = taken, "Took over what dead nodes were running");
        }
        outbox::vacuum(&self.database).await.context("failed to clean up behind the outbox")?;
        if beat == 0 {
            let recovered = outbox::recover(&self.database).await.context("failed to look for lost items")?;
            if recovered > 0 {
                warn!(items = recovered, "Items of the outbox were pending, and nothing let them run: they may now");
            }
        }
        if beat.is_multiple_of(CHORES_EVERY) {
            partitions::ensure_ahead(&mut transaction, self.committer.head())
                .await
                .context("failed to make room in the log")?;
            idempotency::sweep(&self.database).await.context("failed to forget expired outcomes")?;
            kv::sweep(&self.database).await.context("failed to delete expired entries")?;
            kv::sweep_deleted(&self.database).await.context("failed to delete entries of deleted apps")?;
            outbox::sweep(&self.database).await.context("failed to forget ended items of the outbox")?;
            jobs::sweep(&self.database).await.context("failed to forget ended jobs")?;
            sweep_destinations(&self.database).await.context("failed to forget addresses of alert channels")?;
            auth::sweep(&self.database).await.context("failed to forget ended sessions and unused secrets")?;
            let purged = letters::purge(database, committer, node, keyring).await?;
            if purged > 0 {
                info!(letters = purged, "Purged dead letters that were closed thirty days ago");
            }
        }
        transaction.commit().await?;
        Ok(())
    }
}
