//! What was published, by an index of its own: whoever comes back reads on where it stopped, however much else there was.

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use sqlx::{AssertSqlSafe, Row as _};

use super::{ReadError, Reader, Segment};
use crate::{
    event::{Class, Undecodable, message},
    id::AppId,
    log::Position,
};

/// A message in the log.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its place.
    pub position: Position,
    /// When it was committed.
    pub at: DateTime<Utc>,
    /// What it says, and where.
    pub message: message::Published,
}

impl Reader {
    /// The messages of an app after one position up to another, oldest first, at most `limit` of them.
    ///
    /// # Errors
    /// When the database cannot be asked, or an event is not of this version's catalogue.
    pub async fn published(
        &self,
        app: AppId,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Result<Vec<Published>, ReadError> {
        self.in_segments(after, up_to, |segments| {
            async move {
                let mut found = Vec::new();
                for segment in segments {
                    if found.len() >= limit {
                        break;
                    }
                    let Some(sql) = statement(&segment) else { continue };
                    let rows = sqlx::query(AssertSqlSafe(sql))
                        .bind(app.uuid())
                        .bind(after.0)
                        .bind(up_to.0)
                        .bind((limit - found.len()) as i64)
                        .fetch_all(self.pool())
                        .await?;
                    for row in rows {
                        let position = Position(row.try_get("position")?);
                        let read = serde_json::from_str(row.try_get("data")?);
                        let message = read.map_err(|source| ReadError::Undecodable {
                            position,
                            source: Undecodable::Data { kind: "message.published", source },
                        })?;
                        found.push(Published { position, at: row.try_get("at")?, message });
                    }
                }
                Ok(found)
            }
            .boxed()
        })
        .await
    }
}

/// One segment's query, in the words of the index.
fn statement(segment: &Segment) -> Option<String> {
    let class = Class::Data.as_str();
    segment.classes.iter().any(|present| present == class).then(|| {
        format!(
            "select position, at, data::text as data from log.{class}_{low}
            where kind = 'message.published' and app_id = $1 and position > $2 and position <= $3
            order by position limit $4",
            low = segment.low
        )
    })
}
