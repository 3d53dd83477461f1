//! Reading items of the outbox: those that are pending, and for a day those whose end somebody may ask for.

use chrono::{DateTime, Utc};
use picloud_core::{
    event::{
        Actor,
        outbox::{Attempt, Enqueued},
    },
    id::{AppId, OutboxId},
    log::Position,
};
use sqlx::{PgPool, types::Json};
use uuid::Uuid;

/// An item as it stands.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its id.
    pub id: OutboxId,
    /// Whose.
    pub app: AppId,
    /// Where the log says that it is owed.
    pub position: Position,
    /// What it is.
    pub enqueued: Enqueued,
    /// Who made it be owed.
    pub actor: Actor,
    /// When.
    pub enqueued_at: DateTime<Utc>,
    /// Not before.
    pub due_at: DateTime<Utc>,
    /// What failed so far, in order.
    pub failed: Vec<Attempt>,
    /// What went wrong the last time.
    pub last_error: Option<String>,
    /// Whether a node runs it now.
    pub is_running: bool,
    /// How and when it ended, if it has.
    pub ended: Option<(String, DateTime<Utc>)>,
    /// The SHA-256 of the token whose holder may ask for it.
    pub token_hash: Option<Vec<u8>>,
}

struct Row {
    id: Uuid,
    app_id: Uuid,
    position: i64,
    data: Json<Enqueued>,
    actor: Json<Actor>,
    enqueued_at: DateTime<Utc>,
    due_at: DateTime<Utc>,
    failed: Json<Vec<Attempt>>,
    is_running: bool,
    outcome: Option<String>,
    ended_at: Option<DateTime<Utc>>,
    dead_error: Option<String>,
    token_hash: Option<Vec<u8>>,
}

impl From<Row> for Pending {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.into(),
            app: row.app_id.into(),
            position: Position(row.position),
            enqueued_at: row.data.since(row.enqueued_at),
            enqueued: row.data.0,
            actor: row.actor.0,
            due_at: row.due_at,
            last_error: row.dead_error.or_else(|| Some(row.failed.0.last()?.error.clone())),
            failed: row.failed.0,
            is_running: row.is_running,
            ended: row.outcome.zip(row.ended_at),
            token_hash: row.token_hash,
        }
    }
}

/// An item, whoever's it is.
///
/// # Errors
/// When the database cannot be asked.
pub async fn find(pool: &PgPool, item: OutboxId) -> Result<Option<Pending>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"with item as (
            select id, app_id, position, due_at, failed, null::text as outcome, null::timestamptz as ended_at
            from state.outbox where id = $1
            union all
            select id, app_id, position, due_at, failed, outcome, ended_at from state.outbox_ended where id = $1
        )
        select o.id as "id!", o.app_id as "app_id!", o.position as "position!", e.data as "data: Json<Enqueued>", e.actor as "actor: Json<Actor>",
            e.at as enqueued_at, o.due_at as "due_at!", o.failed as "failed!: Json<Vec<Attempt>>",
            exists (select from live.lease l where l.item = o.id) as "is_running!",
            o.outcome, o.ended_at,
            (select d.data ->> 'error' from state.dead_letter d where d.item = o.id and o.outcome = 'dead') as dead_error,
            (select t.hash from live.status_token t where t.item = o.id and t.expires_at > now()) as token_hash
        from item o join log.run e on e.position = o.position"#,
        item.uuid()
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Pending::from))
}

/// An app's items that have not ended, those that were owed first at the front, after a place in the log.
///
/// # Errors
/// When the database cannot be asked.
pub async fn list(pool: &PgPool, app: AppId, after: Position, limit: usize) -> Result<Vec<Pending>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select o.id, o.app_id, o.position, e.data as "data: Json<Enqueued>", e.actor as "actor: Json<Actor>", e.at as enqueued_at,
            o.due_at, o.failed as "failed: Json<Vec<Attempt>>",
            exists (select from live.lease l where l.item = o.id) as "is_running!",
            null::text as outcome, null::timestamptz as ended_at, null::text as dead_error, null::bytea as token_hash
        from state.outbox o join log.run e on e.position = o.position
        where o.app_id = $1 and o.position > $2
        order by o.position
        limit $3"#,
        app.uuid(),
        after.0,
        limit as i64
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Pending::from).collect())
}
