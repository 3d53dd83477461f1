//! Which PostgreSQL installations the machine has, and which of them to use.
//!
//! Distributions keep the server's programs off the PATH, several versions side by side, each in a place of its own; so
//! we ask `pg_config`, look along the PATH and then in the places we know.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::Error;

/// The oldest major version that will do.
pub const OLDEST: u32 = 14;
/// The newest one we are tested with.
pub const NEWEST: u32 = 18;

/// Where packages put the server's programs; one `*` a component at most.
const PLACES: &[&str] = &[
    "/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
    "/usr/pgsql-*/bin",                                   // PostgreSQL's own RPMs
    "/usr/lib/postgresql*/bin",                           // SUSE
    "/usr/libexec/postgresql*",                           // Alpine
    "/usr/lib64/postgresql-*/bin",                        // Gentoo
    "/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew on Apple silicon
    "/usr/local/opt/postgresql@*/bin",                    // Homebrew on Intel
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",    // Homebrew on Linux
    "/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
    "/usr/local/pgsql/bin",                               // built from source
];

/// A PostgreSQL whose server can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The directory of `initdb` and `postgres`.
    pub bindir: PathBuf,
    /// 15, of `15.3`.
    pub major: u32,
    /// As it calls itself: `15.3`, `18beta1`.
    pub version: String,
}

/// Where to look.
#[derive(Clone, Debug)]
pub struct Search {
    /// As in the environment.
    pub path: OsString,
    /// Directories; a component may hold one `*`.
    pub places: Vec<String>,
}

impl Search {
    /// This process's PATH, then the usual places.
    #[must_use]
    pub fn system() -> Self {
        Self {
            path: env::var_os("PATH").unwrap_or_default(),
            places: PLACES.iter().map(|&place| place.to_owned()).collect(),
        }
    }

    /// All there are, of any version, newest first.
    #[must_use]
    pub fn installations(&self) -> Vec<Installation> {
        let on_path = || env::split_paths(&self.path).filter(|dir| dir.is_absolute());
        let configured = on_path().filter_map(|dir| ask_pg_config(&dir.join("pg_config")));
        let placed = self.places.iter().flat_map(|place| expand(place));

        let mut found: Vec<Installation> = Vec::new();
        for bindir in configured.chain(on_path()).chain(placed) {
            let Ok(bindir) = bindir.canonicalize() else { continue };
            if found.iter().all(|known| known.bindir != bindir) {
                found.extend(inspect(bindir));
            }
        }
        // Stable: of two with one version, what was found first is what the PATH prefers.
        found.sort_by_key(|installation| std::cmp::Reverse(installation.major));
        found
    }
}

/// The installation for a cluster of that major version, or (`None`) for a new one.
///
/// # Errors
/// [`Error::NotInstalled`] and [`Error::OtherVersion`].
pub fn choose(found: Vec<Installation>, cluster: Option<u32>, data_dir: &Path) -> Result<Installation, Error> {
    let mut majors: Vec<u32> = found.iter().map(|installation| installation.major).collect();
    majors.dedup();
    let fits = |installation: &Installation| match cluster {
        Some(major) => installation.major == major,
        None => (OLDEST..=NEWEST).contains(&installation.major),
    };
    found.into_iter().find(fits).ok_or_else(|| match cluster {
        Some(cluster) if !majors.is_empty() => {
            Error::OtherVersion { data_dir: data_dir.to_owned(), cluster, found: majors }
        }
        _ => Error::NotInstalled { others: majors },
    })
}

/// What to type, for the kinds of machine we know.
pub(super) fn how_to_install() -> String {
    let commands: &[(&str, &str)] = &[
        ("Debian, Ubuntu, Raspberry Pi OS", "sudo apt install postgresql"),
        ("Fedora, RHEL", "sudo dnf install postgresql-server"),
        ("macOS", "brew install postgresql@17"),
    ];
    let mut text = String::from("install one:\n");
    for (system, command) in commands {
        text.push_str(&format!("  {system}: {command}\n"));
    }
    text.push_str("or name a PostgreSQL that runs elsewhere with --database-url");
    text
}

fn ask_pg_config(program: &Path) -> Option<PathBuf> {
    if !program.is_file() {
        return None;
    }
    output_of(Command::new(program).arg("--bindir")).map(PathBuf::from)
}

fn inspect(bindir: PathBuf) -> Option<Installation> {
    let server = bindir.join("postgres");
    if !server.is_file() || !bindir.join("initdb").is_file() {
        return None;
    }
    let said = output_of(Command::new(server).arg("--version"))?;
    let (version, major) = parse_version(&said)?;
    Some(Installation { bindir, major, version })
}

fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Reads `postgres (PostgreSQL) 15.3 (Debian 15.3-1)`.
fn parse_version(said: &str) -> Option<(String, u32)> {
    let version = said.split_once(") ")?.1.split_whitespace().next()?;
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    Some((version.to_owned(), version[..digits].parse().ok()?))
}

/// The directories that a place stands for; its `*` matches part of a name.
fn expand(place: &str) -> Vec<PathBuf> {
    let Some((before, after)) = place.split_once('*') else { return vec![PathBuf::from(place)] };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let (suffix, rest) = after.split_once('/').unwrap_or((after, ""));
    let parent = PathBuf::from(format!("{parent}/"));
    let Ok(entries) = fs::read_dir(&parent) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.len() > prefix.len() + suffix.len() && name.starts_with(prefix) && name.ends_with(suffix));
    names.sort();
    names.into_iter().map(|name| parent.join(name).join(rest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(majors: &[u32]) -> Vec<Installation> {
        let of = |&major: &u32| Installation {
            bindir: PathBuf::from(format!("/opt/{major}")),
            major,
            version: format!("{major}.1"),
        };
        majors.iter().map(of).collect()
    }

    fn chosen(majors: &[u32], cluster: Option<u32>) -> Result<u32, String> {
        choose(installed(majors), cluster, Path::new("/data"))
            .map(|installation| installation.major)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        let read = |said| parse_version(said).map(|(version, major)| format!("{version} {major}"));
        assert_eq!(read("postgres (PostgreSQL) 15.3 (Debian 15.3-0+deb12u1)").as_deref(), Some("15.3 15"));
        assert_eq!(read("postgres (PostgreSQL) 18beta1").as_deref(), Some("18beta1 18"));
        assert_eq!(read("postgres (PostgreSQL) 17.5 (Homebrew)").as_deref(), Some("17.5 17"));
        assert_eq!(read("something else"), None);
    }

    #[test]
    fn a_new_cluster_gets_the_newest_version_we_are_tested_with() {
        assert_eq!(chosen(&[19, 17, 15], None), Ok(17));
        assert_eq!(chosen(&[15], None), Ok(15));
    }

    #[test]
    fn an_old_cluster_gets_its_own_version() {
        assert_eq!(chosen(&[17, 15], Some(15)), Ok(15));
        let error = chosen(&[18, 17], Some(15)).expect_err("15 is not there");
        insta::assert_snapshot!(error, @r"
        the database in /data was made by PostgreSQL 15, and this machine has 18, 17
        install PostgreSQL 15 beside it (on Debian and Ubuntu: sudo apt install postgresql-15), or choose another --data-dir
        ");
    }

    #[test]
    fn without_an_installation_the_error_says_how_to_get_one() {
        insta::assert_snapshot!(chosen(&[13], None).expect_err("too old"), @r"
        found no PostgreSQL 14 to 18 on this machine (only 13)
        install one:
          Debian, Ubuntu, Raspberry Pi OS: sudo apt install postgresql
          Fedora, RHEL: sudo dnf install postgresql-server
          macOS: brew install postgresql@17
        or name a PostgreSQL that runs elsewhere with --database-url
        ");
    }

    #[test]
    fn places_are_found_by_their_star() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["pgsql-15/bin", "pgsql-16/bin", "other/bin"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let root = dir.path().to_str().unwrap();
        let names = |place: String| expand(&place);
        assert_eq!(
            names(format!("{root}/pgsql-*/bin")),
            [dir.path().join("pgsql-15/bin"), dir.path().join("pgsql-16/bin")]
        );
        assert_eq!(names(format!("{root}/other/bin")), [dir.path().join("other/bin")]);
        assert_eq!(names(format!("{root}/absent-*/bin")), Vec::<PathBuf>::new());
    }
}
