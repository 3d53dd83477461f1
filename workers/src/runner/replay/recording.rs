//! A world made of what a run learnt of the real one: it answers what is recorded, takes note of what is not, and lets
//! nothing out.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use picloud_core::{
    event::{Actor, outbox::Payload},
    id::{DeadLetterId, OutboxId, RequestId, ScriptId},
    keys::{DataKey, Grant},
    log::{Position, Read},
    outbox::Plain,
    replay::Lacking,
    run::{Record, Request},
};
use picloud_projections::{
    dead_letters::{Filter, Letter},
    setup::{self, App},
};
use serde_json::value::RawValue;

use super::{
    super::setup::{invocable, named, seal},
    learnt::{Call, Range},
};
use crate::{
    effects::{Invocable, Letters, Outcome, Outside, Setup, Source, SourceError, Stored, described},
    http,
    pool::Permit,
    redact::CUT,
};

/// Nothing changes while a recording is read: all of it is as of one moment.
const MOMENT: Position = Position::ZERO;

/// What is recorded of one run, and what is known besides.
pub(super) struct Recording {
    pub permit: Permit,
    pub home: Home,
    pub learnt: World,
    /// What was asked for and is not recorded.
    pub lacking: Vec<Lacking>,
}

/// Where the run belongs. How that is set up is not recorded: it is as it is now.
pub(super) struct Home {
    pub setup: Arc<setup::Setup>,
    pub app: Arc<App>,
    pub actor: Actor,
    pub key: Arc<DataKey>,
    /// How many calls of scripts to scripts it stands in.
    pub hops: u8,
    pub request_id: Option<RequestId>,
}

/// What the run learnt.
#[derive(Default)]
pub(super) struct World {
    /// By collection and key; none was absent.
    pub keys: BTreeMap<(String, String), Option<Box<RawValue>>>,
    pub ranges: Vec<Range>,
    pub letters: HashMap<DeadLetterId, KnownLetter>,
    pub listings: Vec<Listing>,
    /// Scripts that were run as a part of it, by the names they had.
    pub invoked: HashMap<String, Invocable>,
    /// Those that were not made again yet.
    pub calls: Vec<Option<Call>>,
}

/// Which dead letters matched.
pub(super) struct Listing {
    pub filter: BTreeMap<String, String>,
    pub after: Option<DeadLetterId>,
    pub ids: Vec<DeadLetterId>,
}

/// A letter as the run saw it, none when there was none, and what its run would get.
pub(super) type KnownLetter = Option<(Letter, Option<Plain>)>;

impl Recording {
    fn lacks(&mut self, what: String, instead: &str) {
        let lacking = Lacking { what, instead: instead.to_owned() };
        if !self.lacking.contains(&lacking) {
            self.lacking.push(lacking);
        }
    }

    /// Of the recorded ranges that a listing begins in, the one that reaches furthest.
    fn range(&self, collection: &str, prefix: &str, after: Option<&str>) -> Option<&Range> {
        let begins_in = |range: &&Range| {
            range.collection == collection
                && prefix.starts_with(&range.prefix)
                && range.after.as_deref() <= after
                && range.up_to.as_deref().is_none_or(|up_to| after.is_none_or(|after| after < up_to))
        };
        let reach = |range: &&Range| (range.up_to.is_none(), range.up_to.clone());
        self.learnt.ranges.iter().filter(begins_in).max_by_key(reach)
    }
}

impl Source for Recording {
    fn get(&mut self, collection: &str, key: &str) -> Result<(Stored, Position), SourceError> {
        let name = (collection.to_owned(), key.to_owned());
        if let Some(value) = self.learnt.keys.get(&name) {
            return Ok((stored(value.as_deref()), MOMENT));
        }
        // A key that was not where all keys were listed was not there.
        let was_looked_for = self.learnt.ranges.iter().any(|range| {
            range.collection == collection
                && key.starts_with(&range.prefix)
                && range.after.as_deref().is_none_or(|after| key > after)
                && range.up_to.as_deref().is_none_or(|up_to| key <= up_to)
        });
        if !was_looked_for {
            self.lacks(format!("the key `{collection}/{key}`"), "absent");
        }
        Ok((Stored::default(), MOMENT))
    }

    fn list(
        &mut self,
        collection: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(String, Stored)>, Position), SourceError> {
        let is_asked = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let (mut keys, is_whole): (Vec<String>, bool) = match self.range(collection, prefix, after) {
            Some(range) => {
                let keys: Vec<_> = range.keys.iter().filter(|key| is_asked(key)).take(limit).cloned().collect();
                let is_whole = range.up_to.is_none() || keys.len() == limit;
                (keys, is_whole)
            }
            None => (Vec::new(), false),
        };
        if !is_whole {
            let known = self
                .learnt
                .keys
                .iter()
                .filter(|((of, key), value)| of == collection && is_asked(key) && value.is_some());
            keys.extend(known.map(|((_, key), _)| key.clone()));
            keys.sort_unstable();
            keys.dedup();
            keys.truncate(limit);
            let what = match after {
                Some(after) => format!("the keys of `{collection}/{prefix}` after `{after}`"),
                None => format!("the keys of `{collection}/{prefix}`"),
            };
            self.lacks(what, "those that are known");
        }
        let rows = keys.into_iter().map(|key| {
            let name = (collection.to_owned(), key);
            let value = self.learnt.keys.get(&name).and_then(|value| value.as_deref());
            let value = stored(value);
            (name.1, value)
        });
        Ok((rows.collect(), MOMENT))
    }

    fn check(&mut self, _reads: &[Read]) -> Result<Position, SourceError> {
        Ok(MOMENT)
    }

    /// As recordings show one: nobody can listen with it.
    fn subscriber_token(&mut self, _grant: &Grant) -> Result<String, SourceError> {
        Ok(CUT.to_owned())
    }

    fn breathe(&self) {
        self.permit.breathe();
    }

    /// The run's clock stands still anyway.
    fn pause(&self, _sleep: &mut dyn FnMut()) -> Result<(), SourceError> {
        Ok(())
    }
}

fn stored(value: Option<&RawValue>) -> Stored {
    Stored { value: value.map(ToOwned::to_owned), version: MOMENT, expires_at: None }
}

impl Outside for Recording {
    fn call(
        &mut self,
        _number: usize,
        request: &Arc<http::Request>,
        _max_body_bytes: usize,
    ) -> Result<Option<Outcome>, SourceError> {
        let digest = request.digest();
        let is_it = |call: &Option<Call>| call.as_ref().is_some_and(|call| call.request_sha256 == digest);
        let Some(call) = self.learnt.calls.iter_mut().find(|call| is_it(call)).and_then(Option::take) else {
            let what = request.shown();
            self.lacks(format!("the call {what}"), "an error that the script can catch");
            return Ok(Some(Err(format!("{what} was not called when this was recorded, so there is no answer to it"))));
        };
        if let Some(error) = call.error {
            return Ok(Some(Err(error)));
        }
        let (body, left_out) = call.body.bytes();
        if let Some(bytes) = left_out {
            self.lacks(format!("the body that {} was answered, {bytes} bytes", request.shown()), "empty");
        }
        Ok(Some(Ok(http::Answer { status: call.status, headers: call.headers, body })))
    }
}

impl Setup for Recording {
    /// Not recorded: what was sent was taken.
    fn has_consumer(&self, _queue: &str) -> bool {
        true
    }

    fn script(&self, name: &str) -> Result<Invocable, String> {
        match self.learnt.invoked.get(name) {
            Some(known) => Ok(known.clone()),
            // Whether it was paused is not recorded: it ran.
            None => invocable(&self.home.setup, Some(&self.home.app), &self.home.actor, name)
                .map(|found| Invocable { is_paused: false, ..found }),
        }
    }

    fn script_id(&self, name: &str) -> Result<ScriptId, String> {
        named(Some(&self.home.app), name).map(|script| script.id)
    }

    fn seal(&self, item: OutboxId, request: Request) -> Payload {
        seal(item, request, self.home.hops, self.home.request_id, Record::Full, &self.home.key)
    }
}

impl Letters for Recording {
    fn letter(&mut self, id: DeadLetterId) -> Result<(Option<Letter>, Position), SourceError> {
        let Some(known) = self.learnt.letters.get(&id) else {
            self.lacks(format!("the dead letter `{id}`"), "absent");
            return Ok((None, MOMENT));
        };
        Ok((known.as_ref().map(|(letter, _)| letter.clone()), MOMENT))
    }

    fn letters(
        &mut self,
        filter: &Filter,
        before: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<(Vec<Letter>, Position), SourceError> {
        let asked = described(filter);
        let is_it = |listed: &BTreeMap<String, String>| {
            listed.len() == asked.len() && asked.iter().all(|(name, value)| listed.get(*name) == Some(value))
        };
        let listings = &self.learnt.listings;
        let Some(listing) = listings.iter().find(|listing| is_it(&listing.filter) && listing.after == before) else {
            self.lacks("dead letters by another filter".to_owned(), "none");
            return Ok((Vec::new(), MOMENT));
        };
        let known = |id| self.learnt.letters.get(id)?.as_ref().map(|(letter, _)| letter.clone());
        let letters = listing.ids.iter().filter_map(known);
        Ok((letters.take(limit).collect(), MOMENT))
    }

    fn held(&mut self, letter: &Letter) -> Result<Option<Plain>, SourceError> {
        let id = letter.created.dead_letter;
        let held = self.learnt.letters.get(&id).and_then(Option::as_ref).and_then(|(_, held)| held.clone());
        if held.is_none() {
            self.lacks(format!("what the dead letter `{id}` holds"), "nothing: it was erased");
        }
        Ok(held)
    }

    fn seal_again(&self, item: OutboxId, plain: Plain) -> Payload {
        plain.seal(item, &self.home.key)
    }

    fn actor(&self) -> Actor {
        self.home.actor.clone()
    }
}
