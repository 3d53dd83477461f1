//! What a script gets that another script runs, at once or later: the same in both cases.

use bytes::Bytes;
use picloud_core::run::Request;

/// A request whose body is the arguments, as JSON.
pub(crate) fn request(args: Bytes) -> Request {
    Request {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: args,
        ..Request::default()
    }
}
