//! One job, from where it stands to its end.
//!
//! What it has done is in its letters: whoever takes it up after a crash finds those that it has closed, and goes on behind
//! them. A letter that somebody else decides about meanwhile is theirs.

use std::{error::Error, time::Duration};

use picloud_core::{
    event::{
        Actor, Event,
        job::{Counts, Ended, Outcome, Progressed},
    },
    id::{DeadLetterId, EventId, JobId},
    keys::KeyringError,
    log::{Commit, CommitError, NewEvent, Rejected, jobs as leases},
};
use picloud_projections::{
    dead_letters,
    jobs::{self, Job},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::JobParts;

/// Letters of one commit. It holds the log for as long as it takes to fold them: some ten milliseconds.
const BATCH: usize = 50;

/// At most this long between two looks at whether somebody wants the job to end, while its rate lets it wait.
const GLANCE: Duration = Duration::from_millis(250);

/// How often a job tells how far it has come.
const TELL: Duration = Duration::from_secs(2);

/// How long to wait when the database or the log is not to be had.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a job does not go on, for now.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("failed to ask the database")]
    Database(#[from] sqlx::Error),
    #[error("failed to get the keys of letters")]
    Keyring(#[from] KeyringError),
    #[error("failed to append what was decided")]
    Commit(#[from] CommitError),
}

/// What is next.
enum Step {
    /// More of it, not before.
    On(Instant),
    /// Nothing: it is over, or no business of this node's.
    Over,
}

/// Where a job stands.
struct Course {
    job: Job,
    letters: Vec<DeadLetterId>,
    counts: Counts,
    /// When it last told how far it has come.
    told: Instant,
    /// When its rate lets the next letters be decided about.
    due: Instant,
    /// How many letters a commit may have.
    most: usize,
}

impl JobParts {
    /// Sees a job through, unless the node stops or loses its right to write: then another goes on.
    pub(super) async fn see_through(&self, id: JobId, stop: &CancellationToken) {
        let mut course = None;
        while !stop.is_cancelled() && !self.committer.is_revoked() {
            let next = match self.step(id, &mut course).await {
                Ok(Step::Over) => return,
                Ok(Step::On(at)) => at,
                Err(trouble) => {
                    warn!(error = &trouble as &dyn Error, job.id = %id, "A job has to wait");
                    // What was asked of the database may have come about: the next try looks.
                    course = None;
                    Instant::now() + PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(next) => {}
            }
        }
    }

    async fn step(&self, id: JobId, course: &mut Option<Course>) -> Result<Step, Trouble> {
        let course = match course {
            Some(course) => course,
            None => match self.begin(id).await? {
                Some(begun) => course.insert(begun),
                None => return Ok(Step::Over),
            },
        };
        match jobs::wish(&self.database, id).await? {
            None => return Ok(Step::Over),
            Some(Some(wish)) => return self.end(course, Outcome::Cancelled, wish, None).await,
            Some(None) => {}
        }
        if !self.setup.get().apps.contains_key(&course.job.app) {
            // Not known here yet; or gone, and then its jobs go with it.
            return Ok(Step::On(Instant::now() + PAUSE));
        }
        let now = Instant::now();
        if course.due > now {
            return Ok(Step::On(course.due.min(now + GLANCE)));
        }
        let letters = course.next();
        if letters.is_empty() {
            return self.end(course, Outcome::Done, course.job.event, None).await;
        }
        let letters = dead_letters::batch(&self.database, course.job.app, letters).await?;
        match self.decide(course, &letters).await {
            Err(Trouble::Keyring(error)) if !matches!(error, KeyringError::Database(_)) => {
                warn!(error = &error as &dyn Error, job.id = %id, "A job cannot go on without its app's key");
                let why = "the key of the app's data is not to be had".to_owned();
                self.end(course, Outcome::Failed, course.job.event, Some(why)).await
            }
            decided => decided,
        }
    }

    /// Where a job stands that this node takes up; none when it is over.
    async fn begin(&self, id: JobId) -> Result<Option<Course>, Trouble> {
        leases::settled(&self.database).await?;
        let found = jobs::find(&self.database, id).await?;
        let Some(job) = found.filter(|job| job.ended.is_none()) else { return Ok(None) };
        let letters = jobs::letters(&self.database, id).await?;
        let now = Instant::now();
        Ok(Some(Course { counts: job.counts.clone(), job, letters, told: now, due: now, most: BATCH }))
    }

    async fn decide(&self, course: &mut Course, letters: &[Option<dead_letters::Letter>]) -> Result<Step, Trouble> {
        let began = Instant::now();
        let batch = self.prepare(&course.job, &course.counts, letters).await?;
        let mut events = batch.events;
        let tells = began >= course.told + TELL;
        if tells {
            let progressed = Progressed { job: course.job.id, counts: batch.counts.clone() };
            events.push(about(&course.job, course.job.event, progressed));
        }
        if !events.is_empty() {
            let commit = Commit { reads: batch.reads, ..Commit::new(self.node.authority(), events) };
            match self.committer.commit(commit).await {
                Ok(_) => {}
                // Somebody decided about one of them: the next look shows which.
                Err(CommitError::Rejected(Rejected::Stale)) => return Ok(Step::On(began)),
                Err(CommitError::Rejected(_)) if letters.len() > 1 => {
                    course.most = letters.len() / 2;
                    return Ok(Step::On(began));
                }
                Err(CommitError::Rejected(why)) => {
                    warn!(error = &why as &dyn Error, job.id = %course.job.id, "A letter cannot be decided about");
                    course.pass_over();
                    return Ok(Step::On(began));
                }
                Err(error) => return Err(error.into()),
            }
        }
        course.counts = batch.counts;
        course.most = (course.most * 2).min(BATCH);
        if tells {
            course.told = began;
        }
        course.due = course.due.max(began) + course.takes(batch.decided);
        Ok(Step::On(began))
    }

    async fn end(
        &self,
        course: &Course,
        outcome: Outcome,
        cause: EventId,
        error: Option<String>,
    ) -> Result<Step, Trouble> {
        let Course { job, counts, .. } = course;
        let ended = Ended { job: job.id, outcome, counts: counts.clone(), error };
        let commit = Commit::new(self.node.authority(), vec![about(job, cause, ended)]);
        self.committer.commit(commit).await?;
        info!(
            job.id = %job.id, job.done = counts.done, job.skipped = counts.skipped, job.failed = counts.failed,
            "A job is {}", outcome.as_str()
        );
        Ok(Step::Over)
    }

    /// Ends a job that brings down who works on it, as far as that is known.
    pub(super) async fn give_up(&self, id: JobId) {
        let ended = async {
            let Some(course) = self.begin(id).await? else { return Ok(Step::Over) };
            let why = "an internal error; the log of the node says more".to_owned();
            self.end(&course, Outcome::Failed, course.job.event, Some(why)).await
        };
        let ended: Result<Step, Trouble> = ended.await;
        if let Err(trouble) = ended {
            warn!(error = &trouble as &dyn Error, job.id = %id, "Failed to end a job that cannot go on");
        }
    }
}

impl Course {
    /// The letters that are next.
    fn next(&self) -> &[DeadLetterId] {
        let behind = (self.counts.sum() as usize).min(self.letters.len());
        let ahead = &self.letters[behind..];
        // A quarter of a second's worth: in larger pieces it would be no rate.
        let most = (self.job.per_second as usize / 4).clamp(1, self.most);
        &ahead[..most.min(ahead.len())]
    }

    /// How long so many letters take at the job's rate.
    fn takes(&self, letters: usize) -> Duration {
        Duration::from_secs_f64(letters as f64 / f64::from(self.job.per_second.max(1)))
    }

    /// Counts the next letter as one that cannot be decided about.
    fn pass_over(&mut self) {
        if let Some(letter) = self.next().first() {
            self.counts.trouble = Some(format!("{letter}: the database refuses what it would become"));
        }
        self.counts.failed += 1;
    }
}

/// What a job tells of itself.
fn about(job: &Job, cause: EventId, event: impl Into<Event>) -> NewEvent {
    NewEvent { cause: Some(cause), ..NewEvent::new(Some(job.app), &Actor::SYSTEM, event) }
}
