//! A run as traces show it: itself, how long it waited when it was owed, its commit, its calls outside.
//!
//! Told once the end is durable, from what is at hand then; nothing is made while the script runs, but for a call's name.

use chrono::{DateTime, Utc};
use picloud_core::{
    run::{Finished, InvocationType},
    trace::{Context, Kind, Span, SpanId, TraceId, Tracer},
};

use super::attempt::Run;
use crate::{effects::Outcome, http::Request};

impl Run {
    /// What it belongs to.
    pub fn trace(&self) -> TraceId {
        TraceId::of_chain(self.chain())
    }

    /// Tells that its end is durable.
    pub fn tell_end(&self, tracer: &Tracer, finished: &Finished, runs: u32, committing_since: DateTime<Utc>) {
        let ended_at = Utc::now();
        if let Some(wait) = self.wait() {
            tracer.tell(wait);
        }
        let commit = Span::new(self.trace(), SpanId::random(), Kind::Internal, "commit".to_owned(), committing_since);
        tracer.tell(commit.ended(ended_at).within(SpanId::of_run(self.call.invocation)));
        tracer.tell(self.span(finished, runs).ended(ended_at));
    }

    fn span(&self, finished: &Finished, runs: u32) -> Span {
        let call = &self.call;
        let program = &call.program;
        let (kind, verb) = if call.item.is_some() { (Kind::Consumer, "process") } else { (Kind::Internal, "run") };
        let trigger = if call.kind == InvocationType::Http { "http" } else { "other" };
        let id = SpanId::of_run(call.invocation);
        let mut span = Span::new(self.trace(), id, kind, format!("{verb} {}", program.name), self.now)
            .with("faas.name", &program.name)
            .with("faas.version", program.number.to_string())
            .with("faas.invocation_id", call.invocation.to_string())
            .with("faas.trigger", trigger)
            .with("picloud.app", &program.app_slug)
            .with("picloud.kind", call.kind.as_str())
            .with("picloud.runs", runs)
            .with("picloud.script_us", finished.duration_us)
            .with("picloud.operations", finished.operations);
        span.parent = match (&call.item, call.request_id) {
            (Some(item), _) => Some(SpanId::of_item(item.enqueued.item)),
            (None, Some(request)) if call.kind == InvocationType::Http => Some(SpanId::of_request(request)),
            (None, _) => None,
        };
        if let Some(item) = &call.item {
            span = span
                .with("messaging.system", "picloud")
                .with("messaging.operation.type", "process")
                .with("messaging.operation.name", "process")
                .with("messaging.destination.name", &program.name)
                .with("messaging.message.id", item.enqueued.item.to_string())
                .with("picloud.attempt", item.attempt());
            if let Some(trigger) = item.enqueued.source.trigger() {
                span = span.with("picloud.trigger_id", trigger.to_string());
            }
        }
        match &finished.result {
            Ok(answer) => span.with("picloud.status", answer.status),
            // Not its message, which is what the script says: `picloud invocations show` tells it to who may know.
            Err(failure) => match failure.line {
                Some(line) => span.with("code.line.number", line).failed(failure.reason.as_str()),
                None => span.failed(failure.reason.as_str()),
            },
        }
    }

    /// From when it was owed, or its last attempt had failed, to when this one was begun.
    fn wait(&self) -> Option<Span> {
        let item = self.call.item.as_deref()?;
        let since = item.failed.last().map_or(item.enqueued_at, |failed| failed.at);
        // By two clocks, perhaps of two machines.
        let (began_at, name) = (since.min(self.now), format!("wait {}", self.call.program.name));
        let span = Span::new(self.trace(), SpanId::random(), Kind::Internal, name, began_at)
            .ended(self.now)
            .within(SpanId::of_item(item.enqueued.item))
            .with("messaging.message.id", item.enqueued.item.to_string())
            .with("picloud.attempt", item.attempt());
        Some(span)
    }
}

/// A call outside that is about to be made.
pub(super) struct Calling {
    span: Span,
}

impl Calling {
    /// None, when nobody wants to know.
    pub fn begin(tracer: &Tracer, run: &Run, request: &Request) -> Option<Self> {
        let trace = run.trace();
        if !tracer.wants(trace) {
            return None;
        }
        let (method, url) = (request.method.as_str(), &request.url);
        // Neither path nor query: others' addresses of hooks are secrets.
        let mut span = Span::new(trace, SpanId::random(), Kind::Client, method.to_owned(), Utc::now())
            .within(SpanId::of_run(run.call.invocation))
            .with("http.request.method", method.to_owned())
            .with("url.scheme", url.scheme().to_owned())
            .with("server.address", url.host_str().unwrap_or_default().to_owned());
        if let Some(port) = url.port_or_known_default() {
            span = span.with("server.port", port);
        }
        Some(Self { span })
    }

    /// As the other side is to know it.
    pub const fn context(&self) -> Context {
        Context { trace: self.span.trace, span: self.span.id }
    }

    /// Tells what became of it; without an outcome the run's time was up.
    pub fn end(self, tracer: &Tracer, outcome: Option<&Outcome>) {
        let span = self.span.ended(Utc::now());
        tracer.tell(match outcome {
            Some(Ok(answer)) => {
                let span = span.with("http.response.status_code", answer.status);
                if answer.status >= 400 { span.failed(answer.status.to_string()) } else { span }
            }
            Some(Err(_)) => span.failed("no_answer"),
            None => span.failed("timed_out"),
        });
    }
}
