//! Spans as OTLP writes them.

use chrono::{DateTime, Utc};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    trace::v1::{ResourceSpans, ScopeSpans, Span as Written, Status, span, status},
};
use picloud_core::trace::{Kind, Span, Value};

pub(super) use opentelemetry_proto::tonic::resource::v1::Resource;

/// W3C: sampled, and of a trace whose lower bits are random.
const FLAGS: u32 = 0x03;

/// Whatever sends the spans.
pub(super) fn resource(attributes: Vec<(String, String)>) -> Resource {
    let attributes = attributes.into_iter().map(|(name, value)| pair(name, any_value::Value::StringValue(value)));
    Resource { attributes: attributes.collect(), ..Resource::default() }
}

/// One request for all of them.
pub(super) fn request(resource: &Resource, spans: impl Iterator<Item = Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: "picloud".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans = ScopeSpans { scope: Some(scope), spans: spans.map(written).collect(), ..ScopeSpans::default() };
    let spans =
        ResourceSpans { resource: Some(resource.clone()), scope_spans: vec![scope_spans], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![spans] }
}

fn written(span: Span) -> Written {
    let link = |link: picloud_core::trace::Context| span::Link {
        trace_id: link.trace.bytes().into(),
        span_id: link.span.bytes().into(),
        ..span::Link::default()
    };
    let status = span.error.map(|error| Status { message: error.into_owned(), code: status::StatusCode::Error.into() });
    Written {
        trace_id: span.trace.bytes().into(),
        span_id: span.id.bytes().into(),
        parent_span_id: span.parent.map_or_else(Vec::new, |parent| parent.bytes().into()),
        flags: FLAGS,
        name: span.name,
        kind: kind(span.kind).into(),
        start_time_unix_nano: nanos(span.began_at),
        end_time_unix_nano: nanos(span.ended_at),
        attributes: span.attributes.into_iter().map(|(name, said)| pair(name.to_owned(), value(said))).collect(),
        links: span.link.map(link).into_iter().collect(),
        status,
        ..Written::default()
    }
}

const fn kind(kind: Kind) -> span::SpanKind {
    match kind {
        Kind::Internal => span::SpanKind::Internal,
        Kind::Server => span::SpanKind::Server,
        Kind::Client => span::SpanKind::Client,
        Kind::Producer => span::SpanKind::Producer,
        Kind::Consumer => span::SpanKind::Consumer,
    }
}

fn value(value: Value) -> any_value::Value {
    match value {
        Value::Text(text) => any_value::Value::StringValue(text.into_owned()),
        Value::Shared(text) => any_value::Value::StringValue(text.as_ref().to_owned()),
        Value::Integer(number) => any_value::Value::IntValue(number),
    }
}

fn pair(key: String, value: any_value::Value) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// In whole microseconds, as the log's own times: of two that were taken one after the other none is rounded past the other.
fn nanos(at: DateTime<Utc>) -> u64 {
    u64::try_from(at.timestamp_micros()).unwrap_or(0) * 1_000
}
