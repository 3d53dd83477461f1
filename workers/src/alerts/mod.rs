//! Alerts: looks for what is wrong with the instance and tells the channels that want to hear of it.
//!
//! - [`Alerts`] is the task of a node. Each node sees to what only it knows, its listening and its disk; one of all sees to the
//!   rest and does the telling.
//! - `plan` decides what is to be raised and what is over, on what was read; pure.
//! - `message` makes what receivers get, [`Messenger`] sends it.
//!
//! That something is wrong is an event before anybody is told. So a restart loses nothing, and what another node has raised
//! since it was looked at makes a commit stale.

mod keeper;
mod message;
mod messenger;
mod observe;
mod plan;

pub use keeper::{AlertParts, Alerts, STEADY};
pub use messenger::Messenger;
