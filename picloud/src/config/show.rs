//! `picloud serve --print-config`.

use serde::Serialize;

use super::{setting::Setting, sources::Origin};

/// One value as it may be shown, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its key.
    pub key: &'static str,
    /// Passwords masked.
    pub value: String,
    /// A flag, a variable, a key of a file, or `default`.
    pub from: String,
}

impl Shown {
    pub(super) fn new(setting: &Setting, value: String, origin: &Origin) -> Self {
        Self { key: setting.key, value, from: origin.to_string() }
    }
}

/// All values in three columns.
#[must_use]
pub fn table(shown: &[Shown]) -> String {
    let width = |of: fn(&Shown) -> &str| shown.iter().map(|row| of(row).chars().count()).max().unwrap_or(0);
    let (keys, values) = (width(|row| row.key), width(|row| &row.value));
    shown.iter().map(|row| format!("{:keys$}  {:values$}  {}\n", row.key, row.value, row.from)).collect()
}
