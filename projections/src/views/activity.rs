//! The view `activity`: what happened in an hour, how often.

use std::collections::HashMap;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::{id::AppId, log::Recorded};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    Schema,
    view::{FoldError, View},
};

/// What it is called.
pub const NAME: &str = "activity";

/// Follows the log.
#[derive(Debug, Default)]
pub(super) struct Activity;

impl View for Activity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static [&'static str] {
        &["activity"]
    }

    fn load<'a>(&'a mut self, _: &'a mut PgConnection, _: Schema) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async { Ok(()) }.boxed()
    }

    fn take<'a>(
        &'a mut self,
        events: &'a [Recorded],
        connection: &'a mut PgConnection,
        schema: Schema,
    ) -> BoxFuture<'a, Result<(), FoldError>> {
        async move {
            let mut counts: HashMap<(Uuid, DateTime<Utc>, &'static str), i64> = HashMap::new();
            for recorded in events {
                let app = recorded.event.app.map_or(Uuid::nil(), Uuid::from);
                let hour = recorded.at.duration_trunc(TimeDelta::hours(1)).expect("hours divide all times there are");
                *counts.entry((app, hour, recorded.event.event.kind())).or_default() += 1;
            }
            sqlx::query(schema.sql(
                "insert into views.activity as a (app_id, hour, kind, events)
                select * from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::bigint[])
                on conflict (app_id, hour, kind) do update set events = a.events + excluded.events",
            ))
            .bind(counts.keys().map(|(app, _, _)| *app).collect::<Vec<_>>())
            .bind(counts.keys().map(|(_, hour, _)| *hour).collect::<Vec<_>>())
            .bind(counts.keys().map(|(_, _, kind)| *kind).collect::<Vec<_>>())
            .bind(counts.values().copied().collect::<Vec<_>>())
            .execute(connection)
            .await?;
            Ok(())
        }
        .boxed()
    }
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
        "select hour, kind, events from views.activity
        where app_id = $1 and hour >= $2 and hour < $3
        order by hour, kind",
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
