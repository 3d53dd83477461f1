//! The proof of one event.

use chrono::DateTime;
use sqlx::PgConnection;

use super::VerifyError;
use crate::{
    event::{Event, seal::Sealed},
    log::{
        Position, Recorded,
        read::{Direction, Filter, ReadError, Reader},
    },
    seal::{Hash, Leaf, Proof, ProvedEvent, Seal, tree},
};

/// Seals that are read at once: the first behind an event is mostly the one that it is in.
const SEALS: usize = 4;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was sealed could not be read again.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// Proves an event; nothing as long as it is not sealed.
///
/// # Errors
/// When the log cannot be read.
pub async fn prove(
    reader: &Reader,
    connection: &mut PgConnection,
    recorded: &Recorded,
    head: Position,
) -> Result<Option<Proof>, ProveError> {
    let Some(seal) = seal_of(reader, recorded.position, head).await? else { return Ok(None) };
    let class = recorded.event.event.class();
    let segments = super::segments(connection).await?;
    let (mut hashes, mut found): (Vec<Hash>, _) = (Vec::new(), None);
    let mut each = |leaf: &Leaf<'_>| {
        if leaf.position == recorded.position {
            found = Some((hashes.len(), proved(leaf, recorded)));
        }
        hashes.push(leaf.hash());
    };
    super::leaves(connection, &segments, class, seal.after, seal.up_to, &mut each, |_| {}).await?;
    Ok(found.map(|(index, event)| Proof { event, path: tree::path(&hashes, index), seal }))
}

async fn seal_of(reader: &Reader, position: Position, head: Position) -> Result<Option<Seal>, ReadError> {
    let filter = Filter { kinds: vec!["seal.sealed".into()], ..Filter::default() };
    let mut after = position;
    loop {
        let seals = reader.list(&filter, Direction::Forward, after, head, SEALS).await?;
        let Some(last) = seals.last() else { return Ok(None) };
        after = last.position;
        for recorded in &seals {
            if let Event::SealSealed(Sealed(seal)) = &recorded.event.event
                && seal.after < position
                && position <= seal.up_to
            {
                return Ok(Some(seal.clone()));
            }
        }
    }
}

/// As it is stored, not as it was read: what the catalogue of this version would say of it might be something else.
fn proved(leaf: &Leaf<'_>, recorded: &Recorded) -> ProvedEvent {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ProvedEvent {
        position: leaf.position,
        id: leaf.id,
        at: DateTime::from_timestamp_micros(leaf.at_us).unwrap_or(recorded.at),
        app: leaf.app,
        cause: leaf.cause,
        root: leaf.root,
        depth: leaf.depth,
        kind: text(leaf.kind),
        class: recorded.event.event.class(),
        subject: text(leaf.subject),
        actor: text(leaf.actor),
        data: text(leaf.data),
    }
}
