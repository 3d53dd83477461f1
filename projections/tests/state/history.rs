//! Random histories of every kind of event there is: the stored examples of all kinds, about things that there are, or are not.
//! What cannot be is refused by the committer and is no part of the history.

use std::{collections::HashMap, fs, path::Path};

use chrono::{TimeDelta, Utc};
use picloud_core::{
    event::{Class, Event},
    id::{AppId, NodeEpoch},
    log::Position,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::things::{Things, generated, prefix};

/// Numbers, one after the other.
pub struct Dice(pub std::vec::IntoIter<u32>);

impl Dice {
    pub fn below(&mut self, n: usize) -> usize {
        self.0.next().expect("there are enough of them") as usize % n
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

#[derive(Clone, Deserialize)]
pub struct Example {
    pub kind: String,
    data: Value,
}

/// All that is stored of a kind, by the kind.
pub fn examples() -> Vec<Vec<Example>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/events");
    let mut all: HashMap<&str, Vec<Example>> = HashMap::new();
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "json")) {
        let example: Example = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let (kind, _) = Event::KINDS.iter().find(|(kind, _)| *kind == example.kind).unwrap();
        all.entry(kind).or_default().push(example);
    }
    let of_kind =
        |(kind, _): &(&'static str, Class)| all.remove(kind).unwrap_or_else(|| panic!("no example of `{kind}`"));
    Event::KINDS.iter().map(of_kind).collect()
}

/// What happens more often than the rest.
const OFTEN: [(&str, usize); 22] = [
    ("kv.set", 24),
    ("kv.increased", 30),
    ("kv.deleted", 4),
    ("invocation.started", 8),
    ("invocation.completed", 4),
    ("invocation.failed", 3),
    ("outbox.enqueued", 12),
    ("outbox.rescheduled", 6),
    ("outbox.delivered", 3),
    ("dead_letter.created", 5),
    ("job.started", 3),
    ("script.deployed", 4),
    ("route.bound", 3),
    ("trigger.created", 4),
    ("http_exception.allowed", 4),
    ("env.set", 3),
    ("member.granted", 4),
    ("app.renamed", 3),
    ("domain.claimed", 4),
    ("topic.registered", 3),
    ("api_key.minted", 3),
    ("cron.fired", 4),
];

/// A number a kind: how often it comes.
pub fn weights() -> Vec<usize> {
    let often = |kind: &str| OFTEN.iter().find(|(often, _)| *often == kind).map_or(1, |(_, times)| *times);
    Event::KINDS.iter().map(|(kind, _)| often(kind)).collect()
}

/// Kinds that give something its name: no two of them give the same.
const NAMING: [(&str, &str); 11] = [
    ("outbox.enqueued", "item"),
    ("invocation.started", "invocation"),
    ("dead_letter.created", "dead_letter"),
    ("job.started", "job"),
    ("script.deployed", "version"),
    ("trigger.created", "trigger"),
    ("domain.claimed", "domain"),
    ("api_key.minted", "key"),
    ("session.opened", "session"),
    ("route.bound", "route"),
    ("account.created", "account"),
];

/// Kinds after which nothing is said of something any more.
const ENDING: [(&str, &str); 5] = [
    ("outbox.delivered", "item"),
    ("outbox.exhausted", "item"),
    ("outbox.cancelled", "item"),
    ("invocation.completed", "invocation"),
    ("invocation.failed", "invocation"),
];

/// Who and what there is.
pub struct World {
    examples: Vec<Vec<Example>>,
    turns: Vec<usize>,
    epoch: NodeEpoch,
    apps: Vec<(AppId, Things)>,
    instance: Things,
    /// Kinds that have not had their turn: sooner or later each has.
    deck: Vec<usize>,
    /// Apps that were deleted: some of what they had goes on for a while.
    gone: Vec<(AppId, Things)>,
    count: u32,
}

/// Events of one commit.
pub struct Wanted {
    pub app: Option<AppId>,
    pub events: Vec<Event>,
}

impl World {
    pub fn new(epoch: NodeEpoch) -> Self {
        let turns = weights().into_iter().enumerate().flat_map(|(kind, times)| std::iter::repeat_n(kind, times));
        let (examples, turns) = (examples(), turns.collect());
        let (apps, gone, deck) = (vec![], vec![], vec![]);
        Self { examples, turns, epoch, apps, instance: Things::default(), deck, gone, count: 0 }
    }

    /// Things of an app that was just created.
    pub fn new_app(&mut self, dice: &mut Dice) -> Wanted {
        let app = AppId::generate();
        self.count += 1;
        let created = json!({ "app": app, "slug": format!("app-{}", self.count) });
        self.apps.push((app, Things::default()));
        let mut events = vec![Event::decode("app.created", &created.to_string()).unwrap()];
        for kind in ["script.deployed", "script.deployed", "trigger.created", "env.set"] {
            events.push(self.event(kind, Some(app), dice, true));
        }
        Wanted { app: Some(app), events }
    }

    /// The end of an app.
    pub fn delete_app(&mut self, dice: &mut Dice) -> Wanted {
        let n = dice.below(self.apps.len());
        let (app, things) = self.apps.remove(n);
        self.gone.push((app, things));
        let deleted = json!({ "app": app, "slug": "gone" });
        Wanted { app: Some(app), events: vec![Event::decode("app.deleted", &deleted.to_string()).unwrap()] }
    }

    pub fn apps(&self) -> usize {
        self.apps.len()
    }

    /// What somebody may want to commit.
    pub fn commit(&mut self, dice: &mut Dice) -> Wanted {
        let first = self.kind(dice);
        let app = if is_the_instances(&first) { None } else { Some(self.app(dice)) };
        let mut kinds = vec![first];
        while kinds.len() < 4 && dice.below(5) < 2 {
            let next = self.kind(dice);
            if is_the_instances(&next) == app.is_none() {
                kinds.push(next);
            }
        }
        let concerns_config = kinds.iter().any(|kind| class(kind) == Class::Config);
        let events = kinds.iter().map(|kind| self.event(kind, app, dice, concerns_config)).collect();
        Wanted { app, events }
    }

    fn app(&self, dice: &mut Dice) -> AppId {
        if dice.one_in(20) && !self.gone.is_empty() {
            return self.gone[dice.below(self.gone.len())].0;
        }
        self.apps[dice.below(self.apps.len())].0
    }

    fn kind(&mut self, dice: &mut Dice) -> String {
        loop {
            if self.deck.is_empty() {
                self.deck = (0..self.examples.len()).collect();
            }
            let turn = match dice.below(5) {
                0 | 1 => self.deck.swap_remove(dice.below(self.deck.len())),
                _ => self.turns[dice.below(self.turns.len())],
            };
            let kind = &self.examples[turn][0].kind;
            // Apps come and go in their own way: none comes again.
            if kind != "app.created" && kind != "app.deleted" {
                return kind.clone();
            }
        }
    }

    fn event(&mut self, kind: &str, app: Option<AppId>, dice: &mut Dice, concerns_config: bool) -> Event {
        let examples = self.examples.iter().find(|examples| examples[0].kind == kind).unwrap();
        let mut data = examples[dice.below(examples.len())].data.clone();
        let named = NAMING.iter().find(|(naming, _)| *naming == kind).map(|(_, field)| *field);
        let fresh = (kind == "script.deployed" && dice.one_in(3)).then(|| self.things(app).add("scr"));
        self.fill(None, &mut data, app, named, dice);
        self.count += 1;
        match kind {
            "script.deployed" => {
                data["number"] = self.count.into();
                if let Some(fresh) = fresh {
                    data["script"] = fresh.into();
                    data["name"] = format!("script-{}", self.count).into();
                }
            }
            // The newest: of others something is said to run it.
            "script.deleted" => {
                if let Some(newest) = self.things(app).newest("scr") {
                    data["script"] = newest.into();
                }
            }
            "invocation.started" => data["node"] = json!(self.epoch),
            "account.created" => data["email"] = format!("{}@example.com", self.count).into(),
            "api_key.minted" if app.is_none() => _ = data.as_object_mut().unwrap().remove("app"),
            "outbox.enqueued" => {
                data["is_watched"] = dice.one_in(2).into();
                if !concerns_config {
                    // Who is to take care of a letter is owed by the letter's own commit.
                    data.as_object_mut().unwrap().remove("handles");
                }
            }
            "job.progressed" | "job.ended" => {
                // As many as it has, or it is refused; what is gone would refuse nothing.
                let is_gone = self.gone.iter().any(|(gone, _)| Some(*gone) == app);
                let most = if is_gone { 1 } else { 2 };
                data["counts"] = json!({ "done": dice.below(most), "skipped": 0, "failed": dice.below(most) });
            }
            "kv.set" => {
                data["value"] = dice.of(&["0", "12", "-7", "\"x\"", "{\"z\":1}"]).parse().unwrap();
                match dice.below(6) {
                    0 => data["expires_at"] = json!(Utc::now() + TimeDelta::seconds(3_600)),
                    1 => data["expires_at"] = json!(Utc::now() - TimeDelta::seconds(3_600)),
                    2 | 3 => {
                        let soon = TimeDelta::microseconds(dice.below(20_000) as i64);
                        data["expires_at"] = json!(Utc::now() + soon);
                    }
                    _ => _ = data.as_object_mut().unwrap().remove("expires_at"),
                }
            }
            // Of a part of the log that there is not: what goes with one is tried elsewhere.
            "partition.archived" => (data["low"], data["high"]) = (json!(0), json!(0)),
            "kv.increased" => data["by"] = (dice.below(20) as i64 - 5).into(),
            _ => {}
        }
        if let Some((_, field)) = ENDING.iter().find(|(ending, _)| *ending == kind)
            && let Some(id) = data[*field].as_str().map(str::to_owned)
        {
            self.things(app).forget(&id);
        }
        Event::decode(kind, &data.to_string()).unwrap_or_else(|error| panic!("{error:?}: {kind} {data}"))
    }

    fn things(&mut self, app: Option<AppId>) -> &mut Things {
        let Some(app) = app else { return &mut self.instance };
        let found = self.apps.iter_mut().chain(&mut self.gone).find(|(id, _)| *id == app);
        &mut found.unwrap().1
    }

    /// Puts ids of what there is in the place of the example's, and other names.
    fn fill(
        &mut self,
        name: Option<&str>,
        value: &mut Value,
        app: Option<AppId>,
        named: Option<&str>,
        dice: &mut Dice,
    ) {
        match value {
            Value::Object(fields) => {
                for (field, value) in fields {
                    self.fill(Some(field), value, app, named, dice);
                }
            }
            Value::Array(values) => {
                for value in values {
                    self.fill(None, value, app, None, dice);
                }
            }
            Value::String(text) => {
                if let Some(other) = self.other(name, text, app, named, dice) {
                    *text = other;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn other(
        &mut self,
        name: Option<&str>,
        text: &str,
        app: Option<AppId>,
        named: Option<&str>,
        dice: &mut Dice,
    ) -> Option<String> {
        if let Some(prefix) = prefix(text) {
            return Some(match prefix {
                "app" => app.map_or_else(|| generated("app"), |app| app.to_string()),
                "acc" if name != named => self.instance.pick(prefix, dice),
                "acc" => self.instance.add(prefix),
                _ if name.is_some() && name == named => self.things(app).add(prefix),
                "sec" | "req" | "evt" | "dek" => generated(prefix),
                _ => self.things(app).pick(prefix, dice),
            });
        }
        let few: &[&str] = match name? {
            "slug" => &["one", "two", "three", "four", "five"],
            "name" => &["checkout", "tax", "mail", "report"],
            "host" => &["a.example.com", "b.example.com", "*.example.org"],
            "email" => &["ada@example.com", "bob@example.com", "eve@example.com"],
            // Others are of cryptography.
            "key" if text.len() < 20 => &["a", "b/ü"],
            "collection" => &["carts", "orders"],
            "path" => &["/a", "/b/:id"],
            "target" => &["nas.lan:5000", "192.168.0.0/24"],
            "queue" => &["mail", "print"],
            "lane" => &["mail/1", "mail/2"],
            _ => return None,
        };
        Some(dice.of(few).to_owned())
    }
}

fn class(kind: &str) -> Class {
    Event::KINDS.iter().find(|(known, _)| *known == kind).unwrap().1
}

/// Whether events of a kind are of no app.
fn is_the_instances(kind: &str) -> bool {
    let noun = kind.split('.').next().unwrap();
    ["account", "alert", "alert_channel", "backup", "master_key", "partition", "projection", "seal", "session"]
        .contains(&noun)
        || ["outbox.paused", "outbox.resumed"].contains(&kind)
}

/// Nothing was set up differently since ever after: what concerns times of triggers is folded with what is set up.
pub const fn as_if_configured(app: Option<AppId>) -> picloud_core::log::Read {
    picloud_core::log::Read::Config { app, as_of: Position(i64::MAX) }
}
