//! `dead_letters::`: work that could not be done, and what is to become of it.

use picloud_core::{
    capability::Capability,
    event::dead_letter::Reason,
    id::{DeadLetterId, OutboxId},
};
use rhai::{Array, Dynamic, EvalAltResult, INT, Map};
use serde_json::value::RawValue;

use super::{
    options::{Options, shortened},
    stored::stored,
};
use crate::sandbox::{
    current::{thrown, with, with_data},
    data::LetterQuery,
    meter,
    registry::Registry,
    rights::need_principal,
    value::{ReadError, Room, read_json},
};

type Refused = Box<EvalAltResult>;

const MAX_LIST: INT = 1000;
const DEFAULT_LIST: INT = 100;
const MAX_REASON_CHARS: usize = 1000;
const FILTER: &[&str] = &["unresolved", "resolution", "script", "source", "reason", "fingerprint", "$limit", "$after"];
const RESOLUTIONS: &[&str] = &["replayed", "ignored", "handled_by_script", "handler_failed"];
const SOURCES: &[&str] = &["trigger", "async_route", "invoke"];
const REASONS: &[&str] = &[
    Reason::AttemptsExhausted.as_str(),
    Reason::GaveUp.as_str(),
    Reason::DepthExceeded.as_str(),
    Reason::NothingToRun.as_str(),
];

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry
        .add(
            "list(filter: map) -> map",
            "Letters of the app, newest first, that are as the filter says: `#{unresolved: true, resolution, script, source, \
             reason, fingerprint}`, each as needed; `$limit`, from 1 to 1000, is how many, usually 100. Answers `#{items, \
             cursor}`: the cursor, given as `$after`, continues; it is `()` at the end.",
            |filter: Map| list(&filter),
        )
        .add(
            "get(id: string) -> ?",
            "A letter with all that was `tried` and the `payload` that its run gets, `#{request}` or `#{event}`; `()` when \
             there is none.",
            get,
        )
        .add(
            "replay(id: string) -> string",
            "Tries a letter again once the run has committed; answers the id of the new item of the outbox. Throws when it \
             was closed before, saying by whom.",
            |id: &str| replay(id, &Map::new()),
        )
        .add(
            "replay(id: string, options: map) -> string",
            "As `replay(id)`; with `#{payload}` its run gets that instead: what `get` shows, changed.",
            |id: &str, options: Map| replay(id, &options),
        )
        .add(
            "resolve(id: string, reason: string)",
            "Closes a letter as `handled_by_script`, for a reason of up to 1000 characters. Throws when it was closed before, \
             saying by whom.",
            resolve,
        );
}

/// A public call may not: letters hold others' requests.
fn need(call: &str) -> Result<(), Refused> {
    need_principal(call, Capability::AppDeadLetterManage)
}

fn list(filter: &Map) -> Result<Map, Refused> {
    const CALL: &str = "dead_letters::list";
    need(CALL)?;
    let options = Options::of(CALL, filter, FILTER)?;
    let word = |name: &str, known: &[&str]| match options.text(name)? {
        Some(word) if !known.contains(&word.as_str()) => {
            Err(options.wrong(name, &word.into(), &format!("one of {}", known.join(", "))))
        }
        word => Ok(word.map(String::from)),
    };
    let after = match options.text("$after")? {
        None => None,
        Some(cursor) => Some(cursor.parse().map_err(|_| {
            thrown(format!("{CALL}: `{}` is no cursor of such a list: begin without `$after`", shortened(&cursor)))
        })?),
    };
    let limit = options.int("$limit", 1..=MAX_LIST)?.unwrap_or(DEFAULT_LIST);
    let limit = usize::try_from(limit).expect("it is between 1 and 1000");
    meter::array_fits(limit)?;
    let wanted = LetterQuery {
        is_unresolved: options.bool("unresolved")?.unwrap_or(false),
        resolution: word("resolution", RESOLUTIONS)?,
        script: options.text("script")?.map(String::from),
        source: word("source", SOURCES)?,
        reason: word("reason", REASONS)?,
        fingerprint: options.text("fingerprint")?.map(String::from),
        after,
        limit,
    };
    let page = with_data(|data| data.letters(wanted).map_err(|error| error.of_call(CALL)))?;
    let items: Result<Array, Refused> = page.items.iter().map(|letter| value(CALL, letter)).collect();
    let mut answer = Map::new();
    answer.insert("items".into(), Dynamic::from_array(items?));
    answer.insert("cursor".into(), page.cursor.map_or(Dynamic::UNIT, |cursor| cursor.to_string().into()));
    Ok(answer)
}

fn get(id: &str) -> Result<Dynamic, Refused> {
    const CALL: &str = "dead_letters::get";
    need(CALL)?;
    let Ok(id) = id.parse() else { return Ok(Dynamic::UNIT) };
    match with_data(|data| data.letter(id))? {
        Some(letter) => value(CALL, &letter),
        None => Ok(Dynamic::UNIT),
    }
}

fn replay(id: &str, options: &Map) -> Result<String, Refused> {
    const CALL: &str = "dead_letters::replay";
    need(CALL)?;
    let options = Options::of(CALL, options, &["payload"])?;
    let id = named(CALL, id)?;
    let room = Room { bytes: meter::limits().max_request_bytes, limit: "max_request_bytes" };
    let payload = options.get("payload").map(|payload| stored(payload, room, || format!("{CALL}: `payload`")));
    let payload = payload.transpose()?;
    let item = OutboxId::from(with(|run| run.ulid())?);
    with_data(|data| data.replay_letter(id, item, payload).map_err(|error| error.of_call(CALL)))?;
    Ok(item.to_string())
}

fn resolve(id: &str, reason: &str) -> Result<(), Refused> {
    const CALL: &str = "dead_letters::resolve";
    need(CALL)?;
    let id = named(CALL, id)?;
    if reason.trim().is_empty() || reason.contains('\0') || reason.chars().nth(MAX_REASON_CHARS).is_some() {
        let shown = shortened(&reason.escape_debug().to_string());
        return Err(thrown(format!(
            "{CALL}: the reason is `{shown}`: it must have 1 to {MAX_REASON_CHARS} characters and no U+0000"
        )));
    }
    with_data(|data| data.resolve_letter(id, reason.to_owned()).map_err(|error| error.of_call(CALL)))
}

fn named(call: &str, id: &str) -> Result<DeadLetterId, Refused> {
    id.parse().map_err(|_| thrown(format!("{call}: there is no dead letter `{}`", shortened(id))))
}

fn value(call: &str, letter: &RawValue) -> Result<Dynamic, Refused> {
    read_json(letter.get().as_bytes(), &meter::limits()).map_err(|error| match error {
        ReadError::Limit { name, message } => meter::over_limit(name, message),
        error => thrown(format!("{call}: a letter cannot be read: {error}")),
    })
}
