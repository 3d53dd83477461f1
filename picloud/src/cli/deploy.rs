//! `picloud deploy`.

use reqwest::Method;
use serde_json::{Value, value::RawValue};

use super::{
    Output,
    args::{Deploy, Global},
    path,
    print::{self, QUIET},
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
    let answer = match send(&client, &manifest, arguments.dry_run).await {
        Ok(answer) => answer,
        Err(failure) if global.output == Output::Table => return Err(explained(&manifest, failure)),
        Err(failure) => return Err(failure),
    };
    if global.output == Output::Json {
        print::object(&answer.told);
        return Ok(());
    }
    let difference = answer.difference;
    print::aside(&diagnostics(&manifest, &difference.diagnostics));
    print::text(&difference.show());
    if arguments.dry_run {
        print::text("Nothing was changed: this was a dry run.\n");
        return Ok(());
    }
    print::text(&difference.urls.iter().map(|url| format!("{url}\n")).collect::<String>());
    if difference.urls.is_empty() && difference.changes.iter().any(|change| change.kind == "route") {
        let app = &manifest.app;
        let hint = format!("no host leads to it yet: name one in picloud.toml, as in hosts = [\"{app}.localhost\"]");
        print::aside(&format!("{QUIET}{hint}{QUIET:#}\n"));
    }
    Ok(())
}

/// What the server said, as it said it and as it is shown.
pub(super) struct Answer {
    pub(super) told: Box<RawValue>,
    pub(super) difference: Difference,
}

/// Diagnostics are shown where they are; the sentence that sums them up would only say the first again.
fn explained(manifest: &Manifest, mut failure: Failure) -> Failure {
    let found = told(&failure);
    if !found.is_empty() {
        print::aside(&diagnostics(manifest, &found));
        "nothing was deployed".clone_into(&mut failure.problem.detail);
    }
    failure
}

/// Asks the server to make the app as the manifest says, or only what that would change.
pub(super) async fn send(client: &Client, manifest: &Manifest, dry_run: bool) -> Result<Answer, Failure> {
    let mut to = path::admin(&["apps", &manifest.app, "deploy"]);
    if dry_run {
        to.push_str("?dry_run=true");
    }
    let told: Box<RawValue> = client.send_json(Method::POST, &to, manifest).await?;
    let difference = serde_json::from_str(told.get())
        .map_err(|error| Failure::failed(format!("the server's answer is not understood: {error}")))?;
    Ok(Answer { told, difference })
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
