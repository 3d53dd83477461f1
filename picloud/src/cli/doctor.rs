//! `picloud doctor`: whether a service could run here, and whether commands find theirs.

use std::{collections::BTreeMap, path::Path};

use reqwest::Method;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Connection, PgConnection};

use super::{
    Output,
    args::Global,
    print::{self, BAD, GOOD, QUIET},
};
use crate::{
    client::Client,
    config::{self, Config, Database},
    embedded::{
        Search,
        find::{self, NEWEST, OLDEST},
    },
    failure::Failure,
};

/// Less than this, and PostgreSQL may stop in the middle of the day.
const DISK_FREE_MIN_BYTES: u64 = 1024 * 1024 * 1024;

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    ok: bool,
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Check {
    fn good(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, ok: true, detail: detail.into(), next: None }
    }

    fn bad(check: &'static str, detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, ok: false, detail: detail.into(), next: Some(next.into()) }
    }
}

/// Looks at everything, prints it, and fails if anything is wrong.
pub(super) async fn run(global: &Global) -> Result<(), Failure> {
    let (config, _) = config::resolve(&global.sources(BTreeMap::new())?)?;
    let mut checks = vec![postgres(&config).await, data_dir(&config.data_dir), disk(&config.data_dir)];
    checks.extend(server(global).await);

    match global.output {
        Output::Json => print::list(&checks),
        Output::Table => print::text(&lines(&checks)),
    }
    match checks.iter().filter(|check| !check.ok).count() {
        0 => Ok(()),
        1 => Err(Failure::failed("one check failed")),
        failed => Err(Failure::failed(format!("{failed} checks failed"))),
    }
}

fn lines(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let (style, mark) = if check.ok { (GOOD, "✓") } else { (BAD, "✗") };
        text.push_str(&format!("{style}{mark}{style:#} {:10} {}\n", check.check, check.detail));
        for line in check.next.iter().flat_map(|next| next.lines()) {
            text.push_str(&format!("{QUIET}             {line}{QUIET:#}\n"));
        }
    }
    text
}

async fn postgres(config: &Config) -> Check {
    let name = "postgres";
    match &config.database {
        Database::Embedded => {
            // The version of a cluster that is there is checked when it is started, which says more.
            match find::choose(Search::system().installations(), None, &config.data_dir) {
                Ok(found) => Check::good(name, format!("PostgreSQL {} in {}", found.version, found.bindir.display())),
                Err(error) => {
                    let text = error.to_string();
                    let (detail, next) = text.split_once('\n').unwrap_or((&text, ""));
                    Check::bad(name, detail, next)
                }
            }
        }
        Database::Url { url, .. } => match server_version(url.expose()).await {
            Ok(major) if (OLDEST..=NEWEST).contains(&major) => {
                Check::good(name, format!("PostgreSQL {major} at {url}"))
            }
            Ok(major) => {
                Check::bad(name, format!("PostgreSQL {major} at {url}"), format!("use version {OLDEST} to {NEWEST}"))
            }
            Err(error) => {
                let next = "check DATABASE_URL, and that the database takes connections from here";
                Check::bad(name, format!("{url}: {error}"), next)
            }
        },
    }
}

async fn server_version(url: &str) -> Result<u32, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let number: String = sqlx::query_scalar("show server_version_num").fetch_one(&mut connection).await?;
    connection.close().await?;
    number.parse::<u32>().map(|number| number / 10_000).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn data_dir(dir: &Path) -> Check {
    let name = "data";
    let place = existing(dir);
    match tempfile::Builder::new().prefix(".doctor").tempfile_in(place) {
        Ok(_) if place == dir => Check::good(name, format!("{} can be written", dir.display())),
        Ok(_) => Check::good(name, format!("{} is not there yet and can be made", dir.display())),
        Err(error) => {
            let next = format!("let this user write to {}, or choose another with --data-dir", place.display());
            Check::bad(name, format!("{}: {error}", dir.display()), next)
        }
    }
}

fn disk(dir: &Path) -> Check {
    let name = "disk";
    match rustix::fs::statvfs(existing(dir)) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let detail = format!("{:.1} GiB free for {}", free as f64 / (1024.0 * 1024.0 * 1024.0), dir.display());
            if free >= DISK_FREE_MIN_BYTES {
                Check::good(name, detail)
            } else {
                Check::bad(name, detail, "make room, or choose another disk with --data-dir")
            }
        }
        Err(error) => Check::bad(name, format!("{}: {error}", dir.display()), "check that the disk is there"),
    }
}

/// The directory, or the nearest one above it that is there.
fn existing(dir: &Path) -> &Path {
    let found = dir.ancestors().find(|dir| dir.exists());
    found.filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Each needs what comes before it; the first that fails is the last that is told.
async fn server(global: &Global) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Err(failed) = ask(global, &mut checks).await {
        checks.push(failed);
    }
    checks
}

async fn ask(global: &Global, checks: &mut Vec<Check>) -> Result<(), Check> {
    let told = |check, failure: Failure| {
        Check::bad(check, failure.problem.sentence(), failure.next.as_deref().unwrap_or_default())
    };
    let client = global.target().and_then(Client::new).map_err(|failure| told("server", failure))?;
    let version: Value = client.get("/version").await.map_err(|failure| told("server", failure))?;
    let product = version.get("product").and_then(Value::as_str).unwrap_or("of an unknown version");
    checks.push(Check::good("server", format!("PiCloud {product} at {}", client.url())));

    let ready = client.send(client.request(Method::GET, "/readyz")).await.map_err(|failure| told("ready", failure))?;
    let ready: Value = ready.json().await.unwrap_or_default();
    let degraded: Vec<&str> =
        ready.get("degraded").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    checks.push(if degraded.is_empty() {
        Check::good("ready", "it can serve")
    } else {
        Check::good("ready", format!("it can serve, degraded: {}", degraded.join(", ")))
    });

    let _: Value = client.get("/api/v1/admin/instance").await.map_err(|failure| told("key", failure))?;
    checks.push(Check::good("key", "the server accepts it"));
    Ok(())
}
