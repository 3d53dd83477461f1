//! Calls to addresses that an operator has named: alerts. They may lead into the network that the instance runs in, where the
//! operators' own receivers are; not to where clouds hand out credentials, and nowhere by a redirect.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    dns::{Addrs, Name, Resolve, Resolving},
    header::HeaderMap,
    redirect::Policy,
};
use tokio::time::timeout;
use url::{Host, Url};

use super::{Failure, Resolver, address::is_never_called};

/// How much of what a receiver says is kept.
const MAX_SAID_BYTES: usize = 500;

/// What a receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The beginning of the body.
    pub said: String,
}

/// Makes the calls. They are rare: no connection is kept. Cheap to clone.
#[derive(Clone)]
pub struct OperatorClient {
    tls: rustls::ClientConfig,
    resolver: Arc<dyn Resolver>,
}

impl OperatorClient {
    pub(super) const fn new(tls: rustls::ClientConfig, resolver: Arc<dyn Resolver>) -> Self {
        Self { tls, resolver }
    }

    /// Posts a body, and waits for an answer for so long.
    ///
    /// # Errors
    /// [`Failure`], when there is no answer; whether the call arrived is not known then. The address is not in it, but for its
    /// host.
    pub async fn post(&self, url: &Url, headers: HeaderMap, body: Bytes, patience: Duration) -> Result<Reply, Failure> {
        let answer = self.send(url, headers, body);
        timeout(patience, answer).await.unwrap_or(Err(Failure::TookLonger(patience)))
    }

    async fn send(&self, url: &Url, headers: HeaderMap, body: Bytes) -> Result<Reply, Failure> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Failure::Scheme(url.scheme().to_owned()));
        }
        // However it was written: here it is an address. Names are looked at when they are looked up.
        match url.host() {
            Some(Host::Ipv4(address)) => check(&address.to_string(), address.into())?,
            Some(Host::Ipv6(address)) => check(&address.to_string(), address.into())?,
            Some(Host::Domain(_)) | None => {}
        }
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .user_agent(concat!("picloud/", env!("CARGO_PKG_VERSION")))
            // Through a proxy of the environment, nobody would look at addresses.
            .no_proxy()
            // An address that redirects is not the one that was named.
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .dns_resolver(Checked(Arc::clone(&self.resolver)))
            .http1_only()
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| Failure::of(&error))?;
        let request = client.post(url.clone()).headers(headers).body(body);
        let mut response = request.send().await.map_err(|error| Failure::of(&error))?;
        let status = response.status().as_u16();
        let mut said = Vec::new();
        while said.len() < MAX_SAID_BYTES {
            // The status is what counts: a body that breaks off says as much as it did.
            let Ok(Some(piece)) = response.chunk().await else { break };
            said.extend_from_slice(&piece);
        }
        said.truncate(MAX_SAID_BYTES);
        Ok(Reply { status, said: String::from_utf8_lossy(&said).into_owned() })
    }
}

impl fmt::Debug for OperatorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorClient").finish_non_exhaustive()
    }
}

fn check(host: &str, address: IpAddr) -> Result<(), Failure> {
    if is_never_called(address) { Err(Failure::NeverCalled(host.to_owned())) } else { Ok(()) }
}

/// Hands out only addresses that may be called: a connection is made to what was looked at.
struct Checked(Arc<dyn Resolver>);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let found = self.0.resolve(&host);
        Box::pin(async move {
            let found = found.await.map_err(|_| Failure::NoSuchHost(host.clone()))?;
            let is_any = !found.is_empty();
            let allowed: Vec<_> = found.into_iter().filter(|address| !is_never_called(*address)).collect();
            match (allowed.is_empty(), is_any) {
                (false, _) => Ok(Box::new(allowed.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs),
                (true, true) => Err(Failure::NeverCalled(host).into()),
                (true, false) => Err(Failure::NoSuchHost(host).into()),
            }
        })
    }
}
