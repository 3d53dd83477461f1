//! Time travel on a real database: what is told of a moment is what was there to be read right after it.

#![expect(clippy::unwrap_used, reason = "a failing unwrap in a test is the failing test")]

use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use picloud_core::{
    event::{
        Actor, Event, app,
        dead_letter::{self, Closing, Reason},
        kv,
        outbox::{Enqueued, Payload, Source},
        route, script, trigger,
    },
    id::{AppId, DataKeyId, DeadLetterId, OutboxId, RouteId, ScriptId, TriggerId, VersionId},
    keys::Sealed,
    limits::Limits,
    log::{Commit, Committed, Committer, CommitterConfig, NewEvent, Node, read::Reader},
    retry::RetryPolicy,
    state::{kv::Entry, route::Route, trigger::Trigger},
};
use picloud_projections::{
    dead_letters, kv as entries,
    travel::{self, Moment, Past, PastEntries},
};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{json, value::RawValue};
use sqlx::{PgPool, types::Json};
use tokio::{sync::mpsc, task::JoinHandle};

const COLLECTION: &str = "things";
const KEYS: [&str; 2] = ["a", "b"];
const SCRIPTS: [&str; 2] = ["charge", "mail"];

/// A node that appends.
struct Writer {
    node: Node,
    committer: Committer,
    task: JoinHandle<()>,
    reader: Reader,
    _local: mpsc::UnboundedReceiver<picloud_core::log::Appended>,
}

impl Writer {
    async fn start(pool: &PgPool) -> Self {
        let node = Node::register(pool, "test", "0").await.unwrap();
        let (sender, local) = mpsc::unbounded_channel();
        let options = (*pool.connect_options()).clone();
        let (committer, task) = Committer::start(options, node.epoch(), CommitterConfig::default(), sender, None);
        Self { node, committer, task, reader: Reader::new(pool.clone()), _local: local }
    }

    /// Appends, if that can be: what cannot is no part of the history.
    async fn commit(&self, app: AppId, events: Vec<Event>) -> Option<Committed> {
        let events = events.into_iter().map(|event| NewEvent::new(Some(app), &Actor::SYSTEM, event)).collect();
        self.committer.commit(Commit::new(self.node.authority(), events)).await.ok()
    }

    async fn stop(self) {
        self.committer.close();
        self.task.await.unwrap();
    }
}

/// Something that somebody does. Numbers choose among what there has been, so much of it makes no sense: then it is refused,
/// or changes nothing.
#[derive(Clone, Debug)]
enum Step {
    Set { key: usize, value: &'static str, expires_in_ms: Option<i64> },
    Increase { key: usize, by: i64 },
    Delete { key: usize },
    Deploy { script: usize },
    Activate { script: usize, version: usize },
    Pause { script: usize, is_paused: bool },
    DeleteScript { script: usize },
    Bind { script: usize, path: &'static str },
    Rebind { route: usize, script: usize, path: &'static str },
    Unbind { route: usize },
    CreateTrigger { script: usize, collection: &'static str },
    UpdateTrigger { trigger: usize, script: usize, collection: &'static str },
    Trigger { trigger: usize, what: usize },
    Letter { handlers: usize },
    Decide { letter: usize, what: usize },
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..4_usize;
    let path = || prop::sample::select(vec!["/a", "/b/:id", "/c/*"]);
    let collection = || prop::sample::select(vec!["carts", "orders*"]);
    prop_oneof![
        4 => (0..2_usize, prop::sample::select(vec!["1", "-4", "null", "{\"z\": 1}"]), prop::option::of(-5..40_i64))
            .prop_map(|(key, value, expires_in_ms)| Step::Set { key, value, expires_in_ms }),
        5 => (0..2_usize, -9..9_i64).prop_map(|(key, by)| Step::Increase { key, by }),
        2 => (0..2_usize).prop_map(|key| Step::Delete { key }),
        4 => (0..2_usize).prop_map(|script| Step::Deploy { script }),
        3 => (0..2_usize, n.clone()).prop_map(|(script, version)| Step::Activate { script, version }),
        1 => (0..2_usize, any::<bool>()).prop_map(|(script, is_paused)| Step::Pause { script, is_paused }),
        1 => (0..2_usize).prop_map(|script| Step::DeleteScript { script }),
        3 => (0..2_usize, path()).prop_map(|(script, path)| Step::Bind { script, path }),
        2 => (n.clone(), 0..2_usize, path()).prop_map(|(route, script, path)| Step::Rebind { route, script, path }),
        1 => n.clone().prop_map(|route| Step::Unbind { route }),
        3 => (0..2_usize, collection()).prop_map(|(script, collection)| Step::CreateTrigger { script, collection }),
        2 => (n.clone(), 0..2_usize, collection())
            .prop_map(|(trigger, script, collection)| Step::UpdateTrigger { trigger, script, collection }),
        4 => (n.clone(), 0..5_usize).prop_map(|(trigger, what)| Step::Trigger { trigger, what }),
        3 => (0..3_usize).prop_map(|handlers| Step::Letter { handlers }),
        8 => (n, 0..5_usize).prop_map(|(letter, what)| Step::Decide { letter, what }),
        1 => (1..20_u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// What there has been.
#[derive(Default)]
struct Made {
    scripts: [Option<ScriptId>; 2],
    versions: Vec<(ScriptId, VersionId)>,
    routes: Vec<RouteId>,
    triggers: Vec<TriggerId>,
    letters: Vec<DeadLetterId>,
}

/// One of those that have been, if there has been any.
fn picked<T: Copy>(made: &[T], n: usize) -> Option<T> {
    made.get(n.checked_rem(made.len())?).copied()
}

impl Made {
    /// The events of a step; none when there is nothing that it could be done to.
    fn events(&mut self, step: &Step) -> Option<Vec<Event>> {
        let collection = || COLLECTION.to_owned();
        let key = |key: &usize| KEYS[*key].to_owned();
        let definition = |script: ScriptId, path: &str| route::Definition {
            method: None,
            host: None,
            path: path.to_owned(),
            script,
            mode: route::Mode::Sync,
            record: picloud_core::run::Record::default(),
            cors: None,
            rate_limit: None,
            rate_limit_per_address: None,
            retry: None,
        };
        let watching = |script: ScriptId, collection: &str| trigger::Definition {
            when: serde_json::from_value(json!({ "kind": "kv", "collection": collection })).unwrap(),
            script,
            retry: RetryPolicy::default(),
        };
        let registrant = || trigger::Registrant { account: None, key: None, scopes: None };
        let event: Event = match step {
            Step::Set { key: k, value, expires_in_ms } => kv::Set {
                collection: collection(),
                key: key(k),
                value: RawValue::from_string((*value).to_owned()).unwrap(),
                expires_at: expires_in_ms.map(|ms| Utc::now() + TimeDelta::milliseconds(ms)),
            }
            .into(),
            Step::Increase { key: k, by } => kv::Increased { collection: collection(), key: key(k), by: *by }.into(),
            Step::Delete { key: k } => kv::Deleted { collection: collection(), key: key(k) }.into(),
            Step::Deploy { script } => {
                let name = SCRIPTS[*script].to_owned();
                let script = *self.scripts[*script].get_or_insert_with(ScriptId::generate);
                let version = VersionId::generate();
                self.versions.push((script, version));
                script::Deployed {
                    script,
                    name,
                    script_kind: script::ScriptKind::Endpoint,
                    version,
                    number: self.versions.len() as u32,
                    source: format!("\"{version}\""),
                    sha256: String::new(),
                    imports: Vec::new(),
                    limits: Limits::default(),
                    message: None,
                }
                .into()
            }
            Step::Activate { script, version } => {
                let script = self.scripts[*script]?;
                let versions: Vec<_> = self.versions.iter().filter(|(of, _)| *of == script).collect();
                let version = versions.get(version % versions.len().max(1))?.1;
                script::Activated { script, version }.into()
            }
            Step::Pause { script, is_paused } => {
                let script = self.scripts[*script]?;
                if *is_paused { script::Paused { script }.into() } else { script::Resumed { script }.into() }
            }
            Step::DeleteScript { script } => script::Deleted { script: self.scripts[*script]? }.into(),
            Step::Bind { script, path } => {
                let route = RouteId::generate();
                self.routes.push(route);
                route::Bound { route, definition: definition(self.scripts[*script]?, path) }.into()
            }
            Step::Rebind { route, script, path } => {
                let route = picked(&self.routes, *route)?;
                route::Updated { route, definition: definition(self.scripts[*script]?, path) }.into()
            }
            Step::Unbind { route } => route::Unbound { route: picked(&self.routes, *route)? }.into(),
            Step::CreateTrigger { script, collection } => {
                let trigger = TriggerId::generate();
                self.triggers.push(trigger);
                let definition = watching(self.scripts[*script]?, collection);
                trigger::Created { trigger, definition, registrant: registrant() }.into()
            }
            Step::UpdateTrigger { trigger, script, collection } => {
                let definition = watching(self.scripts[*script]?, collection);
                trigger::Updated { trigger: picked(&self.triggers, *trigger)?, definition, registrant: registrant() }
                    .into()
            }
            Step::Trigger { trigger, what } => {
                let trigger = picked(&self.triggers, *trigger)?;
                match what {
                    0 => trigger::Enabled { trigger, registrant: registrant() }.into(),
                    1 => trigger::Disabled { trigger, why: Some("nobody answers for it".to_owned()) }.into(),
                    2 => trigger::Paused { trigger }.into(),
                    3 => trigger::Resumed { trigger }.into(),
                    _ => trigger::Deleted { trigger }.into(),
                }
            }
            Step::Letter { handlers } => return Some(self.letter(*handlers)),
            Step::Decide { letter, what } => {
                let dead_letter = picked(&self.letters, *letter)?;
                let item = OutboxId::generate();
                let ended = |error: Option<&str>| dead_letter::HandlerEnded {
                    dead_letter,
                    item,
                    invocation: None,
                    error: error.map(str::to_owned),
                };
                match what {
                    0 => ended(None).into(),
                    1 => ended(Some("boom")).into(),
                    2 => dead_letter::Replayed { dead_letter, item, is_edited: false, version: None, job: None }.into(),
                    3 => {
                        let (resolution, reason) = (Closing::Ignored, Some("known".to_owned()));
                        dead_letter::Resolved { dead_letter, resolution, reason, job: None }.into()
                    }
                    _ => dead_letter::Purged { dead_letter }.into(),
                }
            }
            Step::Wait { .. } => return None,
        };
        Some(vec![event])
    }

    /// A letter, and what is owed to take care of it.
    fn letter(&mut self, handlers: usize) -> Vec<Event> {
        let dead_letter = DeadLetterId::generate();
        self.letters.push(dead_letter);
        let sealed = Sealed { key_id: DataKeyId::generate(), nonce: String::new(), ciphertext: String::new() };
        let created = dead_letter::Created {
            dead_letter,
            item: OutboxId::generate(),
            source: Source::Invoke,
            script: ScriptId::generate(),
            script_name: "charge".to_owned(),
            version: None,
            lane: None,
            priority: 0,
            retry: RetryPolicy::default(),
            enqueued_at: Utc::now(),
            reason: Reason::AttemptsExhausted,
            error: "boom".to_owned(),
            fingerprint: "charge: boom".to_owned(),
            attempts: Vec::new(),
            payload: sealed,
        };
        let owed = (0..handlers).map(|_| {
            Event::from(Enqueued {
                item: OutboxId::generate(),
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
                handles: Some(dead_letter),
                carried: None,
            })
        });
        std::iter::once(created.into()).chain(owed).collect()
    }
}

/// Value, expiry and version.
type EntryPicture = (String, Option<DateTime<Utc>>, i64);

/// All that can be asked for, in a form that can be compared.
#[derive(Debug, Default, PartialEq)]
struct Picture {
    entries: Vec<Option<EntryPicture>>,
    listed: Vec<(String, EntryPicture)>,
    scripts: Vec<(ScriptId, String, bool, Option<String>, i64)>,
    routes: Vec<Route>,
    triggers: Vec<Trigger>,
    letters: Vec<Option<String>>,
}

fn letter(letter: &dead_letters::Letter) -> String {
    format!("{} {:?} {:?} {}", letter.created.dead_letter, letter.created_at, letter.resolved, letter.position)
}

/// What is there to be read now.
async fn live(pool: &PgPool, app: AppId, made: &Made, now: DateTime<Utc>) -> Picture {
    let mut pictured = Picture::default();
    let picture = |entry: entries::Entry| (entry.value.get().to_owned(), entry.expires_at, entry.version.0);
    for entry in entries::list(pool, app, COLLECTION, "", None, 10).await.unwrap() {
        if entry.expires_at.is_none_or(|expires_at| expires_at > now) {
            pictured.listed.push((entry.key.clone(), picture(entry)));
        }
    }
    for key in KEYS {
        let entry = entries::get(pool, app, COLLECTION, key).await.unwrap();
        let entry = entry.filter(|entry| entry.expires_at.is_none_or(|expires_at| expires_at > now));
        pictured.entries.push(entry.map(picture));
    }
    pictured.scripts = sqlx::query_as::<_, (uuid::Uuid, String, bool, Option<String>, i64)>(
        "select s.id, s.name, s.is_paused, v.source, s.position
        from state.script s left join state.version v on v.id = s.active_version where s.app_id = $1 order by s.id",
    )
    .bind(app.uuid())
    .fetch_all(pool)
    .await
    .unwrap()
    .into_iter()
    .map(|(id, name, is_paused, source, position)| (id.into(), name, is_paused, source, position))
    .collect();
    pictured.routes = sqlx::query_as::<_, (uuid::Uuid, Json<route::Definition>, DateTime<Utc>, i64)>(
        "select id, definition, created_at, position from state.route where app_id = $1 order by id",
    )
    .bind(app.uuid())
    .fetch_all(pool)
    .await
    .unwrap()
    .into_iter()
    .map(|(id, Json(definition), created_at, position)| Route {
        id: id.into(),
        definition,
        created_at,
        position: picloud_core::log::Position(position),
    })
    .collect();
    type Row = (
        uuid::Uuid,
        Json<trigger::Definition>,
        Json<trigger::Registrant>,
        bool,
        Option<String>,
        bool,
        DateTime<Utc>,
        DateTime<Utc>,
        i64,
    );
    pictured.triggers = sqlx::query_as::<_, Row>(
        "select id, definition, registrant, is_enabled, disabled_why, is_paused, created_at, since, position
        from state.trigger where app_id = $1 and deleted_at is null order by id",
    )
    .bind(app.uuid())
    .fetch_all(pool)
    .await
    .unwrap()
    .into_iter()
    .map(|(id, definition, registrant, is_enabled, disabled_why, is_paused, created_at, since, position)| Trigger {
        id: id.into(),
        definition: definition.0,
        registrant: registrant.0,
        is_enabled,
        disabled_why,
        is_paused,
        created_at,
        since,
        position: picloud_core::log::Position(position),
        deleted_at: None,
    })
    .collect();
    for id in &made.letters {
        pictured.letters.push(dead_letters::find(pool, app, *id).await.unwrap().as_ref().map(letter));
    }
    pictured
}

fn there<T>(past: Past<T>) -> Option<T> {
    match past {
        Past::Was(thing) => Some(thing),
        Past::Gone { .. } | Past::NotYet { .. } | Past::Never => None,
    }
}

/// What the log tells of a moment, lists and single things alike.
async fn told(reader: &Reader, app: AppId, letters: &[DeadLetterId], moment: Moment) -> Picture {
    let mut pictured = Picture::default();
    let lists = PastEntries::new(reader.clone());
    for limit in [1, 10] {
        let mut listed = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = lists.list(app, (COLLECTION, ""), moment, after.as_deref(), limit).await.unwrap();
            let picture = |entry: Entry| (entry.value, entry.expires_at, entry.position.0);
            listed.extend(page.entries.into_iter().map(|(key, entry)| (key, picture(entry))));
            after = page.goes_on_after;
            if after.is_none() {
                break;
            }
        }
        assert!(limit == 1 || listed == pictured.listed, "in pages of one and in one: {listed:?}");
        pictured.listed = listed;
    }
    for key in KEYS {
        let entry = there(travel::entry(reader, app, COLLECTION, key, moment).await.unwrap());
        pictured.entries.push(entry.map(|entry| (entry.value, entry.expires_at, entry.position.0)));
    }
    for listed in travel::scripts(reader, app, moment).await.unwrap() {
        let script = there(travel::script(reader, app, listed.id, moment).await.unwrap()).unwrap();
        assert_eq!(script.script, listed);
        let named = travel::script_named(reader, app, &listed.name, None, moment).await.unwrap();
        assert_eq!(there(named).unwrap().script, listed);
        let source = script.active.map(|active| active.source);
        pictured.scripts.push((listed.id, listed.name, listed.is_paused, source, listed.position.0));
    }
    for listed in travel::routes(reader, app, moment).await.unwrap() {
        assert_eq!(there(travel::route(reader, app, listed.id, moment).await.unwrap()), Some(listed.clone()));
        pictured.routes.push(listed);
    }
    for listed in travel::triggers(reader, app, moment).await.unwrap() {
        assert_eq!(there(travel::trigger(reader, app, listed.id, moment).await.unwrap()), Some(listed.clone()));
        pictured.triggers.push(listed);
    }
    for id in letters {
        let past = travel::dead_letter(reader, app, *id, moment).await.unwrap();
        pictured.letters.push(there(past).as_ref().map(letter));
    }
    pictured
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_told_of_a_moment_is_what_was_there_right_after_it(pool: PgPool) {
    let writer = Writer::start(&pool).await;
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for round in 0..4 {
        let steps = prop::collection::vec(step(), 90..120).new_tree(&mut runner).unwrap().current();
        // The other app has the same names in it.
        let apps = [AppId::generate(), AppId::generate()];
        let mut made = [Made::default(), Made::default()];
        for (n, app) in apps.into_iter().enumerate() {
            writer.commit(app, vec![app::Created { app, slug: format!("r{round}-{n}") }.into()]).await.unwrap();
        }
        let mut moments = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            if let Step::Wait { ms } = step {
                tokio::time::sleep(Duration::from_millis(*ms)).await;
            }
            let which = usize::from(n % 5 == 4);
            let Some(events) = made[which].events(step) else { continue };
            let Some(committed) = writer.commit(apps[which], events).await else { continue };
            // The name is free again; who comes next is another.
            if let Step::DeleteScript { script } = step {
                made[which].scripts[*script] = None;
            }
            let moment = Moment { position: committed.last, at: committed.at };
            let letters = made[0].letters.clone();
            moments.push((moment, letters, live(&pool, apps[0], &made[0], committed.at).await));
        }
        assert!(moments.len() > 50, "{steps:?}");
        for (moment, letters, live) in moments {
            let told = told(&writer.reader, apps[0], &letters, moment).await;
            assert_eq!(told, live, "at {moment:?} of {steps:#?}");
        }
    }
    writer.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_not_there_is_told_why(pool: PgPool) {
    let writer = Writer::start(&pool).await;
    let app = AppId::generate();
    let first = writer.commit(app, vec![app::Created { app, slug: "shop".to_owned() }.into()]).await.unwrap();
    let set = |value: &str, expires_at| kv::Set {
        collection: COLLECTION.to_owned(),
        key: "a".to_owned(),
        value: RawValue::from_string(value.to_owned()).unwrap(),
        expires_at,
    };
    let soon = Utc::now() + TimeDelta::hours(1);
    let second = writer.commit(app, vec![set("1", Some(soon)).into()]).await.unwrap();
    let deleted = kv::Deleted { collection: COLLECTION.to_owned(), key: "a".to_owned() };
    let third = writer.commit(app, vec![deleted.into()]).await.unwrap();

    let asked = async |position, at| {
        let past = travel::entry(&writer.reader, app, COLLECTION, "a", Moment { position, at }).await.unwrap();
        match past {
            Past::Was(entry) => Past::Was(entry.value),
            Past::Gone { at } => Past::Gone { at },
            Past::NotYet { at } => Past::NotYet { at },
            Past::Never => Past::Never,
        }
    };
    assert_eq!(asked(first.last, first.at).await, Past::NotYet { at: second.at });
    assert_eq!(asked(second.last, second.at).await, Past::Was("1".to_owned()));
    // The clock went on, the log did not: its time had run out.
    let expired = Past::Gone { at: soon.trunc_subsecs(6) };
    assert_eq!(asked(second.last, soon).await, expired);
    assert_eq!(asked(third.last, third.at).await, Past::Gone { at: third.at });
    let never = travel::entry(&writer.reader, app, COLLECTION, "b", Moment { position: third.last, at: third.at });
    assert_eq!(never.await.unwrap(), Past::Never);
    writer.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_counter_that_was_never_set_is_summed_from_its_beginning(pool: PgPool) {
    let writer = Writer::start(&pool).await;
    let app = AppId::generate();
    let increased = |by| Event::from(kv::Increased { collection: COLLECTION.to_owned(), key: "a".to_owned(), by });
    // More than are read at once, on both ways.
    let mut last = None;
    for _ in 0..5 {
        last = writer.commit(app, (0..500).map(|_| increased(2)).collect()).await;
    }
    let last = last.unwrap();
    let half = Moment { position: picloud_core::log::Position(last.first.0 - 1), at: last.at };
    let past = travel::entry(&writer.reader, app, COLLECTION, "a", half).await.unwrap();
    assert_eq!(there(past).unwrap().value, "4000");
    let past = travel::entry(&writer.reader, app, COLLECTION, "a", Moment { position: last.last, at: last.at });
    assert_eq!(there(past.await.unwrap()).unwrap().value, "5000");
    writer.stop().await;
}
