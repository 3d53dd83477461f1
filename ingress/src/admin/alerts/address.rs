//! Where a channel's messages go from now on.

use std::borrow::Cow;

use picloud_core::{
    alert::ChannelKind,
    id::SecretId,
    keys::{Destination, SigningSecret, Webhook},
    mail::{Address as MailAddress, MAX_ADDRESSES},
};
use picloud_projections::setup::AlertChannel;

use super::Settings;
use crate::{
    admin::AdminPlane,
    problem::{Kind, Problem},
};

/// Where a channel's messages go from now on.
pub(super) struct Address {
    /// The name of it.
    pub id: SecretId,
    pub kind: ChannelKind,
    pub host: String,
    /// The signing secret, if it is new.
    pub told: Option<String>,
}

/// What was given of it.
pub(super) enum Given {
    /// A URL, with a signing secret of its own; none is the one that there is.
    Webhook(Option<Webhook>),
    /// Addresses of mail; none are those that there are.
    Email(Option<Vec<MailAddress>>),
}

impl Given {
    /// What settings say of a channel that is of some kind, if there is one.
    pub fn of(settings: &Settings, there: Option<ChannelKind>) -> Result<Self, Problem> {
        let said = match (&settings.url, &settings.to) {
            (Some(_), Some(_)) => {
                return Err(invalid("to", "`url` and `to` are both there: a channel has one of them"));
            }
            (Some(_), None) => Some(ChannelKind::Webhook),
            (None, Some(_)) => Some(ChannelKind::Email),
            (None, None) => None,
        };
        let kind = settings.kind.or(said).or(there).unwrap_or(ChannelKind::Webhook);
        match kind {
            ChannelKind::Webhook if settings.to.is_some() => {
                Err(invalid("to", "a channel of the kind `webhook` is told at a `url`: `to` is for `email`"))
            }
            ChannelKind::Webhook => {
                let given = settings.url.as_deref().map(Webhook::at).transpose();
                Ok(Self::Webhook(given.map_err(|no_address| invalid("url", no_address.to_string()))?))
            }
            ChannelKind::Email if settings.url.is_some() => Err(invalid(
                "url",
                "a channel of the kind `email` is told at addresses in `to`: `url` is for `webhook`",
            )),
            ChannelKind::Email if settings.rotate_secret => {
                Err(invalid("rotate_secret", "mail is not signed with a secret: leave out `rotate_secret`"))
            }
            ChannelKind::Email => Ok(Self::Email(settings.to.as_deref().map(addresses).transpose()?)),
        }
    }

    pub const fn kind(&self) -> ChannelKind {
        match self {
            Self::Webhook(_) => ChannelKind::Webhook,
            Self::Email(_) => ChannelKind::Email,
        }
    }
}

/// Each once.
fn addresses(given: &[String]) -> Result<Vec<MailAddress>, Problem> {
    let mut read = Vec::new();
    for text in given {
        let address = MailAddress::read(text).map_err(|no_address| invalid("to", no_address.to_string()))?;
        if !read.contains(&address) {
            read.push(address);
        }
    }
    match read.len() {
        0 => Err(invalid("to", "`to` names nobody: give an address, or leave it out to keep those that there are")),
        1..=MAX_ADDRESSES => Ok(read),
        many => Err(invalid("to", format!("`to` has {many} addresses: {MAX_ADDRESSES} are allowed"))),
    }
}

pub(super) fn invalid(field: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Kind::InvalidInput, detail).field(field)
}

impl Address {
    /// The one that the channel has, or another, which is stored then.
    pub async fn of(
        plane: &AdminPlane,
        before: Option<&AlertChannel>,
        given: Given,
        rotate_secret: bool,
    ) -> Result<Self, Problem> {
        let known = match before {
            Some(before) => plane.destination(before).await?.map(|known| (before.secret, known)),
            None => None,
        };
        let missing = |field: &str| {
            let detail = format!("`{field}` is missing: the channel has no address that can be read yet");
            Problem::new(Kind::InvalidInput, detail)
        };
        let (destination, told) = match (given, known) {
            (Given::Webhook(given), Some((id, Destination::Webhook(known)))) => {
                let url = given.map_or_else(|| known.url.clone(), |given| given.url);
                if url == known.url && !rotate_secret {
                    return Ok(Self { id, kind: ChannelKind::Webhook, host: known.host(), told: None });
                }
                let secret = if rotate_secret { SigningSecret::generate() } else { known.secret };
                let told = rotate_secret.then(|| secret.reveal());
                (Destination::Webhook(Webhook { url, secret }), told)
            }
            (Given::Webhook(Some(given)), _) => {
                let told = Some(given.secret.reveal());
                (Destination::Webhook(given), told)
            }
            (Given::Webhook(None), _) => return Err(missing("url").field("url")),
            (Given::Email(given), Some((id, Destination::Email(known))))
                if given.as_ref().is_none_or(|to| *to == known) =>
            {
                let host = Destination::Email(known).host();
                return Ok(Self { id, kind: ChannelKind::Email, host, told: None });
            }
            (Given::Email(Some(given)), _) => (Destination::Email(given), None),
            (Given::Email(None), _) => return Err(missing("to").field("to")),
        };
        let id = plane.keyring.store_destination(&destination).await.map_err(|error| Problem::internal(&error))?;
        Ok(Self { id, kind: destination.kind(), host: destination.host(), told })
    }
}
