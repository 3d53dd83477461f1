//! What the log says of items that were run.

use std::collections::HashMap;

use anyhow::Context;
use chrono::{DateTime, Utc};
use picloud_core::keys::{Purpose, Sealed};
use serde::Deserialize;
use sqlx::{PgPool, Postgres, Transaction, types::Json};

use super::{instance::Instance, latencies::Latencies, posts::Posted};

/// An item that was run, in microseconds since 1970 by this machine's one clock.
#[derive(Clone, Debug)]
pub struct Ran {
    /// `out_…`.
    pub item: String,
    /// No earlier than its script's first instruction; see [`ran`].
    pub began_us: i64,
    /// When the commit of its end was stamped.
    pub ended_us: i64,
}

/// All items that were delivered by events after a position.
///
/// When a script began is in no event as such: of a short run, `invocation.started` is committed along with its end, so its
/// time is too late by the whole run. `invocation.completed` says how long the run took, and bears the time of its commit; the
/// one less the other is the beginning, plus whatever lay between the script's last instruction and the stamp: sealing the
/// answer, waiting for the batch before it to be committed, the way to PostgreSQL and its lock. So what is called a start
/// here is later than the start was, never earlier.
pub async fn ran(pool: &PgPool, after: i64) -> anyhow::Result<Vec<Ran>> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "select d.subject, (extract(epoch from c.at) * 1e6)::bigint, (c.data ->> 'duration_us')::bigint
        from log.events d
        join log.events c on c.subject = d.data ->> 'invocation' and c.kind = 'invocation.completed'
            and c.class = 'run' and c.position > $1
        where d.kind = 'outbox.delivered' and d.class = 'run' and d.position > $1
        order by d.position",
    )
    .bind(after)
    .fetch_all(&mut *asking(pool).await?)
    .await
    .context("failed to ask the log what was run")?;
    let ran = |(item, ended_us, took_us)| Ran { item, began_us: ended_us - took_us, ended_us };
    Ok(rows.into_iter().map(ran).collect())
}

/// The same, but each with the time that its script saw, as its recording has it. That clock is read when the run is taken up,
/// before it has its turn: a start called so is no later than the start was, where [`ran`] calls it no earlier.
pub async fn clocks(instance: &Instance, after: i64) -> anyhow::Result<Vec<Ran>> {
    #[derive(Deserialize)]
    struct Input {
        now: DateTime<Utc>,
    }
    let rows: Vec<(String, i64, String, Json<Sealed>)> = sqlx::query_as(
        "select d.subject, (extract(epoch from d.at) * 1e6)::bigint, s.subject, s.data -> 'recording'
        from log.events d
        join log.events s on s.subject = d.data ->> 'invocation' and s.kind = 'invocation.started'
            and s.class = 'run' and s.position > $1
        where d.kind = 'outbox.delivered' and d.class = 'run' and d.position > $1",
    )
    .bind(after)
    .fetch_all(&mut *asking(&instance.pool).await?)
    .await
    .context("failed to ask the log what runs were given")?;
    let clock = |(item, ended_us, invocation, Json(sealed)): (_, _, String, Json<Sealed>)| {
        let place = format!("{invocation}/request");
        let plain = instance.key.open(Purpose::Recording, place.as_bytes(), &sealed)?;
        let input: Input = serde_json::from_slice(&plain)?;
        Ok(Ran { item, began_us: input.now.timestamp_micros(), ended_us })
    };
    rows.into_iter().map(clock).collect()
}

/// A transaction whose joins are by hash. What is new has not been analysed yet: PostgreSQL would think it little, and compare
/// each with each.
async fn asking(pool: &PgPool) -> anyhow::Result<Transaction<'static, Postgres>> {
    let mut transaction = pool.begin().await?;
    sqlx::query("set local enable_nestloop = off").execute(&mut *transaction).await?;
    Ok(transaction)
}

/// From being sent to the script's beginning.
pub fn start_latencies(posted: &[Posted], ran: &[Ran]) -> anyhow::Result<Latencies> {
    let began: HashMap<&str, i64> = ran.iter().map(|ran| (ran.item.as_str(), ran.began_us)).collect();
    posted
        .iter()
        .map(|posted| {
            let began = began.get(posted.item.as_str()).context("an item was accepted and not run")?;
            Ok((began - posted.sent_us) as f64 / 1e3)
        })
        .collect()
}

/// How many were run a second, from the first one's beginning to the last one's end.
pub fn per_second(ran: &[Ran]) -> f64 {
    let first = ran.iter().map(|ran| ran.began_us).min().unwrap_or_default();
    let last = ran.iter().map(|ran| ran.ended_us).max().unwrap_or_default();
    ran.len() as f64 / ((last - first) as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(item: &str, began_us: i64, ended_us: i64) -> Ran {
        Ran { item: item.to_owned(), began_us, ended_us }
    }

    #[test]
    fn an_item_s_latency_runs_from_its_own_sending() {
        let posted = [("a", 1_000), ("b", 2_000)].map(|(item, sent_us)| Posted { item: item.to_owned(), sent_us });
        let latencies = start_latencies(&posted, &[ran("b", 5_000, 6_000), ran("a", 2_000, 2_500)]).unwrap();
        assert_eq!((latencies.p50(), latencies.p99()), (1.0, 3.0));
        assert!(start_latencies(&posted, &[ran("a", 2_000, 2_500)]).is_err(), "what was lost is not left out");
    }

    #[test]
    fn a_rate_is_of_the_whole_span() {
        assert_eq!(per_second(&[ran("a", 0, 900_000), ran("b", 100, 2_000_000)]), 1.0);
    }
}
