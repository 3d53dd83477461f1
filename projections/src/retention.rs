//! Lets go of what was kept for long enough: of all nodes one does, a part of the log at a time.
//!
//! What a part of the log still has to give is taken out of it first: what is owed is said again, views have taken in all that
//! its runs came to. [`picloud_core::log::retention`] says how a part goes.

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::{
    causes::with_causes,
    event::Class,
    log::{
        Committer, Node, Position, alone, no_longer_alone,
        read::Reader,
        retention::{
            Carried, Leaf, RetentionError, archive, carry, drop_archived, due, export, holds, is_any_archived, snapshot,
        },
    },
};
use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::views::Views;

/// How often it is looked whether something was kept for long enough. It goes by days.
const LOOK_EVERY: Duration = Duration::from_mins(10);

/// How long events are kept, by class (none is for ever), and where they go then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// What ran.
    pub runs: Option<TimeDelta>,
    /// What was stored, as far back as it can be looked at: what is stored now stays.
    pub data: Option<TimeDelta>,
    /// The folder that they are written to before they go, if any.
    pub archive: Option<PathBuf>,
}

impl Keep {
    /// Thirty days, and ninety.
    pub const DEFAULT: Self = Self { runs: Some(TimeDelta::days(30)), data: Some(TimeDelta::days(90)), archive: None };

    const fn classes(&self) -> [(Class, Option<TimeDelta>); 2] {
        [(Class::Run, self.runs), (Class::Data, self.data)]
    }
}

/// Lets go of what was kept for long enough.
#[derive(Debug)]
pub struct Retention {
    /// Whom to ask.
    pub database: PgPool,
    /// For the connection that holds the lock, and parts tables: it must be one of its own.
    pub direct: PgConnectOptions,
    /// Takes what is said of it.
    pub committer: Committer,
    /// Finds what is old.
    pub reader: Reader,
    /// How far the views are.
    pub views: Views,
    /// So long each may take to come to the end of the log; those that take longer are waited for until the next time.
    pub patience: Duration,
    /// This start's right to write.
    pub node: Node,
    /// How long what is kept.
    pub keep: Keep,
}

impl Retention {
    /// Until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
            let looked = tokio::select! {
                looked = self.look() => looked,
                () = stop.cancelled() => return,
            };
            if let Err(error) = looked {
                warn!(error = with_causes(&error), "Failed to let go of what was kept for long enough: trying again");
            }
        }
    }

    /// Lets go of all that may, unless another node is at it.
    async fn look(&self) -> Result<(), RetentionError> {
        let mut lock = PgConnection::connect_with(&self.direct).await?;
        if alone(&mut lock, "retention").await? {
            self.let_go(Utc::now()).await?;
        }
        no_longer_alone(lock).await?;
        Ok(())
    }

    /// Lets go of all that may, as of a time; what went.
    ///
    /// # Errors
    /// When it cannot be done. What was said stays so, and is done the next time.
    pub async fn let_go(&self, now: DateTime<Utc>) -> Result<Vec<Leaf>, RetentionError> {
        // What somebody was cut off at.
        self.drop_tables().await?;
        let mut gone = Vec::new();
        for (class, keep) in self.keep.classes() {
            let Some(keep) = keep else { continue };
            while let Some(leaf) = due(&self.database, &self.reader, class, keep, now).await? {
                if !self.let_go_of(leaf).await? {
                    break;
                }
                gone.push(leaf);
            }
        }
        Ok(gone)
    }

    /// Whether it could go.
    async fn let_go_of(&self, leaf: Leaf) -> Result<bool, RetentionError> {
        let carried = match leaf.class {
            Class::Run => carry(&self.database, &self.committer, &self.node, leaf).await?,
            Class::Config | Class::Data => Carried::default(),
        };
        for (app, lane) in &carried.left {
            warn!(app.id = %app, lane, "Too much waits in one lane to be said again: {leaf} stay until it is less");
        }
        let held = holds(&mut *self.database.acquire().await?, leaf).await?;
        if let Some(hold) = held {
            debug!("{leaf} stay: {hold}");
            return Ok(false);
        }
        // Nothing will come of its runs that did not before this.
        let head = self.reader.head().await?;
        if !self.views_reach(head).await? {
            warn!("{leaf} stay: a view has not taken in what came of them");
            return Ok(false);
        }
        // Who builds views anew reads all there is, and is not to lose some of it on the way.
        let mut lock = PgConnection::connect_with(&self.direct).await?;
        let is_alone = alone(&mut lock, "replay").await?;
        if is_alone {
            if leaf.class == Class::Data {
                snapshot(&self.database, &self.reader, &self.committer, &self.node, leaf).await?;
            }
            let exported = match &self.keep.archive {
                Some(folder) => Some(export(&mut lock, leaf, folder).await?),
                None => None,
            };
            let archived = archive(&self.database, &self.committer, &self.node, leaf, exported).await?;
            info!(
                outbox.carried = carried.items,
                log.position = %archived.last,
                "{leaf} were kept for long enough: they go"
            );
            if self.views_reach(archived.last).await? {
                drop_archived(&mut lock).await?;
            }
        }
        no_longer_alone(lock).await?;
        Ok(is_alone)
    }

    /// Drops tables of what is gone already.
    async fn drop_tables(&self) -> Result<(), RetentionError> {
        // Who builds views anew is not to be refused for nothing.
        if !is_any_archived(&mut *self.database.acquire().await?).await? {
            return Ok(());
        }
        let mut lock = PgConnection::connect_with(&self.direct).await?;
        if alone(&mut lock, "replay").await? && self.views_reach(self.reader.head().await?).await? {
            let dropped = drop_archived(&mut lock).await?;
            if dropped > 0 {
                info!(tables = dropped, "Dropped what was gone from the log");
            }
        }
        no_longer_alone(lock).await?;
        Ok(())
    }

    /// Whether every view has come to a place in the log; those that are parked have not.
    async fn views_reach(&self, position: Position) -> Result<bool, RetentionError> {
        Ok(self.views.all_reach(position, self.patience).await?)
    }
}
