//! How fast what has piled up is done.

use std::time::Duration;

use anyhow::ensure;

use super::{
    Outbox,
    backlog::{self, By},
    instance::Instance,
    peers::{Mode, Theirs},
    posts::now_us,
    told,
};
use crate::{
    process::cpu_seconds,
    report::{self, Report},
};

/// However slow the machine is.
const PATIENCE: Duration = Duration::from_secs(900);

pub async fn measure(outbox: &Outbox<'_>, report: &mut Report) -> anyhow::Result<()> {
    let items = outbox.options.items;
    let (mut messages, mut calls, mut wall, mut woken) = (vec![], vec![], vec![], vec![]);
    let (mut service, mut database) = (vec![], vec![]);
    let mut theirs = Theirs::new(Mode::Drain);
    for _ in 0..outbox.bench.rounds {
        let drained = once(outbox, By::Message, items).await?;
        messages.push(drained.per_second);
        wall.push(drained.by_the_wall);
        woken.push(drained.woken_after_ms);
        service.push(drained.service_us);
        database.push(drained.database_us);
        theirs.measure(outbox, report).await;
        calls.push(once(outbox, By::Call, items).await?.per_second);
    }
    let what = format!("drain of {items} messages of a queue, first start to last end");
    theirs.report("drain, first start to last end", report::line(what, "items/s", &messages), report);
    report.add(report::line("the same from `resume` being sent", "items/s", &wall));
    report.add(report::line("from `resume` being sent to the first start", "ms", &woken));
    report.add(report::line("processor time an item: the service", "µs", &service));
    report.add(report::line("processor time an item: PostgreSQL", "µs", &database));
    report.add(report::line(format!("drain of {items} async calls, recorded and watched"), "items/s", &calls));
    Ok(())
}

/// A drain.
pub struct Drained {
    /// From the first script's beginning to the last end's commit, by the log.
    pub per_second: f64,
    /// From the request that resumes the app to the last end's commit.
    pub by_the_wall: f64,
    /// From that request to the first script's beginning.
    pub woken_after_ms: f64,
    /// Processor time that the service used, by item.
    pub service_us: f64,
    /// That PostgreSQL used, and this process, which only looks whether it is over.
    pub database_us: f64,
}

/// Lets so many items pile up behind a pause, and ends that.
pub async fn once(outbox: &Outbox<'_>, by: By, items: usize) -> anyhow::Result<Drained> {
    let instance = &outbox.instance;
    instance.is_done(PATIENCE).await?;
    instance.set_paused(true).await?;
    let made = backlog::make(instance, by, items).await;
    instance.checkpoint().await?;
    let head = instance.head().await?;
    let used = Used::now(instance)?;
    let resumed_us = now_us();
    // Also when the items could not be made: what follows needs the app.
    instance.set_paused(false).await?;
    made?;
    instance.is_done(PATIENCE).await?;
    let used = Used::now(instance)?.since(&used, items);
    let ran = told::ran(&instance.pool, head).await?;
    ensure!(ran.len() == items, "{} of {items} items were delivered", ran.len());
    let first_us = ran.iter().map(|ran| ran.began_us).min().unwrap_or_default();
    let last_us = ran.iter().map(|ran| ran.ended_us).max().unwrap_or_default();
    Ok(Drained {
        per_second: told::per_second(&ran),
        by_the_wall: items as f64 / ((last_us - resumed_us) as f64 / 1e6),
        woken_after_ms: (first_us - resumed_us) as f64 / 1e3,
        service_us: used.service,
        database_us: used.others,
    })
}

/// Processor time: of the service, and of this process and all others that it started.
struct Used {
    service: f64,
    others: f64,
}

impl Used {
    fn now(instance: &Instance) -> anyhow::Result<Self> {
        let service = cpu_seconds(instance.service.pid())?;
        Ok(Self { service, others: cpu_seconds(std::process::id())? - service })
    }

    /// Microseconds an item.
    fn since(&self, before: &Self, items: usize) -> Self {
        let each = |now: f64, before: f64| (now - before) * 1e6 / items as f64;
        Self { service: each(self.service, before.service), others: each(self.others, before.others) }
    }
}
