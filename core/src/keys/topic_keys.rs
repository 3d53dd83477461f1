//! The keys of apps for the tokens of their subscribers. Each lies under the app's data key.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use super::{CannotOpen, Keyring, KeyringError, Purpose, TopicKey};
use crate::id::{AppId, SecretId};

/// What it is called among the secrets that the platform keeps for an app.
const NAME: &str = "topic_key";

/// For how long a key counts without a look: a node that does not hear of a rotation finds out by itself.
const TRUSTED: Duration = Duration::from_secs(60);

/// A token may name a key that is newer than the one that is known. Nobody can make the node look more often than this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The keys that were used on this node, and when they were looked up.
#[derive(Debug, Default)]
pub(super) struct TopicKeys(RwLock<HashMap<AppId, (Arc<TopicKey>, Instant)>>);

impl TopicKeys {
    /// One that was looked up a while ago at most.
    fn known(&self, app: AppId, trusted: Duration) -> Option<Arc<TopicKey>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&app).filter(|(_, looked_up)| looked_up.elapsed() < trusted).map(|(key, _)| Arc::clone(key))
    }

    fn keep(&self, app: AppId, key: TopicKey) -> Arc<TopicKey> {
        let key = Arc::new(key);
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(app, (Arc::clone(&key), Instant::now()));
        key
    }

    pub(super) fn forget(&self, app: AppId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&app);
    }
}

impl Keyring {
    /// An app's key for the tokens of its subscribers; made when it has none yet.
    ///
    /// # Errors
    /// When the database cannot be asked, or what it has cannot be read.
    pub async fn topic_key(&self, app: AppId) -> Result<Arc<TopicKey>, KeyringError> {
        match self.known_topic_key(app) {
            Some(known) => Ok(known),
            None => self.look_up_topic_key(app).await,
        }
    }

    /// The same when it was used on this node a moment ago, without waiting.
    #[must_use]
    pub fn known_topic_key(&self, app: AppId) -> Option<Arc<TopicKey>> {
        self.topic_keys().known(app, TRUSTED)
    }

    /// The same, for a token that names a key.
    ///
    /// # Errors
    /// As above.
    pub async fn topic_key_named(&self, app: AppId, named: SecretId) -> Result<Arc<TopicKey>, KeyringError> {
        let known = self.topic_key(app).await?;
        if known.id() == named || self.topic_keys().known(app, LOOK_AGAIN).is_some() {
            return Ok(known);
        }
        self.look_up_topic_key(app).await
    }

    /// Puts another key in its place: all tokens of the app's subscribers are worthless, here at once, and on other nodes when
    /// they have heard of it ([`Keyring::forget_topic_key`]), after a minute at most.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn rotate_topic_key(&self, app: AppId) -> Result<SecretId, KeyringError> {
        Ok(self.put_topic_key(app, true).await?.id())
    }

    /// Lets go of a key in whose place another node has put another.
    pub fn forget_topic_key(&self, app: AppId) {
        self.topic_keys().forget(app);
    }

    async fn look_up_topic_key(&self, app: AppId) -> Result<Arc<TopicKey>, KeyringError> {
        if let Some(found) = self.find_topic_key(app).await? {
            return Ok(self.topic_keys().keep(app, found));
        }
        self.put_topic_key(app, false).await
    }

    /// Stores a new key, in the place of another if it is to be replaced: else the one that is there is the one.
    async fn put_topic_key(&self, app: AppId, replaces: bool) -> Result<Arc<TopicKey>, KeyringError> {
        let key = TopicKey::generate();
        let material = self.app(app).await?.seal_bytes(Purpose::Key, &key.id().ulid().to_bytes(), key.secret());
        let row = sqlx::query!(
            "insert into live.secret_material as m (id, kind, app_id, name, material) values ($1, 'app_secret', $2, $3, $4)
            on conflict (app_id, name) where kind = 'app_secret' do update
            set id = case when $5 then excluded.id else m.id end,
                material = case when $5 then excluded.material else m.material end
            returning id, material",
            key.id().uuid(),
            app.uuid(),
            NAME,
            material,
            replaces
        )
        .fetch_one(self.pool())
        .await?;
        let stored = self.open_topic_key(app, row.id.into(), &row.material).await?;
        Ok(self.topic_keys().keep(app, stored))
    }

    async fn find_topic_key(&self, app: AppId) -> Result<Option<TopicKey>, KeyringError> {
        let row = sqlx::query!(
            "select id, material from live.secret_material where kind = 'app_secret' and app_id = $1 and name = $2",
            app.uuid(),
            NAME
        )
        .fetch_optional(self.pool())
        .await?;
        match row {
            Some(row) => self.open_topic_key(app, row.id.into(), &row.material).await.map(Some),
            None => Ok(None),
        }
    }

    async fn open_topic_key(&self, app: AppId, id: SecretId, material: &[u8]) -> Result<TopicKey, KeyringError> {
        let secret = self.app(app).await?.open_bytes(Purpose::Key, &id.ulid().to_bytes(), material)?;
        Ok(TopicKey::new(id, &secret).ok_or(CannotOpen)?)
    }
}
