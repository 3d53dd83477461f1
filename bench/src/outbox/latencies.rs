//! Many latencies, and what is said of them.

/// In milliseconds.
#[derive(Clone, Debug)]
pub struct Latencies {
    sorted: Vec<f64>,
}

impl FromIterator<f64> for Latencies {
    fn from_iter<I: IntoIterator<Item = f64>>(latencies: I) -> Self {
        let mut sorted: Vec<f64> = latencies.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self { sorted }
    }
}

impl Latencies {
    pub fn p50(&self) -> f64 {
        self.at(0.50)
    }

    pub fn p95(&self) -> f64 {
        self.at(0.95)
    }

    pub fn p99(&self) -> f64 {
        self.at(0.99)
    }

    fn at(&self, share: f64) -> f64 {
        let rank = (self.sorted.len() as f64 * share).ceil() as usize;
        self.sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_least_value_that_so_many_do_not_exceed() {
        let latencies: Latencies = (1..=200).rev().map(f64::from).collect();
        assert_eq!((latencies.p50(), latencies.p99()), (100.0, 198.0));
        let one: Latencies = [7.0].into_iter().collect();
        assert_eq!((one.p50(), one.p99()), (7.0, 7.0));
        assert!(Latencies::from_iter([]).p99().is_nan());
    }
}
