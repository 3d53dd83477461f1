//! What apps may call that is not on the public internet.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{event::http_exception, log::Position};

pub(super) async fn allowed(
    connection: &mut PgConnection,
    app: Option<Uuid>,
    event: &http_exception::Allowed,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into state.http_exception (app_id, target, created_at, position) values ($1, $2, $3, $4)
        on conflict (app_id, target) do update set position = excluded.position",
        app,
        event.target,
        at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn removed(
    connection: &mut PgConnection,
    app: Option<Uuid>,
    event: &http_exception::Removed,
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from state.http_exception where app_id = $1 and target = $2", app, event.target)
        .execute(connection)
        .await?;
    Ok(())
}
