//! Typed identifiers: a ULID with a prefix that says what it names.
//!
//! Two kinds of id never mix: each is a type of its own, and its text form carries its prefix, so that a script's id
//! pasted where an app's belongs is refused with both named. In PostgreSQL they are `uuid` columns, which sort by time.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use ulid::Ulid;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, Type},
    },
};
use uuid::Uuid;

/// Why a text is no id of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {expected}: expected `{prefix}` followed by a ULID (26 letters and digits)")]
pub struct InvalidId {
    /// What was given, cut to a length fit for a message.
    pub value: String,
    /// What it should have been, with its article.
    pub expected: &'static str,
    /// The prefix of that kind.
    pub prefix: &'static str,
}

macro_rules! ids {
    ($($(#[doc = $doc:literal])* $name:ident = $prefix:literal, $expected:literal;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id: now and 80 random bits.
            #[must_use]
            pub fn generate() -> Self {
                Self(new_ulid())
            }

            /// The same 128 bits as PostgreSQL's `uuid`.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                Uuid::from_u128(self.0.0)
            }

            /// The bare ULID.
            #[must_use]
            pub const fn ulid(self) -> Ulid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(Ulid(uuid.as_u128()))
            }
        }

        impl From<Ulid> for $name {
            fn from(ulid: Ulid) -> Self {
                Self(ulid)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.uuid()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut buffer = [0; ulid::ULID_LEN];
                f.write_str($prefix)?;
                f.write_str(self.0.array_to_str(&mut buffer))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix)
                    .and_then(|ulid| Ulid::from_string(ulid).ok())
                    .map(Self)
                    .ok_or_else(|| InvalidId { value: text.chars().take(64).collect(), expected: $expected, prefix: $prefix })
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                id_schema($prefix, concat!($($doc),*))
            }
        }

        impl ToSchema for $name {}

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // Owned: serde_json hands out borrowed text only when nothing in it is escaped.
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// The tenant.
    AppId = "app_", "an app id";
    /// A script, whatever its version.
    ScriptId = "scr_", "a script id";
    /// One immutable version of a script.
    VersionId = "ver_", "a version id";
    /// A route.
    RouteId = "rte_", "a route id";
    /// A claimed host name.
    DomainId = "dom_", "a domain id";
    /// A trigger.
    TriggerId = "trg_", "a trigger id";
    /// One run of a script version.
    InvocationId = "inv_", "an invocation id";
    /// Work that a committed event owes.
    OutboxId = "out_", "an outbox item id";
    /// An outbox item that used up its attempts.
    DeadLetterId = "dl_", "a dead letter id";
    /// Work on many things at once.
    JobId = "job_", "a job id";
    /// Something that somebody was, or is to be, told of.
    AlertId = "alr_", "an alert id";
    /// One appended fact.
    EventId = "evt_", "an event id";
    /// A person's account.
    AccountId = "acc_", "an account id";
    /// One signed-in stay of an account (its name, not its token).
    SessionId = "ses_", "a session id";
    /// Something secret, kept apart from the log: a password's hash, a link's, a seed.
    SecretId = "sec_", "a secret id";
    /// An API key (its name, not its secret).
    ApiKeyId = "key_", "an API key id";
    /// One start of a node: a restarted node is another one.
    NodeEpoch = "nod_", "a node epoch";
    /// One incoming request, as in `x-request-id`.
    RequestId = "req_", "a request id";
    /// A key that encrypts data of an app or of the instance.
    DataKeyId = "dek_", "a data key id";
    /// Which life of the log this is; a restore begins a new one.
    HistoryId = "his_", "a history id";
}

fn id_schema(prefix: &str, what: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(what.trim()))
        .pattern(Some(format!("^{prefix}[0-7][0-9A-HJKMNP-TV-Z]{{25}}$")))
        .into()
}

fn new_ulid() -> Ulid {
    let now_ms =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    Ulid::from_parts(now_ms, rand::random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text_json_and_uuid() {
        let id = AppId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::from_str::<AppId>(&serde_json::to_string(&id).expect("json")).expect("id"), id);
        assert_eq!(AppId::from(id.uuid()), id);
    }

    #[test]
    fn ids_of_another_kind_are_refused_by_name() {
        let script = ScriptId::generate().to_string();
        let refused = script.parse::<AppId>().expect_err("another kind");
        assert_eq!(
            refused.to_string(),
            format!("`{script}` is not an app id: expected `app_` followed by a ULID (26 letters and digits)")
        );
    }

    #[test]
    fn ids_sort_by_their_time() {
        let older = Ulid::from_parts(1, u128::MAX);
        let newer = Ulid::from_parts(2, 0);
        assert!(EventId::from(older).uuid() < EventId::from(newer).uuid());
    }
}
