//! How many files this process may have open, connections among them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// What everything but connections of clients takes: the database's, the binary's own, some to spare.
const OURS: u64 = 256;

/// Asks for as many as the system allows at most; most systems give a process few and let it ask for more.
/// Gives how many connections of clients there may be at once.
pub(super) fn raise() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        debug!(%error, "Failed to raise the limit of open files");
    }
    // None is no limit.
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if files < 4 * OURS {
        warn!(
            files,
            "Few files may be open at once: connections will wait. Raise it, for example with `ulimit -n 65536`"
        );
    }
    usize::try_from(files.saturating_sub(OURS).max(files / 2)).unwrap_or(usize::MAX)
}
