//! When API keys were last used: noted in memory, written now and then, many at once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use picloud_core::id::ApiKeyId;
use sqlx::PgPool;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

/// How often what was noted is written.
const EVERY: Duration = Duration::from_secs(60);

/// Notes uses of keys. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyUses {
    pool: PgPool,
    noted: Arc<Mutex<HashMap<ApiKeyId, DateTime<Utc>>>>,
}

impl KeyUses {
    /// Starts writing what is noted, for as long as anyone notes.
    pub(super) fn start(pool: PgPool) -> Self {
        let uses = Self { pool: pool.clone(), noted: Arc::default() };
        let noted = Arc::downgrade(&uses.noted);
        tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(noted) = noted.upgrade() else { return };
                Self { pool: pool.clone(), noted }.flush().await;
            }
        });
        uses
    }

    /// A key was used now.
    pub fn note(&self, key: ApiKeyId) {
        self.noted.lock().insert(key, Utc::now());
    }

    /// Writes what was noted; what cannot be written now stays noted. For who stops, too.
    pub async fn flush(&self) {
        let taken = std::mem::take(&mut *self.noted.lock());
        if let Err(error) = write(&self.pool, &taken).await {
            warn!(%error, "Failed to write when API keys were last used");
            let mut noted = self.noted.lock();
            for (key, at) in taken {
                noted.entry(key).or_insert(at);
            }
        }
    }

    /// When each key was last used, on this node or, about a minute ago, on any.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn last(&self) -> Result<HashMap<ApiKeyId, DateTime<Utc>>, sqlx::Error> {
        let rows = sqlx::query!("select key_id, used_at from live.api_key_use").fetch_all(&self.pool).await?;
        let mut last: HashMap<ApiKeyId, _> = rows.into_iter().map(|row| (row.key_id.into(), row.used_at)).collect();
        last.extend(self.noted.lock().iter().map(|(key, at)| (*key, *at)));
        Ok(last)
    }
}

async fn write(pool: &PgPool, uses: &HashMap<ApiKeyId, DateTime<Utc>>) -> Result<(), sqlx::Error> {
    if uses.is_empty() {
        return Ok(());
    }
    let (keys, times): (Vec<_>, Vec<_>) = uses.iter().map(|(key, at)| (key.uuid(), *at)).unzip();
    sqlx::query!(
        "insert into live.api_key_use (key_id, used_at) select * from unnest($1::uuid[], $2::timestamptz[])
        on conflict (key_id) do update set used_at = greatest(api_key_use.used_at, excluded.used_at)",
        &keys,
        &times
    )
    .execute(pool)
    .await?;
    Ok(())
}
