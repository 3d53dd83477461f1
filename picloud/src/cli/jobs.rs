//! `picloud jobs`: work on many things at once, on the server. And waiting for the end of one.

use std::{io::IsTerminal as _, time::Duration};

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::Value;
use tokio::time::sleep;

use super::{
    Output,
    args::{Global, InApp},
    path, print,
};
use crate::{
    client::Client,
    failure::{Exit, Failure},
};

/// How often the server is asked how far a job has come.
const ASK_EVERY: Duration = Duration::from_millis(300);

/// `picloud jobs`.
#[derive(Clone, Debug, Subcommand)]
pub enum Jobs {
    /// Show all, the newest first
    Ls(InApp),
    /// Show how far one has come
    Show {
        /// Such as job_01J…
        job: String,
        /// Wait for its end
        #[arg(long)]
        wait: bool,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
    /// End some before they are done; what they have done stays
    Cancel {
        /// One or more
        #[arg(required = true, value_name = "JOB")]
        jobs: Vec<String>,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
}

pub(super) async fn run(global: &Global, command: &Jobs) -> Result<(), Failure> {
    let client = global.client()?;
    match command {
        Jobs::Ls(in_app) => {
            let jobs = client.list(&path::admin(&["apps", &in_app.app, "jobs"])).await?;
            let columns = ["id", "action", "state", "total", "done", "skipped", "failed", "started_at", "started_by"];
            print::rows(global.output, &jobs, &columns);
            Ok(())
        }
        Jobs::Show { job, wait, in_app } => {
            let found: Value = client.get(&path::admin(&["apps", &in_app.app, "jobs", job])).await?;
            if *wait {
                return follow(global, &client, &in_app.app, found).await;
            }
            print::thing(global.output, &found);
            Ok(())
        }
        Jobs::Cancel { jobs, in_app } => {
            for job in jobs {
                let to = path::admin(&["apps", &in_app.app, "jobs", job, "cancel"]);
                let ended: Value = client.read(client.request(Method::POST, &to)).await?;
                print::outcome(global.output, &ended, &format!("{job} ends; what it has done stays."));
            }
            Ok(())
        }
    }
}

/// How to look at a job later.
pub(super) fn look(job: &str, app: &str) -> String {
    format!(
        "`picloud jobs show {job} --app {app}` shows how far it has come, `picloud jobs cancel {job} --app {app}` ends it"
    )
}

/// Shows how far a job has come until it has ended; ctrl-C leaves it alone.
pub(super) async fn follow(global: &Global, client: &Client, app: &str, job: Value) -> Result<(), Failure> {
    let id = text(&job, "id").to_owned();
    let bar = Bar::new(&job);
    tokio::select! {
        ended = until_its_end(client, app, &bar, job) => {
            bar.gone();
            told(global.output, &ended?)
        }
        _ = tokio::signal::ctrl_c() => {
            bar.gone();
            print::aside(&format!("{id} goes on: {}\n", look(&id, app)));
            Ok(())
        }
    }
}

async fn until_its_end(client: &Client, app: &str, bar: &Bar, mut job: Value) -> Result<Value, Failure> {
    let from = path::admin(&["apps", app, "jobs", text(&job, "id")]);
    while job["ended_at"].is_null() {
        bar.show(&job);
        sleep(ASK_EVERY).await;
        match client.get(&from).await {
            Ok(now) => job = now,
            // The job does not need this connection; a server that restarts is back in a few seconds.
            Err(failure) if failure.exit == Exit::NotReached => bar.note("waiting for the server"),
            Err(failure) => return Err(failure),
        }
    }
    Ok(job)
}

/// What became of a job; a failure, if not all was done that was wanted.
fn told(output: Output, job: &Value) -> Result<(), Failure> {
    let verb = if job["action"] == "replay" { "Replayed" } else { "Closed" };
    let mut said = format!("{verb} {} of {} letters.", job["done"], job["total"]);
    if job["skipped"] != 0 {
        said += &format!(" {} had been decided about by others, or were gone.", job["skipped"]);
    }
    print::outcome(output, job, &said);
    let id = text(job, "id");
    match text(job, "state") {
        "cancelled" => Err(Failure::failed(format!("{id} was cancelled by {}", text(job, "cancelled_by")))),
        "failed" => Err(Failure::failed(format!("{id} could not go on: {}", text(job, "error")))),
        _ if job["failed"] != 0 => {
            let detail =
                format!("{} letters could not be decided about, the last: {}", job["failed"], text(job, "trouble"));
            Err(Failure::failed(detail).next("look at them with `picloud dead-letters ls`"))
        }
        _ => Ok(()),
    }
}

fn text<'a>(job: &'a Value, member: &str) -> &'a str {
    job[member].as_str().unwrap_or("-")
}

/// On stderr, and only at a terminal.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(job: &Value) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} letters {elapsed:.dim} {msg}");
        let bar = ProgressBar::new(job["total"].as_u64().unwrap_or_default());
        bar.set_style(style.expect("the template is ours"));
        Self(Some(bar))
    }

    fn show(&self, job: &Value) {
        let Some(bar) = &self.0 else { return };
        let behind: u64 = ["done", "skipped", "failed"].iter().filter_map(|count| job[*count].as_u64()).sum();
        bar.set_position(behind);
        bar.set_message(if job["state"] == "running" { String::new() } else { text(job, "state").to_owned() });
    }

    fn note(&self, what: &'static str) {
        if let Some(bar) = &self.0 {
            bar.set_message(what);
        }
    }

    fn gone(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
