//! A collector of traces: a server that takes what OTLP sends over HTTP, and remembers it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus},
};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::{net::TcpListener, task::AbortHandle};

use crate::eventually::eventually;

/// What it was sent, read.
#[derive(Clone, Debug)]
pub struct Told {
    pub trace: String,
    pub id: String,
    /// Empty: none.
    pub parent: String,
    pub name: String,
    pub kind: SpanKind,
    pub from: u64,
    pub to: u64,
    /// Numbers as texts.
    pub attributes: BTreeMap<String, String>,
    pub is_error: bool,
    /// The traces and spans it is linked with.
    pub links: Vec<(String, String)>,
    /// Of who sent it.
    pub resource: BTreeMap<String, String>,
}

/// A running one.
pub struct Collector {
    pub url: String,
    kept: Arc<Kept>,
    task: AbortHandle,
}

struct Kept {
    spans: Mutex<Vec<Told>>,
    headers: Mutex<Vec<HeaderMap>>,
    bytes: Mutex<Vec<u8>>,
    /// What it answers; 0: nothing at all.
    status: AtomicU16,
    asked: AtomicUsize,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::new(Kept {
            spans: Mutex::default(),
            headers: Mutex::default(),
            bytes: Mutex::default(),
            status: AtomicU16::new(200),
            asked: AtomicUsize::new(0),
        });
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&kept));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }).abort_handle();
        Self { url, kept, task }
    }

    /// Answers so from now on; 0 is not to answer.
    pub fn answers(&self, status: u16) {
        self.kept.status.store(status, Ordering::SeqCst);
    }

    /// How often it was asked to take something.
    pub fn asked(&self) -> usize {
        self.kept.asked.load(Ordering::SeqCst)
    }

    pub fn spans(&self) -> Vec<Told> {
        self.kept.spans.lock().clone()
    }

    /// Everything it took, as it came.
    pub fn bytes(&self) -> Vec<u8> {
        self.kept.bytes.lock().clone()
    }

    pub fn headers(&self) -> Vec<HeaderMap> {
        self.kept.headers.lock().clone()
    }

    /// The spans of a trace, once all of these are there.
    pub async fn trace(&self, trace: &str, names: &[&str]) -> Vec<Told> {
        eventually(&format!("trace {trace} has {names:?}; there is {:#?}", self.names()), || async {
            let spans: Vec<_> = self.spans().into_iter().filter(|span| span.trace == trace).collect();
            names.iter().all(|name| spans.iter().any(|span| span.name == *name)).then_some(spans)
        })
        .await
    }

    fn names(&self) -> Vec<(String, String)> {
        self.spans().into_iter().map(|span| (span.trace, span.name)).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    kept.asked.fetch_add(1, Ordering::SeqCst);
    let status = kept.status.load(Ordering::SeqCst);
    if status == 0 {
        std::future::pending::<()>().await;
    }
    if status == 200 {
        let request = ExportTraceServiceRequest::decode(body.clone()).expect("what OTLP says");
        for of_resource in request.resource_spans {
            let resource = attributes(of_resource.resource.unwrap_or_default().attributes);
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            kept.spans.lock().extend(spans.map(|span| told(span, &resource)));
        }
        kept.bytes.lock().extend_from_slice(&body);
        kept.headers.lock().push(headers);
    }
    StatusCode::from_u16(status).unwrap()
}

fn told(span: Span, resource: &BTreeMap<String, String>) -> Told {
    assert!(span.trace_id.len() == 16 && span.span_id.len() == 8, "{span:?}");
    Told {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind: span.kind(),
        from: span.start_time_unix_nano,
        to: span.end_time_unix_nano,
        is_error: span.status.as_ref().is_some_and(|status| status.code() == SpanStatus::Error),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        name: span.name,
        attributes: attributes(span.attributes),
        resource: resource.clone(),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("we send texts and numbers, not {other:?}"),
    };
    pairs.into_iter().map(|pair| (pair.key, text(pair.value.and_then(|value| value.value)))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
