//! Seals the log as it grows: of all nodes one, behind whoever appends.
//!
//! A seal ends where its class's leaves do, so that a partition that is dropped takes whole seals with it; and nothing is
//! sealed for the seals' own sake, or an idle log would grow by one a second.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{
    Commit, CommitError, Committer, Follow, NewEvent, Node, Position, Read, Recorded, Rejected, Tail, alone,
    no_longer_alone,
    read::{Direction, Filter, ReadError, Reader},
};
use crate::{
    causes::with_causes,
    event::{Actor, Class, Event, seal::Sealed},
    id::HistoryId,
    seal::{BadSignature, ClassRoot, Hash, Leaf, Mark, Seal, SealKey, tree::Tree},
};

/// Events wait for so long until they are sealed, all that came by then together. With the time that a commit takes, nothing
/// is unsealed for longer than a second.
const PACE: Duration = Duration::from_millis(800);

/// A seal is of so many events at most: whoever proves one reads all of its class.
const MOST: usize = 100_000;

/// How often a node asks whether it is the one to seal.
const ASK_EVERY: Duration = Duration::from_secs(3);

/// What a sealer needs.
#[derive(Debug)]
pub struct SealerParts {
    /// For what is kept beside the log.
    pub database: PgPool,
    /// For the connection that holds the lock: it must be one of its own.
    pub direct: PgConnectOptions,
    /// Takes the seals.
    pub committer: Committer,
    /// Tells what there is to seal.
    pub tail: Tail,
    /// Finds the last seal.
    pub reader: Reader,
    /// This start's right to write.
    pub node: Node,
    /// Which life of the log this is.
    pub history: HistoryId,
    /// Signs.
    pub key: Arc<SealKey>,
}

/// Seals the log.
#[derive(Debug)]
pub struct Sealer {
    parts: SealerParts,
    trouble: watch::Sender<Option<String>>,
}

/// How this node's sealing goes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Seals(watch::Receiver<Option<String>>);

impl Seals {
    /// Why it does not.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}

/// Why sealing stopped.
#[derive(Debug, thiserror::Error)]
enum SealError {
    #[error("failed to ask the database")]
    Database(#[from] sqlx::Error),
    #[error("failed to read what is to be sealed")]
    Log(#[from] ReadError),
    #[error("failed to append a seal")]
    Commit(#[from] CommitError),
    /// Whoever continues a forged chain would vouch for it.
    #[error("the last seal, number {number} at position {position}, was changed or forged")]
    Forged {
        number: u64,
        position: Position,
        #[source]
        source: BadSignature,
    },
}

impl Sealer {
    /// Of these parts.
    #[must_use]
    pub fn new(parts: SealerParts) -> (Self, Seals) {
        let (trouble, seen) = watch::channel(None);
        (Self { parts, trouble }, Seals(seen))
    }

    /// Until it is told to stop; then what is there is sealed at once.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.keep(&stop).await {
                Ok(()) => return,
                // Another node was quicker: the lock was lost with its connection.
                Err(SealError::Commit(CommitError::Rejected(Rejected::Stale))) => {}
                Err(error) => self.tell(&error),
            }
            tokio::select! {
                () = sleep(ASK_EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Once: what is wrong stays wrong until it is mended.
    fn tell(&self, error: &SealError) {
        let text = with_causes(error);
        if self.trouble.borrow().as_ref() == Some(&text) {
            return;
        }
        if matches!(error, SealError::Forged { .. }) {
            error!("Nothing is sealed any more: {text}. `picloud verify` tells what was changed");
        } else {
            warn!(error = text, "Failed to seal the log: trying again");
        }
        self.trouble.send_replace(Some(text));
    }

    /// Seals, when no other node does.
    async fn keep(&self, stop: &CancellationToken) -> Result<(), SealError> {
        let mut lock = PgConnection::connect_with(&self.parts.direct).await?;
        loop {
            if alone(&mut lock, "seals").await? {
                self.seal(stop).await?;
                // For the next, at once.
                no_longer_alone(lock).await?;
                return Ok(());
            }
            tokio::select! {
                () = sleep(ASK_EVERY) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn seal(&self, stop: &CancellationToken) -> Result<(), SealError> {
        let mut chain = self.last().await?;
        self.trouble.send_replace(None);
        let mut follow = self.parts.tail.follow(chain.up_to);
        let mut stretch = Stretch::default();
        while let Some(batch) = next(&mut follow, stop).await? {
            // What comes until it is time is sealed together.
            let until = Instant::now() + PACE;
            self.add(&mut stretch, &mut chain, &batch).await?;
            while stretch.is_worth_a_seal() && !stop.is_cancelled() {
                match timeout_at(until, next(&mut follow, stop)).await {
                    Ok(Ok(Some(more))) => self.add(&mut stretch, &mut chain, &more).await?,
                    Ok(Ok(None)) | Err(_) => break,
                    Ok(Err(error)) => return Err(error.into()),
                }
            }
            if stretch.is_worth_a_seal() {
                self.commit(&mut stretch, &mut chain).await?;
            }
        }
        Ok(())
    }

    /// Takes in events, and seals where a seal has to end.
    async fn add(&self, stretch: &mut Stretch, chain: &mut Chain, events: &[Recorded]) -> Result<(), SealError> {
        for recorded in events {
            if stretch.events == MOST
                || (stretch.events > 0 && self.parts.reader.is_segments_first(recorded.position).await?)
            {
                self.commit(stretch, chain).await?;
            }
            stretch.add(recorded);
        }
        Ok(())
    }

    async fn commit(&self, stretch: &mut Stretch, chain: &mut Chain) -> Result<(), SealError> {
        let Stretch { up_to, classes, .. } = std::mem::take(stretch);
        let mut roots = Vec::new();
        for (class, ClassPart { tree, marks }) in classes {
            roots.push(ClassRoot { class, count: tree.count(), root: tree.root() });
            // First: a seal whose marks are missing could not say which event was changed.
            sqlx::query!(
                "insert into live.seal_marks (class, up_to, marks) values ($1, $2, $3)
                on conflict (class, up_to) do update set marks = excluded.marks",
                class.as_str(),
                up_to.0,
                marks
            )
            .execute(&self.parts.database)
            .await?;
        }
        let seal = Seal {
            history: self.parts.history,
            number: chain.number + 1,
            after: chain.up_to,
            up_to,
            previous: chain.hash,
            classes: roots,
            key: self.parts.key.public(),
            signature: String::new(),
        }
        .sign(&self.parts.key);
        let sealed = NewEvent::new(None, &Actor::SYSTEM, Sealed(seal.clone()));
        let mut commit = Commit::new(self.parts.node.authority(), vec![sealed]);
        commit.reads.push(Read::LastSeal { position: chain.position });
        let committed = self.parts.committer.commit(commit).await?;
        *chain = Chain { number: seal.number, up_to, hash: seal.hash(), position: committed.last };
        Ok(())
    }

    /// Where sealing goes on.
    async fn last(&self) -> Result<Chain, SealError> {
        let head = self.parts.reader.head().await?;
        let filter = Filter { kinds: vec!["seal.sealed".into()], ..Filter::default() };
        let last = self.parts.reader.list(&filter, Direction::Backward, Position::ZERO, head, 1).await?.pop();
        let Some(last) = last else { return Ok(Chain::default()) };
        let Event::SealSealed(Sealed(seal)) = &last.event.event else { return Ok(Chain::default()) };
        seal.check_signature().map_err(|source| SealError::Forged {
            number: seal.number,
            position: last.position,
            source,
        })?;
        Ok(Chain { number: seal.number, up_to: seal.up_to, hash: seal.hash(), position: last.position })
    }
}

/// What the next seal follows.
#[derive(Debug, Default)]
struct Chain {
    number: u64,
    up_to: Position,
    hash: Hash,
    /// Where the last seal lies itself.
    position: Position,
}

/// What is not sealed yet.
#[derive(Debug, Default)]
struct Stretch {
    events: usize,
    /// How many of these are not seals.
    others: usize,
    up_to: Position,
    classes: BTreeMap<Class, ClassPart>,
}

#[derive(Debug, Default)]
struct ClassPart {
    tree: Tree,
    marks: Vec<u8>,
}

impl Stretch {
    fn add(&mut self, recorded: &Recorded) {
        let leaf = Leaf::of(recorded).hash();
        let part = self.classes.entry(recorded.event.event.class()).or_default();
        part.tree.add(leaf);
        part.marks.extend(Mark::from(leaf).0);
        self.events += 1;
        self.others += usize::from(!matches!(recorded.event.event, Event::SealSealed(_)));
        self.up_to = recorded.position;
    }

    const fn is_worth_a_seal(&self) -> bool {
        self.others > 0
    }
}

/// What comes next; nothing when there is no more, or it is told to stop.
async fn next(follow: &mut Follow, stop: &CancellationToken) -> Result<Option<Vec<Recorded>>, ReadError> {
    tokio::select! {
        biased;
        next = follow.next() => next,
        () = stop.cancelled() => Ok(None),
    }
}
