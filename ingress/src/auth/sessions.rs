//! Signed-in stays. A token is 32 random bytes; its hash lies in `live.session`, and in the memory of nodes that saw it.
//!
//! Looking one up costs no round trip once it is known. Its end is an event: every node that hears it forgets the session.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use lru::LruCache;
use parking_lot::Mutex;
use picloud_core::{
    event::Event,
    id::{AccountId, SessionId},
    log::{Follow, Tail},
};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::{sync::Semaphore, time::sleep};
use tracing::warn;

/// How long a session lasts after it was last used.
pub const SESSION_LASTS: TimeDelta = TimeDelta::hours(24);

/// A session that is used is prolonged when this much of it has passed: not with every request.
const PROLONG_AFTER: TimeDelta = TimeDelta::minutes(15);

/// How many a node remembers; others are looked up again.
const MAX_KNOWN: NonZeroUsize = NonZeroUsize::new(10_000).expect("10 000 is not 0");

/// How many are looked up at once.
const LOOK_UPS: usize = 2;

/// What every session token begins with: other letters than an API key, which is also good on the data plane.
const PREFIX: &str = "pcs_";

/// The secret of a session, for its holder alone.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    fn generate() -> Self {
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).expect("the operating system hands out random bytes");
        Self(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random)))
    }

    /// The token, when a text looks like one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.starts_with(PREFIX).then(|| Self(text.to_owned()))
    }

    /// The secret itself, for an answer or a cookie.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What it is stored as.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// What a page of our own shows with a request that a page of somebody else's could send, too. It follows from the
    /// token and tells nothing about it.
    #[must_use]
    pub fn csrf(&self) -> String {
        let proof = Sha256::new().chain_update(b"picloud csrf v1").chain_update(self.0.as_bytes()).finalize();
        BASE64_URL_SAFE_NO_PAD.encode(proof)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// A session that is good now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// Whose it is.
    pub account: AccountId,
    /// When it ends if it is not used.
    pub expires_at: DateTime<Utc>,
}

/// A session as its holder sees it among others.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// Its name.
    pub id: SessionId,
    /// Where it was opened from.
    pub address: Option<String>,
    /// With which program, as that calls itself.
    pub agent: Option<String>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// When it was last prolonged.
    pub seen_at: DateTime<Utc>,
    /// When it ends if it is not used.
    pub expires_at: DateTime<Utc>,
}

/// Knows who is signed in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions {
    pool: PgPool,
    /// Made-up tokens cost a query each, and anyone can make them up: they must not take all connections.
    look_ups: Arc<Semaphore>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug)]
struct Known {
    by_hash: LruCache<[u8; 32], Session>,
    /// How many ends were heard of: what was looked up before one is not remembered after it.
    ends: u64,
}

impl Known {
    fn forget(&mut self, session: SessionId) {
        self.ends += 1;
        let hash = self.by_hash.iter().find(|(_, known)| known.id == session).map(|(hash, _)| *hash);
        if let Some(hash) = hash {
            self.by_hash.pop(&hash);
        }
    }

    fn forget_all(&mut self) {
        self.ends += 1;
        self.by_hash.clear();
    }
}

impl Sessions {
    /// Starts hearing of ends. The task ends with the tail.
    pub(super) fn start(pool: PgPool, tail: &Tail) -> Self {
        let known = Arc::new(Mutex::new(Known { by_hash: LruCache::new(MAX_KNOWN), ends: 0 }));
        tokio::spawn(hear(tail.follow(tail.position()), Arc::clone(&known)));
        Self { pool, look_ups: Arc::new(Semaphore::new(LOOK_UPS)), known }
    }

    /// Makes one, before the event that says so is committed.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn open(
        &self,
        account: AccountId,
        address: Option<&str>,
        agent: Option<&str>,
    ) -> Result<(Token, Session), sqlx::Error> {
        let token = Token::generate();
        let id = SessionId::generate();
        let expires_at = sqlx::query_scalar!(
            "insert into live.session (id, account_id, hash, address, agent, expires_at)
            values ($1, $2, $3, $4, $5, now() + $6::float8 * interval '1 second') returning expires_at",
            id.uuid(),
            account.uuid(),
            &token.hash(),
            address,
            agent,
            SESSION_LASTS.num_seconds() as f64
        )
        .fetch_one(&self.pool)
        .await?;
        Ok((token, Session { id, account, expires_at }))
    }

    /// The session with this token, when it is good now; using it prolongs it.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn check(&self, token: &Token) -> Result<Option<Session>, sqlx::Error> {
        let hash = token.hash();
        let now = Utc::now();
        let (known, ends) = {
            let mut known = self.known.lock();
            (known.by_hash.get(&hash).copied(), known.ends)
        };
        let found = match known {
            Some(session) => Some(session),
            None => self.look_up(&hash, ends).await?,
        };
        let Some(session) = found.filter(|session| session.expires_at > now) else {
            return Ok(None);
        };
        if session.expires_at - now < SESSION_LASTS - PROLONG_AFTER {
            self.prolong(hash, session, now);
        }
        Ok(Some(session))
    }

    /// Whether a session that was good still is, as far as this node has heard. Without a round trip.
    #[must_use]
    pub fn is_open(&self, hash: &[u8; 32]) -> bool {
        self.known.lock().by_hash.peek(hash).is_some_and(|session| session.expires_at > Utc::now())
    }

    async fn look_up(&self, hash: &[u8; 32], ends: u64) -> Result<Option<Session>, sqlx::Error> {
        let _permit = self.look_ups.acquire().await.expect("the semaphore is never closed");
        let row = sqlx::query!(
            "select id, account_id, expires_at from live.session where hash = $1 and expires_at > now()",
            hash
        )
        .fetch_optional(&self.pool)
        .await?;
        let session =
            row.map(|row| Session { id: row.id.into(), account: row.account_id.into(), expires_at: row.expires_at });
        if let Some(session) = session {
            let mut known = self.known.lock();
            if known.ends == ends {
                known.by_hash.put(*hash, session);
            }
        }
        Ok(session)
    }

    /// In the background: nobody waits for it, and if it fails the next use tries again.
    fn prolong(&self, hash: [u8; 32], session: Session, now: DateTime<Utc>) {
        let prolonged = Session { expires_at: now + SESSION_LASTS, ..session };
        if let Some(known) = self.known.lock().by_hash.get_mut(&hash) {
            *known = prolonged;
        }
        let (pool, known) = (self.pool.clone(), Arc::clone(&self.known));
        tokio::spawn(async move {
            let updated = sqlx::query!(
                "update live.session set expires_at = now() + $2::float8 * interval '1 second', seen_at = now()
                where id = $1 and expires_at > now()",
                session.id.uuid(),
                SESSION_LASTS.num_seconds() as f64
            )
            .execute(&pool)
            .await;
            match updated {
                Ok(updated) if updated.rows_affected() == 1 => {}
                Ok(_) => _ = known.lock().by_hash.pop(&hash),
                Err(error) => {
                    warn!(%error, "Failed to prolong a session");
                    known.lock().by_hash.put(hash, session);
                }
            }
        });
    }

    /// The sessions of an account that are good now, the newest first.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn of(&self, account: AccountId) -> Result<Vec<OpenSession>, sqlx::Error> {
        let rows = sqlx::query!(
            "select id, address, agent, created_at, seen_at, expires_at from live.session
            where account_id = $1 and expires_at > now() order by created_at desc, id",
            account.uuid()
        )
        .fetch_all(&self.pool)
        .await?;
        let open = rows.into_iter().map(|row| OpenSession {
            id: row.id.into(),
            address: row.address,
            agent: row.agent,
            created_at: row.created_at,
            seen_at: row.seen_at,
            expires_at: row.expires_at,
        });
        Ok(open.collect())
    }

    /// Ends some, before the events that say so are committed: this node forgets them at once, the others when they hear of
    /// it, and none looks them up again.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn close(&self, sessions: &[SessionId]) -> Result<(), sqlx::Error> {
        let ids: Vec<_> = sessions.iter().map(|session| session.uuid()).collect();
        sqlx::query!("delete from live.session where id = any ($1)", &ids).execute(&self.pool).await?;
        let mut known = self.known.lock();
        for session in sessions {
            known.forget(*session);
        }
        Ok(())
    }
}

/// Forgets sessions whose end is in the log.
async fn hear(mut log: Follow, known: Arc<Mutex<Known>>) {
    loop {
        match log.next().await {
            Ok(Some(events)) => {
                for recorded in events.iter() {
                    let Event::SessionClosed(closed) = &recorded.event.event else { continue };
                    known.lock().forget(closed.session);
                }
            }
            Ok(None) => return,
            Err(error) => {
                warn!(%error, "Failed to follow the log for ends of sessions");
                // What ended meanwhile must not go on: everything is looked up again.
                known.lock().forget_all();
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
