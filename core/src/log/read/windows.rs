//! Which part of the log is asked at once, and for how long it is gone on with.
//!
//! Of what happens all the time the first few are found in a small part, of what is rare all is found the sooner the larger the
//! parts are; which it is shows as it is looked for. And a question cannot be ended half-way with what it has found until
//! then: so none may take long.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};

use super::Direction;

/// How long one question may take, about.
const QUESTION: Duration = Duration::from_millis(200);

/// How many questions are asked at once, when the first had not enough to tell.
const AT_ONCE: usize = 2;

/// How much more is asked at once than before, at most.
const GROWTH: u32 = 8;

/// Where indexes know: so many places are walked along first. An index finds all of a bucket before the first of it is told, so what is
/// everywhere is found here sooner; what is rarer than a page in this is not so much in a bucket.
const WALKED: i64 = 1 << 11;

/// How far a search goes before it tells what it has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// After this long it asks no further question.
    pub within: Duration,
    /// So many places of the log are in its first question,
    pub first: i64,
    /// and in none more: after much in which nothing is may come much in which everything is.
    pub most: i64,
}

impl Bound {
    /// What someone waits for who turns pages. Two microseconds a place at the worst, if it is in memory.
    pub const PAGE: Self = Self { within: Duration::from_secs(2), first: 1 << 14, most: 1 << 19 };

    /// As long as it takes.
    pub const NONE: Self = Self { within: Duration::MAX, first: i64::MAX, most: i64::MAX };

    /// The same for what an index finds in the order of the log: all that is left is asked at once.
    #[must_use]
    pub const fn at_once(self) -> Self {
        Self { first: i64::MAX, most: i64::MAX, ..self }
    }
}

/// The parts of one search, one after the other. What a part took is known when the next is asked for; where two are asked at
/// once, it is how long the one before that took.
#[derive(Debug)]
pub struct Windows {
    bound: Bound,
    size: i64,
    began: Instant,
    has_asked: bool,
    /// When the last part was asked for, and how large it is, if that is why it took so long.
    asked: Option<(Instant, i64)>,
}

impl Windows {
    /// Those of a search that begins now.
    #[must_use]
    pub fn new(bound: Bound) -> Self {
        Self { bound, size: bound.first, began: Instant::now(), has_asked: false, asked: None }
    }

    /// Takes the next part off what is left: after one position up to another. None when nothing is left of it.
    pub fn next(&mut self, left: &mut (i64, i64), direction: Direction) -> Option<(i64, i64)> {
        let (after, up_to) = *left;
        if after >= up_to {
            return None;
        }
        if let Some((asked, places)) = self.asked {
            self.size = self.sized(places, asked.elapsed());
        }
        let window = cut(left, self.next_size(up_to - after), direction);
        self.has_asked = true;
        self.asked = Some((Instant::now(), window.1 - window.0));
        Some(window)
    }

    /// How many places of those that are left are asked about next. The last two questions are asked at once, so they are about
    /// as many, unless that is far more than they should be.
    fn next_size(&self, left: i64) -> i64 {
        let stretched = self.size.saturating_add(self.size / 2).min(self.bound.most);
        match left {
            _ if self.asked.is_none() => self.size,
            left if left <= stretched => left,
            left if left / 2 < stretched => left / 2 + 1,
            _ => self.size,
        }
    }

    /// Takes off what is walked along before indexes are asked. None when something was asked already, or all is wanted anyway.
    pub fn walked(&mut self, left: &mut (i64, i64), direction: Direction) -> Option<(i64, i64)> {
        if self.has_asked || self.bound.within == Duration::MAX || left.0 >= left.1 {
            return None;
        }
        self.has_asked = true;
        Some(cut(left, WALKED, direction))
    }

    /// Takes all that is left, of which nothing is learnt: an index finds what there is. None when nothing is left.
    pub fn rest(&mut self, left: &mut (i64, i64)) -> Option<(i64, i64)> {
        let (after, up_to) = *left;
        if after >= up_to {
            return None;
        }
        left.0 = up_to;
        self.has_asked = true;
        self.asked = None;
        Some((after, up_to))
    }

    /// Whether it has taken as long as it may. It has not before anything was asked: so whoever goes on gets on.
    #[must_use]
    pub fn are_over(&self) -> bool {
        self.has_asked && self.began.elapsed() >= self.bound.within
    }

    /// How many places the next question is about, after one about so many took so long.
    fn sized(&self, places: i64, took: Duration) -> i64 {
        let size = if took * GROWTH < QUESTION {
            // The part may have been a small one, being the last of a segment.
            self.size.saturating_mul(GROWTH.into())
        } else {
            (places as f64 * QUESTION.as_secs_f64() / took.as_secs_f64()) as i64
        };
        size.clamp(1, self.bound.most)
    }
}

/// Takes so many places off what is left, in the order of a search.
fn cut(left: &mut (i64, i64), places: i64, direction: Direction) -> (i64, i64) {
    let (after, up_to) = *left;
    match direction {
        Direction::Forward => {
            left.0 = after.saturating_add(places).min(up_to);
            (after, left.0)
        }
        Direction::Backward => {
            left.1 = up_to.saturating_sub(places).max(after);
            (left.1, up_to)
        }
    }
}

/// The first so many of what the answers to questions have, in their order. The first question, which is often enough, is waited for
/// before others are asked.
///
/// # Errors
/// The first that an answer is.
pub async fn gather<Q, T, E, F: Future<Output = Result<Vec<T>, E>>>(
    questions: &mut impl Iterator<Item = Q>,
    ask: impl Fn(Q) -> F,
    limit: usize,
) -> Result<Vec<T>, E> {
    let Some(first) = questions.next() else { return Ok(Vec::new()) };
    let mut gathered = ask(first).await?;
    let mut answers = stream::iter(questions).map(ask).buffered(AT_ONCE);
    while gathered.len() < limit
        && let Some(answer) = answers.next().await
    {
        gathered.extend(answer?);
    }
    gathered.truncate(limit);
    Ok(gathered)
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    const ALL: (i64, i64) = (10, 10_000_000);

    #[test]
    fn parts_are_all_there_is_and_follow_each_other() {
        for direction in [Direction::Forward, Direction::Backward] {
            for (bound, is_cut) in [(Bound::PAGE, true), (Bound::PAGE.at_once(), false), (Bound::NONE, false)] {
                let (mut windows, mut left, mut seen) = (Windows::new(bound), ALL, Vec::new());
                while let Some(window) = windows.next(&mut left, direction) {
                    seen.push(window);
                }
                assert_eq!(seen.len() > 1, is_cut, "{seen:?}");
                if direction == Direction::Backward {
                    seen.reverse();
                }
                assert_eq!((seen[0].0, seen[seen.len() - 1].1), ALL);
                assert!(seen.windows(2).all(|pair| pair[0].1 == pair[1].0), "{seen:?}");
            }
        }
    }

    #[test]
    fn parts_grow_while_they_are_quick_and_shrink_when_they_are_not() {
        let bound = Bound { within: Duration::MAX, first: 1_000, most: 50_000 };
        let windows = Windows::new(bound);
        assert_eq!(windows.sized(1_000, Duration::from_millis(1)), 8_000);
        // Of the last of a segment, nothing is learnt.
        assert_eq!(windows.sized(3, Duration::from_millis(1)), 8_000);
        assert_eq!(windows.sized(1_000, Duration::from_millis(100)), 2_000);
        assert_eq!(windows.sized(1_000, Duration::from_secs(2)), 100);
        assert_eq!(windows.sized(1, Duration::from_secs(60)), 1);
        let large = Windows { size: 20_000, ..Windows::new(bound) };
        assert_eq!(large.sized(20_000, Duration::from_millis(1)), 50_000);
        assert_eq!(Windows::new(Bound::NONE).sized(1_000_000, Duration::from_secs(20)), 10_000);
    }

    #[test]
    fn the_last_two_parts_are_as_large() {
        let bound = Bound { within: Duration::MAX, first: 1_000, most: 9_000 };
        // As if the one before had taken as long as it should.
        let after_one = || (Instant::now() - QUESTION, 8_000);
        let sizes = |places| -> Vec<i64> {
            let (mut windows, mut left) = (Windows::new(bound), (0, places));
            iter::from_fn(|| {
                windows.asked = Some(after_one());
                windows.next(&mut left, Direction::Backward).map(|(after, up_to)| up_to - after)
            })
            .collect()
        };
        assert_eq!(sizes(8_500), [8_500]);
        assert_eq!(sizes(12_000), [6_001, 5_999]);
        let three = sizes(25_000);
        assert!(three.len() == 3 && (three[1] - three[2]).abs() <= 2, "{three:?}");
    }

    #[test]
    fn where_indexes_know_a_little_is_walked_first() {
        let (mut windows, mut left) = (Windows::new(Bound::PAGE), ALL);
        assert_eq!(windows.walked(&mut left, Direction::Backward), Some((ALL.1 - WALKED, ALL.1)));
        assert_eq!(windows.walked(&mut left, Direction::Backward), None);
        assert_eq!(windows.rest(&mut left), Some((ALL.0, ALL.1 - WALKED)));
        assert_eq!(Windows::new(Bound::NONE).walked(&mut ALL.clone(), Direction::Forward), None);
    }

    #[test]
    fn whoever_has_no_time_asks_once() {
        let mut windows = Windows::new(Bound { within: Duration::ZERO, ..Bound::PAGE });
        assert!(!windows.are_over());
        let mut left = ALL;
        assert!(windows.next(&mut left, Direction::Forward).is_some());
        assert!(windows.are_over());
        assert!(!Windows::new(Bound::NONE).are_over());
    }
}
