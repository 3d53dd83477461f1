use std::{collections::BTreeMap, fs};

use picloud_workers::mail;

use super::*;

fn gather(
    flags: &[(&'static str, &str)],
    variables: &[(&str, &str)],
    file: &str,
) -> Result<(Config, Vec<Shown>), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("picloud-server.toml");
    fs::write(&path, file).unwrap();
    let flags: BTreeMap<_, _> = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let found = Sources::gather(flags, variables, Some(&path)).and_then(|sources| resolve(&sources));
    let plain = |text: String| text.replace(path.to_str().unwrap(), "picloud-server.toml");
    found
        .map(|(config, shown)| {
            let shown = shown.into_iter().map(|row| Shown { from: plain(row.from), ..row }).collect();
            (config, shown)
        })
        .map_err(|error| plain(error.to_string()))
}

fn refused(flags: &[(&'static str, &str)], variables: &[(&str, &str)], file: &str) -> String {
    gather(flags, variables, file).expect_err("to be refused")
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = "listen = '127.0.0.1:1'\nadmin_listen = '127.0.0.1:2'\ndata_dir = '/from/file'\n";
    let variables = [("PICLOUD_LISTEN", "127.0.0.1:3"), ("PICLOUD_ADMIN_LISTEN", "127.0.0.1:4"), ("PICLOUD_LOG", "")];
    let (config, shown) = gather(&[("listen", "127.0.0.1:5")], &variables, file).unwrap();
    assert_eq!(config.listen.port(), 5);
    assert_eq!(config.control_plane, ControlPlane::Listen(([127, 0, 0, 1], 4).into()));
    insta::assert_snapshot!(table(&shown), @r"
    listen                    127.0.0.1:5            --listen
    admin_listen              127.0.0.1:4            PICLOUD_ADMIN_LISTEN
    admin_host                none                   default
    data_dir                  /from/file             data_dir in picloud-server.toml
    database_url              embedded               default
    database_listen_url       same as database_url   default
    public_url                http://127.0.0.1:5     default
    admin_url                 http://127.0.0.1:4     default
    trusted_proxies           none                   default
    role                      all                    default
    master_key_file           /from/file/master.key  default
    keep_runs                 30d                    default
    keep_data                 90d                    default
    archive_dir               none                   default
    smtp_url                  none                   default
    mail_from                 none                   default
    log                       info                   default
    log_format                text                   default
    otlp_endpoint             off                    default
    otlp_headers              none                   default
    otlp_ratio                1                      default
    otel_service_name         picloud                default
    otel_resource_attributes  none                   default
    ");
}

#[test]
fn a_password_in_a_url_is_not_shown() {
    let url = "postgres://me:hunter2@db.example.com/pi";
    let (config, shown) = gather(&[], &[("DATABASE_URL", url)], "").unwrap();
    assert!(!table(&shown).contains("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
    let Database::Url { url: kept, listen } = config.database else { panic!("a URL was given") };
    assert_eq!((kept.expose(), listen.expose()), (url, url));
    let error = refused(&[], &[("DATABASE_URL", "mysql://me:hunter2@db/pi")], "");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn the_password_of_the_server_for_mail_is_not_shown() {
    let url = "smtp://me:hunter2@mail.example.com";
    let variables = [("PICLOUD_SMTP_URL", url), ("PICLOUD_MAIL_FROM", "PiCloud <pi@example.com>")];
    let (config, shown) = gather(&[], &variables, "").unwrap();
    assert!(!table(&shown).contains("hunter2") && !format!("{config:?}").contains("hunter2"));
    assert!(table(&shown).contains("smtp://me:****@mail.example.com:587?tls=required"), "{}", table(&shown));
    let mail = config.mail.unwrap();
    assert_eq!((mail.server, mail.sender.address.as_str()), (mail::Server::read(url).unwrap(), "pi@example.com"));
}

#[test]
fn what_cannot_be_used_is_named_with_its_place() {
    let errors = [
        refused(&[], &[], "lsten = '127.0.0.1:1'"),
        refused(&[], &[], "colour = 'red'"),
        refused(&[], &[], "listen = 8080"),
        refused(&[], &[], "listen = oops"),
        refused(&[], &[("PICLOUD_LISTNE", "127.0.0.1:1")], ""),
        refused(&[("listen", ":8080")], &[], ""),
        refused(&[], &[("PICLOUD_ROLE", "manager")], ""),
        refused(&[], &[], "role = 'boss'"),
        refused(&[("log", "picloud=loud")], &[], ""),
        refused(&[("listen", "0.0.0.0:80"), ("admin_listen", "0.0.0.0:80")], &[], ""),
        refused(&[("admin_host", "admin.test"), ("admin_listen", "0.0.0.0:81")], &[], ""),
        refused(&[], &[("PICLOUD_DATABASE_LISTEN_URL", "postgres://db/pi")], ""),
        refused(&[("public_url", "example.com")], &[], ""),
        refused(&[("otlp_endpoint", "https://me:hunter2@otlp.example.com")], &[], ""),
        refused(&[("otlp_ratio", "10%")], &[], ""),
        refused(&[], &[("PICLOUD_SMTP_URL", "http://me:hunter2@mail.example.com")], ""),
        refused(&[("smtp_url", "smtp://me:25/hunter2@mail.example.com")], &[], ""),
        refused(&[], &[("PICLOUD_SMTP_URL", "smtp://me:hunter2@mail.example.com")], ""),
        refused(&[("mail_from", "pi@example.com")], &[], ""),
        refused(&[("mail_from", "PiCloud")], &[], ""),
        refused(&[], &[("PICLOUD_KEEP_RUNS", "30")], ""),
        refused(&[], &[("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")], ""),
        refused(&[], &[("OTEL_RESOURCE_ATTRIBUTES", "a=b,c")], ""),
    ];
    assert!(!errors.concat().contains("hunter2"), "{errors:?}");
    insta::assert_snapshot!(errors.join("\n---\n"), @r#"
    picloud-server.toml sets `lsten`, which is not a setting (did you mean `listen`?)
    ---
    picloud-server.toml sets `colour`, which is not a setting
    ---
    listen in picloud-server.toml is `8080`: expected a string, in quotes; got integer
    ---
    failed to read picloud-server.toml: TOML parse error at line 1, column 10
      |
    1 | listen = oops
      |          ^^^^
    string values must be quoted, expected literal string

    ---
    the environment sets `PICLOUD_LISTNE`, which is not a setting (did you mean `PICLOUD_LISTEN`?)
    ---
    --listen is `:8080`: expected an address and a port, such as 127.0.0.1:8080, or 0.0.0.0:8080 for every address
    ---
    PICLOUD_ROLE is `manager`: this version cannot yet divide its work, so a node cannot be only `manager`: use `all`
    ---
    role in picloud-server.toml is `boss`: expected one of all, manager, orchestrator, executor
    ---
    --log is `picloud=loud`: expected a filter such as `info` or `info,picloud_workers=debug` (error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5)
    ---
    data plane (--listen) and control plane (--admin-listen) are both at 0.0.0.0:80: give them different ports, or the control plane a host name of its own with --admin-host
    ---
    --admin-host and --admin-listen cannot both be set: the control plane is either at an address of its own or at the data plane's
    ---
    PICLOUD_DATABASE_LISTEN_URL is set without --database-url: the embedded PostgreSQL has no other way in
    ---
    --public-url is `example.com`: expected http:// or https:// and a host, without a path, such as https://example.com
    ---
    --otlp-endpoint is `https://me:****@otlp.example.com/`: expected the URL of a collector that takes OTLP over HTTP, such as http://localhost:4318; what it asks for as a key goes into OTEL_EXPORTER_OTLP_HEADERS
    ---
    --otlp-ratio is `10%`: expected which part of all traces is told, from 0 to 1, such as 0.1
    ---
    PICLOUD_SMTP_URL is `http://me:****@mail.example.com/`: expected smtp://user:password@host:587, or smtps:// for TLS from the beginning, and nothing behind the port; what is not a letter or a digit in the password is percent-encoded, such as %40 for @
    ---
    --smtp-url is `****`: expected smtp://user:password@host:587, or smtps:// for TLS from the beginning, and nothing behind the port; what is not a letter or a digit in the password is percent-encoded, such as %40 for @
    ---
    PICLOUD_SMTP_URL is set without --mail-from: say from which address mail is, such as pi@example.com
    ---
    --mail-from is set without --smtp-url: say which server takes mail, such as smtp://user:password@host:587
    ---
    --mail-from is `PiCloud`: expected an address such as pi@example.com, or PiCloud <pi@example.com>
    ---
    PICLOUD_KEEP_RUNS is `30`: expected hours or days such as 12h or 90d, or `forever`
    ---
    OTEL_EXPORTER_OTLP_HEADERS is `****`: expected name=value with commas between them; part 1 is not
    ---
    OTEL_RESOURCE_ATTRIBUTES is `a=b,c`: expected name=value with commas between them; part 2 is not
    "#);
}

#[test]
fn variables_that_kubernetes_makes_are_let_be() {
    gather(&[], &[("PICLOUD_PORT", "tcp://10.0.0.1:8080"), ("PICLOUD_SERVICE_HOST", "10.0.0.1")], "").unwrap();
}

#[test]
fn the_admin_url_follows_from_where_the_control_plane_is() {
    let url = |flags: &[(&'static str, &str)]| gather(flags, &[], "").unwrap().0.admin_url;
    assert_eq!(url(&[]), "http://127.0.0.1:8081");
    assert_eq!(url(&[("admin_listen", "0.0.0.0:9000")]), "http://localhost:9000");
    assert_eq!(url(&[("admin_host", "admin.localhost")]), "http://admin.localhost:8080");
    let behind_a_proxy = [("admin_host", "admin.example.com"), ("public_url", "https://example.com")];
    assert_eq!(url(&behind_a_proxy), "https://admin.example.com");
}

#[test]
fn a_file_that_was_named_has_to_be_there() {
    let error = Sources::gather(BTreeMap::new(), [], Some("/nowhere/server.toml".as_ref())).expect_err("absent");
    assert!(error.to_string().contains("/nowhere/server.toml"), "{error}");
}
