//! `picloud topics`: who may listen to what is published.

use clap::{Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    args::{Global, InApp},
    path, print,
};
use crate::failure::Failure;

/// `picloud topics`.
#[derive(Clone, Debug, Subcommand)]
pub enum Topics {
    /// Show all topics of which something is said
    Ls(InApp),
    /// Say who may listen to one from outside
    #[command(after_help = "Examples:\n  picloud topics set poll --auth public --app shop\n  \
                            picloud topics set 'room.*' --auth token --app shop")]
    Set {
        /// A topic, `prefix.*` or `*`
        topic: String,
        /// Everybody, or who has a token
        #[arg(long, required_unless_present = "internal")]
        auth: Option<Auth>,
        /// Nobody
        #[arg(long, conflicts_with = "auth")]
        internal: bool,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
    /// Take back what is said of one
    Rm {
        /// As it was set
        topic: String,
        /// Which app
        #[command(flatten)]
        in_app: InApp,
    },
}

/// Who may listen.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Auth {
    /// Everybody
    Public,
    /// Who has a token for it
    Token,
}

pub(super) async fn run(global: &Global, command: &Topics) -> Result<(), Failure> {
    let client = global.client()?;
    let of = |in_app: &InApp, rest: &[&str]| path::admin(&[&["apps", &in_app.app, "topics"], rest].concat());
    match command {
        Topics::Ls(in_app) => {
            let topics = client.list(&of(in_app, &[])).await?;
            print::rows(global.output, &topics, &["name", "external", "auth", "created_at"]);
        }
        Topics::Set { topic, auth, internal: _, in_app } => {
            let (auth, who) = match auth {
                Some(Auth::Public) => (Some("public"), "Everybody may listen"),
                Some(Auth::Token) => (Some("token"), "Who has a token may listen"),
                None => (None, "Nobody outside may listen"),
            };
            let body = json!({ "external": auth.is_some(), "auth": auth });
            let set: Value = client.send_json(Method::PUT, &of(in_app, &[topic]), &body).await?;
            print::outcome(global.output, &set, &format!("{who} to {topic}."));
        }
        Topics::Rm { topic, in_app } => {
            client.send(client.request(Method::DELETE, &of(in_app, &[topic]))).await?;
            print::done(global.output, &format!("Nothing is said of {topic} any more."));
        }
    }
    Ok(())
}
