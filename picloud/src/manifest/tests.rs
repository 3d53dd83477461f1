use std::fs;

use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn refused(text: &str) -> String {
    let dir = folder(&[(FILE_NAME, text), ("a.rhai", "1")]);
    let error = read(dir.path(), &Overrides::default()).expect_err("to be refused").to_string();
    error.replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn the_example_of_the_documentation_is_read() {
    let text = r#"
app = "shop"
hosts = ["shop.localhost"]
env = { currency = "EUR" }

[[script]]
name = "checkout"
route = "POST /checkout"
limits = { timeout_ms = 2000 }

[[script]]
name = "files"
file = "lib/files.rhai"
routes = ["GET /a", "/b/*"]
mode = "async"
record = "headers"
cors = { origins = ["*"] }
rate_limit = { per_second = 5 }

[[script]]
name = "money"
kind = "module"

[[trigger]]
kind = "queue"
queue = "mail"
script = "checkout"
retry = { max_attempts = 8, backoff = "linear" }

[[trigger]]
kind = "cron"
schedule = "0 3 * * *"
script = "files"
enabled = false

[[queue]]
name = "mail"
max_concurrency = 2

[[topic]]
name = "room.*"
external = true
auth = "token"

[[topic]]
name = "orders"
"#;
    let dir = folder(&[(FILE_NAME, text), ("checkout.rhai", "1"), ("money.rhai", "fn eur() {}")]);
    fs::create_dir(dir.path().join("lib")).unwrap();
    fs::write(dir.path().join("lib/files.rhai"), "2").unwrap();
    let overrides = Overrides { message: Some("first".to_owned()), ..Overrides::default() };
    let manifest = read(dir.path(), &overrides).unwrap();
    assert_eq!(read(&dir.path().join(FILE_NAME), &overrides).unwrap(), manifest, "the file does as well as its folder");
    insta::assert_json_snapshot!(manifest, @r#"
    {
      "app": "shop",
      "create_app": true,
      "hosts": [
        "shop.localhost"
      ],
      "env": {
        "currency": "EUR"
      },
      "scripts": [
        {
          "name": "checkout",
          "kind": "endpoint",
          "source": "1",
          "limits": {
            "timeout_ms": 2000
          },
          "routes": [
            {
              "method": "POST",
              "path": "/checkout",
              "mode": "sync",
              "record": "full"
            }
          ],
          "message": "first"
        },
        {
          "name": "files",
          "kind": "endpoint",
          "source": "2",
          "limits": {},
          "routes": [
            {
              "method": "GET",
              "path": "/a",
              "mode": "async",
              "record": "headers",
              "cors": {
                "origins": [
                  "*"
                ],
                "headers": [],
                "credentials": false,
                "max_age_s": 0
              },
              "rate_limit": {
                "per_second": 5,
                "burst": 0
              }
            },
            {
              "path": "/b/*",
              "mode": "async",
              "record": "headers",
              "cors": {
                "origins": [
                  "*"
                ],
                "headers": [],
                "credentials": false,
                "max_age_s": 0
              },
              "rate_limit": {
                "per_second": 5,
                "burst": 0
              }
            }
          ],
          "message": "first"
        },
        {
          "name": "money",
          "kind": "module",
          "source": "fn eur() {}",
          "limits": {},
          "routes": [],
          "message": "first"
        }
      ],
      "triggers": [
        {
          "kind": "queue",
          "queue": "mail",
          "script": "checkout",
          "retry": {
            "max_attempts": 8,
            "backoff": "linear",
            "base_ms": 1000,
            "max_ms": 300000
          }
        },
        {
          "kind": "cron",
          "schedule": "0 3 * * *",
          "time_zone": "UTC",
          "missed": "skip",
          "overlap": "skip",
          "script": "files",
          "enabled": false
        }
      ],
      "queues": [
        {
          "name": "mail",
          "max_concurrency": 2
        }
      ],
      "topics": [
        {
          "name": "room.*",
          "external": true,
          "auth": "token"
        },
        {
          "name": "orders",
          "external": false
        }
      ],
      "prune": true
    }
    "#);
}

#[test]
fn a_bare_script_answers_everything_on_the_path_of_its_name() {
    let dir = folder(&[("greet.rhai", "\"hi\"")]);
    let manifest = read(&dir.path().join("greet.rhai"), &Overrides::default()).unwrap();
    assert_eq!((manifest.app.as_str(), manifest.create_app, manifest.prune), ("default", false, false));
    let [script] = &manifest.scripts[..] else { panic!("{manifest:?}") };
    assert_eq!((script.name.as_str(), script.source.as_str()), ("greet", "\"hi\""));
    // Where it answered already it goes on doing so, and only there.
    assert!(script.routes.is_empty(), "{script:?}");
    let [route] = &script.default_routes[..] else { panic!("{script:?}") };
    assert_eq!((route.method.as_deref(), route.path.as_str()), (None, "/greet"));
}

#[test]
fn the_command_line_wins_over_a_bare_script_s_defaults() {
    let dir = folder(&[("greet.rhai", "1")]);
    let routes = ["GET /hello", "/hi/:name"].map(|route| route.parse().unwrap()).to_vec();
    let manifest = read(dir.path(), &Overrides { app: Some("shop".to_owned()), routes, message: None }).unwrap();
    assert_eq!(manifest.app, "shop");
    let routes: Vec<_> =
        manifest.scripts[0].routes.iter().map(|route| (route.method.as_deref(), route.path.as_str())).collect();
    assert_eq!(routes, [(Some("GET"), "/hello"), (None, "/hi/:name")]);
    assert!(manifest.scripts[0].default_routes.is_empty());
}

#[test]
fn a_file_without_env_says_nothing_of_it_and_an_empty_one_that_there_is_none() {
    let sent = |text: &str| {
        let dir = folder(&[("picloud.toml", text)]);
        serde_json::to_value(read(dir.path(), &Overrides::default()).unwrap()).unwrap()
    };
    assert_eq!(sent("app = 'shop'").get("env"), None);
    assert_eq!(sent("app = 'shop'\nenv = {}").get("env"), Some(&serde_json::json!({})));
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let script = "app = 'shop'\n[[script]]\nname = 'a'\n";
    let trigger = "[[trigger]]\nkind = 'topic'\ntopic = 'b'\nscript = 'a'\n";
    let errors = [
        refused("hosts = []"),
        refused("app = 'Shop'"),
        refused("app = 'shop'\nhost = ['x']"),
        refused("app = 'shop'\ncolour = 'red'"),
        refused("app = 'shop'\n[[script]]\nname = 'b'"),
        refused(&format!("{script}rout = '/a'")),
        refused(&format!("{script}route = 'GTE /a'")),
        refused(&format!("{script}routes = ['/b', 'a']")),
        refused(&format!("{script}route = '/a'\nroutes = ['/b']")),
        refused(&format!("{script}mode = 'asink'")),
        refused(&format!("{script}kind = 'module'\nroute = '/a'")),
        refused(&format!("{script}limits = {{ timeout = 1 }}")),
        refused(&format!("{script}limits = {{ timeout_ms = 300001 }}")),
        refused(&format!("{script}limits = {{ timeout_ms = 'long' }}")),
        refused(&format!("{script}secrets = ['stripe_key']")),
        refused(&format!("{script}[[trigger]]\nqueue = 'mail'")),
        refused(&format!("{script}[[trigger]]\nkind = 'que'")),
        refused(&format!("{script}[[trigger]]\nkind = 'queue'\nscript = 'a'")),
        refused(&format!("{script}[[trigger]]\nkind = 'queue'\nqueues = 'mail'\nscript = 'a'")),
        refused(&format!("{script}[[trigger]]\nkind = 'queue'\nqueue = 'mail'\n")),
        refused(&format!("{script}[[trigger]]\nkind = 'queue'\nqueue = 'Mail'\nscript = 'a'")),
        refused(&format!("{script}[[trigger]]\nkind = 'queue'\nqueue = 'mail'\nscript = 'b'")),
        refused(&format!("{script}kind = 'module'\n[[trigger]]\nkind = 'queue'\nqueue = 'mail'\nscript = 'a'")),
        refused(&format!("{script}[[trigger]]\nkind = 'cron'\nscript = 'a'\nschedule = '* * *'")),
        refused(&format!("{script}{trigger}retry = {{ max_attempts = 0 }}")),
        refused(&format!("{script}{trigger}retry = {{ attempts = 1 }}")),
        refused(&format!("{script}{trigger}{trigger}")),
        refused(&format!("{script}[[queue]]\nname = 'Mail'")),
        refused(&format!("{script}[[queue]]\nname = 'mail'\nmax_concurrency = 0")),
        refused(&format!("{script}[[queue]]\nname = 'mail'\nmax = 1")),
        refused(&format!("{script}[[queue]]\nname = 'mail'\n[[queue]]\nname = 'mail'")),
        refused(&format!("{script}[[topic]]\nname = 'Room'")),
        refused(&format!("{script}[[topic]]\nname = 'room'\nexternal = true")),
        refused(&format!("{script}[[topic]]\nname = 'room'\nauth = 'token'")),
        refused(&format!("{script}[[topic]]\nname = 'room'\nexternal = true\nauth = 'all'")),
        refused(&format!("{script}[[topic]]\nname = 'room'\n[[topic]]\nname = 'room'")),
        refused(&format!("{script}[[script]]\nname = 'a'")),
        refused("app = "),
    ];
    insta::assert_snapshot!(errors.join("\n"), @r#"
                picloud.toml:1: missing key `app`
                picloud.toml:1: `Shop` cannot be a name: up to 63 of a-z, 0-9, `_` and `-`, beginning with a letter or a digit
                picloud.toml:2: unknown key `host` (did you mean `hosts`?)
                picloud.toml:2: unknown key `colour`: known are app, hosts, env, script, trigger, queue, topic
                picloud.toml:3: failed to read b.rhai: No such file or directory (os error 2)
                picloud.toml:4: unknown key `rout` (did you mean `route`?)
                picloud.toml:4: route `GTE /a`: `GTE` is not a method (did you mean `GET`?): expected one of ANY, GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS
                picloud.toml:4: route `a`: expected a path that begins with a slash, such as `/a`
                picloud.toml:5: either `route` or `routes`, not both
                picloud.toml:4: unknown variant `asink`, expected `sync` or `async`
                picloud.toml:5: a module is imported by other scripts and has no routes
                picloud.toml:4: unknown limit `timeout` (did you mean `timeout_ms`?)
                picloud.toml:4: limit `timeout_ms` is 300001: allowed is 1 to 300000
                picloud.toml:4: limits: invalid type: string "long", expected u64
                picloud.toml:4: secrets need a newer version of PiCloud than this one (0.1.0)
                picloud.toml:4: missing key `kind`
                picloud.toml:5: unknown variant `que`, expected one of `kv`, `topic`, `queue`, `cron`, `dead_letter`
                picloud.toml:4: missing key `queue`
                picloud.toml:6: unknown key `queues` (did you mean `queue`?)
                picloud.toml:4: missing key `script`
                picloud.toml:6: `Mail` is no name of a queue: use 1 to 63 lower-case letters, digits, `_` and `-`, beginning with a letter or digit
                picloud.toml:7: there is no script `b` in this file for the trigger to run
                picloud.toml:8: `a` is a module: it is imported by other scripts and no trigger can run it
                picloud.toml:7: `* * *` has 3 fields: a schedule has 5 (minute, hour, day of month, month, day of week), or 6 with seconds before them
                picloud.toml:8: `max_attempts` is 0: 1 to 100 are allowed
                picloud.toml:8: retry: unknown key `attempts` (did you mean `max_attempts`?)
                picloud.toml:8: there are two triggers `topic b` that run `a`
                picloud.toml:5: `Mail` cannot be a queue: use 1 to 63 lower-case letters, digits, `_` and `-`, beginning with a letter or digit
                picloud.toml:6: `max_concurrency` is 0: 1 to 1000 are allowed
                picloud.toml:6: unknown key `max`: known are name, max_concurrency
                picloud.toml:7: there are two queues `mail`
                picloud.toml:5: `Room` is no topic: give names (1 to 63 lower-case letters, digits, `_` and `-`, beginning with a letter or digit) joined by dots, `prefix.*` or `*`
                picloud.toml:5: `auth` is missing: an external topic is for everybody (`public`) or for who has a token (`token`)
                picloud.toml:6: `auth` is said of a topic that is not `external`: nobody can listen to it from outside
                picloud.toml:7: unknown variant `all`, expected `public` or `token`
                picloud.toml:7: there are two topics `room`
                picloud.toml:5: there are two scripts `a`
                picloud.toml:1: string values must be quoted, expected literal string
                "#);
}

#[test]
fn an_empty_folder_is_nothing_to_deploy() {
    let dir = folder(&[("notes.txt", "")]);
    let error = read(dir.path(), &Overrides::default()).expect_err("nothing").to_string();
    assert!(error.ends_with("holds neither a picloud.toml nor a .rhai file"), "{error}");
}
