//! `picloud app http`.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    args::{Global, Http},
    path, print,
};
use crate::{client::Client, failure::Failure};

pub(super) async fn run(global: &Global, client: &Client, command: &Http) -> Result<(), Failure> {
    match command {
        Http::Ls { app } => {
            let exceptions = client.list(&path::admin(&["apps", app, "http_exceptions"])).await?;
            print::rows(global.output, &exceptions, &["target", "created_at"]);
        }
        Http::Allow { app, target } => {
            let to = path::admin(&["apps", app, "http_exceptions"]);
            let allowed: Value = client.send_json(Method::POST, &to, &json!({ "target": target })).await?;
            let target = allowed["target"].as_str().unwrap_or(target);
            print::outcome(global.output, &allowed, &format!("Scripts of {app} may call {target} now."));
        }
        Http::Rm { app, target } => {
            let to = path::admin(&["apps", app, "http_exceptions", target]);
            client.send(client.request(Method::DELETE, &to)).await?;
            print::done(global.output, &format!("Scripts of {app} may call {target} no more."));
        }
    }
    Ok(())
}
