//! `[[topic]]`: who may listen to what is published.

use picloud_core::{name, topic::Auth};
use serde::Deserialize;
use toml::Spanned;

use super::{ManifestError, Topic, file::Place};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTopic {
    name: Spanned<String>,
    #[serde(default)]
    external: bool,
    auth: Option<Spanned<Auth>>,
}

/// What the file says of topics.
pub(super) fn topics(place: &Place<'_>, said: Vec<FileTopic>) -> Result<Vec<Topic>, ManifestError> {
    let mut topics: Vec<Topic> = Vec::new();
    for FileTopic { name, external, auth } in said {
        let called = name.get_ref().clone();
        if !name::is_topic_pattern(&called) {
            return Err(place.error(&name, name::no_topic_pattern(&called)));
        }
        if topics.iter().any(|known| known.name == called) {
            return Err(place.error(&name, format!("there are two topics `{called}`")));
        }
        match (&auth, external) {
            (None, true) => {
                let problem =
                    "`auth` is missing: an external topic is for everybody (`public`) or for who has a token (`token`)";
                return Err(place.error(&name, problem));
            }
            (Some(auth), false) => {
                let problem = "`auth` is said of a topic that is not `external`: nobody can listen to it from outside";
                return Err(place.error(auth, problem));
            }
            (Some(_), true) | (None, false) => {}
        }
        topics.push(Topic { name: called, external, auth: auth.map(Spanned::into_inner) });
    }
    Ok(topics)
}
