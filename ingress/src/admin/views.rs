//! How the views stand that lists are read from.

use axum::{Json as Answer, extract::State};
use chrono::Utc;
use picloud_core::log::Position;
use picloud_projections::views::{Parked, Standing};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Plane, page::Page, time::Time};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = View)]
pub(super) struct ViewForm {
    name: &'static str,
    /// Of its fold.
    version: i32,
    /// The last event it has taken in.
    position: Position,
    /// How many events it has yet to take in.
    behind: u64,
    /// How long ago that happened which it should show next, in milliseconds.
    lag_ms: i64,
    /// Whether the node that answers folds it.
    is_ours: bool,
    /// Why it stands still.
    #[schema(required)]
    parked: Option<ParkedForm>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ParkedView)]
struct ParkedForm {
    /// The event that it could not take in.
    position: Position,
    error: String,
    since: Time,
}

pub(super) async fn list(State(plane): State<Plane>) -> Answer<Page<ViewForm>> {
    let (head, now) = (plane.head(), Utc::now());
    let form = |standing: Standing| ViewForm {
        name: standing.view,
        version: standing.checkpoint.version,
        position: standing.checkpoint.position,
        behind: standing.behind(head),
        lag_ms: standing.lag(now).num_milliseconds(),
        is_ours: standing.is_ours,
        parked: standing.checkpoint.parked.map(|Parked { position, error, since }| ParkedForm {
            position,
            error,
            since: Time(since),
        }),
    };
    Answer(Page { items: plane.views.standings().into_iter().map(form).collect(), cursor: None })
}
