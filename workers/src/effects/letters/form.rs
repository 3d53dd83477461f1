//! How scripts see a letter: with the fields that the admin API shows.

use chrono::{DateTime, Utc};
use picloud_core::{
    event::{
        dead_letter::Reason,
        outbox::{Attempt, Source},
    },
    id::{DeadLetterId, InvocationId, OutboxId, ScriptId, VersionId},
    outbox::Plain,
};
use picloud_projections::dead_letters::Letter;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

#[derive(Serialize)]
struct Form<'a> {
    id: DeadLetterId,
    created_at: DateTime<Utc>,
    source: Source,
    script: ScriptId,
    script_name: &'a str,
    version: Option<VersionId>,
    reason: Reason,
    error: &'a str,
    fingerprint: &'a str,
    attempts: usize,
    enqueued_at: DateTime<Utc>,
    outbox_id: OutboxId,
    root: Option<InvocationId>,
    resolution: Option<&'a str>,
    resolved_at: Option<DateTime<Utc>>,
    resolved_by: Option<&'a str>,
    resolved_why: Option<&'a str>,
    replay: Option<OutboxId>,
}

#[derive(Serialize)]
struct Detail<'a> {
    #[serde(flatten)]
    form: Form<'a>,
    tried: &'a [Attempt],
    payload: Option<&'a Plain>,
}

impl<'a> Form<'a> {
    fn of(letter: &'a Letter) -> Self {
        let created = &letter.created;
        let resolved = letter.resolved.as_ref();
        Self {
            id: created.dead_letter,
            created_at: letter.created_at,
            source: created.source,
            script: created.script,
            script_name: &created.script_name,
            version: created.version,
            reason: created.reason,
            error: &created.error,
            fingerprint: &created.fingerprint,
            attempts: created.attempts.len(),
            enqueued_at: created.enqueued_at,
            outbox_id: created.item,
            root: letter.root,
            resolution: resolved.map(|resolved| resolved.resolution.as_str()),
            resolved_at: resolved.map(|resolved| resolved.at),
            resolved_by: resolved.and_then(|resolved| resolved.by.as_ref()?.id.as_deref()),
            resolved_why: resolved.and_then(|resolved| resolved.why.as_deref()),
            replay: resolved.and_then(|resolved| resolved.replay),
        }
    }
}

/// A letter as it stands in a list.
pub(super) fn form(letter: &Letter) -> Box<RawValue> {
    to_raw_value(&Form::of(letter)).expect("letters are plain data")
}

/// A letter with all that was tried and what its run gets; null when that was erased.
pub(super) fn detail(letter: &Letter, payload: Option<&Plain>) -> Box<RawValue> {
    let detail = Detail { form: Form::of(letter), tried: &letter.created.attempts, payload };
    to_raw_value(&detail).expect("letters are plain data")
}
