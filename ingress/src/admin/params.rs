//! Reads the query of a URL strictly: a parameter that is not known is refused rather than ignored.

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::near;
use crate::problem::{Kind, Problem};

/// The query, read into a type.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                let text = rejection.body_text();
                let message = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                Err(match near::unknown_name(message) {
                    Some((name, message)) => Problem::new(Kind::InvalidInput, format!("query: {message}")).field(name),
                    None => Problem::new(Kind::InvalidInput, format!("query: {message}")),
                })
            }
        }
    }
}
