//! How many runs there are, without counting them; and so where to look for them.

use std::{borrow::Cow, collections::HashMap};

use picloud_core::log::read::{Bound, Direction};
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    fold::{End, Ended},
    list::{Filter, Found, Outcome, list},
};
use crate::views::{Page, Schema, schema::Segments};

/// More than these are not counted one by one.
const MANY: usize = 1_000;

/// How many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// So many.
    Exactly(usize),
    /// So many, or more.
    AtLeast(usize),
}

/// A segment of the log, an app, what is counted by, and its value.
type Key<'a> = (i64, Uuid, &'static str, Cow<'a, str>);

/// Runs of one segment that have something in common.
#[derive(Clone, Copy, Debug)]
struct Counted {
    ok: i64,
    failed: i64,
    /// Where the first of them began, and the last.
    first: i64,
    last: i64,
}

impl Counted {
    const fn at(position: i64) -> Self {
        Self { ok: 0, failed: 0, first: position, last: position }
    }

    const fn with(self, outcome: Option<Outcome>) -> i64 {
        match outcome {
            None => self.ok + self.failed,
            Some(Outcome::Ok) => self.ok,
            Some(Outcome::Failed) => self.failed,
            Some(Outcome::Running) => 0,
        }
    }
}

/// Counts runs that have ended.
pub(super) async fn add(
    connection: &mut PgConnection,
    schema: Schema,
    ended: &[Ended],
    segments: &Segments,
) -> Result<(), sqlx::Error> {
    let mut counts: HashMap<Key<'_>, Counted> = HashMap::new();
    for Ended { run, end, .. } in ended {
        let origin = &run.origin;
        let position = origin.position.0;
        let segment = segments.of(position);
        let mut count = |dimension, value| {
            let key = (segment, origin.app.uuid(), dimension, value);
            let counted = counts.entry(key).or_insert(Counted::at(position));
            counted.first = counted.first.min(position);
            counted.last = counted.last.max(position);
            match end {
                End::Ok { .. } => counted.ok += 1,
                End::Failed { .. } => counted.failed += 1,
            }
        };
        count("all", "".into());
        count("script", origin.script.uuid().to_string().into());
        count("version", origin.version.uuid().to_string().into());
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
        "insert into views.invocation_count as c (segment, app_id, dimension, value, ok, failed, first_position,
            last_position)
        select * from unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
            $8::bigint[])
        on conflict (app_id, dimension, value, segment) do update set
            ok = c.ok + excluded.ok,
            failed = c.failed + excluded.failed,
            first_position = least(c.first_position, excluded.first_position),
            last_position = greatest(c.last_position, excluded.last_position)",
    ))
    .bind(counts.keys().map(|(segment, ..)| *segment).collect::<Vec<_>>())
    .bind(counts.keys().map(|(_, app, ..)| *app).collect::<Vec<_>>())
    .bind(counts.keys().map(|(_, _, dimension, _)| *dimension).collect::<Vec<_>>())
    .bind(counts.keys().map(|(.., value)| &**value).collect::<Vec<_>>())
    .bind(counts.values().map(|counted| counted.ok).collect::<Vec<_>>())
    .bind(counts.values().map(|counted| counted.failed).collect::<Vec<_>>())
    .bind(counts.values().map(|counted| counted.first).collect::<Vec<_>>())
    .bind(counts.values().map(|counted| counted.last).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// How many runs match a filter: exactly, when it asks for no more than one thing that is counted by; else as many as are found
/// within a bound. `part` is the one of the log in which they all began: times alone would not say where to look.
///
/// # Errors
/// When the database cannot be asked.
pub async fn count(pool: &PgPool, filter: &Filter, part: Page, bound: Bound) -> Result<Count, sqlx::Error> {
    let keys = filter.keys();
    let is_counted = keys.len() < 2
        && filter.slower_than_us.is_none()
        && filter.words.is_none()
        && filter.since.is_none()
        && filter.until.is_none();
    if !is_counted {
        let page = Page { limit: MANY + 1, ..part };
        let Found { runs, stopped } = list(pool, filter, page, bound).await?;
        let is_exact = stopped.is_none() && runs.len() <= MANY;
        return Ok(if is_exact { Count::Exactly(runs.len()) } else { Count::AtLeast(runs.len().min(MANY)) });
    }
    let (dimension, value) = keys.into_iter().next().unwrap_or(("all", String::new()));
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
    let ended = Counted { ok: row.ok, failed: row.failed, ..Counted::at(0) }.with(filter.outcome);
    let running = match filter.outcome {
        Some(Outcome::Ok | Outcome::Failed) => 0,
        None | Some(Outcome::Running) => {
            let mut query = QueryBuilder::<Postgres>::new("select count(*) from views.running where ");
            filter.began(&mut query);
            query.build_query_scalar::<i64>().fetch_one(pool).await?
        }
    };
    Ok(Count::Exactly(usize::try_from(ended + running).unwrap_or(0)))
}

/// A part of the log in which there may be runs that match, and how they are found best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Where the first of them may have begun, and the last.
    pub first: i64,
    pub last: i64,
    pub way: Way,
}

/// How runs are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Looking at one after the other, in the order of the log.
    InOrder,
    /// Looking up all that match, and putting them in order.
    ByKeys,
}

impl Way {
    /// The one that looks at fewer: of `all` runs `matching` are wanted, of which `limit` would do. Each that is looked up costs
    /// about two that are looked at in order.
    fn of(matching: i64, all: i64, limit: usize) -> Self {
        let (matching, all, limit) = (matching.max(1) as f64, all as f64, limit as f64);
        if limit * all / matching <= 2.0 * matching { Self::InOrder } else { Self::ByKeys }
    }
}

/// Counted runs as they are stored.
struct Row {
    segment: i64,
    dimension: String,
    ok: i64,
    failed: i64,
    first: i64,
    last: i64,
}

/// The stretches of the log in which there are runs that match, the first to look at first.
pub(super) async fn stretches(pool: &PgPool, filter: &Filter, page: Page) -> Result<Vec<Stretch>, sqlx::Error> {
    let keys = filter.keys();
    let (mut dimensions, mut values): (Vec<&str>, Vec<String>) = keys.iter().cloned().unzip();
    dimensions.push("all");
    values.push(String::new());
    let rows = sqlx::query_as!(
        Row,
        "select c.segment, c.dimension, c.ok, c.failed, c.first_position as first, c.last_position as last
        from unnest($2::text[], $3::text[]) as k (dimension, value)
        cross join lateral (
            select * from views.invocation_count c
            where c.app_id = $1 and c.dimension = k.dimension and c.value = k.value
            offset 0
        ) c
        where c.last_position > $4 and c.first_position <= $5
        order by c.segment",
        filter.app.uuid(),
        &dimensions as &[&str],
        &values,
        page.after.0,
        page.up_to.0
    )
    .fetch_all(pool)
    .await?;
    let mut stretches: Vec<Stretch> = rows
        .chunk_by(|one, next| one.segment == next.segment)
        .filter_map(|segment| {
            let counted = |row: &Row| Counted { ok: row.ok, failed: row.failed, first: row.first, last: row.last };
            let all = segment.iter().find(|row| row.dimension == "all").map(counted)?;
            let of_keys: Vec<Counted> = segment.iter().filter(|row| row.dimension != "all").map(counted).collect();
            if of_keys.len() < keys.len() {
                return None;
            }
            let rarest = of_keys.iter().map(|counted| counted.with(filter.outcome)).min();
            let matching = rarest.unwrap_or_else(|| all.with(filter.outcome));
            let way = match rarest {
                Some(matching) => Way::of(matching, all.with(filter.outcome), page.limit),
                None => Way::InOrder,
            };
            let first = of_keys.iter().map(|counted| counted.first).fold(all.first, i64::max).max(page.after.0 + 1);
            let last = of_keys.iter().map(|counted| counted.last).fold(all.last, i64::min).min(page.up_to.0);
            (matching > 0 && first <= last).then_some(Stretch { first, last, way })
        })
        .collect();
    if page.direction == Direction::Backward {
        stretches.reverse();
    }
    Ok(stretches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rare_is_looked_up_and_what_is_frequent_is_met() {
        assert_eq!(Way::of(10, 500_000, 50), Way::ByKeys);
        assert_eq!(Way::of(400_000, 500_000, 50), Way::InOrder);
        assert_eq!(Way::of(3, 10, 50), Way::ByKeys);
        assert_eq!(Way::of(0, 0, 50), Way::InOrder);
    }
}
