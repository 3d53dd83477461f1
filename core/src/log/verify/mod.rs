//! Proves that the log is as it was sealed, or finds where it is not.

mod chain;
mod copied;
mod finding;
mod prove;

use std::collections::BTreeMap;

use sqlx::PgConnection;

use self::chain::{Chain, Link};
use super::Position;
use crate::{
    event::Class,
    id::HistoryId,
    seal::{Leaf, Mark, PublicKey, Seal, tree::Tree},
};

pub use copied::NotCopied;
pub(super) use copied::rows;
pub use finding::{Finding, Wrong};
pub use prove::{ProveError, prove};

/// More than so many findings are no use to anybody.
const MOST_FINDINGS: usize = 100;

/// How often progress is told, in events.
const TOLD_EVERY: u64 = 20_000;

/// What is to be proved, and by what.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of what lies after this place,
    pub after: Position,
    /// up to this one; none is to the last seal.
    pub up_to: Option<Position>,
    /// Whose signatures count. When there are none, each key counts, and the result tells which they were.
    pub trusted: Vec<PublicKey>,
    /// Seals that were kept elsewhere.
    pub anchors: Vec<Seal>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// This many events were looked at,
    pub events: u64,
    /// of about so many.
    pub of: u64,
}

/// What was found out.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// What is wrong, by position; nothing, when all is as it was sealed.
    pub findings: Vec<Finding>,
    /// So many events are as they were sealed, or were looked at.
    pub events: u64,
    /// So many were sealed and have been dropped: only their seals can be looked at.
    pub dropped: u64,
    /// So many seals were looked at.
    pub seals: u64,
    /// The last of them.
    pub last: Option<Seal>,
    /// The keys they are signed with.
    pub keys: Vec<PublicKey>,
    /// The lives of the log they are of; a restored log has one more.
    pub histories: Vec<HistoryId>,
}

/// Why nothing could be found out.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The database would not.
    #[error("failed to read the log")]
    Database(#[from] sqlx::Error),
    /// It answered something strange.
    #[error(transparent)]
    Copied(#[from] NotCopied),
}

struct Segment {
    low: i64,
    high: i64,
    classes: Vec<String>,
}

impl Segment {
    fn has(&self, class: Class) -> bool {
        self.classes.iter().any(|present| present == class.as_str())
    }

    const fn meets(&self, after: Position, up_to: Position) -> bool {
        self.low <= up_to.0 && self.high > after.0 + 1
    }
}

async fn segments(connection: &mut PgConnection) -> Result<Vec<Segment>, VerifyError> {
    let rows = sqlx::query!("select low, high, classes from log.segments order by low").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| Segment { low: row.low, high: row.high, classes: row.classes }).collect())
}

/// The seals of a part of the log, in order.
pub(super) async fn sealed_between(
    connection: &mut PgConnection,
    after: Position,
    up_to: Position,
) -> Result<Vec<Seal>, VerifyError> {
    let lows: Vec<i64> = segments(connection).await?.iter().map(|segment| segment.low).collect();
    let mut chain = Chain::after(after, Vec::new());
    let mut seals: Vec<Seal> = Vec::new();
    while seals.last().is_none_or(|last| last.up_to < up_to) {
        let page = chain.page(connection, &lows, &mut Vec::new()).await?;
        if page.is_empty() {
            break;
        }
        seals.extend(page.into_iter().map(|link| link.seal).filter(|seal| seal.up_to > after && seal.after < up_to));
    }
    Ok(seals)
}

/// Reads what was sealed, hashes it again, and compares.
///
/// # Errors
/// When the log cannot be read. What is wrong with it is no error.
pub async fn verify(
    connection: &mut PgConnection,
    wanted: &Wanted,
    mut told: impl FnMut(Progress),
) -> Result<Verified, VerifyError> {
    let segments = segments(connection).await?;
    let lows: Vec<i64> =
        segments.iter().filter(|segment| segment.has(Class::Config)).map(|segment| segment.low).collect();
    let head = sqlx::query_scalar!(r#"select log.find_head() as "head!""#).fetch_one(&mut *connection).await?;
    let up_to = wanted.up_to.unwrap_or(Position(head));
    let mut verifier = Verifier {
        connection,
        segments,
        verified: Verified::default(),
        of: u64::try_from(up_to.0 - wanted.after.0).unwrap_or(0),
        told: &mut told,
    };
    let mut chain = Chain::after(wanted.after, wanted.trusted.clone());
    loop {
        let mut page = chain.page(verifier.connection, &lows, &mut verifier.verified.findings).await?;
        let is_last = page.is_empty() || page.iter().any(|link| link.seal.up_to >= up_to);
        page.retain(|link| link.seal.after < up_to);
        if page.is_empty() {
            break;
        }
        verifier.check(&page, wanted).await?;
        if is_last || verifier.verified.findings.len() >= MOST_FINDINGS {
            break;
        }
    }
    chain.check_last(verifier.connection, &lows, wanted.after, &mut verifier.verified.findings).await?;
    verifier.check_dropped(wanted.after, up_to).await?;
    let mut verified = verifier.verified;
    let last = chain.last.map(|link| link.seal);
    for anchor in &wanted.anchors {
        let is_signed =
            anchor.check_signature().is_ok() && (wanted.trusted.is_empty() || wanted.trusted.contains(&anchor.key));
        let position = last.as_ref().map_or(Position::ZERO, |last| last.up_to);
        if !is_signed {
            let wrong = Wrong::BadAnchor { number: anchor.number };
            verified.findings.push(Finding { position: anchor.up_to, wrong });
        } else if wanted.up_to.is_none() && last.as_ref().is_none_or(|last| last.number < anchor.number) {
            verified.findings.push(Finding { position, wrong: Wrong::Cut { number: anchor.number } });
        }
    }
    verified.keys = chain.keys;
    verified.findings.sort_by_key(|finding| finding.position);
    verified.findings.dedup();
    verified.findings.truncate(MOST_FINDINGS);
    Ok(Verified { last, ..verified })
}

struct Verifier<'a> {
    connection: &'a mut PgConnection,
    segments: Vec<Segment>,
    verified: Verified,
    of: u64,
    told: &'a mut dyn FnMut(Progress),
}

impl Verifier<'_> {
    /// Looks at what some seals that follow one another are of.
    async fn check(&mut self, page: &[Link], wanted: &Wanted) -> Result<(), VerifyError> {
        for Link { position, seal } in page {
            self.verified.seals += 1;
            if !self.verified.histories.contains(&seal.history) {
                self.verified.histories.push(seal.history);
            }
            let other =
                wanted.anchors.iter().find(|anchor| anchor.number == seal.number && anchor.hash() != seal.hash());
            if let Some(anchor) = other {
                let wrong = Wrong::Anchor { number: seal.number, kept: anchor.hash() };
                self.verified.findings.push(Finding { position: *position, wrong });
            }
        }
        for class in Class::ALL {
            for link in self.differing(page, class).await? {
                // What is read again is not counted again.
                let events = self.verified.events;
                self.locate(link, class).await?;
                self.verified.events = events;
                if self.verified.findings.len() >= MOST_FINDINGS {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The seals whose events of a class are not those that were sealed.
    async fn differing<'l>(&mut self, page: &'l [Link], class: Class) -> Result<Vec<&'l Link>, VerifyError> {
        let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(Vec::new()) };
        let (after, up_to) = (first.seal.after, last.seal.up_to);
        let mut trees: BTreeMap<usize, Tree> = BTreeMap::new();
        let mut current = 0;
        self.leaves(class, after, up_to, |leaf| {
            while page[current].seal.up_to < leaf.position && current + 1 < page.len() {
                current += 1;
            }
            trees.entry(current).or_default().add(leaf.hash());
        })
        .await?;
        let mut differing = Vec::new();
        for (n, link) in page.iter().enumerate() {
            let expected = link.seal.class(class).map(|root| (root.count, root.root));
            if self.is_dropped(class, &link.seal) {
                self.verified.dropped += expected.map_or(0, |(count, _)| count);
            } else if trees.get(&n).map(|tree| (tree.count(), tree.root())) != expected {
                differing.push(link);
            }
        }
        Ok(differing)
    }

    /// Whether what was dropped was to be: an event says so, and that is kept for ever.
    async fn check_dropped(&mut self, after: Position, up_to: Position) -> Result<(), VerifyError> {
        let archived = sqlx::query!(
            r#"select data ->> 'class' as "class!", (data ->> 'low')::bigint as "low!"
            from log.config where kind = 'partition.archived'"#
        )
        .fetch_all(&mut *self.connection)
        .await?;
        for segment in self.segments.iter().filter(|segment| segment.meets(after, up_to)) {
            for class in Class::ALL.into_iter().filter(|class| !segment.has(*class)) {
                if !archived.iter().any(|said| said.low == segment.low && said.class == class.as_str()) {
                    let wrong = Wrong::Dropped { class, up_to: Position(segment.high - 1) };
                    self.verified.findings.push(Finding { position: Position(segment.low), wrong });
                }
            }
        }
        Ok(())
    }

    /// Whether events of a class that a seal is of have been dropped.
    fn is_dropped(&self, class: Class, seal: &Seal) -> bool {
        let mut touched = self.segments.iter().filter(|segment| segment.meets(seal.after, seal.up_to));
        touched.any(|segment| !segment.has(class))
    }

    /// Tells which event it is.
    async fn locate(&mut self, link: &Link, class: Class) -> Result<(), VerifyError> {
        let Link { position, seal } = link;
        if seal.check_signature().is_err() {
            let wrong = Wrong::Seal { number: Some(seal.number) };
            self.verified.findings.push(Finding { position: *position, wrong });
            return Ok(());
        }
        let (mut tree, mut there) = (Tree::default(), Vec::new());
        self.leaves(class, seal.after, seal.up_to, |leaf| {
            let hash = leaf.hash();
            tree.add(hash);
            there.push((leaf.position, Mark::from(hash)));
        })
        .await?;
        if seal.class(class).is_some_and(|root| (root.count, root.root) == (tree.count(), tree.root())) {
            // It was taken for another: a seal beside it says that it is of the same events.
            return Ok(());
        }
        let marks = sqlx::query_scalar!(
            "select marks from live.seal_marks where class = $1 and up_to = $2",
            class.as_str(),
            seal.up_to.0
        )
        .fetch_optional(&mut *self.connection)
        .await?
        .unwrap_or_default();
        let (marks, _) = marks.as_chunks::<{ Mark::BYTES }>();
        let sealed = seal.class(class).map_or(0, |root| root.count) as usize;
        let differ = |(n, (_, mark)): &(usize, &(Position, Mark))| marks.get(*n) != Some(&mark.0);
        let wrong: Vec<Finding> = if marks.len() != sealed {
            Vec::new()
        } else if there.len() < sealed {
            let missing = self.missing(seal).await?;
            missing.map(|position| Finding { position, wrong: Wrong::Missing }).into_iter().collect()
        } else {
            let mut differing = there.iter().enumerate().filter(differ).map(|(_, (position, _))| *position);
            let wrong = |wrong: Wrong| move |position| Finding { position, wrong: wrong.clone() };
            if there.len() > sealed {
                differing.next().map(wrong(Wrong::Added)).into_iter().collect()
            } else {
                differing.map(wrong(Wrong::Changed)).take(MOST_FINDINGS).collect()
            }
        };
        if wrong.is_empty() {
            let wrong = Wrong::Somewhere { class, up_to: seal.up_to };
            self.verified.findings.push(Finding { position: seal.after.plus(1), wrong });
        }
        self.verified.findings.extend(wrong);
        Ok(())
    }

    /// The first position in a seal at which there is nothing, of any class.
    async fn missing(&mut self, seal: &Seal) -> Result<Option<Position>, VerifyError> {
        let mut there = std::collections::BTreeSet::new();
        for class in Class::ALL {
            if self.is_dropped(class, seal) {
                return Ok(None);
            }
            self.leaves(class, seal.after, seal.up_to, |leaf| {
                there.insert(leaf.position.0);
            })
            .await?;
        }
        Ok((seal.after.0 + 1..=seal.up_to.0).find(|position| !there.contains(position)).map(Position))
    }

    /// As [`leaves`], counted.
    async fn leaves(
        &mut self,
        class: Class,
        after: Position,
        up_to: Position,
        mut each: impl FnMut(&Leaf<'_>),
    ) -> Result<(), VerifyError> {
        let (verified, told, of) = (&mut self.verified, &mut self.told, self.of);
        let counted = |events| {
            let before = verified.events;
            verified.events += events;
            if before / TOLD_EVERY != verified.events / TOLD_EVERY {
                told(Progress { events: verified.events, of });
            }
        };
        leaves(self.connection, &self.segments, class, after, up_to, &mut each, counted).await
    }
}

/// The events of a class after one position up to another, as far as they have not been dropped, in order; and how many came
/// with each piece.
async fn leaves(
    connection: &mut PgConnection,
    segments: &[Segment],
    class: Class,
    after: Position,
    up_to: Position,
    each: &mut impl FnMut(&Leaf<'_>),
    mut counted: impl FnMut(u64),
) -> Result<(), VerifyError> {
    for segment in segments.iter().filter(|segment| segment.meets(after, up_to) && segment.has(class)) {
        let mut rows = rows(connection, class, segment.low, after, up_to).await?;
        while let Some(events) = rows.next(each).await? {
            counted(events);
        }
    }
    Ok(())
}
