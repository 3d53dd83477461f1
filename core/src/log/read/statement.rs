//! The query of one segment, and its rows.

use std::sync::Arc;

use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{Direction, Filter, ReadError, Segment};
use crate::{
    event::{Class, Event, Undecodable},
    log::{NewEvent, Position, Recorded},
};

/// What a segment is asked.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    /// Only names made of a class and a number go into the text; every value is a parameter, used or not.
    pub sql: Arc<str>,
    /// Whether it is to go by what leaves remember, or by the indexes that they have.
    pub is_looked_up: bool,
    /// Whether all of it goes by indexes: what does not match costs next to nothing, however much it is.
    pub is_indexed: bool,
}

/// One segment's query, by what its leaves know; none if nothing in it can match.
pub(super) fn statement(segment: &Segment, filter: &Filter, direction: Direction) -> Option<Statement> {
    made(segment, filter, direction, false)
}

/// The same along the positions, whatever leaves know.
pub(super) fn walking(segment: &Segment, filter: &Filter, direction: Direction) -> Option<Statement> {
    made(segment, filter, direction, true)
}

fn made(segment: &Segment, filter: &Filter, direction: Direction, is_walked: bool) -> Option<Statement> {
    let wanted = wanted(filter);
    let order = match direction {
        Direction::Forward => "asc",
        Direction::Backward => "desc",
    };
    let by_index = ByIndex::of(filter).filter(|_| !is_walked);
    let (mut is_looked_up, mut is_indexed) = (false, true);
    let leaves: Vec<String> = Class::ALL
        .iter()
        .filter(|class| segment.has_leaf(**class) && filter.may_be_of(**class))
        .map(|class| {
            let leaf = |wanted: &str, place: &str| {
                // The limit inside lets each leaf stop early.
                format!(
                    "select position, id, at, app_id, kind, subject, data::text as data, actor::text as actor, cause, root,
                        depth
                    from log.{class}_{low} where {wanted} and {place} > $1 and {place} <= $2
                    order by position {order} limit $3",
                    low = segment.low
                )
            };
            // A sum is in no index of positions alone.
            const SUM: &str = "(position + 0)";
            match &by_index {
                Some(by_index) if segment.is_indexed(*class) => {
                    is_looked_up = true;
                    // One bucket after the other, in the order of the list: it stops when there are enough.
                    format!(
                        "(select found.* from generate_series({buckets}) bucket, lateral ({leaf}) found limit $3)",
                        buckets = by_index.buckets(direction),
                        leaf = leaf(&format!("{} and {wanted}", by_index.condition), SUM)
                    )
                }
                _ => {
                    is_indexed = false;
                    let has_lookup = !is_walked
                        && ((filter.is_by_name() && segment.has_lookup(*class))
                            || (filter.actor.is_some() && segment.looks_up_actors(*class)));
                    is_looked_up |= has_lookup;
                    format!("({})", leaf(&wanted, if has_lookup { SUM } else { "position" }))
                }
            }
        })
        .collect();
    if leaves.is_empty() {
        return None;
    }
    // Wrapped, for a single leaf in parentheses takes no second `order by`.
    let sql = format!("select * from ({}) found order by position {order} limit $3", leaves.join(" union all "));
    Some(Statement { sql: sql.into(), is_looked_up, is_indexed })
}

/// What must hold of an event.
fn wanted(filter: &Filter) -> String {
    let mut wanted = String::from("($3::bigint is not null)");
    wanted += match filter.app {
        None => " and ($4::uuid is null)",
        Some(None) => " and app_id is null and ($4::uuid is null)",
        Some(Some(_)) => " and app_id = $4",
    };
    // In the words of the lookup, and only if they are asked for: an `or` would keep it from being used.
    let mut asked = |is_asked: bool, by: &str, unused: &str| wanted += if is_asked { by } else { unused };
    asked(!filter.kinds.is_empty(), " and kind = any ($5)", " and ($5::text[] is not null)");
    asked(filter.subject.is_some(), " and subject collate \"C\" = $6", " and ($6::text is null)");
    asked(filter.actor.is_some(), " and log.actor_id(actor) collate \"C\" = $7", " and ($7::text is null)");
    asked(filter.root.is_some(), " and root = $8", " and ($8::uuid is null)");
    wanted += " and ($9::timestamptz is null or at >= $9) and ($10::timestamptz is null or at < $10)";
    wanted
}

/// How an index of a closed leaf finds what matches in a bucket.
struct ByIndex {
    condition: String,
    /// A bucket has two to the power of this many positions.
    bits: u8,
}

impl ByIndex {
    /// None if no index knows of what is asked for.
    fn of(filter: &Filter) -> Option<Self> {
        let by_name = |condition: &str| {
            Some(Self { condition: format!("{condition} and (position >> 16)::int = bucket"), bits: 16 })
        };
        if filter.subject.is_some() {
            return by_name("hashtext(subject) = hashtext($6)");
        }
        if filter.root.is_some() {
            return by_name("uuid_hash(root) = uuid_hash($8)");
        }
        // Who acts does so in one app, mostly: to look for the app as well would take longer.
        let all = match filter.app {
            _ if filter.actor.is_some() => "hashtextextended($7, bucket)",
            None => "",
            Some(None) => "uuid_hash_extended('00000000-0000-0000-0000-000000000000', bucket)",
            Some(Some(_)) => "uuid_hash_extended($4, bucket)",
        };
        let kinds: Vec<String> =
            (1..=filter.all_kinds().count()).map(|n| format!("hashtextextended(($5::text[])[{n}], bucket)")).collect();
        let conditions: Vec<String> = [("@>", all), ("&&", &kinds.join(", "))]
            .into_iter()
            .filter(|(_, keys)| !keys.is_empty())
            .map(|(operator, keys)| format!("log.keys(position >> 15, app_id, kind, actor) {operator} array[{keys}]"))
            .collect();
        (!conditions.is_empty()).then(|| Self { condition: conditions.join(" and "), bits: 15 })
    }

    /// From which bucket to which, in the order of a list.
    fn buckets(&self, direction: Direction) -> String {
        let (first, last) = (format!("(($1 + 1) >> {})::int", self.bits), format!("($2 >> {})::int", self.bits));
        match direction {
            Direction::Forward => format!("{first}, {last}"),
            Direction::Backward => format!("{last}, {first}, -1"),
        }
    }
}

/// An event as it is stored, with the columns in the order in which all queries name them: by number, for millions are read at
/// once.
pub(super) fn decode(row: &PgRow) -> Result<Recorded, ReadError> {
    let position = Position(row.try_get(0)?);
    let kind: &str = row.try_get(4)?;
    let data: String = row.try_get(6)?;
    let actor: String = row.try_get(7)?;
    let undecodable = |source| ReadError::Undecodable { position, source };
    let event = Event::decode(kind, &data).map_err(undecodable)?;
    let parsed =
        serde_json::from_str(&actor).map_err(|source| undecodable(Undecodable::Data { kind: event.kind(), source }))?;
    Ok(Recorded {
        position,
        at: row.try_get(2)?,
        event: Arc::new(NewEvent {
            id: row.try_get::<Uuid, _>(1)?.into(),
            app: row.try_get::<Option<Uuid>, _>(3)?.map(Into::into),
            actor: parsed,
            cause: row.try_get::<Option<Uuid>, _>(8)?.map(Into::into),
            root: row.try_get::<Option<Uuid>, _>(9)?.map(Into::into),
            depth: row.try_get::<i16, _>(10)? as u16,
            event,
            subject: row.try_get(5)?,
            data,
            actor_json: actor.into(),
        }),
    })
}
