//! What can be wrong with the file of a backup.

use std::io;

/// Why a backup cannot be read. The places are bytes of the file, counted from 0.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Something else.
    #[error("this is no backup of PiCloud: it does not begin with `picloud backup` and a number")]
    NotABackup,
    /// Of a format that came later.
    #[error("the backup is of format {found}, and this PiCloud reads up to {known}: use a newer one")]
    Newer {
        /// The format's number.
        found: u32,
        /// The highest that is known here.
        known: u32,
    },
    /// It ends too early.
    #[error("the backup was cut off: it ends at byte {at}, in {within}")]
    Truncated {
        /// So long it is.
        at: u64,
        /// In what.
        within: String,
    },
    /// It is not as it was written.
    #[error("the backup is damaged between byte {from} and byte {to}, in {within}")]
    Damaged {
        /// What comes before is as it was written.
        from: u64,
        /// The end of the frame that is not.
        to: u64,
        /// What is in there.
        within: String,
    },
    /// It goes on after its end.
    #[error("the backup ends at byte {at}, and the file goes on: it is damaged, or two files were put together")]
    Trailing {
        /// Where it ends.
        at: u64,
    },
    /// The file cannot be read.
    #[error("failed to read the backup")]
    Read(#[from] io::Error),
}
