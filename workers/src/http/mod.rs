//! Calls of scripts to the world outside, over HTTP: to public addresses only, and bounded in time and size.
//!
//! - [`Client`] is the way in: one a node. It looks at every address before it connects, at every redirect again.
//! - [`OperatorClient`] calls what operators have named themselves, in their own network too.
//! - [`Exception`] names what is not public and may be called all the same; nothing is, unless an operator says so.
//! - [`Resolver`] is where addresses of names come from, so that tests can play a hostile one.
//!
//! Which run calls, how often, and what becomes of its answers is others' business.

mod address;
mod client;
mod failure;
mod guard;
mod message;
mod operators;
mod redirect;
mod resolve;
mod tls;

pub use address::is_public;
pub use client::{Client, ExceptionsOf, Settings};
pub use failure::Failure;
pub use message::{Answer, HOPS, Request, TRACEPARENT};
pub use operators::{OperatorClient, Reply};
pub use picloud_core::http_exception::Exception;
pub use resolve::{Resolver, SystemResolver};
