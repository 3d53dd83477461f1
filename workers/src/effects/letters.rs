//! Dead letters, as a run sees and decides about them: its own decisions show at once, and are committed with it.

mod form;

use std::{collections::BTreeMap, sync::Arc};

use picloud_core::{
    event::{
        Actor,
        dead_letter::{Closing, Replayed, Resolved},
        outbox::Payload,
    },
    id::{DeadLetterId, InvocationId, OutboxId},
    log::{Position, Read},
    outbox::{Plain, again},
};
use picloud_projections::dead_letters::{self, Filter, Letter};
use serde_json::value::RawValue;

use self::form::{detail, form};
use super::{Effects, Recalled, Setup, Source, SourceError, said::payload_bytes};
use crate::sandbox::{DataError, LetterPage, LetterQuery};

/// Reads the dead letters of one app. Blocks as [`Source`] does.
pub trait Letters: Send + 'static {
    /// A letter of the app, and the head of the log when it was read, or before.
    ///
    /// # Errors
    /// [`SourceError`], when there is no answer.
    fn letter(&mut self, id: DeadLetterId) -> Result<(Option<Letter>, Position), SourceError>;

    /// The first `limit` letters of the app that match, newest first, of those before one of them.
    ///
    /// # Errors
    /// [`SourceError`], when there is no answer.
    fn letters(
        &mut self,
        filter: &Filter,
        before: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<(Vec<Letter>, Position), SourceError>;

    /// What the run of a letter gets; none when it was erased.
    ///
    /// # Errors
    /// [`SourceError`], when there is no answer.
    fn held(&mut self, letter: &Letter) -> Result<Option<Plain>, SourceError>;

    /// The same as an item holds it.
    fn seal_again(&self, item: OutboxId, plain: Plain) -> Payload;

    /// Who decides.
    fn actor(&self) -> Actor;
}

/// In whose name, and how far from what began it, a letter's item ran: whoever tries it again lends it no rights.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Who made it be owed.
    pub actor: Actor,
    /// What its chain is named after.
    pub root: Option<InvocationId>,
    /// How far it lies from that.
    pub depth: u16,
}

/// What a run knows of dead letters and does to them.
#[derive(Default)]
pub(super) struct KnownLetters {
    /// As the run first found them, and in which order.
    seen: BTreeMap<DeadLetterId, (u64, Option<Arc<Letter>>)>,
    decided: BTreeMap<DeadLetterId, dead_letters::Resolved>,
    listed: Vec<(u64, Recalled)>,
    /// Of the items that try some of them again.
    pub(super) origins: BTreeMap<OutboxId, Origin>,
}

impl KnownLetters {
    pub(super) fn reads(&self) -> impl Iterator<Item = Read> + '_ {
        self.seen.iter().filter_map(|(id, (_, letter))| {
            Some(Read::DeadLetter { dead_letter: *id, version: letter.as_ref()?.position })
        })
    }

    /// What was learnt of them, but not what their runs get: that can be erased, and a recording of it could not.
    pub(super) fn recalled(&self) -> impl Iterator<Item = (u64, Recalled)> + '_ {
        let seen = self.seen.iter().map(|(id, (order, letter))| {
            (*order, Recalled::DeadLetter { id: *id, letter: letter.as_deref().map(form) })
        });
        seen.chain(self.listed.iter().cloned())
    }

    /// About how large that is.
    pub(super) fn recalled_bytes(&self) -> usize {
        /// A form without its texts.
        const FORM_BYTES: usize = 700;
        let letters = self.seen.values().filter_map(|(_, letter)| letter.as_ref());
        letters.map(|letter| FORM_BYTES + letter.created.error.len() + letter.created.fingerprint.len()).sum()
    }

    /// A letter with what the run itself decided.
    fn shown(&self, letter: &Letter) -> Letter {
        let mut letter = letter.clone();
        if let Some(decided) = self.decided.get(&letter.created.dead_letter) {
            letter.resolved = Some(decided.clone());
        }
        letter
    }
}

impl<S: Source + Setup + Letters> Effects<S> {
    /// A letter with all that was tried and what its run gets.
    pub(super) fn read_letter(&mut self, id: DeadLetterId) -> Result<Option<Box<RawValue>>, DataError> {
        let Some(letter) = self.stored_letter(id)? else { return Ok(None) };
        let held = self.source.held(&letter)?;
        Ok(Some(detail(&self.letters.shown(&letter), held.as_ref())))
    }

    pub(super) fn list_letters(&mut self, wanted: LetterQuery) -> Result<LetterPage, DataError> {
        let filter = self.filter(&wanted)?;
        let LetterQuery { after, limit, .. } = wanted;
        // What the run has decided about may not match any more: as many more are asked for, and one for whether there are more.
        let room = limit + 1 + self.letters.decided.len();
        self.asked += 1;
        let (found, head) = self.source.letters(&filter, after, room)?;
        self.budget.read(found.len().min(limit).max(1))?;
        let last = found.last().filter(|_| found.len() == room).map(|letter| letter.created.dead_letter);
        let ids: Vec<_> = found.iter().map(|letter| letter.created.dead_letter).collect();
        for letter in found {
            self.meet_letter(letter)?;
        }
        let order = self.tick();
        let recalled = Recalled::DeadLetters { filter: described(&filter), after, ids: ids.clone() };
        self.letters.listed.push((order, recalled));
        self.advance(head, head)?;
        Ok(self.page(&filter, after, last, ids, limit))
    }

    /// Tries a letter again, as it was or with what somebody made of it.
    pub(super) fn replay(
        &mut self,
        id: DeadLetterId,
        item: OutboxId,
        edited: Option<Box<RawValue>>,
    ) -> Result<(), DataError> {
        let letter = self.open_letter(id)?;
        let is_edited = edited.is_some();
        let plain = match edited {
            Some(edited) => serde_json::from_str(edited.get()).map_err(|error| {
                DataError::Refused(format!("`payload` is not of the shape that the letter shows: {error}"))
            })?,
            None => self.source.held(&letter)?.ok_or_else(|| {
                DataError::Refused(format!("what `{id}` held was erased: replay it with a `payload` of your own"))
            })?,
        };
        let enqueued = again(&letter.created, item, None, self.source.seal_again(item, plain));
        let origin = Origin { actor: letter.actor.clone(), root: letter.root, depth: letter.depth };
        self.letters.origins.insert(item, origin);
        let size_bytes = payload_bytes(&enqueued.payload);
        let replayed = Replayed { dead_letter: id, item, is_edited, version: None, job: None };
        self.decide(id, "replayed", None, Some(item));
        self.say_all([replayed.into(), enqueued.into()], size_bytes)
    }

    /// Closes a letter that a script has taken care of.
    pub(super) fn resolve(&mut self, id: DeadLetterId, reason: String) -> Result<(), DataError> {
        self.open_letter(id)?;
        let resolution = Closing::HandledByScript;
        self.decide(id, resolution.as_str(), Some(reason.clone()), None);
        let size_bytes = reason.len();
        self.say(Resolved { dead_letter: id, resolution, reason: Some(reason), job: None }, size_bytes)
    }

    /// A letter about which something can be decided.
    fn open_letter(&mut self, id: DeadLetterId) -> Result<Arc<Letter>, DataError> {
        let letter = self.stored_letter(id)?;
        let letter = letter.ok_or_else(|| DataError::Refused(format!("there is no dead letter `{id}`")))?;
        let shown = self.letters.shown(&letter);
        let Some(closed) = shown.closed() else { return Ok(letter) };
        let by = closed.by.as_ref().and_then(|by| by.id.as_deref()).unwrap_or("PiCloud");
        let at = closed.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        Err(DataError::Refused(format!("`{id}` was closed as `{}` by {by} at {at}", closed.resolution)))
    }

    fn decide(&mut self, id: DeadLetterId, resolution: &str, why: Option<String>, replay: Option<OutboxId>) {
        let (at, by) = (self.now, Some(self.source.actor()));
        let resolved = dead_letters::Resolved { resolution: resolution.to_owned(), at, by, why, replay, job: None };
        self.letters.decided.insert(id, resolved);
    }

    /// A letter as the run first saw it.
    fn stored_letter(&mut self, id: DeadLetterId) -> Result<Option<Arc<Letter>>, DataError> {
        if let Some((_, seen)) = self.letters.seen.get(&id) {
            return Ok(seen.clone());
        }
        self.budget.read(1)?;
        self.asked += 1;
        let (found, head) = self.source.letter(id)?;
        let newest = found.as_ref().map_or(head, |letter| letter.position);
        let order = self.tick();
        let found = found.map(Arc::new);
        self.letters.seen.insert(id, (order, found.clone()));
        self.advance(head.max(newest), newest)?;
        Ok(found)
    }

    /// A letter turned up in a listing: it is news, or as it was.
    fn meet_letter(&mut self, letter: Letter) -> Result<(), DataError> {
        let id = letter.created.dead_letter;
        match self.letters.seen.get(&id) {
            Some((_, Some(seen))) if seen.position == letter.position => Ok(()),
            Some(_) => Err(DataError::Conflict),
            None => {
                let order = self.tick();
                self.letters.seen.insert(id, (order, Some(Arc::new(letter))));
                Ok(())
            }
        }
    }

    /// What was found, with the run's own decisions in it.
    fn page(
        &self,
        filter: &Filter,
        after: Option<DeadLetterId>,
        last: Option<DeadLetterId>,
        found: Vec<DeadLetterId>,
        limit: usize,
    ) -> LetterPage {
        let is_within =
            |id: &DeadLetterId| after.is_none_or(|after| *id < after) && last.is_none_or(|last| *id >= last);
        let decided = self.letters.decided.keys().filter(|id| is_within(id)).copied();
        let mut ids: Vec<DeadLetterId> = found.into_iter().chain(decided).collect();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        ids.dedup();
        let letters = ids.into_iter().filter_map(|id| {
            let letter = self.letters.shown(self.letters.seen.get(&id)?.1.as_deref()?);
            matches(filter, &letter).then_some((id, letter))
        });
        let mut letters: Vec<_> = letters.take(limit + 1).collect();
        let has_more = letters.len() > limit;
        letters.truncate(limit);
        let cursor = letters.last().filter(|_| has_more).map(|(id, _)| *id);
        LetterPage { items: letters.iter().map(|(_, letter)| form(letter)).collect(), cursor }
    }

    fn filter(&self, wanted: &LetterQuery) -> Result<Filter, DataError> {
        let script = match wanted.script.as_deref() {
            None => None,
            Some(named) => Some(match named.parse() {
                Ok(id) => id,
                Err(_) => self.source.script_id(named).map_err(DataError::Refused)?,
            }),
        };
        Ok(Filter {
            is_unresolved: wanted.is_unresolved,
            resolution: wanted.resolution.clone(),
            script,
            source: wanted.source.clone(),
            reason: wanted.reason.clone(),
            fingerprint: wanted.fingerprint.clone(),
        })
    }
}

/// The same as the database says of a filter.
fn matches(filter: &Filter, letter: &Letter) -> bool {
    let created = &letter.created;
    let resolution = letter.resolved.as_ref().map(|resolved| resolved.resolution.as_str());
    let is =
        |wanted: &Option<String>, given: Option<&str>| wanted.as_deref().is_none_or(|wanted| given == Some(wanted));
    (!filter.is_unresolved || letter.closed().is_none())
        && is(&filter.resolution, resolution)
        && filter.script.is_none_or(|script| script == created.script)
        && is(&filter.source, Some(created.source.as_str()))
        && is(&filter.reason, Some(created.reason.as_str()))
        && is(&filter.fingerprint, Some(&created.fingerprint))
}

/// A filter, for a recording.
pub(crate) fn described(filter: &Filter) -> BTreeMap<&'static str, String> {
    let fields = [
        ("unresolved", filter.is_unresolved.then(|| "true".to_owned())),
        ("resolution", filter.resolution.clone()),
        ("script", filter.script.map(|script| script.to_string())),
        ("source", filter.source.clone()),
        ("reason", filter.reason.clone()),
        ("fingerprint", filter.fingerprint.clone()),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
