//! The keyring on a real database.
