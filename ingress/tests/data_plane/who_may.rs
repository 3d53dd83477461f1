//! API keys, and running a script by its id.

use axum::body::Body;
use http::Request;
use picloud_core::{
    capability::{Capabilities, Capability},
    event::ActorKind,
    id::{AppId, ScriptId},
    policy::{AppRole, InstanceRole},
    run::Rights,
};

use crate::fixture::{Reply, World, world};

async fn execute(world: &World, script: &str, key: Option<&str>) -> Reply {
    let mut request = Request::post(format!("/api/v1/execute/{script}"));
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    world.ask(request, "{}").await
}

#[tokio::test]
async fn a_good_key_acts_and_is_not_shown_to_the_script() {
    let world = world(&["GET /a"]).key("pic_good", &[], None);
    let request = Request::get("/a").header("authorization", "bearer pic_good");
    assert_eq!(world.ask(request, Body::empty()).await.text(), "ran");
    let call = world.the_call();
    assert_eq!(call.actor.kind, ActorKind::ApiKey);
    assert!(call.request.headers.iter().all(|(name, _)| name != "authorization"), "{:?}", call.request.headers);
}

#[tokio::test]
async fn a_run_gets_the_rights_of_its_caller_in_the_routes_app() {
    for (own, rights) in [
        (true, Rights::Principal(Capabilities::from_iter([Capability::AppKvRead]))),
        (false, Rights::Principal(Capabilities::NONE)),
    ] {
        let world = world(&["GET /a"]);
        let bound = if own { world.app } else { AppId::generate() };
        let world = world.key("pic_reader", &[Capability::AppKvRead], Some(bound));
        world.ask(Request::get("/a").header("authorization", "Bearer pic_reader"), Body::empty()).await;
        assert_eq!(world.the_call().rights, rights, "{own}");
    }
    let world = world(&["GET /a"]);
    world.get("/a").await;
    assert_eq!(world.the_call().rights, Rights::Public);
}

#[tokio::test]
async fn a_bad_key_is_refused_before_anything_runs() {
    let world = world(&["GET /a"]);
    let reply = world.ask(Request::get("/a").header("authorization", "Bearer pic_bad"), Body::empty()).await;
    assert_eq!(
        reply.summary(),
        "401 /problems/unauthorized: \
         this API key is not known, or was revoked, or is past its expiry; use another one or none"
    );
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    assert_eq!(world.ran(), 0);
}

#[tokio::test]
async fn a_script_runs_by_id_for_those_who_may_and_is_nowhere_for_others() {
    let base = world(&[]);
    let app = base.app;
    let world = base
        .key("pic_invoker", &[Capability::AppInvoke], Some(app))
        .key("pic_reader", &[Capability::AppRead, Capability::AppKvWrite], None)
        .key("pic_other", Capability::ALL, Some(AppId::generate()));
    let script = world.script.to_string();

    let reply = execute(&world, &script, Some("pic_invoker")).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (200, "ran"));
    assert_eq!((world.the_call().route, world.the_call().program.script), (None, world.script));

    let nowhere = "404 /problems/not-found: there is no such script that this request may run";
    let unknown = ScriptId::generate().to_string();
    for (script, key) in [
        (&*script, None),
        (&*script, Some("pic_reader")),
        (&*script, Some("pic_other")),
        (&*unknown, Some("pic_invoker")),
        ("", Some("pic_invoker")),
        ("scr_nonsense/x", Some("pic_invoker")),
    ] {
        assert_eq!(execute(&world, script, key).await.summary(), nowhere, "{script} {key:?}");
    }
    assert_eq!(execute(&world, &script, Some("pic_bad")).await.status.as_u16(), 401);
    assert_eq!(world.ran(), 1);
}

#[tokio::test]
async fn whoever_holds_the_right_by_role_runs_a_script_by_id_and_all_see_how_the_node_is() {
    let memberships = std::iter::once(None).chain(AppRole::ALL.iter().copied().map(Some));
    for (role, on_app) in memberships.flat_map(|on_app| InstanceRole::ALL.iter().map(move |role| (*role, on_app))) {
        let world = world(&["GET /a"]).key_of("pic_somebodys", role, on_app);
        let script = world.script.to_string();
        let may = role.everywhere().max(on_app).is_some_and(|role| role.holds(Capability::AppInvoke));
        let reply = execute(&world, &script, Some("pic_somebodys")).await;
        assert_eq!(reply.status.as_u16(), if may { 200 } else { 404 }, "{role} {on_app:?}");
        // What the app itself answers is for everyone.
        for path in ["/a", "/healthz", "/readyz", "/version"] {
            let request = Request::get(path).header("authorization", "Bearer pic_somebodys");
            assert_eq!(world.ask(request, Body::empty()).await.status.as_u16(), 200, "{path} {role} {on_app:?}");
        }
    }
}
