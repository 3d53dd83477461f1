//! Reading letters that are to be decided about together.

use chrono::{DateTime, Utc};
use picloud_core::{
    event::{Actor, dead_letter::Created},
    id::{AppId, DeadLetterId},
};
use sqlx::{PgPool, types::Json};
use uuid::Uuid;

use super::{Letter, Row};

/// What letters of one batch may hold together, as they lie in the database: a commit is a few times as large.
const BATCH_BYTES: i64 = 1 << 20;

/// A place in the batch; nothing is known of a letter that is gone.
struct Place {
    data: Option<Json<Created>>,
    actor: Option<Json<Actor>>,
    root: Option<Uuid>,
    depth: Option<i16>,
    created_at: Option<DateTime<Utc>>,
    resolution: Option<String>,
    resolved_at: Option<DateTime<Utc>>,
    resolved_by: Option<Json<Actor>>,
    resolved_why: Option<String>,
    replay: Option<Uuid>,
    job: Option<Uuid>,
    position: Option<i64>,
}

impl Place {
    fn letter(self) -> Option<Letter> {
        let row = Row {
            data: self.data?,
            actor: self.actor?,
            root: self.root,
            depth: self.depth?,
            created_at: self.created_at?,
            resolution: self.resolution,
            resolved_at: self.resolved_at,
            resolved_by: self.resolved_by,
            resolved_why: self.resolved_why,
            replay: self.replay,
            job: self.job,
            position: self.position?,
        };
        Some(row.into())
    }
}

/// The first of these letters of an app, in their order, as many as are not too large together, and at least one; none in the
/// place of a letter that is gone.
///
/// # Errors
/// When the database cannot be asked.
pub async fn batch(pool: &PgPool, app: AppId, letters: &[DeadLetterId]) -> Result<Vec<Option<Letter>>, sqlx::Error> {
    let ids: Vec<Uuid> = letters.iter().map(|letter| letter.uuid()).collect();
    let places = sqlx::query_as!(
        Place,
        r#"with sized as (
            select w.n, l.id, coalesce(pg_column_size(l.data), 0) as size,
                sum(coalesce(pg_column_size(l.data), 0)) over (order by w.n) as size_so_far
            from unnest($2::uuid[]) with ordinality as w (id, n)
            left join state.dead_letter l on l.id = w.id and l.app_id = $1
        )
        select l.data as "data?: Json<Created>", l.actor as "actor?: Json<Actor>", l.root, l.depth as "depth?",
            l.created_at as "created_at?", l.resolution, l.resolved_at, l.resolved_by as "resolved_by: Json<Actor>",
            l.resolved_why, l.replay, l.job, l.position as "position?"
        from sized s
        left join state.dead_letter l on l.id = s.id
        where s.size_so_far <= $3 or s.n = 1
        order by s.n"#,
        app.uuid(),
        &ids,
        BATCH_BYTES as i64
    )
    .fetch_all(pool)
    .await?;
    Ok(places.into_iter().map(Place::letter).collect())
}
