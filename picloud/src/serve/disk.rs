//! How much room there is for what the node writes: its data directory, and with it the embedded database. A database
//! elsewhere is watched there.

use std::{io, path::PathBuf, time::Duration};

use picloud_core::alert::Space;
use rustix::fs::statvfs;
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tracing::warn;

/// How often it is measured. Much is written in half a minute, but not the last twentieth of a disk.
const MEASURE_EVERY: Duration = Duration::from_secs(30);

/// The room that there is now, and from now on, for as long as anybody looks. None: it cannot be measured.
pub(super) fn watched(dir: PathBuf) -> watch::Receiver<Option<Space>> {
    let (sender, space) = watch::channel(told(measure(&dir, false)));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sleep(MEASURE_EVERY) => {}
                () = sender.closed() => return,
            }
            let was_short = sender.borrow().is_some_and(|space| space.is_short);
            let dir = dir.clone();
            // A disk of the network may take its time.
            match spawn_blocking(move || measure(&dir, was_short)).await {
                Ok(measured) => _ = sender.send_replace(told(measured)),
                Err(_) => return,
            }
        }
    });
    space
}

fn measure(dir: &std::path::Path, was_short: bool) -> io::Result<Space> {
    let disk = statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Ok(Space::measured(bytes(disk.f_bavail), bytes(disk.f_blocks), was_short))
}

fn told(measured: io::Result<Space>) -> Option<Space> {
    measured.inspect_err(|error| warn!(%error, "Failed to find out how full the disk is")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_disk_is_measured_and_one_that_is_not_there_is_not() {
        let space = measure(&std::env::temp_dir(), false).unwrap();
        assert!(space.size_bytes > 0 && space.available_bytes <= space.size_bytes, "{space:?}");
        assert!(measure(std::path::Path::new("/nowhere/at/all"), false).is_err());
    }
}
