//! A resolver that lies, and a client that asks it.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use picloud_core::id::AppId;
use picloud_workers::http::{Answer, Client, Exception, Failure, Request, Resolver, Settings};
use reqwest::{Method, header::HeaderMap};
use tokio::time::timeout;

pub use crate::server::{Reply, Server, answer};

/// For waits that end by themselves unless something is broken.
const GUARD: Duration = Duration::from_secs(30);

pub const MAX_BODY: usize = 64 * 1024;

/// Answers names as it was told to: one list after another, the last for ever.
#[derive(Default)]
pub struct Names {
    answers: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: Mutex<usize>,
}

impl Names {
    pub fn leading(names: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let parsed = |list: &&[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect();
        let answers = names.iter().map(|(name, lists)| ((*name).to_owned(), lists.iter().map(parsed).collect()));
        Arc::new(Self { answers: Mutex::new(answers.collect()), asked: Mutex::default() })
    }

    pub fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

impl Resolver for Names {
    fn resolve(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        *self.asked.lock().unwrap() += 1;
        let mut answers = self.answers.lock().unwrap();
        let found = answers.get_mut(host).map(|lists| match lists.len() {
            1 => lists[0].clone(),
            _ => lists.pop_front().unwrap(),
        });
        async move { found.ok_or_else(|| io::Error::other("no such name")) }.boxed()
    }
}

/// What one app may call.
pub fn loopback(port: u16) -> Exception {
    Exception::Network { network: "127.0.0.1/32".parse().unwrap(), port: Some(port) }
}

/// A client with these exceptions for every app.
pub fn client(exceptions: &[Exception]) -> Client {
    client_with(exceptions, Names::leading(&[]), &[])
}

pub fn client_with(exceptions: &[Exception], names: Arc<Names>, forbidden: &[SocketAddr]) -> Client {
    let exceptions: Arc<[Exception]> = exceptions.into();
    client_for(move |_| Arc::clone(&exceptions), names, forbidden)
}

pub fn client_for(
    exceptions_of: impl Fn(AppId) -> Arc<[Exception]> + Send + Sync + 'static,
    names: Arc<Names>,
    forbidden: &[SocketAddr],
) -> Client {
    Client::new(Settings { forbidden: forbidden.into(), exceptions_of: Arc::new(exceptions_of), resolver: names })
}

pub fn get(url: &str) -> Request {
    Request {
        method: Method::GET,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        timeout: None,
        follow: true,
    }
}

pub fn with_headers(mut request: Request, headers: &[(&'static str, &str)]) -> Request {
    for (name, value) in headers {
        request.headers.append(*name, value.parse().unwrap());
    }
    request
}

/// Makes a call for some app.
pub async fn ask(client: &Client, request: Request) -> Result<Answer, Failure> {
    ask_for(client, AppId::generate(), request).await
}

pub async fn ask_for(client: &Client, app: AppId, request: Request) -> Result<Answer, Failure> {
    timeout(GUARD, client.call(app, request, MAX_BODY)).await.expect("it ends long before the guard")
}
