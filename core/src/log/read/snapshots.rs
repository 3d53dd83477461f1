//! What is said of entries' past before the oldest part of the log that is left, by an index of its own.

use futures::FutureExt as _;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{ReadError, Reader, Segment, statement::decode};
use crate::{
    event::Class,
    log::{Position, Recorded},
};

impl Reader {
    /// The next snapshots of entries after one position up to another, at most `limit` of them, behind the last of those that
    /// were told before. A segment comes after the other, and in it an entry after the other, its last snapshot last: of
    /// an entry, the last one told is the last one said.
    ///
    /// # Errors
    /// When the database cannot be asked, or an event is not of this version's catalogue.
    pub async fn snapshots(
        &self,
        after: Position,
        up_to: Position,
        told: Option<&Recorded>,
        limit: usize,
    ) -> Result<Vec<Recorded>, ReadError> {
        // Others of its segment may lie before it.
        let from = told.map_or(after, |told| Position(told.position.0 - 1));
        self.in_segments(from, up_to, |segments| {
            async move {
                for segment in segments {
                    let Some(sql) = statement(&segment) else { continue };
                    let behind = told.filter(|told| (segment.low..segment.high).contains(&told.position.0));
                    let rows = sqlx::query(AssertSqlSafe(sql))
                        .bind(after.0)
                        .bind(up_to.0)
                        .bind(behind.and_then(|told| told.event.app).map_or(Uuid::nil(), Uuid::from))
                        .bind(behind.map_or("", |told| &told.event.subject))
                        .bind(behind.map_or(0, |told| told.position.0))
                        .bind(limit as i64)
                        .fetch_all(self.pool())
                        .await?;
                    if !rows.is_empty() {
                        return rows.iter().map(decode).collect();
                    }
                }
                Ok(Vec::new())
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
            "select position, id, at, app_id, kind, subject, data::text as data, actor::text as actor, cause, root, depth
            from log.{class}_{low}
            where kind = 'kv.snapshot' and position > $1 and position <= $2 and (app_id, subject, position) > ($3, $4, $5)
            order by app_id, subject, position limit $6",
            low = segment.low
        )
    })
}
