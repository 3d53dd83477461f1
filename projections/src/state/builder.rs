//! Folds the log beside, compares, puts right.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::future::try_join;
use picloud_core::{
    event::projection,
    log::{
        Position, Recorded,
        beside::Beside,
        correct::{CorrectError, Correction},
        jobs, outbox,
        read::Reader,
    },
};
use sqlx::{Connection as _, PgConnection, PgPool};

use super::{
    compare::{self, Differing},
    difference,
    mend::{self, Mended},
    rebuild::{Compared, RebuildError, Rebuilt},
    tables::Table,
};
use crate::{kv, views::rebuild::Progress};

/// Events that are read and folded at once: at most so many,
const CHUNK: usize = 4_000;

/// and about as much as this, going by those before.
const CHUNK_BYTES: usize = 8 << 20;

/// The first, of which nothing is known.
const FIRST: usize = 200;

/// So near to the end of the log, the rest is taken in once it is known up to where.
const NEAR: i64 = 2_000;

/// Events after which what has expired is swept: what is beside grows no larger than what is read from.
const SWEEP_EVERY: i64 = 100_000;

/// Rows that differ and are shown, of each table.
const SHOWN: usize = 10;

/// Rows that differ and are remembered, to be put right before all is compared again.
const REMEMBERED: usize = 200_000;

/// For so long it is tried to have the log for a moment: somebody else may keep it.
const TRY_FOR: Duration = Duration::from_secs(30);

/// State as far as it has been made anew, and what it is compared with.
pub(super) struct Builder {
    pool: PgPool,
    reader: Reader,
    beside: Beside,
    tables: Vec<Table>,
    /// Up to where what had expired was swept.
    swept: Position,
    /// Nothing is taken to have expired that had not by then.
    began: DateTime<Utc>,
}

impl Builder {
    /// `began` is when it began, by the database's clock.
    pub fn new(pool: PgPool, reader: Reader, beside: Beside, tables: Vec<Table>, began: DateTime<Utc>) -> Self {
        Self { pool, reader, beside, tables, swept: Position::ZERO, began }
    }

    /// Drops what was made.
    pub async fn drop(self) -> Result<(), sqlx::Error> {
        self.beside.drop().await
    }

    /// Makes it, compares it, and puts right what differs if that is wanted.
    pub async fn rebuild(
        &mut self,
        swaps: bool,
        told: &mut impl FnMut(Progress),
    ) -> Result<Vec<Rebuilt>, RebuildError> {
        self.beside.begin(&self.reader).await?;
        self.catch_up(told).await?;
        let mut connection = self.pool.acquire().await?.detach();
        let (mut rebuilt, mut differing) = self.compare(&mut connection).await?;
        if swaps {
            let mut before = u64::MAX;
            while let Some((table, _)) = differing.iter().find(|(_, differing)| differing.count() > 0) {
                let count = differing.iter().map(|(_, differing)| differing.count()).sum();
                if count >= before {
                    return Err(RebuildError::DiffersAgain { table: self.tables[*table].name.clone() });
                }
                before = count;
                self.put_right(&mut connection, &differing, &mut rebuilt).await?;
                (_, differing) = self.compare(&mut connection).await?;
            }
            // Also what was right as soon as something else was.
            for one in rebuilt.iter_mut().filter(|one| matches!(one.compared, Compared::Different { .. })) {
                one.put_right.get_or_insert(0);
            }
        }
        connection.close().await?;
        Ok(rebuilt)
    }

    /// Folds the log up to where it nearly ends.
    async fn catch_up(&mut self, told: &mut impl FnMut(Progress)) -> Result<(), RebuildError> {
        let mut head = self.reader.head().await?;
        let mut next = self.reader.range(Position::ZERO, head, FIRST).await?;
        while let Some(last) = next.last() {
            let (up_to, chunk) = (last.position, chunk_after(&next));
            // What comes after is read while this is folded.
            let (following, ()) = try_join(
                async { Ok::<_, RebuildError>(self.reader.range(up_to, head, chunk).await?) },
                take(&mut self.beside, &mut self.swept, self.began, &next),
            )
            .await?;
            next = following;
            if next.is_empty() {
                let now = self.reader.head().await?;
                if now.0 - head.0 > NEAR {
                    next = self.reader.range(up_to, now, chunk).await?;
                }
                head = now;
            }
            told(Progress { position: up_to, head });
        }
        Ok(())
    }

    /// Folds what is missing up to a place.
    async fn reach(&mut self, position: Position) -> Result<(), RebuildError> {
        let mut chunk = FIRST;
        while self.beside.position() < position {
            let events = self.reader.range(self.beside.position(), position, chunk).await?;
            if events.is_empty() {
                break;
            }
            chunk = chunk_after(&events);
            take(&mut self.beside, &mut self.swept, self.began, &events).await?;
        }
        Ok(())
    }

    /// Compares all tables as of one moment: a snapshot holds state as it was after some event, and what is beside takes in the
    /// log up to that one.
    async fn compare(
        &mut self,
        connection: &mut PgConnection,
    ) -> Result<(Vec<Rebuilt>, Vec<(usize, Differing)>), RebuildError> {
        let mut live = connection.begin_with("begin isolation level repeatable read read only").await?;
        compare::prepare(&mut live).await?;
        let head: i64 = sqlx::query_scalar("select log.find_head()").fetch_one(&mut *live).await?;
        // After the snapshot: whatever was swept in it had expired by then.
        let moment = sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *live).await?;
        self.reach(Position(head)).await?;
        let mut built = self.beside.pool().begin().await?;
        compare::prepare(&mut built).await?;
        let (mut rebuilt, mut differing, mut room) = (Vec::new(), Vec::new(), REMEMBERED);
        for (n, table) in self.tables.iter().enumerate() {
            let (rows, found) = compare::compare(&mut live, &mut built, table, moment, room).await?;
            room -= found.keys.len();
            let compared = if found.count() == 0 {
                Compared::Same { rows }
            } else {
                let shown = &found.keys[..found.keys.len().min(SHOWN)];
                let examples = difference::tell(&mut live, &mut built, table, shown).await?;
                let Differing { only_live: only_table, only_built: only_log, changed, .. } = found;
                Compared::Different { only_table, only_log, changed, examples }
            };
            rebuilt.push(Rebuilt { table: table.name.clone(), compared, put_right: None });
            differing.push((n, found));
        }
        built.commit().await?;
        live.commit().await?;
        Ok((rebuilt, differing))
    }

    /// Puts right what differed, in short transactions.
    async fn put_right(
        &mut self,
        connection: &mut PgConnection,
        differing: &[(usize, Differing)],
        rebuilt: &mut [Rebuilt],
    ) -> Result<(), RebuildError> {
        let mut left = None;
        let mut is_any = false;
        for part in parts(differing) {
            let mended = self.put_right_part(connection, &part).await?;
            for corrected in &mended.tables {
                is_any = true;
                let one = rebuilt.iter_mut().find(|one| one.table == corrected.table);
                let one = one.expect("what was mended was compared");
                *one.put_right.get_or_insert(0) += corrected.rows;
            }
            left = left.or(mended.in_the_way);
        }
        if let Some((table, constraint)) = left.filter(|_| !is_any) {
            return Err(RebuildError::InTheWay { table, constraint });
        }
        if rebuilt.iter().any(|one| one.table == "outbox" && one.put_right.is_some()) {
            // What is owed again is to be run; what is not owed any more nobody finds.
            outbox::recover(&self.pool).await?;
        }
        Ok(())
    }

    /// In one transaction, unless it would keep others waiting for too long.
    async fn put_right_part(
        &mut self,
        connection: &mut PgConnection,
        part: &[(usize, Vec<String>)],
    ) -> Result<Mended, RebuildError> {
        let until = Instant::now() + TRY_FOR;
        loop {
            let head = self.reader.head().await?;
            self.reach(head).await?;
            let is_last = Instant::now() >= until;
            match self.try_to_put_right(connection, part, is_last).await {
                Ok(Some(mended)) => return Ok(mended),
                Ok(None) => {}
                Err(RebuildError::Database(error) | RebuildError::Correct(CorrectError::Database(error)))
                    if is_in_the_way(&error) && !is_last => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// None, when too much has come meanwhile: whoever appends would wait for that, too. The last time they do.
    async fn try_to_put_right(
        &mut self,
        connection: &mut PgConnection,
        part: &[(usize, Vec<String>)],
        is_last: bool,
    ) -> Result<Option<Mended>, RebuildError> {
        let mut correction = Correction::begin(connection).await?;
        if !is_last && correction.head().0 - self.beside.position().0 > NEAR {
            correction.give_up().await?;
            return Ok(None);
        }
        let mended = match self.mend(&mut correction, part).await {
            Ok(mended) if !mended.tables.is_empty() => mended,
            // Given up now: the log is not kept from others until somebody looks at this connection again.
            nothing => {
                correction.give_up().await?;
                return nothing.map(Some);
            }
        };
        correction.commit(projection::Rebuilt::state(mended.tables.clone())).await?;
        Ok(Some(mended))
    }

    async fn mend(
        &mut self,
        correction: &mut Correction<'_>,
        part: &[(usize, Vec<String>)],
    ) -> Result<Mended, RebuildError> {
        self.reach(correction.head()).await?;
        compare::prepare(correction.connection()).await?;
        let rows: Vec<(&Table, &[String])> = part.iter().map(|(n, keys)| (&self.tables[*n], &keys[..])).collect();
        Ok(mend::mend(correction, self.beside.pool(), &rows).await?)
    }
}

/// How many events to read next, when they are as large as these.
fn chunk_after(events: &[Recorded]) -> usize {
    let bytes: usize = events.iter().map(|recorded| recorded.event.data.len()).sum();
    (CHUNK_BYTES / (bytes / events.len().max(1)).max(1)).clamp(1, CHUNK)
}

/// Folds events, and sweeps now and then, as the service does; nothing that it may not have swept.
async fn take(
    beside: &mut Beside,
    swept: &mut Position,
    began: DateTime<Utc>,
    events: &[Recorded],
) -> Result<(), RebuildError> {
    beside.fold(events).await?;
    let Some(last) = events.last().filter(|last| last.position.0 - swept.0 >= SWEEP_EVERY) else { return Ok(()) };
    beside.stands_at(last.at.min(began)).await?;
    let pool = beside.pool();
    kv::sweep(pool).await?;
    kv::sweep_deleted(pool).await?;
    outbox::sweep(pool).await?;
    jobs::sweep(pool).await?;
    *swept = last.position;
    Ok(())
}

/// The rows that differ, as many at once as are put right in one transaction.
fn parts(differing: &[(usize, Differing)]) -> Vec<Vec<(usize, Vec<String>)>> {
    let (mut parts, mut part, mut room) = (Vec::new(), Vec::new(), mend::AT_ONCE);
    for (table, differing) in differing {
        let mut keys = &differing.keys[..];
        while !keys.is_empty() {
            let (now, later) = keys.split_at(room.min(keys.len()));
            part.push((*table, now.iter().map(|(_, key)| key.clone()).collect()));
            room -= now.len();
            keys = later;
            if room == 0 {
                parts.push(std::mem::take(&mut part));
                room = mend::AT_ONCE;
            }
        }
    }
    parts.extend((!part.is_empty()).then_some(part));
    parts
}

/// Somebody holds what is to be written: the log, or a row. In a moment they will not.
fn is_in_the_way(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["40P01", "55P03"].contains(&&*code))
}
