//! What views and seals cost who calls scripts, and how far they lag behind meanwhile.

use std::time::Duration;

use picloud::embedded::Embedded;
use picloud_core::log::{alone, no_longer_alone};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::{select, time::sleep};

use crate::{
    Bench,
    append::database,
    audit::until_folded,
    calls::{at, calls, start_picloud, url},
    outbox::Latencies,
    report::{self, Report},
    wrk,
};

const CONNECTIONS: usize = 64;

/// How often it is looked how far the views are.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a service leaves alone as long as somebody else holds it.
const WORK: [&str; 6] = ["seals", "view invocations", "view logs", "view metrics", "view activity", "view errors"];

/// Views that are behind for longer than that, 19 times of 20, are late.
const BOUND_S: f64 = 1.0;

pub async fn measure(bench: &Bench, with: &Embedded, without: &Embedded, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("views");
    let pool = database(with, "with_views").await?;
    let bare_pool = database(without, "without_views").await?;
    let mut locks = PgConnection::connect_with(&without.options().database("without_views")).await?;
    for work in WORK {
        anyhow::ensure!(alone(&mut locks, work).await?, "somebody else does {work} already");
    }
    let ours = start_picloud(bench, &url(with, "with_views"), &[]).await?;
    let bare = start_picloud(bench, &url(without, "without_views"), &[]).await?;

    let (mut all, mut least, mut lags) = (vec![], vec![], vec![]);
    for _ in 0..bench.rounds {
        for pool in [&pool, &bare_pool] {
            sqlx::query("checkpoint").execute(pool).await?;
        }
        least.push(wrk::post(&bench.work, &at(&bare, "/hello"), CONNECTIONS, bench.seconds).await?);
        let behind = async {
            loop {
                lags.push(lag_s(&pool).await?);
                sleep(LOOK_EVERY).await;
            }
        };
        // The first call ends what was idle until then.
        let url = at(&ours, "/hello");
        wrk::post(&bench.work, &url, CONNECTIONS, Duration::from_secs(1)).await?;
        let found = select! {
            found = wrk::post(&bench.work, &url, CONNECTIONS, bench.seconds) => found?,
            failed = behind => return failed,
        };
        all.push(found);
        // It is not to be paid for by the next round.
        let head: i64 = sqlx::query_scalar("select log.find_head()").fetch_one(&pool).await?;
        until_folded(&pool, head as u64).await?;
    }
    let folded: i64 =
        sqlx::query_scalar("select count(*) from views.checkpoint where position > 0").fetch_one(&bare_pool).await?;
    anyhow::ensure!(folded == 0, "{folded} views were folded where none was to be");
    let least = calls(format!("calls without views and seals, {CONNECTIONS} connections"), &least);
    let all =
        calls(format!("calls with all of them, {CONNECTIONS} connections"), &all).against("without", least.median);
    let lags: Latencies = lags.into_iter().collect();
    let lag = report::line("meanwhile, how far the last view is behind: p95", "s", &[lags.p95()])
        .with_latency(lags.p50() * 1e3, lags.p99() * 1e3)
        .against("a second", BOUND_S);
    report.add_all([least, all, lag]);
    ours.stop().await?;
    bare.stop().await?;
    no_longer_alone(locks).await?;
    pool.close().await;
    bare_pool.close().await;
    Ok(())
}

/// How long ago that was committed which the slowest view has taken in last; while events come all the time.
async fn lag_s(pool: &PgPool) -> anyhow::Result<f64> {
    let lag = "select extract(epoch from clock_timestamp() - min(at))::float8 from views.checkpoint";
    Ok(sqlx::query_scalar(lag).fetch_one(pool).await?)
}
