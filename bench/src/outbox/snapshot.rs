//! The same drain while somebody's transaction keeps all that has died from being cleaned up: a dump, a report, a forgotten
//! session.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use super::{Outbox, backlog::By, drain, posts::steady, soak, tables};
use crate::report::{self, Report};

pub async fn measure(outbox: &Outbox<'_>, report: &mut Report) -> anyhow::Result<()> {
    let instance = &outbox.instance;
    let items = outbox.options.items;
    let mut free = vec![];
    for _ in 0..outbox.bench.rounds {
        free.push(drain::once(outbox, By::Message, items).await?.per_second);
    }
    let per_second = soak::half_of_what_it_can(outbox).await?;

    let mut holder = PgConnection::connect_with(&instance.options).await?;
    sqlx::query("begin isolation level repeatable read").execute(&mut holder).await?;
    // A snapshot is taken with the first statement.
    sqlx::query("select 1").execute(&mut holder).await?;
    let held_for = Duration::from_secs(outbox.options.held_seconds);
    steady(instance.service.port, "/later", per_second, held_for).await?;
    let dead = tables::all(&instance.pool).await?;
    let mut held = vec![];
    for _ in 0..outbox.bench.rounds {
        held.push(drain::once(outbox, By::Message, items).await?.per_second);
    }
    sqlx::query("rollback").execute(&mut holder).await?;
    holder.close().await?;

    let free = report::line("drain, just before a snapshot is held", "items/s", &free);
    let held_for = held_for.as_secs();
    let held = report::line(format!("drain, a snapshot held for {held_for} s of traffic and on"), "items/s", &held)
        .against("none held", free.median);
    report.add(free);
    report.add(held);
    report.detail("snapshot, items a second meanwhile", per_second);
    report.detail("snapshot, tables before the drain", dead);
    Ok(())
}
