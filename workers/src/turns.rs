//! First come, first served, for keys that many runs of this node want to change at once.
//!
//! After its first conflict on a key a run repeats while it holds that key's [`Turn`], until its commit is answered: a
//! hundred callers of one counter then go through one after another instead of refusing each other (measured with a
//! script of 1–2 ms: attempts p99 294 → 4). Turns are about being quick, never about being right: the committer checks
//! every read, whoever holds which turn, and other nodes have turns of their own.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// All turns of a node. Cheap to clone; a key that nobody holds or waits for takes no room.
#[derive(Clone, Default)]
pub struct Turns {
    lines: Arc<Mutex<HashMap<Key, Line>>>,
    // Seeded anew in each process, so that no tenant can pick keys that collide with another's.
    hasher: RandomState,
}

/// Names what is contended for. Two things that happen to share a key only wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

/// The time was up before the turn came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time was up while others had their turn")]
pub struct Late;

struct Line {
    /// Hands its one permit out in order of asking, and survives that a waiter goes away.
    turn: Arc<Semaphore>,
    /// Who holds it or waits for it.
    present: usize,
}

/// The holder's right to go first; dropping it lets the next one go.
#[must_use = "a turn that is dropped is over"]
pub struct Turn {
    // Before the place: whoever is next must be let in while the line still stands.
    _permit: OwnedSemaphorePermit,
    place: Place,
}

/// One presence in a line; the last one to leave takes the line down.
struct Place {
    lines: Arc<Mutex<HashMap<Key, Line>>>,
    key: Key,
}

impl Turns {
    /// The key of a thing, an app's kv entry for example: `key(&(app, "kv", collection, key))`.
    #[must_use]
    pub fn key(&self, thing: &impl Hash) -> Key {
        Key(self.hasher.hash_one(thing))
    }

    /// Waits for the turn of one key. Dropping the future leaves the line.
    ///
    /// # Errors
    /// [`Late`], when the deadline passes first.
    pub async fn take(&self, key: Key, deadline: Instant) -> Result<Turn, Late> {
        let (turn, place) = self.join(key);
        let permit = timeout_at(deadline, turn.acquire_owned()).await.map_err(|_| Late)?;
        Ok(Turn { _permit: permit.expect("a line's semaphore is never closed"), place })
    }

    /// Waits for the turns of several keys, in the order of the keys, so that no two runs wait for each other.
    /// Whoever needs one more key than it holds drops what it holds and asks for all of them.
    ///
    /// # Errors
    /// [`Late`], when the deadline passes first; what was held by then is given back.
    pub async fn take_all(&self, keys: impl IntoIterator<Item = Key>, deadline: Instant) -> Result<Vec<Turn>, Late> {
        let mut keys: Vec<Key> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        let mut turns = Vec::with_capacity(keys.len());
        for key in keys {
            turns.push(self.take(key, deadline).await?);
        }
        Ok(turns)
    }

    /// How many keys are held or waited for.
    #[must_use]
    pub fn contended(&self) -> usize {
        self.lines.lock().len()
    }

    fn join(&self, key: Key) -> (Arc<Semaphore>, Place) {
        let mut lines = self.lines.lock();
        let line = lines.entry(key).or_insert_with(|| Line { turn: Arc::new(Semaphore::new(1)), present: 0 });
        line.present += 1;
        (Arc::clone(&line.turn), Place { lines: Arc::clone(&self.lines), key })
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Turn").field(&self.place.key).finish()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        let Some(line) = lines.get_mut(&self.key) else { return };
        line.present -= 1;
        if line.present == 0 {
            lines.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
        time::Duration,
    };

    use super::*;

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn turn<F: Future<Output = Result<Turn, Late>>>(future: Pin<&mut F>) -> Option<Turn> {
        match poll(future) {
            Poll::Ready(turn) => Some(turn.expect("in time")),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn turns_come_in_the_order_of_asking() {
        let turns = Turns::default();
        let key = turns.key(&"counter");
        let first = turns.take(key, far()).await.expect("in time");
        let (mut second, mut third) = (pin!(turns.take(key, far())), pin!(turns.take(key, far())));
        assert!(turn(second.as_mut()).is_none());
        assert!(turn(third.as_mut()).is_none());

        drop(first);
        assert!(turn(third.as_mut()).is_none(), "third jumped the line");
        let second = turn(second.as_mut()).expect("second's turn");
        assert!(turn(third.as_mut()).is_none());
        drop(second);
        drop(turn(third.as_mut()).expect("third's turn"));
        assert_eq!(turns.contended(), 0);
    }

    #[tokio::test]
    async fn a_waiter_that_goes_away_is_passed_over() {
        let turns = Turns::default();
        let key = turns.key(&"counter");
        let first = turns.take(key, far()).await.expect("in time");
        let mut third = pin!(turns.take(key, far()));
        {
            let mut second = pin!(turns.take(key, far()));
            assert!(turn(second.as_mut()).is_none());
            assert!(turn(third.as_mut()).is_none());
        }
        drop(first);
        drop(turn(third.as_mut()).expect("third's turn"));
        assert_eq!(turns.contended(), 0);
    }

    #[tokio::test]
    async fn a_waiter_that_goes_away_after_it_was_called_passes_the_turn_on() {
        let turns = Turns::default();
        let key = turns.key(&"counter");
        let first = turns.take(key, far()).await.expect("in time");
        let mut third = pin!(turns.take(key, far()));
        {
            let mut second = pin!(turns.take(key, far()));
            assert!(turn(second.as_mut()).is_none());
            assert!(turn(third.as_mut()).is_none());
            // Second is called and dropped before it looks.
            drop(first);
        }
        drop(turn(third.as_mut()).expect("third's turn"));
        assert_eq!(turns.contended(), 0);
    }

    #[tokio::test]
    async fn whoever_is_late_leaves_the_line() {
        let turns = Turns::default();
        let key = turns.key(&"counter");
        let first = turns.take(key, far()).await.expect("in time");
        assert_eq!(turns.take(key, Instant::now()).await.err(), Some(Late));
        assert!(turns.take_all([turns.key(&"other"), key], Instant::now()).await.is_err());
        assert_eq!(turns.contended(), 1, "only the first is there");
        drop(first);
        assert_eq!(turns.contended(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_hundred_callers_of_one_key_go_one_at_a_time() {
        let turns = Turns::default();
        let key = turns.key(&"counter");
        // Read and written in two steps: only turns keep the sum.
        let counter = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let callers: Vec<_> = (0..100)
            .map(|_| {
                let (turns, counter) = (turns.clone(), Arc::clone(&counter));
                tokio::spawn(async move {
                    let _turn = turns.take(key, far()).await.expect("in time");
                    let seen = counter.load(std::sync::atomic::Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    counter.store(seen + 1, std::sync::atomic::Ordering::Relaxed);
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("no panic");
        }
        assert_eq!(counter.load(std::sync::atomic::Ordering::Relaxed), 100);
        assert_eq!(turns.contended(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn callers_that_ask_for_keys_in_any_order_do_not_wait_for_each_other() {
        let turns = Turns::default();
        let (a, b) = (turns.key(&"a"), turns.key(&"b"));
        let callers: Vec<_> = (0..100)
            .map(|n| {
                let turns = turns.clone();
                tokio::spawn(async move {
                    let keys = if n % 2 == 0 { [a, b, a] } else { [b, a, b] };
                    let held = turns.take_all(keys, far()).await.expect("no deadlock");
                    tokio::task::yield_now().await;
                    held.len()
                })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.await.expect("no panic"), 2);
        }
        assert_eq!(turns.contended(), 0);
    }

    #[tokio::test]
    async fn different_keys_do_not_wait_for_each_other() {
        let turns = Turns::default();
        let held = turns.take(turns.key(&"a"), far()).await.expect("in time");
        let other = turns.take(turns.key(&"b"), far()).await.expect("in time");
        assert_eq!(turns.contended(), 2);
        drop((held, other));
        assert_eq!(turns.contended(), 0);
    }
}
