//! Who made something happen.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{AccountId, ApiKeyId, RequestId};

/// What kind of actor it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person, signed in.
    Account,
    /// A program with an API key.
    ApiKey,
    /// A trigger, with the rights of who registered it.
    Trigger,
    /// A request without credentials.
    Public,
    /// PiCloud itself.
    System,
}

/// Who acted, through which request, from where. Stored with every event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// What kind.
    pub kind: ActorKind,
    /// The account's, key's or trigger's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The request it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// The client's address; shown to instance operators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

impl Actor {
    /// PiCloud itself: first starts, clean-up, recovery.
    pub const SYSTEM: Self = Self { kind: ActorKind::System, id: None, request_id: None, address: None };

    /// A request without credentials.
    #[must_use]
    pub const fn public(request_id: RequestId, address: Option<String>) -> Self {
        Self { kind: ActorKind::Public, id: None, request_id: Some(request_id), address }
    }

    /// A person's request.
    #[must_use]
    pub fn account(account: AccountId, request_id: RequestId, address: Option<String>) -> Self {
        Self { kind: ActorKind::Account, id: Some(account.to_string()), request_id: Some(request_id), address }
    }

    /// A request with an API key.
    #[must_use]
    pub fn api_key(key: ApiKeyId, request_id: RequestId, address: Option<String>) -> Self {
        Self { kind: ActorKind::ApiKey, id: Some(key.to_string()), request_id: Some(request_id), address }
    }
}
