//! A running PostgreSQL server: ours by birth or by adoption.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{process::Child, time::sleep};

/// How often an adopted server is looked at; we are not its parent, so the kernel does not tell us.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The same while we wait for it to end.
const LOOK_EVERY_WHILE_ENDING: Duration = Duration::from_millis(20);

/// The server's first process, which all others follow. Dropped, it is asked to stop.
#[derive(Debug)]
pub(super) struct Postmaster {
    pid: Pid,
    pub(super) socket_dir: PathBuf,
    /// What its command line names; tells it from whoever got its process id later.
    pgdata: PathBuf,
    /// Absent when another service started it.
    child: Option<Child>,
    /// It has ended, or is to outlive us.
    let_go: bool,
}

/// How to end a server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shutdown {
    /// Ends connections, writes everything out.
    Fast,
    /// Ends at once; the next start recovers from the log.
    Immediate,
}

impl Postmaster {
    /// One that we started.
    pub(super) fn born(child: Child, pgdata: &Path, socket_dir: &Path) -> Self {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        Self {
            pid: pid.expect("a child that was not waited for has an id"),
            socket_dir: socket_dir.to_owned(),
            pgdata: pgdata.to_owned(),
            child: Some(child),
            let_go: false,
        }
    }

    /// What `postmaster.pid` names, if that is running.
    pub(super) fn running_in(pgdata: &Path) -> Option<Self> {
        let text = fs::read_to_string(pgdata.join("postmaster.pid")).ok()?;
        let (pid, socket_dir) = parse_pid_file(&text)?;
        let found = || Self { pid, socket_dir, pgdata: pgdata.to_owned(), child: None, let_go: false };
        is_postmaster_of(pid, pgdata).then(found)
    }

    /// The process id as a plain number.
    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Leaves it running.
    pub(super) fn abandon(mut self) {
        self.let_go = true;
    }

    /// Resolves when the server has ended.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        self.ended_looking_every(LOOK_EVERY).await
    }

    /// Asks it to end, and waits until it has. False: it has not within `patience`.
    pub(super) async fn shut_down(&mut self, how: Shutdown, patience: Duration) -> bool {
        self.signal(how);
        self.ends_within(patience).await
    }

    /// Waits until it has ended, without asking. False: it has not within `patience`.
    pub(super) async fn ends_within(&mut self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.ended_looking_every(LOOK_EVERY_WHILE_ENDING)).await.is_ok()
    }

    /// Whether another service started it.
    pub(super) fn is_adopted(&self) -> bool {
        self.child.is_none()
    }

    fn signal(&self, how: Shutdown) {
        let signal = match how {
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
        };
        // It can have ended meanwhile, which is what we want of it.
        let _ = kill_process(self.pid, signal);
    }

    async fn ended_looking_every(&mut self, pause: Duration) -> Option<ExitStatus> {
        let status = match &mut self.child {
            Some(child) => child.wait().await.ok(),
            None => {
                while is_postmaster_of(self.pid, &self.pgdata) {
                    sleep(pause).await;
                }
                None
            }
        };
        // The process id is anyone's from here on.
        self.let_go = true;
        status
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        if !self.let_go {
            self.signal(Shutdown::Fast);
        }
    }
}

/// Lines: process, data directory, start time, port, socket directory, …
fn parse_pid_file(text: &str) -> Option<(Pid, PathBuf)> {
    let mut lines = text.lines();
    let pid = Pid::from_raw(lines.next()?.trim().parse().ok().filter(|pid| *pid > 0)?)?;
    let socket_dir = lines.nth(3)?.trim();
    (!socket_dir.is_empty()).then(|| (pid, PathBuf::from(socket_dir)))
}

/// After a crash of the machine the id in the file can be anyone's; and a zombie has no command line.
fn is_postmaster_of(pid: Pid, pgdata: &Path) -> bool {
    let pid = pid.as_raw_nonzero();
    let wanted = pgdata.as_os_str().as_encoded_bytes();
    if Path::new("/proc/self/cmdline").exists() {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        return arguments.split(|byte| *byte == 0).any(|argument| argument == wanted);
    }
    let ps = Command::new("ps").args(["-p", &pid.to_string(), "-o", "command="]).stderr(Stdio::null()).output();
    ps.is_ok_and(|output| output.stdout.windows(wanted.len()).any(|part| part == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_and_its_socket_are_read_from_the_pid_file() {
        let text = "4711\n/data/postgres\n1760000000\n5432\n/data/run\n\n  5432001 3\nready   \n";
        assert_eq!(parse_pid_file(text), Some((Pid::from_raw(4711).unwrap(), PathBuf::from("/data/run"))));
        assert_eq!(parse_pid_file("4711\n/data/postgres\n"), None, "still being written");
        assert_eq!(parse_pid_file("-1\n\n\n\n/run"), None);
    }

    #[test]
    fn a_process_id_that_came_again_is_not_taken_for_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::process::id();
        let text = format!("{own}\n{0}\n1760000000\n5432\n{0}\n", dir.path().display());
        fs::write(dir.path().join("postmaster.pid"), text).unwrap();
        assert!(Postmaster::running_in(dir.path()).is_none());
    }
}
