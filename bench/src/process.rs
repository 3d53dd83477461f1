//! Services as processes of their own: started, waited for, watched, ended.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

/// A service that answers on a port of loopback.
pub struct Service {
    child: Child,
    pub port: u16,
}

impl Service {
    /// Starts it and waits until `path` answers 200.
    pub async fn start(mut command: Command, port: u16, log: &Path, path: &str) -> anyhow::Result<Self> {
        let log = fs::File::create(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let child = command.spawn().context("failed to start a service")?;
        let mut service = Self { child, port };
        service.wait_for(path, Duration::from_secs(60)).await?;
        Ok(service)
    }

    /// Waits until a path answers 200.
    pub async fn wait_for(&mut self, path: &str, at_most: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                bail!("a service ended with {status} instead of answering");
            }
            if get(self.port, path).await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return Ok(());
            }
            sleep(Duration::from_millis(2)).await;
        }
        bail!("a service did not answer {path} within {at_most:?}")
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Ends it as a service manager would.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid() as i32) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        timeout(Duration::from_secs(40), self.child.wait()).await.context("a service did not end")??;
        Ok(())
    }
}

/// A port that nobody listens on at the moment.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn get(port: u16, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Resident memory of a process, in MiB.
pub fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib / 1024.0)
}

/// Processor time a process and all its descendants have used, in seconds.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let mut all = vec![(pid, 0_u32, 0_u64)];
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(Ok(id)) = entry.file_name().to_str().map(str::parse::<u32>) else { continue };
        // A process may end while we look.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, fields)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let number = |n: usize| fields.get(n).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        all.push((id, number(1) as u32, number(11) + number(12)));
    }
    let mut family = vec![pid];
    let mut used = 0;
    while let Some(parent) = family.pop() {
        used += all.iter().filter(|(id, _, _)| *id == parent).map(|(_, _, ticks)| ticks).sum::<u64>();
        family.extend(all.iter().filter(|(_, of, _)| *of == parent).map(|(id, _, _)| *id));
    }
    Ok(used as f64 / ticks)
}
