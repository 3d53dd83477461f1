//! What happened to one thing, and what it was before and after each time.
//!
//! What can be folded is shown as it stood; of what cannot, what its events say of it.

use picloud_core::{
    event::{Event, script::Deployed},
    id::AppId,
    log::{
        Position, Recorded,
        read::{Bound, Direction, Filter, Found, ReadError, Reader},
    },
    state::{dead_letter::Resolved, kv, route, script, trigger},
};
use serde_json::{Map, Value, json};

use super::{Moment, Past};

/// An event about a thing.
#[derive(Clone, Debug)]
pub struct Change {
    /// The event.
    pub recorded: Recorded,
    /// What the thing was before; none when it was not there.
    pub before: Option<Value>,
    /// What it was after.
    pub after: Option<Value>,
    /// The source of a script's newest version, before and after, if the event stored one.
    pub sources: Option<(Option<String>, String)>,
}

/// What happened to a thing, as far as that was found.
#[derive(Clone, Debug)]
pub struct History {
    /// The newest first.
    pub changes: Vec<Change>,
    /// Where the search stopped for want of time: it goes on before that.
    pub stopped: Option<Position>,
}

/// The events about a thing of an app, newest first: up to a position, at most so many, as far as they are found within a bound.
///
/// # Errors
/// When the log cannot be read.
pub async fn history(
    reader: &Reader,
    app: AppId,
    subject: &str,
    up_to: Position,
    limit: usize,
    bound: Bound,
) -> Result<History, ReadError> {
    let filter = Filter { app: Some(Some(app)), subject: Some(subject.to_owned()), ..Filter::default() };
    let found = reader.search(&filter, Direction::Backward, (Position::ZERO, up_to), limit, bound).await?;
    let Found { mut events, stopped } = found;
    let Some(first) = events.pop() else { return Ok(History { changes: Vec::new(), stopped }) };
    let mut thing = Thing::before(reader, app, &first).await?;
    events.push(first);
    let mut changes = Vec::with_capacity(events.len());
    for recorded in events.into_iter().rev() {
        let before = thing.picture();
        let source = thing.source().map(str::to_owned);
        thing.evolve(reader, app, &recorded).await?;
        let sources = match &recorded.event.event {
            Event::ScriptDeployed(deployed) => Some((source, deployed.source.clone())),
            _ => None,
        };
        changes.push(Change { recorded, before, after: thing.picture(), sources });
    }
    changes.reverse();
    Ok(History { changes, stopped })
}

/// A thing on its way through its history.
enum Thing {
    Entry(Option<kv::Entry>),
    Route(Option<route::Route>),
    /// With its newest version, active or not.
    Script(Option<script::Script>, Option<Deployed>),
    Trigger(Option<trigger::Trigger>),
    /// What was decided about it.
    Letter(Option<Option<Resolved>>),
    /// What its last event says.
    Other(Option<Value>),
}

impl Thing {
    /// As it was before an event about it.
    async fn before(reader: &Reader, app: AppId, event: &Recorded) -> Result<Self, ReadError> {
        let moment = Moment { position: Position(event.position.0 - 1), at: event.at };
        let subject = &event.event.subject;
        Ok(match &event.event.event {
            Event::KvSet(set) => Self::entry(reader, app, &set.collection, &set.key, moment).await?,
            Event::KvIncreased(by) => Self::entry(reader, app, &by.collection, &by.key, moment).await?,
            Event::KvDeleted(deleted) => Self::entry(reader, app, &deleted.collection, &deleted.key, moment).await?,
            Event::KvSnapshot(said) => Self::entry(reader, app, &said.collection, &said.key, moment).await?,
            found => match found.kind().split_once('.').map(|(noun, _)| noun) {
                Some("route") => Self::Route(
                    super::thing(reader, &super::about(app, "route", subject.clone()), moment, route::evolve)
                        .await?
                        .there(),
                ),
                Some("trigger") => Self::Trigger(
                    super::thing(reader, &super::about(app, "trigger", subject.clone()), moment, trigger::evolve)
                        .await?
                        .there(),
                ),
                Some("script") => {
                    let filter = super::about(app, "script", subject.clone());
                    let script = super::thing(reader, &filter, moment, script::evolve).await?.there();
                    let newest = super::about(app, "script.deployed", subject.clone());
                    let newest =
                        reader.list(&newest, Direction::Backward, Position::ZERO, moment.position, 1).await?.pop();
                    Self::Script(script, newest.and_then(|newest| deployed(&newest).cloned()))
                }
                Some("dead_letter") => Self::Letter(letter(reader, app, subject, moment).await?),
                _ => {
                    let filter = Filter { app: Some(Some(app)), subject: Some(subject.clone()), ..Filter::default() };
                    let last =
                        reader.list(&filter, Direction::Backward, Position::ZERO, moment.position, 1).await?.pop();
                    Self::Other(last.and_then(|last| said(&last)))
                }
            },
        })
    }

    async fn entry(
        reader: &Reader,
        app: AppId,
        collection: &str,
        key: &str,
        moment: Moment,
    ) -> Result<Self, ReadError> {
        Ok(Self::Entry(super::entry(reader, app, collection, key, moment).await?.there()))
    }

    async fn evolve(&mut self, reader: &Reader, app: AppId, recorded: &Recorded) -> Result<(), ReadError> {
        let (new, position, at) = (&*recorded.event, recorded.position, recorded.at);
        match self {
            Self::Entry(entry) => *entry = kv::evolve(entry.take(), new, position, at),
            Self::Route(route) => *route = route::evolve(route.take(), new, position, at),
            Self::Script(script, newest) => {
                *script = script::evolve(script.take(), new, position, at);
                if let Some(deployed) = deployed(recorded) {
                    *newest = Some(deployed.clone());
                }
            }
            Self::Trigger(trigger) => *trigger = trigger::evolve(trigger.take(), new, position, at),
            // What is to take care of it is not told in events about it.
            Self::Letter(decided) => *decided = letter(reader, app, &new.subject, Moment { position, at }).await?,
            Self::Other(last) => *last = said(recorded),
        }
        Ok(())
    }

    fn source(&self) -> Option<&str> {
        match self {
            Self::Script(Some(_), Some(newest)) => Some(&newest.source),
            _ => None,
        }
    }

    /// Its fields, as people know them.
    fn picture(&self) -> Option<Value> {
        match self {
            Self::Entry(entry) => entry.as_ref().map(|entry| {
                let value = serde_json::from_str(&entry.value).unwrap_or(Value::Null);
                json!({ "value": value, "expires_at": entry.expires_at })
            }),
            Self::Route(route) => route.as_ref().map(|route| plain(&route.definition)),
            Self::Script(script, newest) => script.as_ref().map(|script| {
                json!({
                    "name": script.name,
                    "kind": script.kind,
                    "active": script.active,
                    "paused": script.is_paused,
                    "version": newest.as_ref().map(|newest| newest.number),
                    "limits": newest.as_ref().map(|newest| plain(&newest.limits)),
                })
            }),
            Self::Trigger(trigger) => trigger.as_ref().filter(|trigger| trigger.deleted_at.is_none()).map(|trigger| {
                let mut fields = json!({
                    "enabled": trigger.is_enabled,
                    "disabled_why": trigger.disabled_why,
                    "paused": trigger.is_paused,
                    "registrant": plain(&trigger.registrant),
                });
                if let (Some(fields), Value::Object(definition)) = (fields.as_object_mut(), plain(&trigger.definition))
                {
                    fields.extend(definition);
                }
                fields
            }),
            Self::Letter(letter) => letter.as_ref().map(|resolved| {
                let resolved = resolved.as_ref();
                json!({
                    "resolution": resolved.map(|resolved| &resolved.resolution),
                    "why": resolved.and_then(|resolved| resolved.why.as_ref()),
                    "replay": resolved.and_then(|resolved| resolved.replay),
                    "job": resolved.and_then(|resolved| resolved.job),
                })
            }),
            Self::Other(last) => last.clone(),
        }
    }
}

impl<T> Past<T> {
    /// The thing, if it was there.
    fn there(self) -> Option<T> {
        match self {
            Self::Was(thing) => Some(thing),
            Self::Gone { .. } | Self::NotYet { .. } | Self::Never => None,
        }
    }
}

/// What was decided about a letter; none when it was not there.
async fn letter(
    reader: &Reader,
    app: AppId,
    subject: &str,
    moment: Moment,
) -> Result<Option<Option<Resolved>>, ReadError> {
    let Ok(id) = subject.parse() else { return Ok(None) };
    let past = super::dead_letter(reader, app, id, moment).await?;
    Ok(past.there().map(|letter| letter.resolved))
}

fn deployed(recorded: &Recorded) -> Option<&Deployed> {
    match &recorded.event.event {
        Event::ScriptDeployed(deployed) => Some(deployed),
        _ => None,
    }
}

fn plain(thing: &impl serde::Serialize) -> Value {
    serde_json::to_value(thing).expect("what is stored is plain data")
}

/// What an event says of a thing; nothing is left of one that went.
fn said(recorded: &Recorded) -> Option<Value> {
    let kind = recorded.event.event.kind();
    let went = ["deleted", "removed", "released", "revoked", "purged", "unbound"];
    if kind.split_once('.').is_some_and(|(_, verb)| went.contains(&verb)) {
        return None;
    }
    serde_json::from_str::<Map<String, Value>>(&recorded.event.data).ok().map(Value::Object)
}
