//! What is wrong.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Condition;
use crate::id::AppId;

/// What is wrong, as it was when somebody was told. Stored in events: variants and fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "condition", rename_all = "snake_case")]
pub enum Matter {
    /// An app has letters that nobody has seen to.
    DeadLetter {
        /// Which app.
        app: AppId,
        /// How many there are that this channel was not told of; [`Matter::MANY`] is as many or more.
        letters: u32,
        /// Letters that came to need somebody by then are among them.
        up_to: DateTime<Utc>,
    },
    /// A view stands still.
    ViewParked {
        /// Which.
        view: String,
    },
    /// A node is not notified of what others append.
    ListeningDegraded {
        /// The name of its machine.
        node: String,
    },
    /// A node's disk is nearly full.
    Disk {
        /// The name of its machine.
        node: String,
        /// What was free, in bytes.
        available_bytes: u64,
        /// How much it holds in all, in bytes.
        size_bytes: u64,
    },
    /// A backup was begun and not finished.
    BackupFailed {
        /// When.
        failed_at: DateTime<Utc>,
        /// Why.
        error: String,
    },
}

impl Matter {
    /// Letters are counted up to here.
    pub const MANY: u32 = 1_000;

    /// Of which kind it is.
    #[must_use]
    pub const fn condition(&self) -> Condition {
        match self {
            Self::DeadLetter { .. } => Condition::DeadLetter,
            Self::ViewParked { .. } => Condition::ViewParked,
            Self::ListeningDegraded { .. } => Condition::ListeningDegraded,
            Self::Disk { .. } => Condition::Disk,
            Self::BackupFailed { .. } => Condition::BackupFailed,
        }
    }

    /// What of that kind it is about: an app, a view, a node. Of one subject there is one open alert a channel.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::DeadLetter { app, .. } => app.to_string(),
            Self::ViewParked { view } => view.clone(),
            Self::ListeningDegraded { node } | Self::Disk { node, .. } => node.clone(),
            Self::BackupFailed { .. } => String::new(),
        }
    }

    /// Up to when what happened is in it; none for what lasts.
    #[must_use]
    pub const fn up_to(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::DeadLetter { up_to, .. } => Some(*up_to),
            Self::BackupFailed { failed_at, .. } => Some(*failed_at),
            Self::ViewParked { .. } | Self::ListeningDegraded { .. } | Self::Disk { .. } => None,
        }
    }

    /// A sentence for whoever is told. `app` is the name of the app that it is about.
    #[must_use]
    pub fn raised(&self, app: Option<&str>) -> String {
        match self {
            Self::DeadLetter { app: id, letters, .. } => {
                let app = app.map_or_else(|| id.to_string(), str::to_owned);
                match letters {
                    1 => format!("The app `{app}` has a new dead letter."),
                    Self::MANY.. => format!("The app `{app}` has {} new dead letters or more.", Self::MANY),
                    letters => format!("The app `{app}` has {letters} new dead letters."),
                }
            }
            Self::ViewParked { view } => {
                format!("The view `{view}` stands still: what is listed from it is not up to date.")
            }
            Self::ListeningDegraded { node } => {
                format!("The node on `{node}` is not notified by the database: it hears of other nodes seconds late.")
            }
            Self::Disk { node, available_bytes, size_bytes } => {
                format!(
                    "The disk of the node on `{node}` is nearly full: {} of {} are free.",
                    in_units(*available_bytes),
                    in_units(*size_bytes)
                )
            }
            Self::BackupFailed { failed_at, error } => {
                format!("The backup of {} failed: {error}", failed_at.format("%Y-%m-%d %H:%M UTC"))
            }
        }
    }

    /// A sentence for whoever was told, now that it is over.
    #[must_use]
    pub fn recovered(&self, app: Option<&str>) -> String {
        match self {
            Self::ViewParked { view } => format!("The view `{view}` goes on."),
            Self::ListeningDegraded { node } => format!("The node on `{node}` is notified by the database again."),
            Self::Disk { node, .. } => format!("The disk of the node on `{node}` has room again."),
            Self::DeadLetter { .. } | Self::BackupFailed { .. } => format!("It is over: {}", self.raised(app)),
        }
    }

    /// What to type to find out more.
    #[must_use]
    pub fn next(&self, app: Option<&str>) -> String {
        match self {
            Self::DeadLetter { app: id, .. } => {
                format!("picloud dead-letters ls --app {}", app.map_or_else(|| id.to_string(), str::to_owned))
            }
            Self::ViewParked { .. } | Self::ListeningDegraded { .. } => "picloud doctor".to_owned(),
            Self::Disk { .. } => "df -h".to_owned(),
            Self::BackupFailed { .. } => "picloud events --subject backup".to_owned(),
        }
    }
}

fn in_units(bytes: u64) -> String {
    let (gib, mib) = (1 << 30, 1 << 20);
    if bytes >= gib {
        format!("{}.{} GiB", bytes / gib, bytes % gib * 10 / gib)
    } else {
        format!("{} MiB", bytes / mib)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_what_they_are_about() {
        let letters = |letters| Matter::DeadLetter { app: AppId::generate(), letters, up_to: DateTime::UNIX_EPOCH };
        assert_eq!(letters(1).raised(Some("shop")), "The app `shop` has a new dead letter.");
        assert_eq!(letters(7).raised(Some("shop")), "The app `shop` has 7 new dead letters.");
        assert_eq!(letters(1_000).raised(Some("shop")), "The app `shop` has 1000 new dead letters or more.");
        let disk = Matter::Disk { node: "attic".into(), available_bytes: 1_288_490_189, size_bytes: 32 << 30 };
        assert_eq!(disk.raised(None), "The disk of the node on `attic` is nearly full: 1.2 GiB of 32.0 GiB are free.");
        assert_eq!(disk.recovered(None), "The disk of the node on `attic` has room again.");
        assert_eq!(in_units(700 << 20), "700 MiB");
    }

    #[test]
    fn an_app_that_is_gone_is_named_by_its_id() {
        let app = AppId::generate();
        let letter = Matter::DeadLetter { app, letters: 1, up_to: DateTime::UNIX_EPOCH };
        assert_eq!(letter.raised(None), format!("The app `{app}` has a new dead letter."));
        assert_eq!(letter.subject(), app.to_string());
    }
}
