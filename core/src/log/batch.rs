//! One append: the arrays that a batch of commits becomes, and the call that sends them.

mod again;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    Commit, Position, Read, Rejected,
    fold::{CannotFollow, Folded, KvKey, OutboxFinal},
};
use crate::{
    event::outbox::Enqueued,
    id::{NodeEpoch, OutboxId},
    outbox::Gate,
    state::kv::Write,
};

/// The column values of one call of `log.commit_batch`, one vector an argument.
#[derive(Debug, Default)]
pub(super) struct Arrays<'a> {
    read_commit: Vec<i32>,
    read_app: Vec<Uuid>,
    read_collection: Vec<&'a str>,
    read_key: Vec<&'a str>,
    read_position: Vec<i64>,
    claim_commit: Vec<i32>,
    claim_scope: Vec<&'a [u8]>,
    claim_token: Vec<Uuid>,
    claim_outcome: Vec<&'a [u8]>,
    event_id: Vec<Uuid>,
    event_app: Vec<Option<Uuid>>,
    event_kind: Vec<&'a str>,
    event_subject: Vec<&'a str>,
    event_data: Vec<&'a str>,
    event_actor: Vec<&'a str>,
    event_cause: Vec<Option<Uuid>>,
    event_root: Vec<Option<Uuid>>,
    event_depth: Vec<i16>,
    event_class: Vec<&'a str>,
    set_app: Vec<Uuid>,
    set_collection: Vec<&'a str>,
    set_key: Vec<&'a str>,
    set_value: Vec<String>,
    set_expires: Vec<Option<DateTime<Utc>>>,
    set_anew: Vec<Option<i64>>,
    set_offset: Vec<i32>,
    base_app: Vec<Uuid>,
    base_collection: Vec<&'a str>,
    base_key: Vec<&'a str>,
    base_low: Vec<i64>,
    base_high: Vec<i64>,
    /// The same rows as `base_*`.
    bases: Vec<KvKey<'a>>,
    /// Which commit increases which of them, in order.
    increases: Vec<(KvKey<'a>, usize)>,
    add_app: Vec<Uuid>,
    add_collection: Vec<&'a str>,
    add_key: Vec<&'a str>,
    add_by: Vec<i64>,
    add_offset: Vec<i32>,
    delete_app: Vec<Uuid>,
    delete_collection: Vec<&'a str>,
    delete_key: Vec<&'a str>,
    begin_invocation: Vec<Uuid>,
    begin_app: Vec<Uuid>,
    begin_offset: Vec<i32>,
    end_invocation: Vec<Uuid>,
    lease_commit: Vec<i32>,
    lease_item: Vec<Uuid>,
    item_id: Vec<Uuid>,
    item_offset: Vec<i32>,
    item_lane: Vec<Option<&'a str>>,
    item_priority: Vec<i16>,
    item_due: Vec<Option<DateTime<Utc>>>,
    item_watched: Vec<bool>,
    item_leased: Vec<bool>,
    item_gate: Vec<Uuid>,
    /// The same rows as `item_*`.
    items: Vec<&'a Enqueued>,
    retry_item: Vec<Uuid>,
    retry_failed: Vec<String>,
    retry_due: Vec<DateTime<Utc>>,
    end_item: Vec<Uuid>,
    end_outcome: Vec<&'a str>,
    token_item: Vec<Uuid>,
    token_hash: Vec<&'a [u8]>,
    /// Whether a commit in it holds a predicate, which was checked in memory against events up to the known head.
    pub holds_predicates: bool,
}

/// A commit of the batch, by its index, cannot be part of it.
pub(super) type Refusal = (usize, Rejected);

impl<'a> Arrays<'a> {
    /// Lays the commits out, numbered by their place in the slice.
    ///
    /// # Errors
    /// The number of the first commit that cannot follow the ones before it in one batch. For the first commit of all: that
    /// cannot be made.
    pub fn build(commits: impl Iterator<Item = &'a Commit>) -> Result<Self, usize> {
        let mut arrays = Self::default();
        let mut folded = Folded::default();
        for (index, commit) in commits.enumerate() {
            let number = index as i32;
            arrays.reads(number, &commit.reads);
            if let Some(item) = commit.authority.lease {
                arrays.lease_commit.push(number);
                arrays.lease_item.push(item.uuid());
            }
            if let Some(outcome) = &commit.outcome {
                arrays.claim_commit.push(number);
                arrays.claim_scope.push(&outcome.claim.scope);
                arrays.claim_token.push(outcome.claim.claim);
                arrays.claim_outcome.push(&outcome.sealed);
            }
            if let Some(token) = &commit.status_token {
                arrays.token_item.push(token.item.uuid());
                arrays.token_hash.push(&token.hash);
            }
            for event in &commit.events {
                arrays.event_id.push(event.id.uuid());
                arrays.event_app.push(event.app.map(Uuid::from));
                arrays.event_kind.push(event.event.kind());
                arrays.event_subject.push(&event.subject);
                arrays.event_data.push(&event.data);
                arrays.event_actor.push(&event.actor_json);
                arrays.event_cause.push(event.cause.map(Uuid::from));
                arrays.event_root.push(event.root.map(Uuid::from));
                arrays.event_depth.push(event.depth as i16);
                arrays.event_class.push(event.event.class().as_str());
                let offset = arrays.event_id.len() as i32;
                folded.take(event.app, &event.event, offset).map_err(|CannotFollow| index)?;
            }
            arrays.increases.extend(folded.increased.drain(..).map(|key| (key, index)));
        }
        arrays.rows(folded);
        Ok(arrays)
    }

    fn reads(&mut self, number: i32, reads: &'a [Read]) {
        for read in reads {
            match read {
                Read::Kv { app, collection, key, version } => {
                    self.read_commit.push(number);
                    self.read_app.push(app.uuid());
                    self.read_collection.push(collection);
                    self.read_key.push(key);
                    self.read_position.push(version.0);
                }
                Read::KvRange { .. } => self.holds_predicates = true,
                // Checked beside the call, by the transaction that folds configuration.
                Read::Config { .. }
                | Read::DeadLetter { .. }
                | Read::Alert { .. }
                | Read::Cron { .. }
                | Read::Owed { .. }
                | Read::Lane { .. }
                | Read::LastSeal { .. } => {}
            }
        }
    }

    /// Leases items to this node, as far as there are places for them; which events of the batch these are, from 0.
    pub fn lease<P>(&mut self, mut place: impl FnMut(&Enqueued) -> Option<P>) -> Vec<(usize, P)> {
        let mut places = Vec::new();
        for (n, enqueued) in self.items.iter().enumerate() {
            let Some(place) = place(enqueued) else { continue };
            self.item_leased[n] = true;
            places.push((self.item_offset[n] as usize - 1, place));
        }
        places
    }

    /// Whether there is nothing but events in it.
    fn is_plain(&self) -> bool {
        self.read_commit.is_empty()
            && self.claim_commit.is_empty()
            && self.set_app.is_empty()
            && self.base_app.is_empty()
            && self.add_app.is_empty()
            && self.delete_app.is_empty()
            && self.begin_invocation.is_empty()
            && self.end_invocation.is_empty()
            && self.lease_commit.is_empty()
            && self.item_id.is_empty()
            && self.retry_item.is_empty()
            && self.end_item.is_empty()
            && self.token_item.is_empty()
    }

    /// The commits that increase a row, by its number in `base_*` from 1; each once, in order.
    fn increasing(&self, base: i32) -> impl Iterator<Item = usize> {
        let key = self.bases.get(base as usize - 1).copied();
        let mut last = None;
        self.increases
            .iter()
            .filter(move |(increased, _)| Some(*increased) == key)
            .map(|(_, commit)| *commit)
            .filter(move |commit| last.replace(*commit) != Some(*commit))
    }

    fn rows(&mut self, folded: Folded<'a>) {
        for ((app, collection, key), last) in folded.kv {
            if let Some(span) = last.base {
                self.base_app.push(app.uuid());
                self.base_collection.push(collection);
                self.base_key.push(key);
                self.base_low.push(span.low);
                self.base_high.push(span.high);
                self.bases.push((app, collection, key));
            }
            match last.write {
                Write::Set { value, expires_at, anew } => {
                    self.set_app.push(app.uuid());
                    self.set_collection.push(collection);
                    self.set_key.push(key);
                    self.set_value.push(value.into_owned());
                    self.set_expires.push(expires_at);
                    self.set_anew.push(anew);
                    self.set_offset.push(last.offset);
                }
                Write::Add(by) => {
                    self.add_app.push(app.uuid());
                    self.add_collection.push(collection);
                    self.add_key.push(key);
                    self.add_by.push(by);
                    self.add_offset.push(last.offset);
                }
                Write::Delete => {
                    self.delete_app.push(app.uuid());
                    self.delete_collection.push(collection);
                    self.delete_key.push(key);
                }
            }
        }
        for (invocation, (app, offset)) in folded.begun {
            self.begin_invocation.push(invocation.uuid());
            self.begin_app.push(app.uuid());
            self.begin_offset.push(offset);
        }
        self.end_invocation.extend(folded.ended.into_iter().map(Uuid::from));
        self.outbox(folded.outbox);
    }

    fn outbox(&mut self, items: HashMap<OutboxId, OutboxFinal<'a>>) {
        let mut owed = Vec::new();
        for (item, last) in items {
            if let Some((offset, enqueued)) = last.enqueued {
                // What came and went within the batch leaves nothing, unless somebody may ask for it.
                if last.ending.is_some() && !enqueued.is_watched {
                    continue;
                }
                owed.push((offset, enqueued));
            }
            if let Some(due_at) = last.due_at {
                self.retry_item.push(item.uuid());
                self.retry_failed.push(serde_json::to_string(&last.failed).expect("attempts are plain data"));
                self.retry_due.push(due_at);
            }
            if let Some(ending) = last.ending {
                self.end_item.push(item.uuid());
                self.end_outcome.push(ending.as_str());
            }
        }
        // In the order of their events: who came first goes first.
        owed.sort_unstable_by_key(|(offset, _)| *offset);
        for (offset, enqueued) in owed {
            self.item_id.push(enqueued.item.uuid());
            self.item_offset.push(offset);
            self.item_lane.push(enqueued.lane.as_deref());
            self.item_priority.push(enqueued.priority);
            self.item_due.push(enqueued.due_at);
            self.item_watched.push(enqueued.is_watched);
            self.item_leased.push(false);
            self.item_gate.push(Gate::of(enqueued).uuid());
            self.items.push(enqueued);
        }
    }
}

/// Whose append it is and what they remember.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    /// Fresh for every connection.
    pub token: Uuid,
    /// The place and time of the last event, as of this token's last append.
    pub known: Option<(Position, DateTime<Utc>)>,
    /// The node's.
    pub epoch: NodeEpoch,
    /// The triggers that it matches against; none before it has looked them up.
    pub triggers: Option<Position>,
}

/// What `log.commit_batch` says.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Done; the new head.
    Committed { head: Position, at: DateTime<Utc> },
    /// Predicates were checked against an older head than this.
    Behind { head: Position, at: DateTime<Utc> },
    /// The events were matched against triggers that are not all there are.
    Unmatched,
    /// The node's epoch is not valid.
    Revoked,
    /// These commits cannot be made; nothing was written.
    Refused(Vec<Refusal>),
    /// The sums of several commits leave the range of an integer, and not all of them need be to blame; nothing was written.
    Crowded,
}

/// An array with something in it. PL/pgSQL unfolds every array it is given into a memory context of its own, empty or not
/// (measured: 26 µs of a call's 81); null costs nothing and is as empty.
const fn some<T>(values: &Vec<T>) -> Option<&Vec<T>> {
    if values.is_empty() { None } else { Some(values) }
}

/// A batch that holds nothing but events.
const PLAIN: &str = "select verdict, head, stamped_at, stale, unclaimed, not_integer, out_of_range, unleased
    from log.commit_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

/// Any batch.
const FULL: &str = "select verdict, head, stamped_at, stale, unclaimed, not_integer, out_of_range, unleased
    from log.commit_batch(
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
        $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40,
        $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59, $60,
        $61, $62, $63, $64, $65, $66
    )";

/// Sends a batch; a statement of its own, or part of the caller's transaction.
pub(super) async fn append(
    connection: &mut PgConnection,
    writer: &Writer,
    strict: bool,
    arrays: &Arrays<'_>,
) -> Result<Verdict, sqlx::Error> {
    let is_plain = arrays.is_plain();
    // Positional and long, but one round trip; `query!` would want every element owned.
    let mut call = sqlx::query(if is_plain { PLAIN } else { FULL })
        .bind(writer.token)
        .bind(writer.known.map(|(head, _)| head.0))
        .bind(writer.known.map(|(_, at)| at))
        .bind(strict)
        .bind(writer.epoch.uuid())
        .bind(writer.triggers.map(|version| version.0))
        .bind(&arrays.event_id)
        .bind(&arrays.event_app)
        .bind(&arrays.event_kind)
        .bind(&arrays.event_subject)
        .bind(&arrays.event_data)
        .bind(&arrays.event_actor)
        .bind(&arrays.event_cause)
        .bind(&arrays.event_root)
        .bind(&arrays.event_depth)
        .bind(&arrays.event_class);
    if !is_plain {
        call = call
            .bind(some(&arrays.read_commit))
            .bind(some(&arrays.read_app))
            .bind(some(&arrays.read_collection))
            .bind(some(&arrays.read_key))
            .bind(some(&arrays.read_position))
            .bind(some(&arrays.claim_commit))
            .bind(some(&arrays.claim_scope))
            .bind(some(&arrays.claim_token))
            .bind(some(&arrays.claim_outcome))
            .bind(some(&arrays.set_app))
            .bind(some(&arrays.set_collection))
            .bind(some(&arrays.set_key))
            .bind(some(&arrays.set_value))
            .bind(some(&arrays.set_expires))
            .bind(some(&arrays.set_anew))
            .bind(some(&arrays.set_offset))
            .bind(some(&arrays.base_app))
            .bind(some(&arrays.base_collection))
            .bind(some(&arrays.base_key))
            .bind(some(&arrays.base_low))
            .bind(some(&arrays.base_high))
            .bind(some(&arrays.add_app))
            .bind(some(&arrays.add_collection))
            .bind(some(&arrays.add_key))
            .bind(some(&arrays.add_by))
            .bind(some(&arrays.add_offset))
            .bind(some(&arrays.delete_app))
            .bind(some(&arrays.delete_collection))
            .bind(some(&arrays.delete_key))
            .bind(some(&arrays.begin_invocation))
            .bind(some(&arrays.begin_app))
            .bind(some(&arrays.begin_offset))
            .bind(some(&arrays.end_invocation))
            .bind(some(&arrays.lease_commit))
            .bind(some(&arrays.lease_item))
            .bind(some(&arrays.item_id))
            .bind(some(&arrays.item_offset))
            .bind(some(&arrays.item_lane))
            .bind(some(&arrays.item_priority))
            .bind(some(&arrays.item_due))
            .bind(some(&arrays.item_watched))
            .bind(some(&arrays.item_leased))
            .bind(some(&arrays.item_gate))
            .bind(some(&arrays.retry_item))
            .bind(some(&arrays.retry_failed))
            .bind(some(&arrays.retry_due))
            .bind(some(&arrays.end_item))
            .bind(some(&arrays.end_outcome))
            .bind(some(&arrays.token_item))
            .bind(some(&arrays.token_hash));
    }
    let row = call.fetch_one(connection).await?;

    Ok(match row.try_get::<&str, _>("verdict")? {
        "committed" => Verdict::Committed { head: Position(row.try_get("head")?), at: row.try_get("stamped_at")? },
        "behind" => Verdict::Behind { head: Position(row.try_get("head")?), at: row.try_get("stamped_at")? },
        "unmatched" => Verdict::Unmatched,
        "revoked" => Verdict::Revoked,
        _ => refused(&row, arrays)?,
    })
}

fn refused(row: &PgRow, arrays: &Arrays<'_>) -> Result<Verdict, sqlx::Error> {
    let numbers = |column| Ok::<_, sqlx::Error>(row.try_get::<Option<Vec<i32>>, _>(column)?.unwrap_or_default());
    let mut refusals = Vec::new();
    for (column, why) in
        [("stale", Rejected::Stale), ("unclaimed", Rejected::Unclaimed), ("unleased", Rejected::Unleased)]
    {
        refusals.extend(numbers(column)?.into_iter().map(|number| (number as usize, why.clone())));
    }
    let mut crowded = false;
    for base in numbers("not_integer")? {
        refusals.extend(arrays.increasing(base).map(|commit| (commit, Rejected::NotANumber)));
    }
    for base in numbers("out_of_range")? {
        let mut culprits = arrays.increasing(base);
        match (culprits.next(), culprits.next()) {
            (Some(only), None) => refusals.push((only, Rejected::NotANumber)),
            _ => crowded = true,
        }
    }
    Ok(if crowded && refusals.is_empty() { Verdict::Crowded } else { Verdict::Refused(refusals) })
}
