//! Keys and what they encrypt.
//!
//! The master key lies in a file and wraps data keys: one for each app and one for the instance. Recordings, outcomes and
//! cursors are under data keys, so erasing one row erases all of an app's that is under it, wherever it lies; and a new
//! master key touches those rows and nothing else.

mod apart;
mod cursor;
mod data_key;
mod destination;
mod destinations;
mod keyring;
mod master;
mod master_file;
mod topic_key;
mod topic_keys;
mod webhook;
mod wrapped;

pub use apart::ApartError;
pub use cursor::{Cursor, InvalidCursor};
pub use data_key::{CannotOpen, DataKey, Purpose, Sealed};
pub use destination::Destination;
pub use destinations::sweep_destinations;
pub use keyring::{Keyring, KeyringError};
pub use master::MasterKey;
pub use master_file::MasterKeyError;
pub use topic_key::{Grant, InvalidToken, TopicKey};
pub use webhook::{InvalidWebhook, SigningSecret, Webhook};
