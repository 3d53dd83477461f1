//! What can happen: the catalogue of events, a file per noun.
//!
//! Events are past-tense facts and are kept for ever: variants and fields are only ever added, and whatever a field is
//! called here it is called in every log that exists. `core/tests/events/` keeps an example of every vintage.
//!
//! An [`Event`] says what happened; the envelope around it ([`crate::log::Recorded`]) says when, where and by whom.

pub mod account;
pub mod alert;
pub mod alert_channel;
pub mod api_key;
pub mod app;
pub mod backup;
pub mod cron;
pub mod dead_letter;
pub mod domain;
pub mod env;
pub mod http_exception;
pub mod invocation;
pub mod job;
pub mod kv;
pub mod master_key;
pub mod member;
pub mod message;
pub mod outbox;
pub mod partition;
pub mod projection;
pub mod queue;
pub mod route;
pub mod script;
pub mod seal;
pub mod session;
pub mod topic;
pub mod trigger;

mod actor;
mod tolerant;

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use actor::{Actor, ActorKind};
pub use invocation::FailureReason;

/// How long a kind of event is kept; the log is partitioned by it. A kind never changes its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// What was set up, by whom: kept for ever.
    Config,
    /// What was stored: kept as far back as set, older history folded into a snapshot.
    Data,
    /// What ran: kept for weeks.
    Run,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Config, Self::Data, Self::Run];

    /// As it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Data => "data",
            Self::Run => "run",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why stored data could not be read as an event.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// Written by a newer version of PiCloud, or not by PiCloud.
    #[error("event kind `{0}` is not known to this version")]
    UnknownKind(String),
    /// The kind is known, its data is not as it should be.
    #[error("failed to read the data of a `{kind}` event")]
    Data {
        /// The kind.
        kind: &'static str,
        /// What was wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

macro_rules! catalogue {
    ($($variant:ident($data:ty) = $kind:literal, $class:ident;)*) => {
        /// Something that happened. Stored for ever: variants and fields are only ever added.
        #[derive(Clone, Debug, Serialize)]
        #[serde(tag = "kind", content = "data")]
        pub enum Event {
            $(
                #[doc = concat!("`", $kind, "`")]
                #[serde(rename = $kind)]
                $variant($data),
            )*
        }

        impl Event {
            /// All kinds there are, each with its class.
            pub const KINDS: &'static [(&'static str, Class)] = &[$(($kind, Class::$class)),*];

            /// `noun.verb_past`, the column `kind`.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $kind,)* }
            }

            /// How long it is kept.
            #[must_use]
            pub const fn class(&self) -> Class {
                match self { $(Self::$variant(_) => Class::$class,)* }
            }

            /// What it happened to, the column `subject`: an id, or `noun:name` where the thing has no id.
            #[must_use]
            pub fn subject(&self) -> String {
                match self { $(Self::$variant(data) => data.subject(),)* }
            }

            /// The fields alone, the column `data`: this exact text is what is stored and what is hashed.
            #[must_use]
            pub fn data(&self) -> String {
                // Most fit: growing would copy them three times.
                let mut text = Vec::with_capacity(512);
                let written = match self { $(Self::$variant(data) => serde_json::to_writer(&mut text, data),)* };
                written.expect("events are plain data");
                String::from_utf8(text).expect("JSON is UTF-8")
            }

            /// Reads what [`Event::kind`] and [`Event::data`] wrote, in this version or an older one.
            ///
            /// # Errors
            /// [`Undecodable`], when the kind is unknown or the data is not of it.
            pub fn decode(kind: &str, data: &str) -> Result<Self, Undecodable> {
                match kind {
                    $($kind => serde_json::from_str(data)
                        .map(Self::$variant)
                        .map_err(|source| Undecodable::Data { kind: $kind, source }),)*
                    unknown => Err(Undecodable::UnknownKind(unknown.to_owned())),
                }
            }
        }

        $(impl From<$data> for Event {
            fn from(data: $data) -> Self {
                Self::$variant(data)
            }
        })*
    };
}

catalogue! {
    AppCreated(app::Created) = "app.created", Config;
    AppRenamed(app::Renamed) = "app.renamed", Config;
    AppPaused(app::Paused) = "app.paused", Config;
    AppResumed(app::Resumed) = "app.resumed", Config;
    AppDeleted(app::Deleted) = "app.deleted", Config;
    AppPurged(app::Purged) = "app.purged", Config;
    AccountCreated(account::Created) = "account.created", Config;
    AccountRenamed(account::Renamed) = "account.renamed", Config;
    AccountEmailChanged(account::EmailChanged) = "account.email_changed", Config;
    AccountRoleGranted(account::RoleGranted) = "account.role_granted", Config;
    AccountLinkIssued(account::LinkIssued) = "account.link_issued", Config;
    AccountPasswordSet(account::PasswordSet) = "account.password_set", Config;
    AccountTotpEnabled(account::TotpEnabled) = "account.totp_enabled", Config;
    AccountTotpDisabled(account::TotpDisabled) = "account.totp_disabled", Config;
    AccountRecoveryCodeUsed(account::RecoveryCodeUsed) = "account.recovery_code_used", Config;
    AccountDeactivated(account::Deactivated) = "account.deactivated", Config;
    AccountReactivated(account::Reactivated) = "account.reactivated", Config;
    AlertChannelSet(alert_channel::Set) = "alert_channel.set", Config;
    AlertChannelRemoved(alert_channel::Removed) = "alert_channel.removed", Config;
    AlertRaised(alert::Raised) = "alert.raised", Config;
    AlertRecovered(alert::Recovered) = "alert.recovered", Config;
    AlertRescheduled(alert::Rescheduled) = "alert.rescheduled", Config;
    AlertDelivered(alert::Delivered) = "alert.delivered", Config;
    AlertFailed(alert::Failed) = "alert.failed", Config;
    BackupFailed(backup::Failed) = "backup.failed", Config;
    BackupTaken(backup::Taken) = "backup.taken", Config;
    BackupRestored(backup::Restored) = "backup.restored", Config;
    MemberGranted(member::Granted) = "member.granted", Config;
    MemberRemoved(member::Removed) = "member.removed", Config;
    MasterKeyRotated(master_key::Rotated) = "master_key.rotated", Config;
    DomainClaimed(domain::Claimed) = "domain.claimed", Config;
    DomainReleased(domain::Released) = "domain.released", Config;
    EnvSet(env::Set) = "env.set", Config;
    EnvDeleted(env::Deleted) = "env.deleted", Config;
    HttpExceptionAllowed(http_exception::Allowed) = "http_exception.allowed", Config;
    HttpExceptionRemoved(http_exception::Removed) = "http_exception.removed", Config;
    ScriptDeployed(script::Deployed) = "script.deployed", Config;
    ScriptActivated(script::Activated) = "script.activated", Config;
    ScriptDeleted(script::Deleted) = "script.deleted", Config;
    ScriptPaused(script::Paused) = "script.paused", Config;
    ScriptResumed(script::Resumed) = "script.resumed", Config;
    RouteBound(route::Bound) = "route.bound", Config;
    RouteUpdated(route::Updated) = "route.updated", Config;
    RouteUnbound(route::Unbound) = "route.unbound", Config;
    TriggerCreated(trigger::Created) = "trigger.created", Config;
    TriggerUpdated(trigger::Updated) = "trigger.updated", Config;
    TriggerEnabled(trigger::Enabled) = "trigger.enabled", Config;
    TriggerDisabled(trigger::Disabled) = "trigger.disabled", Config;
    TriggerPaused(trigger::Paused) = "trigger.paused", Config;
    TriggerResumed(trigger::Resumed) = "trigger.resumed", Config;
    TriggerDeleted(trigger::Deleted) = "trigger.deleted", Config;
    QueueConfigured(queue::Configured) = "queue.configured", Config;
    QueuePaused(queue::Paused) = "queue.paused", Config;
    QueueResumed(queue::Resumed) = "queue.resumed", Config;
    TopicRegistered(topic::Registered) = "topic.registered", Config;
    TopicDeleted(topic::Deleted) = "topic.deleted", Config;
    TopicKeyRotated(topic::KeyRotated) = "topic.key_rotated", Config;
    ApiKeyMinted(api_key::Minted) = "api_key.minted", Config;
    ApiKeyRevoked(api_key::Revoked) = "api_key.revoked", Config;
    KvSet(kv::Set) = "kv.set", Data;
    KvIncreased(kv::Increased) = "kv.increased", Data;
    KvDeleted(kv::Deleted) = "kv.deleted", Data;
    KvSnapshot(kv::Snapshot) = "kv.snapshot", Data;
    MessagePublished(message::Published) = "message.published", Data;
    MessageSent(message::Sent) = "message.sent", Data;
    InvocationStarted(invocation::Started) = "invocation.started", Run;
    InvocationLogged(invocation::Logged) = "invocation.logged", Run;
    InvocationJournaled(invocation::Journaled) = "invocation.journaled", Run;
    InvocationCompleted(invocation::Completed) = "invocation.completed", Run;
    InvocationFailed(invocation::Failed) = "invocation.failed", Run;
    OutboxEnqueued(outbox::Enqueued) = "outbox.enqueued", Run;
    OutboxRescheduled(outbox::Rescheduled) = "outbox.rescheduled", Run;
    OutboxDelivered(outbox::Delivered) = "outbox.delivered", Run;
    OutboxExhausted(outbox::Exhausted) = "outbox.exhausted", Run;
    OutboxCancelled(outbox::Cancelled) = "outbox.cancelled", Run;
    OutboxCarriedForward(outbox::CarriedForward) = "outbox.carried_forward", Run;
    OutboxPaused(outbox::Paused) = "outbox.paused", Config;
    OutboxResumed(outbox::Resumed) = "outbox.resumed", Config;
    DeadLetterCreated(dead_letter::Created) = "dead_letter.created", Config;
    DeadLetterReplayed(dead_letter::Replayed) = "dead_letter.replayed", Config;
    DeadLetterResolved(dead_letter::Resolved) = "dead_letter.resolved", Config;
    DeadLetterHandlerEnded(dead_letter::HandlerEnded) = "dead_letter.handler_ended", Config;
    SealSealed(seal::Sealed) = "seal.sealed", Config;
    CronFired(cron::Fired) = "cron.fired", Run;
    CronCarriedForward(cron::CarriedForward) = "cron.carried_forward", Run;
    PartitionArchived(partition::Archived) = "partition.archived", Config;
    DeadLetterPurged(dead_letter::Purged) = "dead_letter.purged", Config;
    JobStarted(job::Started) = "job.started", Config;
    JobProgressed(job::Progressed) = "job.progressed", Config;
    JobCancellationRequested(job::CancellationRequested) = "job.cancellation_requested", Config;
    JobEnded(job::Ended) = "job.ended", Config;
    SessionOpened(session::Opened) = "session.opened", Run;
    SessionClosed(session::Closed) = "session.closed", Run;
    ProjectionRebuilt(projection::Rebuilt) = "projection.rebuilt", Run;
}
