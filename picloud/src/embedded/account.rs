//! As whom PostgreSQL runs: it refuses to be root.

use std::{
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

use super::Error;

/// Whom root runs PostgreSQL as, in order of preference.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// A user of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// Whoever runs this process, who is not root.
    Own,
    /// We are root and give our rights up.
    Other {
        /// For messages.
        name: String,
        /// Its user id.
        uid: u32,
        /// Its primary group.
        gid: u32,
    },
}

impl Account {
    /// Ourselves, unless we are root; then the cluster's owner, or an unprivileged user for a new one.
    ///
    /// # Errors
    /// [`Error::NoAccount`].
    pub fn to_run(pgdata: &Path) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        let owner = pgdata.metadata().ok().filter(|owned| owned.uid() != 0);
        if let Some(owned) = owner {
            return Ok(Self::Other { name: format!("#{}", owned.uid()), uid: owned.uid(), gid: owned.gid() });
        }
        CANDIDATES.into_iter().find_map(Self::named).ok_or(Error::NoAccount)
    }

    fn named(name: &str) -> Option<Self> {
        Some(Self::Other { name: name.to_owned(), uid: id_of(name, "-u")?, gid: id_of(name, "-g")? })
    }

    /// Makes a command run as this account.
    pub fn assume<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        match self {
            Self::Own => command,
            // With a `uid` and no groups given, the standard library also gives up root's supplementary groups.
            Self::Other { uid, gid, .. } => command.uid(*uid).gid(*gid),
        }
    }

    /// Makes this account the owner of a path.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn own(&self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Own => Ok(()),
            Self::Other { uid, gid, .. } => {
                chown(path, Some(*uid), Some(*gid)).map_err(Error::io("hand over to PostgreSQL's user", path))
            }
        }
    }
}

/// Asks `id`, which knows every directory service the machine uses.
fn id_of(name: &str, what: &str) -> Option<u32> {
    let output = Command::new("id").args([what, name]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
