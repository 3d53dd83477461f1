//! Events as PostgreSQL hands them out by the hundred thousand: its binary COPY format.

use bytes::{Buf as _, Bytes, BytesMut};
use futures::{TryStreamExt as _, stream::BoxStream};
use sqlx::PgConnection;
use uuid::Uuid;

use super::VerifyError;
use crate::{event::Class, log::Position, seal::Leaf};

/// The columns of a leaf, in its order.
const COLUMNS: &str = "position, id, at, app_id, cause, root, depth, kind, class, subject, actor, data";

const FIELDS: usize = 12;

/// The signature, flags, and the length of an extension that nobody uses.
const HEADER_BYTES: usize = 19;

/// From PostgreSQL's first second, that of the year 2000, to 1970's.
const EPOCH_US: i64 = 946_684_800_000_000;

/// The stream cannot be what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database copied something else than events")]
pub struct NotCopied;

/// The events of a class in a segment after one position up to another, in order.
pub(in crate::log) async fn rows(
    connection: &mut PgConnection,
    class: Class,
    segment: i64,
    after: Position,
    up_to: Position,
) -> Result<Rows<'_>, sqlx::Error> {
    let sql = format!(
        "copy (
            select {COLUMNS} from log.{class}_{segment} where position > {after} and position <= {up_to} order by position
        ) to stdout (format binary)"
    );
    Ok(Rows { pieces: connection.copy_out_raw(&sql).await?, copied: Copied::default() })
}

/// Events as they come.
pub(in crate::log) struct Rows<'c> {
    pieces: BoxStream<'c, Result<Bytes, sqlx::Error>>,
    copied: Copied,
}

impl Rows<'_> {
    /// Hands out what comes next, and says how many that were; nothing at the end.
    pub async fn next(&mut self, each: &mut impl FnMut(&Leaf<'_>)) -> Result<Option<u64>, VerifyError> {
        let Some(piece) = self.pieces.try_next().await? else { return Ok(None) };
        let mut events = 0;
        self.copied.take(&piece, |leaf| {
            each(leaf);
            events += 1;
        })?;
        Ok(Some(events))
    }
}

/// Puts rows together, however the stream is cut.
#[derive(Debug, Default)]
struct Copied {
    rest: BytesMut,
    is_begun: bool,
}

impl Copied {
    /// Takes in the next piece and hands out the events that are whole.
    fn take(&mut self, piece: &Bytes, mut each: impl FnMut(&Leaf<'_>)) -> Result<(), NotCopied> {
        self.rest.extend_from_slice(piece);
        if !self.is_begun {
            if self.rest.len() < HEADER_BYTES {
                return Ok(());
            }
            self.rest.advance(HEADER_BYTES);
            self.is_begun = true;
        }
        loop {
            let mut reading = &self.rest[..];
            let Some(fields) = row(&mut reading)? else { return Ok(()) };
            if let Some(fields) = fields {
                each(&leaf(&fields)?);
            }
            let taken = self.rest.len() - reading.len();
            self.rest.advance(taken);
        }
    }
}

type Fields<'a> = [Option<&'a [u8]>; FIELDS];

/// A row; nothing at the end of all, and none when it is not whole yet.
fn row<'a>(reading: &mut &'a [u8]) -> Result<Option<Option<Fields<'a>>>, NotCopied> {
    let Some((count, mut rest)) = reading.split_first_chunk::<2>() else { return Ok(None) };
    match i16::from_be_bytes(*count) {
        -1 => {
            *reading = rest;
            return Ok(Some(None));
        }
        count if usize::try_from(count) == Ok(FIELDS) => {}
        _ => return Err(NotCopied),
    }
    let mut fields = [None; FIELDS];
    for field in &mut fields {
        let Some((length, after)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        rest = after;
        // Less than nothing is null.
        if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
            let Some((value, after)) = rest.split_at_checked(length) else { return Ok(None) };
            *field = Some(value);
            rest = after;
        }
    }
    *reading = rest;
    Ok(Some(Some(fields)))
}

fn leaf<'a>(fields: &Fields<'a>) -> Result<Leaf<'a>, NotCopied> {
    let text = |n: usize| fields[n].ok_or(NotCopied);
    let number = |n: usize| Ok(i64::from_be_bytes(text(n)?.try_into().map_err(|_| NotCopied)?));
    let uuid = |n: usize| fields[n].map(|bytes| Uuid::from_slice(bytes).map_err(|_| NotCopied)).transpose();
    Ok(Leaf {
        position: Position(number(0)?),
        id: uuid(1)?.ok_or(NotCopied)?,
        at_us: number(2)?.wrapping_add(EPOCH_US),
        app: uuid(3)?,
        cause: uuid(4)?,
        root: uuid(5)?,
        depth: i16::from_be_bytes(text(6)?.try_into().map_err(|_| NotCopied)?),
        kind: text(7)?,
        class: text(8)?,
        subject: text(9)?,
        actor: text(10)?,
        data: text(11)?,
    })
}
