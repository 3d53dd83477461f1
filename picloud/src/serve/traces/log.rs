//! What only the log says: what is owed and by which run, what is given up, and which runs a node left behind.
//!
//! Each event is appended by one node, which tells of it; so nothing is told twice, and what a node that went away cannot tell
//! of its runs is told by whoever ends them in the log.

use std::{cell::LazyCell, collections::HashMap};

use picloud_core::{
    event::{
        Event, FailureReason,
        dead_letter::Created,
        invocation::{Completed, Failed, Started},
        outbox::{Enqueued, Source},
    },
    id::{EventId, InvocationId, OutboxId, ScriptId},
    log::{
        Batch, Position, Recorded,
        read::{ReadError, Reader},
    },
    run::InvocationType,
    trace::{Context, Kind, Span, SpanId, TraceId, Tracer},
};
use picloud_projections::setup::{LiveSetup, Setup};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tracing::warn;

/// Tells of what this node appends, until it ends.
pub(super) async fn tell(mut own: Receiver<Batch>, reader: Reader, setup: LiveSetup, tracer: Tracer) {
    loop {
        let batch = match own.recv().await {
            Ok(batch) => batch,
            // Of each at least one span is missing.
            Err(RecvError::Lagged(batches)) => {
                tracer.lose(batches);
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        let events = batch.events();
        told(events, &setup.get(), &tracer).for_each(|span| tracer.tell(span));
        match left_behind(events, &reader, &setup).await {
            Ok(spans) => {
                spans.into_iter().filter(|span| tracer.wants(span.trace)).for_each(|span| tracer.tell(span));
            }
            Err(error) => {
                warn!(%error, "Failed to look up how runs began that were left behind: their traces lack them");
                tracer.lose(1);
            }
        }
    }
}

/// What is owed from now on, and what is given up.
fn told<'a>(events: &'a [Recorded], setup: &'a Setup, tracer: &'a Tracer) -> impl Iterator<Item = Span> + 'a {
    // Looked up only when something is owed that anybody wants to know of.
    let causes = LazyCell::new(|| Causes::of(events));
    events.iter().filter_map(move |recorded| {
        let chain = |item: OutboxId| recorded.event.root.unwrap_or_else(|| item.ulid().into());
        match &recorded.event.event {
            Event::OutboxEnqueued(enqueued) => {
                let chain = chain(enqueued.item);
                tracer.wants(TraceId::of_chain(chain)).then(|| owed(recorded, enqueued, chain, &causes, setup))
            }
            Event::DeadLetterCreated(created) => {
                let trace = TraceId::of_chain(chain(created.item));
                tracer.wants(trace).then(|| letter(recorded, created, trace))
            }
            _ => None,
        }
    })
}

/// Which run events of a batch follow from. All that a run does lies in one commit with its end, and so in one batch.
#[derive(Default)]
struct Causes {
    causes: HashMap<EventId, EventId>,
    /// By the event that began it, which everything in it follows from: the run, and what its chain is named after.
    runs: HashMap<EventId, (InvocationId, Option<InvocationId>)>,
}

impl Causes {
    fn of(events: &[Recorded]) -> Self {
        let mut found = Self::default();
        for event in events.iter().map(|recorded| &recorded.event) {
            let Some(cause) = event.cause else { continue };
            found.causes.insert(event.id, cause);
            if let Event::InvocationCompleted(Completed { invocation, .. })
            | Event::InvocationFailed(Failed { invocation, .. }) = &event.event
            {
                found.runs.insert(cause, (*invocation, event.root));
            }
        }
        found
    }

    fn run(&self, recorded: &Recorded) -> Option<(InvocationId, Option<InvocationId>)> {
        let mut cause = recorded.event.cause?;
        loop {
            if let Some(run) = self.runs.get(&cause) {
                return Some(*run);
            }
            // Causes lie before what they cause, so this comes to an end.
            cause = *self.causes.get(&cause)?;
        }
    }
}

fn owed(recorded: &Recorded, enqueued: &Enqueued, chain: InvocationId, causes: &Causes, setup: &Setup) -> Span {
    let event = &recorded.event;
    let item = enqueued.item;
    let name = script_name(setup, recorded, enqueued.script);
    let trace = TraceId::of_chain(chain);
    let mut span = Span::new(trace, SpanId::of_item(item), Kind::Producer, format!("enqueue {name}"), recorded.at)
        .with("messaging.system", "picloud")
        .with("messaging.operation.type", "send")
        .with("messaging.operation.name", "enqueue")
        .with("messaging.destination.name", name)
        .with("messaging.message.id", item.to_string())
        .with("picloud.source", enqueued.source.as_str());
    if let Some(trigger) = enqueued.source.trigger() {
        span = span.with("picloud.trigger_id", trigger.to_string());
    }
    let request = event.actor.request_id.filter(|request| request.ulid() == item.ulid());
    match (enqueued.handles.or(enqueued.replay_of), enqueued.source, request, causes.run(recorded)) {
        (Some(letter), ..) => span.within(SpanId::of_letter(letter)),
        (None, Source::AsyncRoute { .. }, Some(request), _) => span.within(SpanId::of_request(request)),
        (None, _, _, Some((run, Some(root)))) if root == chain => span.within(SpanId::of_run(run)),
        // Of another chain.
        (None, _, _, Some((run, root))) => {
            let trace = TraceId::of_chain(root.unwrap_or(run));
            Span { link: Some(Context { trace, span: SpanId::of_run(run) }), ..span }
        }
        (None, _, _, None) => span,
    }
}

fn letter(recorded: &Recorded, created: &Created, trace: TraceId) -> Span {
    let id = SpanId::of_letter(created.dead_letter);
    Span::new(trace, id, Kind::Internal, format!("dead letter {}", created.script_name), recorded.at)
        .within(SpanId::of_item(created.item))
        .with("messaging.message.id", created.item.to_string())
        .with("picloud.dead_letter_id", created.dead_letter.to_string())
        .with("picloud.attempts", u64::try_from(created.attempts.len()).unwrap_or(u64::MAX))
        .failed(created.reason.as_str())
}

/// The runs whose end is said by somebody else than who ran them.
async fn left_behind(events: &[Recorded], reader: &Reader, setup: &LiveSetup) -> Result<Vec<Span>, ReadError> {
    let ends: HashMap<InvocationId, &Recorded> = events
        .iter()
        .filter_map(|recorded| match &recorded.event.event {
            Event::InvocationFailed(failed) if failed.reason == FailureReason::Abandoned => {
                Some((failed.invocation, recorded))
            }
            _ => None,
        })
        .collect();
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    let runs: Vec<_> = ends.keys().copied().collect();
    let before = events.first().map_or(Position::ZERO, |first| Position(first.position.0 - 1));
    let beginnings = reader.beginnings(&runs, before).await?;
    let setup = setup.get();
    let spans = beginnings.iter().filter_map(|began| match &began.event.event {
        Event::InvocationStarted(started) => Some(abandoned(began, started, ends.get(&started.invocation)?, &setup)),
        _ => None,
    });
    Ok(spans.collect())
}

fn abandoned(began: &Recorded, started: &Started, ended: &Recorded, setup: &Setup) -> Span {
    let run = started.invocation;
    let name = script_name(setup, began, started.script);
    let (kind, verb) = if started.item.is_some() { (Kind::Consumer, "process") } else { (Kind::Internal, "run") };
    let trace = TraceId::of_chain(began.event.root.unwrap_or(run));
    let mut span = Span::new(trace, SpanId::of_run(run), kind, format!("{verb} {name}"), began.at)
        .ended(ended.at)
        .with("faas.name", name)
        .with("faas.invocation_id", run.to_string())
        .with("picloud.kind", started.invocation_type.as_str())
        .with("picloud.attempt", started.attempt)
        .with("picloud.node", started.node.to_string())
        .failed(FailureReason::Abandoned.as_str());
    span.parent = match (started.item, began.event.actor.request_id) {
        (Some(item), _) => Some(SpanId::of_item(item)),
        (None, Some(request)) if started.invocation_type == InvocationType::Http => Some(SpanId::of_request(request)),
        (None, _) => None,
    };
    span
}

/// What a script is called now; its id, when it is gone.
fn script_name(setup: &Setup, recorded: &Recorded, script: ScriptId) -> String {
    let app = recorded.event.app.and_then(|app| setup.apps.get(&app));
    let found = app.and_then(|app| app.scripts.iter().find(|known| known.id == script));
    found.map_or_else(|| script.to_string(), |found| found.name.clone())
}
