//! The document at `/api/v1/openapi.json`: complete, sound in itself, and true of what is really answered.

use std::{collections::BTreeSet, fs, path::Path};

use http::Method;
use picloud_ingress::admin::{ENDPOINTS, Requires};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{Client, Reply, World, text};

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");

async fn document(world: &World) -> Value {
    let nobody = Client { key: None, ..world.owner.clone() };
    let reply = nobody.get("/api/v1/openapi.json").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    reply.is(200)
}

/// All operations with their method and path.
fn operations(document: &Value) -> impl Iterator<Item = (String, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths").iter();
    paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").iter();
        methods.map(move |(method, operation)| (method.to_ascii_uppercase(), path.as_str(), operation))
    })
}

#[sqlx::test(migrations = "../migrations")]
async fn the_document_in_the_repository_is_the_one_that_is_served(pool: PgPool) {
    let world = World::start(pool).await;
    let served = serde_json::to_string_pretty(&document(&world).await).expect("JSON") + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        fs::write(SNAPSHOT, &served).expect("the snapshot can be written");
    }
    let kept = fs::read_to_string(Path::new(SNAPSHOT)).unwrap_or_default();
    assert!(
        kept == served,
        "docs/openapi.json is stale; look at what changes for clients, then update it:\n    \
         UPDATE_OPENAPI=1 cargo nextest run -p picloud-ingress -E 'test(the_document_in_the_repository)'"
    );
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn every_endpoint_is_documented_and_nothing_else(pool: PgPool) {
    let world = World::start(pool).await;
    let document = document(&world).await;
    let documented: BTreeSet<(String, String)> =
        operations(&document).map(|(method, path, _)| (method, path.to_owned())).collect();
    let served: BTreeSet<(String, String)> =
        ENDPOINTS.iter().map(|endpoint| (endpoint.method.to_owned(), endpoint.path.to_owned())).collect();
    assert_eq!(documented, served);
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let about = format!("{method} {path}");
        assert!(ids.insert(text(&operation["operationId"])), "{about}: another one has its operationId");
        assert!(!text(&operation["summary"]).is_empty(), "{about}");
        let named = operation["parameters"].as_array().into_iter().flatten();
        let named: Vec<String> =
            named.filter(|parameter| parameter["in"] == "path").map(|parameter| text(&parameter["name"])).collect();
        let varies: Vec<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        assert_eq!(named, varies, "{about}");
    }
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_an_endpoint_requires_is_told(pool: PgPool) {
    let world = World::start(pool).await;
    let document = document(&world).await;
    for endpoint in ENDPOINTS {
        let operation = &document["paths"][endpoint.path][endpoint.method.to_ascii_lowercase()];
        let (capability, is_open) = match endpoint.requires {
            Requires::Nothing => (Value::Null, true),
            Requires::Principal => (Value::Null, false),
            Requires::Instance(capability) | Requires::App(capability) => (json!(capability), false),
            Requires::Deploy => (json!("AppWriteScript"), false),
        };
        assert_eq!(operation["x-picloud-capability"], capability, "{endpoint:?}");
        assert_eq!(operation["security"] == json!([]), is_open, "{endpoint:?}");
        assert_eq!(operation["responses"].get("401").is_some(), !is_open || endpoint.path.ends_with("/session"));
    }
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_referred_to_is_there_and_what_is_there_is_used(pool: PgPool) {
    let world = World::start(pool).await;
    let document = document(&world).await;
    let mut referred = BTreeSet::new();
    references(&document, &mut referred);
    for reference in &referred {
        let pointer = reference.strip_prefix('#').expect("nothing outside of the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
        assert!(referred.contains(&format!("#/components/schemas/{name}")), "nobody uses {name}");
    }
    world.stop().await;
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn examples_are_as_their_schemas_say(pool: PgPool) {
    let world = World::start(pool).await;
    let document = document(&world).await;
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        for example in schema["examples"].as_array().into_iter().flatten() {
            fits(&document, &json!({ "$ref": format!("#/components/schemas/{name}") }), example, name);
        }
    }
    for (method, path, operation) in operations(&document) {
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        if let Some(schema) = body["$ref"].as_str().and_then(|reference| document.pointer(&reference[1..])) {
            assert!(schema["examples"].is_array(), "{method} {path} has no example of its body: {body}");
        }
    }
    world.stop().await;
}

/// Panics unless a value is as a schema of the document says.
#[track_caller]
fn fits(document: &Value, schema: &Value, value: &Value, about: &str) {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::draft202012::options().build(&schema).expect("a schema");
    let wrong: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{about}: {wrong:#?}\n{value:#}");
}

/// A client whose answers are compared with the document.
struct Checked<'a> {
    document: &'a Value,
    client: Client,
}

impl Checked<'_> {
    /// Asks, and holds the answer against what the document says of it.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>, status: u16) -> Value {
        let about = format!("{method} {path} {status}");
        let operation = self.operation(&method, path);
        if let Some(body) = &body
            && status < 400
        {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            fits(self.document, schema, body, &format!("the body of {about}"));
        }
        let reply = self.client.ask(method, path, body).await;
        let answered = reply.is(status);
        let mut answer = &operation["responses"][status.to_string()];
        assert!(answer.is_object(), "{about} is not documented");
        if let Some(reference) = answer["$ref"].as_str() {
            answer = self.document.pointer(&reference[1..]).expect("an answer");
        }
        assert_headers(&reply, answer, &about);
        match answer["content"].as_object().and_then(|content| content.iter().next()) {
            None => assert_eq!(answered, Value::Null, "{about}"),
            Some((kind, content)) => {
                assert_eq!(reply.header("content-type"), Some(kind.as_str()), "{about}");
                fits(self.document, &content["schema"], &answered, &about);
            }
        }
        answered
    }

    /// The operation whose path this is; one without names in it goes first.
    fn operation(&self, method: &Method, path: &str) -> &Value {
        let parts: Vec<&str> = path.split('?').next().expect("a path").split('/').collect();
        let fits = |template: &str| {
            let template: Vec<&str> = template.split('/').collect();
            template.len() == parts.len()
                && template.iter().zip(&parts).all(|(template, part)| template.starts_with('{') || template == part)
        };
        operations(self.document)
            .filter(|(known, template, _)| known == method.as_str() && fits(template))
            .min_by_key(|(_, template, _)| template.matches('{').count())
            .map(|(_, _, operation)| operation)
            .unwrap_or_else(|| panic!("{method} {path} is not documented"))
    }

    async fn get(&self, path: &str, status: u16) -> Value {
        self.ask(Method::GET, path, None, status).await
    }

    async fn post(&self, path: &str, body: Value, status: u16) -> Value {
        self.ask(Method::POST, path, Some(body), status).await
    }
}

#[track_caller]
fn assert_headers(reply: &Reply, answer: &Value, about: &str) {
    for name in ["x-request-id", "x-picloud-cursor", "etag", "location", "retry-after", "www-authenticate"] {
        let is_told = answer["headers"].get(name).is_some();
        let is_there = reply.header(name).is_some();
        // A dry run writes nothing; not every refusal knows when to try again.
        let is_optional = name == "retry-after" || about.contains("dry_run");
        assert!(
            is_told == is_there || is_told && is_optional,
            "{about}: {name} is told: {is_told}, is there: {is_there}"
        );
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn apps_scripts_and_routes_are_answered_as_documented(pool: PgPool) {
    let world = World::start(pool).await;
    let document = document(&world).await;
    let owner = Checked { document: &document, client: world.owner.clone() };
    let apps = "/api/v1/admin/apps";
    let shop = "/api/v1/admin/apps/shop";
    owner.post(apps, json!({ "slug": "shop" }), 201).await;
    owner.post(apps, json!({ "slug": "shop" }), 409).await;
    owner.post(apps, json!({ "slug": "No!" }), 422).await;
    owner.post(apps, json!({ "slugg": "x" }), 422).await;
    owner.get(apps, 200).await;
    owner.get(&format!("{apps}?limit=0"), 422).await;
    owner.get(shop, 200).await;
    owner.get("/api/v1/admin/apps/none", 404).await;

    let scripts = format!("{shop}/scripts");
    owner.post(&scripts, json!({ "name": "greet", "source": "1 // hmm", "limits": { "timeout_ms": 1000 } }), 201).await;
    owner.post(&scripts, json!({ "name": "bad", "source": "oops" }), 422).await;
    owner.post(&format!("{scripts}/validate"), json!({ "source": "oops" }), 200).await;
    owner.get(&scripts, 200).await;
    owner.get(&format!("{scripts}/greet"), 200).await;
    owner.post(&format!("{scripts}/greet/versions"), json!({ "source": "2", "message": "two" }), 201).await;
    owner.post(&format!("{scripts}/greet/versions"), json!({ "source": "2" }), 200).await;
    owner.get(&format!("{scripts}/greet/versions"), 200).await;
    owner.get(&format!("{scripts}/greet/versions/1"), 200).await;
    owner.get(&format!("{scripts}/greet/versions/9"), 404).await;
    owner.post(&format!("{scripts}/greet/activate"), json!({ "version": 1 }), 200).await;
    let request = json!({ "body": { "a": null }, "query": { "one": "1", "many": ["1", "2"] } });
    owner.post(&format!("{scripts}/greet/invoke"), request, 200).await;
    owner.post(&scripts, json!({ "name": "thrower", "source": "throw 1" }), 201).await;
    owner.post(&format!("{scripts}/thrower/invoke"), json!({}), 200).await;
    owner.ask(Method::DELETE, &format!("{scripts}/thrower"), None, 204).await;

    let routes = format!("{shop}/routes");
    let bound = json!({ "path": "/u/:id", "script": "greet", "cors": { "origins": ["https://a.test"] },
        "rate_limit": { "per_second": 5 } });
    let bound = owner.post(&routes, bound, 201).await;
    owner.post(&routes, json!({ "path": "/u/:name", "script": "greet" }), 409).await;
    owner.post(&routes, json!({ "path": "u", "script": "greet" }), 422).await;
    let route = format!("{routes}/{}", text(&bound["id"]));
    owner.get(&routes, 200).await;
    owner.get(&route, 200).await;
    owner.post(&format!("{routes}/check"), json!({ "path": "/u/:name" }), 200).await;
    let request = json!({ "method": "get", "host": "shop.test", "path": "/u/1" });
    owner.post(&format!("{routes}/match"), request, 200).await;
    let changed = json!({ "path": "/v", "script": "greet", "method": "GET" });
    owner.ask(Method::PUT, &route, Some(changed), 200).await;
    owner.ask(Method::DELETE, &route, None, 204).await;

    let triggers = format!("{shop}/triggers");
    let cron = json!({ "kind": "cron", "schedule": "@daily", "script": "greet", "retry": { "max_attempts": 2 } });
    let made = owner.post(&triggers, cron.clone(), 201).await;
    owner.post(&triggers, json!({ "kind": "cron", "schedule": "never", "script": "greet" }), 422).await;
    for said in [
        json!({ "kind": "kv", "collection": "*", "ops": ["set"], "script": "greet", "enabled": false }),
        json!({ "kind": "topic", "topic": "a.*", "script": "greet" }),
        json!({ "kind": "queue", "queue": "mail", "script": "greet" }),
        json!({ "kind": "dead_letter", "source": "invoke", "script": "greet" }),
    ] {
        owner.post(&triggers, said, 201).await;
    }
    owner.get(&triggers, 200).await;
    let trigger = format!("{triggers}/{}", text(&made["id"]));
    owner.get(&trigger, 200).await;
    owner.ask(Method::PUT, &trigger, Some(cron), 200).await;
    for what in ["disable", "enable", "pause", "resume"] {
        owner.post(&format!("{trigger}/{what}"), Value::Null, 200).await;
    }
    owner.post(&format!("{trigger}/run"), json!({}), 202).await;
    owner.post(&format!("{trigger}/run"), json!({ "event": { "due_at": "2026-03-01T03:00:00Z" } }), 202).await;
    owner.ask(Method::DELETE, &trigger, None, 204).await;
    owner.get(&format!("{shop}/queues"), 200).await;
    owner.get(&format!("{shop}/queues/mail"), 200).await;
    owner.get(&format!("{shop}/queues/none"), 404).await;
    owner.ask(Method::PUT, &format!("{shop}/queues/mail"), Some(json!({ "max_concurrency": 2 })), 200).await;
    owner.post(&format!("{shop}/queues/mail/pause"), Value::Null, 200).await;
    owner.post(&format!("{shop}/queues/mail/resume"), Value::Null, 200).await;
    owner.post(&format!("{scripts}/greet/pause"), Value::Null, 200).await;
    owner.post(&format!("{scripts}/greet/resume"), Value::Null, 200).await;

    let manifest = json!({ "hosts": ["b.test"], "triggers": [{ "kind": "topic", "topic": "a.*", "script": "greet" }],
        "queues": [{ "name": "mail", "max_concurrency": 1 }], "env": { "A": "1" }, "scripts": [
        { "name": "greet", "source": "3\n", "routes": [{ "path": "/greet" }] }
    ]});
    owner.post(&format!("{shop}/deploy?dry_run=true"), manifest.clone(), 200).await;
    owner.post(&format!("{shop}/deploy"), manifest, 200).await;
    owner.post(&format!("{shop}/deploy"), json!({ "scripts": [{ "name": "greet", "source": "oops" }] }), 422).await;

    owner.post(&format!("{shop}/domains"), json!({ "host": "a.test" }), 201).await;
    owner.post(&format!("{shop}/domains"), json!({ "host": "a.test" }), 200).await;
    owner.get(&format!("{shop}/domains"), 200).await;
    owner.ask(Method::DELETE, &format!("{shop}/domains/a.test"), None, 204).await;
    let http_exceptions = format!("{shop}/http_exceptions");
    owner.post(&http_exceptions, json!({ "target": "nas.lan:5000" }), 201).await;
    owner.post(&http_exceptions, json!({ "target": "nas.lan:5000" }), 200).await;
    owner.post(&http_exceptions, json!({ "target": "*" }), 422).await;
    owner.post("/api/v1/admin/apps/none/http_exceptions", json!({ "target": "nas.lan" }), 404).await;
    owner.get(&http_exceptions, 200).await;
    owner.ask(Method::DELETE, &format!("{http_exceptions}/nas.lan:5000"), None, 204).await;
    owner.ask(Method::DELETE, &format!("{http_exceptions}/nas.lan:5000"), None, 404).await;
    owner.ask(Method::PUT, &format!("{shop}/env/B"), Some(json!({ "value": "2" })), 200).await;
    owner.get(&format!("{shop}/env"), 200).await;
    owner.ask(Method::DELETE, &format!("{shop}/env/B"), None, 204).await;

    owner.ask(Method::PATCH, shop, Some(json!({ "slug": "store" })), 200).await;
    owner.get(shop, 308).await;
    let store = "/api/v1/admin/apps/store";
    owner.post(&format!("{store}/pause"), Value::Null, 204).await;
    owner.ask(Method::DELETE, store, None, 409).await;
    owner.ask(Method::DELETE, &format!("{store}?confirm=store"), None, 204).await;
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn people_and_keys_are_answered_as_documented(pool: PgPool) {
    let world = World::start(pool).await;
    world.app("shop").await;
    let document = document(&world).await;
    let owner = Checked { document: &document, client: world.owner.clone() };
    let accounts = "/api/v1/admin/accounts";
    owner.post(accounts, json!({ "email": "ada@example.com", "role": "member" }), 201).await;
    owner.post(accounts, json!({ "email": "ada@example.com" }), 409).await;
    owner.get(accounts, 200).await;
    owner.get(&format!("{accounts}/ada@example.com"), 200).await;
    owner.ask(Method::PATCH, &format!("{accounts}/ada@example.com"), Some(json!({ "role": "admin" })), 200).await;
    owner.post(&format!("{accounts}/ada@example.com/reset_password"), Value::Null, 201).await;
    owner.post(&format!("{accounts}/ada@example.com/deactivate"), Value::Null, 204).await;
    owner.get("/api/v1/admin/account", 404).await;

    let bob = Checked { document: &document, client: world.person("bob@example.com", "member").await };
    let nobody = Checked { document: &document, client: Client { key: None, ..world.owner.clone() } };
    let session = "/api/v1/admin/session";
    let signs_in = json!({ "email": "bob@example.com", "password": crate::fixture::PASSWORD, "bearer": true });
    nobody.post(session, signs_in, 201).await;
    nobody.post(session, json!({ "email": "bob@example.com", "password": "wrong", "bearer": true }), 401).await;
    nobody.post(session, json!({ "email": "bob@example.com", "password": "wrong" }), 403).await;
    nobody.get(session, 401).await;
    owner.get(session, 200).await;
    bob.get(session, 200).await;
    bob.get("/api/v1/admin/account", 200).await;
    bob.get("/api/v1/admin/account/sessions", 200).await;
    bob.post("/api/v1/admin/account/totp", Value::Null, 200).await;
    bob.get(accounts, 403).await;
    bob.get("/api/v1/admin/apps/shop", 404).await;

    let members = "/api/v1/admin/apps/shop/members";
    owner.ask(Method::PUT, &format!("{members}/bob@example.com"), Some(json!({ "role": "viewer" })), 201).await;
    owner.ask(Method::PUT, &format!("{members}/bob@example.com"), Some(json!({ "role": "editor" })), 200).await;
    owner.get(members, 200).await;
    owner.ask(Method::DELETE, &format!("{members}/bob@example.com"), None, 204).await;

    let keys = "/api/v1/admin/api_keys";
    let minted = owner.post(keys, json!({ "name": "ci", "scopes": ["AppRead"], "app": "shop" }), 201).await;
    owner.post(keys, json!({ "name": "ci", "scopes": ["AppRaed"] }), 422).await;
    owner.get(keys, 200).await;
    owner.ask(Method::DELETE, &format!("{keys}/{}", text(&minted["id"])), None, 204).await;
    owner.get("/api/v1/admin/instance", 200).await;
    owner.post("/api/v1/admin/instance/rotate_master_key", Value::Null, 200).await;
    bob.ask(Method::DELETE, session, None, 204).await;
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn what_happened_is_answered_as_documented(pool: PgPool) {
    let world = World::start(pool).await;
    world.app("shop").await;
    let document = document(&world).await;
    let owner = Checked { document: &document, client: world.owner.clone() };
    owner.post("/api/v1/admin/apps/shop/scripts", json!({ "name": "greet", "source": "1" }), 201).await;
    let first = owner.get("/api/v1/admin/events?limit=2&order=asc", 200).await;
    assert!(first["cursor"].is_string(), "{first}");
    owner.get("/api/v1/admin/apps/shop/events", 200).await;
    owner.get("/api/v1/admin/apps/shop/events?kind=app.craeted", 422).await;
    owner.get("/api/v1/admin/apps/shop/logs", 200).await;
    owner.get("/api/v1/admin/apps/shop/invocations?status=failed", 200).await;
    owner.get("/api/v1/admin/apps/shop/invocations/inv_none", 404).await;
    owner.get("/api/v1/admin/apps/shop/kv", 200).await;
    owner.get("/api/v1/admin/apps/shop/kv/carts", 200).await;
    owner.get("/api/v1/admin/apps/shop/kv/carts/none", 404).await;

    let operation = owner.operation(&Method::GET, "/api/v1/admin/apps/shop/events/stream");
    let schema = &operation["responses"]["200"]["content"]["text/event-stream"]["x-picloud-data"];
    let mut stream = owner.client.stream("/api/v1/admin/apps/shop/events/stream", None).await;
    stream.next().await.expect("up to date");
    owner.post("/api/v1/admin/apps/shop/pause", Value::Null, 204).await;
    fits(&document, schema, &stream.message().await.json(), "a frame");
    drop(stream);
    world.stop().await;
}
