//! The master key: it wraps data keys and nothing else. The file it lies in is `master_file`'s.

use std::{fmt, path::Path};

use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead as _, KeyInit as _, Payload},
};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{CannotOpen, DataKey, MasterKeyError, master_file::MasterKeyFile};
use crate::id::DataKeyId;

/// Wraps data keys.
pub struct MasterKey {
    cipher: XChaCha20Poly1305,
    fingerprint: String,
    file: MasterKeyFile,
}

/// A key's bytes, overwritten when they are let go.
pub(super) type Secret = Zeroizing<[u8; SECRET_BYTES]>;

pub(super) const SECRET_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

impl MasterKey {
    /// Reads the file; makes it, for its owner alone, when it does not exist.
    ///
    /// # Errors
    /// [`MasterKeyError`] names the file and what to do.
    pub fn load_or_make(path: &Path) -> Result<Self, MasterKeyError> {
        MasterKeyFile::at(path).load_or_make()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`MasterKeyError`], also when there is none.
    pub fn load(path: &Path) -> Result<Self, MasterKeyError> {
        MasterKeyFile::at(path).load()
    }

    pub(super) fn new(secret: &[u8; SECRET_BYTES], file: MasterKeyFile) -> Self {
        let mut fingerprint = [0_u8; 8];
        Hkdf::<Sha256>::new(None, secret)
            .expand(b"picloud master key fingerprint v1", &mut fingerprint)
            .expect("8 bytes are a valid length for HKDF");
        let fingerprint = format!("{:016x}", u64::from_be_bytes(fingerprint));
        Self { cipher: XChaCha20Poly1305::new(secret.into()), fingerprint, file }
    }

    /// Names it without telling it: 16 hexadecimal characters that may be shown and logged.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The file it belongs to.
    pub(super) fn file(&self) -> &MasterKeyFile {
        &self.file
    }

    /// A new data key and its wrapped form, for the database.
    pub(super) fn new_data_key(&self, id: DataKeyId) -> (DataKey, Vec<u8>) {
        let secret = random_secret();
        (DataKey::new(id, &secret), self.wrap(id, &secret))
    }

    /// A data key from its wrapped form.
    pub(crate) fn unwrap_data_key(&self, id: DataKeyId, wrapped: &[u8]) -> Result<DataKey, CannotOpen> {
        self.unwrap(id, wrapped).map(|secret| DataKey::new(id, &secret))
    }

    /// The wrapped form of the same data key under another master key.
    pub(super) fn rewrap_data_key(&self, to: &Self, id: DataKeyId, wrapped: &[u8]) -> Result<Vec<u8>, CannotOpen> {
        self.unwrap(id, wrapped).map(|secret| to.wrap(id, &secret))
    }

    fn wrap(&self, id: DataKeyId, secret: &Secret) -> Vec<u8> {
        let mut nonce = [0_u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the operating system hands out random bytes");
        let wrapped = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: &**secret, aad: &aad(id) })
            .expect("32 bytes are far below the cipher's limit");
        [&nonce[..], &wrapped].concat()
    }

    fn unwrap(&self, id: DataKeyId, wrapped: &[u8]) -> Result<Secret, CannotOpen> {
        let (nonce, wrapped) = wrapped.split_at_checked(NONCE_BYTES).ok_or(CannotOpen)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| CannotOpen)?;
        let secret = self
            .cipher
            .decrypt(&XNonce::from(nonce), Payload { msg: wrapped, aad: &aad(id) })
            .map(Zeroizing::new)
            .map_err(|_| CannotOpen)?;
        let secret: &[u8; SECRET_BYTES] = secret.as_slice().try_into().map_err(|_| CannotOpen)?;
        Ok(Zeroizing::new(*secret))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.fingerprint)
    }
}

pub(super) fn random_secret() -> Secret {
    let mut secret = Zeroizing::new([0_u8; SECRET_BYTES]);
    getrandom::fill(&mut *secret).expect("the operating system hands out random bytes");
    secret
}

fn aad(id: DataKeyId) -> Vec<u8> {
    [b"picloud data key v1", &id.ulid().to_bytes()[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: u8) -> MasterKey {
        MasterKey::new(&[secret; SECRET_BYTES], MasterKeyFile::at(Path::new("master.key")))
    }

    #[test]
    fn a_wrapped_key_is_unwrapped_by_its_master_key_and_under_its_own_name_alone() {
        let id = DataKeyId::generate();
        let (_, wrapped) = key(1).new_data_key(id);
        assert!(key(1).unwrap_data_key(id, &wrapped).is_ok());
        assert!(key(1).unwrap_data_key(DataKeyId::generate(), &wrapped).is_err(), "another key's name");
        assert!(key(2).unwrap_data_key(id, &wrapped).is_err(), "another master key");
    }

    #[test]
    fn a_rewrapped_key_is_the_same_key_under_the_other_master_key_alone() {
        let id = DataKeyId::generate();
        let (data_key, wrapped) = key(1).new_data_key(id);
        let rewrapped = key(1).rewrap_data_key(&key(2), id, &wrapped).expect("rewrapped");
        assert!(key(1).unwrap_data_key(id, &rewrapped).is_err());
        let again = key(2).unwrap_data_key(id, &rewrapped).expect("unwrapped");
        let sealed = data_key.seal(super::super::Purpose::Recording, b"run", b"text");
        assert!(again.open(super::super::Purpose::Recording, b"run", &sealed).is_ok());
        assert!(key(2).rewrap_data_key(&key(1), id, &wrapped).is_err(), "not under that one");
    }

    #[test]
    fn a_fingerprint_names_a_key_and_does_not_tell_it() {
        let fingerprint = key(7).fingerprint().to_owned();
        // Fixed: the log holds fingerprints for ever.
        assert_eq!(fingerprint, "d85ab989e8c7d235");
        assert_ne!(fingerprint, key(8).fingerprint());
        assert_eq!(format!("{:?}", key(7)), format!("MasterKey({fingerprint})"));
    }
}
