//! Versions of things as HTTP knows them (RFC 9110 §13): `etag` says which one was shown, `if-match` which one is to be
//! changed.

use std::sync::Arc;

use axum::{
    Json,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header, request::Parts};
use picloud_core::{id::AppId, keys::DataKey, log::Position};
use serde::Serialize;

use super::AdminPlane;
use crate::problem::{Kind, Problem};

/// The version of a thing: the place of the event that last changed it, as only this instance can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ETag(String);

/// What the client says it is changing.
#[derive(Clone, Debug)]
pub(super) struct IfMatch(Option<String>);

/// A thing with its version.
#[derive(Debug)]
pub(super) struct Versioned<T>(pub(super) ETag, pub(super) T);

impl AdminPlane {
    /// The version of something of an app, or of the instance.
    async fn etag(&self, app: Option<AppId>, position: Position) -> Result<ETag, Problem> {
        Ok(self.etag_under(&*self.cursor_key(app).await?, position))
    }

    fn etag_under(&self, key: &DataKey, position: Position) -> ETag {
        ETag(format!("\"{}\"", self.seal(key, position)))
    }

    /// Shows something with its version.
    pub(super) async fn versioned<T>(
        &self,
        app: Option<AppId>,
        position: Position,
        thing: T,
    ) -> Result<Versioned<T>, Problem> {
        Ok(Versioned(self.etag(app, position).await?, thing))
    }
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let Self(ETag(etag), thing) = self;
        let etag = HeaderValue::try_from(etag).expect("cursors are base64");
        ([(header::ETAG, etag)], Json(thing)).into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().map_err(|_| {
            Problem::new(Kind::BadRequest, "`if-match` is not text; send the `etag` of a GET").field("if-match")
        })?;
        Ok(Self(Some(text.to_owned())))
    }
}

impl IfMatch {
    /// The same, to be compared with versions of things of an app, or of the instance.
    pub(super) async fn of(self, plane: &AdminPlane, app: Option<AppId>) -> Result<Expected<'_>, Problem> {
        Ok(Expected { plane, key: plane.cursor_key(app).await?, said: self })
    }

    fn check(&self, current: &ETag) -> Result<(), Problem> {
        let Some(wanted) = &self.0 else { return Ok(()) };
        let fits = wanted.split(',').map(str::trim).any(|wanted| wanted == "*" || wanted == current.0);
        if fits {
            return Ok(());
        }
        let detail = "it was changed since it was read (`if-match`): read it again, and change that";
        Err(Problem::new(Kind::PreconditionFailed, detail).field("if-match"))
    }
}

/// The version that a client expects to change, if it says which.
pub(super) struct Expected<'p> {
    plane: &'p AdminPlane,
    key: Arc<DataKey>,
    said: IfMatch,
}

impl Expected<'_> {
    /// Refuses when the thing is not as the client thinks.
    pub(super) fn check(&self, position: Position) -> Result<(), Problem> {
        self.said.check(&self.plane.etag_under(&self.key, position))
    }

    /// The same for what may be made by the same call: whoever expects a version expects that it is there.
    pub(super) fn check_if_there(&self, position: Option<Position>) -> Result<(), Problem> {
        match position {
            Some(position) => self.check(position),
            None if self.said.0.is_none() => Ok(()),
            None => {
                let detail = "there is nothing to be changed (`if-match`): leave that header out to make it";
                Err(Problem::new(Kind::PreconditionFailed, detail).field("if-match"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_that_is_there_is_changed() {
        let current = ETag("\"a\"".to_owned());
        for fits in [None, Some("*"), Some("\"a\""), Some("\"b\", \"a\"")] {
            assert!(IfMatch(fits.map(str::to_owned)).check(&current).is_ok(), "{fits:?}");
        }
        for stale in ["\"b\"", "a", "W/\"a\"", ""] {
            let refused = IfMatch(Some(stale.to_owned())).check(&current).expect_err(stale);
            assert_eq!(refused.kind(), Kind::PreconditionFailed);
        }
    }
}
