//! Copies a whole instance out of its database and into an empty one. The file in between is [`crate::backup`]'s.
//!
//! - [`take()`] reads everything as of one moment, in one snapshot, while the service runs: it locks nothing that anybody who
//!   appends waits for.
//! - [`Restore`] writes all of it in one transaction, or nothing. It begins a new history, and leaves the outbox paused.
//!
//! `docs/decisions/0016` says what is left out and why.

mod found;
mod restore;
mod tables;
mod take;

pub use found::found;
pub use restore::{Restore, RestoreError, Restored, Step, can_restore};
pub use tables::{LIVE_KEPT, LIVE_LEFT_OUT, state_tables};
pub use take::{BackupError, Progress, take};

/// Of transactions that read or write everything: as text that means the same on every server, for as long as it takes.
const COPYING: [(&str, &str); 10] = [
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("jit", "off"),
    // A service's connections look things up; this reads all of it.
    ("enable_seqscan", "on"),
];

async fn prepare(connection: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
    for (name, value) in COPYING {
        sqlx::query("select set_config($1, $2, true)").bind(name).bind(value).execute(&mut *connection).await?;
    }
    Ok(())
}
