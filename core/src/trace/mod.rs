//! Traces: the way of a request through the platform, told to whoever collects such.
//!
//! Nothing is carried along or stored for it: a trace is named after what began its chain, which every event of the chain
//! says ([`TraceId::of_chain`]), and a [`SpanId`] after what the span is of, wherever another node has to know it. What is told goes
//! through a [`Tracer`]; who sends it on is the binary's business.

mod context;
mod id;
mod span;
mod tracer;

pub use context::{Context, HEADER};
pub use id::{SpanId, TraceId};
pub use span::{Kind, Span, Value};
pub use tracer::Tracer;
