//! Following a stream of the admin API: what comes is handed over, breaks are bridged from where the stream stood.

use std::time::Duration;

use futures::StreamExt;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::time::sleep;

use super::print::{self, QUIET};
use crate::{
    client::Client,
    failure::{Exit, Failure},
    sse,
};

/// A server that restarts is back in a few seconds.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// A stream, and where it stands.
pub(super) struct Follow<'a> {
    client: &'a Client,
    path: String,
    query: Vec<(&'static str, String)>,
    last: Option<String>,
    /// Whether there ever was an answer: the first attempt tells whether there is a server at all.
    heard: bool,
}

impl<'a> Follow<'a> {
    /// From a cursor on, else from now on.
    pub(super) fn new(
        client: &'a Client,
        path: String,
        query: Vec<(&'static str, String)>,
        after: Option<String>,
    ) -> Self {
        Self { client, path, query, last: after, heard: false }
    }

    /// Shows what comes until ctrl-C.
    pub(super) async fn run(mut self, show: impl Fn(&Value)) -> Result<(), Failure> {
        let mut is_broken = false;
        loop {
            tokio::select! {
                followed = self.once(&show, &mut is_broken) => match followed {
                    Err(failure) if !self.heard || failure.exit != Exit::NotReached => return Err(failure),
                    Err(_) | Ok(()) => {
                        if !is_broken {
                            is_broken = true;
                            print::aside(&format!("{QUIET}the connection broke; waiting for the server{QUIET:#}\n"));
                        }
                        sleep(RECONNECT_AFTER).await;
                    }
                },
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }

    /// One connection's worth, from where the one before it ended.
    async fn once(&mut self, show: &impl Fn(&Value), is_broken: &mut bool) -> Result<(), Failure> {
        let response = self.client.send(self.request()).await?;
        if std::mem::take(is_broken) {
            print::aside(&format!("{QUIET}connected again{QUIET:#}\n"));
        }
        self.heard = true;
        let mut parser = sse::Parser::default();
        let mut body = response.bytes_stream();
        while let Some(chunk) = body.next().await {
            for frame in parser.push(&chunk.map_err(|error| self.client.broken(&error))?) {
                if let Some(id) = &frame.id {
                    self.last = Some(id.clone());
                }
                tell(&frame, show);
            }
        }
        Ok(())
    }

    fn request(&self) -> RequestBuilder {
        let request = self.client.request(Method::GET, &self.path).query(&self.query);
        let request = request.header("accept", "text/event-stream");
        match &self.last {
            Some(id) => request.header("last-event-id", id),
            None => request,
        }
    }
}

fn tell(frame: &sse::Frame, show: &impl Fn(&Value)) {
    match frame.event.as_str() {
        // It says where we stand, and that it stops is seen when it has.
        "up-to-date" | "closed" => {}
        "reset" => print::aside(&format!("{QUIET}the log was restored or cut: going on from now{QUIET:#}\n")),
        _ => match serde_json::from_str(&frame.data) {
            Ok(thing) => show(&thing),
            Err(_) => print::aside(&format!("{QUIET}not understood: {}{QUIET:#}\n", frame.data)),
        },
    }
}
