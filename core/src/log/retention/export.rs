//! Writes a part of the log to a file before it goes, reads that again, and compares it with the seals.
//!
//! A line of JSON for each event, in the order of the log, packed with zstd. A line holds all that an event's hash is of
//! ([`crate::seal::Leaf`]), the actor and the data as the exact texts that were hashed: so the seals, which stay in the log, prove
//! the file.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, BufWriter, Read, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use tokio::{
    sync::mpsc,
    task::{JoinError, spawn_blocking},
};

use super::Leaf;
use crate::{
    event::partition::Export,
    id::{AppId, EventId, InvocationId},
    log::{
        Position,
        verify::{VerifyError, rows, sealed_between},
    },
    seal::{self, ClassRoot, Seal, tree::Tree},
};

/// Lines are written in pieces of about this many bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// How hard to pack: it is done once, and read rarely.
const LEVEL: i32 = 6;

/// Why a part of the log could not be written to a file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It could not be read.
    #[error(transparent)]
    Log(#[from] VerifyError),
    /// It could not be written, or what was written not be read.
    #[error("failed to write {}", path.display())]
    File {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What was written is not what was sealed.
    #[error("what was written to {} is not what was sealed up to position {up_to}: `picloud verify` tells more", path.display())]
    Differs {
        /// Where to.
        path: PathBuf,
        /// Up to where the seal is that it does not fit.
        up_to: Position,
    },
    /// It ended in the middle.
    #[error("writing to a file ended in the middle")]
    Ended(#[from] JoinError),
}

/// An event, as a line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    position: i64,
    id: EventId,
    at: DateTime<Utc>,
    app: Option<AppId>,
    kind: String,
    subject: String,
    actor: String,
    cause: Option<EventId>,
    root: Option<InvocationId>,
    depth: i16,
    class: String,
    data: String,
}

impl Line {
    /// None, when it is no text.
    fn of(leaf: &seal::Leaf<'_>) -> Option<Self> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(Self {
            position: leaf.position.0,
            id: leaf.id.into(),
            at: DateTime::from_timestamp_micros(leaf.at_us)?,
            app: leaf.app.map(Into::into),
            kind: text(leaf.kind)?,
            subject: text(leaf.subject)?,
            actor: text(leaf.actor)?,
            cause: leaf.cause.map(Into::into),
            root: leaf.root.map(Into::into),
            depth: leaf.depth,
            class: text(leaf.class)?,
            data: text(leaf.data)?,
        })
    }

    fn leaf(&self) -> seal::Leaf<'_> {
        seal::Leaf {
            position: Position(self.position),
            id: self.id.uuid(),
            at_us: self.at.timestamp_micros(),
            app: self.app.map(AppId::uuid),
            cause: self.cause.map(EventId::uuid),
            root: self.root.map(InvocationId::uuid),
            depth: self.depth,
            kind: self.kind.as_bytes(),
            class: self.class.as_bytes(),
            subject: self.subject.as_bytes(),
            actor: self.actor.as_bytes(),
            data: self.data.as_bytes(),
        }
    }
}

/// Writes a part of the log to a file in a folder. What has the name then is whole, and what was sealed.
///
/// # Errors
/// When it cannot be written, or is not what was sealed: then there is no file of that name, or the one that was there.
pub async fn export(connection: &mut PgConnection, leaf: Leaf, folder: &Path) -> Result<Export, ExportError> {
    let seals = sealed_between(&mut *connection, Position(leaf.low.0 - 1), Position(leaf.high.0 - 1)).await?;
    let name = format!("{}_{}-{}.ndjson.zst", leaf.class, leaf.low, leaf.high.0 - 1);
    let (path, part) = (folder.join(&name), folder.join(format!("{name}.part")));
    let (sender, pieces) = mpsc::channel(4);
    let to = part.clone();
    let writing = spawn_blocking(move || write(&to, pieces).map_err(|source| ExportError::File { path: to, source }));
    let copied = copy(connection, leaf, sender).await;
    // Who stopped taking pieces has a reason, and that is told.
    writing.await??;
    copied?;
    let from = part.clone();
    let (sha256, bytes) = spawn_blocking(move || check(&from, leaf, &seals)).await??;
    fs::rename(&part, &path).map_err(|source| ExportError::File { path, source })?;
    Ok(Export { file: name, bytes, sha256 })
}

/// Makes lines of the events.
async fn copy(connection: &mut PgConnection, leaf: Leaf, sender: mpsc::Sender<Vec<u8>>) -> Result<(), VerifyError> {
    let (after, up_to) = (Position(leaf.low.0 - 1), Position(leaf.high.0 - 1));
    let mut events = rows(connection, leaf.class, leaf.low.0, after, up_to).await?;
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    loop {
        let mut each = |event: &seal::Leaf<'_>| {
            // What is no text is not written, and missed when it is compared.
            if let Some(line) = Line::of(event) {
                serde_json::to_writer(&mut piece, &line).expect("lines are plain data");
                piece.push(b'\n');
            }
        };
        let is_over = events.next(&mut each).await?.is_none();
        if piece.len() >= PIECE_BYTES || is_over {
            // Whoever writes may have failed, and says why. What is being read is read to its end: the connection is of use only then.
            let _ = sender.send(std::mem::take(&mut piece)).await;
        }
        if is_over {
            return Ok(());
        }
    }
}

fn write(to: &Path, mut pieces: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    // It holds what the log does: for nobody else's eyes.
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    let mut packing = zstd::stream::Encoder::new(BufWriter::new(file), LEVEL)?;
    while let Some(piece) = pieces.blocking_recv() {
        packing.write_all(&piece)?;
    }
    packing.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Reads what was written and compares it with what was sealed. The hash of the file, and how long it is.
fn check(path: &Path, leaf: Leaf, seals: &[Seal]) -> Result<(String, u64), ExportError> {
    let unreadable = |source| ExportError::File { path: path.to_owned(), source };
    let file = Hashing { file: File::open(path).map_err(unreadable)?, hash: Sha256::new(), bytes: 0 };
    let mut lines = BufReader::new(zstd::stream::Decoder::new(file).map_err(unreadable)?);
    let (mut line, mut event) = (String::new(), None);
    for seal in seals {
        let mut tree = Tree::default();
        loop {
            if event.is_none() {
                line.clear();
                if lines.read_line(&mut line).map_err(unreadable)? == 0 {
                    break;
                }
                let read: Line = serde_json::from_str(&line).map_err(|error| unreadable(error.into()))?;
                event = Some(read);
            }
            match event.take_if(|event| event.position <= seal.up_to.0) {
                Some(event) => tree.add(event.leaf().hash()),
                None => break,
            }
        }
        let sealed = seal.class(leaf.class).map_or((0, None), |ClassRoot { count, root, .. }| (*count, Some(*root)));
        if (tree.count(), (tree.count() > 0).then(|| tree.root())) != sealed {
            return Err(ExportError::Differs { path: path.to_owned(), up_to: seal.up_to });
        }
    }
    if event.is_some() || lines.read_line(&mut line).map_err(unreadable)? > 0 {
        return Err(ExportError::Differs { path: path.to_owned(), up_to: Position(leaf.high.0 - 1) });
    }
    let mut read = lines.into_inner().finish().into_inner();
    io::copy(&mut read, &mut io::sink()).map_err(unreadable)?;
    let sha256 = read.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((sha256, read.bytes))
}

/// Hashes what is read.
struct Hashing {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Read for Hashing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.hash.update(&into[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}
