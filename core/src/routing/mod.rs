//! Which route answers a request: patterns, their precedence, and a table that finds the best one quickly.
//!
//! Pure, so that the data plane, the admin API's preview and the check for conflicts all decide alike. A [`Table`] holds
//! the routes of one app; which app a host name belongs to is decided before, with the same [`HostPattern`]s.

mod host;
mod invalid;
mod method;
mod path;
mod pattern;
mod reserved;
mod table;
mod trie;

#[cfg(test)]
mod tests;

pub use host::{HostMap, HostPattern, normalise_host};
pub use invalid::InvalidPattern;
pub use method::{Allow, MethodPattern};
pub use path::{PathKind, PathPattern, PathRank, Segment, decode};
pub use pattern::{Pattern, conflict};
pub use reserved::{RESERVED, is_reserved};
pub use table::{Find, Found, Table};
