//! One subscriber's stream: what it missed from the log, then live, with a word now and then that it lives.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use chrono::Utc;
use futures::{Stream, future::BoxFuture};
use picloud_core::log::{Position, read::ReadError};
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::warn;

use super::{
    asked::Asked,
    channel::{Channel, Place, Taken},
    frame::{self, Control, Reason},
    hub::{Hub, Seat, Step},
};

/// How often a quiet stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The body of an answer.
pub(super) struct Subscription {
    hub: Arc<Hub>,
    channel: Arc<Channel>,
    asked: Arc<Asked>,
    _seat: Seat,
    /// What comes first.
    opening: Option<Bytes>,
    phase: Phase,
    /// Everything up to here was sent.
    seen: Position,
    /// The place of the last id that was sent.
    told: Position,
    /// Whether it was said that all that there was has been told.
    is_up_to_date: bool,
    timer: Pin<Box<Sleep>>,
    /// When the token's time is up.
    expires_at: Option<Instant>,
}

enum Phase {
    /// Finding out how to go on.
    Advancing(BoxFuture<'static, Result<Step, ReadError>>),
    /// Told from the ring.
    Live(Place),
    Over,
}

impl Subscription {
    /// A stream from a position on. `is_reset` says that it is not the one that was asked for.
    pub(super) fn new(
        hub: Arc<Hub>,
        channel: Arc<Channel>,
        asked: Asked,
        seat: Seat,
        from: Position,
        is_reset: bool,
    ) -> Self {
        let asked = Arc::new(asked);
        let mut opening = frame::retry().to_vec();
        if is_reset {
            opening.extend_from_slice(&frame::control(Control::Reset, Some(&channel.seal(from))));
        }
        let expires_at = asked.grant().map(|grant| {
            let left = (grant.expires_at - Utc::now()).to_std().unwrap_or_default();
            Instant::now() + left
        });
        let advance = Arc::clone(&hub).advance(Arc::clone(&channel), Arc::clone(&asked), from);
        Self {
            phase: Phase::Advancing(Box::pin(advance)),
            timer: Box::pin(sleep_until(next_look(expires_at))),
            hub,
            channel,
            asked,
            _seat: seat,
            opening: Some(opening.into()),
            seen: from,
            told: from,
            is_up_to_date: false,
            expires_at,
        }
    }

    /// The last frame: why it ends, and where to go on.
    fn end(&mut self, control: Control) -> Bytes {
        self.phase = Phase::Over;
        frame::control(control, Some(&self.channel.seal(self.seen)))
    }

    fn up_to_date(&mut self, position: Position) -> Bytes {
        self.is_up_to_date = true;
        (self.seen, self.told) = (position, position);
        frame::control(Control::UpToDate, Some(&self.channel.seal(position)))
    }

    fn poll_advance(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Phase::Advancing(step) = &mut self.phase else { return Poll::Ready(None) };
        let step = std::task::ready!(step.as_mut().poll(context));
        Poll::Ready(match step {
            Ok(Step::Joined(place)) => {
                self.phase = Phase::Live(place);
                None
            }
            Ok(Step::Read(texts, reached)) => {
                let (hub, channel, asked) = (&self.hub, &self.channel, &self.asked);
                let advance = Arc::clone(hub).advance(Arc::clone(channel), Arc::clone(asked), reached);
                self.phase = Phase::Advancing(Box::pin(advance));
                self.seen = reached;
                texts
            }
            // Who comes back is told so, and begins at the end.
            Ok(Step::Gone) => Some(self.end(Control::Lagged)),
            Err(error) => {
                warn!(%error, "Failed to read the log for a subscriber");
                Some(self.end(Control::Closed(Reason::Unavailable)))
            }
        })
    }

    fn poll_live(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        let Phase::Live(place) = &self.phase else { return Poll::Pending };
        // Asked before: what is told by then is in the ring.
        let told = self.hub.told();
        match place.take(context.waker()) {
            Taken::Frames(texts, last) => {
                if let Some(last) = last {
                    (self.seen, self.told) = (last, last);
                }
                Poll::Ready(texts)
            }
            Taken::Lagged => Poll::Ready(self.end(Control::Lagged)),
            Taken::Ended(reason) => Poll::Ready(self.end(Control::Closed(reason))),
            Taken::Nothing => {
                self.seen = self.seen.max(told);
                if self.is_up_to_date { Poll::Pending } else { Poll::Ready(self.up_to_date(self.seen)) }
            }
        }
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        std::task::ready!(self.timer.as_mut().poll(context));
        // Asked again after what is sent now, and wakes this stream then.
        self.timer.as_mut().reset(next_look(self.expires_at));
        let is_moved = self.is_up_to_date && self.seen > self.told;
        Poll::Ready(if is_moved { self.up_to_date(self.seen) } else { frame::HEARTBEAT })
    }
}

/// The next heartbeat, or the token's end. Not for everybody at once: many may have come in the same moment.
fn next_look(expires_at: Option<Instant>) -> Instant {
    let heartbeat = Instant::now() + HEARTBEAT.mul_f64(rand::random_range(0.8..1.0));
    expires_at.map_or(heartbeat, |expires_at| expires_at.min(heartbeat))
}

impl Stream for Subscription {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(opening) = this.opening.take() {
            return Poll::Ready(Some(Ok(opening)));
        }
        if this.expires_at.is_some_and(|expires_at| expires_at <= Instant::now()) && !matches!(this.phase, Phase::Over)
        {
            return Poll::Ready(Some(Ok(this.end(Control::Closed(Reason::TokenExpired)))));
        }
        loop {
            let polled = match &this.phase {
                Phase::Over => return Poll::Ready(None),
                Phase::Advancing(_) => match this.poll_advance(context) {
                    Poll::Ready(None) => continue,
                    Poll::Ready(Some(texts)) => Poll::Ready(texts),
                    Poll::Pending => Poll::Pending,
                },
                Phase::Live(_) => this.poll_live(context),
            };
            let polled = if polled.is_pending() { this.poll_timer(context) } else { polled };
            return polled.map(|texts| Some(Ok(texts)));
        }
    }
}
