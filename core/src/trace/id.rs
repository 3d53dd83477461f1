//! Names of traces and spans, as W3C Trace Context and OpenTelemetry have them: 16 and 8 bytes.

use std::fmt;

use crate::id::{DeadLetterId, InvocationId, OutboxId, RequestId};

/// Names a trace: the ULID of what began its chain, a request, a run or an item. The lower 80 bits are random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub(super) u128);

/// Names a span within its trace. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub(super) u64);

impl TraceId {
    /// Of all that belongs to a chain.
    #[must_use]
    pub const fn of_chain(root: InvocationId) -> Self {
        Self(root.ulid().0)
    }

    /// Of a request; the run or the item that it begins bears the same ULID.
    #[must_use]
    pub const fn of_request(request: RequestId) -> Self {
        Self(request.ulid().0)
    }

    /// As it is sent.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Where it lies among all traces, from 0 up to but without 1. Of the random bits only, the same on every node, and by those
    /// that other tools look at, too.
    #[must_use]
    pub fn place(self) -> f64 {
        const BITS: u32 = 56;
        let random = u64::try_from(self.0 & ((1 << BITS) - 1)).expect("56 bits fit into 64");
        // More than a double holds: the last few bits round, below 1 all the same.
        (random >> 4) as f64 / (1_u64 << (BITS - 4)) as f64
    }
}

impl SpanId {
    /// Of what nobody else has to know.
    #[must_use]
    pub fn random() -> Self {
        Self::new(rand::random())
    }

    /// Of answering a request.
    #[must_use]
    pub const fn of_request(request: RequestId) -> Self {
        Self::new(request.ulid().0 as u64)
    }

    /// Of a run. Another one than of the request or the item whose ULID it bears.
    #[must_use]
    pub const fn of_run(run: InvocationId) -> Self {
        Self::new(run.ulid().0 as u64 ^ 0x5555_5555_5555_5555)
    }

    /// Of an item's becoming owed, which its attempts follow from.
    #[must_use]
    pub const fn of_item(item: OutboxId) -> Self {
        Self::new(item.ulid().0 as u64 ^ 0xaaaa_aaaa_aaaa_aaaa)
    }

    /// Of an item's being given up, which its replay follows from.
    #[must_use]
    pub const fn of_letter(letter: DeadLetterId) -> Self {
        Self::new(letter.ulid().0 as u64)
    }

    const fn new(bits: u64) -> Self {
        Self(if bits == 0 { 1 } else { bits })
    }

    /// As it is sent.
    #[must_use]
    pub const fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    #[test]
    fn what_bears_one_ulid_is_one_trace_of_different_spans() {
        let ulid = Ulid::from_parts(1_700_000_000_000, 0x1234_5678_9abc_def0_1234);
        let (request, run, item) = (RequestId::from(ulid), InvocationId::from(ulid), OutboxId::from(ulid));
        assert_eq!(TraceId::of_request(request), TraceId::of_chain(run));
        assert_eq!(TraceId::of_request(request).to_string(), format!("{:032x}", ulid.0));
        let spans = [SpanId::of_request(request), SpanId::of_run(run), SpanId::of_item(item)];
        assert!(spans[0] != spans[1] && spans[1] != spans[2] && spans[0] != spans[2], "{spans:?}");
    }

    #[test]
    fn places_are_spread_evenly_whatever_the_time() {
        let low = |bits: u128| TraceId(u128::MAX << 80 | bits).place();
        assert_eq!(low(0), 0.0);
        assert_eq!(low(1 << 55), 0.5);
        assert!(low((1 << 56) - 1) < 1.0);
        let below = (0..1_000).filter(|_| TraceId::of_request(RequestId::generate()).place() < 0.25).count();
        assert!((150..350).contains(&below), "{below} of 1000");
    }
}
