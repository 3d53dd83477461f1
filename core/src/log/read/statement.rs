//! The query of one segment, and its rows.

use std::sync::Arc;

use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{Direction, Filter, ReadError, Segment};
use crate::{
    event::{Class, Event, Undecodable},
    log::{NewEvent, Position, Recorded},
};

/// One segment's query. Only names made of a class and a number go into the text; every value is a parameter, used or not.
pub(super) fn statement(segment: &Segment, filter: &Filter, direction: Direction) -> Option<String> {
    let mut wanted = String::from("($3::bigint is not null)");
    wanted += match filter.app {
        None => " and ($4::uuid is null)",
        Some(None) => " and app_id is null and ($4::uuid is null)",
        Some(Some(_)) => " and app_id = $4",
    };
    wanted += if filter.kinds.is_empty() {
        " and ($5::text[] is not null and $6::text[] is not null)"
    } else {
        " and (kind = any ($5) or split_part(kind, '.', 1) = any ($6))"
    };
    // In the words of the lookup, and only if they are asked for: an `or` would keep it from being used.
    let mut asked = |is_asked: bool, by: &str, unused: &str| wanted += if is_asked { by } else { unused };
    asked(filter.subject.is_some(), " and subject collate \"C\" = $7", " and ($7::text is null)");
    asked(filter.actor.is_some(), " and actor ->> 'id' = $8", " and ($8::text is null)");
    asked(filter.root.is_some(), " and root = $9", " and ($9::uuid is null)");
    wanted += " and ($10::timestamptz is null or at >= $10) and ($11::timestamptz is null or at < $11)";
    let order = match direction {
        Direction::Forward => "asc",
        Direction::Backward => "desc",
    };
    let leaves: Vec<String> = Class::ALL
        .iter()
        .filter(|class| segment.classes.iter().any(|present| present == class.as_str()))
        .filter(|class| filter.may_be_of(**class))
        .map(|class| {
            // A sum is in the lookup, and in no other index.
            let place = if filter.is_looked_up() && segment.has_lookup(*class) { "(position + 0)" } else { "position" };
            // The limit inside lets each leaf stop early.
            format!(
                "(select position, id, at, app_id, kind, subject, data::text as data, actor::text as actor, cause, root, depth
                from log.{class}_{low} where {place} > $1 and {place} <= $2 and {wanted} order by position {order} limit $3)",
                low = segment.low
            )
        })
        .collect();
    if leaves.is_empty() {
        return None;
    }
    // Wrapped, for a single leaf in parentheses takes no second `order by`.
    Some(format!("select * from ({}) found order by position {order} limit $3", leaves.join(" union all ")))
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
