//! `picloud restore`: an instance out of a backup.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use indicatif::HumanCount;
use picloud_core::{
    backup::{Manifest, Reader},
    keys::MasterKey,
    log::backup::{Restore as Restoring, RestoreError, Restored, Step, can_restore},
};
use serde_json::{Value, json};
use sqlx::Connection as _;

use super::{
    Output,
    args::Global,
    backup,
    print::{self, BAD, CAREFUL, GOOD, QUIET},
    progress, verify,
};
use crate::{
    config::{self, Config},
    direct::Direct,
    failure::Failure,
};

/// `picloud restore`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "It writes into an empty instance only: a new data directory, or an empty database; no service may run on it. \
                        Put the backup's master key there first. The restored instance runs nothing that is owed until \
                        `picloud outbox resume`.\n\nExamples:\n  picloud restore --check backup.picloud\n  \
                        picloud restore backup.picloud --data-dir /var/lib/picloud"
)]
pub struct Restore {
    /// What `picloud backup` has written, or `-` for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only read it to its end, and say what it is
    #[arg(long)]
    check: bool,
    /// Take a log, too, that somebody changed before the backup was taken
    #[arg(long, conflicts_with = "check")]
    accept_changed_log: bool,
}

pub(super) async fn run(global: &Global, arguments: &Restore) -> Result<(), Failure> {
    let name = arguments.file.display().to_string();
    let file = open(&arguments.file)?;
    if arguments.check {
        let (manifest, bytes) = backup::check(file).map_err(|error| refused(&error.into(), &name))?;
        match global.output {
            Output::Table => print::text(&backup::told(&name, &manifest, bytes)),
            Output::Json => print::object(&backup::object(&manifest)),
        }
        return Ok(());
    }
    let buffered = BufReader::with_capacity(1 << 20, file);
    let (mut reader, manifest) = Reader::open(buffered).map_err(|error| refused(&error.into(), &name))?;
    let (config, _) = config::resolve(&global.sources(BTreeMap::new())?)?;
    let master = master_key(&config, &manifest)?;
    can_restore(&manifest, &master).map_err(|error| refused(&error, &name))?;
    let restoring = Restoring {
        manifest: &manifest,
        reader: &mut reader,
        master: &master,
        accepts_changed: arguments.accept_changed_log,
    };
    let restored = restore(&config, restoring, &name).await?;
    match global.output {
        Output::Table => print::text(&told(&manifest, &restored)),
        Output::Json => print::object(&object(&manifest, &restored)),
    }
    Ok(())
}

fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(Failure::usage(format!("failed to read {}: {error}", path.display()))),
    }
}

/// The one that is there: none is made for a backup, which needs its own.
fn master_key(config: &Config, manifest: &Manifest) -> Result<MasterKey, Failure> {
    let file = config.master_key_file.display();
    if !config.master_key_file.exists() {
        let needed = &manifest.master_key.fingerprint;
        return Err(Failure::failed(format!(
            "there is no master key at {file}, and the backup needs the one with the fingerprint {needed}"
        ))
        .next(format!("copy it to {file} (mode 600)")));
    }
    MasterKey::load(&config.master_key_file).map_err(|error| Failure::from(anyhow::Error::from(error)))
}

async fn restore<R: Read>(config: &Config, restoring: Restoring<'_, R>, name: &str) -> Result<Restored, Failure> {
    let direct = Direct::open_any(config).await?;
    let mut connection = direct.connection().await?;
    let bar = progress::bar("rows");
    let mut is_proving = false;
    let restored = restoring.run(&mut connection, |step| match step {
        Step::Rows { rows, of } => {
            bar.set_length(of);
            bar.set_position(rows);
        }
        Step::Proving(progress) => {
            if !is_proving {
                is_proving = true;
                bar.reset();
                bar.set_style(progress::style("events proved"));
            }
            bar.set_length(progress.of.max(progress.events));
            bar.set_position(progress.events);
        }
    });
    let restored = restored.await;
    bar.finish_and_clear();
    // Lost or not: what was restored is committed, and what was not is not.
    let _ = connection.close().await;
    direct.close().await?;
    restored.map_err(|error| refused(&error, name))
}

/// What is wrong, and what to do about it.
fn refused(error: &RestoreError, file: &str) -> Failure {
    let failure = Failure::failed(format!("{file}: {}", picloud_core::causes::with_causes(error)));
    match error {
        RestoreError::File(_) | RestoreError::Miscounted { .. } => {
            failure.next("nothing was restored; try another copy of it")
        }
        RestoreError::NotEmpty { .. } => failure
            .next("nothing was changed; name a new directory with --data-dir, or an empty database with DATABASE_URL"),
        RestoreError::OtherMasterKey { .. } => {
            failure.next("a rotation keeps the key before it as `master.key.previous`; nothing was changed")
        }
        RestoreError::Changed(_) => failure
            .next("nothing was restored; compare with an older backup, or take it as it is with --accept-changed-log"),
        RestoreError::Database(_)
        | RestoreError::Newer { .. }
        | RestoreError::Schema(_)
        | RestoreError::Unfit { .. }
        | RestoreError::Verify(_)
        | RestoreError::NotBegun(_) => failure,
    }
}

fn count(count: u64) -> String {
    HumanCount(count).to_string().replace(',', " ")
}

fn told(manifest: &Manifest, restored: &Restored) -> String {
    let Restored { history, head, verified, tables, owed } = restored;
    let taken_at = manifest.taken_at.format("%Y-%m-%d %H:%M:%S UTC");
    let rows = tables.iter().map(|(_, rows)| rows).sum();
    let mut text = format!(
        "{GOOD}✓{GOOD:#} restored as of {taken_at}: {} rows in {} tables, as many as the backup says\n",
        count(rows),
        tables.len()
    );
    for (class, events) in classes(tables) {
        text += &format!("{QUIET}  {} events of class {class}{QUIET:#}\n", count(events));
    }
    match verified.findings.first() {
        Some(first) => text += &format!("{BAD}✗{BAD:#} the log is not as it was sealed: {first}\n"),
        None => {
            text += &format!(
                "{GOOD}✓{GOOD:#} {} events are as they were sealed, by {} seals\n",
                count(verified.events),
                count(verified.seals)
            );
        }
    }
    text += &format!(
        "{QUIET}  history {history} begins at position {head}; lists are made anew when the service starts{QUIET:#}\n"
    );
    text += &format!(
        "{CAREFUL}!{CAREFUL:#} the outbox is paused, with {} items in it: start the service, look what was sent after {taken_at}, \
         then `picloud outbox resume`\n",
        count(*owed)
    );
    text
}

/// How many events of each class.
fn classes(tables: &[(String, u64)]) -> BTreeMap<&str, u64> {
    let mut classes = BTreeMap::new();
    for (name, rows) in tables {
        if let Some((class, _)) = name.strip_prefix("log.").and_then(|leaf| leaf.split_once('_')) {
            *classes.entry(class).or_default() += rows;
        }
    }
    classes
}

fn object(manifest: &Manifest, restored: &Restored) -> Value {
    let Restored { history, head, verified, tables, owed } = restored;
    let tables: Vec<Value> = tables.iter().map(|(name, rows)| json!({ "name": name, "rows": rows })).collect();
    let findings: Vec<Value> = verified.findings.iter().map(verify::finding).collect();
    json!({
        "backup": backup::object(manifest),
        "history": history,
        "head": head,
        "tables": tables,
        "verified": {
            "is_as_sealed": findings.is_empty(),
            "events": verified.events,
            "seals": verified.seals,
            "findings": findings,
        },
        "outbox_paused": true,
        "owed": owed,
    })
}
