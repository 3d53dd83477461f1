//! `picloud verify` and `picloud seals`: whether the log is as it was written, and what proves it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::HumanCount;
use picloud_core::{
    log::{
        Position,
        verify::{Finding, Progress, Verified, Wanted, verify},
    },
    seal::{Proof, PublicKey},
};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Output,
    args::Global,
    path,
    print::{self, BAD, GOOD, QUIET},
    progress,
};
use crate::{
    config::{self, Config},
    direct::Direct,
    failure::Failure,
};

/// `picloud verify`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "It reads the database itself: run it where the service's configuration and its master key are.\n\n\
                        Examples:\n  picloud seals anchor > anchor.json    keep it where nobody who writes the database can\n  \
                        picloud verify --anchor anchor.json"
)]
pub struct Verify {
    /// Only what lies after this position
    #[arg(long, value_name = "POSITION", default_value_t = 0, hide_default_value = true)]
    after: u64,
    /// Only what lies up to this position
    #[arg(long, value_name = "POSITION")]
    up_to: Option<u64>,
    /// A seal that was kept elsewhere; may be given more than once
    #[arg(long, value_name = "FILE")]
    anchor: Vec<PathBuf>,
    /// Whose signatures count [default: the instance's, by its master key]; may be given more than once
    #[arg(long, value_name = "PUBLIC KEY")]
    key: Vec<PublicKey>,
    /// Check the proof of one event instead, which needs no database
    #[arg(long, value_name = "FILE", conflicts_with_all = ["after", "up_to", "anchor"])]
    proof: Option<PathBuf>,
}

/// `picloud seals`.
#[derive(Clone, Debug, Subcommand)]
pub enum Seals {
    /// Print the last seal: kept elsewhere, it is an anchor for everything before it
    Anchor,
    /// Print the proof that an event is in the log
    Proof {
        /// Such as evt_01J…
        event: String,
    },
}

pub(super) async fn seals(global: &Global, command: &Seals) -> Result<(), Failure> {
    let client = global.client()?;
    let to = match command {
        Seals::Anchor => path::admin(&["seals", "last"]),
        Seals::Proof { event } => path::admin(&["events", event, "proof"]),
    };
    let printed: Value = client.read(client.request(Method::GET, &to)).await?;
    // A file's contents, in either form.
    print::object(&printed);
    Ok(())
}

pub(super) async fn run(global: &Global, arguments: &Verify) -> Result<(), Failure> {
    if let Some(file) = &arguments.proof {
        return check_proof(global.output, &read(file)?, &arguments.key);
    }
    let (config, _) = config::resolve(&global.sources(BTreeMap::new())?)?;
    let mut wanted = Wanted {
        after: position(arguments.after)?,
        up_to: arguments.up_to.map(position).transpose()?,
        trusted: arguments.key.clone(),
        anchors: Vec::new(),
    };
    for file in &arguments.anchor {
        wanted.anchors.push(read(file)?);
    }
    let (verified, wanted) = verified(&config, wanted).await?;
    let findings: Vec<Value> = verified.findings.iter().map(finding).collect();
    if global.output == Output::Json {
        print::object(&json!({
            "is_as_sealed": findings.is_empty(),
            "events": verified.events,
            "dropped": verified.dropped,
            "seals": verified.seals,
            "last": verified.last,
            "keys": verified.keys,
            "trusted": wanted.trusted,
            "findings": findings,
        }));
    } else {
        print::text(&told(&verified, &wanted));
    }
    match verified.findings.first() {
        None => Ok(()),
        Some(first) => {
            Err(Failure::failed(format!("the log is not as it was sealed, from position {} on", first.position))
                .next("compare with a backup, and find out who can write to the database"))
        }
    }
}

/// Does it, with a bar for who sits at a terminal.
async fn verified(config: &Config, mut wanted: Wanted) -> anyhow::Result<(Verified, Wanted)> {
    let direct = Direct::open(config).await?;
    if wanted.trusted.is_empty()
        && let Some(keyring) = direct.keyring(config).await?
    {
        wanted.trusted.push(keyring.seal_key().public());
    }
    let bar = progress::bar("events");
    let mut connection = direct.pool.acquire().await.context("failed to connect to the database")?;
    let verified = verify(&mut connection, &wanted, |Progress { events, of }| {
        bar.set_length(of.max(events));
        bar.set_position(events);
    })
    .await;
    bar.finish_and_clear();
    drop(connection);
    direct.close().await?;
    Ok((verified?, wanted))
}

fn told(verified: &Verified, wanted: &Wanted) -> String {
    let count = |count: u64| HumanCount(count).to_string().replace(',', " ");
    let mut text = String::new();
    for finding in &verified.findings {
        text += &format!("{BAD}✗{BAD:#} {finding}\n");
    }
    let Some(last) = &verified.last else {
        return text + "Nothing is sealed yet.\n";
    };
    if verified.findings.is_empty() {
        text += &format!(
            "{GOOD}✓{GOOD:#} {} events are as they were sealed, by {} seals up to position {}\n",
            count(verified.events),
            count(verified.seals),
            last.up_to
        );
    }
    for key in &verified.keys {
        let whose = if wanted.trusted.is_empty() {
            "on its own word: name the key with --key, or run this where the master key is"
        } else if wanted.trusted.contains(key) {
            "trusted"
        } else {
            "not trusted"
        };
        text += &format!("{QUIET}  signed with {key}, {whose}{QUIET:#}\n");
    }
    if verified.histories.len() > 1 {
        let lives = verified.histories.len();
        text +=
            &format!("{QUIET}  it was restored: these are {lives} lives of the log, one after the other{QUIET:#}\n");
    }
    if verified.dropped > 0 {
        text += &format!("{QUIET}  {} more were sealed and have been dropped{QUIET:#}\n", count(verified.dropped));
    }
    if wanted.anchors.is_empty() && verified.findings.is_empty() {
        text += &format!(
            "{QUIET}  without an anchor: who holds the master key, or cut the log's end off, would not show{QUIET:#}\n"
        );
    }
    text
}

pub(super) fn finding(finding: &Finding) -> Value {
    let mut value = serde_json::to_value(finding).expect("findings are plain data");
    value["detail"] = finding.to_string().into();
    value
}

fn check_proof(output: Output, proof: &Proof, trusted: &[PublicKey]) -> Result<(), Failure> {
    proof
        .check()
        .map_err(|error| Failure::failed(error.to_string()).next("the event, the way or the seal was changed"))?;
    let (key, event) = (proof.seal.key, &proof.event);
    if !trusted.is_empty() && !trusted.contains(&key) {
        return Err(Failure::failed(format!("the seal is signed with the key {key}, which is not trusted")));
    }
    let whose = if trusted.is_empty() { "on its own word" } else { "trusted" };
    if output == Output::Json {
        print::object(&json!({ "is_proved": true, "position": event.position, "seal": proof.seal.number, "key": key }));
        return Ok(());
    }
    print::text(&format!(
        "{GOOD}✓{GOOD:#} {} at position {} of {} is in seal {}\n{QUIET}  signed with {key}, {whose}{QUIET:#}\n",
        print::plain(&event.kind),
        event.position,
        event.at.format("%Y-%m-%d %H:%M:%S UTC"),
        proof.seal.number
    ));
    Ok(())
}

fn position(number: u64) -> Result<Position, Failure> {
    i64::try_from(number).map(Position).map_err(|_| Failure::usage(format!("{number} is no position of a log")))
}

fn read<T: DeserializeOwned>(file: &Path) -> Result<T, Failure> {
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| Failure::usage(format!("failed to read {shown}: {error}")))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("{shown} is not what `picloud seals` prints: {error}"))
            .next("write it with `picloud seals anchor` or `picloud seals proof EVENT`")
    })
}
