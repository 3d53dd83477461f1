//! A running service: started on free ports, asked over HTTP, and gone when the test is.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read},
    net::TcpListener,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock},
    thread::{self, JoinHandle},
    time::Duration,
};

use picloud::profile::Profile;
use reqwest::{Method, RequestBuilder, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    eventually::eventually,
    home::{Home, PICLOUD},
};

/// Below what the kernel gives out by itself, so that nobody's connection takes a port between choosing and using it.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A service and what it has said so far.
pub struct Service {
    child: Child,
    stderr: watch::Receiver<String>,
    reader: Option<JoinHandle<()>>,
    /// The data plane's origin.
    pub public: String,
    /// The control plane's.
    pub admin: String,
    key: Option<String>,
}

/// How to start one.
pub struct Start {
    home: Arc<Home>,
    variables: BTreeMap<&'static str, String>,
    at_a_terminal: bool,
}

impl Start {
    pub fn new(home: &Arc<Home>) -> Self {
        Self { home: Arc::clone(home), variables: BTreeMap::new(), at_a_terminal: false }
    }

    /// As a person does who reads what it says.
    pub fn at_a_terminal(mut self) -> Self {
        self.at_a_terminal = true;
        self
    }

    /// With a variable of the environment.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.insert(name, value.into());
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn ready(self) -> Service {
        let mut service = self.spawn();
        let readyz = format!("{}/readyz", service.public);
        eventually("the service is ready", || {
            let ended = service.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended instead: {ended:?}\n{}", service.said());
            let asked = client().get(&readyz).send();
            async { asked.await.is_ok_and(|answer| answer.status() == StatusCode::OK).then_some(()) }
        })
        .await;
        service.key = Profile::read(&Profile::path(&self.home.data()))
            .unwrap()
            .and_then(|profile| Some(profile.key?.expose().to_owned()))
            .or_else(|| self.variables.get("PICLOUD_KEY").cloned());
        service
    }

    /// Starts it, for better or worse.
    pub fn spawn(&self) -> Service {
        let (data, control) = (free_port(), free_port());
        let mut command = if self.at_a_terminal {
            // It passes signals on, and what is said at its terminal comes out of it.
            let mut command = Command::new("script");
            command.args([
                "--quiet",
                "--flush",
                "--return",
                "--command",
                &format!("exec {PICLOUD} serve"),
                "/dev/null",
            ]);
            self.home.prepare(&mut command);
            command
        } else {
            let mut command = self.home.command();
            command.arg("serve");
            command
        };
        command
            .env("PICLOUD_LISTEN", format!("127.0.0.1:{data}"))
            .env("PICLOUD_ADMIN_LISTEN", format!("127.0.0.1:{control}"))
            .envs(&self.variables)
            .stdin(Stdio::null())
            .stdout(if self.at_a_terminal { Stdio::piped() } else { Stdio::null() })
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (said, stderr) = watch::channel(String::new());
        let heard: Box<dyn Read + Send> = match child.stdout.take() {
            Some(terminal) => Box::new(terminal),
            None => Box::new(child.stderr.take().unwrap()),
        };
        let lines = BufReader::new(heard).lines();
        let reader = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                said.send_modify(|all| {
                    all.push_str(&line);
                    all.push('\n');
                });
            }
        });
        Service {
            child,
            stderr,
            reader: Some(reader),
            public: format!("http://127.0.0.1:{data}"),
            admin: format!("http://127.0.0.1:{control}"),
            key: None,
        }
    }
}

impl Service {
    /// A request to the app of that host.
    pub fn call(&self, method: Method, host: &str, path: &str) -> RequestBuilder {
        client().request(method, format!("{}{path}", self.public)).header("host", host)
    }

    /// What a GET is answered.
    pub async fn get(&self, host: &str, path: &str) -> (StatusCode, String) {
        answer(self.call(Method::GET, host, path)).await
    }

    /// What a POST without a body is answered.
    pub async fn post(&self, host: &str, path: &str) -> (StatusCode, String) {
        answer(self.call(Method::POST, host, path)).await
    }

    /// Reads from the admin API with the first start's key.
    pub async fn admin(&self, path: &str) -> Value {
        let request = client().get(format!("{}/api/v1/admin{path}", self.admin)).bearer_auth(self.key());
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The API key that the first start made.
    pub fn key(&self) -> &str {
        self.key.as_deref().expect("this home has a profile")
    }

    /// Everything it has said so far.
    pub fn said(&self) -> String {
        self.stderr.borrow().clone()
    }

    /// The name of its right to write, as it has said it.
    pub fn epoch(&self) -> String {
        let said = self.said();
        let told = said.lines().find(|line| line.contains("Node is up")).expect("it says so when it starts");
        let from = told.find("nod_").expect("the line names it");
        told[from..].split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// Waits until it says this, and gives everything up to then.
    pub async fn until_it_says(&self, text: &str) -> String {
        let mut stderr = self.stderr.clone();
        let said = stderr.wait_for(|said| said.contains(text));
        match tokio::time::timeout(Duration::from_secs(60), said).await {
            Ok(Ok(said)) => said.clone(),
            _ => panic!("it never said `{text}`:\n{}", self.said()),
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for its end, and gives its exit status and everything it has said.
    pub async fn ended(&mut self) -> (ExitStatus, String) {
        let status = eventually("the service ends", || {
            let ended = self.child.try_wait().unwrap();
            async move { ended }
        })
        .await;
        // What it said last may still be in the pipe. Without a service that has been stopped by force, nobody else
        // holds the pipe's other end.
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status, self.said())
    }

    /// Stops it as a service manager does, and waits for its good end.
    pub async fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let (status, said) = self.ended().await;
        assert!(status.success(), "it ends well: {status}\n{said}");
        said
    }

    /// Kills it so that it can do nothing about it.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        eventually("the service is gone", || {
            let ended = self.child.try_wait().unwrap();
            async move { ended }
        })
        .await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // One that was stopped would not hear anything else; one that has ended hears nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the service said:\n{}", self.said());
        }
    }
}

/// Status and body.
pub async fn answer(request: RequestBuilder) -> (StatusCode, String) {
    let answer = request.send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

/// One client for all: it keeps connections, as browsers and proxies do.
pub fn client() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        // Whoever was first has chosen the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(40))
            .build()
            .unwrap()
    });
    &CLIENT
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let span = u64::from(PORTS.end - PORTS.start);
    loop {
        let chosen = u16::try_from(random() % span).unwrap() + PORTS.start;
        if TcpListener::bind(("127.0.0.1", chosen)).is_ok() {
            return chosen;
        }
    }
}

/// Different in each process and at each call, so that tests beside each other do not look for ports in the same order.
fn random() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    RandomState::new().build_hasher().finish()
}
