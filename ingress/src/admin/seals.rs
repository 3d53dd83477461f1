//! What proves the log: the last seal, and the proof of one event.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use picloud_core::{
    event::{Event, seal::Sealed},
    id::EventId,
    log::{
        Position,
        read::{Direction, Filter},
        verify,
    },
    seal::{Proof, Seal},
};

use super::{Plane, access::short, events::unreadable, write::database};
use crate::problem::{Kind, Problem};

/// For how long nothing is sealed at most, rounded up.
const SEALED_WITHIN_S: u64 = 1;

pub(super) async fn last(State(plane): State<Plane>) -> Result<Answer<Seal>, Problem> {
    let filter = Filter { kinds: vec!["seal.sealed".into()], ..Filter::default() };
    let head = plane.head();
    let found = plane.reader.list(&filter, Direction::Backward, Position::ZERO, head, 1).await;
    match found.map_err(|error| unreadable(&error))?.pop().map(|recorded| recorded.event.event.clone()) {
        Some(Event::SealSealed(Sealed(seal))) => Ok(Answer(seal)),
        _ => Err(Problem::new(Kind::NotFound, "nothing is sealed yet: try again in a second")),
    }
}

pub(super) async fn prove(State(plane): State<Plane>, Path(named): Path<String>) -> Result<Answer<Proof>, Problem> {
    let not_found = || Problem::new(Kind::NotFound, format!("there is no event `{}`", short(&named))).field("event");
    let event: EventId = named.parse().map_err(|_| not_found())?;
    let found = plane.reader.find(event).await.map_err(|error| unreadable(&error))?;
    let recorded = found.ok_or_else(not_found)?;
    let mut connection = plane.pool.acquire().await.map_err(|error| database(&error))?;
    let proof = verify::prove(&plane.reader, &mut connection, &recorded, plane.head()).await;
    proof.map_err(|error| cannot_prove(&error))?.map(Answer).ok_or_else(|| {
        Problem::new(Kind::Unavailable, format!("`{event}` is not sealed yet: try again in a second"))
            .retry_after(SEALED_WITHIN_S)
    })
}

fn cannot_prove(error: &verify::ProveError) -> Problem {
    match error {
        verify::ProveError::Read(error) => unreadable(error),
        verify::ProveError::Verify(verify::VerifyError::Database(error)) => database(error),
        verify::ProveError::Verify(_) => Problem::internal(error),
    }
}
