//! The seals, a page at a time, each as it follows the one before.

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::{Finding, Wrong};
use crate::{
    event::Class,
    log::Position,
    seal::{Hash, PublicKey, Seal},
};

/// So many seals are looked at together. In a quiet log each is of a few events only.
const PAGE: i64 = 1_000;

/// A seal and where it lies.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub position: Position,
    pub seal: Seal,
}

/// Walks along the seals.
#[derive(Debug)]
pub(super) struct Chain {
    /// The last seal that was looked at.
    pub last: Option<Link>,
    /// With which keys they are signed.
    pub keys: Vec<PublicKey>,
    trusted: Vec<PublicKey>,
    next: Position,
    is_whole: bool,
}

/// The seal that a seal should follow; before the first, nothing.
struct Expected {
    number: u64,
    after: Position,
    previous: Hash,
}

impl Chain {
    /// From the first seal that reaches beyond a position; from the very first when that is 0.
    pub fn after(position: Position, trusted: Vec<PublicKey>) -> Self {
        Self { last: None, keys: Vec::new(), trusted, next: position, is_whole: position == Position::ZERO }
    }

    /// The next seals, and what is wrong with them. None when there are no more.
    pub async fn page(
        &mut self,
        connection: &mut PgConnection,
        segments: &[i64],
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<Link>, sqlx::Error> {
        let mut page = Vec::new();
        for (position, data) in self.rows(connection, segments).await? {
            self.next = position;
            let Ok(seal) = serde_json::from_str::<Seal>(&data) else {
                findings.push(Finding { position, wrong: Wrong::Seal { number: None } });
                continue;
            };
            let link = Link { position, seal };
            self.check(&link, findings);
            self.last = Some(link.clone());
            page.push(link);
        }
        Ok(page)
    }

    /// What is wrong with the last seal: nothing after it vouches for it. Who forged it may have forged others before it, each
    /// for the next: then the first of these is told, too, which takes looking at every signature from `after` on.
    pub async fn check_last(
        &self,
        connection: &mut PgConnection,
        segments: &[i64],
        after: Position,
        findings: &mut Vec<Finding>,
    ) -> Result<(), sqlx::Error> {
        let Some(last) = self.last.as_ref().and_then(forged) else { return Ok(()) };
        let mut again = Self::after(after, Vec::new());
        loop {
            let page = again.page(connection, segments, &mut Vec::new()).await?;
            if let Some(first) = page.iter().find_map(forged) {
                findings.push(first);
                break;
            }
            if page.is_empty() {
                break;
            }
        }
        findings.push(last);
        Ok(())
    }

    async fn rows(
        &self,
        connection: &mut PgConnection,
        segments: &[i64],
    ) -> Result<Vec<(Position, String)>, sqlx::Error> {
        let mut found = Vec::new();
        // A segment begins before what is wanted or behind it; of those before, the last may hold it.
        let first = segments.partition_point(|low| *low <= self.next.0 + 1).saturating_sub(1);
        for low in &segments[first..] {
            let sql = format!(
                "select position, data::text as data from log.{}_{low}
                where kind = 'seal.sealed' and position > $1 order by position limit $2",
                Class::Config
            );
            let rows = sqlx::query(AssertSqlSafe(sql))
                .bind(self.next.0)
                .bind(PAGE - found.len() as i64)
                .fetch_all(&mut *connection)
                .await?;
            for row in rows {
                found.push((Position(row.try_get("position")?), row.try_get("data")?));
            }
            if found.len() as i64 >= PAGE {
                break;
            }
        }
        Ok(found)
    }

    /// The hash of each is in the next, so that signatures have to be looked at only where something changes.
    fn check(&mut self, link: &Link, findings: &mut Vec<Finding>) {
        let Link { position, seal } = link;
        let is_new_key = !self.keys.contains(&seal.key);
        if is_new_key {
            self.keys.push(seal.key);
            if !self.trusted.is_empty() && !self.trusted.contains(&seal.key) {
                findings.push(Finding { position: *position, wrong: Wrong::Key { key: seal.key } });
            }
        }
        let expected = match &self.last {
            Some(Link { seal, .. }) => {
                Some(Expected { number: seal.number + 1, after: seal.up_to, previous: seal.hash() })
            }
            None if self.is_whole => Some(Expected { number: 1, after: Position::ZERO, previous: Hash::NONE }),
            None => None,
        };
        let follows = expected.as_ref().is_none_or(|expected| {
            seal.number == expected.number && seal.after == expected.after && seal.previous == expected.previous
        });
        if follows && !is_new_key {
            return;
        }
        let before = findings.len();
        findings.extend(self.last.as_ref().and_then(forged));
        findings.extend(forged(link));
        if let Some(expected) = expected.filter(|_| !follows && findings.len() == before) {
            let wrong = Wrong::Link { expected: expected.number, found: seal.number };
            findings.push(Finding { position: *position, wrong });
        }
    }
}

fn forged(link: &Link) -> Option<Finding> {
    let wrong = Wrong::Seal { number: Some(link.seal.number) };
    link.seal.check_signature().is_err().then_some(Finding { position: link.position, wrong })
}
