//! The master key: a file that only the service can read. It wraps data keys and nothing else.

use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead as _, KeyInit as _, Payload},
};
use zeroize::Zeroizing;

use super::{CannotOpen, DataKey};
use crate::id::DataKeyId;

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
}

/// Wraps data keys.
pub struct MasterKey(XChaCha20Poly1305);

const NONCE_BYTES: usize = 24;
const SECRET_BYTES: usize = 32;

impl MasterKey {
    /// Reads the file; makes it, for its owner alone, when it does not exist.
    ///
    /// # Errors
    /// [`MasterKeyError`] names the file and what to do.
    pub fn load_or_make(path: &Path) -> Result<Self, MasterKeyError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(source) => Err(MasterKeyError::File { path: path.to_owned(), source }),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, MasterKeyError> {
        let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(MasterKeyError::Open { path: path.to_owned(), mode });
        }
        let malformed = || MasterKeyError::Malformed(path.to_owned());
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(text.trim()).map_err(|_| malformed())?);
        let secret: &[u8; SECRET_BYTES] = bytes.as_slice().try_into().map_err(|_| malformed())?;
        Ok(Self(XChaCha20Poly1305::new(secret.into())))
    }

    fn make(path: &Path) -> Result<Self, MasterKeyError> {
        let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
        let mut secret = Zeroizing::new([0_u8; SECRET_BYTES]);
        getrandom::fill(&mut *secret).expect("the operating system hands out random bytes");
        let text = Zeroizing::new(format!("{}\n", BASE64_STANDARD.encode(*secret)));
        // Written beside and linked into place: a start that is cut short leaves no half a key, and of two nodes that share
        // the folder one makes the key and the other finds it.
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        let linked = written.and_then(|()| fs::hard_link(&draft, path));
        fs::remove_file(&draft).map_err(failed)?;
        match linked {
            Ok(()) => Ok(Self(XChaCha20Poly1305::new((&*secret).into()))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load_or_make(path),
            Err(source) => Err(failed(source)),
        }
    }

    /// A new data key and its wrapped form, for the database.
    pub(super) fn new_data_key(&self, id: DataKeyId) -> (DataKey, Vec<u8>) {
        let mut secret = Zeroizing::new([0_u8; SECRET_BYTES]);
        let mut nonce = [0_u8; NONCE_BYTES];
        getrandom::fill(&mut *secret).expect("the operating system hands out random bytes");
        getrandom::fill(&mut nonce).expect("the operating system hands out random bytes");
        let wrapped = self
            .0
            .encrypt(&XNonce::from(nonce), Payload { msg: &*secret, aad: &aad(id) })
            .expect("32 bytes are far below the cipher's limit");
        (DataKey::new(id, &secret), [&nonce[..], &wrapped].concat())
    }

    /// A data key from its wrapped form.
    pub(super) fn unwrap_data_key(&self, id: DataKeyId, wrapped: &[u8]) -> Result<DataKey, CannotOpen> {
        let (nonce, wrapped) = wrapped.split_at_checked(NONCE_BYTES).ok_or(CannotOpen)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| CannotOpen)?;
        let secret = self
            .0
            .decrypt(&XNonce::from(nonce), Payload { msg: wrapped, aad: &aad(id) })
            .map(Zeroizing::new)
            .map_err(|_| CannotOpen)?;
        let secret: &[u8; SECRET_BYTES] = secret.as_slice().try_into().map_err(|_| CannotOpen)?;
        Ok(DataKey::new(id, secret))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

fn aad(id: DataKeyId) -> Vec<u8> {
    [b"picloud data key v1", &id.ulid().to_bytes()[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("master.key");
        let made = MasterKey::load_or_make(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let read = MasterKey::load_or_make(&path).expect("read");
        let id = DataKeyId::generate();
        let (_, wrapped) = made.new_data_key(id);
        assert!(read.unwrap_data_key(id, &wrapped).is_ok());
        assert!(read.unwrap_data_key(DataKeyId::generate(), &wrapped).is_err(), "another key's name");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("master.key");
        MasterKey::load_or_make(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        let refused = MasterKey::load_or_make(&path).expect_err("open to others");
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
    }

    #[test]
    fn another_file_is_not_taken_for_a_key() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("master.key");
        MasterKey::load_or_make(&path).expect("made");
        fs::write(&path, "hello").expect("written");
        assert!(matches!(MasterKey::load_or_make(&path), Err(MasterKeyError::Malformed(_))));
    }
}
