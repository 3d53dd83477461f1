//! Dead letters by the thousand, tried again by one request.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use http::{Method, StatusCode};
use picloud::{client::Client, failure::Failure, profile::Target};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Outbox, instance::Instance, posts::number};
use crate::{
    calls::at,
    report::{self, Report},
};

const PATIENCE: Duration = Duration::from_secs(900);

/// How often to ask how far it is. What is measured ends when the log says, not when this is noticed.
const LOOK: Duration = Duration::from_millis(250);

pub async fn measure(outbox: &Outbox<'_>, report: &mut Report) -> anyhow::Result<()> {
    let instance = &outbox.instance;
    let count = outbox.options.letters;
    mend(instance, false).await?;
    number(instance.service.port, "/letter", count).await?;
    instance.is_done(PATIENCE).await?;
    let made = unresolved(instance).await?;
    ensure!(made == count as i64, "{made} letters, not {count}");
    mend(instance, true).await?;
    instance.checkpoint().await?;
    let head = instance.head().await?;

    let Some(job) = start(instance, outbox.options.letters_per_second).await? else {
        eprintln!("  skipped: this version has no bulk decisions about dead letters (there is no such endpoint)");
        report.note("bulk replay of dead letters was not measured: there is no such endpoint");
        return Ok(());
    };
    let began = Instant::now();
    while unresolved(instance).await? > 0 {
        ensure!(began.elapsed() < PATIENCE, "letters are left after {PATIENCE:?}");
        sleep(LOOK).await;
    }
    instance.is_done(PATIENCE).await?;
    let told = instance.admin.get::<Value>(&format!("/api/v1/admin/apps/default/jobs/{job}")).await?;

    let replayed = rate(instance, head, "dead_letter.replayed", count).await?;
    let delivered = rate(instance, head, "outbox.delivered", count).await?;
    report.add(report::line(format!("bulk replay of {count} dead letters: decided"), "letters/s", &[replayed]));
    report.add(report::line("the same: delivered", "items/s", &[delivered]));
    report.detail("letters, the job in the end", told);
    Ok(())
}

/// Whether `letter` succeeds from now on.
async fn mend(instance: &Instance, mended: bool) -> anyhow::Result<()> {
    let data_plane = Client::new(Target { url: at(&instance.service, ""), key: None })?;
    let _: Value = data_plane.send_json(Method::POST, "/mend", &json!({ "mended": mended })).await?;
    Ok(())
}

async fn unresolved(instance: &Instance) -> anyhow::Result<i64> {
    let query = "select count(*) from state.dead_letter where resolution is null or resolution = 'handler_failed'";
    Ok(sqlx::query_scalar(query).fetch_one(&instance.pool).await?)
}

/// The job's id; none, when there are no such jobs.
async fn start(instance: &Instance, per_second: u32) -> anyhow::Result<Option<String>> {
    let filter = json!({ "script": "letter" });
    let fast = json!({ "action": "replay", "filter": filter, "per_second": per_second });
    let job = match ask(instance, &fast).await {
        // 405: as if the path were a letter's, which can only be looked at.
        Err(refused) if matches!(status(&refused), Some(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)) => {
            return Ok(None);
        }
        Err(refused) if status(&refused) == Some(StatusCode::UNPROCESSABLE_ENTITY) => {
            eprintln!("  {refused}: at its own pace, then");
            ask(instance, &json!({ "action": "replay", "filter": filter })).await?
        }
        answered => answered?,
    };
    let id = ["id", "job"].iter().find_map(|name| job[name].as_str());
    Ok(Some(id.with_context(|| format!("no job is named in {job}"))?.to_owned()))
}

async fn ask(instance: &Instance, body: &Value) -> Result<Value, Failure> {
    instance.admin.send_json(Method::POST, "/api/v1/admin/apps/default/dead_letters/bulk", body).await
}

fn status(failure: &Failure) -> Option<StatusCode> {
    failure.problem.status.and_then(|status| StatusCode::from_u16(status).ok())
}

/// How many events of a kind there were a second, from the first event of the job to the last of that kind.
async fn rate(instance: &Instance, after: i64, kind: &str, count: usize) -> anyhow::Result<f64> {
    let (found, seconds): (i64, f64) = sqlx::query_as(
        "select count(*) filter (where kind = $2),
            extract(epoch from max(at) filter (where kind = $2) - min(at))::float8
        from log.events
        where position > $1",
    )
    .bind(after)
    .bind(kind)
    .fetch_one(&instance.pool)
    .await?;
    ensure!(found == count as i64, "{found} events `{kind}`, not {count}");
    Ok(count as f64 / seconds)
}
