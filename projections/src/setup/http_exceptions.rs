//! What apps may call besides the public internet.

use std::{collections::HashMap, sync::Arc};

use picloud_core::http_exception::Exception;
use sqlx::PgConnection;
use tracing::warn;
use uuid::Uuid;

use super::HttpException;

/// Reads those of all apps or of one.
pub(super) async fn load(
    connection: &mut PgConnection,
    only: Option<Uuid>,
) -> Result<HashMap<Uuid, Vec<HttpException>>, sqlx::Error> {
    let rows = sqlx::query!(
        "select app_id, target, created_at from state.http_exception
        where $1::uuid is null or app_id = $1
        order by target",
        only
    )
    .fetch_all(connection)
    .await?;
    let mut exceptions: HashMap<Uuid, Vec<HttpException>> = HashMap::new();
    for row in rows {
        let exception = HttpException { target: row.target, created_at: row.created_at };
        exceptions.entry(row.app_id).or_default().push(exception);
    }
    Ok(exceptions)
}

/// The same for whoever makes the calls. What only a newer version can read allows nothing here.
pub(super) fn read(exceptions: &[HttpException]) -> Arc<[Exception]> {
    let parsed = exceptions.iter().filter_map(|HttpException { target, .. }| {
        target
            .parse()
            .inspect_err(|error| warn!(%error, "A stored exception for `http::` is not known to this version"))
            .ok()
    });
    parsed.collect()
}
