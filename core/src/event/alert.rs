//! Alerts: that something is wrong, told to one channel until it has heard of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    alert::{Condition, Matter, Notice},
    id::AlertId,
};

/// Something is wrong, and a channel is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// Its name.
    pub alert: AlertId,
    /// Who is told.
    pub channel: String,
    /// What is wrong.
    #[serde(flatten)]
    pub matter: Matter,
}

/// What was wrong is over, and the channel is to be told that, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// The alert that it is the end of.
    pub alert: AlertId,
    /// Who is told.
    pub channel: String,
    /// What was wrong.
    pub condition: Condition,
}

/// The receiver did not take a message; it is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rescheduled {
    /// Which alert.
    pub alert: AlertId,
    /// Who is told.
    pub channel: String,
    /// What of it.
    pub notice: Notice,
    /// Which attempt it was, from 1.
    pub attempt: u16,
    /// Why it failed. The address is not in it.
    pub error: String,
    /// When it is tried again.
    pub due_at: DateTime<Utc>,
}

/// The receiver took a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Which alert.
    pub alert: AlertId,
    /// Who was told.
    pub channel: String,
    /// What of it.
    pub notice: Notice,
    /// How many attempts it took.
    pub attempts: u16,
    /// The status that the receiver answered with: of HTTP, or of SMTP.
    pub status: u16,
    /// Which of several addresses did not take it, and why. They are not in it whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// The receiver did not take a message however often it was tried: it will not hear of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which alert.
    pub alert: AlertId,
    /// Who was to be told.
    pub channel: String,
    /// What of it.
    pub notice: Notice,
    /// How many attempts there were.
    pub attempts: u16,
    /// Why the last one failed. The address is not in it.
    pub error: String,
}

macro_rules! about_the_alert {
    ($($type:ty),*) => {$(
        impl $type {
            pub(super) fn subject(&self) -> String {
                self.alert.to_string()
            }
        }
    )*};
}

about_the_alert!(Raised, Recovered, Rescheduled, Delivered, Failed);
