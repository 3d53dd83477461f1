//! `picloud dead-letters` and `picloud outbox`: what waits, and what could not be done.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Output,
    args::{AsOf, Global, InApp},
    bulk::{self, Bulk},
    json_text, path,
    print::{self, BAD, QUIET},
};
use crate::{client::Client, failure::Failure};

/// `picloud dead-letters`.
#[derive(Clone, Debug, Subcommand)]
pub enum DeadLetters {
    /// Show letters, newest first: those that wait for a decision, unless --all
    Ls(Ls),
    /// Show one with all that was tried and what its run gets
    Show {
        /// Such as dl_01J…
        letter: String,
        /// As of when
        #[command(flatten)]
        as_of: AsOf,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
    /// Try letters again, as they were or changed
    #[command(after_help = "Examples:\n  \
        picloud dead-letters replay dl_01J… --app shop\n  \
        picloud dead-letters show dl_01J… --app shop --output json | jq .payload > fixed.json\n  \
        picloud dead-letters replay dl_01J… --app shop --payload @fixed.json")]
    Replay {
        /// One or more
        #[arg(required = true, value_name = "LETTER")]
        letters: Vec<String>,
        /// What the run gets instead, as JSON or (@file) from a file, of the shape that `show` shows
        #[arg(long, value_name = "JSON")]
        payload: Option<String>,
        /// On this version instead of the active one, by number or id
        #[arg(long, value_name = "VERSION")]
        on_version: Option<String>,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
    /// Close letters about which nothing more is to be done
    Resolve {
        /// One or more
        #[arg(required = true, value_name = "LETTER")]
        letters: Vec<String>,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
    /// The same decision about all open letters that match, made by a job on the server
    #[command(subcommand)]
    Bulk(Bulk),
}

/// `picloud dead-letters ls`.
#[derive(Clone, Debug, Args)]
pub struct Ls {
    /// Those that were decided about, too
    #[arg(long)]
    all: bool,
    /// One line for all that failed alike
    #[arg(long, conflicts_with_all = ["all", "script"])]
    groups: bool,
    /// Only of this script, by name or id
    #[arg(long, value_name = "SCRIPT")]
    script: Option<String>,
    /// Which app
    #[command(flatten)]
    in_app: InApp,
}

/// `picloud outbox`.
#[derive(Clone, Debug, Subcommand)]
pub enum Outbox {
    /// Show what is owed and not done, oldest first
    Ls(InApp),
    /// Take work back: it is not tried again
    Cancel {
        /// One or more, such as out_01J…
        #[arg(required = true, value_name = "ITEM")]
        items: Vec<String>,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
    /// Say whether what is owed may run
    Status,
    /// Let nothing that is owed begin to run, in any app; calls that are waited for are answered all the same
    Pause {
        /// Why, for whoever finds it paused
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let what is owed run again; a restored instance waits for this
    Resume,
}

pub(super) async fn run(global: &Global, command: &DeadLetters) -> Result<(), Failure> {
    let client = global.client()?;
    match command {
        DeadLetters::Ls(ls) => list(global, &client, ls).await,
        DeadLetters::Show { letter, as_of, in_app } => {
            let to = path::admin(&["apps", &in_app.app, "dead_letters", letter]);
            let found: Value = client.get(&as_of.of(&to)).await?;
            match global.output {
                Output::Json => print::object(&found),
                Output::Table => print::text(&told(&found)),
            }
            Ok(())
        }
        DeadLetters::Replay { letters, payload, on_version, in_app } => {
            let payload = payload.as_deref().map(|said| json_text::read("payload", said)).transpose()?;
            let body = json!({ "payload": payload, "version": on_version });
            decide(global, &client, in_app, letters, "replay", &body, "is tried again").await
        }
        DeadLetters::Resolve { letters, reason, in_app } => {
            decide(global, &client, in_app, letters, "resolve", &json!({ "reason": reason }), "is closed").await
        }
        DeadLetters::Bulk(wanted) => bulk::run(global, &client, wanted).await,
    }
}

async fn list(global: &Global, client: &Client, ls: &Ls) -> Result<(), Failure> {
    let to = path::admin(&["apps", &ls.in_app.app, "dead_letters"]);
    if ls.groups {
        let groups = client.list(&format!("{to}/groups")).await?;
        print::rows(global.output, &groups, &["count", "fingerprint", "last_at", "sample"]);
        return Ok(());
    }
    let asked = [("unresolved", (!ls.all).then_some("true")), ("script", ls.script.as_deref())];
    let letters = client.list(&path::asking(&to, &asked)).await?;
    let columns = ["id", "created_at", "script_name", "attempts", "error", "resolution"];
    print::rows(global.output, &letters, &columns[..if ls.all { 6 } else { 5 }]);
    Ok(())
}

/// The same decision about some letters, one after another.
async fn decide(
    global: &Global,
    client: &Client,
    in_app: &InApp,
    letters: &[String],
    what: &str,
    body: &Value,
    done: &str,
) -> Result<(), Failure> {
    for letter in letters {
        let to = path::admin(&["apps", &in_app.app, "dead_letters", letter, what]);
        let decided: Value = client.send_json(Method::POST, &to, body).await?;
        print::outcome(global.output, &decided, &format!("{letter} {done}."));
    }
    Ok(())
}

pub(super) async fn outbox(global: &Global, command: &Outbox) -> Result<(), Failure> {
    let client = global.client()?;
    match command {
        Outbox::Ls(in_app) => {
            let mut items = client.list(&path::admin(&["apps", &in_app.app, "outbox"])).await?;
            if global.output == Output::Table {
                for item in &mut items {
                    item["attempts"] = item["attempts"].as_array().map_or(0, Vec::len).into();
                }
            }
            print::rows(global.output, &items, &["id", "state", "script_name", "attempts", "due_at"]);
        }
        Outbox::Cancel { items, in_app } => {
            for item in items {
                let to = path::admin(&["apps", &in_app.app, "outbox", item, "cancel"]);
                client.send(client.request(Method::POST, &to)).await?;
                print::done(global.output, &format!("{item} is not tried again."));
            }
        }
        Outbox::Status => {
            let pause: Value = client.get(&path::admin(&["outbox"])).await?;
            print::thing(global.output, &pause);
        }
        Outbox::Pause { reason } => {
            let to = path::admin(&["outbox", "pause"]);
            let paused: Value = client.send_json(Method::POST, &to, &json!({ "reason": reason })).await?;
            let sentence = "Paused the outbox: what is owed waits until `picloud outbox resume`.";
            print::outcome(global.output, &paused, sentence);
        }
        Outbox::Resume => {
            let resumed: Value = client.read(client.request(Method::POST, &path::admin(&["outbox", "resume"]))).await?;
            print::outcome(global.output, &resumed, "Resumed the outbox: what is owed runs.");
        }
    }
    Ok(())
}

/// A letter as a person reads it.
fn told(letter: &Value) -> String {
    let text = |name: &str| letter[name].as_str().unwrap_or("-").to_owned();
    let mut told = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(told, "{QUIET}{name:<12}{QUIET:#} {value}");
    };
    line("letter", &text("id"));
    line("script", &text("script_name"));
    line("reason", &text("reason"));
    line("error", &format!("{BAD}{}{BAD:#}", text("error")));
    line("since", &text("created_at"));
    match letter["resolution"].as_str() {
        Some(resolution) => {
            line("resolution", &format!("{resolution} by {} at {}", text("resolved_by"), text("resolved_at")));
        }
        None => line("resolution", "none yet: replay it or resolve it"),
    }
    for attempt in letter["tried"].as_array().into_iter().flatten() {
        let ms = attempt["duration_us"].as_f64().unwrap_or_default() / 1000.0;
        let at = attempt["at"].as_str().unwrap_or_default();
        let error = attempt["error"].as_str().unwrap_or_default();
        line(&format!("attempt {}", attempt["number"]), &format!("{at} {ms:.1} ms: {error}"));
    }
    let payload = serde_json::to_string_pretty(&letter["payload"]).unwrap_or_default();
    let _ = writeln!(told, "\n{payload}");
    told
}
