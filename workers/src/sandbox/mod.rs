//! Runs one compiled script on the calling thread, within its limits.
//!
//! [`Sandbox::run`] is all of it: what goes in is an [`Input`] and the [`Data`] that the run may read and write, what
//! comes out is a [`Report`]. A run ends within 100 ms of passing a limit and leaves nothing allocated. Which thread
//! that is, what waits for what, and what becomes of the data are others' business.

mod body;
mod cells;
mod compiled;
mod context;
mod current;
mod data;
mod engine;
mod failure;
mod input;
pub mod memory;
mod meter;
mod natives;
mod nested;
mod pause;
mod registry;
mod response;
mod rights;
mod run;
mod sdk;
mod validate;
mod value;

pub use body::{BadBody, decode_body};
pub use context::SDK_VERSION;
pub use data::{Data, DataError, KvPage, Later, LetterPage, LetterQuery};
pub use input::{Ended, Input, PrincipalInfo, Report};
pub use meter::STACK_BYTES;
pub use registry::FunctionDoc;
pub use run::Sandbox;
pub use value::{ReadError, Room, WriteError, read_json, write_json, write_json_exactly, write_json_pretty};
