//! Alert channels: who is told when something is wrong with the instance.

use serde::{Deserialize, Serialize};

use crate::{
    alert::{ChannelKind, Condition},
    id::SecretId,
};

/// This holds from now on for a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Its name.
    pub channel: String,
    /// How it is told.
    pub kind: ChannelKind,
    /// Host and port of its address; of addresses for mail, their hosts. The address itself is not in the log.
    pub host: String,
    /// The name of its address.
    pub secret: SecretId,
    /// What it hears of; none is everything, also what later versions find out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
    /// So long it hears nothing again of the same matter, in seconds.
    pub cooldown_s: u32,
    /// Whether it is told at all.
    pub enabled: bool,
}

impl Set {
    pub(super) fn subject(&self) -> String {
        format!("alert_channel:{}", self.channel)
    }
}

/// It is no more, and is told nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Its name.
    pub channel: String,
}

impl Removed {
    pub(super) fn subject(&self) -> String {
        format!("alert_channel:{}", self.channel)
    }
}
