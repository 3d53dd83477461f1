//! Keys and what they encrypt.

use serde::{Deserialize, Serialize};

use crate::id::DataKeyId;

/// A text only the holder of a data key can read, with what is needed to find that key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which key.
    pub key_id: DataKeyId,
    /// Base64; new for every text.
    pub nonce: String,
    /// Base64.
    pub ciphertext: String,
}
