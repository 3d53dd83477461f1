//! `picloud deploy`.

use reqwest::Method;
use serde_json::Value;

use super::{
    Output,
    args::{Deploy, Global},
    path, print,
};
use crate::{
    client::Client,
    difference::{Difference, ScriptDiagnostic, show_diagnostic},
    failure::Failure,
    manifest::{self, Manifest, Overrides},
};

/// Shows the difference, makes it so, and shows where the app answers.
pub(super) async fn run(global: &Global, arguments: &Deploy) -> Result<(), Failure> {
    let overrides =
        Overrides { app: arguments.app.clone(), routes: arguments.routes.clone(), message: arguments.message.clone() };
    let manifest = manifest::read(&arguments.path, &overrides)?;
    let client = global.client()?;
    let difference = send(&client, &manifest, arguments.dry_run).await.inspect_err(|failure| {
        if global.output == Output::Table {
            print::aside(&diagnostics(&manifest, &told(failure)));
        }
    })?;
    match global.output {
        Output::Json => print::object(&difference),
        Output::Table => {
            print::aside(&diagnostics(&manifest, &difference.diagnostics));
            print::text(&difference.show());
            if arguments.dry_run {
                print::text("Nothing was changed: this was a dry run.\n");
            } else {
                print::text(&difference.urls.iter().map(|url| format!("{url}\n")).collect::<String>());
            }
        }
    }
    Ok(())
}

/// Asks the server to make the app as the manifest says, or only what that would change.
pub(super) async fn send(client: &Client, manifest: &Manifest, dry_run: bool) -> Result<Difference, Failure> {
    let mut to = path::admin(&["apps", &manifest.app, "deploy"]);
    if dry_run {
        to.push_str("?dry_run=true");
    }
    client.send_json(Method::POST, &to, manifest).await
}

/// Diagnostics with the lines that they are about.
pub(super) fn diagnostics(manifest: &Manifest, diagnostics: &[ScriptDiagnostic]) -> String {
    let show = |found: &ScriptDiagnostic| {
        let script = manifest.scripts.iter().find(|script| script.name == found.script);
        let source = script.map_or("", |script| &script.source);
        show_diagnostic(&format!("{}.rhai", found.script), source, &found.diagnostic)
    };
    diagnostics.iter().map(show).collect()
}

/// The diagnostics of a refusal.
pub(super) fn told(failure: &Failure) -> Vec<ScriptDiagnostic> {
    let found = failure.problem.more.get("diagnostics").and_then(Value::as_array);
    found.into_iter().flatten().filter_map(|one| serde_json::from_value(one.clone()).ok()).collect()
}
