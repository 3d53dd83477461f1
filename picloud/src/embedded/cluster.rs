//! The private cluster: making it, starting it, and taking over one that still runs.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tracing::{debug, info};

use super::{
    Account, Error, Installation, connect,
    layout::Layout,
    postmaster::{Postmaster, Shutdown},
    settings,
};

/// A log larger than this is put aside at a start.
const LOG_ROTATE_BYTES: u64 = 10 * 1024 * 1024;
/// How much of the log an error shows.
const LAST_WORDS_BYTES: u64 = 2_000;
/// How long the processes of a killed server may take to notice.
const ORPHANS_LEAVE_WITHIN: Duration = Duration::from_secs(20);
/// How long a server may run without letting us in before we start one of our own in its place.
const ADOPT_WITHIN: Duration = Duration::from_secs(10);
/// Recovery takes as long as it takes; someone who waits wants to hear of it.
const SAY_STILL_STARTING_EVERY: Duration = Duration::from_secs(10);

/// A cluster, its programs and whom it runs as.
#[derive(Debug)]
pub struct Cluster {
    installation: Installation,
    layout: Layout,
    account: Account,
    socket_dir: PathBuf,
}

/// Why a connection could not be had.
enum Refused {
    /// The server has ended.
    Ended(Option<std::process::ExitStatus>),
    /// It does not let us in, for as long as we cared to wait.
    Unreachable,
}

impl Cluster {
    pub(super) fn new(installation: Installation, layout: Layout, account: Account) -> Result<Self, Error> {
        let socket_dir = layout.socket_dir(&account)?;
        Ok(Self { installation, layout, account, socket_dir })
    }

    /// The server: the one that runs, or a new one, of a cluster that is made if there is none.
    pub(super) async fn bring_up(&self) -> Result<Postmaster, Error> {
        if let Some(running) = self.adopt().await? {
            return Ok(running);
        }
        if !self.layout.pgdata().exists() {
            self.create().await?;
        }
        self.launch().await
    }

    /// Makes the cluster. It appears whole or not at all: what an interrupted attempt left is thrown away.
    async fn create(&self) -> Result<(), Error> {
        let unfinished = self.layout.unfinished();
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(Error::io("remove", &unfinished))?;
        }
        fs::create_dir(&unfinished).map_err(Error::io("make", &unfinished))?;
        self.account.own(&unfinished)?;
        info!(
            postgres.version = %self.installation.version,
            "Making a database in {}, which takes a few seconds and happens once",
            self.layout.pgdata().display()
        );
        let mut initdb = self.command("initdb");
        initdb.arg("--pgdata").arg(&unfinished);
        initdb.args(["--username", settings::USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"]);
        initdb.args(["--data-checksums", "--no-instructions"]);
        let output = tokio::process::Command::from(initdb)
            .kill_on_drop(true)
            .output()
            .await
            .map_err(Error::io("run", self.installation.bindir.join("initdb")))?;
        if !output.status.success() {
            let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::Init { data_dir: self.layout.root().to_owned(), output });
        }
        fs::rename(&unfinished, self.layout.pgdata()).map_err(Error::io("rename", &unfinished))?;
        let root = self.layout.root();
        File::open(root).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", root))
    }

    /// The server that a killed service left running, once it lets us in.
    async fn adopt(&self) -> Result<Option<Postmaster>, Error> {
        let Some(mut running) = Postmaster::running_in(self.layout.pgdata()) else {
            self.forget_a_reused_pid()?;
            return Ok(None);
        };
        let pid = running.id();
        match wait_until_connected(&mut running, Some(ADOPT_WITHIN)).await {
            Ok(()) => {
                info!(postgres.pid = pid, "Took over the PostgreSQL that was still running");
                Ok(Some(running))
            }
            // It was on its way out.
            Err(Refused::Ended(_)) => Ok(None),
            Err(Refused::Unreachable) => {
                info!(postgres.pid = pid, "Stopping a PostgreSQL that runs but cannot be reached");
                stop(&mut running).await?;
                Ok(None)
            }
        }
    }

    /// Starts the server and waits until it takes connections, recovery included.
    pub(super) async fn launch(&self) -> Result<Postmaster, Error> {
        self.configure()?;
        let began = Instant::now();
        loop {
            let log_before = self.open_log()?.metadata().map_or(0, |log| log.len());
            let mut postmaster = self.spawn()?;
            let status = match wait_until_connected(&mut postmaster, None).await {
                Ok(()) => {
                    debug!(elapsed_ms = %began.elapsed().as_millis(), "PostgreSQL is up");
                    return Ok(postmaster);
                }
                Err(Refused::Ended(status)) => status.unwrap_or_default(),
                Err(Refused::Unreachable) => unreachable!("without a deadline we wait until it ends"),
            };
            let said = self.last_words(log_before);
            // Its predecessor was killed, and that one's processes still hold the shared memory.
            let crowded = said.contains("pre-existing shared memory block") || said.contains("is already in use");
            if !crowded || began.elapsed() > ORPHANS_LEAVE_WITHIN {
                return Err(Error::Exited { status, log: self.layout.log(), said });
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn spawn(&self) -> Result<Postmaster, Error> {
        let log = self.open_log()?;
        let log_too = log.try_clone().map_err(Error::io("open", self.layout.log()))?;
        let mut postgres = self.command("postgres");
        postgres.arg("-D").arg(self.layout.pgdata()).stdin(Stdio::null()).stdout(log).stderr(log_too);
        // A terminal's ctrl-C goes to everyone in the foreground group; the service must be the one to decide when
        // its database goes.
        postgres.process_group(0);
        let child = tokio::process::Command::from(postgres)
            .spawn()
            .map_err(Error::io("run", self.installation.bindir.join("postgres")))?;
        Ok(Postmaster::born(child, self.layout.pgdata(), &self.socket_dir))
    }

    /// A program of the installation, as the right user, without our environment: it holds our own secrets, and
    /// `PGDATA` and the like would change what is run.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.installation.bindir.join(program));
        command.env_clear().env("LC_ALL", "C").current_dir("/");
        for kept in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        self.account.assume(&mut command);
        command
    }

    fn configure(&self) -> Result<(), Error> {
        self.write("postgresql.conf", &settings::conf(&self.socket_dir))?;
        self.write("pg_hba.conf", settings::HBA)
    }

    /// Replaces a file of the cluster's as a whole.
    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.layout.pgdata().join(name);
        let draft = path.with_extension("conf.new");
        fs::write(&draft, text).map_err(Error::io("write", &draft))?;
        self.account.own(&draft)?;
        fs::rename(&draft, &path).map_err(Error::io("write", path))
    }

    fn open_log(&self) -> Result<File, Error> {
        let path = self.layout.log();
        if path.metadata().is_ok_and(|log| log.len() > LOG_ROTATE_BYTES) {
            fs::rename(&path, path.with_extension("log.1")).map_err(Error::io("rename", &path))?;
        }
        OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(Error::io("open", path))
    }

    /// What it logged since then, or the end of it.
    fn last_words(&self, since: u64) -> String {
        let mut said = Vec::new();
        if let Ok(mut log) = File::open(self.layout.log()) {
            let length = log.metadata().map_or(0, |log| log.len());
            let from = since.max(length.saturating_sub(LAST_WORDS_BYTES));
            let _ = log.seek(SeekFrom::Start(from)).and_then(|_| log.read_to_end(&mut said));
        }
        String::from_utf8_lossy(&said).trim().to_owned()
    }

    /// PostgreSQL does not start while the process named in its file exists, and after a crash of the machine that
    /// can be any process. We hold the service's lock, and the process named is not a server of this directory.
    fn forget_a_reused_pid(&self) -> Result<(), Error> {
        let path = self.layout.pgdata().join("postmaster.pid");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
            _ => Ok(()),
        }
    }
}

/// Ends a server in good order; when that takes too long, in a way that the next start recovers from.
pub(super) async fn stop(postmaster: &mut Postmaster) -> Result<(), Error> {
    if postmaster.shut_down(Shutdown::Fast, Duration::from_secs(30)).await
        || postmaster.shut_down(Shutdown::Immediate, Duration::from_secs(10)).await
    {
        return Ok(());
    }
    Err(Error::WontStop { pid: postmaster.id() })
}

/// A server that starts, recovers or stops refuses connections meanwhile; only trying tells.
async fn wait_until_connected(postmaster: &mut Postmaster, patience: Option<Duration>) -> Result<(), Refused> {
    let began = Instant::now();
    let mut say_next = SAY_STILL_STARTING_EVERY;
    let mut pause = Duration::from_millis(5);
    let socket_dir: &Path = &postmaster.socket_dir.clone();
    loop {
        let refusal = match connect::try_connect(socket_dir).await {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        tokio::select! {
            status = postmaster.ended() => return Err(Refused::Ended(status)),
            () = sleep(pause) => pause = (pause * 2).min(Duration::from_millis(100)),
        }
        // One that answers is starting or stopping and will be done; one that does not may never be reached.
        let answers = matches!(refusal, sqlx::Error::Database(_));
        if !answers && patience.is_some_and(|patience| began.elapsed() > patience) {
            return Err(Refused::Unreachable);
        }
        if began.elapsed() > say_next {
            say_next += SAY_STILL_STARTING_EVERY;
            info!("Waiting for PostgreSQL: {refusal}");
        }
    }
}
