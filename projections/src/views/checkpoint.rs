//! How far a view is, in the database.

use chrono::{DateTime, Utc};
use picloud_core::log::Position;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{FoldError, Schema};

/// Up to where a view has taken in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Of the fold that made its rows.
    pub version: i32,
    /// How often it was built anew.
    pub built: i32,
    /// The last event it has taken in.
    pub position: Position,
    /// When that was committed.
    pub at: Option<DateTime<Utc>>,
    /// What it could not take in.
    pub parked: Option<Parked>,
}

/// That a view stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The event before which it stands.
    pub position: Position,
    /// Why.
    pub error: String,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// Makes sure that there is one.
pub(super) async fn begin(
    connection: &mut PgConnection,
    schema: Schema,
    view: &str,
    version: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query(schema.sql("insert into views.checkpoint (view, version) values ($1, $2) on conflict do nothing"))
        .bind(view)
        .bind(version)
        .execute(connection)
        .await?;
    Ok(())
}

/// Reads those that there are, by their views' names.
pub(super) async fn read(
    connection: &mut PgConnection,
    schema: Schema,
) -> Result<Vec<(String, Checkpoint)>, sqlx::Error> {
    let rows = sqlx::query(schema.sql(
        "select view, version, built, position, at, parked_position, parked_error, parked_at from views.checkpoint order by view",
    ))
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("view")?, decode(row)?))).collect()
}

fn decode(row: &PgRow) -> Result<Checkpoint, sqlx::Error> {
    let parked = match row.try_get("parked_position")? {
        None => None,
        Some(position) => Some(Parked {
            position: Position(position),
            error: row.try_get("parked_error")?,
            since: row.try_get("parked_at")?,
        }),
    };
    Ok(Checkpoint {
        version: row.try_get("version")?,
        built: row.try_get("built")?,
        position: Position(row.try_get("position")?),
        at: row.try_get("at")?,
        parked,
    })
}

/// That of a view.
pub(super) async fn find(
    connection: &mut PgConnection,
    schema: Schema,
    view: &str,
) -> Result<Option<Checkpoint>, sqlx::Error> {
    let all = read(connection, schema).await?;
    Ok(all.into_iter().find(|(name, _)| name == view).map(|(_, checkpoint)| checkpoint))
}

/// Where it stands; until the end of the transaction nobody moves it.
pub(super) async fn lock(connection: &mut PgConnection, schema: Schema, view: &str) -> Result<Position, sqlx::Error> {
    let row = sqlx::query(schema.sql("select position from views.checkpoint where view = $1 for update"))
        .bind(view)
        .fetch_optional(connection)
        .await?;
    row.map_or(Ok(Position::ZERO), |row| Ok(Position(row.try_get("position")?)))
}

/// Puts it where a view that was built anew stands.
pub(super) async fn replace(
    connection: &mut PgConnection,
    schema: Schema,
    view: &str,
    version: i32,
    position: Position,
    at: Option<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    sqlx::query(schema.sql(
        "insert into views.checkpoint as c (view, version, position, at, built) values ($1, $2, $3, $4, 1)
        on conflict (view) do update
        set version = $2, position = $3, at = $4, built = c.built + 1,
            parked_position = null, parked_error = null, parked_at = null",
    ))
    .bind(view)
    .bind(version)
    .bind(position.0)
    .bind(at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves it on, in the transaction of the rows that go with it.
pub(super) async fn advance(
    connection: &mut PgConnection,
    schema: Schema,
    view: &str,
    (built, from): (i32, Position),
    to: Position,
    at: DateTime<Utc>,
) -> Result<(), FoldError> {
    let moved = sqlx::query(schema.sql(
        "update views.checkpoint
        set position = $3, at = $4, parked_position = null, parked_error = null, parked_at = null
        where view = $1 and position = $2 and built = $5",
    ))
    .bind(view)
    .bind(from.0)
    .bind(to.0)
    .bind(at)
    .bind(built)
    .execute(connection)
    .await?;
    if moved.rows_affected() == 0 { Err(FoldError::Overtaken) } else { Ok(()) }
}

/// Says that it stands still.
pub(super) async fn park(
    connection: &mut PgConnection,
    schema: Schema,
    view: &str,
    position: Position,
    error: &str,
) -> Result<DateTime<Utc>, sqlx::Error> {
    let row = sqlx::query(schema.sql(
        "update views.checkpoint
        set parked_position = $2, parked_error = $3, parked_at = coalesce(parked_at, now())
        where view = $1
        returning parked_at",
    ))
    .bind(view)
    .bind(position.0)
    .bind(error)
    .fetch_one(connection)
    .await?;
    row.try_get("parked_at")
}
