//! `picloud backup`: the whole instance as of one moment, in one file; of the database at hand, or of a server.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, IsTerminal as _, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use indicatif::HumanBytes;
use picloud_core::{
    backup::{Manifest, Part, Reader},
    event::backup::Failed,
    keys::Keyring,
    log::backup::{BackupError, take},
};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::{signal, sync::mpsc, time::timeout};

use super::{
    Output,
    args::Global,
    path,
    print::{self, GOOD, QUIET},
    progress,
};
use crate::{config, direct::Direct, failure::Failure};

/// Pieces that wait for the disk: each is a megabyte at most.
const WAITING: usize = 4;

/// How long the log may take to be told that there is no backup.
const NOTING: Duration = Duration::from_secs(10);

/// `picloud backup`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "It reads the database itself, while the service runs or not: run it where the service's configuration and \
                        its master key are. With --url, --profile or PICLOUD_URL it asks that server instead. The master key is \
                        not in it: keep that elsewhere.\n\n\
                        Examples:\n  picloud backup /backups/$(date +%F).picloud\n  \
                        picloud backup - | age -r age1… > backup.age      encrypted, for a place that others can read"
)]
pub struct Backup {
    /// A file that is not there yet, or `-` for stdout
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) async fn run(global: &Global, arguments: &Backup) -> Result<(), Failure> {
    let target = Target::open(&arguments.file)?;
    // Whoever ends it is not to leave half a file behind.
    let interrupted = async {
        match signal::ctrl_c().await {
            Ok(()) => {}
            Err(_) => std::future::pending().await,
        }
    };
    let save = async { if global.names_a_server() { fetch(global, target).await } else { save(global, target).await } };
    tokio::select! {
        saved = save => saved,
        () = interrupted => Err(Failure::failed("interrupted: there is no backup")),
    }
}

async fn save(global: &Global, mut target: Target) -> Result<(), Failure> {
    let (config, _) = config::resolve(&global.sources(BTreeMap::new())?)?;
    let direct = Direct::open(&config).await?;
    let Some(keyring) = direct.keyring(&config).await? else {
        let file = config.master_key_file.display();
        return Err(Failure::failed(format!("there is no master key at {file}: a backup says which one it needs"))
            .next("run this where the service's master key is, or name its file with PICLOUD_MASTER_KEY_FILE"));
    };
    let copied = copy(&direct, &keyring, &mut target).await;
    let kept = copied.and_then(|copied| Ok((copied, target.keep()?)));
    if let Err(NotTaken::Failed(failure)) = &kept {
        note_failure(&direct, failure).await;
    }
    direct.close().await?;
    match kept? {
        ((manifest, bytes), Some(Kept { path, .. })) => tell(global.output, &path, &manifest, bytes),
        // Stdout is the backup.
        ((manifest, bytes), None) => print::aside(&told("stdout", &manifest, bytes)),
    }
    Ok(())
}

/// Reads the database and writes what there is.
async fn copy(direct: &Direct, keyring: &Keyring, target: &mut Target) -> Result<(Manifest, u64), NotTaken> {
    let connected = direct.pool.acquire().await.context("failed to connect to the database");
    let mut connection = connected.map_err(Failure::from)?;
    let (out, pieces) = mpsc::channel(WAITING);
    let bar = progress::bar("rows");
    let taken = async {
        let told = |progress: picloud_core::log::backup::Progress| {
            bar.set_length(progress.of);
            bar.set_position(progress.rows);
        };
        let taken = take(&mut connection, keyring, env!("CARGO_PKG_VERSION"), &out, told).await;
        // Whoever writes has all there is.
        drop(out);
        taken
    };
    let (taken, written) = tokio::join!(taken, target.fill(pieces));
    bar.finish_and_clear();
    // First: when the disk is full, nobody takes the backup, which is not what is wrong.
    written?;
    taken.map_err(|error| match error {
        BackupError::UnderWay => NotTaken::UnderWay,
        error => NotTaken::Failed(anyhow::Error::from(error).into()),
    })
}

/// Why there is no backup.
enum NotTaken {
    /// Another is being taken: that there is one is not in doubt.
    UnderWay,
    Failed(Failure),
}

impl From<Failure> for NotTaken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<NotTaken> for Failure {
    fn from(not_taken: NotTaken) -> Self {
        match not_taken {
            NotTaken::UnderWay => anyhow::Error::from(BackupError::UnderWay).into(),
            NotTaken::Failed(failure) => failure,
        }
    }
}

/// Says in the log that there is no backup, for whoever is told of such things.
async fn note_failure(direct: &Direct, failure: &Failure) {
    let noted = timeout(NOTING, direct.append(Failed::because(failure.problem.sentence()))).await;
    // It is the database itself, as like as not: why there is no backup is told in any case.
    if !matches!(noted, Ok(Ok(()))) {
        print::aside("The log does not say that this backup failed: it could not be written.\n");
    }
}

/// The same of a server elsewhere.
async fn fetch(global: &Global, mut target: Target) -> Result<(), Failure> {
    let client = global.client()?;
    let mut response = client.send(client.request(Method::GET, &path::admin(&["backup"]))).await?;
    let (out, pieces) = mpsc::channel(WAITING);
    let bar = progress::bytes();
    let fetched = async {
        while let Some(piece) = response.chunk().await? {
            bar.inc(piece.len() as u64);
            if out.send(piece).await.is_err() {
                break;
            }
        }
        drop(out);
        Ok(())
    };
    let (fetched, written) = tokio::join!(fetched, target.fill(pieces));
    bar.finish_and_clear();
    written?;
    fetched.map_err(|error| client.broken(&error))?;
    match target.keep()? {
        Some(Kept { path, manifest, bytes }) => tell(global.output, &path, &manifest, bytes),
        None => print::aside("the backup went to stdout; `picloud restore --check` reads it\n"),
    }
    Ok(())
}

/// What has its name, as it was read again.
struct Kept {
    path: PathBuf,
    manifest: Manifest,
    bytes: u64,
}

/// Where it goes.
enum Target {
    Stdout,
    /// Under another name until it is whole. For its owner alone.
    File {
        draft: NamedTempFile,
        path: PathBuf,
    },
}

impl Target {
    fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            if io::stdout().is_terminal() {
                return Err(Failure::usage("a backup is not for a terminal: name a file, or send it on with `|`"));
            }
            return Ok(Self::Stdout);
        }
        if path.exists() {
            return Err(Failure::usage(format!("{} is there already: a backup is never written over", path.display()))
                .next("name a file that is not there yet"));
        }
        let folder = folder(path);
        let draft = tempfile::Builder::new()
            .prefix(".picloud-backup.")
            .tempfile_in(folder)
            .with_context(|| format!("failed to make a file in {}", folder.display()))?;
        Ok(Self::File { draft, path: path.to_owned() })
    }

    /// Writes what comes, to its end.
    async fn fill(&mut self, mut pieces: mpsc::Receiver<Bytes>) -> Result<(), Failure> {
        let (writer, to): (&mut dyn Write, &Path) = match self {
            Self::Stdout => (&mut io::stdout().lock(), Path::new("stdout")),
            Self::File { draft, path } => (draft.as_file_mut(), path),
        };
        while let Some(piece) = pieces.recv().await {
            writer.write_all(&piece).with_context(|| format!("failed to write to {}", to.display()))?;
        }
        writer.flush().with_context(|| format!("failed to write to {}", to.display()))?;
        Ok(())
    }

    /// Reads it again from its beginning to its end, and gives it its name. When this returns, it is there to stay.
    fn keep(self) -> Result<Option<Kept>, Failure> {
        let Self::File { draft, path } = self else { return Ok(None) };
        let failed = || format!("failed to write {}", path.display());
        draft.as_file().sync_all().with_context(failed)?;
        let (manifest, bytes) =
            check(draft.reopen().with_context(failed)?).map_err(|error| Failure::from(anyhow::Error::from(error)))?;
        draft.persist_noclobber(&path).with_context(failed)?;
        File::open(folder(&path)).and_then(|folder| folder.sync_all()).with_context(failed)?;
        Ok(Some(Kept { path, manifest, bytes }))
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a backup to its end; says what it says of itself, and its length.
pub(super) fn check(file: impl io::Read) -> Result<(Manifest, u64), picloud_core::backup::FileError> {
    let (mut reader, manifest) = Reader::open(BufReader::with_capacity(1 << 20, file))?;
    while reader.next_part()? != Part::End {}
    Ok((manifest, reader.bytes()))
}

/// What a backup says of itself, for programs.
pub(super) fn object(manifest: &Manifest) -> Value {
    json!({
        "taken_at": manifest.taken_at,
        "head": manifest.head,
        "history": manifest.history,
        "last_seal": manifest.last_seal,
        "product": manifest.product,
        "schema": manifest.schema,
        "master_key": manifest.master_key.fingerprint,
        "rows": manifest.rows(),
    })
}

fn tell(output: Output, file: &Path, manifest: &Manifest, bytes: u64) {
    match output {
        Output::Table => print::text(&told(&file.display().to_string(), manifest, bytes)),
        Output::Json => {
            let mut object = object(manifest);
            object["file"] = file.to_string_lossy().into();
            object["size_bytes"] = bytes.into();
            print::object(&object);
        }
    }
}

/// For people.
pub(super) fn told(file: &str, manifest: &Manifest, bytes: u64) -> String {
    let Manifest { taken_at, head, history, product, schema, master_key, .. } = manifest;
    format!(
        "{GOOD}✓{GOOD:#} {file}: {}, as of {} and position {head}\n\
         {QUIET}  history {history}, PiCloud {product}, schema version {schema}{QUIET:#}\n\
         {QUIET}  needs the master key with the fingerprint {}, which is not in it{QUIET:#}\n",
        HumanBytes(bytes),
        taken_at.format("%Y-%m-%d %H:%M:%S UTC"),
        master_key.fingerprint
    )
}
