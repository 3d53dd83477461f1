//! `ctx`: what a script sees of why and for whom it runs. Made when it is first asked for, read-only.

use picloud_core::{event::ActorKind, limits::Limits, run::InvocationType};
use rhai::{Dynamic, Map};

use super::{
    body::{decode_body, many},
    current::Run,
    input::PrincipalInfo,
    value::read_json,
};

/// The version of the SDK, `ctx.sdk_version`. Rises when a function changes its meaning.
pub const SDK_VERSION: &str = "1";

/// Makes `ctx`. The large parts are in cells of their own, so that looking one up copies nothing.
pub(super) fn build(run: &mut Run) -> Dynamic {
    let body = run.body.take();
    let (program, input) = (&run.program, &run.input);
    let mut script = Map::new();
    script.insert("id".into(), program.script.to_string().into());
    script.insert("name".into(), program.name.as_ref().into());
    script.insert("version".into(), i64::from(program.number).into());

    let mut ctx = Map::new();
    ctx.insert("invocation_id".into(), input.invocation.to_string().into());
    ctx.insert("request_id".into(), input.request_id.map_or(Dynamic::UNIT, |id| id.to_string().into()));
    ctx.insert("app".into(), program.app_slug.as_ref().into());
    ctx.insert("script".into(), Dynamic::from_map(script));
    ctx.insert("invocation_type".into(), invocation_type(input.kind).into());
    ctx.insert("sdk_version".into(), SDK_VERSION.into());
    ctx.insert("principal".into(), input.principal.as_ref().map_or(Dynamic::UNIT, principal));
    ctx.insert("request".into(), cell(request(run, body)));
    ctx.insert("env".into(), cell(env(run)));
    if let Some(event) = &run.input.event {
        // Bounded when it was stored: a script that is to take care of something must be able to look at it.
        let event = read_json(event.get().as_bytes(), &Limits::CEILING).unwrap_or(Dynamic::UNIT);
        ctx.insert("event".into(), cell(event));
    }
    Dynamic::from_map(ctx)
}

fn cell(value: Dynamic) -> Dynamic {
    value.into_read_only().into_shared()
}

fn request(run: &Run, body: Option<Dynamic>) -> Dynamic {
    let request = &run.input.request;
    let mut headers: std::collections::BTreeMap<&str, String> = std::collections::BTreeMap::new();
    for (name, value) in &request.headers {
        headers
            .entry(name)
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(value);
            })
            .or_insert_with(|| value.clone());
    }
    let headers: Map = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let params: Map =
        request.params.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();

    let mut map = Map::new();
    map.insert("method".into(), request.method.as_str().into());
    map.insert("path".into(), request.path.as_str().into());
    map.insert("host".into(), request.host.as_str().into());
    map.insert("headers".into(), Dynamic::from_map(headers));
    map.insert("query".into(), many(request.query.iter().cloned()));
    map.insert("params".into(), Dynamic::from_map(params));
    map.insert("rest".into(), request.rest.as_deref().map_or(Dynamic::UNIT, Into::into));
    // What could not be decoded ended the run before it began.
    let body = body.unwrap_or_else(|| decode_body(request, &run.program.limits).unwrap_or(Dynamic::UNIT));
    map.insert("body".into(), body);
    map.insert("body_raw".into(), Dynamic::from_blob(request.body.to_vec()));
    Dynamic::from_map(map)
}

fn env(run: &Run) -> Dynamic {
    Dynamic::from_map(
        run.program.env.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect(),
    )
}

fn principal(principal: &PrincipalInfo) -> Dynamic {
    let kind = match principal.kind {
        ActorKind::Account => "account",
        ActorKind::ApiKey => "api_key",
        ActorKind::Trigger => "trigger",
        ActorKind::Public => "public",
        ActorKind::System => "system",
    };
    let mut map = Map::new();
    map.insert("kind".into(), kind.into());
    map.insert("id".into(), principal.id.as_str().into());
    Dynamic::from_map(map)
}

const fn invocation_type(kind: InvocationType) -> &'static str {
    match kind {
        InvocationType::Http => "http",
        InvocationType::AsyncHttp => "async_http",
        InvocationType::Trigger => "trigger",
        InvocationType::Invoke => "invoke",
        InvocationType::Test => "test",
        InvocationType::Replay => "replay",
    }
}
