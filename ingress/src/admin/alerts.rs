//! `/api/v1/admin/alerts`: who is told when something is wrong with the instance. What they were told is in the log.
//!
//! The URL of a webhook is secret, as one that lets anybody write to a room is: it is taken, and never shown again. Addresses of
//! mail are shown here and nowhere else.

mod address;

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::{
    alert::{
        Answered, ChannelKind, Condition, MAX_CHANNELS, MAX_COOLDOWN_S, MIN_COOLDOWN_S, NoAddress, USUAL_COOLDOWN_S,
    },
    event::alert_channel::{Removed, Set},
    keys::{Destination, KeyringError},
    name,
};
use picloud_projections::{
    alerts::{self, Told},
    setup::{AlertChannel, Setup},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::address::{Address, Given, invalid};
use super::{
    AdminPlane, Plane,
    access::{Caller, short},
    body::Json,
    etag::{IfMatch, Versioned},
    page::{self, Page},
    params::Params,
    time::Time,
    write::{NoContent, Shown, Written, database},
};
use crate::problem::{Kind, Problem};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertChannel)]
pub(super) struct ChannelForm {
    name: String,
    kind: ChannelKind,
    /// Host and port of its URL; the hosts of its addresses.
    host: String,
    /// Its addresses, if it is told by mail; null for another, and when they cannot be read.
    #[schema(required)]
    to: Option<Vec<String>>,
    /// What it hears of; null is everything, also what later versions find out.
    #[schema(required)]
    conditions: Option<Vec<Condition>>,
    /// So long it hears nothing again of the same matter, in seconds.
    cooldown_s: u32,
    /// Whether it is told at all.
    enabled: bool,
    /// Why this node can tell it nothing, and what to do about it; null, when it can.
    #[schema(required)]
    hindrance: Option<String>,
    /// How many messages it has yet to take.
    owed: usize,
    /// Why the last attempt at one of them failed, or which addresses did not take it; null, when all is well.
    #[schema(required)]
    last_error: Option<String>,
    created_at: Time,
}

impl ChannelForm {
    async fn of(plane: &AdminPlane, channel: &AlertChannel, told: &[Told]) -> Result<Self, Problem> {
        let told = || told.iter().filter(|told| told.channel == channel.name);
        let mut hindrance = plane.courier.hindrance(channel.kind).map(str::to_owned);
        let to = match channel.kind {
            ChannelKind::Webhook => None,
            ChannelKind::Email => match plane.destination(channel).await? {
                Some(Destination::Email(to)) => Some(to.into_iter().map(Into::into).collect()),
                Some(Destination::Webhook(_)) | None => {
                    hindrance = Some(NoAddress.to_string());
                    None
                }
            },
        };
        Ok(Self {
            name: channel.name.clone(),
            kind: channel.kind,
            host: channel.host.clone(),
            to,
            hindrance,
            conditions: channel.conditions.clone(),
            cooldown_s: channel.cooldown_s,
            enabled: channel.is_enabled,
            owed: told().filter(|told| told.owed.is_some()).count(),
            last_error: told().filter_map(|told| told.last_error.clone()).next_back(),
            created_at: Time(channel.created_at),
        })
    }
}

/// A channel as it was set.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertChannelWithSecret)]
pub(super) struct WithSecret {
    #[serde(flatten)]
    channel: ChannelForm,
    /// What its receiver checks messages with: shown here and never again. Null, when it is the one that it was, and for mail.
    #[schema(required)]
    secret: Option<String>,
}

/// What is to hold for a channel.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlertChannelSettings)]
pub(super) struct Settings {
    /// How it is told. Left out: as `url` or `to` says, or as it was.
    kind: Option<ChannelKind>,
    /// Where to, `http` or `https`. It may lie in the network of the instance. To be given for a new webhook; left out, it
    /// stays what it is.
    url: Option<String>,
    /// Whom by mail: one to twenty addresses. To be given for a new channel of that kind; left out, they stay what they are.
    #[schema(min_items = 1, max_items = 20)]
    to: Option<Vec<String>>,
    /// What it hears of. Left out: everything.
    conditions: Option<Vec<Condition>>,
    /// So long it hears nothing again of the same matter, in seconds: a minute to thirty days, an hour when left out.
    #[schema(minimum = 60, maximum = 2_592_000)]
    cooldown_s: Option<u32>,
    /// Whether it is told at all; true when left out.
    enabled: Option<bool>,
    /// Whether its messages are signed with another secret from now on.
    #[serde(default)]
    rotate_secret: bool,
}

/// What a receiver made of a test.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertTest)]
pub(super) struct TestForm {
    /// Whether it took the message: it answered 2xx.
    delivered: bool,
    /// The status that it answered with, of HTTP or of SMTP; null, when it did not answer.
    #[schema(required)]
    status: Option<u16>,
    /// Why it does not count; null, when it does.
    #[schema(required)]
    error: Option<String>,
    /// Which of several addresses did not take it, and why; null, when all did.
    #[schema(required)]
    refused: Option<String>,
    /// The beginning of what it said.
    said: String,
}

fn find<'s>(setup: &'s Setup, channel: &str) -> Result<&'s Arc<AlertChannel>, Problem> {
    setup
        .alert_channels
        .get(channel)
        .ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no alert channel named `{}`", short(channel))))
}

impl AdminPlane {
    async fn told(&self) -> Result<Vec<Told>, Problem> {
        let told = async { alerts::told(&mut *self.pool.acquire().await?).await };
        let (told, _) = told.await.map_err(|error| database(&error))?;
        Ok(told)
    }

    /// The address that a channel has; none when it has none that can be read, and needs another.
    async fn destination(&self, channel: &AlertChannel) -> Result<Option<Destination>, Problem> {
        match self.keyring.destination(channel.secret).await {
            Ok(found) => Ok(found),
            Err(KeyringError::CannotOpen(_)) => Ok(None),
            Err(error) => Err(Problem::internal(&error)),
        }
    }
}

pub(super) async fn list(
    State(plane): State<Plane>,
    Params(wanted): Params<page::Wanted>,
) -> Result<Answer<Page<ChannelForm>>, Problem> {
    let (setup, told) = (plane.setup.get(), plane.told().await?);
    let mut channels = Vec::new();
    for channel in setup.alert_channels.values() {
        channels.push(ChannelForm::of(&plane, channel, &told).await?);
    }
    wanted.of(channels, |channel| channel.name.clone()).map(Answer)
}

pub(super) async fn show(
    State(plane): State<Plane>,
    Path(channel): Path<String>,
) -> Result<Versioned<ChannelForm>, Problem> {
    let (setup, told) = (plane.setup.get(), plane.told().await?);
    let channel = find(&setup, &channel)?;
    plane.versioned(None, channel.position, ChannelForm::of(&plane, channel, &told).await?).await
}

pub(super) async fn set(
    State(plane): State<Plane>,
    caller: Caller,
    Path(channel): Path<String>,
    if_match: IfMatch,
    Json(settings): Json<Settings>,
) -> Result<Written<Shown<WithSecret>>, Problem> {
    settings.check(&channel)?;
    let expected = if_match.of(&plane, None).await?;
    let before = plane.setup.get().alert_channels.get(&channel).cloned();
    let was_of = before.as_ref().map(|before| before.kind);
    let given = Given::of(&settings, was_of)?;
    // What is there may be changed, and removed; what can tell nobody anything is not made.
    if let Some(hindrance) = plane.courier.hindrance(given.kind()).filter(|_| was_of != Some(given.kind())) {
        return Err(invalid("kind", hindrance));
    }
    let address = Address::of(&plane, before.as_deref(), given, settings.rotate_secret).await?;
    let was = before.as_ref().map(|before| before.secret);
    let decided = plane
        .decide_instance(&caller.actor(), |setup| {
            let there = setup.alert_channels.get(&channel);
            expected.check_if_there(there.map(|there| there.position))?;
            if there.map(|there| there.secret) != was {
                let detail = format!("the alert channel `{channel}` was changed meanwhile: look again and retry");
                return Err(Problem::new(Kind::Conflict, detail));
            }
            if there.is_none() && setup.alert_channels.len() >= MAX_CHANNELS {
                let detail = format!("there are {MAX_CHANNELS} alert channels, which is the most: remove one first");
                return Err(Problem::new(Kind::InvalidInput, detail));
            }
            let set = settings.event(&channel, &address);
            let is_same = there.is_some_and(|there| is_same(there, &set));
            Ok((if is_same { Vec::new() } else { vec![set.into()] }, ()))
        })
        .await;
    let decided = match decided {
        Ok(decided) => decided,
        Err(problem) => {
            // Nothing names it.
            if Some(address.id) != was {
                plane.keyring.erase_destination(address.id).await;
            }
            return Err(problem);
        }
    };
    if let Some(was) = was.filter(|was| *was != address.id) {
        plane.keyring.erase_destination(was).await;
    }
    let (setup, told) = (plane.setup.get(), plane.told().await?);
    let form = ChannelForm::of(&plane, find(&setup, &channel)?, &told).await?;
    let status = if was.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    decided.answer(&plane, status, Shown(WithSecret { channel: form, secret: address.told })).await
}

/// What it has yet to be told is told no more.
pub(super) async fn remove(
    State(plane): State<Plane>,
    caller: Caller,
    Path(channel): Path<String>,
    if_match: IfMatch,
) -> Result<Written<NoContent>, Problem> {
    let expected = if_match.of(&plane, None).await?;
    let decided = plane
        .decide_instance(&caller.actor(), |setup| {
            let there = find(setup, &channel)?;
            expected.check(there.position)?;
            Ok((vec![Removed { channel: channel.clone() }.into()], there.secret))
        })
        .await?;
    plane.keyring.erase_destination(decided.value).await;
    decided.no_content(&plane).await
}

/// Also of a channel that is not enabled.
pub(super) async fn test(State(plane): State<Plane>, Path(channel): Path<String>) -> Result<Answer<TestForm>, Problem> {
    let channel = Arc::clone(find(&plane.setup.get(), &channel)?);
    let answered = plane.courier.test(channel.name.clone(), channel.secret).await;
    let Answered { status, error, is_final: _, refused, said } =
        answered.map_err(|no_address| Problem::new(Kind::Conflict, no_address.to_string()))?;
    Ok(Answer(TestForm { delivered: error.is_none(), status, error, refused, said }))
}

impl Settings {
    fn check(&self, channel: &str) -> Result<(), Problem> {
        if !name::is_name(channel) {
            let detail = format!("`{}` is no name for a channel: {}", short(channel), name::RULE);
            return Err(invalid("channel", detail));
        }
        if let Some(seconds) = self.cooldown_s.filter(|seconds| !(MIN_COOLDOWN_S..=MAX_COOLDOWN_S).contains(seconds)) {
            let detail = format!("`cooldown_s` is {seconds}: {MIN_COOLDOWN_S} to {MAX_COOLDOWN_S} are allowed");
            return Err(invalid("cooldown_s", detail));
        }
        if self.conditions.as_ref().is_some_and(Vec::is_empty) {
            let detail = "`conditions` names nothing: leave it out for everything, or set `enabled` to false";
            return Err(invalid("conditions", detail));
        }
        Ok(())
    }

    fn event(&self, channel: &str, address: &Address) -> Set {
        let conditions = self.conditions.as_ref().map(|wanted| {
            // In their own order, each once.
            Condition::ALL.iter().copied().filter(|condition| wanted.contains(condition)).collect()
        });
        Set {
            channel: channel.to_owned(),
            kind: address.kind,
            host: address.host.clone(),
            secret: address.id,
            conditions,
            cooldown_s: self.cooldown_s.unwrap_or(USUAL_COOLDOWN_S),
            enabled: self.enabled.unwrap_or(true),
        }
    }
}

fn is_same(there: &AlertChannel, set: &Set) -> bool {
    there.secret == set.secret
        && there.kind == set.kind
        && there.conditions == set.conditions
        && there.cooldown_s == set.cooldown_s
        && there.is_enabled == set.enabled
}
