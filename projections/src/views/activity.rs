//! The view `activity`: what happened in an hour, how often.

use std::collections::HashMap;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::{event::Class, id::AppId, log::Recorded};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    Schema,
    archived::archived,
    schema::Segments,
    view::{FoldError, View},
};

/// What it is called.
pub const NAME: &str = "activity";

/// Follows the log.
#[derive(Debug, Default)]
pub(super) struct Activity {
    segments: Segments,
}

impl View for Activity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        2
    }

    fn tables(&self) -> &'static [&'static str] {
        &["activity"]
    }

    fn classes(&self) -> &'static [Class] {
        &Class::ALL
    }

    fn load<'a>(&'a mut self, _: &'a mut PgConnection, _: Schema) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        self.segments = Segments::default();
        async { Ok(()) }.boxed()
    }

    fn take<'a>(
        &'a mut self,
        events: &'a [Recorded],
        connection: &'a mut PgConnection,
        schema: Schema,
    ) -> BoxFuture<'a, Result<(), FoldError>> {
        async move {
            let Some(last) = events.last() else { return Ok(()) };
            self.segments.reach(connection, schema, &[], last.position.0).await?;
            let mut counts: HashMap<Counted, i64> = HashMap::new();
            for recorded in events {
                let event = &recorded.event;
                let counted = Counted {
                    app: event.app.map_or(Uuid::nil(), Uuid::from),
                    hour: recorded.at.duration_trunc(TimeDelta::hours(1)).expect("hours divide all times there are"),
                    kind: event.event.kind(),
                    class: event.event.class(),
                    segment: self.segments.of(recorded.position.0),
                };
                *counts.entry(counted).or_default() += 1;
            }
            write(connection, schema, &counts).await?;
            for gone in archived(events) {
                let forgotten = schema.sql("delete from views.activity where class = $1 and segment = $2");
                sqlx::query(forgotten).bind(gone.class.as_str()).bind(gone.low).execute(&mut *connection).await?;
            }
            Ok(())
        }
        .boxed()
    }
}

/// What is counted together.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Counted {
    app: Uuid,
    hour: DateTime<Utc>,
    kind: &'static str,
    class: Class,
    segment: i64,
}

async fn write(
    connection: &mut PgConnection,
    schema: Schema,
    counts: &HashMap<Counted, i64>,
) -> Result<(), sqlx::Error> {
    sqlx::query(schema.sql(
        "insert into views.activity as a (app_id, hour, kind, class, segment, events)
        select * from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
        on conflict (app_id, hour, kind, segment) do update set events = a.events + excluded.events",
    ))
    .bind(counts.keys().map(|counted| counted.app).collect::<Vec<_>>())
    .bind(counts.keys().map(|counted| counted.hour).collect::<Vec<_>>())
    .bind(counts.keys().map(|counted| counted.kind).collect::<Vec<_>>())
    .bind(counts.keys().map(|counted| counted.class.as_str()).collect::<Vec<_>>())
    .bind(counts.keys().map(|counted| counted.segment).collect::<Vec<_>>())
    .bind(counts.values().copied().collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// How often something happened in an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When the hour began.
    pub hour: DateTime<Utc>,
    /// What.
    pub kind: String,
    /// How often.
    pub events: u64,
}

/// What happened in an app, or (`None`) to the instance itself, from a time on, oldest first.
///
/// # Errors
/// When the database cannot be asked.
pub async fn list(
    pool: &PgPool,
    app: Option<AppId>,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<Happened>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select hour, kind, sum(events)::bigint as "events!" from views.activity
        where app_id = $1 and hour >= $2 and hour < $3
        group by hour, kind
        order by hour, kind"#,
        app.map_or(Uuid::nil(), Uuid::from),
        since,
        until
    )
    .fetch_all(pool)
    .await?;
    let happened = rows.into_iter().map(|row| Happened {
        hour: row.hour,
        kind: row.kind,
        events: u64::try_from(row.events).unwrap_or(0),
    });
    Ok(happened.collect())
}
