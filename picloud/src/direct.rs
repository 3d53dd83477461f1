//! The database of an instance, for commands that work on it themselves, whether its service runs or not.

use anyhow::{Context, bail, ensure};
use picloud_core::{
    event::{Actor, Event},
    keys::{Keyring, MasterKey},
    log::{Commit, Committer, CommitterConfig, NewEvent, Node},
};
use sqlx::{
    PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::mpsc;

use crate::{
    config::{self, Config},
    embedded::{self, Embedded, Search},
};

/// A command does one thing after another.
const POOL_SIZE: u32 = 4;

/// A database, and its server if that is up only for this command.
#[derive(Debug)]
pub struct Direct {
    /// Connections without limits of time.
    pub pool: PgPool,
    embedded: Option<Embedded>,
}

impl Direct {
    /// Reaches the database of a configuration; an embedded one is brought up, unless its service has done so.
    ///
    /// # Errors
    /// When there is none, or it cannot be reached.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let (embedded, options) = match &config.database {
            config::Database::Embedded => {
                let dir = &config.data_dir;
                ensure!(
                    dir.join("postgres").is_dir(),
                    "there is no instance in {}: name its directory with --data-dir, or its database with DATABASE_URL",
                    dir.display()
                );
                match Embedded::start(dir, &Search::system()).await {
                    Ok(embedded) => {
                        let options = embedded.options();
                        (Some(embedded), options)
                    }
                    Err(in_use @ embedded::Error::InUse { .. }) => {
                        let Some(options) = Embedded::running_in(dir) else { bail!(in_use) };
                        (None, options)
                    }
                    Err(error) => bail!(error),
                }
            }
            config::Database::Url { listen, .. } => (None, parse(listen)?),
        };
        let direct = Self::connect(embedded, options).await?;
        let known: bool =
            sqlx::query_scalar("select to_regclass('live.seal_marks') is not null").fetch_one(&direct.pool).await?;
        ensure!(known, "the database is not one of this version of PiCloud: start `picloud serve` on it once");
        Ok(direct)
    }

    /// Reaches the database of a configuration that may hold no instance yet; an embedded one is made if there is none.
    ///
    /// # Errors
    /// When a service has it, or it cannot be reached.
    pub async fn open_any(config: &Config) -> anyhow::Result<Self> {
        let (embedded, options) = match &config.database {
            config::Database::Embedded => {
                embedded::make_data_dir(&config.data_dir)?;
                let embedded = Embedded::start(&config.data_dir, &Search::system()).await?;
                let options = embedded.options();
                (Some(embedded), options)
            }
            config::Database::Url { listen, .. } => (None, parse(listen)?),
        };
        Self::connect(embedded, options).await
    }

    async fn connect(embedded: Option<Embedded>, options: PgConnectOptions) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(POOL_SIZE)
            .connect_with(options.application_name("picloud"))
            .await
            .context("failed to connect to the database")?;
        Ok(Self { pool, embedded })
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// When there is none to be had.
    pub async fn connection(&self) -> anyhow::Result<PgConnection> {
        Ok(self.pool.acquire().await.context("failed to connect to the database")?.detach())
    }

    /// The keys of the instance, when its master key is here.
    ///
    /// # Errors
    /// When the file is there and its key is not the database's.
    pub async fn keyring(&self, config: &Config) -> anyhow::Result<Option<Keyring>> {
        if !config.master_key_file.exists() {
            return Ok(None);
        }
        let master = MasterKey::load_or_make(&config.master_key_file)?;
        Ok(Some(Keyring::open(master, self.pool.clone()).await?))
    }

    /// Appends an event of the instance's own, in nobody's name: as a node that lives for no longer than that.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn append(&self, event: impl Into<Event> + Send) -> anyhow::Result<()> {
        let event = NewEvent::new(None, &Actor::SYSTEM, event);
        let options = (*self.pool.connect_options()).clone();
        let node = Node::register(&self.pool, "command line", env!("CARGO_PKG_VERSION")).await?;
        // Nobody follows the log here.
        let (appended, _) = mpsc::unbounded_channel();
        let (committer, task) = Committer::start(options, node.epoch(), CommitterConfig::default(), appended, None);
        let committed = committer.commit(Commit::new(node.authority(), vec![event])).await;
        committer.close();
        let _ = task.await;
        node.retire(&self.pool).await?;
        committed?;
        Ok(())
    }

    /// Ends the connections, and the server if it was brought up for this.
    ///
    /// # Errors
    /// When the server does not end.
    pub async fn close(self) -> anyhow::Result<()> {
        self.pool.close().await;
        match self.embedded {
            Some(embedded) => Ok(embedded.stop().await?),
            None => Ok(()),
        }
    }
}

fn parse(url: &config::DatabaseUrl) -> anyhow::Result<PgConnectOptions> {
    url.expose().parse().context("failed to read the database's URL")
}
