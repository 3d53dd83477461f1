//! `/api/v1/admin/backup`: the whole instance as of one moment, as the file that `picloud backup` writes.

use std::io;

use axum::{body::Body, extract::State, response::Response};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};
use http::{HeaderValue, header};
use picloud_core::{
    backup::Manifest,
    capability::Capability,
    causes::with_causes,
    event::backup::{Failed, Taken},
    log::backup::{BackupError, take},
};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::{
    mpsc,
    oneshot::{self, error::RecvError},
};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{info, warn};

use super::{
    Plane,
    access::Caller,
    openapi::{File, Told},
    write::database,
};
use crate::problem::{Kind, Problem};

/// Pieces that wait for the network: each is a megabyte at most.
const WAITING: usize = 4;

/// Everything that the instance holds: for who may change all of it and see all of it.
pub(super) async fn stream(State(plane): State<Plane>, caller: Caller) -> Result<Told<File>, Problem> {
    caller.must(Capability::InstanceReadLog, None)?;
    // Not one of those that requests are waiting for.
    let connected = PgConnection::connect_with(&plane.pool.connect_options()).await;
    let mut connection = connected.map_err(|error| database(&error))?;
    let (out, mut pieces) = mpsc::channel(WAITING);
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let taken = take(&mut connection, &plane.keyring, plane.versions.product, &out, |_| {}).await;
        let _ = connection.close().await;
        let ended = match taken {
            Ok((manifest, bytes)) => {
                plane.note(&caller, &manifest, bytes).await;
                Ok(())
            }
            Err(error) => {
                warn!(error = with_causes(&error), "Failed to take a backup");
                plane.note_failure(&caller, &error).await;
                Err(error)
            }
        };
        // Nobody reads any more: nobody is told.
        let _ = tell.send(ended);
        drop(out);
    });
    // What goes wrong before the first piece can still be told as what it is.
    let Some(first) = pieces.recv().await else { return Err(not_taken(told.await)) };
    let failed = stream::once(told).filter_map(|told| async move {
        // A body that ends well would be taken for a backup that is whole.
        (!matches!(told, Ok(Ok(())))).then(|| Err(io::Error::other("the backup could not be finished")))
    });
    let pieces = stream::iter([first]).chain(ReceiverStream::new(pieces)).map(Ok::<Bytes, io::Error>);
    let body = Body::from_stream(pieces.chain(failed));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_DISPOSITION, disposition(Utc::now()));
    Ok(response.into())
}

fn not_taken(told: Result<Result<(), BackupError>, RecvError>) -> Problem {
    match told {
        Ok(Err(BackupError::UnderWay)) => {
            let detail = "a backup is being taken already: try again when it is done";
            Problem::new(Kind::Conflict, detail).retry_after(60)
        }
        Ok(Err(BackupError::Database(error))) => database(&error),
        Ok(Err(error)) => Problem::internal(&error),
        Ok(Ok(())) | Err(_) => Problem::internal(&BackupError::Gone),
    }
}

fn disposition(now: DateTime<Utc>) -> HeaderValue {
    let value = format!("attachment; filename=\"{}.picloud\"", now.format("%Y-%m-%dT%H-%M-%SZ"));
    HeaderValue::from_str(&value).expect("a time is plain text")
}

impl super::AdminPlane {
    /// Says in the log that there is no backup, for whoever relies on there being one. That another is under way is none.
    async fn note_failure(&self, caller: &Caller, error: &BackupError) {
        if matches!(error, BackupError::UnderWay) {
            return;
        }
        let failed = Failed::because(&with_causes(error));
        if self.append(caller, None, vec![failed.into()], Vec::new()).await.is_err() {
            warn!("The log does not say that a backup failed: it could not be written");
        }
    }

    /// Says in the log who has taken everything, and when.
    async fn note(&self, caller: &Caller, manifest: &Manifest, bytes: u64) {
        let taken =
            Taken { taken_at: manifest.taken_at, head: manifest.head, rows: manifest.rows(), size_bytes: bytes };
        match self.append(caller, None, vec![taken.into()], Vec::new()).await {
            Ok(_) => info!(log.head = %manifest.head, size_bytes = bytes, "A backup was taken"),
            Err(_) => warn!("A backup was taken, and the log does not say so: it could not be written"),
        }
    }
}
