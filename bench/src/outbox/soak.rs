//! A steady load for minutes: whether tables and latencies stay as they are.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use super::{Outbox, peers, posts::steady, tables, together, told};
use crate::report::{self, Line, Report};

const MINUTE: Duration = Duration::from_secs(60);

const PATIENCE: Duration = Duration::from_secs(900);

pub async fn measure(outbox: &Outbox<'_>, report: &mut Report) -> anyhow::Result<()> {
    let instance = &outbox.instance;
    let per_second = half_of_what_it_can(outbox).await?;
    let before = tables::all(&instance.pool).await?;
    let (mut rounds, mut minutes) = (vec![], vec![]);
    for minute in 1..=outbox.options.soak_minutes {
        let head = instance.head().await?;
        let posted = steady(instance.service.port, "/later", per_second, MINUTE).await?;
        instance.is_done(PATIENCE).await?;
        let sent = posted.len() as f64 / MINUTE.as_secs_f64();
        ensure!(sent > per_second * 0.8, "{sent:.0} of {per_second:.0} items a second could be sent");
        let latencies = told::start_latencies(&posted, &told::ran(&instance.pool, head).await?)?;
        minutes.push(json!({ "minute": minute, "items_per_second": sent, "start_p50_ms": latencies.p50(),
            "start_p99_ms": latencies.p99(), "tables": tables::all(&instance.pool).await? }));
        rounds.push((latencies.p50(), latencies.p99()));
    }
    let after = tables::all(&instance.pool).await?;

    let last = rounds.last().copied().unwrap_or((f64::NAN, f64::NAN));
    let p99s: Vec<f64> = rounds.iter().map(|(_, p99)| *p99).collect();
    let what = format!("steady {per_second:.0} items/s, minute by minute: start p99");
    let first = p99s.first().copied().unwrap_or(f64::NAN);
    report.add(report::line(what, "ms", &p99s));
    report.add(
        report::line("in its last minute: start p99", "ms", &[last.1])
            .with_latency(last.0, last.1)
            .against("the first minute", first),
    );
    for (before, after) in before.iter().zip(&after) {
        let mib = |bytes: i64| bytes as f64 / f64::from(1 << 20);
        report.add_all([
            beside(&after.name, "size", "MiB", mib(before.table_bytes), mib(after.table_bytes)),
            beside(&after.name, "size of its indexes", "MiB", mib(before.index_bytes), mib(after.index_bytes)),
            beside(&after.name, "dead rows", "rows", before.dead_rows as f64, after.dead_rows as f64),
        ]);
    }
    report.detail("soak, tables before", before);
    report.detail("soak, each minute", minutes);
    Ok(())
}

fn beside(table: &str, what: &str, unit: &'static str, before: f64, after: f64) -> Line {
    let mut line = report::line(format!("after that, {table}: {what}"), unit, &[after]);
    line.ratios.push(format!("{} before", report::number(before)));
    line
}

/// Half of the items a second that can be sent and done at once, as measured now.
pub async fn half_of_what_it_can(outbox: &Outbox<'_>) -> anyhow::Result<f64> {
    Ok(together::once(outbox, peers::ADDERS).await?.done / 2.0)
}
