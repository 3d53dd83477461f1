//! `picloud member`.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    args::{Global, Member},
    path, print,
};
use crate::failure::Failure;

pub(super) async fn run(global: &Global, command: &Member) -> Result<(), Failure> {
    let client = global.client()?;
    match command {
        Member::Ls(in_app) => {
            let members = client.list(&path::admin(&["apps", &in_app.app, "members"])).await?;
            print::rows(global.output, &members, &["email", "name", "role", "account"]);
        }
        Member::Add { account, role, in_app } => {
            let to = path::admin(&["apps", &in_app.app, "members", account]);
            let member: Value = client.send_json(Method::PUT, &to, &json!({ "role": role })).await?;
            print::outcome(global.output, &member, &format!("{account} is {role} of {} now.", in_app.app));
        }
        Member::Rm { account, in_app } => {
            let to = path::admin(&["apps", &in_app.app, "members", account]);
            client.send(client.request(Method::DELETE, &to)).await?;
            print::done(global.output, &format!("{account} is no member of {} any more.", in_app.app));
        }
    }
    Ok(())
}
