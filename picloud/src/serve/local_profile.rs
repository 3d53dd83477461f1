//! The local CLI profile: the first start puts the first API key there, every start the address of the control plane.

use std::{io, path::Path};

use anyhow::Context;
use picloud_ingress::admin::{self, FirstKey};

use super::Platform;
use crate::{
    config::Config,
    profile::{Key, Profile},
};

/// Sets a new instance up. Whether this start was the first.
pub(super) async fn settle(config: &Config, platform: &Platform) -> anyhow::Result<bool> {
    let place = Place { data_dir: &config.data_dir, url: &config.admin_url };
    let before = place.read().context("failed to read the local CLI profile")?;
    let mut kept = None;
    let keep = |key: &str| place.keep(kept.insert(Key::new(key)));
    let first = admin::first_start(&platform.database, &platform.committer, &platform.node, keep)
        .await
        .context("failed to set up a new instance")?;
    if let (FirstKey::Overtaken, Some(key)) = (first, &kept) {
        place.take_back(key, before).context("failed to restore the local CLI profile")?;
    }
    place.follow_address().context("failed to update the local CLI profile")?;
    Ok(first == FirstKey::Minted)
}

/// Where the profile lies, and what it leads to.
struct Place<'a> {
    data_dir: &'a Path,
    url: &'a str,
}

impl Place<'_> {
    fn read(&self) -> io::Result<Option<Profile>> {
        Profile::read(&Profile::path(self.data_dir))
    }

    fn keep(&self, key: &Key) -> io::Result<()> {
        Profile { url: self.url.to_owned(), key: Some(key.clone()) }.write(&Profile::path(self.data_dir))
    }

    /// The key came to nothing: what was there before it is there again, unless somebody has written another since.
    fn take_back(&self, key: &Key, before: Option<Profile>) -> io::Result<()> {
        match (self.read()?, before) {
            (Some(present), _) if present.key.as_ref() != Some(key) => Ok(()),
            (_, Some(before)) => before.write(&Profile::path(self.data_dir)),
            (_, None) => Profile::remove(&Profile::path(self.data_dir)),
        }
    }

    /// The profile leads to this service, also after it was given another address.
    fn follow_address(&self) -> io::Result<()> {
        match self.read()? {
            Some(profile) if profile.url != self.url => {
                Profile { url: self.url.to_owned(), ..profile }.write(&Profile::path(self.data_dir))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_in(place: &Place<'_>) -> Option<String> {
        place.read().unwrap().map(|profile| profile.key.unwrap().expose().to_owned())
    }

    #[test]
    fn a_key_that_came_to_nothing_leaves_the_profile_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { data_dir: dir.path(), url: "http://127.0.0.1:8081" };
        let (ours, theirs) = (Key::new("pic_ours"), Key::new("pic_theirs"));
        place.keep(&ours).unwrap();
        place.take_back(&ours, None).unwrap();
        assert_eq!(key_in(&place), None);

        place.keep(&theirs).unwrap();
        let before = place.read().unwrap();
        place.keep(&ours).unwrap();
        place.take_back(&ours, before).unwrap();
        assert_eq!(key_in(&place).as_deref(), Some("pic_theirs"));

        // A node in the same folder kept its own after ours.
        place.take_back(&ours, None).unwrap();
        assert_eq!(key_in(&place).as_deref(), Some("pic_theirs"));
    }
}
