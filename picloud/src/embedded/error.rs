//! Everything that can keep the embedded PostgreSQL from running, each with what to do about it.

use std::{io, path::PathBuf, process::ExitStatus};

use super::find::{NEWEST, OLDEST};

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None on the machine.
    #[error(
        "found no PostgreSQL {OLDEST} to {NEWEST} on this machine{}\n{}",
        unusable(others),
        super::find::how_to_install()
    )]
    NotInstalled {
        /// Versions that were found and cannot be used.
        others: Vec<u32>,
    },
    /// The cluster was made by a version that is gone.
    #[error(
        "the database in {} was made by PostgreSQL {cluster}, and this machine has {}\ninstall PostgreSQL {cluster} \
         beside it (on Debian and Ubuntu: sudo apt install postgresql-{cluster}), or choose another --data-dir",
        data_dir.display(),
        listed(found)
    )]
    OtherVersion {
        /// Where it is.
        data_dir: PathBuf,
        /// The major version that made it.
        cluster: u32,
        /// The major versions that are there.
        found: Vec<u32>,
    },
    /// Another service is using the directory.
    #[error(
        "another picloud{} is using the data directory {}\nstop it first, or give this one a directory of its own \
         with --data-dir",
        pid.map_or_else(String::new, |pid| format!(" (process {pid})")),
        data_dir.display()
    )]
    InUse {
        /// The directory.
        data_dir: PathBuf,
        /// Who has it, if it said so.
        pid: Option<u32>,
    },
    /// PostgreSQL's user cannot reach the data directory.
    #[error(
        "user `{user}`, as whom PostgreSQL runs when picloud is started by root, may not enter {}\nchoose a place it \
         can reach with --data-dir (such as /var/lib/picloud), or start picloud as another user than root",
        blocked.display()
    )]
    OutOfReach {
        /// Whom PostgreSQL runs as.
        user: String,
        /// The first directory on the way that is closed.
        blocked: PathBuf,
    },
    /// Root has nobody to run PostgreSQL as.
    #[error(
        "PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor `nobody`\nmake one \
         (useradd --system postgres), or start picloud as another user than root"
    )]
    NoAccount,
    /// `initdb` failed.
    #[error("failed to make a database in {}: {output}", data_dir.display())]
    Init {
        /// Where.
        data_dir: PathBuf,
        /// What `initdb` said.
        output: String,
    },
    /// The server ended before it could be connected to.
    #[error("PostgreSQL ended while starting ({status}); its last words, from {}:\n{said}", log.display())]
    Exited {
        /// How.
        status: ExitStatus,
        /// Where it logs.
        log: PathBuf,
        /// The end of that.
        said: String,
    },
    /// It went on running after it was asked to stop.
    #[error("PostgreSQL (process {pid}) did not stop")]
    WontStop {
        /// Its process.
        pid: u32,
    },
    /// The running server refused a statement.
    #[error("failed to prepare the embedded database")]
    Database(#[source] sqlx::Error),
    /// A file, a directory or a process could not be made or read.
    #[error("failed to {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Names what was being done, for `map_err`.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

fn listed(majors: &[u32]) -> String {
    if majors.is_empty() {
        return "none that can be used".to_owned();
    }
    majors.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

fn unusable(others: &[u32]) -> String {
    if others.is_empty() { String::new() } else { format!(" (only {})", listed(others)) }
}
