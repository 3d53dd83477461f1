//! Apps that are set up: with scripts by their names, and triggers.

use picloud_core::{
    event::{app, script, trigger},
    id::{AppId, ScriptId, TriggerId, VersionId},
    limits::Limits,
    retry::RetryPolicy,
    trigger::When,
};

use crate::support::{TestNode, soon};

/// An app with the script `work`.
pub async fn app_with_script(node: &TestNode) -> (AppId, ScriptId) {
    let app = AppId::generate();
    let slug = app.to_string().to_lowercase().replace('_', "-");
    node.append(app, vec![app::Created { app, slug }.into()]).await;
    (app, deploy(node, app, "work", script::ScriptKind::Endpoint, "1").await)
}

pub async fn deploy(node: &TestNode, app: AppId, name: &str, kind: script::ScriptKind, source: &str) -> ScriptId {
    let (script, version) = (ScriptId::generate(), VersionId::generate());
    let deployed = script::Deployed {
        script,
        name: name.to_owned(),
        script_kind: kind,
        version,
        number: 1,
        source: source.to_owned(),
        sha256: String::new(),
        imports: Vec::new(),
        limits: Limits::DEFAULT,
        message: None,
    };
    node.append(app, vec![deployed.into()]).await;
    script
}

/// Has what was deployed run.
pub async fn activate(node: &TestNode, app: AppId, script: ScriptId) {
    let version = sqlx::query_scalar("select id from state.version where script_id = $1")
        .bind(script.uuid())
        .fetch_one(&node.pool)
        .await
        .map(|id: uuid::Uuid| id.into());
    node.append(app, vec![script::Activated { script, version: version.unwrap() }.into()]).await;
}

pub const fn nobody() -> trigger::Registrant {
    trigger::Registrant { account: None, key: None, scopes: None }
}

pub async fn trigger(node: &TestNode, app: AppId, script: ScriptId, when: serde_json::Value) -> TriggerId {
    let trigger = TriggerId::generate();
    let when: When = serde_json::from_value(when).unwrap();
    let definition = trigger::Definition { when, script, retry: RetryPolicy::default() };
    let created = trigger::Created { trigger, definition, registrant: nobody() };
    node.append(app, vec![created.into()]).await;
    trigger
}

/// What the node knows of how its apps are set up is as new as its log.
pub async fn told(node: &TestNode) {
    soon(node.setup.reached(node.committer.head())).await;
}
