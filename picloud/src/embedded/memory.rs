//! How much memory there is for the private cluster.

use std::{fs, path::Path};

use rustix::system::sysinfo;

const MIB: u64 = 1 << 20;

/// What PostgreSQL keeps of its files, in MiB: an eighth of the memory, as the rest of the machine is somebody else's, and the
/// kernel keeps the same files too. It takes what it uses, and no sooner.
pub(super) fn shared_buffers_mib() -> u64 {
    let machine = sysinfo();
    let total = u64::from(machine.mem_unit) * machine.totalram as u64;
    shared_buffers_of(total.min(allowed().unwrap_or(u64::MAX)))
}

fn shared_buffers_of(memory: u64) -> u64 {
    (memory / 8 / MIB).clamp(128, 1_024)
}

/// What this process and its like may take together at most, where a container or a service manager says so (cgroup v2).
fn allowed() -> Option<u64> {
    let ours = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = ours.lines().find_map(|line| line.strip_prefix("0::/"))?;
    limit_of(Path::new("/sys/fs/cgroup"), path)
}

/// The least limit of a group and those that it lies in, for they hold for it as well.
fn limit_of(root: &Path, path: &str) -> Option<u64> {
    let folder = root.join(path);
    let limits = folder.ancestors().take_while(|folder| folder.starts_with(root));
    limits.filter_map(|folder| fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_an_eighth_but_never_next_to_nothing_nor_too_much() {
        for (memory_mib, buffers_mib) in [(256, 128), (1_024, 128), (4_096, 512), (8_192, 1_024), (65_536, 1_024)] {
            assert_eq!(shared_buffers_of(memory_mib * MIB), buffers_mib, "{memory_mib}");
        }
    }

    #[test]
    fn the_least_limit_of_a_group_and_those_around_it_holds() {
        let root = tempfile::tempdir().expect("a folder");
        let group = "system.slice/picloud.service";
        fs::create_dir_all(root.path().join(group)).expect("made");
        let limit =
            |path: &str, limit: &str| fs::write(root.path().join(path).join("memory.max"), limit).expect("written");
        assert_eq!(limit_of(root.path(), group), None);
        limit("system.slice", "max\n");
        assert_eq!(limit_of(root.path(), group), None);
        limit("", "536870912\n");
        assert_eq!((limit_of(root.path(), group), limit_of(root.path(), "")), (Some(512 * MIB), Some(512 * MIB)));
        limit(group, "268435456\n");
        assert_eq!((limit_of(root.path(), group), limit_of(root.path(), "")), (Some(256 * MIB), Some(512 * MIB)));
    }
}
