//! Where spans are told: a queue with an end to it. Who tells never waits.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use super::{Span, TraceId};

/// Takes what is told, or nothing at all. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Told>>);

#[derive(Debug)]
struct Told {
    queue: mpsc::Sender<Span>,
    /// Which part of all traces is told, from 0 to 1.
    ratio: f64,
    dropped: AtomicU64,
}

impl Tracer {
    /// Nobody wants to know.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Tells this part of all traces (0 to 1) to whoever takes them out of the queue, in which so many wait at most.
    #[must_use]
    pub fn new(capacity: usize, ratio: f64) -> (Self, mpsc::Receiver<Span>) {
        let (queue, taken) = mpsc::channel(capacity);
        (Self(Some(Arc::new(Told { queue, ratio, dropped: AtomicU64::new(0) }))), taken)
    }

    /// Whether anything of a trace is told: the same on every node that tells the same part. To be asked before anything is made for it.
    #[must_use]
    pub fn wants(&self, trace: TraceId) -> bool {
        self.0.as_ref().is_some_and(|told| told.ratio >= 1.0 || trace.place() < told.ratio)
    }

    /// Whether anything is told at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Tells a span of a trace that is wanted. When the queue is full, it is counted and forgotten.
    pub fn tell(&self, span: Span) {
        if let Some(told) = &self.0
            && told.queue.try_send(span).is_err()
        {
            self.lose(1);
        }
    }

    /// Notes that so many spans were not told.
    pub fn lose(&self, spans: u64) {
        if let Some(told) = &self.0 {
            told.dropped.fetch_add(spans, Ordering::Relaxed);
        }
    }

    /// How many spans were not told, since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |told| told.dropped.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::{
        id::RequestId,
        trace::{Kind, SpanId},
    };

    fn span() -> Span {
        let trace = TraceId::of_request(RequestId::generate());
        Span::new(trace, SpanId::random(), Kind::Internal, "x".to_owned(), DateTime::UNIX_EPOCH)
    }

    #[test]
    fn what_does_not_fit_is_counted_and_nobody_waits() {
        let (tracer, mut queue) = Tracer::new(2, 1.0);
        for _ in 0..5 {
            tracer.tell(span());
        }
        assert_eq!(tracer.dropped(), 3);
        assert!(queue.try_recv().is_ok() && queue.try_recv().is_ok() && queue.try_recv().is_err());
        drop(queue);
        tracer.tell(span());
        assert_eq!(tracer.dropped(), 4, "whoever took them is gone");
    }

    #[test]
    fn a_part_of_all_traces_is_told_the_same_on_every_node() {
        let traces: Vec<_> = (0..1_000).map(|_| TraceId::of_request(RequestId::generate())).collect();
        let [here, there] = [(); 2].map(|()| Tracer::new(1, 0.5).0);
        let wanted = traces.iter().filter(|trace| here.wants(**trace)).count();
        assert!((400..600).contains(&wanted), "{wanted}");
        assert!(traces.iter().all(|trace| here.wants(*trace) == there.wants(*trace)));
        assert!(traces.iter().all(|trace| !Tracer::off().wants(*trace)));
        assert!(traces.iter().all(|trace| !Tracer::new(1, 0.0).0.wants(*trace)));
    }
}
