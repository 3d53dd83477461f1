//! Letters about which everything has been said.

use picloud_core::{
    id::{AppId, DataKeyId, DeadLetterId},
    log::Position,
};
use sqlx::PgPool;

/// For how long a letter is kept once it is closed.
const KEPT_DAYS: i32 = 30;

/// A letter that was closed long ago.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// The letter.
    pub id: DeadLetterId,
    /// Whose.
    pub app: AppId,
    /// What its payload is under.
    pub key: DataKeyId,
    /// The event that last changed it.
    pub position: Position,
}

/// Letters that were closed thirty days ago or more, the oldest first. Those of deleted apps go with their app.
///
/// # Errors
/// When the database cannot be asked.
pub async fn closed_long_ago(pool: &PgPool, limit: usize) -> Result<Vec<Closed>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select l.id, l.app_id, l.data -> 'payload' ->> 'key_id' as "key!", l.position
        from state.dead_letter l
        where l.resolution in ('replayed', 'ignored', 'handled_by_script')
            and l.resolved_at <= now() - make_interval(days => $1)
            and not exists (select from state.deleted_app d where d.id = l.app_id)
        order by l.resolved_at
        limit $2"#,
        KEPT_DAYS,
        limit as i64
    )
    .fetch_all(pool)
    .await?;
    let closed = rows.into_iter().filter_map(|row| {
        let key = row.key.parse().ok()?;
        Some(Closed { id: row.id.into(), app: row.app_id.into(), key, position: Position(row.position) })
    });
    Ok(closed.collect())
}
