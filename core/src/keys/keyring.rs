//! The data keys of this database, unwrapped once and kept.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use sqlx::{PgConnection, PgPool};

use super::{CannotOpen, DataKey, MasterKey, MasterKeyError, topic_keys::TopicKeys, wrapped::WrappedKeys};
use crate::{
    backup::NeededKey,
    event::master_key::Rotated,
    id::{AppId, DataKeyId},
    seal::SealKey,
};

/// Why a data key is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The database could not be asked.
    #[error("failed to look up a data key")]
    Database(#[from] sqlx::Error),
    /// The master key could not be read again, or not be replaced.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// A secret that is kept for an app cannot be read.
    #[error(transparent)]
    CannotOpen(#[from] CannotOpen),
    /// The key is under another master key.
    #[error(
        "the master key in {file} (fingerprint {fingerprint}) does not fit this database: data key {key} is under another. \
         If it was rotated on another machine, copy the key file of that machine to {file}; \
         if the database is a backup, use the key of its time ({file}.previous is the one before the last rotation)",
        file = path.display()
    )]
    WrongMasterKey {
        /// Which data key.
        key: DataKeyId,
        /// The file of the master key.
        path: PathBuf,
        /// Which master key it is not under.
        fingerprint: String,
    },
}

/// All data keys, by whose they are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keyring {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    wrapped: WrappedKeys,
    instance: Arc<DataKey>,
    apps: RwLock<Apps>,
    topic_keys: TopicKeys,
}

impl Keyring {
    /// Opens it; makes the instance's key when there is none yet. A rotation that was cut short is brought to its end.
    ///
    /// # Errors
    /// [`KeyringError::WrongMasterKey`] when the database is under another master key.
    pub async fn open(master: MasterKey, pool: PgPool) -> Result<Self, KeyringError> {
        let wrapped = WrappedKeys::new(master, pool);
        let instance = Arc::new(wrapped.load_or_make(None).await?);
        Ok(Self {
            inner: Arc::new(Inner { wrapped, instance, apps: RwLock::default(), topic_keys: TopicKeys::default() }),
        })
    }

    /// The instance's own key.
    #[must_use]
    pub fn instance(&self) -> &Arc<DataKey> {
        &self.inner.instance
    }

    /// What the log's seals are signed with. A new master key leaves it as it is.
    #[must_use]
    pub fn seal_key(&self) -> SealKey {
        SealKey::from_seed(&self.inner.instance.seal_seed)
    }

    /// An app's key; made when it has none yet. Callers ask for apps that exist: one whose key was erased would get another,
    /// and what was under the first stays closed, for it names its key.
    ///
    /// # Errors
    /// When the database cannot be asked, or the key is under another master key, also after its file was read again.
    pub async fn app(&self, app: AppId) -> Result<Arc<DataKey>, KeyringError> {
        match self.known(app) {
            Some(known) => Ok(known),
            // In a box: it is rare, and everything that waits for a key would have room for it.
            None => Box::pin(self.look_up(app)).await,
        }
    }

    async fn look_up(&self, app: AppId) -> Result<Arc<DataKey>, KeyringError> {
        loop {
            let forgotten = self.apps(|apps| apps.forgotten);
            let key = Arc::new(self.inner.wrapped.load_or_make(Some(app)).await?);
            if let Some(kept) = self.change_apps(|apps| apps.keep(app, key, forgotten)) {
                return Ok(kept);
            }
        }
    }

    /// An app's key when it has been used before on this node: the usual case, without waiting.
    #[must_use]
    pub fn known(&self, app: AppId) -> Option<Arc<DataKey>> {
        self.apps(|apps| apps.keys.get(&app).cloned())
    }

    /// Erases an app's key, here and in the database: what is under it cannot be read again, wherever it lies. Runs that have
    /// the key in hand may end with it; other nodes must [`Keyring::forget`] it. Says whether there was one.
    ///
    /// # Errors
    /// When the database cannot be asked. Erasing again is safe.
    pub async fn erase(&self, app: AppId) -> Result<bool, KeyringError> {
        let erased = self.inner.wrapped.erase(app).await?;
        self.forget(app);
        Ok(erased)
    }

    /// Lets go of an app's key that another node has erased.
    pub fn forget(&self, app: AppId) {
        self.change_apps(|apps| apps.forget(app));
        self.forget_topic_key(app);
    }

    /// Makes a new master key, wraps all data keys with it, and puts it in the place of the one before. The data keys stay
    /// what they are: nothing that was encrypted is touched. Two at once follow one another. Other nodes must
    /// [`Keyring::reload`], those with a file of their own after it was copied to them.
    ///
    /// # Errors
    /// When the file cannot be replaced, or is not the one that the database is under: nothing was changed.
    /// After [`MasterKeyError::NotPromoted`], or a connection lost in COMMIT, it may be: the next rotation, or start,
    /// finds out.
    pub async fn rotate(&self) -> Result<Rotated, KeyringError> {
        self.inner.wrapped.rotate().await
    }

    /// Reads the master key again, after it was rotated elsewhere.
    ///
    /// # Errors
    /// [`KeyringError::WrongMasterKey`] when this machine still has the old file. Keys that are known go on working, and
    /// the file is read again when the next is needed.
    pub async fn reload(&self) -> Result<(), KeyringError> {
        self.inner.wrapped.settle().await.map(drop)
    }

    /// The fingerprint of the master key that this node uses.
    #[must_use]
    pub fn master_fingerprint(&self) -> String {
        self.inner.wrapped.master().fingerprint().to_owned()
    }

    /// The master key that a copy of the database needs, as a connection sees it.
    ///
    /// # Errors
    /// [`KeyringError::WrongMasterKey`] when it was rotated just now: [`Keyring::reload`] finds the one that fits.
    pub async fn needed(&self, connection: &mut PgConnection) -> Result<NeededKey, KeyringError> {
        self.inner.wrapped.needed(connection).await
    }

    pub(super) fn topic_keys(&self) -> &TopicKeys {
        &self.inner.topic_keys
    }

    pub(super) fn pool(&self) -> &PgPool {
        self.inner.wrapped.pool()
    }

    fn apps<T>(&self, read: impl FnOnce(&Apps) -> T) -> T {
        read(&self.inner.apps.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change_apps<T>(&self, change: impl FnOnce(&mut Apps) -> T) -> T {
        change(&mut self.inner.apps.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The keys of apps that were used on this node.
#[derive(Debug, Default)]
struct Apps {
    keys: HashMap<AppId, Arc<DataKey>>,
    /// How many times one was forgotten.
    forgotten: u64,
}

impl Apps {
    /// Keeps a key that was looked up when so many had been forgotten. None when it may be one that was forgotten meanwhile.
    fn keep(&mut self, app: AppId, key: Arc<DataKey>, forgotten: u64) -> Option<Arc<DataKey>> {
        (self.forgotten == forgotten).then(|| Arc::clone(self.keys.entry(app).or_insert(key)))
    }

    fn forget(&mut self, app: AppId) {
        self.keys.remove(&app);
        self.forgotten += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_looked_up_before_it_was_forgotten_does_not_come_back() {
        let (mut apps, app) = (Apps::default(), AppId::generate());
        let key = |secret| Arc::new(DataKey::new(DataKeyId::generate(), &[secret; 32]));
        let asked_at = apps.forgotten;
        apps.forget(app);
        assert!(apps.keep(app, key(1), asked_at).is_none());
        assert!(!apps.keys.contains_key(&app));
        // The second look finds what is there now; of two that looked at once, the first is kept.
        let kept = apps.keep(app, key(2), apps.forgotten).expect("kept");
        assert_eq!(apps.keep(app, key(3), apps.forgotten).expect("kept").id(), kept.id());
    }
}
