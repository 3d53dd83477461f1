//! What was kept for long enough goes: the past that is left is told as before.

#![expect(clippy::unwrap_used, reason = "a failing unwrap in a test is the failing test")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::{
    event::{
        Actor, Class, Event, app,
        invocation::{Completed, Started},
        kv,
        outbox::{Enqueued, Payload, Source},
    },
    id::{AppId, HistoryId, InvocationId, OutboxId, ScriptId, VersionId},
    log::{
        Commit, Committed, Committer, CommitterConfig, NewEvent, Node, Position, Sealer, SealerParts, Tail,
        read::{Direction, Filter, Reader},
        retention::{Leaf, archive, drop_archived, due, snapshot},
    },
    retry::RetryPolicy,
    run::InvocationType,
    seal::SealKey,
};
use picloud_projections::{
    retention::{Keep, Retention},
    travel::{self, Moment, Past, PastEntries},
    views::{
        Keeper, metrics,
        rebuild::{Compared, rebuild},
    },
};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::value::RawValue;
use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// For waits that end by themselves unless something is broken.
const GUARD: Duration = Duration::from_secs(30);

const COLLECTION: &str = "things";
const KEYS: [&str; 4] = ["a", "b", "counter", "once"];

/// A node that appends and follows.
struct Writer {
    node: Node,
    committer: Committer,
    tail: Tail,
    reader: Reader,
    tasks: [JoinHandle<()>; 2],
}

impl Writer {
    async fn start(pool: &PgPool) -> Self {
        let node = Node::register(pool, "test", "0").await.unwrap();
        let (sender, local) = mpsc::unbounded_channel();
        let options = (*pool.connect_options()).clone();
        let listening = PgPoolOptions::new().max_connections(2).connect_lazy_with(options.clone());
        let (tail, following) = Tail::start(pool.clone(), listening, node.epoch(), local).await.unwrap();
        let (committer, committing) = Committer::start(options, node.epoch(), CommitterConfig::default(), sender, None);
        Self { node, committer, tail, reader: Reader::new(pool.clone()), tasks: [committing, following] }
    }

    /// Appends, if that can be: what cannot is no part of the history.
    async fn commit(&self, app: AppId, event: Event) -> Option<Committed> {
        let event = NewEvent::new(Some(app), &Actor::SYSTEM, event);
        self.committer.commit(Commit::new(self.node.authority(), vec![event])).await.ok()
    }

    /// The oldest part of the data, if it is full, however old it is.
    async fn oldest(&self, pool: &PgPool) -> Option<Leaf> {
        let later = Utc::now() + TimeDelta::hours(1);
        due(pool, &self.reader, Class::Data, TimeDelta::zero(), later).await.unwrap()
    }

    async fn let_go(&self, pool: &PgPool, leaf: Leaf) -> usize {
        let said = snapshot(pool, &self.reader, &self.committer, &self.node, leaf).await.unwrap();
        archive(pool, &self.committer, &self.node, leaf, None).await.unwrap();
        let mut connection = PgConnection::connect_with(pool.connect_options().as_ref()).await.unwrap();
        assert_eq!(drop_archived(&mut connection).await.unwrap(), 1);
        said
    }

    async fn stop(self) {
        self.committer.close();
        for task in self.tasks {
            timeout(GUARD, task).await.unwrap().unwrap();
        }
    }
}

/// Replaces the segments of a fresh database by many small ones.
async fn small_segments(pool: &PgPool) {
    let lows: Vec<i64> = sqlx::query_scalar("delete from log.segments returning low").fetch_all(pool).await.unwrap();
    for low in lows {
        for class in ["config", "data", "run"] {
            let drop = sqlx::AssertSqlSafe(format!("drop table log.{class}_{low}"));
            sqlx::query(drop).execute(pool).await.unwrap();
        }
    }
    for _ in 0..12 {
        sqlx::query("select log.add_segment(20)").execute(pool).await.unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set { key: usize, value: &'static str, expires_in_ms: Option<i64> },
    Increase { key: usize, by: i64 },
    Delete { key: usize },
    LetGo,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..2_usize, prop::sample::select(vec!["1", "-4", "null", "{\"z\": 1}"]), prop::option::of(-5..30_i64))
            .prop_map(|(key, value, expires_in_ms)| Step::Set { key, value, expires_in_ms }),
        6 => (0..3_usize, -9..9_i64).prop_map(|(key, by)| Step::Increase { key, by }),
        1 => (0..4_usize).prop_map(|key| Step::Delete { key }),
        1 => Just(Step::LetGo),
    ]
}

impl Step {
    fn event(&self) -> Option<Event> {
        let collection = COLLECTION.to_owned();
        let key = |key: &usize| KEYS[*key].to_owned();
        Some(match self {
            Self::Set { key: n, value, expires_in_ms } => {
                let expires_at = expires_in_ms.map(|ms| Utc::now() + TimeDelta::milliseconds(ms));
                let value = RawValue::from_string((*value).to_owned()).unwrap();
                kv::Set { collection, key: key(n), value, expires_at }.into()
            }
            Self::Increase { key: n, by } => kv::Increased { collection, key: key(n), by: *by }.into(),
            Self::Delete { key: n } => kv::Deleted { collection, key: key(n) }.into(),
            Self::LetGo => return None,
        })
    }
}

/// What there is to be read.
async fn entries(pool: &PgPool, app: AppId, at: DateTime<Utc>) -> BTreeMap<String, String> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select key, value::text from state.kv where app_id = $1 and (expires_at is null or expires_at > $2)",
    )
    .bind(app.uuid())
    .bind(at)
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter().collect()
}

async fn told(reader: &Reader, app: AppId, moment: Moment) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    for key in KEYS {
        if let Past::Was(entry) = travel::entry(reader, app, COLLECTION, key, moment).await.unwrap() {
            told.insert(key.to_owned(), entry.value);
        }
    }
    let lists = PastEntries::new(reader.clone());
    let page = lists.list(app, (COLLECTION, ""), moment, None, 10).await.unwrap();
    let listed: BTreeMap<_, _> = page.entries.into_iter().map(|(key, entry)| (key, entry.value)).collect();
    assert_eq!((&listed, page.goes_on_after), (&told, None), "the list at {moment:?}");
    told
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_left_of_the_past_is_told_as_it_was(pool: PgPool) {
    small_segments(&pool).await;
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[5; 32]));
    let writer = Writer::start(&pool).await;
    let [app, other] = [AppId::generate(), AppId::generate()];
    for (app, slug) in [(app, "shop"), (other, "other")] {
        writer.commit(app, app::Created { app, slug: slug.to_owned() }.into()).await.unwrap();
    }
    let once = kv::Set {
        collection: COLLECTION.to_owned(),
        key: "once".to_owned(),
        value: RawValue::from_string("{\"said\":  true}".to_owned()).unwrap(),
        expires_at: None,
    };
    writer.commit(app, once.into()).await.unwrap();
    let steps = prop::collection::vec(step(), 170..171).new_tree(&mut runner).unwrap().current();
    let (mut seen, mut gone, mut said, mut looked) = (Vec::new(), 0, 0, 0);
    for step in &steps {
        match step.event() {
            Some(event) => {
                // Under the same names in another app: none of its business.
                let increase = Step::Increase { key: 2, by: 1_000 }.event().unwrap();
                writer.commit(other, increase).await.unwrap();
                let Some(committed) = writer.commit(app, event).await else { continue };
                let moment = Moment { position: committed.last, at: committed.at };
                seen.push((moment, entries(&pool, app, committed.at).await));
            }
            None => {
                let Some(leaf) = writer.oldest(&pool).await else { continue };
                said += writer.let_go(&pool, leaf).await;
                gone += 1;
                let kept = seen.iter().filter(|(moment, _)| moment.position.0 >= leaf.high.0 - 1);
                for (moment, was) in kept {
                    assert_eq!(told(&writer.reader, app, *moment).await, *was, "at {moment:?} without {leaf}");
                    looked += 1;
                }
            }
        }
    }
    assert!(gone > 5 && said > 20 && looked > 100, "{gone} parts went, {said} entries were said, {looked} moments");
    writer.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_deleted_is_not_said_to_be_there(pool: PgPool) {
    small_segments(&pool).await;
    let writer = Writer::start(&pool).await;
    let app = AppId::generate();
    writer.commit(app, app::Created { app, slug: "shop".to_owned() }.into()).await.unwrap();
    let set = Step::Set { key: 0, value: "1", expires_in_ms: None }.event().unwrap();
    writer.commit(app, set).await.unwrap();
    let expired = Step::Set { key: 1, value: "1", expires_in_ms: Some(-5) }.event().unwrap();
    writer.commit(app, expired).await.unwrap();
    let fill = async || {
        while writer.commit(app, Step::Increase { key: 2, by: 1 }.event().unwrap()).await.unwrap().last.0 % 20 != 0 {}
    };
    fill().await;
    writer.commit(app, Step::Delete { key: 0 }.event().unwrap()).await.unwrap();
    fill().await;
    for _ in 0..2 {
        fill().await;
        let leaf = writer.oldest(&pool).await.unwrap();
        writer.let_go(&pool, leaf).await;
    }
    let filter =
        Filter { kinds: vec!["kv.snapshot".to_owned()], subject: Some("kv:things/a".to_owned()), ..Filter::default() };
    let head = writer.reader.head().await.unwrap();
    let said = writer.reader.list(&filter, Direction::Forward, Position::ZERO, head, 10).await.unwrap();
    let values: Vec<_> = said
        .iter()
        .map(|said| match &said.event.event {
            Event::KvSnapshot(snapshot) => snapshot.value.as_ref().map(|value| value.get().to_owned()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(values, [Some("1".to_owned()), None], "that it was there, and then that it was not");
    let of_expired = Filter { subject: Some("kv:things/b".to_owned()), ..filter };
    let said = writer.reader.list(&of_expired, Direction::Forward, Position::ZERO, head, 10).await.unwrap();
    assert_eq!(said.len(), 0, "nobody would read it");
    let moment = Moment { position: writer.reader.floor(Class::Data).await.unwrap(), at: Utc::now() };
    let past = travel::entry(&writer.reader, app, COLLECTION, "a", moment).await.unwrap();
    assert!(matches!(past, Past::Gone { .. }), "{past:?}");
    writer.stop().await;
}

/// A short run.
fn run(writer: &Writer) -> [Event; 2] {
    let invocation = InvocationId::generate();
    let started = Started {
        invocation,
        script: ScriptId::generate(),
        version: VersionId::generate(),
        invocation_type: InvocationType::Http,
        route: None,
        trigger: None,
        item: None,
        attempt: 1,
        node: writer.node.epoch(),
        recording: None,
    };
    let completed = Completed { invocation, status: 200, duration_us: 5, operations: 3, runs: 1, recording: None };
    [started.into(), completed.into()]
}

fn owed(item: OutboxId) -> Enqueued {
    Enqueued {
        item,
        source: Source::Invoke,
        script: ScriptId::generate(),
        version: None,
        lane: None,
        priority: 0,
        due_at: None,
        retry: RetryPolicy::default(),
        payload: Payload::Event(RawValue::from_string("{}".to_owned()).unwrap()),
        is_watched: false,
        replay_of: None,
        handles: None,
        carried: None,
    }
}

/// How many tables hold events of a class.
async fn leaves(pool: &PgPool, class: &str) -> i64 {
    let query = "select count(*) from pg_class where relnamespace = 'log'::regnamespace and relname ~ ('^' || $1 || '_[0-9]+$')";
    sqlx::query_scalar(query).bind(class).fetch_one(pool).await.unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_node_lets_go_of_what_is_old_and_keeps_what_is_owed_and_what_is_set_up(pool: PgPool) {
    small_segments(&pool).await;
    let writer = Writer::start(&pool).await;
    let direct = pool.connect_options().as_ref().clone();
    let (keeper, views) = Keeper::new(pool.clone(), direct.clone(), writer.tail.clone(), writer.reader.clone());
    let stop = CancellationToken::new();
    let viewing = tokio::spawn(keeper.run(stop.clone()));
    let (sealer, _seals) = Sealer::new(SealerParts {
        database: pool.clone(),
        direct: direct.clone(),
        committer: writer.committer.clone(),
        tail: writer.tail.clone(),
        reader: writer.reader.clone(),
        node: writer.node,
        history: HistoryId::generate(),
        key: Arc::new(SealKey::from_seed(&[7; 32])),
    });
    let sealing = tokio::spawn(sealer.run(stop.clone()));
    let folder = tempfile::tempdir().unwrap();
    let retention = Retention {
        database: pool.clone(),
        direct,
        committer: writer.committer.clone(),
        reader: writer.reader.clone(),
        views: views.clone(),
        patience: GUARD,
        node: writer.node,
        keep: Keep { runs: Some(TimeDelta::days(30)), data: None, archive: Some(folder.path().to_owned()) },
    };
    let app = AppId::generate();
    let [item, later] = [OutboxId::generate(), OutboxId::generate()];
    writer.commit(app, app::Created { app, slug: "shop".to_owned() }.into()).await.unwrap();
    writer.commit(app, owed(item).into()).await.unwrap();
    for _ in 0..40 {
        for event in run(&writer) {
            writer.commit(app, event).await.unwrap();
        }
    }
    writer.commit(app, owed(later).into()).await.unwrap();
    let head = writer.reader.head().await.unwrap();
    assert!(views.all_reach(head, GUARD).await.unwrap());

    assert_eq!(retention.let_go(Utc::now() + TimeDelta::days(29)).await.unwrap(), [], "nothing is that old");
    let before = leaves(&pool, "run").await;
    let in_a_month = Utc::now() + TimeDelta::days(31);
    // What is not sealed yet stays until it is.
    let gone = timeout(GUARD, async {
        let mut gone = Vec::new();
        while gone.len() < 4 {
            gone.extend(retention.let_go(in_a_month).await.unwrap());
        }
        gone
    })
    .await
    .unwrap();
    assert!(gone.iter().all(|leaf| leaf.class == Class::Run), "{gone:?}");
    assert_eq!(leaves(&pool, "run").await, before - gone.len() as i64);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), gone.len(), "each in a file");
    assert_eq!(leaves(&pool, "data").await, before, "data is kept for ever here");

    // Of what is left, views say what anybody would who reads it anew.
    assert_eq!(metrics::pending(&pool).await.unwrap(), 2);
    let floor = writer.reader.floor(Class::Run).await.unwrap();
    let oldest: i64 = sqlx::query_scalar("select min(position) from views.invocation").fetch_one(&pool).await.unwrap();
    assert!(oldest > floor.0, "{oldest}");
    for view in rebuild(&pool, &[], false, |_| {}).await.unwrap() {
        assert!(matches!(view.compared, Compared::Same { .. }), "{view:?}");
    }
    let pending: Vec<uuid::Uuid> =
        sqlx::query_scalar("select o.id from state.outbox o join log.run e on e.position = o.position order by o.id")
            .fetch_all(&pool)
            .await
            .unwrap();
    let mut expected = [item.uuid(), later.uuid()];
    expected.sort_unstable();
    assert_eq!(pending, expected, "and found where they are said");
    let app_created: i64 = sqlx::query_scalar("select count(*) from log.config where kind = 'app.created'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(app_created, 1);
    stop.cancel();
    for task in [viewing, sealing] {
        timeout(GUARD, task).await.unwrap().unwrap();
    }
    writer.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn nothing_goes_that_a_view_has_not_taken_in(pool: PgPool) {
    small_segments(&pool).await;
    let writer = Writer::start(&pool).await;
    let direct = pool.connect_options().as_ref().clone();
    // Nobody folds them.
    let (_keeper, views) = Keeper::new(pool.clone(), direct.clone(), writer.tail.clone(), writer.reader.clone());
    let app = AppId::generate();
    for _ in 0..30 {
        for event in run(&writer) {
            writer.commit(app, event).await.unwrap();
        }
    }
    let seal = serde_json::json!({ "up_to": 60 }).to_string();
    sqlx::query(
        "insert into log.events (position, id, at, kind, subject, data, actor, depth, class)
        values (61, gen_random_uuid(), now(), 'seal.sealed', 'seal:1', $1::json, '{}', 0, 'config')",
    )
    .bind(seal)
    .execute(&pool)
    .await
    .unwrap();
    let before = leaves(&pool, "run").await;
    let retention = Retention {
        database: pool.clone(),
        direct,
        committer: writer.committer.clone(),
        reader: writer.reader.clone(),
        views,
        patience: Duration::from_millis(200),
        node: writer.node,
        keep: Keep::DEFAULT,
    };
    assert_eq!(retention.let_go(Utc::now() + TimeDelta::days(31)).await.unwrap(), []);
    assert_eq!(leaves(&pool, "run").await, before);
    writer.stop().await;
}
