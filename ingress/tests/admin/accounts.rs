//! People: how they come, sign in, prove it twice, change and go.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use http::{Method, Request};
use picloud_ingress::{admin::first_owner_link, auth::Factor};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::fixture::{Client, PASSWORD, Reply, World, each, text};

const SESSION: &str = "/api/v1/admin/session";
const ACCOUNTS: &str = "/api/v1/admin/accounts";

fn nobody(world: &World) -> Client {
    Client { key: None, ..world.owner.clone() }
}

async fn try_to_sign_in(world: &World, email: &str, password: &str, code: Option<&str>) -> Reply {
    let given = json!({ "email": email, "password": password, "code": code, "bearer": true });
    nobody(world).post(SESSION, given).await
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// The path and token of a link.
fn link(url: &str) -> (String, String) {
    let (path, query) = url.strip_prefix("http://127.0.0.1:8081").expect("our link").split_once('?').expect("a query");
    (path.to_owned(), query.strip_prefix("token=").expect("a token").to_owned())
}

async fn form(world: &World, path: &str, origin: Option<&str>, fields: &str) -> (u16, String) {
    let mut request = Request::builder().method(Method::POST).uri(path).header("host", "pi.test:8081");
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let reply = nobody(world).send(request.body(Body::from(fields.to_owned())).expect("a request")).await;
    (reply.status.as_u16(), String::from_utf8_lossy(&reply.body).into_owned())
}

#[sqlx::test(migrations = "../migrations")]
async fn the_first_account_is_made_at_a_link_once(pool: PgPool) {
    let world = World::start(pool).await;
    let plane = &world.plane;
    let url =
        first_owner_link(&plane.auth, &plane.setup.get(), &plane.urls.admin).await.expect("asked").expect("none yet");
    let (path, token) = link(&url);
    let page = nobody(&world).get(&format!("{path}?token={token}")).await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("frame-ancestors 'none'")));
    // Not `no-referrer`: a browser would then not say where its own forms come from.
    assert_eq!(page.header("referrer-policy"), Some("same-origin"));

    let ours = Some("http://pi.test:8081");
    let fields =
        |token: &str| format!("token={token}&name=Ada&email=Ada%40Example.com&password={}", PASSWORD.replace(' ', "+"));
    let (status, told) = form(&world, &path, Some("http://evil.test"), &fields(&token)).await;
    assert_eq!(status, 403, "{told}");
    let (status, told) = form(&world, &path, ours, &fields("guess")).await;
    assert_eq!(status, 404, "{told}");
    let short = format!("token={token}&name=Ada&email=Ada%40Example.com&password=short");
    let (status, told) = form(&world, &path, ours, &short).await;
    assert_eq!(status, 422, "{told}");
    assert!(told.contains("Ada@Example.com"), "what was typed is still there: {told}");
    let (status, told) = form(&world, &path, ours, &fields(&token)).await;
    assert_eq!(status, 200, "{told}");
    world.settled().await;

    let signed_in = try_to_sign_in(&world, "ada@example.com", PASSWORD, None).await.is(201);
    assert_eq!(signed_in["account"]["role"], "owner");
    let (status, told) = form(&world, &path, ours, &fields(&token)).await;
    assert_eq!(status, 409, "{told}");
    assert!(first_owner_link(&plane.auth, &plane.setup.get(), "http://x").await.expect("asked").is_none());
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn who_is_not_who_they_say_is_told_nothing_and_slowed_down(pool: PgPool) {
    let world = World::start(pool).await;
    world.person("ada@example.com", "member").await;
    let wrong = try_to_sign_in(&world, "ada@example.com", "not the password", None).await.problem(401);
    let unknown = try_to_sign_in(&world, "eve@example.com", "not the password", None).await.problem(401);
    assert_eq!(wrong, unknown);
    for _ in 0..4 {
        try_to_sign_in(&world, "ada@example.com", "not the password", None).await.problem(401);
    }
    let slowed = try_to_sign_in(&world, "ada@example.com", PASSWORD, None).await;
    slowed.problem(429);
    assert!(slowed.header("retry-after").is_some());
    world.stop().await;
}

/// What a browser at the control plane's own origin sends.
async fn browser(world: &World, method: Method, path: &str, headers: &[(&str, &str)], body: Value) -> Reply {
    let mut request = nobody(world).request(method, path).header("host", "pi.test:8081");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.header("content-type", "application/json");
    nobody(world).send(request.body(Body::from(body.to_string())).expect("a request")).await
}

#[sqlx::test(migrations = "../migrations")]
async fn a_browser_gets_a_cookie_that_is_good_for_pages_of_ours_alone(pool: PgPool) {
    let world = World::start(pool).await;
    world.person("ada@example.com", "owner").await;
    let ours = ("origin", "http://pi.test:8081");
    let given = json!({ "email": "ada@example.com", "password": PASSWORD });
    for foreign in [&[][..], &[("origin", "http://pi.test:8080")], &[ours, ("sec-fetch-site", "cross-site")]] {
        browser(&world, Method::POST, SESSION, foreign, given.clone()).await.problem(403);
    }
    let reply = browser(&world, Method::POST, SESSION, &[ours], given).await;
    let signed_in = reply.is(201);
    assert!(signed_in.get("token").is_none(), "no script needs it: {signed_in}");
    assert!(text(&signed_in["warning"]).contains("plain http"));
    let cookie = reply.header("set-cookie").expect("a cookie").to_owned();
    assert!(cookie.starts_with("picloud_session=pcs_"), "{cookie}");
    assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict") && cookie.contains("; Path=/"));
    let cookie = ("cookie", cookie.split(';').next().expect("a pair"));

    let me = browser(&world, Method::GET, SESSION, &[cookie], json!({})).await.is(200);
    assert_eq!(me["account"]["email"], "ada@example.com");
    let csrf = text(&me["csrf"]);
    let proof = ("x-picloud-csrf", csrf.as_str());
    let app = json!({ "slug": "shop" });
    let apps = "/api/v1/admin/apps";
    for forged in
        [&[cookie][..], &[cookie, ours], &[cookie, proof], &[cookie, proof, ("origin", "http://pi.test:8080")]]
    {
        browser(&world, Method::POST, apps, forged, app.clone()).await.problem(403);
    }
    browser(&world, Method::POST, apps, &[cookie, ours, proof], app).await.is(201);

    let bye = browser(&world, Method::DELETE, SESSION, &[cookie, ours, proof], json!({})).await;
    bye.is(204);
    assert!(
        bye.headers.get_all("set-cookie").iter().all(|cookie| cookie.to_str().expect("text").contains("Max-Age=0"))
    );
    let gone = browser(&world, Method::GET, SESSION, &[cookie], json!({})).await;
    gone.problem(401);
    assert!(gone.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")), "cleared, never adopted");
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_second_factor_is_asked_for_and_each_code_is_good_once(pool: PgPool) {
    let world = World::start(pool).await;
    let ada = world.person("ada@example.com", "member").await;
    let totp = "/api/v1/admin/account/totp";
    let offer = ada.post(totp, json!({})).await.is(200);
    assert!(text(&offer["url"]).starts_with("otpauth://totp/"));
    let wrong = json!({ "id": offer["id"], "code": "000000" });
    ada.post(&format!("{totp}/confirm"), wrong).await.problem(422);
    try_to_sign_in(&world, "ada@example.com", PASSWORD, None).await.is(201);

    let seed = seed_of(&text(&offer["secret"]));
    let factor = Factor::of(&seed);
    let confirm = json!({ "id": offer["id"], "code": factor.code(now_s()) });
    let confirmed = ada.post(&format!("{totp}/confirm"), confirm).await.is(200);
    let codes: Vec<String> = confirmed["recovery_codes"].as_array().expect("codes").iter().map(text).collect();
    assert_eq!(codes.len(), 10);

    let needed = try_to_sign_in(&world, "ada@example.com", PASSWORD, None).await;
    assert_eq!(needed.is(401)["type"], "/problems/second-factor-needed");
    try_to_sign_in(&world, "ada@example.com", PASSWORD, Some("123456")).await.problem(401);
    let code = factor.code(now_s());
    try_to_sign_in(&world, "ada@example.com", PASSWORD, Some(&code)).await.is(201);
    try_to_sign_in(&world, "ada@example.com", PASSWORD, Some(&code)).await.problem(401);
    try_to_sign_in(&world, "ada@example.com", PASSWORD, Some(&codes[4])).await.is(201);
    try_to_sign_in(&world, "ada@example.com", PASSWORD, Some(&codes[4])).await.problem(401);
    // A wrong password with a right code is a wrong password.
    let wrong = try_to_sign_in(&world, "ada@example.com", "wrong password", Some(&codes[5])).await;
    assert!(wrong.problem(401).contains("password"));

    ada.post(&format!("{totp}/disable"), json!({ "password": "wrong password" })).await.problem(403);
    ada.post(&format!("{totp}/disable"), json!({ "password": PASSWORD })).await.is(204);
    try_to_sign_in(&world, "ada@example.com", PASSWORD, None).await.is(201);
    world.stop().await;
}

/// RFC 4648 base32.
fn seed_of(base32: &str) -> Vec<u8> {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits: String =
        base32.chars().map(|c| format!("{:05b}", alphabet.find(c).expect("a letter of base32"))).collect();
    bits.as_bytes()
        .chunks_exact(8)
        .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).expect("digits"), 2).expect("bits"))
        .collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn another_password_ends_the_other_sessions_on_every_node(pool: PgPool) {
    let world = World::start(pool).await;
    let other = world.another().await;
    let here = world.person("ada@example.com", "member").await;
    other.settled().await;
    let there = other.sign_in("ada@example.com").await;
    there.get(SESSION).await.is(200);
    let on_both = Client { router: other.owner.router.clone(), ..here.clone() };
    on_both.get(SESSION).await.is(200);
    let sessions = here.get("/api/v1/admin/account/sessions").await.is(200);
    assert_eq!(sessions["items"].as_array().expect("items").len(), 2);

    let new = "another good password";
    let password = "/api/v1/admin/account/password";
    here.post(password, json!({ "current": "wrong password", "new": new })).await.problem(403);
    here.post(password, json!({ "current": PASSWORD, "new": "short" })).await.problem(422);
    here.post(password, json!({ "current": PASSWORD, "new": new })).await.is(204);
    other.settled().await;
    there.get(SESSION).await.problem(401);
    here.get(SESSION).await.is(200);
    on_both.get(SESSION).await.is(200);
    try_to_sign_in(&world, "ada@example.com", PASSWORD, None).await.problem(401);
    try_to_sign_in(&world, "ada@example.com", new, None).await.is(201);
    let kept: i64 = sqlx::query_scalar("select count(*) from live.secret_material where kind = 'password'")
        .fetch_one(&world.plane.pool)
        .await
        .expect("a count");
    assert_eq!(kept, 1, "the hash of the old one is erased");
    other.stop().await;
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn who_is_deactivated_is_out_at_once_on_every_node(pool: PgPool) {
    let world = World::start(pool).await;
    let other = world.another().await;
    let ada = world.person("ada@example.com", "admin").await;
    let key = ada.post("/api/v1/admin/api_keys", json!({ "name": "x", "scopes": ["AppRead"] })).await.is(201);
    other.settled().await;
    let there = Client { router: other.owner.router.clone(), ..ada.clone() };
    let with_key = Client { key: Some(text(&key["key"])), ..there.clone() };
    there.get(SESSION).await.is(200);
    with_key.get(SESSION).await.is(200);

    world.owner.post(&format!("{ACCOUNTS}/ada@example.com/deactivate"), json!({})).await.is(204);
    other.settled().await;
    for client in [&ada, &there, &with_key] {
        client.get(SESSION).await.problem(401);
    }
    try_to_sign_in(&world, "ada@example.com", PASSWORD, None).await.problem(401);
    world.owner.post(&format!("{ACCOUNTS}/ada@example.com/reactivate"), json!({})).await.is(204);
    ada.get(SESSION).await.problem(401);
    try_to_sign_in(&world, "ada@example.com", PASSWORD, None).await.is(201);
    other.stop().await;
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn who_is_invited_sets_a_password_at_a_link_once(pool: PgPool) {
    let world = World::start(pool).await;
    let invited = world.owner.post(ACCOUNTS, json!({ "email": "Bob@Example.com" })).await.is(201);
    assert_eq!(
        (text(&invited["email"]), text(&invited["state"])),
        ("bob@example.com".to_owned(), "invited".to_owned())
    );
    world.owner.post(ACCOUNTS, json!({ "email": "bob@example.com" })).await.problem(409);
    let (path, token) = link(&text(&invited["link"]["url"]));
    try_to_sign_in(&world, "bob@example.com", PASSWORD, None).await.problem(401);

    let join = format!("/api/v1/admin/accounts/{}/join", path.strip_prefix("/join/").expect("a join link"));
    let joining = |token: &str, password: &str| json!({ "token": token, "password": password });
    nobody(&world).post(&join, joining("guess", PASSWORD)).await.problem(404);
    nobody(&world).post(&join, joining(&token, "short")).await.problem(422);
    nobody(&world).post(&join, joining(&token, PASSWORD)).await.is(204);
    nobody(&world).post(&join, joining(&token, "somebody else's")).await.problem(404);
    try_to_sign_in(&world, "bob@example.com", PASSWORD, None).await.is(201);

    // A lost password: the newest link counts, and the password until then.
    let reset = format!("{ACCOUNTS}/bob@example.com/reset_password");
    let first = link(&text(&world.owner.post(&reset, json!({})).await.is(201)["url"])).1;
    let second = link(&text(&world.owner.post(&reset, json!({})).await.is(201)["url"])).1;
    try_to_sign_in(&world, "bob@example.com", PASSWORD, None).await.is(201);
    nobody(&world).post(&join, joining(&first, "another password")).await.problem(404);
    nobody(&world).post(&join, joining(&second, "another password")).await.is(204);
    try_to_sign_in(&world, "bob@example.com", "another password", None).await.is(201);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn accounts_and_keys_are_listed_by_what_they_are(pool: PgPool) {
    let world = World::start(pool).await;
    let ada = world.person("ada@example.com", "admin").await;
    world.owner.post(ACCOUNTS, json!({ "email": "bob@example.com" })).await.is(201);
    let emails = async |query: &str| each(&world.owner.get(&format!("{ACCOUNTS}?{query}")).await.is(200), "email");
    assert_eq!(emails("role=admin").await, ["ada@example.com"]);
    assert_eq!(emails("state=invited").await, ["bob@example.com"]);
    assert!(emails("state=active&role=member").await.is_empty());
    let slip = world.owner.get(&format!("{ACCOUNTS}?state=invitd")).await.problem(422);
    assert!(slip.contains("did you mean `invited`?"), "{slip}");

    let keys = "/api/v1/admin/api_keys";
    let bound = ada.post(keys, json!({ "name": "x", "scopes": ["AppRead"], "app": "default" })).await.is(201);
    for query in ["app=default".to_owned(), format!("account={}", text(&bound["account"]))] {
        let listed = world.owner.get(&format!("{keys}?{query}")).await.is(200);
        assert_eq!(each(&listed, "id"), [text(&bound["id"])], "{query}");
    }
    let none = world.owner.get(&format!("{keys}?app=nothing")).await.is(200);
    assert!(each(&none, "id").is_empty());
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn owners_are_made_by_owners_and_the_last_one_stays(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.person("owner@example.com", "owner").await;
    let admin = world.person("admin@example.com", "admin").await;
    let named = |who: &str| format!("{ACCOUNTS}/{who}@example.com");
    admin.post(ACCOUNTS, json!({ "email": "x@example.com", "role": "owner" })).await.problem(403);
    admin.patch(&named("admin"), json!({ "role": "owner" })).await.problem(403);
    admin.patch(&named("owner"), json!({ "role": "member" })).await.problem(403);
    admin.post(&format!("{}/deactivate", named("owner")), json!({})).await.problem(403);
    admin.post(&format!("{}/reset_password", named("owner")), json!({})).await.problem(403);
    owner.patch(&named("owner"), json!({ "role": "admin" })).await.problem(409);
    owner.post(&format!("{}/deactivate", named("owner")), json!({})).await.problem(409);
    owner.patch(&named("admin"), json!({ "role": "owner" })).await.is(200);
    owner.patch(&named("owner"), json!({ "role": "admin" })).await.is(200);
    admin.post(&format!("{}/deactivate", named("admin")), json!({})).await.problem(409);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_account_is_changed_as_it_was_read_or_not_at_all(pool: PgPool) {
    let world = World::start(pool).await;
    let ada = world.person("ada@example.com", "member").await;
    let path = format!("{ACCOUNTS}/ada@example.com");
    let etag = world.owner.get(&path).await.etag();
    ada.patch("/api/v1/admin/account", json!({ "name": "Ada L." })).await.is(200);
    let change =
        async |etag: &str| world.owner.ask_for(Method::PATCH, &path, etag, json!({ "name": "Countess" })).await;
    assert_eq!(change(&etag).await.is(412)["type"], "/problems/precondition-failed");
    let etag = world.owner.get(&path).await.etag();
    assert_eq!(change(&etag).await.is(200)["name"], "Countess");
    world.owner.patch(&path, json!({ "nmae": "x" })).await.problem(422);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn nothing_secret_of_anyone_is_in_the_log_or_in_plain_text_anywhere(pool: PgPool) {
    let world = World::start(pool).await;
    let ada = world.person("ada@example.com", "member").await;
    let token = ada.key.clone().expect("a token");
    let offer = ada.post("/api/v1/admin/account/totp", json!({})).await.is(200);
    let factor = Factor::of(&seed_of(&text(&offer["secret"])));
    let confirm = json!({ "id": offer["id"], "code": factor.code(now_s()) });
    let codes = ada.post("/api/v1/admin/account/totp/confirm", confirm).await.is(200);
    let invited = world.owner.post(ACCOUNTS, json!({ "email": "bob@example.com" })).await.is(201);
    let (_, link_token) = link(&text(&invited["link"]["url"]));
    let secrets = [PASSWORD.to_owned(), token, text(&offer["secret"]), text(&codes["recovery_codes"][0]), link_token];

    let mut stored: Vec<String> = Vec::new();
    for query in [
        "select e::text from log.events e",
        "select a::text from state.account a",
        "select s::text from live.session s",
        "select encode(material, 'escape') from live.secret_material",
    ] {
        let rows: Vec<String> = sqlx::query_scalar(query).fetch_all(&world.plane.pool).await.expect("rows");
        assert!(!rows.is_empty(), "{query}");
        stored.extend(rows);
    }
    for text in &stored {
        assert!(!text.contains("argon2"), "{text}");
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is in {text}");
        }
    }
    let events = world.owner.get("/api/v1/admin/events?limit=1000").await.is(200).to_string();
    assert!(secrets.iter().all(|secret| !events.contains(secret.as_str())));
    // Who did it, from where, with which request.
    let opened = world.owner.get("/api/v1/admin/events?kind=session.opened").await.is(200);
    let opened = &opened["items"][0];
    assert!(opened.to_string().contains("203.0.113.9") && opened.to_string().contains("req_"), "{opened}");
    let enabled = world.owner.get("/api/v1/admin/events?kind=account.totp_enabled").await.is(200);
    assert_eq!(each(&enabled, "type").len(), 1);
    world.stop().await;
}

#[sqlx::test(migrations = "../migrations")]
async fn accounts_change_as_before_once_the_master_key_was_rotated(pool: PgPool) {
    let world = World::start(pool).await;
    world.person("ada@example.com", "member").await;
    world.owner.post("/api/v1/admin/instance/rotate_master_key", json!({})).await.is(200);
    let ada = "/api/v1/admin/accounts/ada@example.com";
    world.owner.patch(ada, json!({ "role": "admin" })).await.is(200);
    world.stop().await;
}
