//! `picloud app`.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Output,
    args::{App, Global},
    path, print,
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
    }
    Ok(())
}
