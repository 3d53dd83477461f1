//! Which control plane the command line talks to, and as whom.
//!
//! The service writes `<data-dir>/profile.toml` at its first start, so that `picloud deploy` works at once in the same
//! folder. `picloud login` writes profiles of the user, `~/.config/picloud/<name>.toml`. A profile that is named wins over the
//! data directory's, that one over the user's `default`, and `PICLOUD_URL` and `PICLOUD_KEY` over all of them.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// An API key, as it goes into a header; it does not show in print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// A key as the server gave it.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// As it goes into a header.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(****)")
    }
}

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The control plane.
    pub url: String,
    /// As whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
}

impl Profile {
    /// Where the one of a data directory lies.
    #[must_use]
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("profile.toml")
    }

    /// Reads it; none, if there is none.
    ///
    /// # Errors
    /// What the file system or the parser says, with the path.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let named = |kind, problem: &dyn fmt::Display| io::Error::new(kind, format!("{}: {problem}", path.display()));
        match fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text)
                .map(Some)
                // The parser would show the line, and with it the key.
                .map_err(|error| named(io::ErrorKind::InvalidData, &error.message())),
            // A directory we may not enter is one without a profile for us.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(named(error.kind(), &error)),
        }
    }

    /// Writes it, whole or not at all, for its owner's eyes only.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let draft = path.with_extension("toml.new");
        let text = toml::to_string(self).expect("two strings");
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(b"# Which PiCloud the command line talks to from here, and as whom. Keep it to yourself.\n")?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(draft, path)?;
        // The name is in the directory, which has to reach the disk too: the first key is kept nowhere else.
        match path.parent() {
            Some(folder) => fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Takes it away; there need not be one.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Where a command looks for its profile.
#[derive(Clone, Debug)]
pub struct Places {
    /// In order; the first that is there counts.
    files: Vec<PathBuf>,
    /// Where `picloud login` writes.
    own: PathBuf,
}

impl Places {
    /// Those of a user, given the data directory and maybe a name.
    ///
    /// # Errors
    /// [`Failure`], when the name is none that a file could have.
    pub fn new(named: Option<&str>, data_dir: PathBuf) -> Result<Self, Failure> {
        let name = named.unwrap_or("default");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
            return Err(Failure::usage(format!(
                "`{name}` cannot be a profile's name: use letters, digits, `-` and `_`"
            )));
        }
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
        // Who has no home keeps it with the data.
        let folder = folder.map_or_else(|| data_dir.clone(), |folder| folder.join("picloud"));
        let own = folder.join(format!("{name}.toml"));
        let files = match named {
            Some(_) => vec![own.clone()],
            None => vec![Profile::path(&data_dir), own.clone()],
        };
        Ok(Self { files, own })
    }

    /// Where `picloud login` writes.
    #[must_use]
    pub fn own(&self) -> &Path {
        &self.own
    }

    /// The profile that counts, and where it lies.
    ///
    /// # Errors
    /// [`Failure`], when one is there and cannot be read.
    pub fn find(&self) -> Result<Option<(PathBuf, Profile)>, Failure> {
        for file in &self.files {
            let read = Profile::read(file);
            let read = read.map_err(|error| Failure::failed(format!("failed to read the local profile {error}")))?;
            if let Some(profile) = read {
                return Ok(Some((file.clone(), profile)));
            }
        }
        Ok(None)
    }

    fn described(&self) -> String {
        self.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" or ")
    }
}

/// Where commands go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The control plane, without a slash at the end.
    pub url: String,
    /// As whom; none, if we have no key for that place.
    pub key: Option<Key>,
}

/// What someone said about where commands go.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// `--url`, else `PICLOUD_URL`.
    pub url: Option<String>,
    /// `PICLOUD_KEY`.
    pub key: Option<Key>,
}

impl Target {
    /// What was said, completed by the profile. A profile's key goes to the profile's server and to no other.
    ///
    /// # Errors
    /// [`Failure`], when the profile cannot be read or neither names a server.
    pub fn find(wanted: Wanted, places: &Places) -> Result<Self, Failure> {
        let trimmed = |url: &str| url.trim_end_matches('/').to_owned();
        let wanted_url = wanted.url.as_deref().map(trimmed);
        if let (Some(url), Some(key)) = (&wanted_url, &wanted.key) {
            return Ok(Self { url: url.clone(), key: Some(key.clone()) });
        }
        let profile = places.find()?.map(|(_, profile)| profile);
        match (wanted_url, profile) {
            (None, None) => Err(Failure::not_reached(format!(
                "no server is named, and there is no profile at {}",
                places.described()
            ))
            .next("start one here with `picloud serve`, sign in to one with `picloud login <URL>`, or set PICLOUD_URL and PICLOUD_KEY")),
            (None, Some(profile)) => Ok(Self { url: trimmed(&profile.url), key: wanted.key.or(profile.key) }),
            (Some(url), None) => Ok(Self { url, key: wanted.key }),
            (Some(url), Some(profile)) => {
                let own = profile.key.filter(|_| trimmed(&profile.url) == url);
                Ok(Self { url, key: wanted.key.or(own) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn profile() -> Profile {
        Profile { url: "http://127.0.0.1:8081".to_owned(), key: Some(Key::new("pic_local")) }
    }

    fn places(data_dir: &Path) -> Places {
        Places::new(None, data_dir.to_owned()).unwrap()
    }

    fn found(url: Option<&str>, key: Option<&str>) -> (String, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        profile().write(&Profile::path(dir.path())).unwrap();
        let wanted = Wanted { url: url.map(str::to_owned), key: key.map(Key::new) };
        let target = Target::find(wanted, &places(dir.path())).unwrap();
        (target.url, target.key.map(|key| key.expose().to_owned()))
    }

    #[test]
    fn a_profile_is_read_as_it_was_written_and_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = Profile::path(dir.path());
        assert_eq!(Profile::read(&path).unwrap(), None);
        profile().write(&path).unwrap();
        profile().write(&path).unwrap();
        assert_eq!(Profile::read(&path).unwrap(), Some(profile()));
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_environment_wins_over_the_profile() {
        let own = "http://127.0.0.1:8081";
        assert_eq!(found(None, None), (own.to_owned(), Some("pic_local".to_owned())));
        assert_eq!(found(None, Some("pic_other")), (own.to_owned(), Some("pic_other".to_owned())));
        assert_eq!(found(Some("http://127.0.0.1:8081/"), None), (own.to_owned(), Some("pic_local".to_owned())));
    }

    #[test]
    fn the_profile_s_key_goes_to_no_other_server() {
        assert_eq!(found(Some("https://elsewhere.example"), None), ("https://elsewhere.example".to_owned(), None));
    }

    #[test]
    fn a_named_profile_is_the_user_s_and_a_name_is_no_path() {
        let dir = tempfile::tempdir().unwrap();
        let named = Places::new(Some("work"), dir.path().to_owned()).unwrap();
        assert!(named.own().ends_with("picloud/work.toml"), "{}", named.own().display());
        assert_eq!(named.files, [named.own()]);
        for bad in ["", "../x", "a/b", ".x"] {
            assert!(Places::new(Some(bad), dir.path().to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_broken_profile_is_named_without_its_key() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(Profile::path(dir.path()), "url = 'http://x'\nkye = 'pic_secret'\n").unwrap();
        let error = Target::find(Wanted::default(), &places(dir.path())).expect_err("broken").to_string();
        assert!(error.contains("profile.toml") && error.contains("kye") && !error.contains("pic_secret"), "{error}");
    }
}
