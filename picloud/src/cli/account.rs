//! `picloud account`.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Output,
    args::{Account, Global, Totp},
    path, print, prompt,
};
use crate::{client::Client, failure::Failure};

pub(super) async fn run(global: &Global, command: &Account) -> Result<(), Failure> {
    let (client, output) = (global.client()?, global.output);
    let accounts = path::admin(&["accounts"]);
    let to = |account: &str, what: &str| path::admin(&["accounts", account, what]);
    match command {
        Account::Ls => {
            let all = client.list(&accounts).await?;
            print::rows(output, &all, &["email", "name", "role", "state", "totp", "id"]);
        }
        Account::Show { account } => {
            print::thing(output, &client.get::<Value>(&path::admin(&["accounts", account])).await?);
        }
        Account::Create { email, name, role } => {
            let password = prompt::new_password()?;
            let new = json!({ "email": email, "name": name, "role": role, "password": password });
            let made: Value = client.send_json(Method::POST, &accounts, &new).await?;
            print::outcome(
                output,
                &made,
                &format!("Made the account {email}, {role}. `picloud login` signs in to it."),
            );
        }
        Account::Invite { email, name, role } => {
            let new = json!({ "email": email, "name": name, "role": role });
            let made: Value = client.send_json(Method::POST, &accounts, &new).await?;
            let link = &made["link"];
            print::outcome(output, &made, &sentence(&format!("Give this link to {email}; it works once"), link));
        }
        Account::Role { account, role } => {
            let changes = json!({ "role": role });
            let changed: Value =
                client.send_json(Method::PATCH, &path::admin(&["accounts", account]), &changes).await?;
            print::outcome(output, &changed, &format!("{account} is {role} now."));
        }
        Account::Deactivate { account } => {
            client.send(client.request(Method::POST, &to(account, "deactivate"))).await?;
            print::done(output, &format!("{account} is out: its sessions and keys have ended."));
        }
        Account::Reactivate { account } => {
            client.send(client.request(Method::POST, &to(account, "reactivate"))).await?;
            print::done(output, &format!("{account} can sign in again."));
        }
        Account::ResetPassword { account } => {
            let link: Value = client.read(client.request(Method::POST, &to(account, "reset_password"))).await?;
            print::outcome(output, &link, &sentence(&format!("Give this link to {account}; it works once"), &link));
        }
        Account::Password => {
            let current = prompt::secret("Current password: ")?;
            let new = prompt::new_password()?;
            let request = client.request(Method::POST, &path::admin(&["account", "password"]));
            client.send(request.json(&json!({ "current": current, "new": new }))).await?;
            print::done(output, "Your password is changed; your other sessions have ended.");
        }
        Account::Totp(Totp::Enable) => enable_totp(&client, output).await?,
        Account::Totp(Totp::Disable) => {
            let password = prompt::secret("Password: ")?;
            let request = client.request(Method::POST, &path::admin(&["account", "totp", "disable"]));
            client.send(request.json(&json!({ "password": password }))).await?;
            print::done(output, "Signing in takes your password alone now.");
        }
        Account::Sessions => {
            let open = client.list(&path::admin(&["account", "sessions"])).await?;
            print::rows(output, &open, &["is_this", "address", "agent", "created_at", "seen_at", "id"]);
        }
    }
    Ok(())
}

fn sentence(lead: &str, link: &Value) -> String {
    let text = |name: &str| link[name].as_str().unwrap_or_default().to_owned();
    format!("{lead}, until {}:\n\n  {}\n", text("expires_at"), text("url"))
}

async fn enable_totp(client: &Client, output: Output) -> Result<(), Failure> {
    let offer: Value = client.read(client.request(Method::POST, &path::admin(&["account", "totp"]))).await?;
    let text = |name: &str| offer[name].as_str().unwrap_or_default();
    print::aside(&format!("Add this to your authenticator:\n\n  {}\n\nor type: {}\n\n", text("url"), text("secret")));
    let code = prompt::line("The code it shows: ")?;
    let confirm = json!({ "id": offer["id"], "code": code });
    let confirmed: Value =
        client.send_json(Method::POST, &path::admin(&["account", "totp", "confirm"]), &confirm).await?;
    let codes: String = confirmed["recovery_codes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|code| format!("  {code}\n"))
        .collect();
    let told = format!("On. Keep these codes: each stands in once for a lost authenticator.\n\n{codes}");
    print::outcome(output, &confirmed, &told);
    Ok(())
}
