//! The least that a server can do for the same streams: axum, a channel a topic, and each frame written once. Nothing is kept,
//! nobody can come back to what they missed, and who is slow loses messages.

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::header,
    response::IntoResponse,
    routing::{get, post},
};
use bytes::Bytes;
use clap::Args;
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{net::TcpListener, sync::broadcast};
use tokio_stream::wrappers::BroadcastStream;

#[derive(Args)]
pub struct Arguments {
    #[arg(long)]
    port: u16,
}

type Topics = Arc<Mutex<HashMap<String, broadcast::Sender<Bytes>>>>;

/// What a stream begins with, in both.
const UP_TO_DATE: &[u8] = b"event: up-to-date\ndata: {}\n\n";

/// As long as a cursor.
const ID: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/readyz", get(|| async { "ok" }))
        .route("/publish/{topic}", post(publish))
        .route("/publish-to-all", post(publish_to_all))
        .route("/realtime/topics/{topic}", get(listen))
        .with_state(Topics::default());
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
    // Measured services answer at once, and so do the streams of PiCloud.
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| _ = stream.set_nodelay(true));
    Ok(axum::serve(listener, router).await?)
}

fn channel(topics: &Topics, topic: String) -> broadcast::Sender<Bytes> {
    topics.lock().entry(topic).or_insert_with(|| broadcast::channel(4_096).0).clone()
}

async fn publish(State(topics): State<Topics>, Path(topic): Path<String>, message: String) {
    send(&topics, topic, &message);
}

#[derive(Deserialize)]
struct ToAll {
    topics: Vec<String>,
    message: Box<RawValue>,
}

async fn publish_to_all(State(topics): State<Topics>, Json(ToAll { topics: to, message }): Json<ToAll>) {
    for topic in to {
        send(&topics, topic, message.get());
    }
}

fn send(topics: &Topics, topic: String, message: &str) {
    let at = "2026-01-01T00:00:00.000000Z";
    let frame = format!(
        "id: {ID}\nevent: message\ndata: {{\"topic\":\"{topic}\",\"message\":{message},\"published_at\":\"{at}\"}}\n\n"
    );
    let _ = channel(topics, topic).send(frame.into());
}

async fn listen(State(topics): State<Topics>, Path(topic): Path<String>) -> impl IntoResponse {
    let live = BroadcastStream::new(channel(&topics, topic).subscribe());
    let live = live.filter_map(|frame| async { frame.ok().map(Ok::<_, Infallible>) });
    let frames = stream::iter([Ok(Bytes::from_static(UP_TO_DATE))]).chain(live);
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(frames))
}
