//! The client for pages: `import { createClient } from '/realtime/client.js'`.

use std::sync::LazyLock;

use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sha2::{Digest as _, Sha256};

use crate::{data_plane::only_get, problem::Problem};

/// What `npm run bundle` makes of `client/`; a test there sees that it is that.
const SCRIPT: &str = include_str!("client.js");

static ETAG: LazyLock<String> = LazyLock::new(|| format!("\"{}\"", hex::encode(&Sha256::digest(SCRIPT)[..12])));

/// The script; nothing, for who has it. Another version of PiCloud brings another, so it is asked for each time.
pub(super) async fn show(method: Method, asked: HeaderMap) -> Result<Response, Problem> {
    only_get(&method, "GET, HEAD")?;
    let mut known = asked.get_all(header::IF_NONE_MATCH).iter();
    // Weakened, if a proxy compresses: the text is the same.
    let is_known = known.any(|known| known.to_str().is_ok_and(|known| known.contains(&**ETAG)));
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { SCRIPT.into_response() };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::ETAG, HeaderValue::try_from(&**ETAG).expect("a hash in quotes"));
    // Modules are loaded as pages of other origins read: only if they may.
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Ok(response)
}
