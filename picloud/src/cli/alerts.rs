//! `picloud alerts`: who is told when something is wrong with the instance.

use std::io::{self, Read as _};

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    Output,
    args::Global,
    path,
    print::{self, BAD, GOOD, QUIET},
};
use crate::failure::Failure;

/// `picloud alerts`.
#[derive(Clone, Debug, Subcommand)]
pub enum Alerts {
    /// Show all channels
    Ls,
    /// Make a channel, or change one: what is not said stays as it is
    #[command(
        after_help = "The address is a secret if whoever knows it can write to it: with `--webhook -` it is read from stdin and \
                            is in no history of a shell.\n\n\
                            Examples:\n  picloud alerts set ops --webhook https://hooks.example.com/services/T0/B0/x\n  \
                            picloud alerts set phone --webhook - --on disk --on backup-failed --cooldown 6h < address\n  \
                            picloud alerts set people --email ops@example.com --email anna@example.com\n  \
                            picloud alerts set ops --disabled"
    )]
    Set(Set),
    /// Remove a channel
    Rm {
        /// Its name
        channel: String,
    },
    /// Send a test, and show what the receiver says
    Test {
        /// Its name
        channel: String,
    },
}

/// What is to hold for a channel.
#[derive(Clone, Debug, Args)]
pub struct Set {
    /// Its name
    channel: String,
    /// Where messages are posted, or `-` to read that from stdin. A new channel needs this or `--email`
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Who gets them by mail; may be given more than once. The service needs `--smtp-url` for it
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["webhook", "rotate_secret"])]
    email: Vec<String>,
    /// What it hears of; may be given more than once. A new channel hears of everything
    #[arg(long = "on", value_enum, value_name = "CONDITION")]
    on: Vec<Condition>,
    /// It hears of everything
    #[arg(long, conflicts_with = "on")]
    everything: bool,
    /// How long it hears nothing again of the same matter: `90s`, `15m`, `6h`, `2d`. An hour for a new channel
    #[arg(long, value_parser = seconds, value_name = "TIME")]
    cooldown: Option<u32>,
    /// Tell it again
    #[arg(long)]
    enabled: bool,
    /// Keep it, and tell it nothing
    #[arg(long, conflicts_with = "enabled")]
    disabled: bool,
    /// Sign its messages with another secret from now on
    #[arg(long)]
    rotate_secret: bool,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Condition {
    /// Work was given up
    DeadLetter,
    /// A view stands still
    ViewParked,
    /// A node is not notified by the database
    ListeningDegraded,
    /// A disk is nearly full
    Disk,
    /// A backup was begun and not finished
    BackupFailed,
}

impl Condition {
    const fn as_str(self) -> &'static str {
        match self {
            Self::DeadLetter => "dead_letter",
            Self::ViewParked => "view_parked",
            Self::ListeningDegraded => "listening_degraded",
            Self::Disk => "disk",
            Self::BackupFailed => "backup_failed",
        }
    }
}

/// What of a channel can be set, as it is shown.
const SETTINGS: [&str; 4] = ["kind", "conditions", "cooldown_s", "enabled"];

/// Reads `90s`, `15m`, `6h`, `2d`, or seconds.
fn seconds(text: &str) -> Result<u32, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 60 * 60),
        Some((at, 'd')) => (&text[..at], 24 * 60 * 60),
        _ => (text, 1),
    };
    let seconds = number.parse().ok().and_then(|number: u32| number.checked_mul(unit));
    seconds.ok_or_else(|| format!("`{text}` is no time: give `90s`, `15m`, `6h` or `2d`"))
}

pub(super) async fn run(global: &Global, command: &Alerts) -> Result<(), Failure> {
    let client = global.client()?;
    let of = |rest: &[&str]| path::admin(&[&["alerts"], rest].concat());
    match command {
        Alerts::Ls => {
            let channels = client.list(&of(&[])).await?;
            let columns = [
                "name",
                "kind",
                "host",
                "to",
                "conditions",
                "cooldown_s",
                "enabled",
                "owed",
                "last_error",
                "hindrance",
            ];
            print::rows(global.output, &channels, &columns);
        }
        Alerts::Set(set) => {
            let channels = client.list(&of(&[])).await?;
            let body = set.body(channels.into_iter().find(|there| there["name"] == *set.channel))?;
            let answer: Value = client.send_json(Method::PUT, &of(&[&set.channel]), &body).await?;
            told(global.output, &set.channel, &answer);
        }
        Alerts::Rm { channel } => {
            client.send(client.request(Method::DELETE, &of(&[channel]))).await?;
            print::done(global.output, &format!("{channel} is told nothing any more."));
        }
        Alerts::Test { channel } => {
            let answer: Value = client.send_json(Method::POST, &of(&[channel, "test"]), &json!({})).await?;
            return tested(global.output, channel, &answer);
        }
    }
    Ok(())
}

impl Set {
    /// What is to hold, on top of what does.
    fn body(&self, there: Option<Value>) -> Result<Value, Failure> {
        let mut body = Map::new();
        if let Some(Value::Object(there)) = there {
            let settings = there.into_iter().filter(|(name, _)| SETTINGS.contains(&name.as_str()));
            body.extend(settings.filter(|(_, value)| !value.is_null()));
        }
        if let Some(url) = &self.webhook {
            let url = if url == "-" { from_stdin()? } else { url.clone() };
            body.insert("kind".to_owned(), "webhook".into());
            body.insert("url".to_owned(), url.into());
        }
        if !self.email.is_empty() {
            body.insert("kind".to_owned(), "email".into());
            body.insert("to".to_owned(), self.email.clone().into());
        }
        if !self.on.is_empty() {
            body.insert("conditions".to_owned(), self.on.iter().map(|on| on.as_str()).collect());
        }
        if self.everything {
            body.remove("conditions");
        }
        if let Some(cooldown) = self.cooldown {
            body.insert("cooldown_s".to_owned(), cooldown.into());
        }
        if self.enabled || self.disabled {
            body.insert("enabled".to_owned(), self.enabled.into());
        }
        body.insert("rotate_secret".to_owned(), self.rotate_secret.into());
        Ok(body.into())
    }
}

fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("failed to read the address from stdin: {error}")))?;
    Ok(text.trim().to_owned())
}

fn told(output: Output, channel: &str, answer: &Value) {
    let host = answer["host"].as_str().unwrap_or_default();
    let addresses =
        answer["to"].as_array().map(|to| to.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "));
    let place = addresses.as_deref().unwrap_or(host);
    let mut sentence = format!("{channel} is told at {place}. Try it: picloud alerts test {channel}");
    if let Some(secret) = answer["secret"].as_str() {
        sentence += &format!(
            "\nIts messages are signed with this secret, which is not shown again:\n\n  {secret}\n\n\
             {QUIET}A receiver that does not check signatures does not need it.{QUIET:#}"
        );
    }
    print::outcome(output, answer, &sentence);
}

/// A receiver that does not take the test is a failure of the command.
fn tested(output: Output, channel: &str, answer: &Value) -> Result<(), Failure> {
    let said = answer["said"].as_str().filter(|said| !said.is_empty());
    let said = said.map(|said| format!(" It said: {}", print::short(said, 200))).unwrap_or_default();
    let is_delivered = answer["delivered"] == true;
    match output {
        Output::Json => print::object(answer),
        Output::Table if is_delivered => {
            let status = &answer["status"];
            let refused = answer["refused"].as_str().map(|refused| format!(" But {refused}")).unwrap_or_default();
            print::text(&format!(
                "{GOOD}✓{GOOD:#} {channel} has taken the test: it answered {status}.{said}{refused}\n"
            ));
        }
        Output::Table => {
            let error = answer["error"].as_str().unwrap_or("it did not answer");
            print::text(&format!("{BAD}✗{BAD:#} {channel} has not taken the test: {error}.{said}\n"));
        }
    }
    if is_delivered { Ok(()) } else { Err(Failure::failed(format!("the channel `{channel}` was not told"))) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn what_is_not_said_of_a_channel_stays_as_it_is() {
        let there = json!({
            "name": "ops", "kind": "webhook", "host": "a.example", "to": null, "conditions": ["disk"], "cooldown_s": 60,
            "enabled": true, "hindrance": null, "owed": 3, "last_error": null, "created_at": "2026-01-31T12:00:00Z",
        });
        let set = |words: &[&str]| {
            let words = ["picloud", "alerts", "set", "ops"].iter().chain(words);
            match crate::cli::Cli::try_parse_from(words).map(|cli| cli.command) {
                Ok(crate::cli::Command::Alerts(Alerts::Set(set))) => set,
                other => panic!("{other:?}"),
            }
        };
        let body = |words: &[&str]| set(words).body(Some(there.clone())).ok().unwrap();
        let disabled = json!({
            "kind": "webhook", "conditions": ["disk"], "cooldown_s": 60, "enabled": false, "rotate_secret": false,
        });
        assert_eq!(body(&["--disabled"]), disabled);
        let otherwise = body(&["--on", "backup-failed", "--cooldown", "2h", "--rotate-secret"]);
        assert_eq!(otherwise["conditions"], json!(["backup_failed"]));
        assert_eq!((&otherwise["cooldown_s"], &otherwise["rotate_secret"]), (&json!(7_200), &json!(true)));
        assert_eq!(otherwise["enabled"], true);
        assert!(body(&["--everything"]).get("conditions").is_none());
        let new = set(&["--webhook", "https://b.example/x"]).body(None).ok().unwrap();
        assert_eq!(new, json!({ "kind": "webhook", "url": "https://b.example/x", "rotate_secret": false }));
        let mail = body(&["--email", "ops@b.example", "--email", "anna@b.example"]);
        assert_eq!((&mail["kind"], &mail["to"]), (&json!("email"), &json!(["ops@b.example", "anna@b.example"])));
        assert_eq!(mail["conditions"], json!(["disk"]));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("6h"), Ok(21_600));
        assert_eq!(seconds("2d"), Ok(172_800));
        assert_eq!(seconds("60"), Ok(60));
        for no_time in ["", "h", "1w", "-1s", "99999999d", "1.5h", "1é"] {
            assert!(seconds(no_time).is_err(), "{no_time}");
        }
    }
}
