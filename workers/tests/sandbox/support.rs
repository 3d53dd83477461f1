//! Runs a script the way a worker does: on a thread of its own, over data in memory.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, LazyLock, atomic::AtomicBool, mpsc::Sender},
    thread,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use picloud_core::{
    event::{
        Event, FailureReason,
        message::{Published, Sent},
    },
    id::{AppId, DeadLetterId, InvocationId, OutboxId, ScriptId, VersionId},
    keys::Grant,
    limits::Limits,
    run::{Answer, Failure, InvocationType, Program, Request, Rights},
};
use picloud_workers::{
    http,
    sandbox::{Data, DataError, Ended, Input, KvPage, Later, LetterPage, LetterQuery, Report, STACK_BYTES, Sandbox},
};
use serde_json::value::RawValue;

pub static SANDBOX: LazyLock<Sandbox> = LazyLock::new(Sandbox::new);

/// Stored data in memory; refuses everything with `fails` when that is set.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub values: BTreeMap<(String, String), Box<RawValue>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub fails: Option<DataError>,
    /// Told when the script begins to wait.
    pub pauses: Option<Sender<()>>,
    /// What calls outside are answered, one after another; then there is nobody.
    pub answers: VecDeque<http::Answer>,
    pub called: Vec<http::Request>,
    /// What was published and sent, in order: as events.
    pub said: Vec<Event>,
    /// The same of what was broadcast: topic and message.
    pub broadcasts: Vec<String>,
    /// The other scripts of the app, and what they may do that this one may.
    pub programs: Vec<Arc<Program>>,
    pub invoked_rights: Option<Rights>,
    /// What is to be run later.
    pub later: Vec<Later>,
    /// The letters that there are, as JSON.
    pub letters: BTreeMap<DeadLetterId, Box<RawValue>>,
    /// Which were asked for, and what was decided: the letter and what with it.
    pub asked: Vec<LetterQuery>,
    pub decided: Vec<(DeadLetterId, String)>,
    /// The queues that somebody takes messages from.
    pub queues: Vec<&'static str>,
}

impl Memory {
    fn check(&self) -> Result<(), DataError> {
        self.fails.clone().map_or(Ok(()), Err)
    }
}

impl Data for Memory {
    fn kv_get(&mut self, collection: &str, key: &str) -> Result<Option<Box<RawValue>>, DataError> {
        self.check()?;
        Ok(self.values.get(&(collection.to_owned(), key.to_owned())).cloned())
    }

    fn kv_set(
        &mut self,
        collection: &str,
        key: &str,
        value: Box<RawValue>,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<(), DataError> {
        self.check()?;
        self.expires_at = expires_at;
        self.values.insert((collection.to_owned(), key.to_owned()), value);
        Ok(())
    }

    fn kv_delete(&mut self, collection: &str, key: &str) -> Result<bool, DataError> {
        self.check()?;
        Ok(self.values.remove(&(collection.to_owned(), key.to_owned())).is_some())
    }

    fn kv_increment(&mut self, collection: &str, key: &str, by: i64) -> Result<(), DataError> {
        self.check()?;
        let entry = (collection.to_owned(), key.to_owned());
        let now: i64 = self.values.get(&entry).map_or(0, |value| value.get().parse().expect("a number"));
        self.values.insert(entry, RawValue::from_string((now + by).to_string()).expect("JSON"));
        Ok(())
    }

    fn kv_list(
        &mut self,
        collection: &str,
        prefix: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<KvPage, DataError> {
        self.check()?;
        let mut items: Vec<(String, Box<RawValue>)> = self
            .values
            .iter()
            .filter(|((c, key), _)| {
                c == collection && key.starts_with(prefix) && cursor.is_none_or(|at| key.as_str() > at)
            })
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .take(limit + 1)
            .collect();
        let cursor = (items.len() > limit).then(|| items[limit - 1].0.clone());
        items.truncate(limit);
        Ok(KvPage { items, cursor })
    }

    fn program(&mut self, script: &str) -> Result<(Arc<Program>, Rights), DataError> {
        Ok((self.target(script)?, self.invoked_rights.unwrap_or(Rights::Public)))
    }

    fn target(&mut self, script: &str) -> Result<Arc<Program>, DataError> {
        self.check()?;
        let found = self.programs.iter().find(|program| &*program.name == script);
        found.cloned().ok_or_else(|| DataError::Refused(format!("there is no script `{script}`")))
    }

    fn invoke_later(&mut self, later: Later) -> Result<(), DataError> {
        self.check()?;
        self.later.push(later);
        Ok(())
    }

    fn letter(&mut self, id: DeadLetterId) -> Result<Option<Box<RawValue>>, DataError> {
        self.check()?;
        Ok(self.letters.get(&id).cloned())
    }

    fn letters(&mut self, wanted: LetterQuery) -> Result<LetterPage, DataError> {
        self.check()?;
        let limit = wanted.limit;
        self.asked.push(wanted);
        let items = self.letters.values().rev().take(limit).cloned().collect();
        let cursor = self.letters.keys().rev().nth(limit - 1).copied();
        Ok(LetterPage { items, cursor })
    }

    fn replay_letter(
        &mut self,
        id: DeadLetterId,
        item: OutboxId,
        payload: Option<Box<RawValue>>,
    ) -> Result<(), DataError> {
        self.check()?;
        let payload = payload.map_or_else(|| "as it was".to_owned(), |payload| payload.get().to_owned());
        self.decided.push((id, format!("{item} {payload}")));
        Ok(())
    }

    fn resolve_letter(&mut self, id: DeadLetterId, reason: String) -> Result<(), DataError> {
        self.check()?;
        self.decided.push((id, reason));
        Ok(())
    }

    fn broadcast(&mut self, topic: &str, message: Box<RawValue>) -> Result<(), DataError> {
        self.check()?;
        self.broadcasts.push(format!("{topic} {message}"));
        Ok(())
    }

    fn subscriber_token(&mut self, grant: &Grant) -> Result<String, DataError> {
        self.check()?;
        let topics: Vec<_> = grant.topics.iter().map(ToString::to_string).collect();
        Ok(format!("{} until {}", topics.join(" "), grant.expires_at.to_rfc3339()))
    }

    fn publish(&mut self, topic: &str, message: Box<RawValue>) -> Result<(), DataError> {
        self.check()?;
        self.said.push(Published { topic: topic.to_owned(), message }.into());
        Ok(())
    }

    fn send(&mut self, message: Sent) -> Result<(), DataError> {
        self.check()?;
        if !self.queues.contains(&message.queue.as_str()) {
            return Err(DataError::Refused(format!("nobody takes from {}", message.queue)));
        }
        self.said.push(message.into());
        Ok(())
    }

    fn pause(&self, sleep: &mut dyn FnMut()) -> Result<(), DataError> {
        self.check()?;
        if let Some(pauses) = &self.pauses {
            pauses.send(()).expect("the test listens");
        }
        sleep();
        Ok(())
    }

    fn http(&mut self, request: http::Request) -> Result<http::Answer, DataError> {
        self.check()?;
        self.called.push(request);
        self.answers.pop_front().ok_or_else(|| DataError::Refused("nobody is there".to_owned()))
    }
}

/// One script with everything around it.
#[derive(Clone)]
pub struct Script {
    pub program: Program,
    pub request: Request,
    pub event: Option<Arc<RawValue>>,
    pub principal: Option<picloud_workers::sandbox::PrincipalInfo>,
    pub rights: Rights,
    pub now: DateTime<Utc>,
    pub cancelled: Arc<AtomicBool>,
    pub data: Memory,
}

pub fn script(source: &str) -> Script {
    Script {
        program: Program {
            app: AppId::generate(),
            app_slug: "shop".into(),
            script: ScriptId::generate(),
            name: "checkout".into(),
            version: VersionId::generate(),
            number: 3,
            source: source.into(),
            limits: Limits::DEFAULT,
            env: Arc::new(BTreeMap::from([("currency".to_owned(), "EUR".to_owned())])),
        },
        request: Request {
            method: "POST".into(),
            path: "/checkout".into(),
            host: "localhost".into(),
            ..Request::default()
        },
        event: None,
        principal: None,
        rights: Rights::Public,
        now: DateTime::from_timestamp(1_700_000_000, 0).expect("a time"),
        cancelled: Arc::default(),
        data: Memory::default(),
    }
}

impl Script {
    /// With another script beside it.
    pub fn beside(mut self, name: &str, source: &str) -> Self {
        self.data.programs.push(Arc::new(Program {
            script: ScriptId::generate(),
            name: name.into(),
            version: VersionId::generate(),
            number: 1,
            source: source.into(),
            ..self.program.clone()
        }));
        self
    }

    pub fn limits(mut self, limits: Limits) -> Self {
        self.program.limits = limits;
        self
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.request.headers.push(("content-type".into(), content_type.into()));
        self.request.body = body.into().into();
        self
    }

    pub fn run(self) -> Report {
        self.run_with_data().0
    }

    pub fn run_with_data(self) -> (Report, Memory) {
        on_a_script_thread(move || {
            let (program, input, data) = self.parts();
            SANDBOX.run(&program, input, data)
        })
    }

    /// Runs it as a short one, compiled or not, on a thread like those that serve others.
    pub fn run_short(self) -> Option<Report> {
        on_a_thread(COMMON_STACK_BYTES, move || {
            let (program, input, data) = self.parts();
            Some(SANDBOX.run_short(&program, || (input, data))?.0)
        })
    }

    fn parts(self) -> (Arc<Program>, Input, Memory) {
        let timeout = Duration::from_millis(self.program.limits.timeout_ms);
        let input = Input {
            request: Arc::new(self.request),
            kind: InvocationType::Http,
            invocation: InvocationId::generate(),
            request_id: None,
            principal: self.principal,
            rights: self.rights,
            event: self.event,
            now: self.now,
            seed: [7; 32],
            deadline: Instant::now() + timeout,
            cancelled: self.cancelled,
        };
        (Arc::new(self.program), input, self.data)
    }

    /// The answer's body as JSON.
    pub fn json(self) -> serde_json::Value {
        let answer = self.answer();
        serde_json::from_slice(&answer.body).expect("a JSON body")
    }

    pub fn answer(self) -> Answer {
        match self.run().result {
            Ok(answer) => answer,
            Err(ended) => panic!("the script should answer: {ended:?}"),
        }
    }

    pub fn failure(self) -> Failure {
        match self.run().result {
            Err(Ended::Failed(failure)) => failure,
            other => panic!("the script should fail: {other:?}"),
        }
    }

    /// What the script threw.
    pub fn thrown(self) -> String {
        let failure = self.failure();
        assert_eq!(failure.reason, FailureReason::Threw, "{failure:?}");
        failure.message
    }
}

pub fn on_a_script_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    on_a_thread(STACK_BYTES, work)
}

/// What a thread has that is not asked for anything else.
const COMMON_STACK_BYTES: usize = 2 * 1024 * 1024;

fn on_a_thread<T: Send + 'static>(stack_bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::Builder::new().stack_size(stack_bytes).spawn(work).expect("a thread");
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
