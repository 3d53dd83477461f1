//! Counting what waits behind gates, such as the messages of a queue behind its consumers.

use std::collections::HashMap;

use picloud_core::{id::AppId, outbox::Gate};
use sqlx::PgPool;

/// How many pending items of an app are looked at, those first that were owed first.
pub const COUNTED: usize = 10_000;

/// How many items there are behind one gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// So many wait: for their turn, for their time, or because they are held back.
    pub waiting: usize,
    /// So many are being worked on.
    pub running: usize,
}

/// What there is behind the gates of an app.
#[derive(Clone, Debug, Default)]
pub struct Loads {
    /// By gate; those behind which there is nothing are not in it.
    pub behind: HashMap<Gate, Load>,
    /// Whether all items were looked at: else there may be more.
    pub is_exact: bool,
}

/// Counts an app's items by their gates, up to [`COUNTED`] of them.
///
/// # Errors
/// When the database cannot be asked.
pub async fn loads(pool: &PgPool, app: AppId) -> Result<Loads, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select o.gate, count(*) as "all!", count(l.item) as "running!"
        from (
            select id, gate from state.outbox
            where app_id = $1
            order by position
            limit $2
        ) o
        left join live.lease l on l.item = o.id
        group by o.gate"#,
        app.uuid(),
        COUNTED as i64 + 1
    )
    .fetch_all(pool)
    .await?;
    let counted = |count: i64| usize::try_from(count).unwrap_or_default();
    let all: usize = rows.iter().map(|row| counted(row.all)).sum();
    let load = |all, running| Load { waiting: counted(all).saturating_sub(running), running };
    let behind = rows.into_iter().map(|row| (Gate::from(row.gate), load(row.all, counted(row.running))));
    Ok(Loads { behind: behind.collect(), is_exact: all <= COUNTED })
}
