//! Durations, counted in buckets that grow with them: four to each doubling, so that what is read off is right to an eighth.
//!
//! The buckets are those of an HDR histogram with two bits of precision: <http://hdrhistogram.org>.

/// In which bucket a duration lies.
#[must_use]
pub fn bucket(duration_us: u64) -> usize {
    match duration_us.checked_ilog2() {
        Some(doubled) if doubled >= 2 => 4 * (doubled as usize - 1) + ((duration_us >> (doubled - 2)) & 3) as usize,
        _ => duration_us as usize,
    }
}

/// Where a bucket begins.
#[must_use]
pub const fn floor(bucket: usize) -> u64 {
    if bucket < 4 { bucket as u64 } else { (4 + (bucket as u64 % 4)) << (bucket / 4 - 1) }
}

/// How long what is slower than this share of all took, in microseconds; none, where nothing was counted.
#[must_use]
pub fn quantile(counts: &[u64], share: f64) -> Option<u64> {
    let all: u64 = counts.iter().sum();
    let wanted = (all as f64 * share).max(1.0);
    let mut seen = 0.0;
    for (bucket, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (from, to) = (floor(bucket), floor(bucket + 1));
        let within = (wanted - seen) / *count as f64;
        if within <= 1.0 {
            // As if they lay evenly.
            return Some(from + ((to - from) as f64 * within) as u64);
        }
        seen += *count as f64;
    }
    None
}

/// Counts more on top.
pub fn add(counts: &mut Vec<u64>, more: impl IntoIterator<Item = u64>) {
    for (n, more) in more.into_iter().enumerate() {
        if n >= counts.len() {
            counts.resize(n + 1, 0);
        }
        counts[n] += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_begin_where_they_say() {
        let mut last = 0;
        for us in 0..100_000 {
            let at = bucket(us);
            assert!(at == last || at == last + 1, "{us}");
            assert!(floor(at) <= us && us < floor(at + 1), "{us} in {at}");
            last = at;
        }
        assert_eq!(bucket(300_000_000), 108, "the longest that a run may take");
    }

    #[test]
    fn quantiles_are_near() {
        let mut counts = Vec::new();
        for us in 1..=10_000_u64 {
            add(&mut counts, (0..=bucket(us)).map(|n| u64::from(n == bucket(us))));
        }
        for (share, is) in [(0.5, 5_000.0), (0.95, 9_500.0), (0.99, 9_900.0)] {
            let read = quantile(&counts, share).expect("something was counted") as f64;
            assert!((read / is - 1.0).abs() < 0.125, "{share}: {read}");
        }
        assert_eq!(quantile(&[], 0.5), None);
    }
}
