//! `picloud app`.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Output,
    args::{App, Global},
    http_exceptions, path, print, prompt,
};
use crate::failure::Failure;

pub(super) async fn run(global: &Global, command: &App) -> Result<(), Failure> {
    let client = global.client()?;
    match command {
        App::Ls => {
            let apps = client.list(&path::admin(&["apps"])).await?;
            print::rows(global.output, &apps, &["slug", "hosts", "scripts", "routes", "id"]);
        }
        App::Show { app } => {
            let app: Value = client.get(&path::admin(&["apps", app])).await?;
            print::thing(global.output, &app);
        }
        App::Create { slug } => {
            let made: Value = client.send_json(Method::POST, &path::admin(&["apps"]), &json!({ "slug": slug })).await?;
            match global.output {
                Output::Json => print::object(&made),
                Output::Table => print::text(&format!("Made app {slug}.\n")),
            }
        }
        App::Rename { app, slug } => {
            let renamed: Value =
                client.send_json(Method::PATCH, &path::admin(&["apps", app]), &json!({ "slug": slug })).await?;
            print::outcome(global.output, &renamed, &format!("The app is `{slug}` now; `{app}` leads to it."));
        }
        App::Http(command) => http_exceptions::run(global, &client, command).await?,
        App::Pause { app } => {
            client.send(client.request(Method::POST, &path::admin(&["apps", app, "pause"]))).await?;
            print::done(global.output, &format!("Paused {app}: calls get 503 until `picloud app resume {app}`."));
        }
        App::Resume { app } => {
            client.send(client.request(Method::POST, &path::admin(&["apps", app, "resume"]))).await?;
            print::done(global.output, &format!("Resumed {app}."));
        }
        App::Delete { app, confirm, purge } => {
            let path = path::admin(&["apps", app]);
            let delete = |confirm: &str| {
                let query = [("confirm", confirm.to_owned()), ("purge", purge.to_string())];
                client.send(client.request(Method::DELETE, &path).query(&query))
            };
            let typed = match confirm {
                Some(slug) => slug.clone(),
                None => typed_name(delete("").await)?,
            };
            delete(&typed).await?;
            let purged = if *purge { " Nobody can read what was recorded of it any more." } else { "" };
            print::done(global.output, &format!("Deleted {app}.{purged}"));
        }
    }
    Ok(())
}

/// What a person types who has read what goes with the app.
fn typed_name(refused: Result<reqwest::Response, Failure>) -> Result<String, Failure> {
    let failure = match refused {
        Ok(_) => return Err(Failure::failed("the server deleted without being told which app")),
        Err(failure) => failure,
    };
    if failure.problem.status != Some(409) || !prompt::is_possible() {
        return Err(failure);
    }
    print::aside(&format!("{}\n", failure.problem.sentence()));
    prompt::line("Type the app's name to delete it: ")
}
