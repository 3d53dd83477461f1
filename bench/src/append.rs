//! The log's own speed: batches of events through the committer, against the same rows inserted raw.

use std::time::{Duration, Instant};

use futures::future::join_all;
use picloud::embedded::Embedded;
use picloud_core::{
    event::{Actor, invocation},
    id::{AppId, EventId, InvocationId},
    log::{Commit, Committer, CommitterConfig, NewEvent, Node, schema},
    run::{LogLevel, LogLine},
};
use sqlx::{
    Connection as _, Executor as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    Bench,
    report::{self, Report},
};

/// Events of one batch, as the committer would gather under load.
const BATCH: usize = 300;

/// Commits of half a batch each that wait together.
const COMMITS_AT_ONCE: usize = 200;

pub async fn measure(bench: &Bench, cluster: &Embedded, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("append");
    let pool = database(cluster, "append").await?;
    schema::migrate(&pool).await?;
    let node = Node::register(&pool, "bench", "0").await?;
    // Nobody is told: what the log itself costs is measured.
    let (told, mut tail) = mpsc::unbounded_channel();
    let drain = tokio::spawn(async move { while tail.recv().await.is_some() {} });
    let options = cluster.options().database("append");
    let (committer, committing) =
        Committer::start(options.clone(), node.epoch(), CommitterConfig::default(), told, None);

    let (mut raw, mut appended, mut alone, mut inserted) = (vec![], vec![], vec![], vec![]);
    for _ in 0..bench.rounds {
        raw.push(insert_raw(bench, &options).await?);
        appended.push(append(bench, &committer, node).await?);
        let (insert_ms, commit_ms) = one_at_a_time(bench, &options, &committer, node).await?;
        inserted.push(insert_ms);
        alone.push(commit_ms);
    }
    let raw = report::line(format!("raw insert, unnest, {BATCH} rows a statement"), "rows/s", &raw);
    let appended = report::line(format!("log append, batches of {BATCH} events"), "events/s", &appended)
        .against("raw insert", raw.median);
    let inserted = report::line("insert one row, autocommit, one at a time: p50", "ms", &inserted);
    let alone =
        report::line("commit one event, one at a time: p50", "ms", &alone).against("one-row insert", inserted.median);
    for line in [raw, appended, inserted, alone] {
        report.add(line);
    }
    committer.close();
    committing.await?;
    drain.await?;
    pool.close().await;
    Ok(())
}

/// A fresh database in the cluster.
pub async fn database(cluster: &Embedded, name: &str) -> anyhow::Result<PgPool> {
    let mut connection = PgConnection::connect_with(&cluster.options()).await?;
    let sql = format!("create database {name}");
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await?;
    connection.close().await?;
    Ok(PgPoolOptions::new().max_connections(24).connect_with(cluster.options().database(name)).await?)
}

/// An event that no table of state follows from: what the log costs is measured.
fn event(app: AppId, actor: &Actor) -> NewEvent {
    let invocation = InvocationId::generate();
    let message = "something of about the length that the usual event of a run has, its recording included; ".repeat(3);
    let line = LogLine { level: LogLevel::Info, after_us: 250, message, data: None };
    let logged = invocation::Logged { invocation, lines: vec![line], dropped: 0 };
    NewEvent::new(Some(app), actor, logged).following(None, invocation, 0)
}

async fn insert_raw(bench: &Bench, options: &PgConnectOptions) -> anyhow::Result<f64> {
    let mut connection = PgConnection::connect_with(options).await?;
    connection
        .execute(
            "drop table if exists public.raw;
            create table public.raw (position bigint primary key, id uuid not null, at timestamptz not null, app_id uuid,
                kind text not null, subject text not null, data json not null, actor json not null, cause uuid, root uuid,
                depth smallint not null, class text not null)",
        )
        .await?;
    let app = AppId::generate();
    let events: Vec<NewEvent> = (0..BATCH).map(|_| event(app, &Actor::SYSTEM)).collect();
    let began = Instant::now();
    let mut position = 0_i64;
    while began.elapsed() < bench.seconds {
        let id: Vec<Uuid> = (0..BATCH).map(|_| EventId::generate().uuid()).collect();
        let kind: Vec<&str> = events.iter().map(|event| event.event.kind()).collect();
        let subject: Vec<&str> = events.iter().map(|event| event.subject.as_str()).collect();
        let data: Vec<&str> = events.iter().map(|event| event.data.as_str()).collect();
        let actor: Vec<&str> = events.iter().map(|event| &*event.actor_json).collect();
        let root: Vec<Option<Uuid>> = events.iter().map(|event| event.root.map(Uuid::from)).collect();
        sqlx::query(
            "insert into public.raw
            select $1 + n, id, now(), $2, kind, subject, data::json, actor::json, null, root, 0, 'run'
            from unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[]) with ordinality
                as e (id, kind, subject, data, actor, root, n)",
        )
        .bind(position)
        .bind(app.uuid())
        .bind(id)
        .bind(kind)
        .bind(subject)
        .bind(data)
        .bind(actor)
        .bind(root)
        .execute(&mut connection)
        .await?;
        position += BATCH as i64;
    }
    let rate = position as f64 / began.elapsed().as_secs_f64();
    connection.close().await?;
    Ok(rate)
}

/// Commits that are there already, as the rows of the raw insert are; enough at once for full batches.
async fn append(bench: &Bench, committer: &Committer, node: Node) -> anyhow::Result<f64> {
    let app = AppId::generate();
    let (mut appended, mut took) = (0, Duration::ZERO);
    while took < bench.seconds {
        let commits: Vec<Commit> = (0..COMMITS_AT_ONCE)
            .map(|_| {
                let events = (0..BATCH / 2).map(|_| event(app, &Actor::SYSTEM)).collect();
                Commit::new(node.authority(), events)
            })
            .collect();
        let began = Instant::now();
        for committed in join_all(commits.into_iter().map(|commit| committer.commit(commit))).await {
            committed.map_err(anyhow::Error::from)?;
        }
        took += began.elapsed();
        appended += COMMITS_AT_ONCE * (BATCH / 2);
    }
    Ok(appended as f64 / took.as_secs_f64())
}

/// Median milliseconds of a one-row insert and of a commit of one event, taken in turn.
async fn one_at_a_time(
    bench: &Bench,
    options: &PgConnectOptions,
    committer: &Committer,
    node: Node,
) -> anyhow::Result<(f64, f64)> {
    let mut one_row = OneRow::connect(options).await?;
    let (mut inserts, mut commits) = (vec![], vec![]);
    let began = Instant::now();
    while began.elapsed() < bench.seconds {
        inserts.push(one_row.insert_ms().await?);
        let event = event(AppId::generate(), &Actor::SYSTEM);
        let at = Instant::now();
        committer.commit(Commit::new(node.authority(), vec![event])).await.map_err(anyhow::Error::from)?;
        commits.push(at.elapsed().as_secs_f64() * 1e3);
    }
    one_row.close().await?;
    Ok((median(inserts), median(commits)))
}

/// Median milliseconds of a one-row insert, autocommit, one after the other: the least that a durable answer can take.
pub async fn one_row_insert_ms(bench: &Bench, options: &PgConnectOptions) -> anyhow::Result<f64> {
    let mut one_row = OneRow::connect(options).await?;
    let mut inserts = vec![];
    let began = Instant::now();
    while began.elapsed() < bench.seconds {
        inserts.push(one_row.insert_ms().await?);
    }
    one_row.close().await?;
    Ok(median(inserts))
}

/// A connection as the committer's, and a table of its own.
struct OneRow {
    connection: PgConnection,
    data: String,
}

impl OneRow {
    async fn connect(options: &PgConnectOptions) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect_with(options).await?;
        connection.execute("create table if not exists public.one (id uuid primary key, data text not null)").await?;
        Ok(Self { connection, data: event(AppId::generate(), &Actor::SYSTEM).data })
    }

    async fn insert_ms(&mut self) -> anyhow::Result<f64> {
        let at = Instant::now();
        sqlx::query("insert into public.one values ($1, $2)")
            .bind(EventId::generate().uuid())
            .bind(&self.data)
            .execute(&mut self.connection)
            .await?;
        Ok(at.elapsed().as_secs_f64() * 1e3)
    }

    async fn close(self) -> anyhow::Result<()> {
        Ok(self.connection.close().await?)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
