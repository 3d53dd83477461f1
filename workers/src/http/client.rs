//! Makes the calls.

use std::{fmt, net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use picloud_core::id::AppId;
use reqwest::{Response, header::HeaderMap, redirect::Policy};
use tokio::time::timeout;
use url::{Host, Url};

use super::{
    Answer, Exception, Failure, OperatorClient, Request, Resolver, guard::Guard, redirect, resolve::Checked, tls,
};

/// How often one call is redirected at most.
pub(super) const MAX_REDIRECTS: usize = 5;
/// The most that the headers of an answer may have together.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// And how many there may be.
const MAX_HEADERS: usize = 100;
/// How many ports and lists of exceptions have connections that are kept. Hardly anybody calls others than 80 and 443.
const CLIENTS: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");
/// For how long a connection without a call is kept, and how many to one host.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_PER_HOST: usize = 8;

/// Says what an app may call that is not on the public internet.
pub type ExceptionsOf = Arc<dyn Fn(AppId) -> Arc<[Exception]> + Send + Sync>;

/// What a client is made with.
#[derive(Clone)]
pub struct Settings {
    /// The platform's own addresses, which no exception covers: where it listens, and its database.
    pub forbidden: Arc<[SocketAddr]>,
    /// What else apps may call; asked at every call.
    pub exceptions_of: ExceptionsOf,
    /// Where addresses of names come from.
    pub resolver: Arc<dyn Resolver>,
}

/// Makes calls for scripts. One a node; cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    tls: rustls::ClientConfig,
    clients: Mutex<LruCache<Kept, reqwest::Client>>,
}

/// What connections are kept apart by: the port, and what was allowed when they were made. None serves a call that may
/// not have it.
type Kept = (Arc<[Exception]>, u16);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("forbidden", &self.inner.settings.forbidden).finish_non_exhaustive()
    }
}

impl Client {
    /// A client without connections.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let clients = Mutex::new(LruCache::new(CLIENTS));
        Self { inner: Arc::new(Inner { settings, tls: tls::config(), clients }) }
    }

    /// A client for addresses that operators have named, with the same certificates and names.
    #[must_use]
    pub fn for_operators(&self) -> OperatorClient {
        OperatorClient::new(self.inner.tls.clone(), Arc::clone(&self.inner.settings.resolver))
    }

    /// Makes a call for a script of an app, following redirects, and reads the answer whole. Dropping the future gives it
    /// up.
    ///
    /// # Errors
    /// [`Failure`], when there is no answer; whether the call arrived is not known then.
    pub async fn call(&self, app: AppId, request: Request, max_body_bytes: usize) -> Result<Answer, Failure> {
        let guard = Guard {
            exceptions: (self.inner.settings.exceptions_of)(app),
            forbidden: Arc::clone(&self.inner.settings.forbidden),
        };
        let allowed = request.timeout;
        let answer = self.follow(&guard, request, max_body_bytes);
        match allowed {
            None => answer.await,
            Some(allowed) => timeout(allowed, answer).await.unwrap_or(Err(Failure::TookLonger(allowed))),
        }
    }

    async fn follow(&self, guard: &Guard, mut request: Request, max_body_bytes: usize) -> Result<Answer, Failure> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(guard, &request).await?;
            match redirect::next(&request, response.status(), response.headers())? {
                Some(next) => request = next,
                None => return read(response, max_body_bytes).await,
            }
        }
        Err(Failure::Redirects)
    }

    /// Sends one request; its answer's body is still to be read.
    async fn send(&self, guard: &Guard, request: &Request) -> Result<Response, Failure> {
        let port = check(guard, &request.url)?;
        let mut wanted = reqwest::Request::new(request.method.clone(), request.url.clone());
        *wanted.headers_mut() = request.headers.clone();
        if !request.body.is_empty() {
            *wanted.body_mut() = Some(request.body.clone().into());
        }
        let response = self.client(guard, port)?.execute(wanted).await.map_err(|error| Failure::of(&error))?;
        if head_bytes(response.headers()) > MAX_HEAD_BYTES {
            return Err(Failure::HeadTooLarge);
        }
        Ok(response)
    }

    /// The connections that a call may use.
    fn client(&self, guard: &Guard, port: u16) -> Result<reqwest::Client, Failure> {
        let kept = (Arc::clone(&guard.exceptions), port);
        if let Some(client) = self.inner.clients.lock().get(&kept) {
            return Ok(client.clone());
        }
        let resolver = Checked { resolver: Arc::clone(&self.inner.settings.resolver), guard: guard.clone(), port };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.inner.tls.clone())
            .user_agent(concat!("picloud/", env!("CARGO_PKG_VERSION")))
            // What the environment says of proxies is for the service itself; through one, nobody would look at addresses.
            .no_proxy()
            // Followed here, where each step is looked at.
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .dns_resolver(resolver)
            .http1_only()
            .http1_max_headers(MAX_HEADERS)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build()
            .map_err(|error| Failure::of(&error))?;
        self.inner.clients.lock().put(kept, client.clone());
        Ok(client)
    }
}

/// Whether a URL may be called as far as it says itself; hands out its port. Names are looked at when they are looked up.
fn check(guard: &Guard, url: &Url) -> Result<u16, Failure> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Failure::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::UserInfo);
    }
    let port = url.port_or_known_default().unwrap_or_default();
    // However it was written (`0x7f.1`, `2130706433`): here it is an address.
    match url.host() {
        Some(Host::Ipv4(address)) => guard.check(&address.to_string(), (address, port).into())?,
        Some(Host::Ipv6(address)) => guard.check(&address.to_string(), (address, port).into())?,
        Some(Host::Domain(_)) | None => {}
    }
    Ok(port)
}

/// Reads a body, unless it is longer than it may be. It is read as it came: nothing is decompressed.
async fn read(mut response: Response, max_body_bytes: usize) -> Result<Answer, Failure> {
    let too_large = Failure::TooLarge(max_body_bytes);
    if response.content_length().is_some_and(|length| length > max_body_bytes as u64) {
        return Err(too_large);
    }
    let status = response.status().as_u16();
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())));
    let headers = headers.collect();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::of(&error))? {
        if body.len() + chunk.len() > max_body_bytes {
            return Err(too_large);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body: Bytes::from(body) })
}

fn head_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}
