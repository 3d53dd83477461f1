//! Many callers at once, who remember what they were promised.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use reqwest::{Method, StatusCode};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    history,
    service::{Service, client},
};

const CALLERS: usize = 16;

/// Callers of an app with `POST /keep/:key` and `POST /count`.
pub struct Load {
    callers: JoinSet<()>,
    stop: watch::Sender<bool>,
    acknowledged: watch::Receiver<usize>,
    seen: Arc<Mutex<Seen>>,
}

/// What was answered so far.
#[derive(Default)]
pub struct Seen {
    /// `inv_…` of every call that was answered 200.
    pub invocations: BTreeSet<String>,
    /// The keys that are kept.
    pub kept: BTreeSet<String>,
    /// The numbers that the counter gave.
    pub numbers: Vec<i64>,
    /// All answers but 200: status, content type and body.
    pub refused: Vec<(StatusCode, String, String)>,
    /// Calls that had no answer.
    pub cut: usize,
}

impl Load {
    /// Begins; callers go on until [`Load::stop`], whatever they are answered.
    pub fn begin(service: &Service, app: &str) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (count, acknowledged) = watch::channel(0);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (origin, host) = (service.public.clone(), format!("{app}.localhost"));
            let (seen, count, stopped) = (Arc::clone(&seen), count.clone(), stopped.clone());
            callers.spawn(async move {
                for number in 0_usize.. {
                    if *stopped.borrow() {
                        return;
                    }
                    let key = format!("{caller}-{number}");
                    // One in four goes to the counter, so that conflicts are part of it.
                    let path = if number % 4 == 3 { "/count".to_owned() } else { format!("/keep/{key}") };
                    let request = client().request(Method::POST, format!("{origin}{path}")).header("host", &host);
                    let answered = answered(request).await;
                    if seen.lock().unwrap().note(&path, answered) {
                        count.send_modify(|count| *count += 1);
                    }
                }
            });
        }
        Self { callers, stop, acknowledged, seen }
    }

    /// Waits until so many calls more were acknowledged.
    pub async fn until_acknowledged(&mut self, more: usize) {
        let wanted = *self.acknowledged.borrow() + more;
        let reached = self.acknowledged.wait_for(|count| *count >= wanted);
        let reached = tokio::time::timeout(std::time::Duration::from_secs(60), reached).await;
        assert!(reached.is_ok_and(|waited| waited.is_ok()), "{more} more calls are answered within a minute");
    }

    /// Ends it, and gives what was answered.
    pub async fn stop(self) -> Seen {
        self.stop.send_replace(true);
        self.callers.join_all().await;
        let mut seen = self.seen.lock().unwrap();
        std::mem::take(&mut *seen)
    }
}

/// Status, invocation, content type and body; none when the connection broke.
async fn answered(request: reqwest::RequestBuilder) -> Option<(StatusCode, String, String, String)> {
    let answer = request.send().await.ok()?;
    let header = |name: &str| {
        let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (status, invocation, content_type) = (answer.status(), header("x-picloud-invocation"), header("content-type"));
    Some((status, invocation, content_type, answer.text().await.ok()?))
}

impl Seen {
    /// Whether it was acknowledged.
    fn note(&mut self, path: &str, answered: Option<(StatusCode, String, String, String)>) -> bool {
        match answered {
            None => self.cut += 1,
            Some((StatusCode::OK, invocation, _, body)) => {
                self.invocations.insert(invocation);
                match path.strip_prefix("/keep/") {
                    Some(key) => drop(self.kept.insert(key.to_owned())),
                    None => self.numbers.push(body.parse().unwrap()),
                }
                return true;
            }
            Some((status, _, content_type, body)) => self.refused.push((status, content_type, body)),
        }
        false
    }

    /// Fails unless everything that was acknowledged is there, and once.
    pub async fn assert_all_is_there(&self, service: &Service, app: &str) {
        let events = history::of(service).await;
        history::assert_gapless(&events);
        let completed = history::subjects(&events, "invocation.completed");
        let missing: Vec<_> = self.invocations.difference(&completed).collect();
        assert_eq!(missing, Vec::<&String>::new(), "every acknowledged call is in the log");
        let kept = history::keys(service, app, "kept").await;
        let missing: Vec<_> = self.kept.difference(&kept).collect();
        assert_eq!(missing, Vec::<&String>::new(), "every acknowledged write is there");

        let distinct: BTreeSet<_> = self.numbers.iter().collect();
        assert_eq!(distinct.len(), self.numbers.len(), "no number was given out twice");
        let counter = service.admin(&format!("/apps/{app}/kv/counters/n")).await["value"].as_i64().unwrap();
        let counted = i64::try_from(events.iter().filter(|event| is_count(event)).count()).unwrap();
        assert_eq!(counter, counted, "the counter is what its events say");
        assert!(distinct.last().is_none_or(|highest| **highest <= counter));
    }
}

fn is_count(event: &serde_json::Value) -> bool {
    event["type"] == "kv.set" && event["subject"] == "kv:counters/n"
}
