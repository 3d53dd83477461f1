//! Passwords: Argon2id (RFC 9106), one at a time, on a thread that steps back for everyone else.
//!
//! A hash takes some 19 MiB and 20 ms on purpose. However many people guess at once, scripts go on: the thread computes when
//! nobody else does and rests after each wrong guess, and who comes when too many wait is asked to come again.

use std::{io, thread, time::Instant};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

/// How many may wait. Each waits for all before it: a second at most.
const WAITING: usize = 32;

/// After a wrong password the thread rests, so many times as long as that took: guesses take a quarter of one processor.
const REST: u32 = 3;

/// A hash of no password: who names an account that does not exist waits as long as everyone.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$cGljbG91ZCBub2JvZHk$cJ0hWcVY3uVt6iIWmlGVZSbK1bXQ0hZ8h0cQ2Yyq0cE";

/// Hashes and checks passwords. Cheap to clone; the thread ends with the last one.
#[derive(Clone, Debug)]
pub struct Passwords {
    jobs: mpsc::Sender<Job>,
}

/// Too many passwords wait to be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many people are signing in right now")]
pub struct Busy;

#[derive(Debug)]
enum Job {
    Hash { password: String, answer: oneshot::Sender<String> },
    Verify { password: String, hash: Option<String>, answer: oneshot::Sender<bool> },
}

impl Passwords {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system has no thread left.
    pub fn start() -> io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel(WAITING);
        thread::Builder::new().name("picloud-passwords".to_owned()).spawn(move || {
            if let Err(error) = step_back() {
                warn!(?error, "Failed to lower the priority of the thread that hashes passwords");
            }
            while let Some(job) = waiting.blocking_recv() {
                do_job(job);
            }
        })?;
        Ok(Self { jobs })
    }

    /// A new password's hash, as a PHC string with its salt and parameters.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn hash(&self, password: String) -> Result<String, Busy> {
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(Job::Hash { password, answer }).map_err(|_| Busy)?;
        answered.await.map_err(|_| Busy)
    }

    /// Whether a password is the one that was hashed. Without a hash it takes as long, and is not.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Busy> {
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(Job::Verify { password, hash, answer }).map_err(|_| Busy)?;
        answered.await.map_err(|_| Busy)
    }
}

/// Lets this thread compute only when nobody else wants to. A low priority alone would keep others waiting for as long as a
/// hash takes; this they interrupt at once.
fn step_back() -> Result<(), thread_priority::Error> {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle)
}

fn do_job(job: Job) {
    // Whoever asked may have gone away: then nobody is answered.
    match job {
        Job::Hash { password, answer } => match Argon2::default().hash_password(password.as_bytes()) {
            Ok(hash) => _ = answer.send(hash.to_string()),
            Err(error) => error!(%error, "Failed to hash a password"),
        },
        Job::Verify { hash, answer, .. } if answer.is_closed() => drop(hash),
        Job::Verify { password, hash, answer } => {
            let began = Instant::now();
            let is_right = verify(&password, hash.as_deref().unwrap_or(NOBODYS)) && hash.is_some();
            _ = answer.send(is_right);
            if !is_right {
                thread::sleep(began.elapsed() * REST);
            }
        }
    }
}

fn verify(password: &str, hash: &str) -> bool {
    match PasswordHash::new(hash) {
        Ok(hash) => Argon2::default().verify_password(password.as_bytes(), &hash).is_ok(),
        Err(error) => {
            error!(%error, "A stored password hash cannot be read: the password must be set anew");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_again_and_another_is_not() {
        let passwords = Passwords::start().expect("a thread");
        let hash = passwords.hash("correct horse".to_owned()).await.expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify("correct horse".to_owned(), Some(hash.clone())).await.expect("checked"));
        assert!(!passwords.verify("battery staple".to_owned(), Some(hash)).await.expect("checked"));
    }

    #[tokio::test]
    async fn nobodys_password_is_checked_like_any_other() {
        assert!(PasswordHash::new(NOBODYS).is_ok());
        let passwords = Passwords::start().expect("a thread");
        assert!(!passwords.verify("anything".to_owned(), None).await.expect("checked"));
    }

    #[tokio::test]
    async fn who_comes_when_too_many_wait_is_told_so() {
        let passwords = Passwords::start().expect("a thread");
        let asked: Vec<_> = (0..2 * WAITING + 2).map(|n| passwords.hash(n.to_string())).collect();
        let answers = futures::future::join_all(asked).await;
        assert!(answers.iter().filter(|answer| answer.is_err()).count() > WAITING / 2);
        assert!(answers.iter().filter(|answer| answer.is_ok()).count() >= WAITING);
    }
}
