//! When a disk counts as nearly full.

/// How much room there is on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What may still be written, in bytes.
    pub available_bytes: u64,
    /// How much it holds in all, in bytes.
    pub size_bytes: u64,
    /// Whether it is nearly full.
    pub is_short: bool,
}

/// Less than this in a hundred is little,
const LEAST_PERCENT: u64 = 5;

/// and so is less than this: PostgreSQL takes as much for its journal alone when there is much to do.
const LEAST_BYTES: u64 = 1 << 30;

impl Space {
    /// What was measured, after what was measured before: a disk that was nearly full counts as such until a quarter more
    /// than the threshold is free, so that the alert does not come and go with every file.
    #[must_use]
    pub fn measured(available_bytes: u64, size_bytes: u64, was_short: bool) -> Self {
        let least = (size_bytes / 100 * LEAST_PERCENT).max(LEAST_BYTES);
        let least = if was_short { least + least / 4 } else { least };
        Self { available_bytes, size_bytes, is_short: available_bytes < least }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn is_short(available: u64, size: u64, was: bool) -> bool {
        Space::measured(available, size, was).is_short
    }

    #[test]
    fn a_disk_is_nearly_full_with_a_twentieth_or_a_gibibyte_left() {
        assert!(!is_short(6 * GIB, 100 * GIB, false));
        assert!(is_short(4 * GIB, 100 * GIB, false));
        // A small one: a twentieth would be too little for PostgreSQL's journal.
        assert!(is_short(GIB - 1, 8 * GIB, false));
        assert!(!is_short(GIB, 8 * GIB, false));
    }

    #[test]
    fn it_is_so_until_there_is_clearly_more_room() {
        assert!(!is_short(5 * GIB + GIB / 2, 100 * GIB, false));
        assert!(is_short(5 * GIB + GIB / 2, 100 * GIB, true));
        assert!(!is_short(7 * GIB, 100 * GIB, true));
    }
}
