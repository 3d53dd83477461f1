//! The file of a backup, apart from any database: what it says of itself, then rows in pieces.
//!
//! A line that says what it is, `picloud backup 1`, then frames. A frame is
//!
//! - a letter: `M` what the backup says of itself ([`Manifest`]), `T` a table begins, `R` rows of it, `E` the end;
//!   `F` is set aside for files that scripts store, of which this version has none;
//! - the length of what it holds, four bytes, the highest first;
//! - what it holds, compressed with zstd: JSON, or for rows a piece of what PostgreSQL's COPY writes as text;
//! - the SHA-256 of the whole file from its first byte up to here.
//!
//! So a changed byte shows in the frame that it lies in, before anything in there is used; what was cut off, exchanged or put in
//! between shows, too. Nothing proves who wrote a file: that is for the seals of the log inside it.
//!
//! [`Writer`] and [`Reader`] hold one frame at a time, whatever the size of the whole.

mod error;
mod frame;
mod manifest;
mod reader;
mod writer;

pub use error::FileError;
pub use manifest::{Manifest, NeededKey, SealSeen, Segment, Table};
pub use reader::{Part, Reader};
pub use writer::Writer;

/// The version of the format that this writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// What every backup begins with; the version and the end of the line follow.
const BEGIN: &str = "picloud backup ";

#[cfg(test)]
mod tests;
