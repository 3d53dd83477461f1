//! `picloud queues`: what waits in them, and how many messages are worked on at once.

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Output,
    args::{Global, InApp},
    path, print,
};
use crate::failure::Failure;

/// `picloud queues`.
#[derive(Clone, Debug, Subcommand)]
pub enum Queues {
    /// Show all queues, with what waits in them
    Ls(InApp),
    /// Show one
    Show {
        /// Its name
        queue: String,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
    /// Say how many messages of one are worked on at once
    #[command(after_help = "Example:\n  picloud queues set mail --max-concurrency 2 --app shop")]
    Set {
        /// Its name
        queue: String,
        /// So many by each consumer, on all nodes together
        #[arg(long, value_name = "COUNT", required_unless_present = "unlimited")]
        max_concurrency: Option<u32>,
        /// As many as there is room for
        #[arg(long, conflicts_with = "max_concurrency")]
        unlimited: bool,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
    /// Let the messages of one wait
    Pause {
        /// Its name
        queue: String,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
    /// Let the messages of one be taken again
    Resume {
        /// Its name
        queue: String,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
}

pub(super) async fn run(global: &Global, command: &Queues) -> Result<(), Failure> {
    let client = global.client()?;
    let of = |in_app: &InApp, rest: &[&str]| path::admin(&[&["apps", &in_app.app, "queues"], rest].concat());
    match command {
        Queues::Ls(in_app) => {
            let mut queues = client.list(&of(in_app, &[])).await?;
            if global.output == Output::Table {
                queues.iter_mut().for_each(shorten);
            }
            let columns = ["name", "waiting", "running", "max_concurrency", "paused", "consumers"];
            print::rows(global.output, &queues, &columns);
        }
        Queues::Show { queue, in_app } => {
            let mut found: Value = client.get(&of(in_app, &[queue])).await?;
            if global.output == Output::Table {
                shorten(&mut found);
            }
            print::thing(global.output, &found);
        }
        Queues::Set { queue, max_concurrency, unlimited: _, in_app } => {
            let body = json!({ "max_concurrency": max_concurrency });
            let set: Value = client.send_json(Method::PUT, &of(in_app, &[queue]), &body).await?;
            let most =
                max_concurrency.map_or_else(|| "as many as there is room for".to_owned(), |most| most.to_string());
            let sentence = format!("Messages of {queue} that each consumer works on at once: {most}.");
            print::outcome(global.output, &set, &sentence);
        }
        Queues::Pause { queue, in_app } => {
            let paused: Value = client.read(client.request(Method::POST, &of(in_app, &[queue, "pause"]))).await?;
            let sentence = format!(
                "Paused {queue}: its messages wait until `picloud queues resume {queue} --app {}`.",
                in_app.app
            );
            print::outcome(global.output, &paused, &sentence);
        }
        Queues::Resume { queue, in_app } => {
            let resumed: Value = client.read(client.request(Method::POST, &of(in_app, &[queue, "resume"]))).await?;
            print::outcome(global.output, &resumed, &format!("Resumed {queue}."));
        }
    }
    Ok(())
}

/// Names the scripts that take from it, and says where there may be more than was counted.
fn shorten(queue: &mut Value) {
    let name = |consumer: &Value| consumer["script_name"].as_str().unwrap_or("-").to_owned();
    let names: Vec<String> = queue["consumers"].as_array().into_iter().flatten().map(name).collect();
    queue["consumers"] = names.into();
    if queue["is_exact"] == json!(false) {
        queue["waiting"] = format!("{} or more", queue["waiting"]).into();
    }
}
