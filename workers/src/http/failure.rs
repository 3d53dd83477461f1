//! Why a call outside has no answer, in words for the author of the script. No address is in them that a name led to.

use std::time::Duration;

use super::client::{MAX_HEAD_BYTES, MAX_REDIRECTS};
use crate::pool::MAX_HOPS;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The URL is neither http nor https.
    #[error("`{0}:` is neither http nor https")]
    Scheme(String),
    /// The URL has a user name or password in it.
    #[error("the URL has a user name or password in it: use the header `authorization`")]
    UserInfo,
    /// The address, or all that the name leads to, is not public.
    #[error("`{0}` is not on the public internet, and this app has no exception for it")]
    NotPublic(String),
    /// It is link-local, where clouds hand out credentials, or nobody's: nobody may name it.
    #[error("`{0}` is a link-local address or one of a cloud's metadata: nothing is sent there")]
    NeverCalled(String),
    /// It is the platform's own, whatever exceptions there are.
    #[error("`{0}` is the platform's own address, which scripts cannot call")]
    OwnAddress(String),
    /// The name leads nowhere.
    #[error("there is no host `{0}`")]
    NoSuchHost(String),
    /// Too many redirects.
    #[error("it was redirected more than {MAX_REDIRECTS} times")]
    Redirects,
    /// A redirect that leads nowhere.
    #[error("it was redirected to what is no URL")]
    BadRedirect,
    /// Calls of scripts to scripts of the same platform stand too deep in each other.
    #[error("{MAX_HOPS} calls of scripts to scripts wait for each other already")]
    TooDeep,
    /// It took longer than the script allowed.
    #[error("it took longer than {} ms", .0.as_millis())]
    TookLonger(Duration),
    /// The answer is longer than it may be.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    /// The headers of the answer are.
    #[error("the headers of the answer are longer than {MAX_HEAD_BYTES} bytes")]
    HeadTooLarge,
    /// There is no connection, or it broke.
    #[error("{0}")]
    Connection(String),
}

impl Failure {
    /// What the client's error means: what we refused ourselves, or what went wrong on the way.
    pub(super) fn of(error: &reqwest::Error) -> Self {
        let mut innermost: &(dyn std::error::Error + 'static) = error;
        while let Some(source) = innermost.source() {
            innermost = source;
            if let Some(ours) = innermost.downcast_ref::<Self>() {
                return ours.clone();
            }
        }
        let on_the_way = if error.is_connect() { "no connection" } else { "the connection broke" };
        Self::Connection(format!("{on_the_way}: {innermost}"))
    }
}
