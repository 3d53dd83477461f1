//! What a service with nothing to do asks of its database.

use std::time::Duration;

use tokio::time::sleep;

use super::{Outbox, instance::Instance};
use crate::report::{self, Report};

/// Transactions a second that the service's timers come to; nearly each is one statement.
///
/// Every 3 s the heartbeat, the leader's transaction, and beside it a look for silent nodes, one for their runs and one for
/// their items, one for tables to be vacuumed, and one for jobs; every tenth time the leader's chores, nineteen. Every 4 s the
/// tail: a look for the head, and a notice to itself, which its ear takes in. Every 4 s the dispatcher: what is due, when the
/// next is, which apps have items that can run, and what is leased to this node.
const BY_TIMERS: f64 = 7.0 / 3.0 + 19.0 / 30.0 + (3.0 + 4.0) / 4.0;

/// Until each connection has prepared what it is asked now and then: preparing is a transaction, too.
const SETTLING: Duration = Duration::from_secs(30);

pub async fn measure(outbox: &Outbox<'_>, report: &mut Report) -> anyhow::Result<()> {
    let instance = &outbox.instance;
    // PostgreSQL would count its own clearing up after what was before.
    autovacuum(instance, "off").await?;
    sleep(SETTLING).await;
    let before = transactions(instance).await?;
    sleep(outbox.bench.idle).await;
    let asked = transactions(instance).await;
    autovacuum(instance, "on").await?;
    let seconds = outbox.bench.idle.as_secs_f64();
    let per_second = (asked? - before) as f64 / seconds;
    let what = format!("idle for {seconds:.0} s: transactions in its database");
    report.add(report::line(what, "/s", &[per_second]).against("what its timers come to", BY_TIMERS));
    Ok(())
}

async fn autovacuum(instance: &Instance, wanted: &str) -> anyhow::Result<()> {
    let sql = format!("alter system set autovacuum = {wanted}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&instance.pool).await?;
    sqlx::query("select pg_reload_conf()").execute(&instance.pool).await?;
    Ok(())
}

/// All that have ended, this one's own not counted.
async fn transactions(instance: &Instance) -> anyhow::Result<i64> {
    let query = "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()";
    Ok(sqlx::query_scalar(query).fetch_one(&instance.pool).await?)
}
