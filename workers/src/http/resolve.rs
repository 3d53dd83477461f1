//! From names to addresses that may be called. A connection is made to what was looked at, and to nothing else.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};

use futures::{FutureExt as _, future::BoxFuture};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{Failure, guard::Guard};

/// Looks up the addresses of names.
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of a host.
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// How many lookups the system does at once. Each holds a thread until it is done, also when nobody waits any more.
const LOOKUPS: usize = 64;

/// Asks as every program of this machine does: its hosts file, its name servers.
#[derive(Debug)]
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

impl Resolver for SystemResolver {
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let (host, lookups) = (host.to_owned(), Arc::clone(&self.lookups));
        async move {
            let lookup = lookups.acquire_owned().await.map_err(io::Error::other)?;
            let found = spawn_blocking(move || {
                let _lookup = lookup;
                (host.as_str(), 0).to_socket_addrs()
            });
            Ok(found.await??.map(|address| address.ip()).collect())
        }
        .boxed()
    }
}

/// Hands out only those addresses of a host that may be called, on one port.
pub(super) struct Checked {
    pub resolver: Arc<dyn Resolver>,
    pub guard: Guard,
    pub port: u16,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, port, host) = (self.guard.clone(), self.port, name.as_str().to_owned());
        let found = self.resolver.resolve(&host);
        Box::pin(async move {
            let found = found.await.map_err(|_| Failure::NoSuchHost(host.clone()))?;
            Ok(Box::new(allowed(&guard, &host, port, found)?.into_iter()) as Addrs)
        })
    }
}

fn allowed(guard: &Guard, host: &str, port: u16, found: Vec<IpAddr>) -> Result<Vec<SocketAddr>, Failure> {
    let mut refused = Failure::NoSuchHost(host.to_owned());
    let mut allowed = Vec::with_capacity(found.len());
    for address in found.into_iter().map(|ip| SocketAddr::new(ip, port)) {
        match guard.check(host, address) {
            Ok(()) => allowed.push(address),
            Err(why) => refused = why,
        }
    }
    if allowed.is_empty() { Err(refused) } else { Ok(allowed) }
}
