//! Where the master key lies: a file that only the service can read, and its two neighbours.
//!
//! - `master.key` is the key in use, but for the moment between the commit of a rotation and the end of it;
//! - `master.key.next` is the key of a rotation under way. Left by one that was cut short it is either in use, and then whoever
//!   next looks for the key that fits puts it in its place, or it is not, and then the next rotation overwrites it;
//! - `master.key.previous` is the key before the last rotation. It is kept, for it opens the backups from before; who keeps
//!   older ones keeps their key with them.
//!
//! Which of them fits is for the database to say: `wrapped` asks it, and calls [`MasterKeyFile::stage`] and
//! [`MasterKeyFile::promote`] under the database's lock alone. Files are written beside and moved into place, so there is
//! never half a key, and never none.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ulid::Ulid;
use zeroize::Zeroizing;

use super::master::{MasterKey, SECRET_BYTES, Secret, random_secret};

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file cannot be read or made.
    #[error("failed to read or make the master key file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("{} is not a master key file: expected one line of 44 characters (base64 of 32 bytes)", .0.display())]
    Malformed(PathBuf),
    /// Others than its owner can read it.
    #[error("the master key file {} can be read by others (mode {mode:o}): run `chmod 600 {}`", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It cannot be replaced, so nothing was changed.
    #[error(
        "the master key file {} cannot be replaced, so the key was not changed: \
         the service must be allowed to write to its folder, and the file must not be mounted by itself",
        path.display()
    )]
    Fixed {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The new key is in use, but not in its place.
    #[error(
        "the data keys are under the new master key in {file}.next, but it could not be moved to {file}: \
         keep it, the next start tries again",
        file = path.display()
    )]
    NotPromoted {
        /// Where it belongs.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The file of a master key.
#[derive(Clone, Debug)]
pub(super) struct MasterKeyFile {
    path: PathBuf,
}

impl MasterKeyFile {
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The key in the file; makes one when there is no file.
    pub(super) fn load_or_make(&self) -> Result<MasterKey, MasterKeyError> {
        match self.read(&self.path)? {
            Some(key) => Ok(key),
            None => self.make(),
        }
    }

    /// The key in the file.
    pub(super) fn load(&self) -> Result<MasterKey, MasterKeyError> {
        self.read(&self.path)?
            .ok_or_else(|| MasterKeyError::File { path: self.path.clone(), source: io::ErrorKind::NotFound.into() })
    }

    /// The key of a rotation that is under way, or was cut short.
    pub(super) fn load_next(&self) -> Result<Option<MasterKey>, MasterKeyError> {
        self.read(&self.next())
    }

    /// Writes a fresh key to the place of the next one. When this returns, it is there to stay.
    pub(super) fn stage(&self) -> Result<MasterKey, MasterKeyError> {
        self.rehearse().map_err(|source| MasterKeyError::Fixed { path: self.path.clone(), source })?;
        let secret = random_secret();
        let next = self.next();
        self.draft(&secret)
            .and_then(|draft| fs::rename(draft, &next))
            .and_then(|()| self.sync_folder())
            .map_err(|source| MasterKeyError::File { path: next, source })?;
        Ok(MasterKey::new(&secret, self.clone()))
    }

    /// Puts the next key in its place, and keeps the one before.
    pub(super) fn promote(&self) -> Result<(), MasterKeyError> {
        self.keep_as_previous()
            .and_then(|()| fs::rename(self.next(), &self.path))
            .and_then(|()| self.sync_folder())
            .map_err(|source| MasterKeyError::NotPromoted { path: self.path.clone(), source })
    }

    fn keep_as_previous(&self) -> io::Result<()> {
        let previous = self.beside("previous");
        // Not by renaming a link over it: when both are the same file already, that does nothing and leaves the link behind.
        match fs::remove_file(&previous) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::hard_link(&self.path, previous),
        }
    }

    fn make(&self) -> Result<MasterKey, MasterKeyError> {
        let failed = |source| MasterKeyError::File { path: self.path.clone(), source };
        let secret = random_secret();
        let draft = self.draft(&secret).map_err(failed)?;
        // Linked, not renamed: of two nodes that share the folder one makes the key and the other finds it.
        let linked = fs::hard_link(&draft, &self.path);
        fs::remove_file(&draft).and_then(|()| self.sync_folder()).map_err(failed)?;
        match linked {
            Ok(()) => Ok(MasterKey::new(&secret, self.clone())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.load_or_make(),
            Err(source) => Err(failed(source)),
        }
    }

    fn read(&self, path: &Path) -> Result<Option<MasterKey>, MasterKeyError> {
        let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
        let mut file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(MasterKeyError::Open { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(64));
        file.read_to_end(&mut text).map_err(failed)?;
        let secret = parse(&text).ok_or_else(|| MasterKeyError::Malformed(path.to_owned()))?;
        Ok(Some(MasterKey::new(&secret, self.clone())))
    }

    /// Writes a key to a file that nobody looks for.
    fn draft(&self, secret: &Secret) -> io::Result<PathBuf> {
        let text = Zeroizing::new(format!("{}\n", BASE64_STANDARD.encode(**secret)));
        let draft = self.beside(&Ulid::generate().to_string());
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        if written.is_err() {
            // A full disk, most likely, is no place for half a key.
            fs::remove_file(&draft)?;
        }
        written.map(|()| draft)
    }

    /// Fails where [`MasterKeyFile::promote`] would: a file that is mounted by itself can be neither linked nor replaced.
    fn rehearse(&self) -> io::Result<()> {
        let link = self.beside(&Ulid::generate().to_string());
        fs::hard_link(&self.path, &link)?;
        fs::remove_file(link)
    }

    fn next(&self) -> PathBuf {
        self.beside("next")
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(".");
        path.push(ending);
        path.into()
    }

    /// What was moved stays moved, also when the machine stops.
    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()
    }
}

fn parse(text: &[u8]) -> Option<Secret> {
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(text.trim_ascii()).ok()?);
    let secret: &[u8; SECRET_BYTES] = bytes.as_slice().try_into().ok()?;
    Some(Zeroizing::new(*secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("master.key")
        }

        fn file(&self) -> MasterKeyFile {
            MasterKeyFile::at(&self.path())
        }

        /// The names in it, in order; all are for their owner alone.
        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.0.path()).expect("a folder").map(|entry| entry.expect("an entry"));
            let mut names: Vec<String> = entries
                .inspect(|entry| assert_eq!(entry.metadata().expect("there").permissions().mode() & 0o777, 0o600))
                .map(|entry| entry.file_name().into_string().expect("plain"))
                .collect();
            names.sort();
            names
        }
    }

    fn next(file: &MasterKeyFile) -> String {
        file.load_next().expect("readable").expect("there").fingerprint().to_owned()
    }

    fn previous(file: &MasterKeyFile) -> String {
        file.read(&file.beside("previous")).expect("readable").expect("there").fingerprint().to_owned()
    }

    #[test]
    fn the_file_is_made_once_for_its_owner_alone() {
        let folder = Folder::new();
        let made = MasterKey::load_or_make(&folder.path()).expect("made");
        assert_eq!(folder.names(), ["master.key"]);
        let read = MasterKey::load_or_make(&folder.path()).expect("read");
        assert_eq!(made.fingerprint(), read.fingerprint());
    }

    #[test]
    fn of_many_that_make_it_at_once_one_does_and_all_have_its_key() {
        let folder = Folder::new();
        let begin = std::sync::Barrier::new(8);
        let make = || {
            begin.wait();
            folder.file().load_or_make().expect("made or found").fingerprint().to_owned()
        };
        let made: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let kept = folder.file().load().expect("there");
        assert!(made.iter().all(|fingerprint| fingerprint == kept.fingerprint()), "{made:?}");
        assert_eq!(folder.names(), ["master.key"]);
    }

    #[test]
    fn a_staged_key_is_not_in_use_until_it_is_promoted_and_the_one_before_is_kept() {
        let folder = Folder::new();
        let file = folder.file();
        let first = file.load_or_make().expect("made");
        let second = file.stage().expect("staged");
        assert_ne!(first.fingerprint(), second.fingerprint());
        assert_eq!(file.load().expect("there").fingerprint(), first.fingerprint());
        assert_eq!(next(&file), second.fingerprint());

        file.promote().expect("promoted");
        assert_eq!(folder.names(), ["master.key", "master.key.previous"]);
        assert_eq!(file.load().expect("there").fingerprint(), second.fingerprint());
        assert_eq!(previous(&file), first.fingerprint());

        // And once more, over what the first time left.
        let third = file.stage().expect("staged");
        file.promote().expect("promoted");
        assert_eq!(folder.names(), ["master.key", "master.key.previous"]);
        assert_eq!(file.load().expect("there").fingerprint(), third.fingerprint());
        assert_eq!(previous(&file), second.fingerprint());
    }

    #[test]
    fn a_promotion_that_was_cut_short_is_repeated_and_leaves_nothing_behind() {
        let folder = Folder::new();
        let file = folder.file();
        let first = file.load_or_make().expect("made");
        let second = file.stage().expect("staged");
        file.keep_as_previous().expect("kept");
        file.promote().expect("promoted");
        assert_eq!(folder.names(), ["master.key", "master.key.previous"]);
        assert_eq!(file.load().expect("there").fingerprint(), second.fingerprint());
        assert_eq!(previous(&file), first.fingerprint());
    }

    #[test]
    fn what_was_staged_and_never_used_is_overwritten() {
        let folder = Folder::new();
        let file = folder.file();
        file.load_or_make().expect("made");
        let (abandoned, staged) = (file.stage().expect("staged"), file.stage().expect("staged again"));
        assert_ne!(abandoned.fingerprint(), staged.fingerprint());
        assert_eq!(next(&file), staged.fingerprint());
        assert_eq!(folder.names(), ["master.key", "master.key.next"]);
    }

    #[test]
    fn nothing_is_staged_where_it_could_not_be_promoted() {
        let folder = Folder::new();
        let refused = folder.file().stage().expect_err("there is nothing to replace");
        assert!(matches!(refused, MasterKeyError::Fixed { .. }), "{refused:?}");
        assert!(folder.names().is_empty());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let folder = Folder::new();
        MasterKey::load_or_make(&folder.path()).expect("made");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o640)).expect("chmod");
        let refused = MasterKey::load_or_make(&folder.path()).expect_err("open to others");
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
    }

    #[test]
    fn another_file_is_not_taken_for_a_key() {
        let folder = Folder::new();
        MasterKey::load_or_make(&folder.path()).expect("made");
        fs::write(folder.path(), "hello").expect("written");
        assert!(matches!(MasterKey::load_or_make(&folder.path()), Err(MasterKeyError::Malformed(_))));
    }
}
