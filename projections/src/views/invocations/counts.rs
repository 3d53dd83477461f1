//! How many runs there are, without counting them.

use std::{borrow::Cow, collections::HashMap};

use picloud_core::log::{Position, read::Direction};
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    fold::{End, Ended},
    list::{Filter, Outcome, list},
};
use crate::views::{Page, Schema, schema::Segments};

/// More than these are not counted one by one.
const MANY: usize = 1_000;

/// How many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// So many.
    Exactly(usize),
    /// More.
    MoreThan(usize),
}

/// A segment of the log, an app, what is counted by, and its value.
type Key<'a> = (i64, Uuid, &'static str, Cow<'a, str>);

/// Counts runs that have ended.
pub(super) async fn add(
    connection: &mut PgConnection,
    schema: Schema,
    ended: &[Ended],
    segments: &Segments,
) -> Result<(), sqlx::Error> {
    let mut counts: HashMap<Key<'_>, (i64, i64)> = HashMap::new();
    for Ended { run, end, .. } in ended {
        let origin = &run.origin;
        let segment = segments.of(origin.position.0);
        let mut count = |dimension, value| {
            let (ok, failed) = counts.entry((segment, origin.app.uuid(), dimension, value)).or_default();
            match end {
                End::Ok { .. } => *ok += 1,
                End::Failed { .. } => *failed += 1,
            }
        };
        count("all", "".into());
        count("script", origin.script.uuid().to_string().into());
        count("version", origin.version.uuid().to_string().into());
        count("type", origin.invocation_type.as_str().into());
        if let Some(route) = origin.route {
            count("route", route.uuid().to_string().into());
        }
        if let Some(trigger) = origin.trigger {
            count("trigger", trigger.uuid().to_string().into());
        }
        if let Some(actor) = &origin.actor {
            count("actor", actor.into());
        }
    }
    sqlx::query(schema.sql(
        "insert into views.invocation_count as c (segment, app_id, dimension, value, ok, failed)
        select * from unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
        on conflict (app_id, dimension, value, segment)
            do update set ok = c.ok + excluded.ok, failed = c.failed + excluded.failed",
    ))
    .bind(counts.keys().map(|(segment, ..)| *segment).collect::<Vec<_>>())
    .bind(counts.keys().map(|(_, app, ..)| *app).collect::<Vec<_>>())
    .bind(counts.keys().map(|(_, _, dimension, _)| *dimension).collect::<Vec<_>>())
    .bind(counts.keys().map(|(.., value)| &**value).collect::<Vec<_>>())
    .bind(counts.values().map(|(ok, _)| *ok).collect::<Vec<_>>())
    .bind(counts.values().map(|(_, failed)| *failed).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// How many runs match a filter: exactly, when it asks for no more than one thing that is counted by.
///
/// # Errors
/// When the database cannot be asked.
pub async fn count(pool: &PgPool, filter: &Filter) -> Result<Count, sqlx::Error> {
    let Some((dimension, value)) = filter.dimension() else {
        let up_to =
            Page { direction: Direction::Backward, after: Position::ZERO, up_to: Position(i64::MAX), limit: MANY + 1 };
        let found = list(pool, filter, up_to).await?.len();
        return Ok(if found > MANY { Count::MoreThan(MANY) } else { Count::Exactly(found) });
    };
    let ended = match filter.outcome {
        Some(Outcome::Running) => 0,
        outcome => {
            let row = sqlx::query!(
                r#"select coalesce(sum(ok), 0)::bigint as "ok!", coalesce(sum(failed), 0)::bigint as "failed!"
                from views.invocation_count
                where app_id = $1 and dimension = $2 and value = $3"#,
                filter.app.uuid(),
                dimension,
                value
            )
            .fetch_one(pool)
            .await?;
            match outcome {
                Some(Outcome::Ok) => row.ok,
                Some(Outcome::Failed) => row.failed,
                None | Some(Outcome::Running) => row.ok + row.failed,
            }
        }
    };
    let running = match filter.outcome {
        Some(Outcome::Ok | Outcome::Failed) => 0,
        None | Some(Outcome::Running) => {
            let mut query = QueryBuilder::<Postgres>::new("select count(*) from views.running where ");
            filter.began(&mut query);
            query.build_query_scalar().fetch_one(pool).await?
        }
    };
    Ok(Count::Exactly(usize::try_from(ended + running).unwrap_or(0)))
}

impl Filter {
    /// What it asks for, when that is counted by, and its value.
    fn dimension(&self) -> Option<(&'static str, String)> {
        if self.slower_than_us.is_some() || self.words.is_some() || self.since.is_some() || self.until.is_some() {
            return None;
        }
        let asked = [
            ("script", self.script.map(|id| id.uuid().to_string())),
            ("version", self.version.map(|id| id.uuid().to_string())),
            ("route", self.route.map(|id| id.uuid().to_string())),
            ("trigger", self.trigger.map(|id| id.uuid().to_string())),
            ("actor", self.actor.clone()),
            ("type", self.invocation_type.map(|kind| kind.as_str().to_owned())),
        ];
        let mut asked = asked.into_iter().filter_map(|(dimension, value)| Some((dimension, value?)));
        match (asked.next(), asked.next()) {
            (None, _) => Some(("all", String::new())),
            (Some(one), None) => Some(one),
            (Some(_), Some(_)) => None,
        }
    }
}
