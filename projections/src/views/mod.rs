//! Views: read models that follow the log shortly after, for lists, searches and figures.
//!
//! A [`View`] is a name, a fold and tables; its checkpoint moves in the transaction of its rows. [`Views`] keeps them: one
//! node folds a view, another takes it over when that goes. A view that cannot go on is parked and says so; it holds up
//! neither the log nor the others.
//!
//! - [`invocations`] lists runs.
//! - [`logs`] knows which events say something.
//! - [`metrics`] tells what ran and how long it took, and what became of owed work, by the minute.
//! - [`errors`] tells how runs fail, those together that are alike.
//! - [`activity`] tells what happened, by the hour.

pub mod activity;
mod archived;
mod checkpoint;
pub mod errors;
pub mod invocations;
mod keeper;
pub mod logs;
pub mod metrics;
mod origins;
mod page;
pub mod rebuild;
mod schema;
mod standing;
mod view;

use picloud_core::log::read::Reader;

pub use self::{
    checkpoint::{Checkpoint, Parked},
    keeper::{Keeper, Views},
    page::Page,
    schema::Schema,
    standing::Standing,
    view::{FoldError, View},
};

/// Every view there is.
#[must_use]
pub fn all(reader: &Reader) -> Vec<Box<dyn View>> {
    vec![
        Box::<invocations::Invocations>::default(),
        Box::new(logs::Logs::new(reader.clone())),
        Box::new(metrics::Metrics::new(reader.clone())),
        Box::new(errors::Errors::new(reader.clone())),
        Box::<activity::Activity>::default(),
    ]
}
