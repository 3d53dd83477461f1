//! Some of a job's letters, and what is to be committed about them.

use picloud_core::{
    event::{
        dead_letter::{Closing, Resolved},
        job::{Action, Counts},
    },
    id::{DeadLetterId, VersionId},
    keys::{ApartError, KeyringError},
    log::{NewEvent, Read},
    outbox::{Plain, Replay},
};
use picloud_projections::{
    dead_letters::{self, Letter},
    jobs::Job,
};

use super::JobParts;

/// What is to be committed, and what is so then.
#[derive(Debug)]
pub(super) struct Batch {
    pub events: Vec<NewEvent>,
    pub reads: Vec<Read>,
    /// The job's, with these letters behind it.
    pub counts: Counts,
    /// How many letters it decides about.
    pub decided: usize,
}

impl JobParts {
    /// Decides about a job's next letters, in their order; those that need no decision are only counted.
    pub(super) async fn prepare(
        &self,
        job: &Job,
        before: &Counts,
        letters: &[Option<Letter>],
    ) -> Result<Batch, KeyringError> {
        let mut counts = before.clone();
        let mut open = Vec::new();
        for letter in letters {
            match letter.as_ref().map(|letter| (letter, letter.closed())) {
                Some((letter, None)) => open.push(letter),
                // By this job, before whoever worked on it went away.
                Some((_, Some(closed))) if closed.job == Some(job.id) => counts.done += 1,
                Some((_, Some(_))) | None => counts.skipped += 1,
            }
        }
        let mut batch = Batch { events: Vec::new(), reads: Vec::new(), counts, decided: 0 };
        match &job.action {
            Action::ReplayLetters => self.replay(job, &open, &mut batch).await?,
            Action::ResolveLetters { resolution, reason } => {
                for letter in open {
                    batch.decide(letter, [resolved(job, letter.created.dead_letter, *resolution, reason.clone())]);
                }
            }
        }
        Ok(batch)
    }

    async fn replay(&self, job: &Job, open: &[&Letter], batch: &mut Batch) -> Result<(), KeyringError> {
        if open.is_empty() {
            return Ok(());
        }
        let key = self.keyring.app(job.app).await?;
        let payloads = dead_letters::payloads(&self.keyring, job.app, open).await?;
        for (letter, payload) in open.iter().zip(payloads) {
            match payload {
                Ok(plain) => {
                    batch.decide(letter, letter.replayable(job.app).replayed(as_it_was(job, plain), &key));
                }
                Err(why) => batch.fail(letter.created.dead_letter, unreadable(&why)),
            }
        }
        Ok(())
    }
}

impl Batch {
    fn decide(&mut self, letter: &Letter, events: impl IntoIterator<Item = NewEvent>) {
        self.reads.push(Read::DeadLetter { dead_letter: letter.created.dead_letter, version: letter.position });
        self.events.extend(events);
        self.counts.done += 1;
        self.decided += 1;
    }

    fn fail(&mut self, letter: DeadLetterId, why: &str) {
        self.counts.failed += 1;
        self.counts.trouble = Some(format!("{letter}: {why}"));
    }
}

fn as_it_was(job: &Job, plain: Plain) -> Replay<'_> {
    let version: Option<VersionId> = None;
    Replay { by: &job.actor, job: Some((job.id, job.event)), plain, is_edited: false, version }
}

fn resolved(job: &Job, dead_letter: DeadLetterId, resolution: Closing, reason: Option<String>) -> NewEvent {
    let resolved = Resolved { dead_letter, resolution, reason, job: Some(job.id) };
    NewEvent { cause: Some(job.event), ..NewEvent::new(Some(job.app), &job.actor, resolved) }
}

const fn unreadable(why: &ApartError) -> &'static str {
    match why {
        ApartError::Erased => "what it held was erased",
        ApartError::Keyring(_) | ApartError::CannotOpen(_) => "what it held cannot be read",
    }
}
