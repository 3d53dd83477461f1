//! The control plane: what asking costs, and that people who sign in do not slow scripts down.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use picloud::{embedded::Embedded, profile::Profile};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Bench,
    append::database,
    calls::{at, calls, start_picloud, url},
    report::Report,
    wrk,
};

/// How many try to sign in at once.
const GUESSERS: u64 = 16;

pub async fn measure(bench: &Bench, cluster: &Embedded, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("admin");
    let pool = database(cluster, "admin").await?;
    // The guessers say where they are, so that not one address is slowed down but each is a new one.
    let ours = start_picloud(bench, &url(cluster, "admin"), &["--trusted-proxies", "127.0.0.1"]).await?;
    let profile = Profile::read(&Profile::path(&bench.work.join("service")))?.context("no profile")?;
    let key = profile.key.context("no key")?;
    let (mut free, mut guarded) = (vec![], vec![]);
    for _ in 0..bench.rounds {
        free.push(wrk::get(&bench.work, &format!("{}/version", profile.url), key.expose(), 64, bench.seconds).await?);
        let app = format!("{}/api/v1/admin/apps/default", profile.url);
        guarded.push(wrk::get(&bench.work, &app, key.expose(), 64, bench.seconds).await?);
    }
    let free = calls("GET /version, 64 connections".to_owned(), &free);
    let guarded = calls("GET an app with a key, 64 connections".to_owned(), &guarded).against("version", free.median);
    report.add(free);
    report.add(guarded);

    let (mut quiet, mut stormy) = (vec![], vec![]);
    let asked = Arc::new(AtomicU64::new(0));
    for _ in 0..bench.rounds {
        sqlx::query("checkpoint").execute(&pool).await?;
        quiet.push(wrk::post(&bench.work, &at(&ours, "/hello"), 16, bench.seconds).await?);
        sqlx::query("checkpoint").execute(&pool).await?;
        let storm = Storm::start(&profile.url, &asked)?;
        stormy.push(wrk::post(&bench.work, &at(&ours, "/hello"), 16, bench.seconds).await?);
        storm.stop().await;
    }
    let quiet = calls("calls, 16 connections, nobody signs in".to_owned(), &quiet);
    let stormy = calls("calls, 16 connections, 16 guess passwords".to_owned(), &stormy).against("nobody", quiet.median);
    report.add(quiet);
    report.add(stormy);
    let seconds = bench.seconds.as_secs_f64() * bench.rounds as f64;
    let rate = asked.load(Ordering::Relaxed) as f64 / seconds;
    report.add(crate::report::line("guesses that were answered meanwhile", "/s", &[rate]));
    ours.stop().await?;
    pool.close().await;
    Ok(())
}

/// People, or none, who guess passwords.
struct Storm {
    guessers: JoinSet<()>,
    stop: CancellationToken,
}

impl Storm {
    fn start(url: &str, asked: &Arc<AtomicU64>) -> anyhow::Result<Self> {
        let address = url.strip_prefix("http://").context("not http")?.to_owned();
        let stop = CancellationToken::new();
        let mut guessers = JoinSet::new();
        for guesser in 0..GUESSERS {
            let (address, stop, asked) = (address.clone(), stop.clone(), Arc::clone(asked));
            guessers.spawn(async move {
                for n in 0_u64.. {
                    if stop.is_cancelled() {
                        return;
                    }
                    if guess(&address, guesser << 20 | n).await.is_ok() {
                        asked.fetch_add(1, Ordering::Relaxed);
                    } else {
                        sleep(Duration::from_millis(10)).await;
                    }
                }
            });
        }
        Ok(Self { guessers, stop })
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while self.guessers.join_next().await.is_some() {}
    }
}

/// One guess, from an address of its own.
async fn guess(address: &str, n: u64) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let body = format!("{{\"email\":\"nobody{n}@example.com\",\"password\":\"a guess of mine\",\"bearer\":true}}");
    let [_, a, b, c] = u32::try_from(n)?.to_be_bytes();
    let request = format!(
        "POST /api/v1/admin/session HTTP/1.1\r\nhost: {address}\r\nx-forwarded-for: 10.{a}.{b}.{c}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 401"), "not the answer to a guess");
    Ok(())
}
