//! `picloud env`.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Output,
    args::{Env, Global},
    path, print,
};
use crate::failure::Failure;

pub(super) async fn run(global: &Global, command: &Env) -> Result<(), Failure> {
    let client = global.client()?;
    match command {
        Env::Ls(in_app) => {
            let values = client.list(&path::admin(&["apps", &in_app.app, "env"])).await?;
            print::rows(global.output, &values, &["name", "value"]);
        }
        Env::Set { values, in_app } => {
            // All of them are looked at before any of them is sent.
            let pairs = values.iter().map(|pair| split(pair)).collect::<Result<Vec<_>, _>>()?;
            let mut set: Vec<Value> = Vec::new();
            for (name, value) in pairs {
                let to = path::admin(&["apps", &in_app.app, "env", name]);
                set.push(client.send_json(Method::PUT, &to, &json!({ "value": value })).await?);
            }
            print::rows(global.output, &set, &["name", "value"]);
        }
        Env::Unset { names, in_app } => {
            for name in names {
                let to = path::admin(&["apps", &in_app.app, "env", name]);
                client.send(client.request(Method::DELETE, &to)).await?;
            }
            if global.output == Output::Table {
                print::text(&format!("Took away {}.\n", names.join(", ")));
            }
        }
    }
    Ok(())
}

fn split(pair: &str) -> Result<(&str, &str), Failure> {
    let found = pair.split_once('=').filter(|(name, _)| !name.is_empty());
    found.ok_or_else(|| Failure::usage(format!("`{pair}` is no NAME=VALUE")))
}
