//! `picloud login`, `logout` and `whoami`.

use std::{fs, os::unix::fs::DirBuilderExt as _};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Output,
    args::{Global, Login},
    path, print, prompt,
};
use crate::{
    client::Client,
    failure::Failure,
    profile::{Key, Profile, Target},
};

pub(super) async fn run(global: &Global, login: &Login) -> Result<(), Failure> {
    let url = match &login.server {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => global.target()?.url,
    };
    let anyone = Client::new(Target { url: url.clone(), key: None })?;
    let key = if login.key { Key::new(prompt::secret("API key: ")?) } else { sign_in(&anyone, login).await? };
    // Said only when it is so.
    let signed = Client::new(Target { url: url.clone(), key: Some(key.clone()) })?;
    let me: Value = signed.get(&path::admin(&["session"])).await?;
    let places = global.places()?;
    write(places.own(), &Profile { url: url.clone(), key: Some(key) })?;
    match global.output {
        Output::Json => print::object(&me),
        Output::Table => {
            print::text(&format!("Signed in to {url} as {}.\n", name(&me)));
            print::text(&format!("Remembered in {}.\n", places.own().display()));
            if let Some((other, _)) = places.find()?.filter(|(file, _)| file != places.own()) {
                let other = other.display();
                print::aside(&format!("Here, {other} comes first: name this one with `--profile default`.\n"));
            }
        }
    }
    Ok(())
}

async fn sign_in(anyone: &Client, login: &Login) -> Result<Key, Failure> {
    let email = match &login.email {
        Some(email) => email.clone(),
        None => prompt::line("Email: ")?,
    };
    let password = prompt::secret("Password: ")?;
    let ask = |code: Option<String>| {
        let given = json!({ "email": email, "password": password, "code": code, "bearer": true });
        let request = anyone.request(Method::POST, &path::admin(&["session"])).json(&given);
        anyone.read::<Value>(request)
    };
    let mut answer = ask(None).await;
    if let Err(failure) = &answer
        && failure.problem.kind.ends_with("/second-factor-needed")
    {
        let code = prompt::line("Code of your authenticator, or a recovery code: ")?;
        answer = ask(Some(code)).await;
    }
    let signed_in = answer.map_err(|mut failure| {
        // Its advice is for those who have a key.
        failure.next = None;
        failure
    })?;
    if let Some(warning) = signed_in["warning"].as_str() {
        print::aside(&format!("{}careful:{:#} {warning}\n", print::CAREFUL, print::CAREFUL));
    }
    let token = signed_in["token"].as_str();
    token.map(Key::new).ok_or_else(|| Failure::failed("the server signed us in without giving us a session"))
}

fn write(path: &std::path::Path, profile: &Profile) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), |folder| fs::DirBuilder::new().recursive(true).mode(0o700).create(folder));
    made.and_then(|()| profile.write(path))
        .map_err(|error| Failure::failed(format!("failed to write {}: {error}", path.display())))
}

pub(super) async fn logout(global: &Global) -> Result<(), Failure> {
    let places = global.places()?;
    let own = places.own();
    let profile = Profile::read(own).map_err(|error| Failure::failed(format!("failed to read the profile {error}")))?;
    let Some(profile) = profile else {
        return Err(Failure::failed(format!("you are not signed in: there is no {}", own.display()))
            .next("`picloud login` signs you in"));
    };
    if profile.key.as_ref().is_some_and(|key| key.expose().starts_with("pcs_")) {
        let client = Client::new(Target { url: profile.url.clone(), key: profile.key })?;
        let ended = client.send(client.request(Method::DELETE, &path::admin(&["session"]))).await;
        // One that has ended already, or that cannot be told, is forgotten all the same.
        if let Err(failure) = ended.map(drop)
            && failure.problem.status != Some(401)
        {
            print::aside(&format!("The session could not be ended there: {}\n", failure.problem.sentence()));
        }
    }
    Profile::remove(own).map_err(|error| Failure::failed(format!("failed to remove {}: {error}", own.display())))?;
    print::done(global.output, &format!("Signed out of {}.", profile.url));
    Ok(())
}

pub(super) async fn whoami(global: &Global) -> Result<(), Failure> {
    let client = global.client()?;
    let me: Value = client.get(&path::admin(&["session"])).await?;
    if global.output == Output::Json {
        print::object(&me);
        return Ok(());
    }
    let list = |value: &Value| {
        let words: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
    };
    let mut shown = json!({ "server": client.url(), "you": name(&me) });
    if let Some(role) = me["account"]["role"].as_str() {
        shown["role"] = role.into();
    }
    if let Some(scopes) = me["api_key"].get("scopes") {
        shown["scopes"] = list(scopes).into();
    }
    shown["on the instance"] = list(&me["capabilities"]).into();
    print::thing(global.output, &shown);
    Ok(())
}

/// Who one is, for people.
fn name(me: &Value) -> String {
    let account = me["account"]["email"].as_str();
    let key = me["api_key"]["id"].as_str();
    match (account, key) {
        (Some(account), Some(key)) => format!("the key {key} of {account}"),
        (Some(account), None) => account.to_owned(),
        (None, Some(key)) => format!("the key {key} of the instance"),
        (None, None) => "nobody".to_owned(),
    }
}
