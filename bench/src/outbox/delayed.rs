//! Whether items that wait for their time cost those that need not.

use std::time::Duration;

use anyhow::Context;
use picloud_core::{
    id::NodeEpoch,
    log::outbox::{self, Turn},
};
use serde_json::Value;
use sqlx::{PgPool, postgres::PgPoolOptions};

use super::{
    Outbox,
    backlog::{self, By},
    drain,
    instance::Instance,
    latency,
};
use crate::report::{self, Report};

/// Of the items of a drain, so many are enough to compare.
const SHARE: usize = 5;

/// However slow the machine is.
const PATIENCE: Duration = Duration::from_secs(300);

/// Items inserted in one statement.
const AT_ONCE: usize = 100_000;

pub async fn measure(outbox: &Outbox<'_>, report: &mut Report) -> anyhow::Result<()> {
    let instance = &outbox.instance;
    let waiting = outbox.options.delayed;
    let alone = both(outbox).await?;
    let claim_alone = explain(instance).await?;
    insert(instance, waiting).await?;
    let beside = both(outbox).await?;
    let claim_beside = explain(instance).await?;

    let soon = latency::line("enqueue to start, none delayed: p50", &alone.0);
    let late = latency::line(&format!("enqueue to start, {waiting} delayed: p50"), &beside.0)
        .against("none delayed", soon.median);
    let fast = report::line("drain, none delayed", "items/s", &alone.1);
    let slow =
        report::line(format!("drain, {waiting} delayed"), "items/s", &beside.1).against("none delayed", fast.median);
    let quick = report::line("claim of 200 from 1 000, none delayed", "ms", &[execution_ms(&claim_alone)]);
    let heavy =
        report::line(format!("claim of 200 from 1 000, {waiting} delayed"), "ms", &[execution_ms(&claim_beside)])
            .against("none delayed", quick.median);
    report.add_all([soon, late, fast, slow, quick, heavy]);
    report.detail("delayed, the claim explained, none delayed", claim_alone);
    report.detail("delayed, the claim explained", claim_beside);
    Ok(())
}

/// Rounds of start latencies, one at a time, and of drains.
async fn both(outbox: &Outbox<'_>) -> anyhow::Result<(Vec<(f64, f64)>, Vec<f64>)> {
    let (mut starts, mut drains) = (vec![], vec![]);
    for _ in 0..outbox.bench.rounds {
        outbox.instance.checkpoint().await?;
        let found = latency::one_at_a_time(outbox).await?;
        starts.push((found.p50(), found.p99()));
        drains.push(drain::once(outbox, By::Message, outbox.options.items.div_ceil(SHARE)).await?.per_second);
    }
    Ok((starts, drains))
}

/// Items that are due tomorrow, as the committer would have left them, under names that begin with the time as all names do.
/// Their events are missing: all point to that of one which was run, and this database is good for nothing else afterwards.
async fn insert(instance: &Instance, count: usize) -> anyhow::Result<()> {
    for begun in (0..count).step_by(AT_ONCE) {
        sqlx::query(
            "with template as (
                select * from state.outbox_ended where app_id = $1 order by position desc limit 1
            ), names as (
                select now() + interval '1 day' + n * interval '1 millisecond' as due_at,
                    (lpad(to_hex((extract(epoch from now()) * 1000)::bigint + n / 100), 12, '0')
                        || right(replace(gen_random_uuid()::text, '-', ''), 20))::uuid as id
                from generate_series($2::bigint, $3::bigint - 1) as n
            ), item as (
                insert into state.outbox (id, app_id, gate, lane, priority, due_at, is_watched, position)
                select n.id, t.app_id, $4, null, 0, n.due_at, false, t.position
                from template t cross join names n
                returning id, app_id, gate, priority, due_at
            )
            insert into live.delayed (item, app_id, gate, priority, due_at)
            select id, app_id, gate, priority, due_at from item",
        )
        .bind(instance.app.uuid())
        .bind(begun as i64)
        .bind(count.min(begun + AT_ONCE) as i64)
        .bind(instance.script.uuid())
        .execute(&instance.pool)
        .await
        .context("failed to insert delayed items")?;
    }
    let delayed: i64 = sqlx::query_scalar("select count(*) from live.delayed").fetch_one(&instance.pool).await?;
    anyhow::ensure!(delayed >= count as i64, "{delayed} items are delayed, not {count}: there was none to copy");
    // As autovacuum would have, long before so many had come.
    for table in ["state.outbox", "live.delayed"] {
        let vacuum = sqlx::AssertSqlSafe(format!("vacuum (analyze) {table}"));
        sqlx::raw_sql(vacuum).execute(&instance.pool).await?;
    }
    instance.checkpoint().await
}

/// How PostgreSQL claims now, for the very statement that the service sends: it is prepared by a claim for nobody, and
/// executed on what waits behind a pause; what it claims is given back by a rollback.
async fn explain(instance: &Instance) -> anyhow::Result<Value> {
    const WAITING: usize = 1_000;
    instance.set_paused(true).await?;
    let made = backlog::make(instance, By::Call, WAITING).await;
    let plan = match made {
        Ok(()) => plan(instance).await,
        Err(error) => Err(error),
    };
    instance.set_paused(false).await?;
    instance.is_done(PATIENCE).await?;
    plan
}

fn execution_ms(plan: &Value) -> f64 {
    plan[0]["Execution Time"].as_f64().unwrap_or(f64::NAN)
}

async fn plan(instance: &Instance) -> anyhow::Result<Value> {
    // As the service's own connections for claims are.
    let settings = [("jit", "off"), ("enable_seqscan", "off"), ("enable_bitmapscan", "off"), ("enable_sort", "off")];
    let pool: PgPool =
        PgPoolOptions::new().max_connections(1).connect_with(instance.options.clone().options(settings)).await?;
    let nobody = Turn { app: instance.app, gate: instance.script.into(), after: i64::MAX };
    outbox::claim(&pool, NodeEpoch::generate(), &[nobody], 1).await?;
    let mut connection = pool.acquire().await?;
    let name: String = sqlx::query_scalar(
        "select name from pg_prepared_statements where statement like '%live.ready%skip locked%' limit 1",
    )
    .fetch_one(&mut *connection)
    .await
    .context("the claim is no prepared statement")?;
    let explain = format!(
        "explain (analyze, buffers, format json) execute {name} ('{{{}}}', '{{{}}}', '{{{}}}', 200, '{}', null)",
        instance.app.uuid(),
        instance.script.uuid(),
        i64::MIN,
        NodeEpoch::generate().uuid()
    );
    let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
    let plan: Value = sqlx::query_scalar(sqlx::AssertSqlSafe(explain)).fetch_one(&mut *transaction).await?;
    transaction.rollback().await?;
    drop(connection);
    pool.close().await;
    Ok(plan)
}
