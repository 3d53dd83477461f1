//! What happens, as it happens, over server-sent events: history from a cursor on, then live, without gap or duplicate.
//!
//! What is told of an event is a [`Telling`]'s to say; this module knows where the reader is and whether it may read.
//! The place in the log is all that a stream remembers. A reader that is slow makes its own stream wait, which then reads
//! what it missed from the log; nobody else notices.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use picloud_core::{
    capability::Capability,
    id::AppId,
    log::{Follow, Position, Recorded, read::ReadError},
};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tracing::warn;

use super::{
    AdminPlane,
    access::Caller,
    events::Scope,
    openapi::{Events, Told},
    write::database,
};
use crate::{
    problem::Problem,
    realtime::{
        self,
        frame::{self, Control, Reason},
    },
};

/// How often a quiet stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Frames on their way to a reader; more wait in the log.
const BUFFER: usize = 16;

/// What a stream tells.
pub(super) trait Telling: Send + Sync + 'static {
    /// What it tells of.
    type Data: Serialize + Send;

    /// The data of an event's frames, in order; nothing where it is not wanted.
    fn tell(&mut self, recorded: &Recorded) -> impl Future<Output = Vec<Self::Data>> + Send;
}

/// Who reads, and from where.
pub(super) struct Listener<'a> {
    pub(super) caller: Caller,
    /// What the caller has to keep holding, and on which app.
    pub(super) needs: (Capability, Option<AppId>),
    pub(super) headers: &'a HeaderMap,
    pub(super) after: Option<&'a str>,
}

/// Opens the stream from where the reader stood.
pub(super) async fn open<T: Telling>(
    plane: Arc<AdminPlane>,
    listener: Listener<'_>,
    scope: Scope,
    telling: T,
) -> Result<Told<Events<T::Data>>, Problem> {
    let Listener { caller, needs, headers, after } = listener;
    // A reconnecting EventSource repeats its first URL: where it got to is in the header.
    let given = headers.get("last-event-id").and_then(|value| value.to_str().ok()).filter(|id| !id.is_empty());
    let (from, is_reset) = match given.or(after) {
        None => (plane.head(), false),
        Some(cursor) => match plane.resume(&scope, cursor).await? {
            Some(position) => (position, false),
            None => (plane.head(), true),
        },
    };
    let (sender, receiver) = mpsc::channel(BUFFER);
    let stream = Stream { plane, caller, needs, telling, scope, sender, told: from };
    tokio::spawn(stream.run(from, is_reset));
    let frames = ReceiverStream::new(receiver).map(Ok::<_, Infallible>);
    Ok(realtime::events(Body::from_stream(frames)).into())
}

impl AdminPlane {
    /// The end of the log as this node knows it. Its tail may still have to be told what the last commit has answered.
    pub(super) fn head(&self) -> Position {
        self.committer.head().max(self.tail.position())
    }

    /// Where a cursor stands; none when it is not one of this log as it is now.
    async fn resume(&self, scope: &Scope, cursor: &str) -> Result<Option<Position>, Problem> {
        let Ok(position) = self.open(&scope.key, "after", cursor) else { return Ok(None) };
        let head = self.reader.head().await.map_err(|error| database(&error))?;
        Ok((position <= head).then_some(position))
    }
}

/// One reader's stream.
struct Stream<T> {
    plane: Arc<AdminPlane>,
    caller: Caller,
    needs: (Capability, Option<AppId>),
    telling: T,
    scope: Scope,
    sender: mpsc::Sender<Bytes>,
    /// The place of the last id that was sent.
    told: Position,
}

/// The reader has gone.
struct Gone;

type Next = (Follow, Result<Option<Vec<Recorded>>, ReadError>);

impl<T: Telling> Stream<T> {
    /// Ends when the reader goes, may not read any more, or the node stops.
    async fn run(mut self, from: Position, is_reset: bool) {
        let head = self.plane.head().max(from);
        // Whether the reader is still there is the only thing that can go wrong, and then there is nobody to tell.
        let _ = self.tell(from, is_reset, head).await;
    }

    async fn tell(&mut self, from: Position, is_reset: bool, head: Position) -> Result<(), Gone> {
        self.send(frame::retry()).await?;
        if is_reset {
            self.control(Control::Reset, from).await?;
        }
        let mut is_history = true;
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if from >= head {
            is_history = false;
            self.control(Control::UpToDate, from).await?;
        }
        let mut cursor = from;
        // Held across the loop: dropping it half-way could lose what it had taken.
        let mut next = Box::pin(advance(self.plane.tail.follow(from)));
        loop {
            tokio::select! {
                biased;
                () = self.plane.stop.cancelled() => return self.control(Control::Closed(Reason::ShuttingDown), cursor).await,
                () = self.sender.closed() => return Err(Gone),
                _ = heartbeat.tick() => {
                    if !self.may() {
                        return self.control(Control::Closed(Reason::Unauthorized), cursor).await;
                    }
                    if cursor > self.told && !is_history {
                        self.control(Control::UpToDate, cursor).await?;
                    } else {
                        self.send(frame::HEARTBEAT).await?;
                    }
                }
                (follow, news) = &mut next => {
                    cursor = follow.cursor();
                    next.set(advance(follow));
                    match news {
                        Ok(Some(events)) if self.may() => self.events(&events).await?,
                        Ok(Some(_)) => return self.control(Control::Closed(Reason::Unauthorized), self.told).await,
                        Ok(None) => return self.control(Control::Closed(Reason::ShuttingDown), cursor).await,
                        Err(error) => {
                            warn!(%error, "Failed to read the log for a stream; trying again in a second");
                            sleep(Duration::from_secs(1)).await;
                        }
                    }
                    if is_history && cursor >= head {
                        is_history = false;
                        self.control(Control::UpToDate, cursor).await?;
                    }
                }
            }
        }
    }

    /// Whether the reader may still read: its key may have been revoked since.
    fn may(&self) -> bool {
        self.caller.still_may(&self.plane, self.needs.0, self.needs.1)
    }

    async fn events(&mut self, events: &[Recorded]) -> Result<(), Gone> {
        for recorded in events {
            let told = self.telling.tell(recorded).await;
            let told: Vec<String> =
                told.iter().map(|data| serde_json::to_string(data).expect("frames are plain data")).collect();
            let Some((last, first)) = told.split_last() else { continue };
            // Only the last frame of an event says where to go on: a break before it tells the event again, whole.
            for data in first {
                self.send(frame::frame(None, "message", data)).await?;
            }
            let id = self.scope.seal(recorded.position);
            self.send(frame::frame(Some(&id), "message", last)).await?;
            self.told = recorded.position;
        }
        Ok(())
    }

    async fn control(&mut self, control: Control, at: Position) -> Result<(), Gone> {
        self.told = at;
        self.send(frame::control(control, Some(&self.scope.seal(at)))).await
    }

    async fn send(&self, frame: Bytes) -> Result<(), Gone> {
        self.sender.send(frame).await.map_err(|_| Gone)
    }
}

async fn advance(mut follow: Follow) -> Next {
    let news = follow.next().await;
    (follow, news)
}
