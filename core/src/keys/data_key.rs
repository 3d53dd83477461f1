//! A data key and the texts under it.

use std::fmt;

use aes::Aes128;
use aes::cipher::KeyInit as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::id::DataKeyId;

/// What a text is for: part of what is authenticated, so that one kind is never taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What a run received, answered or learnt; bound to the run's id.
    Recording,
    /// The outcome of an idempotent request; bound to its scope.
    Outcome,
    /// A password's hash, a link's, an authenticator's seed; bound to the secret's id.
    Secret,
    /// What a later run gets; bound to the outbox item or the dead letter.
    Payload,
    /// A key of something single, such as a dead letter, under its app's; bound to the key's id.
    Key,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Recording => b"picloud recording v1",
            Self::Outcome => b"picloud outcome v1",
            Self::Secret => b"picloud secret v1",
            Self::Payload => b"picloud payload v1",
            Self::Key => b"picloud key v1",
        }
    }
}

/// A text that only the holder of a data key can read, with what is needed to find that key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which key.
    pub key_id: DataKeyId,
    /// Base64 of 24 bytes, new for every text.
    pub nonce: String,
    /// Base64, the authentication tag at its end.
    pub ciphertext: String,
}

/// A text that cannot be read: another key, another purpose, or changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is not under this key, not for this purpose, or was changed")]
pub struct CannotOpen;

const NONCE_BYTES: usize = 24;

/// Encrypts what belongs to one app, or to the instance. Dropped, it overwrites the key of what lies in the log; the key of
/// cursors is derived from that one and does not lead back to it.
pub struct DataKey {
    id: DataKeyId,
    // XChaCha20: random nonces of 192 bits never meet, however many texts an app has.
    cipher: XChaCha20Poly1305,
    pub(super) cursor: Aes128,
    /// What the key that signs seals is made of; only the instance's is used.
    pub(crate) seal_seed: Zeroizing<[u8; 32]>,
}

impl DataKey {
    /// A new key and its row's material: the key itself, under this one.
    pub(super) fn subordinate(&self) -> (Self, Vec<u8>) {
        let id = DataKeyId::generate();
        let secret = Zeroizing::new(rand::random::<[u8; 32]>());
        let material = self.seal_bytes(Purpose::Key, &id.ulid().to_bytes(), &*secret);
        (Self::new(id, &secret), material)
    }

    /// Reads what [`DataKey::subordinate`] made.
    pub(super) fn open_subordinate(&self, id: DataKeyId, material: &[u8]) -> Result<Self, CannotOpen> {
        let secret = Zeroizing::new(self.open_bytes(Purpose::Key, &id.ulid().to_bytes(), material)?);
        let secret: &[u8; 32] = secret.as_slice().try_into().map_err(|_| CannotOpen)?;
        Ok(Self::new(id, secret))
    }

    pub(super) fn new(id: DataKeyId, secret: &[u8; 32]) -> Self {
        let (mut cursor, mut seal_seed) = (Zeroizing::new([0_u8; 16]), Zeroizing::new([0_u8; 32]));
        let derived = Hkdf::<Sha256>::new(None, secret);
        for (label, key) in [(&b"picloud cursor v1"[..], &mut cursor[..]), (b"picloud seal v1", &mut seal_seed[..])] {
            derived.expand(label, key).expect("16 and 32 bytes are valid lengths for HKDF");
        }
        let cipher = XChaCha20Poly1305::new(secret.into());
        Self { id, cipher, cursor: Aes128::new((&*cursor).into()), seal_seed }
    }

    /// Names it.
    #[must_use]
    pub const fn id(&self) -> DataKeyId {
        self.id
    }

    /// Encrypts a text for a purpose. `bound_to` says where it belongs: nowhere else can it be opened.
    #[must_use]
    pub fn seal(&self, purpose: Purpose, bound_to: &[u8], plain: &[u8]) -> Sealed {
        let (nonce, ciphertext) = self.encrypt(purpose, bound_to, plain);
        Sealed { key_id: self.id, nonce: BASE64_STANDARD.encode(nonce), ciphertext: BASE64_STANDARD.encode(ciphertext) }
    }

    /// Reads what [`DataKey::seal`] made.
    ///
    /// # Errors
    /// [`CannotOpen`], when it is not this key's, not for this purpose or place, or was changed.
    pub fn open(&self, purpose: Purpose, bound_to: &[u8], sealed: &Sealed) -> Result<Vec<u8>, CannotOpen> {
        if sealed.key_id != self.id {
            return Err(CannotOpen);
        }
        let nonce = BASE64_STANDARD.decode(&sealed.nonce).map_err(|_| CannotOpen)?;
        let ciphertext = BASE64_STANDARD.decode(&sealed.ciphertext).map_err(|_| CannotOpen)?;
        self.decrypt(purpose, bound_to, &nonce, &ciphertext)
    }

    /// The same as bytes, for columns: key id, nonce, ciphertext.
    #[must_use]
    pub fn seal_bytes(&self, purpose: Purpose, bound_to: &[u8], plain: &[u8]) -> Vec<u8> {
        let (nonce, ciphertext) = self.encrypt(purpose, bound_to, plain);
        [&self.id.ulid().to_bytes()[..], &nonce, &ciphertext].concat()
    }

    /// Reads what [`DataKey::seal_bytes`] made.
    ///
    /// # Errors
    /// [`CannotOpen`], when it is not this key's, not for this purpose or place, or was changed.
    pub fn open_bytes(&self, purpose: Purpose, bound_to: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CannotOpen> {
        let rest = sealed.strip_prefix(&self.id.ulid().to_bytes()).ok_or(CannotOpen)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_BYTES).ok_or(CannotOpen)?;
        self.decrypt(purpose, bound_to, nonce, ciphertext)
    }

    fn encrypt(&self, purpose: Purpose, bound_to: &[u8], plain: &[u8]) -> ([u8; NONCE_BYTES], Vec<u8>) {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let aad = self.aad(purpose, bound_to);
        let ciphertext = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: &aad })
            .expect("texts are far below the cipher's limit of 256 GiB");
        (nonce, ciphertext)
    }

    fn decrypt(
        &self,
        purpose: Purpose,
        bound_to: &[u8],
        nonce: &[u8],
        ciphertext: &[u8],
    ) -> Result<Vec<u8>, CannotOpen> {
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| CannotOpen)?;
        let aad = self.aad(purpose, bound_to);
        self.cipher.decrypt(&XNonce::from(nonce), Payload { msg: ciphertext, aad: &aad }).map_err(|_| CannotOpen)
    }

    fn aad(&self, purpose: Purpose, bound_to: &[u8]) -> Vec<u8> {
        [purpose.label(), &self.id.ulid().to_bytes(), bound_to].concat()
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DataKey {
        DataKey::new(DataKeyId::generate(), &[7; 32])
    }

    #[test]
    fn what_is_sealed_opens_for_its_purpose_and_place_alone() {
        let key = key();
        let sealed = key.seal(Purpose::Recording, b"inv_1", b"hello");
        assert_eq!(key.open(Purpose::Recording, b"inv_1", &sealed).as_deref(), Ok(&b"hello"[..]));
        assert_eq!(key.open(Purpose::Recording, b"inv_2", &sealed), Err(CannotOpen));
        assert_eq!(key.open(Purpose::Outcome, b"inv_1", &sealed), Err(CannotOpen));
        assert_eq!(
            DataKey::new(DataKeyId::generate(), &[7; 32]).open(Purpose::Recording, b"inv_1", &sealed),
            Err(CannotOpen)
        );
    }

    #[test]
    fn every_changed_byte_is_found() {
        let key = key();
        let sealed = key.seal_bytes(Purpose::Outcome, b"scope", b"hello");
        assert_eq!(key.open_bytes(Purpose::Outcome, b"scope", &sealed).as_deref(), Ok(&b"hello"[..]));
        for n in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[n] ^= 1;
            assert_eq!(key.open_bytes(Purpose::Outcome, b"scope", &changed), Err(CannotOpen), "byte {n}");
        }
        assert_eq!(key.open_bytes(Purpose::Outcome, b"scope", &sealed[..20]), Err(CannotOpen));
    }

    #[test]
    fn a_key_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", key()).contains("7, 7"));
    }
}
