//! Who a request comes from. On the data plane only `Authorization: Bearer pic_…` makes a principal.

use http::{HeaderMap, HeaderValue, header};
use picloud_core::policy::Principal;

use crate::problem::{Kind, Problem};

/// What every API key begins with.
const KEY_PREFIX: &str = "pic_";

/// Who knows the API keys.
pub trait Credentials: Send + Sync + 'static {
    /// Whose key this is, if it is one and good now. Compares hashes, answers from memory.
    fn check(&self, bearer: &str) -> Option<Principal>;
}

/// The token in an `authorization` header.
pub(crate) fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The same, when it is a key of ours rather than the script's to read.
pub(super) fn platform_key(value: &HeaderValue) -> Option<&str> {
    bearer(value).filter(|token| token.starts_with(KEY_PREFIX))
}

/// Who a request comes from; a key that is not good is refused rather than ignored.
pub(super) fn principal(headers: &HeaderMap, credentials: &dyn Credentials) -> Result<Principal, Problem> {
    match headers.get_all(header::AUTHORIZATION).iter().find_map(platform_key) {
        None => Ok(Principal::Public),
        Some(key) => credentials.check(key).ok_or_else(|| {
            let detail = "this API key is not known, or was revoked, or is past its expiry; use another one or none";
            Problem::new(Kind::Unauthorized, detail).field("authorization")
        }),
    }
}
