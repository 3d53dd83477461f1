//! A node's right to write: its epoch.
//!
//! Every start of a process is a new epoch, a row that it touches while it lives. A node that stops doing so is declared
//! dead by revoking its epoch, after which its commits are refused; only then is it safe to say that its runs are abandoned.

use std::time::Duration;

use sqlx::PgPool;

use super::{Authority, Commit, CommitError, Committer, NewEvent, settle};
use crate::{
    event::{Actor, FailureReason, invocation},
    id::{AppId, InvocationId, NodeEpoch},
};

/// How often a node says that it lives.
pub const HEARTBEAT: Duration = Duration::from_secs(3);

/// After how long a silence it counts as dead: with the heartbeat that notices it, what it ran is taken up within 15 s. By the database's clock, as everything that nodes must agree on.
pub const DEAD_AFTER: Duration = Duration::from_secs(10);

/// This process's right to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    epoch: NodeEpoch,
}

impl Node {
    /// Registers a new epoch.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn register(pool: &PgPool, name: &str, version: &str) -> Result<Self, sqlx::Error> {
        let epoch = NodeEpoch::generate();
        sqlx::query!("insert into live.nodes (epoch, name, version) values ($1, $2, $3)", epoch.uuid(), name, version)
            .execute(pool)
            .await?;
        Ok(Self { epoch })
    }

    /// Its name.
    #[must_use]
    pub const fn epoch(&self) -> NodeEpoch {
        self.epoch
    }

    /// The right itself, as commits carry it.
    #[must_use]
    pub const fn authority(&self) -> Authority {
        Authority { epoch: self.epoch, lease: None }
    }

    /// Says that it lives; `false` when it was declared dead.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn heartbeat(&self, pool: &PgPool) -> Result<bool, sqlx::Error> {
        let touched = sqlx::query!(
            "update live.nodes set heartbeat_at = now() where epoch = $1 and revoked_at is null",
            self.epoch.uuid()
        )
        .execute(pool)
        .await?;
        Ok(touched.rows_affected() == 1)
    }

    /// Gives the right up: the node is done and has nothing running.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn retire(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        revoke(pool, self.epoch).await
    }
}

/// Takes a node's right to write away.
///
/// # Errors
/// When the database refuses.
pub async fn revoke(pool: &PgPool, epoch: NodeEpoch) -> Result<(), sqlx::Error> {
    sqlx::query!("update live.nodes set revoked_at = now() where epoch = $1 and revoked_at is null", epoch.uuid())
        .execute(pool)
        .await?;
    Ok(())
}

/// Takes every node's right away: for a service that alone can reach its database, and so knows at its start that whoever
/// wrote there before is gone. Nobody has to wait until they count as silent.
///
/// # Errors
/// When the database refuses.
pub async fn revoke_all(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!("update live.nodes set revoked_at = now() where revoked_at is null").execute(pool).await?;
    Ok(())
}

/// Takes the right away from nodes that have been silent for too long; returns them.
///
/// # Errors
/// When the database refuses.
pub async fn revoke_silent(pool: &PgPool) -> Result<Vec<NodeEpoch>, sqlx::Error> {
    let rows = sqlx::query!(
        "update live.nodes set revoked_at = now()
        where revoked_at is null and heartbeat_at < now() - make_interval(secs => $1)
        returning epoch",
        DEAD_AFTER.as_secs_f64()
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| row.epoch.into()).collect())
}

/// Ends the runs that dead nodes left behind, as far as the log knows of them; returns how many.
///
/// Meant for one node at a time: two would each say it.
///
/// # Errors
/// When the database or the committer refuses. What is left is found again the next time.
pub async fn abandon_orphans(pool: &PgPool, committer: &Committer, node: &Node) -> Result<usize, OrphanError> {
    let dead = sqlx::query_scalar!(
        r#"select exists (
            select from state.running r join live.nodes n on n.epoch = r.node where n.revoked_at is not null
        ) as "exists!""#
    );
    if !dead.fetch_one(pool).await? {
        return Ok(0);
    }
    // A batch that was let in before the revocation may still be committing, and end the very runs.
    settle::settled(pool).await?;
    let orphans = sqlx::query!(
        "select r.invocation, r.app_id
        from state.running r join live.nodes n on n.epoch = r.node
        where n.revoked_at is not null
        order by r.position
        limit 1000"
    )
    .fetch_all(pool)
    .await?;
    let ends: Vec<_> =
        orphans.into_iter().map(|orphan| abandoned(orphan.invocation.into(), orphan.app_id.into())).collect();
    let count = ends.len();
    if count > 0 {
        committer.commit(Commit::new(node.authority(), ends)).await?;
    }
    Ok(count)
}

fn abandoned(invocation: InvocationId, app: AppId) -> NewEvent {
    let failed = invocation::Failed {
        invocation,
        reason: FailureReason::Abandoned,
        message: "the node that ran it went away".to_owned(),
        line: None,
        limit: None,
        duration_us: 0,
        runs: 1,
    };
    NewEvent::new(Some(app), &Actor::SYSTEM, failed).following(None, invocation, 0)
}

/// Why orphans could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum OrphanError {
    /// They could not be looked up.
    #[error("failed to look for abandoned runs")]
    Database(#[from] sqlx::Error),
    /// Their end could not be written.
    #[error("failed to append the end of an abandoned run")]
    Commit(#[from] CommitError),
}
