//! The embedded PostgreSQL, with real processes.

#![expect(clippy::unwrap_used, reason = "a failing unwrap in a test is the failing test")]

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use picloud::embedded::{Embedded, Error, Search};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::time::timeout;

/// A data directory. When the test ends, however it ends, whatever still serves it is killed.
struct Home {
    dir: TempDir,
    data: PathBuf,
}

impl Home {
    fn new() -> Self {
        Self::named("data")
    }

    fn named(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The unprivileged user that root runs PostgreSQL as has to pass through.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let data = dir.path().join(name);
        Self { dir, data }
    }

    async fn start(&self) -> Result<Embedded, Error> {
        let search = Search::system();
        timeout(Duration::from_secs(60), Embedded::start(&self.data, &search)).await.expect("starts within a minute")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.data.join("postgres.log")).unwrap_or_default()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let Ok(pid_file) = fs::read_to_string(self.data.join("postgres/postmaster.pid")) else { return };
        let Some(pid) = pid_file.lines().next().and_then(|line| line.parse().ok()).and_then(Pid::from_raw) else {
            return;
        };
        if command_line(pid).contains(self.dir.path().to_str().unwrap()) {
            let _ = kill_process(pid, Signal::QUIT);
            while !command_line(pid).is_empty() {
                std::thread::yield_now();
            }
        }
    }
}

/// Empty for a process that is gone, and for one that only waits to be reaped.
fn command_line(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default()
}

fn pid_of(embedded: &Embedded) -> Pid {
    let pid = embedded.pid().borrow().expect("it is up");
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

async fn connect(embedded: &Embedded) -> PgConnection {
    PgConnection::connect_with(&embedded.options()).await.unwrap()
}

async fn keep_a_note(embedded: &Embedded, note: &str) {
    let mut connection = connect(embedded).await;
    sqlx::query("create table if not exists note (text text)").execute(&mut connection).await.unwrap();
    sqlx::query("insert into note values ($1)").bind(note).execute(&mut connection).await.unwrap();
}

async fn notes(embedded: &Embedded) -> Vec<String> {
    let mut connection = connect(embedded).await;
    sqlx::query_scalar("select text from note order by text").fetch_all(&mut connection).await.unwrap()
}

async fn setting(embedded: &Embedded, name: &str) -> String {
    let mut connection = connect(embedded).await;
    sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn the_first_start_makes_a_durable_private_database() {
    let home = Home::new();
    let embedded = home.start().await.unwrap();

    for name in ["fsync", "synchronous_commit", "full_page_writes", "data_checksums"] {
        assert_eq!(setting(&embedded, name).await, "on", "{name}");
    }
    assert_eq!(setting(&embedded, "listen_addresses").await, "");
    assert_eq!(setting(&embedded, "server_encoding").await, "UTF8");
    assert_eq!(setting(&embedded, "lc_collate").await, "C");
    let sockets = fs::metadata(home.data.join("run")).unwrap();
    assert_eq!(sockets.permissions().mode() & 0o777, 0o700);
    let by_url = PgConnection::connect(&embedded.url()).await.unwrap();
    by_url.close().await.unwrap();

    let pid = pid_of(&embedded);
    embedded.stop().await.unwrap();
    assert_eq!(command_line(pid), "", "it stops with the service");
    assert!(!home.data.join("postgres/postmaster.pid").exists(), "and in good order");
}

#[tokio::test]
async fn it_never_runs_as_root_nor_in_our_process_group() {
    let home = Home::new();
    let embedded = home.start().await.unwrap();
    let pid = pid_of(&embedded);
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(line("Uid:").iter().all(|uid| uid != "0"), "{status}");
    if rustix::process::geteuid().is_root() {
        assert!(line("Gid:").iter().all(|gid| gid != "0"), "{status}");
        assert_eq!(line("Groups:"), Vec::<String>::new(), "root's other groups are given up too");
    }
    assert_eq!(rustix::process::getpgid(Some(pid)).unwrap(), pid);
    let environment = fs::read_to_string(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap();
    assert!(!environment.contains("CARGO"), "our environment is not its business: {environment}");
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_what_was_stored() {
    let home = Home::named("my data, it's \"here\"");
    let embedded = home.start().await.unwrap();
    keep_a_note(&embedded, "first").await;
    embedded.stop().await.unwrap();

    let embedded = home.start().await.unwrap();
    assert_eq!(notes(&embedded).await, ["first"]);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_killed_service_left_running_is_taken_over() {
    let home = Home::new();
    let embedded = home.start().await.unwrap();
    keep_a_note(&embedded, "before").await;
    let pid = pid_of(&embedded);
    embedded.abandon().await.unwrap();
    assert_ne!(command_line(pid), "", "it outlives the service");

    let embedded = home.start().await.unwrap();
    assert_eq!(pid_of(&embedded), pid, "the same server");
    assert_eq!(notes(&embedded).await, ["before"]);
    embedded.stop().await.unwrap();
    assert_eq!(command_line(pid), "", "an adopted server stops with the service too");
}

#[tokio::test]
async fn a_killed_server_is_recovered_at_the_next_start() {
    let home = Home::new();
    let embedded = home.start().await.unwrap();
    keep_a_note(&embedded, "acknowledged").await;
    let pid = pid_of(&embedded);
    embedded.abandon().await.unwrap();
    kill_process(pid, Signal::KILL).unwrap();

    let embedded = home.start().await.unwrap();
    assert_ne!(pid_of(&embedded), pid);
    assert_eq!(notes(&embedded).await, ["acknowledged"]);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_killed_under_a_running_service_comes_back() {
    let home = Home::new();
    let embedded = home.start().await.unwrap();
    keep_a_note(&embedded, "acknowledged").await;
    let mut pid = embedded.pid();
    let killed = pid_of(&embedded);
    kill_process(killed, Signal::KILL).unwrap();

    let back = pid.wait_for(|now| now.is_some_and(|now| now != killed.as_raw_nonzero().get().unsigned_abs()));
    timeout(Duration::from_secs(60), back).await.expect("comes back within a minute").unwrap();
    assert_eq!(notes(&embedded).await, ["acknowledged"]);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_dropped_handle_asks_the_server_to_stop_and_the_next_start_waits_for_it() {
    let home = Home::new();
    let embedded = home.start().await.unwrap();
    let pid = pid_of(&embedded);
    drop(embedded);

    let embedded = home.start().await.unwrap();
    assert_ne!(pid_of(&embedded), pid);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_service_on_one_directory_is_refused_by_name() {
    let home = Home::new();
    let embedded = home.start().await.unwrap();
    let refused = home.start().await.expect_err("the first one has it").to_string();
    let data = home.data.canonicalize().unwrap();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    assert!(refused.contains(data.to_str().unwrap()), "{refused}");
    embedded.stop().await.unwrap();
    home.start().await.expect("free again").stop().await.unwrap();
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_gets_its_socket_elsewhere() {
    let home = Home::named(&format!("{0}/{0}", "long".repeat(20)));
    fs::create_dir_all(home.data.parent().unwrap()).unwrap();
    let embedded = home.start().await.unwrap();
    keep_a_note(&embedded, "far").await;
    assert!(!home.data.join("run").exists());
    let sockets = PathBuf::from(setting(&embedded, "unix_socket_directories").await.trim_matches('"'));
    assert_eq!(fs::metadata(&sockets).unwrap().permissions().mode() & 0o777, 0o700);
    embedded.stop().await.unwrap();
    fs::remove_dir(sockets).unwrap();
}

#[tokio::test]
async fn what_an_interrupted_first_start_left_is_no_hindrance() {
    let home = Home::new();
    fs::create_dir_all(home.data.join("postgres.unfinished/base")).unwrap();
    home.start().await.unwrap().stop().await.unwrap();
    assert!(!home.data.join("postgres.unfinished").exists());
}

#[tokio::test]
async fn a_process_id_that_came_again_does_not_keep_the_server_from_starting() {
    let home = Home::new();
    home.start().await.unwrap().stop().await.unwrap();
    // As after a power cut: the file is there, and its number is somebody's.
    let stale = format!("{}\n/elsewhere\n1\n5432\n/elsewhere\n\n0 0\nready\n", std::process::id());
    fs::write(home.data.join("postgres/postmaster.pid"), stale).unwrap();
    home.start().await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn without_an_installation_it_says_how_to_get_one() {
    let home = Home::new();
    let nowhere = Search { path: OsString::new(), places: Vec::new() };
    let error = Embedded::start(&home.data, &nowhere).await.expect_err("nothing to run").to_string();
    assert!(error.contains("found no PostgreSQL 14 to 18"), "{error}");
    for command in ["apt install postgresql", "dnf install postgresql-server", "brew install", "--database-url"] {
        assert!(error.contains(command), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let home = Home::new();
    home.start().await.unwrap().stop().await.unwrap();
    fs::write(home.data.join("postgres/local.conf"), "shared_buffers = 'lots'\n").unwrap();
    let error = home.start().await.expect_err("a bad setting").to_string();
    assert!(error.contains("shared_buffers"), "{error}");
    assert!(error.contains("postgres.log"), "{error}");
    assert!(home.log().contains("shared_buffers"));
}

#[tokio::test]
async fn a_place_its_user_cannot_reach_is_named() {
    if !rustix::process::geteuid().is_root() {
        // Only root hands PostgreSQL to someone else.
        return;
    }
    let home = Home::new();
    fs::set_permissions(home.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let error = home.start().await.expect_err("closed to it").to_string();
    let closed: &Path = &home.dir.path().canonicalize().unwrap();
    assert!(error.contains(closed.to_str().unwrap()), "{error}");
    assert!(error.contains("--data-dir"), "{error}");
}
