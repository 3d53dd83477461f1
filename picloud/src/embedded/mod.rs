//! The PostgreSQL that PiCloud brings up for itself when it is given none.
//!
//! [`Embedded::start`] finds an installation on the machine ([`find`]), makes a private cluster under the data
//! directory (`cluster`), or takes over the one that a killed service left running (`postmaster`), and keeps it up
//! until [`Embedded::stop`]. It listens on a Unix socket in a directory that only its owner may enter, so there is no
//! password to keep. What is inside the database is nobody's business here.

mod account;
mod cluster;
mod connect;
mod error;
pub mod find;
mod layout;
mod lock;
mod memory;
mod postmaster;
mod settings;
mod supervisor;

use std::{path::Path, time::Duration};

use sqlx::postgres::PgConnectOptions;

pub use account::Account;
pub use cluster::Cluster;
pub use error::Error;
pub use find::{Installation, Search};
pub use layout::{default_data_dir, make_data_dir};
pub use supervisor::Embedded;

use layout::Layout;
use lock::Lock;
use postmaster::Postmaster;

/// How long a server that turns us away may take to end.
const LEAVES_WITHIN: Duration = Duration::from_secs(30);

impl Embedded {
    /// Brings the data directory's database up, made first if there is none.
    ///
    /// Dropping the future, or the handle it gives, asks PostgreSQL to stop.
    ///
    /// # Errors
    /// [`Error`], when another service has the directory, no installation is found, or PostgreSQL does not start.
    pub async fn start(data_dir: &Path, search: &Search) -> Result<Self, Error> {
        let layout = Layout::prepare(data_dir)?;
        let lock = Lock::take(layout.root())?;
        let account = Account::to_run(layout.pgdata())?;
        if let Account::Other { name, uid, gid } = &account {
            layout.check_can_be_entered(name, *uid, *gid)?;
        }
        let installation = find::choose(search.installations(), layout.cluster_major()?, layout.root())?;
        let cluster = Cluster::new(installation, layout, account)?;
        let postmaster = loop {
            let mut postmaster = cluster.bring_up().await?;
            match connect::ensure_database(&postmaster.socket_dir).await {
                Ok(()) => break postmaster,
                // One that was taken over can have been told to stop just before, by whoever ended the service that
                // started it; then it is followed by one of our own.
                Err(_) if postmaster.is_adopted() && postmaster.ends_within(LEAVES_WITHIN).await => {}
                Err(error) => return Err(error),
            }
        };
        Ok(Self::supervise(cluster, postmaster, lock))
    }

    /// How to connect to the server of a data directory that a service has brought up, if there is one.
    #[must_use]
    pub fn running_in(data_dir: &Path) -> Option<PgConnectOptions> {
        let pgdata = data_dir.canonicalize().ok()?.join("postgres");
        let postmaster = Postmaster::running_in(&pgdata)?;
        let options = connect::options(&postmaster.socket_dir, connect::DATABASE);
        postmaster.abandon();
        Some(options)
    }

    /// How to connect to it.
    #[must_use]
    pub fn options(&self) -> PgConnectOptions {
        connect::options(self.socket_dir(), connect::DATABASE)
    }

    /// The same as a URL, for `psql` and for people.
    #[must_use]
    pub fn url(&self) -> String {
        connect::url(self.socket_dir(), connect::DATABASE)
    }
}
