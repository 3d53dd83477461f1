//! The data keys of this database, unwrapped once and kept.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use sqlx::PgPool;
use uuid::Uuid;

use super::{DataKey, MasterKey};
use crate::id::{AppId, DataKeyId};

/// Why a data key is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The database could not be asked.
    #[error("failed to look up a data key")]
    Database(#[from] sqlx::Error),
    /// The key is under another master key.
    #[error(
        "the master key does not fit this database: data key {0} was wrapped under another. \
         Use the master key file the database was first started with"
    )]
    WrongMasterKey(DataKeyId),
}

/// All data keys, by whose they are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keyring {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    master: MasterKey,
    pool: PgPool,
    instance: Arc<DataKey>,
    apps: RwLock<HashMap<AppId, Arc<DataKey>>>,
}

impl Keyring {
    /// Opens it; makes the instance's key when there is none yet.
    ///
    /// # Errors
    /// [`KeyringError::WrongMasterKey`] when the database was first started with another master key.
    pub async fn open(master: MasterKey, pool: PgPool) -> Result<Self, KeyringError> {
        let instance = load_or_make(&master, &pool, None).await?;
        Ok(Self { inner: Arc::new(Inner { master, pool, instance, apps: RwLock::default() }) })
    }

    /// The instance's own key.
    #[must_use]
    pub fn instance(&self) -> &Arc<DataKey> {
        &self.inner.instance
    }

    /// An app's key; made when it has none yet.
    ///
    /// # Errors
    /// When the database cannot be asked, or the key is under another master key.
    pub async fn app(&self, app: AppId) -> Result<Arc<DataKey>, KeyringError> {
        if let Some(known) = self.known(app) {
            return Ok(known);
        }
        let key = load_or_make(&self.inner.master, &self.inner.pool, Some(app)).await?;
        let mut apps = self.inner.apps.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(apps.entry(app).or_insert(key)))
    }

    /// An app's key when it has been used before on this node: the usual case, without waiting.
    #[must_use]
    pub fn known(&self, app: AppId) -> Option<Arc<DataKey>> {
        self.inner.apps.read().unwrap_or_else(PoisonError::into_inner).get(&app).cloned()
    }
}

async fn load_or_make(master: &MasterKey, pool: &PgPool, app: Option<AppId>) -> Result<Arc<DataKey>, KeyringError> {
    let app = app.map(Uuid::from);
    if let Some(key) = load(master, pool, app).await? {
        return Ok(key);
    }
    let (key, wrapped) = master.new_data_key(DataKeyId::generate());
    let made = sqlx::query!(
        "insert into live.secret_material (id, kind, app_id, material) values ($1, 'data_key', $2, $3)
        on conflict do nothing",
        key.id().uuid(),
        app,
        wrapped
    )
    .execute(pool)
    .await?;
    if made.rows_affected() == 1 {
        return Ok(Arc::new(key));
    }
    // Another node was quicker: its key is the one.
    load(master, pool, app).await?.ok_or(KeyringError::Database(sqlx::Error::RowNotFound))
}

async fn load(master: &MasterKey, pool: &PgPool, app: Option<Uuid>) -> Result<Option<Arc<DataKey>>, KeyringError> {
    let row = sqlx::query!(
        "select id, material from live.secret_material where kind = 'data_key' and app_id is not distinct from $1",
        app
    )
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        let id = DataKeyId::from(row.id);
        master.unwrap_data_key(id, &row.material).map(Arc::new).map_err(|_| KeyringError::WrongMasterKey(id))
    })
    .transpose()
}
