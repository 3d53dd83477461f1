//! The view `invocations`: runs, by whatever they are listed by.
//!
//! A run that has begun is a row of `views.running`; one that has ended is one of `views.invocation`, which is written once
//! and never changed. How many there are is counted beside them.

mod counts;
mod fold;
mod list;
mod rows;

use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::{event::Class, log::Recorded};
use sqlx::PgConnection;

pub(super) use self::rows::word;
pub use self::{
    counts::{Count, count},
    list::{Ended, Filter, Found, How, Invocation, Outcome, find, list},
};
use super::{
    Schema,
    archived::{archived_runs, drop_partition, forget_counted},
    schema::Segments,
    view::{FoldError, View},
};
use fold::{Fold, Running};

/// Follows the log.
#[derive(Debug, Default)]
pub(super) struct Invocations {
    running: Running,
    segments: Segments,
}

/// What it is called.
pub const NAME: &str = "invocations";

impl View for Invocations {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static [&'static str] {
        &["running", "invocation", "invocation_count"]
    }

    fn classes(&self) -> &'static [Class] {
        &[Class::Config, Class::Run]
    }

    fn load<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        schema: Schema,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async move {
            self.segments = Segments::default();
            self.running = rows::running(connection, schema).await?;
            Ok(())
        }
        .boxed()
    }

    fn take<'a>(
        &'a mut self,
        events: &'a [Recorded],
        connection: &'a mut PgConnection,
        schema: Schema,
    ) -> BoxFuture<'a, Result<(), FoldError>> {
        async move {
            let Some(last) = events.last() else { return Ok(()) };
            let Fold { begun, ended, left } = Fold::of(&mut self.running, events);
            if !ended.is_empty() {
                self.segments.reach(connection, schema, &["invocation"], last.position.0).await?;
                rows::insert(connection, schema, &ended).await?;
                counts::add(connection, schema, &ended, &self.segments).await?;
            }
            rows::begin(connection, schema, begun.iter().filter_map(|run| self.running.get(run))).await?;
            rows::leave(connection, schema, &left).await?;
            for gone in archived_runs(events) {
                drop_partition(connection, schema, "invocation", gone).await?;
            }
            forget_counted(connection, schema, &["invocation_count"], events).await?;
            Ok(())
        }
        .boxed()
    }
}
