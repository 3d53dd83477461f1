//! Room for the log: segments of positions, made ahead of need.

use sqlx::PgConnection;

use super::Position;

/// The smallest segment: small instances get one every few weeks, and an empty one costs some kilobytes.
pub const MIN_SIZE: i64 = 1_000_000;

/// The largest: what retention drops goes a segment at a time.
const MAX_SIZE: i64 = 50_000_000;

/// How many segments lie empty ahead of the head.
const AHEAD: i64 = 2;

/// How much room there is ahead of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Segments without an event.
    pub segments_ahead: i64,
    /// Positions that can be given out before another segment is needed.
    pub positions_left: i64,
}

/// Makes segments until enough lie ahead; each is sized to about a day at the rate of the last one.
///
/// # Errors
/// When the database refuses.
pub async fn ensure_ahead(connection: &mut PgConnection, head: Position) -> Result<Room, sqlx::Error> {
    loop {
        let room = room(connection, head).await?;
        if room.segments_ahead >= AHEAD {
            return Ok(room);
        }
        let size = events_in_a_day(connection, head).await?.clamp(MIN_SIZE, MAX_SIZE);
        add(connection, size).await?;
    }
}

/// How much room is left.
///
/// # Errors
/// When the database refuses.
pub async fn room(connection: &mut PgConnection, head: Position) -> Result<Room, sqlx::Error> {
    let row = sqlx::query!(
        r#"select
            count(*) filter (where low > $1) as "ahead!",
            coalesce(max(high), 1) - 1 - $1::bigint as "left!"
        from log.segments"#,
        head.0
    )
    .fetch_one(connection)
    .await?;
    Ok(Room { segments_ahead: row.ahead, positions_left: row.left })
}

/// Makes one more segment behind the last.
///
/// # Errors
/// When the database refuses.
pub async fn add(connection: &mut PgConnection, size: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("select log.add_segment($1)", size).fetch_one(connection).await?;
    Ok(())
}

async fn events_in_a_day(connection: &mut PgConnection, head: Position) -> Result<i64, sqlx::Error> {
    // The first event a day ago, by bisection over positions, would be exact; a sample of the last hundred thousand will do.
    let sample = sqlx::query!(
        r#"select position, extract(epoch from now() - at)::float8 as "age_s!"
        from log.events where position > $1 order by position limit 1"#,
        (head.0 - 100_000).max(0)
    )
    .fetch_optional(connection)
    .await?;
    Ok(sample.map_or(0, |first| {
        let rate = (head.0 - first.position) as f64 / first.age_s.max(1.0);
        (rate * 86_400.0) as i64
    }))
}
