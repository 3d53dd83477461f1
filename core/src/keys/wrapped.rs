//! The rows of data keys, and the master key they are under.
//!
//! All of them are under one master key at any time: a rotation holds [`LOCK`] while it wraps them anew, and a row is added
//! under it too. The files change under it alone, so whoever holds it finds the key that fits in one of two places.

use std::sync::{Arc, PoisonError, RwLock};

use sqlx::{Connection as _, PgConnection, PgPool};
use tracing::info;
use uuid::Uuid;

use super::{DataKey, KeyringError, MasterKey, master_file::MasterKeyFile};
use crate::{
    backup::NeededKey,
    event::master_key::Rotated,
    id::{AppId, DataKeyId},
};

/// An advisory lock: whoever changes the master key holds it alone, whoever adds a data key shares it.
const LOCK: i64 = 7_305_804_404;

/// The data keys in the database.
#[derive(Debug)]
pub(super) struct WrappedKeys {
    pool: PgPool,
    file: MasterKeyFile,
    // What is here may be behind: the rows say which one it is, and `settle` finds it.
    master: RwLock<Arc<MasterKey>>,
}

impl WrappedKeys {
    pub(super) fn new(master: MasterKey, pool: PgPool) -> Self {
        Self { pool, file: master.file().clone(), master: RwLock::new(Arc::new(master)) }
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(super) fn master(&self) -> Arc<MasterKey> {
        Arc::clone(&self.master.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key of an app, or the instance's; made when there is none yet.
    pub(super) async fn load_or_make(&self, app: Option<AppId>) -> Result<DataKey, KeyringError> {
        let mut master = self.master();
        loop {
            let wrong = match load_or_make(&self.pool, &master, app.map(Uuid::from)).await {
                Err(wrong @ KeyringError::WrongMasterKey { .. }) => wrong,
                answer => return answer,
            };
            // Rotated, perhaps, by another node. When this one knew that already, the row is beyond help.
            let settled = self.settle().await?;
            if settled.fingerprint() == master.fingerprint() {
                return Err(wrong);
            }
            master = settled;
        }
    }

    /// The master key that the rows are under, with the row that shows it.
    pub(super) async fn needed(&self, connection: &mut PgConnection) -> Result<NeededKey, KeyringError> {
        let (instance, master) = (find(connection, None).await?.ok_or(sqlx::Error::RowNotFound)?, self.master());
        instance.unwrap(&master)?;
        Ok(NeededKey::new(&master, instance.id, &instance.material))
    }

    /// Erases an app's key. Says whether there was one.
    pub(super) async fn erase(&self, app: AppId) -> Result<bool, KeyringError> {
        // What is under it cannot be read any more and is of no use to anyone.
        let erased = sqlx::query!(
            "delete from live.secret_material where kind in ('data_key', 'letter_key', 'app_secret') and app_id = $1",
            Uuid::from(app)
        )
        .execute(&self.pool)
        .await?;
        Ok(erased.rows_affected() > 0)
    }

    /// Puts all data keys under a new master key.
    pub(super) async fn rotate(&self) -> Result<Rotated, KeyringError> {
        let mut transaction = self.pool.begin().await?;
        // After this the rows are under the file's key, so what else was staged is not in use and may be overwritten.
        let from = self.settle_in(&mut transaction).await?;
        let to = self.file.stage()?;
        rewrap(&mut transaction, &from, &to).await?;
        transaction.commit().await?;
        // From here on the new key is the one, whatever becomes of this process. Putting it in its place is the same work
        // as after a crash, so that there is one way to do it; somebody may have been quicker.
        self.settle().await?;
        Ok(Rotated { from: from.fingerprint().to_owned(), to: to.fingerprint().to_owned() })
    }

    /// Finds the master key that the rows are under, puts it in its place, and uses it from now on.
    pub(super) async fn settle(&self) -> Result<Arc<MasterKey>, KeyringError> {
        let mut transaction = self.pool.begin().await?;
        let master = self.settle_in(&mut transaction).await?;
        transaction.commit().await?;
        Ok(master)
    }

    /// Holds the lock to the end of the transaction.
    async fn settle_in(&self, transaction: &mut PgConnection) -> Result<Arc<MasterKey>, KeyringError> {
        sqlx::query!("select pg_advisory_xact_lock($1)", LOCK).execute(&mut *transaction).await?;
        let instance = find(transaction, None).await?.ok_or(sqlx::Error::RowNotFound)?;
        // The files are small and seldom touched. They are read and moved without an `await`: nobody who is dropped half-way
        // leaves a thread behind that goes on without the lock.
        let here = self.file.load()?;
        if instance.is_under(&here) {
            return Ok(self.adopt(here));
        }
        let Some(next) = self.file.load_next()?.filter(|next| instance.is_under(next)) else {
            return Err(instance.is_not_under(&here));
        };
        let master = self.adopt(next);
        self.file.promote()?;
        info!(master_key.fingerprint = master.fingerprint(), "The new master key is in its place");
        Ok(master)
    }

    fn adopt(&self, master: MasterKey) -> Arc<MasterKey> {
        let master = Arc::new(master);
        *self.master.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&master);
        master
    }
}

/// A data key's row.
struct Wrapped {
    id: DataKeyId,
    material: Vec<u8>,
}

impl Wrapped {
    fn is_under(&self, master: &MasterKey) -> bool {
        master.unwrap_data_key(self.id, &self.material).is_ok()
    }

    fn is_not_under(&self, master: &MasterKey) -> KeyringError {
        KeyringError::WrongMasterKey {
            key: self.id,
            path: master.file().path().to_owned(),
            fingerprint: master.fingerprint().to_owned(),
        }
    }

    fn unwrap(&self, master: &MasterKey) -> Result<DataKey, KeyringError> {
        master.unwrap_data_key(self.id, &self.material).map_err(|_| self.is_not_under(master))
    }
}

async fn load_or_make(pool: &PgPool, master: &MasterKey, app: Option<Uuid>) -> Result<DataKey, KeyringError> {
    let mut connection = pool.acquire().await?;
    if let Some(found) = find(&mut connection, app).await? {
        return found.unwrap(master);
    }
    let mut transaction = connection.begin().await?;
    // While this is held nobody rotates; and if somebody has, the instance's key shows it. Without either, the new row could
    // be left behind under the old key.
    sqlx::query!("select pg_advisory_xact_lock_shared($1)", LOCK).execute(&mut *transaction).await?;
    if let Some(instance) = find(&mut transaction, None).await? {
        instance.unwrap(master)?;
    }
    let (key, material) = master.new_data_key(DataKeyId::generate());
    let made = sqlx::query!(
        "insert into live.secret_material (id, kind, app_id, material) values ($1, 'data_key', $2, $3)
        on conflict do nothing",
        key.id().uuid(),
        app,
        material
    )
    .execute(&mut *transaction)
    .await?;
    let key = if made.rows_affected() == 1 {
        key
    } else {
        // Another node was quicker: its key is the one.
        find(&mut transaction, app).await?.ok_or(sqlx::Error::RowNotFound)?.unwrap(master)?
    };
    transaction.commit().await?;
    Ok(key)
}

async fn find(connection: &mut PgConnection, app: Option<Uuid>) -> Result<Option<Wrapped>, sqlx::Error> {
    let row = sqlx::query!(
        "select id, material from live.secret_material where kind = 'data_key' and app_id is not distinct from $1",
        app
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Wrapped { id: row.id.into(), material: row.material }))
}

async fn rewrap(connection: &mut PgConnection, from: &MasterKey, to: &MasterKey) -> Result<(), KeyringError> {
    let rows = sqlx::query!("select id, material from live.secret_material where kind = 'data_key' for update")
        .fetch_all(&mut *connection)
        .await?;
    let (mut ids, mut materials) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in rows {
        let wrapped = Wrapped { id: row.id.into(), material: row.material };
        let material =
            from.rewrap_data_key(to, wrapped.id, &wrapped.material).map_err(|_| wrapped.is_not_under(from))?;
        ids.push(row.id);
        materials.push(material);
    }
    sqlx::query!(
        "update live.secret_material m
        set material = anew.material
        from unnest($1::uuid[], $2::bytea[]) as anew (id, material)
        where m.id = anew.id",
        &ids,
        &materials
    )
    .execute(connection)
    .await?;
    Ok(())
}
