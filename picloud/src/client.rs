//! Asking a control plane. Whatever goes wrong comes back as a [`Failure`] with its exit code and the next step.

use std::{error::Error, time::Duration};

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{failure::Failure, patience::with_patience, problem::Problem, profile::Target};

/// A control plane and as whom we ask it.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    target: Target,
}

impl Client {
    /// One for that place.
    ///
    /// # Errors
    /// [`Failure`], when the URL is none, or this machine has no certificates to check an `https` one against.
    pub fn new(target: Target) -> Result<Self, Failure> {
        let wrong = |problem: &str| Failure::usage(format!("the server's URL is `{}`: {problem}", target.url));
        let url = Url::parse(&target.url).map_err(|_| wrong("expected http:// or https:// and a host"))?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("picloud/", env!("CARGO_PKG_VERSION")))
            // Within the server only, where an app has another name now: no other gets the key.
            .redirect(reqwest::redirect::Policy::custom(|attempt| {
                let is_same = attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
                if is_same && attempt.previous().len() < 5 { attempt.follow() } else { attempt.stop() }
            }))
            .connect_timeout(Duration::from_secs(10));
        // Whoever was first has chosen the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        builder = match url.scheme() {
            "https" => builder,
            // Nothing to verify: a machine without certificates can still talk to itself.
            "http" => builder.tls_certs_only([]),
            _ => return Err(wrong("expected http:// or https://")),
        };
        if matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| Failure::failed(format!("failed to prepare a client: {}", causes(&error))))?;
        Ok(Self { http, target })
    }

    /// Where it asks.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.target.url
    }

    /// A request to a path of the control plane, signed where we have a key.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.target.url));
        match &self.target.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }

    /// Reads one thing.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.read(self.request(Method::GET, path)).await
    }

    /// Sends a request, and reads the answer.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let response = self.send(request).await?;
        self.json(response).await
    }

    /// Reads a list, all of its pages.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn list(&self, path: &str) -> Result<Vec<Value>, Failure> {
        #[derive(Deserialize)]
        struct Page {
            items: Vec<Value>,
            cursor: Option<String>,
        }
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page: Page = self.read(self.request(Method::GET, path).query(&[("cursor", &cursor)])).await?;
            all.extend(page.items);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Sends one thing, and reads the answer.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Failure> {
        self.read(self.request(method, path).json(body)).await
    }

    /// Sends a request; an answer that is none of success is a [`Failure`].
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let waiting = format!("waiting for {}", self.target.url);
        let response = with_patience(&waiting, request.send()).await.map_err(|error| self.broken(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
    }

    async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let body = response.bytes().await.map_err(|error| self.broken(&error))?;
        // No answer at all is `null`, for those who expect nothing.
        let text: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(text).map_err(|error| {
            Failure::failed(format!("{} answered what this version does not understand: {error}", self.target.url))
                .next("compare `picloud --version` with the server's /version")
        })
    }

    /// A connection that was not made, or broke.
    #[must_use]
    pub fn broken(&self, error: &reqwest::Error) -> Failure {
        let failure = Failure::not_reached(format!("failed to reach {}: {}", self.target.url, causes(error)));
        if error.is_connect() {
            failure.next("is it running? start it with `picloud serve`, or name another with PICLOUD_URL")
        } else {
            failure
        }
    }

    async fn refused(&self, response: Response) -> Failure {
        let status = response.status();
        let is_problem = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/problem+json"));
        let body = response.bytes().await.unwrap_or_default();
        let told = if is_problem { serde_json::from_slice::<Problem>(&body).ok() } else { None };
        let mut problem = told.unwrap_or_else(|| self.not_ours(status));
        problem.status = Some(status.as_u16());
        let signed = self.target.key.is_some();
        let failure = Failure::refused(problem);
        match status {
            StatusCode::UNAUTHORIZED if signed => {
                failure.next("sign in again with `picloud login`, or set PICLOUD_KEY to a key that the server gave out")
            }
            StatusCode::UNAUTHORIZED => failure
                .next("sign in with `picloud login`, set PICLOUD_KEY, or run this where `picloud serve` was started"),
            StatusCode::NOT_FOUND if failure.problem.more.get("field").is_some_and(|field| field == "app") => {
                failure.next("`picloud app ls` shows the apps there are, `picloud app create <SLUG>` makes one")
            }
            _ => failure,
        }
    }

    /// An answer that PiCloud would not give: a proxy's, or another program's.
    fn not_ours(&self, status: StatusCode) -> Problem {
        Problem::local(
            "not-a-problem",
            status.canonical_reason().unwrap_or("Unexpected answer"),
            format!("{} answered {status}, and not as PiCloud does: is it the control plane's URL?", self.target.url),
        )
    }
}

/// reqwest keeps what happened in its sources.
fn causes(error: &dyn Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::{failure::Exit, profile::Key};

    /// Asks a server that answers once, with that; and what the server was sent.
    async fn asked(answer: &str) -> (Result<Value, Failure>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = Client::new(Target { url, key: Some(Key::new("pic_test")) }).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        tokio::join!(client.get("/api/v1/admin/instance"), serve)
    }

    fn http(status: &str, content_type: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn an_answer_is_read_and_the_key_goes_along() {
        let (answer, request) = asked(&http("200 OK", "application/json", r#"{"name":"pi"}"#)).await;
        assert_eq!(answer.unwrap()["name"], "pi");
        assert!(request.starts_with("GET /api/v1/admin/instance HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: Bearer pic_test\r\n"), "{request}");
    }

    #[tokio::test]
    async fn a_problem_is_told_as_the_server_told_it() {
        let body = r#"{"type":"/problems/forbidden","title":"Not allowed","status":403,"detail":"needs AppRead","request_id":"req_1"}"#;
        let (answer, _) = asked(&http("403 Forbidden", "application/problem+json", body)).await;
        let failure = answer.expect_err("forbidden");
        assert_eq!(failure.exit, Exit::NotAllowed);
        assert_eq!(failure.to_json(), body);
    }

    #[tokio::test]
    async fn an_answer_of_something_else_is_not_taken_for_ours() {
        let (answer, _) = asked(&http("502 Bad Gateway", "text/html", "<h1>nginx</h1>")).await;
        let failure = answer.expect_err("not PiCloud");
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.to_string().contains("answered 502 Bad Gateway, and not as PiCloud does"), "{failure}");
    }

    #[tokio::test]
    async fn where_nobody_listens_the_next_step_is_told() {
        let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let client = Client::new(Target { url: format!("http://{unused}"), key: None }).unwrap();
        let failure = client.get::<Value>("/").await.expect_err("nobody listens");
        assert_eq!(failure.exit, Exit::NotReached);
        assert!(failure.next.unwrap().contains("picloud serve"));
    }
}
