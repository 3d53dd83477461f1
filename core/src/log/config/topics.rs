//! Topics of which something is said.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{event::topic, log::Position, topic::Auth};

pub(super) async fn registered(
    connection: &mut PgConnection,
    app: Option<Uuid>,
    event: &topic::Registered,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into state.topic (app_id, topic, auth, created_at, position) values ($1, $2, $3, $4, $5)
        on conflict (app_id, topic) do update set auth = excluded.auth, position = excluded.position",
        app,
        event.topic.as_str(),
        event.auth.map(Auth::as_str),
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn deleted(
    connection: &mut PgConnection,
    app: Option<Uuid>,
    event: &topic::Deleted,
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from state.topic where app_id = $1 and topic = $2", app, event.topic.as_str())
        .execute(connection)
        .await?;
    Ok(())
}
