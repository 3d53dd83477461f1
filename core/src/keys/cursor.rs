//! Cursors: a place in the log that can be handed to anybody.
//!
//! A position counts what all apps of an instance do; a quiet tenant could read the others' traffic off it. So it leaves the
//! process encrypted: the first half of the history's id and the position are one AES block under a key derived from the
//! app's data key. The same place is always the same text (clients may compare), a place of another app, history or key is
//! refused (half a history id is a check of 64 bits), and it stays short, for it goes out with every frame.

use aes::cipher::{BlockCipherDecrypt as _, BlockCipherEncrypt as _};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::DataKey;
use crate::{id::HistoryId, log::Position};

/// The only version there is.
const VERSION: u8 = 1;

/// A place in a history of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which life of the log.
    pub history: HistoryId,
    /// Where in it: everything up to here has been seen.
    pub position: Position,
}

/// A text that is no cursor of this app, or of a log before a restore.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a cursor of this log: begin anew without one")]
pub struct InvalidCursor(pub String);

impl Cursor {
    /// As it goes out, under an app's key or the instance's: 28 characters, safe in URLs.
    #[must_use]
    pub fn seal(&self, key: &DataKey) -> String {
        let mut block = [0_u8; 16];
        block[..8].copy_from_slice(&half(self.history));
        block[8..].copy_from_slice(&self.position.0.to_be_bytes());
        let mut block = block.into();
        key.cursor.encrypt_block(&mut block);
        let mut bytes = [0_u8; 21];
        bytes[0] = VERSION;
        bytes[1..5].copy_from_slice(&tag(key));
        bytes[5..].copy_from_slice(&block);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads what [`Cursor::seal`] made in this history.
    ///
    /// # Errors
    /// [`InvalidCursor`], when it is none, or another app's, or of another history.
    pub fn open(text: &str, key: &DataKey, history: HistoryId) -> Result<Self, InvalidCursor> {
        let invalid = || InvalidCursor(text.chars().take(64).collect());
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let bytes: [u8; 21] = bytes.try_into().map_err(|_| invalid())?;
        if bytes[0] != VERSION || bytes[1..5] != tag(key) {
            return Err(invalid());
        }
        let mut block = [0_u8; 16];
        block.copy_from_slice(&bytes[5..]);
        let mut block = block.into();
        key.cursor.decrypt_block(&mut block);
        let mut position = [0_u8; 8];
        position.copy_from_slice(&block[8..]);
        let position = Position(i64::from_be_bytes(position));
        if block[..8] != half(history) || position < Position::ZERO {
            return Err(invalid());
        }
        Ok(Self { history, position })
    }
}

/// The random half of a ULID: the other is its time.
fn half(history: HistoryId) -> [u8; 8] {
    let mut half = [0; 8];
    half.copy_from_slice(&history.ulid().to_bytes()[8..]);
    half
}

/// Enough of the key's id to tell an old key from a forgery.
fn tag(key: &DataKey) -> [u8; 4] {
    let mut tag = [0; 4];
    tag.copy_from_slice(&key.id().ulid().to_bytes()[12..]);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::DataKeyId;

    fn key() -> DataKey {
        DataKey::new(DataKeyId::generate(), &[7; 32])
    }

    #[test]
    fn a_cursor_survives_its_journey() {
        let (key, history) = (key(), HistoryId::generate());
        for position in [0, 1, 4_711, i64::MAX] {
            let cursor = Cursor { history, position: Position(position) };
            let text = cursor.seal(&key);
            assert_eq!(text.len(), 28);
            assert_eq!(Cursor::open(&text, &key, history), Ok(cursor));
        }
    }

    #[test]
    fn another_apps_or_histories_cursor_is_refused() {
        let (key, history) = (key(), HistoryId::generate());
        let text = Cursor { history, position: Position(7) }.seal(&key);
        assert!(Cursor::open(&text, &self::key(), history).is_err());
        assert!(Cursor::open(&text, &key, HistoryId::generate()).is_err());
        assert!(Cursor::open("", &key, history).is_err());
        assert!(Cursor::open(&text[1..], &key, history).is_err());
    }

    #[test]
    fn neighbouring_positions_do_not_look_alike() {
        let (key, history) = (key(), HistoryId::generate());
        let one = Cursor { history, position: Position(1) }.seal(&key);
        let two = Cursor { history, position: Position(2) }.seal(&key);
        let same = one.bytes().skip(8).zip(two.bytes().skip(8)).filter(|(a, b)| a == b).count();
        assert!(same < 8, "{one} {two}");
    }
}
