//! A folder for a service's data, and the command line in it. Nothing that runs in it outlives it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

/// The binary under test.
pub const PICLOUD: &str = env!("CARGO_BIN_EXE_picloud");

/// A folder of one test.
pub struct Home {
    dir: TempDir,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("picloud-e2e.").tempdir().unwrap();
        // The unprivileged user that root runs PostgreSQL as has to pass through.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        Self { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The service's data directory.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// A file below it, made with what is needed above it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The binary, to be run here and to know of nothing but this folder.
    pub fn command(&self) -> Command {
        let mut command = Command::new(PICLOUD);
        self.prepare(&mut command);
        command
    }

    /// Any program, to be run here with this folder's data directory.
    pub fn prepare(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PICLOUD_") {
                command.env_remove(name);
            }
        }
        command.env_remove("DATABASE_URL").env("PICLOUD_DATA_DIR", self.data()).env("NO_COLOR", "1");
        command.env("XDG_CONFIG_HOME", self.path().join("config"));
        command.current_dir(self.path());
    }

    /// Runs the command line to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &BTreeMap::new()).await
    }

    /// The same with further variables.
    pub async fn run_with(&self, arguments: &[&str], variables: &BTreeMap<&str, String>) -> Output {
        let mut command = self.command();
        command.args(arguments).envs(variables);
        tokio::process::Command::from(command).kill_on_drop(true).output().await.unwrap()
    }

    /// Runs the command line with something to read on stdin.
    pub async fn run_reading(&self, arguments: &[&str], stdin: &str) -> Output {
        self.run_reading_bytes(arguments, stdin.as_bytes()).await
    }

    /// The same with what is no text.
    pub async fn run_reading_bytes(&self, arguments: &[&str], stdin: &[u8]) -> Output {
        let mut command = tokio::process::Command::from(self.command());
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin).await.unwrap();
        child.wait_with_output().await.unwrap()
    }

    /// Runs the command line, which must succeed, and gives what it printed.
    pub async fn picloud(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "picloud {}: {}", arguments.join(" "), told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The process of this folder's own PostgreSQL; none when there is none.
    pub fn postmaster(&self) -> Option<Pid> {
        let file = fs::read_to_string(self.data().join("postgres/postmaster.pid")).ok()?;
        let pid = Pid::from_raw(file.lines().next()?.parse().ok()?)?;
        // The number may be another's by now.
        command_line(pid).contains(self.path().to_str().unwrap()).then_some(pid)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(pid) = self.postmaster() {
            let _ = kill_process(pid, Signal::QUIT);
            while !command_line(pid).is_empty() {
                std::thread::yield_now();
            }
        }
    }
}

/// Everything that a command said.
pub fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Empty for a process that is gone, and for one that only waits to be reaped.
pub fn command_line(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default()
}
