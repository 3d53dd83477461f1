//! Frames: kinds, and how large they may be.

/// So many bytes of rows are in a frame at most, before they are compressed.
pub(super) const MAX_ROWS_BYTES: usize = 1 << 20;

/// So many bytes of JSON: a log of many years has thousands of tables.
const MAX_JSON_BYTES: usize = 64 << 20;

/// The kind and the length.
pub(super) const HEADER_BYTES: usize = 5;

pub(super) const DIGEST_BYTES: usize = 32;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Manifest,
    Table,
    Rows,
    End,
}

impl Kind {
    pub const fn letter(self) -> u8 {
        match self {
            Self::Manifest => b'M',
            Self::Table => b'T',
            Self::Rows => b'R',
            Self::End => b'E',
        }
    }

    pub fn of(letter: u8) -> Option<Self> {
        [Self::Manifest, Self::Table, Self::Rows, Self::End].into_iter().find(|kind| kind.letter() == letter)
    }

    /// What it holds at most, before it is compressed.
    pub const fn max_bytes(self) -> usize {
        match self {
            Self::Rows => MAX_ROWS_BYTES,
            Self::Manifest | Self::Table | Self::End => MAX_JSON_BYTES,
        }
    }
}
