//! Reads a request's body, no more of it than allowed and no longer than is decent.

use std::{future::poll_fn, pin::Pin, time::Duration};

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use tokio::time::{Instant, timeout_at};

use super::body_memory::{BodyMemory, Room};
use crate::problem::{Kind, Problem};

/// So much buys a slow client another second.
const BYTES_PER_SECOND: usize = 64 * 1024;

/// The whole body, at most `limit` bytes.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    patience: Duration,
    memory: &BodyMemory,
) -> Result<Bytes, Problem> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let begun = Instant::now();
    // Most bodies come in one piece, which is passed on as it is.
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    let (mut received, mut room_for) = (0, 0);
    let mut room = Room::default();
    loop {
        let deadline = begun + patience + Duration::from_secs((received / BYTES_PER_SECOND) as u64);
        let frame = timeout_at(deadline, poll_fn(|context| Pin::new(&mut body).poll_frame(context)));
        let data = match frame.await.map_err(|_| too_slow(received))? {
            None => break,
            Some(Err(error)) => return Err(broken(&error)),
            // Trailers say nothing a script could read.
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        let is_first = received == 0;
        received += data.len();
        if received > limit {
            return Err(too_large(limit));
        }
        if received > room_for {
            // Memory that was asked for may be resident before it is written to: what counts is how much that is.
            room_for = announced.map_or(2 * room_for, |length| length as usize).clamp(received, limit);
            memory.enlarge(&mut room, room_for)?;
        }
        if is_first {
            whole = data;
            continue;
        }
        joined.reserve(room_for - joined.len());
        joined.extend_from_slice(&std::mem::take(&mut whole));
        joined.extend_from_slice(&data);
    }
    Ok(room.hold(if joined.is_empty() { whole } else { joined.freeze() }))
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the body is larger than this script's limit `max_request_bytes` of {limit} bytes");
    Problem::new(Kind::BodyTooLarge, detail).limit("max_request_bytes").with("allowed", limit)
}

fn too_slow(received: usize) -> Problem {
    let detail = format!("the body did not come in time: {received} bytes did, and the script was not run; try again");
    Problem::new(Kind::RequestTimeout, detail)
}

fn broken(error: &axum::Error) -> Problem {
    tracing::debug!(%error, "A request's body broke off");
    Problem::new(Kind::BadRequest, "the body broke off or is not encoded as its headers say; the script was not run")
}
