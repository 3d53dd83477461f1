//! The database of a service: its own or another's, with the schema of this version.

use std::time::Duration;

use anyhow::Context;
use picloud_core::log::schema;
use sqlx::{
    Connection as _, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tracing::info;

use crate::{
    config::{self, Config},
    embedded::{Embedded, Search},
};

/// Enough for requests that read; the committer and LISTEN have connections of their own.
const POOL_SIZE: u32 = 24;

/// For how long after its last use a connection is taken to be alive.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// A plan is made once and kept: one that was made while a table was small has to go by the index all the same. (Measured on
/// a fresh instance, analysed when it held few entries: 1 700 read-modify-writes a second instead of 5 000.)
const BY_INDEX: [(&str, &str); 2] = [("enable_seqscan", "off"), ("jit", "off")];

/// What a service stores everything in.
#[derive(Debug)]
pub struct Database {
    /// For whoever reads.
    pub pool: PgPool,
    /// For connections that must be direct: LISTEN and the committer.
    pub direct: PgConnectOptions,
    embedded: Option<Embedded>,
}

impl Database {
    /// Brings it up if it is ours, connects, and brings its schema up to date.
    ///
    /// # Errors
    /// Whatever is in the way, with what to do about it.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let (embedded, pooled, direct) = match &config.database {
            config::Database::Embedded => {
                let embedded = Embedded::start(&config.data_dir, &Search::system()).await?;
                let options = embedded.options();
                (Some(embedded), options.clone().options(BY_INDEX), options)
            }
            config::Database::Url { url, listen } => {
                let parse = |url: &config::DatabaseUrl| {
                    let options = url.expose().parse::<PgConnectOptions>();
                    options
                        .map(|options| options.application_name("picloud"))
                        .context("failed to read the database's URL")
                };
                let (pooled, direct) = (parse(url)?, parse(listen)?);
                // A pooler between would refuse settings, or leave them to whoever gets the connection next.
                let is_direct = url.expose() == listen.expose();
                (None, if is_direct { pooled.options(BY_INDEX) } else { pooled }, direct)
            }
        };
        let pool = PgPoolOptions::new()
            .max_connections(POOL_SIZE)
            // Asking a connection first whether it is there would double the round trips of every read. One that was used
            // just now is; one that has lain for a while may have been lost with its server.
            .test_before_acquire(false)
            .before_acquire(|connection, about| {
                Box::pin(async move {
                    if about.idle_for > TRUSTED_FOR {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(pooled)
            .await
            .with_context(|| format!("failed to connect to {}", place(&config.database)))?;
        schema::migrate(&pool).await?;
        info!("Database is up");
        Ok(Self { pool, direct, embedded })
    }

    /// Whether nobody else can reach it: it is our own, and we hold its directory.
    #[must_use]
    pub const fn is_ours_alone(&self) -> bool {
        self.embedded.is_some()
    }

    /// Which one it is, for people.
    #[must_use]
    pub fn described(&self) -> &'static str {
        if self.embedded.is_some() { "embedded PostgreSQL" } else { "your PostgreSQL" }
    }

    /// Closes connections, and ends the server if it is ours.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn close(self) -> anyhow::Result<()> {
        self.pool.close().await;
        match self.embedded {
            Some(embedded) => Ok(embedded.stop().await?),
            None => Ok(()),
        }
    }
}

fn place(database: &config::Database) -> String {
    match database {
        config::Database::Embedded => "the embedded PostgreSQL".to_owned(),
        config::Database::Url { url, .. } => url.to_string(),
    }
}
