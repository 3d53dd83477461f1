//! How fast what has piled up is done.

use std::time::Duration;

use anyhow::ensure;

use super::{
    Outbox, backlog,
    peers::{Mode, Theirs},
    posts::now_us,
    told,
};
use crate::report::{self, Report};

/// However slow the machine is.
const PATIENCE: Duration = Duration::from_secs(900);

pub async fn measure(outbox: &Outbox<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (mut ours, mut wall, mut woken) = (vec![], vec![], vec![]);
    let mut theirs = Theirs::new(Mode::Drain);
    for _ in 0..outbox.bench.rounds {
        let drained = once(outbox, outbox.options.items).await?;
        ours.push(drained.per_second);
        wall.push(drained.by_the_wall);
        woken.push(drained.woken_after_ms);
        theirs.measure(outbox, report).await;
    }
    let what = format!("drain of {} items, first start to last end", outbox.options.items);
    theirs.report("drain, first start to last end", report::line(what, "items/s", &ours), report);
    report.add(report::line("the same from `resume` being sent", "items/s", &wall));
    report.add(report::line("from `resume` being sent to the first start", "ms", &woken));
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
}

/// Lets so many items pile up behind a pause, and ends that.
pub async fn once(outbox: &Outbox<'_>, items: usize) -> anyhow::Result<Drained> {
    let instance = &outbox.instance;
    instance.is_done(PATIENCE).await?;
    instance.set_paused(true).await?;
    let made = backlog::make(instance, items).await;
    instance.checkpoint().await?;
    let head = instance.head().await?;
    let resumed_us = now_us();
    // Also when the items could not be made: what follows needs the app.
    instance.set_paused(false).await?;
    made?;
    instance.is_done(PATIENCE).await?;
    let ran = told::ran(&instance.pool, head).await?;
    ensure!(ran.len() == items, "{} of {items} items were delivered", ran.len());
    let first_us = ran.iter().map(|ran| ran.began_us).min().unwrap_or_default();
    let last_us = ran.iter().map(|ran| ran.ended_us).max().unwrap_or_default();
    Ok(Drained {
        per_second: told::per_second(&ran),
        by_the_wall: items as f64 / ((last_us - resumed_us) as f64 / 1e6),
        woken_after_ms: (first_us - resumed_us) as f64 / 1e3,
    })
}
