//! Where things lie under the data directory, and who may reach them.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{Account, Error};

/// `sun_path` less its NUL: 107 bytes on Linux, 103 on macOS and the BSDs.
const SOCKET_PATH_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// What PostgreSQL calls its socket, in the directory it is given.
const SOCKET_NAME: &str = "/.s.PGSQL.5432";

/// Where the database, files and keys lie unless someone says otherwise.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() { "/var/lib/picloud".into() } else { "./.picloud".into() }
}

/// Makes the data directory if it is not there, closed to others.
///
/// # Errors
/// What the file system says, with the path.
pub fn make_data_dir(data_dir: &Path) -> Result<(), Error> {
    if data_dir.is_dir() {
        return Ok(());
    }
    // Root's is passed through by the unprivileged user that PostgreSQL runs as; what lies in it is closed.
    let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
    make_dir(data_dir, mode).map_err(Error::io("make", data_dir))?;
    // It holds keys, and `./.picloud` often lies in someone's repository.
    let ignore = data_dir.join(".gitignore");
    fs::write(&ignore, "*\n").map_err(Error::io("write", ignore))
}

/// The paths of one data directory, absolute and without links.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
    pgdata: PathBuf,
}

impl Layout {
    /// Makes the data directory if it is not there.
    pub(super) fn prepare(data_dir: &Path) -> Result<Self, Error> {
        make_data_dir(data_dir)?;
        let root = data_dir.canonicalize().map_err(Error::io("open", data_dir))?;
        Ok(Self { pgdata: root.join("postgres"), root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// PostgreSQL's own directory.
    pub(super) fn pgdata(&self) -> &Path {
        &self.pgdata
    }

    /// Where `initdb` works; what is complete moves to [`Self::pgdata`].
    pub(super) fn unfinished(&self) -> PathBuf {
        self.root.join("postgres.unfinished")
    }

    /// Where PostgreSQL logs.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    /// The major version that made the cluster; none, if there is no cluster.
    pub(super) fn cluster_major(&self) -> Result<Option<u32>, Error> {
        let path = self.pgdata.join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(major) => Ok(Some(major)),
                Err(_) => Err(Error::io("understand", path)(io::ErrorKind::InvalidData.into())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Whether a user without further groups gets as far as the data directory.
    pub(super) fn check_can_be_entered(&self, user: &str, uid: u32, gid: u32) -> Result<(), Error> {
        let mut ways: Vec<&Path> = self.root.ancestors().collect();
        ways.reverse();
        for way in ways {
            let dir = way.metadata().map_err(Error::io("look at", way))?;
            let enter = match () {
                () if dir.uid() == uid => 0o100,
                () if dir.gid() == gid => 0o010,
                () => 0o001,
            };
            if dir.mode() & enter == 0 {
                return Err(Error::OutOfReach { user: user.to_owned(), blocked: way.to_owned() });
            }
        }
        Ok(())
    }

    /// A directory that only PostgreSQL's user may enter and whose path leaves room for a socket's name.
    pub(super) fn socket_dir(&self, account: &Account) -> Result<PathBuf, Error> {
        let beside = self.root.join("run");
        let fits = beside.as_os_str().len() + SOCKET_NAME.len() <= SOCKET_PATH_MAX;
        let dir = if fits { beside } else { elsewhere(&self.root) };
        make_dir(&dir, 0o700).map_err(Error::io("make", &dir))?;
        account.own(&dir)?;
        check_is_ours(&dir, account)?;
        Ok(dir)
    }
}

/// A short path for the sockets of a data directory with a long one.
fn elsewhere(data_dir: &Path) -> PathBuf {
    let digest = Sha256::digest(data_dir.as_os_str().as_bytes());
    let name: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    if rustix::process::geteuid().is_root() {
        return Path::new("/run/picloud").join(name);
    }
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_dir() && dir.is_absolute()) {
        Some(runtime) => runtime.join("picloud").join(name),
        None => PathBuf::from(format!("/tmp/picloud-{}-{name}", rustix::process::geteuid().as_raw())),
    }
}

/// In `/tmp` someone else could have been first.
fn check_is_ours(dir: &Path, account: &Account) -> Result<(), Error> {
    let wanted = match account {
        Account::Own => rustix::process::geteuid().as_raw(),
        Account::Other { uid, .. } => *uid,
    };
    let found = dir.symlink_metadata().map_err(Error::io("look at", dir))?;
    if found.is_dir() && found.uid() == wanted && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    let reason = "it is not a directory of PostgreSQL's user alone (remove it)";
    Err(Error::io("use", dir)(io::Error::new(io::ErrorKind::PermissionDenied, reason)))
}

/// Makes a directory with that mode; parents that are missing may be passed through by anyone, as usual.
fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(mode).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_never_gets_too_long() {
        let dir = tempfile::tempdir().unwrap();
        for length in 1..200 {
            let layout = Layout { root: dir.path().join("d".repeat(length)), pgdata: PathBuf::new() };
            let beside = layout.root.join("run");
            let chosen = if beside.as_os_str().len() + SOCKET_NAME.len() <= SOCKET_PATH_MAX {
                beside
            } else {
                elsewhere(&layout.root)
            };
            assert!(chosen.as_os_str().len() + SOCKET_NAME.len() <= SOCKET_PATH_MAX, "{}", chosen.display());
        }
    }

    #[test]
    fn two_long_paths_get_two_places_for_their_sockets() {
        assert_ne!(elsewhere(Path::new("/a")), elsewhere(Path::new("/b")));
    }

    #[test]
    fn a_closed_directory_on_the_way_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let layout = Layout::prepare(&dir.path().join("inner")).unwrap();
        let error = layout.check_can_be_entered("postgres", 4_000_000, 4_000_000).expect_err("closed");
        let Error::OutOfReach { blocked, .. } = error else { panic!("{error}") };
        assert_eq!(blocked, dir.path().canonicalize().unwrap());
    }
}
