//! `/api/v1/admin/apps/{app}/dead_letters`: work that could not be done, to be understood, tried again, or closed.

mod bulk;

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::{
    event::{
        Actor, Class,
        dead_letter::{Closing, Reason, Resolved},
        outbox::{Attempt, Source},
    },
    id::{DeadLetterId, InvocationId, JobId, OutboxId, ScriptId, VersionId},
    keys::ApartError,
    log::{NewEvent, Read},
    outbox::{Plain, Replay as Again},
};
use picloud_projections::{
    dead_letters::{self, Filter, Letter},
    setup::{App, Setup},
    travel::{self, Past},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    AdminPlane, Plane,
    access::{Caller, InApp, short},
    body::Json,
    events::unreadable,
    moment::{At, was},
    names,
    page::{self, Count, Page},
    params::Params,
    scripts,
    time::Time,
    write::{Decided, Refused, Shown, Tries, Written, database},
};
use crate::problem::{Kind, Problem};

pub(super) use bulk::{BulkAction, decide as bulk};

/// How far letters are counted where no counter knows.
const COUNTED: usize = 1_000;

/// How many groups are shown.
const GROUPS: usize = 200;

/// What was decided about a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Resolution {
    Replayed,
    Ignored,
    HandledByScript,
    HandlerFailed,
}

impl Resolution {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Ignored => "ignored",
            Self::HandledByScript => "handled_by_script",
            Self::HandlerFailed => "handler_failed",
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(super) struct LetterForm {
    id: DeadLetterId,
    created_at: Time,
    source: Source,
    script: ScriptId,
    script_name: String,
    /// The version that was run last.
    #[schema(required)]
    version: Option<VersionId>,
    reason: Reason,
    error: String,
    /// The same for letters that failed alike.
    fingerprint: String,
    attempts: usize,
    enqueued_at: Time,
    /// The item that it was.
    outbox_id: OutboxId,
    #[schema(required)]
    root: Option<InvocationId>,
    #[schema(required, value_type = Option<Resolution>)]
    resolution: Option<String>,
    #[schema(required)]
    resolved_at: Option<Time>,
    /// Who decided.
    #[schema(required)]
    resolved_by: Option<String>,
    /// Why.
    #[schema(required)]
    resolved_why: Option<String>,
    /// The item that tries it again.
    #[schema(required)]
    replay: Option<OutboxId>,
    /// The job that decided about it, one letter of many.
    #[schema(required)]
    job: Option<JobId>,
}

impl LetterForm {
    fn of(setup: &Setup, letter: &Letter) -> Self {
        let created = &letter.created;
        let resolved = letter.resolved.as_ref();
        Self {
            id: created.dead_letter,
            created_at: Time(letter.created_at),
            source: created.source,
            script: created.script,
            script_name: created.script_name.clone(),
            version: created.version,
            reason: created.reason,
            error: created.error.clone(),
            fingerprint: created.fingerprint.clone(),
            attempts: created.attempts.len(),
            enqueued_at: Time(created.enqueued_at),
            outbox_id: created.item,
            root: letter.root,
            resolution: resolved.map(|resolved| resolved.resolution.clone()),
            resolved_at: resolved.map(|resolved| Time(resolved.at)),
            resolved_by: resolved.map(|resolved| who(setup, resolved.by.as_ref())),
            resolved_why: resolved.and_then(|resolved| resolved.why.clone()),
            replay: resolved.and_then(|resolved| resolved.replay),
            job: resolved.and_then(|resolved| resolved.job),
        }
    }
}

/// A letter with all that was tried and what its run gets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetterDetail)]
pub(super) struct Detail {
    #[serde(flatten)]
    letter: LetterForm,
    tried: Vec<Attempt>,
    /// `{"request": …}` or `{"event": …}`; null when it was erased.
    #[schema(required, value_type = Option<serde_json::Value>)]
    payload: Option<Box<RawValue>>,
}

/// Which letters. Everything named must hold.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadLetterFilter)]
pub(super) struct Narrowed {
    /// Only those about which nothing is decided, or whose handler failed.
    #[serde(default)]
    unresolved: bool,
    resolution: Option<Resolution>,
    /// Id or name.
    script: Option<String>,
    reason: Option<Reason>,
    fingerprint: Option<String>,
}

impl Narrowed {
    fn filter(&self, app: &App) -> Result<Filter, Problem> {
        if let Some(fingerprint) = &self.fingerprint {
            names::text("fingerprint", fingerprint, 2_000)?;
        }
        let script = self.script.as_deref().map(|named| scripts::find_ever(app, named)).transpose()?;
        Ok(Filter {
            is_unresolved: self.unresolved,
            resolution: self.resolution.map(|resolution| resolution.as_str().to_owned()),
            script,
            source: None,
            reason: self.reason.map(|reason| reason.as_str().to_owned()),
            fingerprint: self.fingerprint.clone(),
        })
    }
}

/// The same, a page of them. Spelt out: what is flattened cannot be read strictly.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only those about which nothing is decided, or whose handler failed.
    #[serde(default)]
    unresolved: bool,
    resolution: Option<Resolution>,
    /// Id or name.
    script: Option<String>,
    reason: Option<Reason>,
    fingerprint: Option<String>,
    cursor: Option<String>,
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

impl Wanted {
    fn filter(self, app: &App) -> Result<Filter, Problem> {
        let Self { unresolved, resolution, script, reason, fingerprint, cursor: _, limit: _ } = self;
        Narrowed { unresolved, resolution, script, reason, fingerprint }.filter(app)
    }
}

pub(super) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<Wanted>,
) -> Result<Answer<Page<LetterForm>>, Problem> {
    let limit = page::limit(wanted.limit)?;
    let before = wanted.cursor.as_deref().map(|cursor| page::after(cursor)?.parse().map_err(|_| no_cursor(cursor)));
    let before = before.transpose()?;
    let found = dead_letters::list(&plane.pool, app.id, &wanted.filter(&app)?, before, limit + 1).await;
    let mut letters = found.map_err(|error| database(&error))?;
    let has_more = letters.len() > limit;
    letters.truncate(limit);
    let last = letters.last().filter(|_| has_more);
    let cursor = last.map(|letter| page::cursor(&letter.created.dead_letter.to_string()));
    let setup = plane.setup.get();
    Ok(Answer(Page { items: letters.iter().map(|letter| LetterForm::of(&setup, letter)).collect(), cursor }))
}

fn no_cursor(cursor: &str) -> Problem {
    let detail = format!("`{}` is not a cursor of this list: begin anew without one", short(cursor));
    Problem::new(Kind::InvalidInput, detail).field("cursor")
}

pub(super) async fn count(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<Narrowed>,
) -> Result<Answer<Count>, Problem> {
    let filter = wanted.filter(&app)?;
    let counted = dead_letters::counted(&plane.pool, app.id, &filter).await.map_err(|error| database(&error))?;
    if let Some(count) = counted {
        return Ok(Answer(Count { count, is_exact: true }));
    }
    let found = dead_letters::count_up_to(&plane.pool, app.id, &filter, COUNTED + 1).await;
    let found = found.map_err(|error| database(&error))?;
    Ok(Answer(Count { count: found.min(COUNTED), is_exact: found <= COUNTED }))
}

/// Unresolved letters that failed alike.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetterGroup)]
pub(super) struct GroupForm {
    fingerprint: String,
    count: i64,
    first_at: Time,
    last_at: Time,
    /// The last of them.
    sample: DeadLetterId,
}

pub(super) async fn groups(State(plane): State<Plane>, InApp(app): InApp) -> Result<Answer<Page<GroupForm>>, Problem> {
    let groups = dead_letters::groups(&plane.pool, app.id, GROUPS).await.map_err(|error| database(&error))?;
    let items = groups.into_iter().map(|group| GroupForm {
        fingerprint: group.fingerprint,
        count: group.count,
        first_at: Time(group.first_at),
        last_at: Time(group.last_at),
        sample: group.sample,
    });
    Ok(Answer(Page { items: items.collect(), cursor: None }))
}

pub(super) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    Params(At { at }): Params<At>,
) -> Result<Answer<Detail>, Problem> {
    let letter = match at {
        None => plane.letter(&app, &named).await?,
        Some(at) => plane.past_letter(&app, &named, &at).await?,
    };
    let payload = match plane.payload(&app, &letter).await {
        Ok(plain) => Some(serde_json::value::to_raw_value(&plain).expect("payloads are plain data")),
        Err(ApartError::Erased) => None,
        Err(error) => return Err(Problem::internal(&error)),
    };
    let form = LetterForm::of(&plane.setup.get(), &letter);
    Ok(Answer(Detail { letter: form, tried: letter.created.attempts, payload }))
}

/// How a letter is tried again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadLetterReplay)]
pub(super) struct Replay {
    /// What the run gets instead, of the shape that the letter shows as `payload`.
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<serde_json::Value>,
    /// On this version instead of the active one.
    version: Option<scripts::versions::Named>,
}

pub(super) async fn replay(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    Json(wanted): Json<Replay>,
) -> Result<Written<Shown<LetterForm>>, Problem> {
    let edited = wanted.payload.map(plain).transpose()?;
    let version = match &wanted.version {
        None => None,
        Some(version) => {
            let letter = plane.letter(&app, &named).await?;
            Some(scripts::versions::find(&plane, &app, letter.created.script, version).await?.id)
        }
    };
    plane.decide_letter(&caller, &app, &named, &Decision::Replay { edited, version }).await
}

/// How a letter is closed.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadLetterResolve)]
pub(super) struct Resolve {
    #[serde(default)]
    resolution: Closing,
    reason: Option<String>,
}

pub(super) async fn resolve(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    Json(wanted): Json<Resolve>,
) -> Result<Written<Shown<LetterForm>>, Problem> {
    if let Some(reason) = &wanted.reason {
        names::text("reason", reason, 1_000)?;
    }
    let Resolve { resolution, reason } = wanted;
    plane.decide_letter(&caller, &app, &named, &Decision::Resolve { resolution, reason }).await
}

/// What somebody decides about a letter.
enum Decision {
    Replay { edited: Option<Plain>, version: Option<VersionId> },
    Resolve { resolution: Closing, reason: Option<String> },
}

fn plain(payload: serde_json::Value) -> Result<Plain, Problem> {
    let text = payload.to_string();
    if text.len() > 4 << 20 {
        return Err(Problem::new(Kind::InvalidInput, "the payload is larger than 4 MiB").field("payload"));
    }
    // From the text: a raw value cannot be read from a tree.
    serde_json::from_str(&text).map_err(|error| {
        let detail = format!("`payload` is not of the shape that the letter shows: {error}");
        Problem::new(Kind::InvalidInput, detail).field("payload")
    })
}

impl AdminPlane {
    /// A letter of an app; another app's is not there.
    async fn letter(&self, app: &App, named: &str) -> Result<Letter, Problem> {
        let found = match named.parse() {
            Ok(id) => dead_letters::find(&self.pool, app.id, id).await.map_err(|error| database(&error))?,
            Err(_) => None,
        };
        found.ok_or_else(|| {
            let detail = format!("the app `{}` has no dead letter `{}`", app.slug, short(named));
            Problem::new(Kind::NotFound, detail)
        })
    }

    /// A letter as it stood; what it held may have been erased since.
    async fn past_letter(&self, app: &App, named: &str, at: &str) -> Result<Letter, Problem> {
        let moment = self.moment(app, at, Class::Config).await?;
        let past = match named.parse() {
            Ok(id) => travel::dead_letter(&self.reader, app.id, id, moment).await,
            Err(_) => Ok(Past::Never),
        };
        was(past.map_err(|error| unreadable(&error))?, &format!("the dead letter `{}`", short(named)), moment)
    }

    async fn payload(&self, app: &App, letter: &Letter) -> Result<Plain, ApartError> {
        let mut opened = dead_letters::payloads(&self.keyring, app.id, &[letter]).await?;
        opened.pop().unwrap_or(Err(ApartError::Erased))
    }

    /// Decides about an open letter; looks again when it was changed meanwhile.
    async fn decide_letter(
        &self,
        caller: &Caller,
        app: &App,
        named: &str,
        decision: &Decision,
    ) -> Result<Written<Shown<LetterForm>>, Problem> {
        let mut tries = Tries::default();
        loop {
            let letter = self.letter(app, named).await?;
            if let Some(closed) = letter.closed() {
                let by = who(&self.setup.get(), closed.by.as_ref());
                let at = closed.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
                let detail = format!("this letter was closed as `{}` by {by} at {at}", closed.resolution);
                return Err(Problem::new(Kind::Conflict, detail).with("resolution", &closed.resolution));
            }
            let dead_letter = letter.created.dead_letter;
            let events = match decision {
                Decision::Replay { edited, version } => {
                    self.replayed(caller, app, &letter, edited.as_ref(), *version).await?
                }
                Decision::Resolve { resolution, reason } => {
                    let resolved = Resolved { dead_letter, resolution: *resolution, reason: reason.clone(), job: None };
                    vec![NewEvent::new(Some(app.id), &caller.actor(), resolved)]
                }
            };
            match self.append_events(events, vec![Read::DeadLetter { dead_letter, version: letter.position }]).await {
                Ok(committed) => {
                    let decided = Decided { app: Some(app.id), position: committed.last, value: () };
                    let letter = self.letter(app, named).await?;
                    let form = LetterForm::of(&self.setup.get(), &letter);
                    return decided.answer(self, StatusCode::OK, Shown(form)).await;
                }
                Err(Refused::Problem(problem) | Refused::Exists(problem)) => return Err(problem),
                Err(Refused::Stale) => tries.again(self, letter.position).await?,
            }
        }
    }

    /// A letter becomes an item of the outbox once more.
    async fn replayed(
        &self,
        caller: &Caller,
        app: &App,
        letter: &Letter,
        edited: Option<&Plain>,
        version: Option<VersionId>,
    ) -> Result<Vec<NewEvent>, Problem> {
        let plain = match edited {
            Some(edited) => edited.clone(),
            None => self.payload(app, letter).await.map_err(|error| match error {
                ApartError::Erased => {
                    let detail = "what this letter held was erased: replay it with a `payload` of your own";
                    Problem::new(Kind::Conflict, detail).field("payload")
                }
                other => Problem::internal(&other),
            })?,
        };
        let key = self.keyring.app(app.id).await.map_err(|error| Problem::internal(&error))?;
        let again = Again { by: &caller.actor(), job: None, plain, is_edited: edited.is_some(), version };
        Ok(letter.replayable(app.id).replayed(again, &key).into())
    }
}

/// Who it was, as people call them.
pub(super) fn who(setup: &Setup, actor: Option<&Actor>) -> String {
    let Some(actor) = actor else { return "somebody".to_owned() };
    let account = actor.id.as_ref().and_then(|id| setup.accounts.get(&id.parse().ok()?));
    match (account, &actor.id) {
        (Some(account), _) => account.email.clone(),
        (None, Some(id)) => id.clone(),
        (None, None) => "PiCloud".to_owned(),
    }
}
