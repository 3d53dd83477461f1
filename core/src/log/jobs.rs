//! Which node works on which job. Not in the log: it follows from who was first, and from which nodes live.
//!
//! A node takes an app's oldest open job, so that of two jobs of an app the second finds what the first has decided. What a
//! dead node worked on is taken by another: the dead one's commits are refused from then on.

use sqlx::PgPool;

use super::settle;
use crate::id::{JobId, NodeEpoch};

/// Takes jobs that nobody works on, the oldest open one of each app.
///
/// # Errors
/// When the database cannot be asked.
pub async fn claim(pool: &PgPool, epoch: NodeEpoch) -> Result<Vec<JobId>, sqlx::Error> {
    // The index holds open jobs only: where there are none, looking costs nothing.
    let jobs = sqlx::query_scalar!(
        "insert into live.job_lease as l (job, epoch)
        select id, $1 from (select distinct on (app_id) id from state.job where ended_at is null order by app_id, id) j
        where not exists (
            select from live.job_lease h join live.nodes n on n.epoch = h.epoch
            where h.job = j.id and n.revoked_at is null
        )
        on conflict (job) do update set epoch = excluded.epoch
        where exists (select from live.nodes n where n.epoch = l.epoch and n.revoked_at is not null)
        returning job",
        epoch.uuid()
    )
    .fetch_all(pool)
    .await?;
    Ok(jobs.into_iter().map(Into::into).collect())
}

/// Waits until whatever a dead node was appending is there to be seen, or never will be.
///
/// # Errors
/// When the database cannot be asked, or the log is held for too long.
pub async fn settled(pool: &PgPool) -> Result<(), sqlx::Error> {
    settle::settled(pool).await
}

/// Forgets who worked on what is over, and the jobs of apps that are gone.
///
/// # Errors
/// When the database cannot be asked.
pub async fn sweep(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from state.job j using state.deleted_app d where d.id = j.app_id").execute(pool).await?;
    sqlx::query!("delete from state.dead_letter_count c using state.deleted_app d where d.id = c.app_id")
        .execute(pool)
        .await?;
    sqlx::query!(
        "delete from live.job_lease l
        where not exists (select from state.job j where j.id = l.job and j.ended_at is null)"
    )
    .execute(pool)
    .await?;
    Ok(())
}
