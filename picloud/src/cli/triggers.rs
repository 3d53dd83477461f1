//! `picloud triggers`: which event runs which script.

use clap::{Args, Subcommand};
use picloud_core::trigger::When;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    Output,
    args::{AsOf, Global, InApp, InAppAsOf},
    json_text, path,
    print::{self, QUIET},
};
use crate::{client::Client, failure::Failure};

/// `picloud triggers`.
#[derive(Clone, Debug, Subcommand)]
pub enum Triggers {
    /// Show all triggers
    Ls(InAppAsOf),
    /// Show one, with the next times of one that fires by the clock
    Show {
        /// Such as trg_01J…
        trigger: String,
        /// As of when
        #[command(flatten)]
        as_of: AsOf,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
    /// Make one; its runs act in your name
    #[command(subcommand)]
    Add(Add),
    /// Delete triggers; what they made be owed is still run
    Rm(Which),
    /// Let events count again; runs act in your name from then on
    Enable(Which),
    /// Let events pass by
    Disable(Which),
    /// Let what events owe wait
    Pause(Which),
    /// Let what waited run
    Resume(Which),
    /// Run one's script now, with a sample event
    #[command(after_help = "Examples:\n  \
        picloud triggers run trg_01J… --app shop\n  \
        picloud triggers run trg_01J… --app shop --event '{\"op\": \"set\", \"collection\": \"carts\", \"key\": \"7\", \"value\": 1}'")]
    Run {
        /// Such as trg_01J…
        trigger: String,
        /// What the script finds in ctx.event under the kind's name, as JSON or (@file) from a file [default: an example]
        #[arg(long, value_name = "JSON")]
        event: Option<String>,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
}

/// Some triggers of an app.
#[derive(Clone, Debug, Args)]
pub struct Which {
    /// One or more, such as trg_01J…
    #[arg(required = true, value_name = "TRIGGER")]
    triggers: Vec<String>,
    /// Which app
    #[command(flatten)]
    in_app: InApp,
}

/// `picloud triggers add`.
#[derive(Clone, Debug, Subcommand)]
pub enum Add {
    /// When a key-value entry is written
    #[command(after_help = "Example:\n  picloud triggers add kv --collection 'carts*' --op set --script recount")]
    Kv {
        /// A collection, 'prefix*' or '*'
        #[arg(long)]
        collection: String,
        /// Only when this was done: set, increment or delete; may be repeated
        #[arg(long = "op", value_name = "OP")]
        ops: Vec<String>,
        /// Like any other
        #[command(flatten)]
        common: Common,
    },
    /// When a message is published
    #[command(after_help = "Example:\n  picloud triggers add topic --topic 'orders.*' --script notify")]
    Topic {
        /// A topic, 'prefix.*' or '*'
        #[arg(long)]
        topic: String,
        /// Like any other
        #[command(flatten)]
        common: Common,
    },
    /// When a message is sent to a queue
    #[command(after_help = "Example:\n  picloud triggers add queue --queue mail --script send-mail --max-attempts 8")]
    Queue {
        /// The queue
        #[arg(long)]
        queue: String,
        /// Like any other
        #[command(flatten)]
        common: Common,
    },
    /// When the clock shows certain times
    #[command(
        after_help = "Example:\n  picloud triggers add cron --schedule '0 3 * * *' --time-zone Europe/Berlin --script nightly"
    )]
    Cron {
        /// Five or six fields, or @daily and the like
        #[arg(long)]
        schedule: String,
        /// The IANA name of the zone whose clock it is [default: UTC]
        #[arg(long, value_name = "ZONE")]
        time_zone: Option<String>,
        /// What becomes of times at which nothing could be fired: skip, once or all [default: skip]
        #[arg(long, value_name = "POLICY")]
        missed: Option<String>,
        /// What becomes of times at which the last run goes on: skip, queue or allow [default: skip]
        #[arg(long, value_name = "POLICY")]
        overlap: Option<String>,
        /// Like any other
        #[command(flatten)]
        common: Common,
    },
    /// When work becomes a dead letter
    #[command(after_help = "Example:\n  picloud triggers add dead-letter --source trigger --script take-care")]
    DeadLetter {
        /// Only of this source: async_route, trigger or invoke
        #[arg(long, value_name = "SOURCE")]
        source: Option<String>,
        /// Only of this trigger
        #[arg(long, value_name = "TRIGGER")]
        trigger: Option<String>,
        /// Only when this script failed, by id
        #[arg(long, value_name = "SCRIPT")]
        failed_script: Option<String>,
        /// Like any other
        #[command(flatten)]
        common: Common,
    },
}

/// What triggers of all kinds have.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// What is run, by name or id
    #[arg(long, value_name = "SCRIPT")]
    script: String,
    /// Attempts in all [default: 5]
    #[arg(long, value_name = "COUNT")]
    max_attempts: Option<u16>,
    /// How the pauses between attempts grow: exponential, linear or constant [default: exponential]
    #[arg(long, value_name = "HOW")]
    backoff: Option<String>,
    /// The first pause, in milliseconds [default: 1000]
    #[arg(long, value_name = "MS")]
    base_ms: Option<u64>,
    /// The longest pause, in milliseconds [default: 300000]
    #[arg(long, value_name = "MS")]
    max_ms: Option<u64>,
    /// Make it, but let events pass it by until it is enabled
    #[arg(long)]
    disabled: bool,
    /// Which app
    #[command(flatten)]
    in_app: InApp,
}

pub(super) async fn run(global: &Global, command: &Triggers) -> Result<(), Failure> {
    let client = global.client()?;
    match command {
        Triggers::Ls(wanted) => list(global, &client, wanted).await,
        Triggers::Show { trigger, as_of, in_app } => {
            let to = path::admin(&["apps", &in_app.app, "triggers", trigger]);
            let found: Value = client.get(&as_of.of(&to)).await?;
            show(global.output, found);
            Ok(())
        }
        Triggers::Add(add) => make(global, &client, add).await,
        Triggers::Rm(which) => {
            for trigger in &which.triggers {
                let to = path::admin(&["apps", &which.in_app.app, "triggers", trigger]);
                client.send(client.request(Method::DELETE, &to)).await?;
                print::done(global.output, &format!("Deleted {trigger}."));
            }
            Ok(())
        }
        Triggers::Enable(which) => set(global, &client, which, "enable", "is enabled, in your name").await,
        Triggers::Disable(which) => set(global, &client, which, "disable", "is disabled: events pass it by").await,
        Triggers::Pause(which) => set(global, &client, which, "pause", "is paused: what events owe waits").await,
        Triggers::Resume(which) => set(global, &client, which, "resume", "goes on").await,
        Triggers::Run { trigger, event, in_app } => {
            let event = event.as_deref().map(|said| json_text::read("event", said)).transpose()?;
            let to = path::admin(&["apps", &in_app.app, "triggers", trigger, "run"]);
            let owed: Value = client.send_json(Method::POST, &to, &json!({ "event": event })).await?;
            let item = owed["outbox_id"].as_str().unwrap_or_default();
            let sentence = format!("The run is owed as {item}, with this event:\n{:#}", owed["event"]);
            print::outcome(global.output, &owed, &sentence);
            Ok(())
        }
    }
}

async fn list(global: &Global, client: &Client, wanted: &InAppAsOf) -> Result<(), Failure> {
    let to = path::admin(&["apps", &wanted.in_app.app, "triggers"]);
    let mut triggers = client.list(&wanted.as_of.of(&to)).await?;
    if global.output == Output::Table {
        for trigger in &mut triggers {
            trigger["when"] = waits_for(trigger).into();
            trigger["state"] = state(trigger).into();
        }
    }
    print::rows(global.output, &triggers, &["kind", "when", "script_name", "state", "registrant", "id"]);
    Ok(())
}

/// What it waits for, in a few words.
fn waits_for(trigger: &Value) -> String {
    // A kind that only a newer version knows is shown without.
    serde_json::from_value::<When>(trigger.clone()).map_or_else(|_| "-".to_owned(), |when| when.selects())
}

fn state(trigger: &Value) -> &'static str {
    match (trigger["enabled"].as_bool(), trigger["paused"].as_bool()) {
        (Some(false), _) => "disabled",
        (_, Some(true)) => "paused",
        _ => "enabled",
    }
}

fn show(output: Output, mut trigger: Value) {
    if output == Output::Json {
        print::object(&trigger);
        return;
    }
    let next = trigger.as_object_mut().and_then(|members| members.shift_remove("next"));
    print::thing(output, &trigger);
    print::text(&times(next.as_ref()));
}

/// When it fires next, a time a line.
fn times(next: Option<&Value>) -> String {
    let times = next.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    times.map(|time| format!("{QUIET}next{QUIET:#}  {time}\n")).collect()
}

async fn make(global: &Global, client: &Client, add: &Add) -> Result<(), Failure> {
    let (body, common) = add.said();
    let made: Value =
        client.send_json(Method::POST, &path::admin(&["apps", &common.in_app.app, "triggers"]), &body).await?;
    let id = made["id"].as_str().unwrap_or_default();
    print::outcome(global.output, &made, &format!("Made {id}, which runs {}.", common.script));
    if global.output == Output::Table {
        print::text(&times(made.get("next")));
    }
    Ok(())
}

/// The same for some triggers, one after another.
async fn set(global: &Global, client: &Client, which: &Which, what: &str, done: &str) -> Result<(), Failure> {
    for trigger in &which.triggers {
        let to = path::admin(&["apps", &which.in_app.app, "triggers", trigger, what]);
        let set: Value = client.read(client.request(Method::POST, &to)).await?;
        print::outcome(global.output, &set, &format!("{trigger} {done}."));
    }
    Ok(())
}

impl Add {
    /// The trigger as the API takes it, without what was not said.
    fn said(&self) -> (Value, &Common) {
        let (when, common) = match self {
            Self::Kv { collection, ops, common } => {
                let ops = Some(ops).filter(|ops| !ops.is_empty());
                (json!({ "kind": "kv", "collection": collection, "ops": ops }), common)
            }
            Self::Topic { topic, common } => (json!({ "kind": "topic", "topic": topic }), common),
            Self::Queue { queue, common } => (json!({ "kind": "queue", "queue": queue }), common),
            Self::Cron { schedule, time_zone, missed, overlap, common } => (
                json!({ "kind": "cron", "schedule": schedule, "time_zone": time_zone, "missed": missed, "overlap": overlap }),
                common,
            ),
            Self::DeadLetter { source, trigger, failed_script, common } => (
                json!({ "kind": "dead_letter", "source": source, "trigger": trigger, "failed_script": failed_script }),
                common,
            ),
        };
        let Common { script, max_attempts, backoff, base_ms, max_ms, disabled, in_app: _ } = common;
        let retry =
            said(&json!({ "max_attempts": max_attempts, "backoff": backoff, "base_ms": base_ms, "max_ms": max_ms }));
        let mut body = said(&when);
        body.insert("script".to_owned(), script.as_str().into());
        if !retry.is_empty() {
            body.insert("retry".to_owned(), retry.into());
        }
        if *disabled {
            body.insert("enabled".to_owned(), false.into());
        }
        (body.into(), common)
    }
}

/// The members that are not null.
fn said(object: &Value) -> Map<String, Value> {
    let members = object.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    members.map(|(name, value)| (name.clone(), value.clone())).collect()
}
