//! Sends spans to a collector: many at once, with patience, and none of it at the expense of whoever tells them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, header};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use picloud_core::{
    causes::with_causes,
    trace::{Span, Tracer},
};
use prost::Message as _;
use reqwest::{Client, Response, Url, redirect::Policy};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::otlp::{self, Resource};
use crate::config::Otlp;

/// The most of one request: well below what collectors take.
const MAX_SPANS: usize = 2_048;

/// How long a span waits for others to go with it.
const GATHER: Duration = Duration::from_secs(1);

/// How long a collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The pauses between tries to send the same spans; after the last they are given up.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// The longest pause that a collector may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// How long the end of the service waits for what has been told.
const LAST: Duration = Duration::from_secs(3);

/// The task that sends.
pub(super) struct Exporter {
    client: Client,
    url: Url,
    resource: Resource,
    queue: mpsc::Receiver<Span>,
    tracer: Tracer,
    exported: Arc<AtomicU64>,
    /// How many were dropped when it was last said that they are.
    complained: Option<u64>,
}

/// Why spans were not taken.
struct Refused {
    why: String,
    /// None: trying again would not help.
    again_after: Option<Duration>,
}

impl Exporter {
    pub(super) fn new(
        otlp: &Otlp,
        resource: Resource,
        queue: mpsc::Receiver<Span>,
        tracer: Tracer,
        exported: Arc<AtomicU64>,
    ) -> reqwest::Result<Self> {
        // Whoever was first has chosen the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = otlp.headers.expose().clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let builder = Client::builder()
            .user_agent(concat!("picloud/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            // What they hold is for the collector that was named.
            .redirect(Policy::none())
            .timeout(TIMEOUT);
        let builder = match otlp.endpoint.host_str() {
            Some("localhost" | "127.0.0.1" | "[::1]") => builder.no_proxy(),
            _ => builder,
        };
        let client = match otlp.endpoint.scheme() {
            // Nothing to verify: a machine without certificates can still talk to its neighbour.
            "http" => builder.tls_certs_only([]).build()?,
            _ => builder.build()?,
        };
        let mut url = otlp.endpoint.clone();
        url.set_path(&format!("{}/v1/traces", otlp.endpoint.path().trim_end_matches('/')));
        Ok(Self { client, url, resource, queue, tracer, exported, complained: None })
    }

    /// Until it is told to stop; then what waits is sent, if that takes no longer than a few seconds.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while let Some(spans) = self.gather(&stop).await {
            tokio::select! {
                () = self.deliver(spans) => {}
                // Given up with the service.
                () = async { stop.cancelled().await; sleep(LAST).await } => return too_late(),
            }
        }
        self.queue.close();
        let rest = async {
            let mut spans = Vec::new();
            while self.queue.recv_many(&mut spans, MAX_SPANS).await > 0 {
                let body = self.body(&mut spans);
                self.send(body).await.map_err(|refused| refused.why)?;
            }
            Ok::<_, String>(())
        };
        match timeout(LAST, rest).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => warn!(why, "The last spans were not taken by the collector"),
            Err(_) => too_late(),
        }
    }

    /// The next spans to be sent together; none when it is time to stop.
    async fn gather(&mut self, stop: &CancellationToken) -> Option<Vec<Span>> {
        let mut spans = Vec::new();
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            taken = self.queue.recv_many(&mut spans, MAX_SPANS) => taken,
        };
        if first == 0 {
            return None;
        }
        let due = Instant::now() + GATHER;
        while spans.len() < MAX_SPANS {
            let room = MAX_SPANS - spans.len();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep_until(due) => break,
                taken = self.queue.recv_many(&mut spans, room) => if taken == 0 { break },
            }
        }
        Some(spans)
    }

    /// Sends spans, with patience; those that are not taken are counted.
    async fn deliver(&mut self, mut spans: Vec<Span>) {
        let count = spans.len() as u64;
        let body = self.body(&mut spans);
        let mut pauses = PAUSES.into_iter();
        loop {
            let Err(refused) = self.send(body.clone()).await else { return self.recovered() };
            match (refused.again_after, pauses.next()) {
                (Some(wish), Some(pause)) => sleep(pause.max(wish)).await,
                _ => {
                    self.complain(&refused.why);
                    return self.tracer.lose(count);
                }
            }
        }
    }

    fn body(&self, spans: &mut Vec<Span>) -> (u64, Bytes) {
        let count = spans.len() as u64;
        (count, otlp::request(&self.resource, spans.drain(..)).encode_to_vec().into())
    }

    async fn send(&mut self, (count, body): (u64, Bytes)) -> Result<(), Refused> {
        let again = |why| Refused { why, again_after: Some(Duration::ZERO) };
        let sent = self.client.post(self.url.clone()).body(body).send().await;
        // Without the URL: it is the configuration's to say, and says it once.
        let answer = sent.map_err(|error| again(with_causes(&error.without_url())))?;
        let status = answer.status();
        if !status.is_success() {
            let why = format!("it answered {status}");
            let is_busy = matches!(status.as_u16(), 429 | 502 | 503 | 504);
            return Err(Refused { why, again_after: is_busy.then(|| wished_pause(&answer)) });
        }
        let body = answer.bytes().await.map_err(|error| again(with_causes(&error.without_url())))?;
        let partly = ExportTraceServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success);
        let rejected = partly.map_or(0, |partly| u64::try_from(partly.rejected_spans).unwrap_or(0)).min(count);
        self.exported.fetch_add(count - rejected, Ordering::Relaxed);
        self.tracer.lose(rejected);
        Ok(())
    }

    /// Says once that spans are dropped, and again only when they were not in between.
    fn complain(&mut self, why: &str) {
        if self.complained.is_none() {
            warn!(
                why,
                collector = %self.url,
                "Spans are dropped: the collector does not take them. Is it there, and does it take OTLP over HTTP (usually \
                 port 4318)? `picloud_trace_spans_dropped_total` in /metrics counts them"
            );
            self.complained = Some(self.tracer.dropped());
        }
    }

    fn recovered(&mut self) {
        if let Some(since) = self.complained.take() {
            info!(spans.dropped = self.tracer.dropped().saturating_sub(since), "The collector takes spans again");
        }
    }
}

fn too_late() {
    warn!("The last spans were not taken by the collector in time");
}

/// For how long a busy collector wants to be left alone.
fn wished_pause(answer: &Response) -> Duration {
    let said = answer.headers().get(header::RETRY_AFTER).and_then(|said| said.to_str().ok()?.parse().ok());
    said.map_or(Duration::ZERO, Duration::from_secs).min(MAX_PAUSE)
}
