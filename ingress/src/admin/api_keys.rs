//! API keys: minted, shown once, listed by their prefix, revoked.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use http::StatusCode;
use picloud_core::{
    capability::Capability,
    event::api_key,
    id::{AccountId, ApiKeyId, AppId},
    log::NewEvent,
    policy::Principal,
};
use picloud_projections::setup::{ApiKey, Setup};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use utoipa::ToSchema;

use super::{
    Plane,
    access::{Caller, short, visible_app},
    body::Json,
    names,
    page::{self, Page},
    params::Params,
    time::Time,
    triggers::registrant,
    write::{Decided, NoContent, Shown, Written, database},
};
use crate::problem::{Kind, Problem};

/// How much of a key is shown for it to be recognised by.
const PREFIX_CHARS: usize = 12;

/// A new key and its secret, which is nowhere else.
pub(super) struct Secret {
    pub(super) id: ApiKeyId,
    pub(super) text: String,
}

impl Secret {
    /// `pic_` and 32 random bytes.
    pub(super) fn generate() -> Self {
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).expect("the operating system hands out random bytes");
        Self { id: ApiKeyId::generate(), text: format!("pic_{}", BASE64_URL_SAFE_NO_PAD.encode(random)) }
    }

    /// The event of its making.
    pub(super) fn minted(
        &self,
        name: String,
        scopes: Vec<Capability>,
        app: Option<AppId>,
        account: Option<AccountId>,
        expires_at: Option<DateTime<Utc>>,
    ) -> api_key::Minted {
        let prefix = self.text[..PREFIX_CHARS].to_owned();
        api_key::Minted { key: self.id, name, prefix, scopes, app, account, expires_at }
    }

    /// Stores its hash. Before the commit: a key that is in the log works.
    pub(super) async fn store(&self, pool: &PgPool, app: Option<AppId>) -> Result<(), sqlx::Error> {
        let hash = Sha256::digest(self.text.as_bytes());
        sqlx::query!(
            "insert into live.secret_material (id, kind, app_id, material) values ($1, 'api_key', $2, $3)",
            self.id.uuid(),
            app.map(AppId::uuid),
            hash.as_slice()
        )
        .execute(pool)
        .await?;
        Ok(())
    }

    /// Removes the hash of a key that came to nothing.
    pub(super) async fn discard(&self, pool: &PgPool) {
        let deleted =
            sqlx::query!("delete from live.secret_material where id = $1 and kind = 'api_key'", self.id.uuid())
                .execute(pool)
                .await;
        if let Err(error) = deleted {
            tracing::warn!(%error, api_key.id = %self.id, "Failed to remove the hash of a key that was not minted");
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewApiKey)]
pub(super) struct NewKey {
    name: String,
    scopes: Vec<String>,
    /// Id or slug.
    app: Option<String>,
    expires_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(super) struct KeyForm {
    id: ApiKeyId,
    name: String,
    prefix: String,
    scopes: Vec<Capability>,
    #[schema(required)]
    app: Option<AppId>,
    #[schema(required)]
    account: Option<AccountId>,
    #[schema(required)]
    expires_at: Option<Time>,
    created_at: Time,
    /// When it was last used, about a minute late.
    #[schema(required)]
    used_at: Option<Time>,
}

impl KeyForm {
    fn of(key: &ApiKey, used_at: Option<DateTime<Utc>>) -> Self {
        Self {
            id: key.id,
            name: key.name.clone(),
            prefix: key.prefix.clone(),
            scopes: key.scopes.to_vec(),
            app: key.app,
            account: key.account,
            expires_at: key.expires_at.map(Time),
            created_at: Time(key.id.ulid().datetime().into()),
            used_at: used_at.map(Time),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MintedApiKey)]
pub(super) struct MintedForm {
    #[serde(flatten)]
    form: KeyForm,
    /// The whole key. It is shown here and never again.
    key: String,
}

/// Which keys are listed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeysWanted)]
pub(super) struct Wanted {
    /// Those that are good for this app alone, by id or slug.
    app: Option<String>,
    /// Those of this account.
    account: Option<AccountId>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// Whether a key is the caller's business: its own account's, or it manages them all.
fn is_own(caller: &Caller, key: &ApiKey) -> bool {
    let is_its = key.account.is_some() && key.account == caller.principal.account();
    is_its || caller.may(Capability::InstanceManageAccounts, None)
}

pub(super) async fn list(
    State(plane): State<Plane>,
    caller: Caller,
    Params(wanted): Params<Wanted>,
) -> Result<Answer<Page<KeyForm>>, Problem> {
    let Wanted { app, account, limit, cursor } = wanted;
    let setup = plane.setup.get();
    // One that is not seen has no keys that are.
    let app = app.map(|named| visible_app(&caller, &setup, &named).ok().map(|app| app.id));
    let used = plane.auth.key_uses.last().await.map_err(|error| database(&error))?;
    let own = setup.keys.values().filter(|key| {
        let fits =
            app.is_none_or(|app| app.is_some() && key.app == app) && (account.is_none() || key.account == account);
        fits && is_own(&caller, key)
    });
    page::Wanted { limit, cursor }
        .of(own.map(|key| KeyForm::of(key, used.get(&key.id).copied())), |key| key.id.to_string())
        .map(Answer)
}

pub(super) async fn mint(
    State(plane): State<Plane>,
    caller: Caller,
    Json(new): Json<NewKey>,
) -> Result<Written<Shown<MintedForm>>, Problem> {
    let setup = plane.setup.get();
    if new.name.trim().is_empty() {
        return Err(Problem::new(Kind::InvalidInput, "a key needs a name to be told from others").field("name"));
    }
    names::text("name", &new.name, 100)?;
    let app = new.app.as_deref().map(|named| visible_app(&caller, &setup, named)).transpose()?.map(|app| app.id);
    let scopes = scopes(&caller, &setup, &new.scopes, app)?;
    if new.expires_at.is_some_and(|expires_at| expires_at <= Utc::now()) {
        let detail = "`expires_at` is in the past: the key would never work";
        return Err(Problem::new(Kind::InvalidInput, detail).field("expires_at"));
    }
    // A key that could make keys would outlive its own end.
    if matches!(caller.principal, Principal::ApiKey { .. }) {
        caller.must(Capability::InstanceManageAccounts, None)?;
    }
    let secret = Secret::generate();
    secret.store(&plane.pool, app).await.map_err(|error| database(&error))?;
    let minted = secret.minted(new.name, scopes, app, caller.principal.account(), new.expires_at);
    let committed = match plane.append(&caller, app, vec![minted.into()], Vec::new()).await {
        Ok(committed) => committed,
        Err(refused) => {
            secret.discard(&plane.pool).await;
            return Err(refused.into());
        }
    };
    let setup = plane.setup.get();
    let form = setup.keys.values().find(|key| key.id == secret.id).map(|key| KeyForm::of(key, None));
    let form = form.ok_or_else(|| Problem::internal(&Lost))?;
    let cursor = plane.seal(&*plane.cursor_key(app).await?, committed.last);
    Ok(Written { status: StatusCode::CREATED, cursor, body: Shown(MintedForm { form, key: secret.text }) })
}

#[derive(Debug, thiserror::Error)]
#[error("a key that was just minted is not in the setup")]
struct Lost;

/// The scopes of a new key: known, of use, and none that its maker does not hold.
fn scopes(caller: &Caller, setup: &Setup, names: &[String], app: Option<AppId>) -> Result<Vec<Capability>, Problem> {
    let invalid = |detail: String| Problem::new(Kind::InvalidInput, detail).field("scopes");
    if names.is_empty() {
        return Err(invalid("`scopes` is empty: name at least one capability".to_owned()));
    }
    let mut scopes = Vec::new();
    for name in names {
        let capability: Capability = name.parse().map_err(|unknown| {
            let near = picloud_core::nearest::nearest(name, Capability::ALL.iter().map(|known| known.as_str()));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            invalid(format!("{unknown}{hint}"))
        })?;
        if capability.is_instance() && app.is_some() {
            return Err(invalid(format!("{capability} concerns the instance: a key bound to an app cannot have it")));
        }
        let reach = match (capability.is_instance(), app) {
            (true, _) => None,
            (false, Some(app)) => Some(app),
            // A key for all apps is also for those that do not exist yet; one of an account reaches no further than that.
            (false, None) => {
                let held = setup.apps.keys().copied().find(|app| caller.may(capability, Some(*app)));
                Some(held.filter(|_| caller.principal.account().is_some()).unwrap_or_else(AppId::generate))
            }
        };
        caller.must(capability, reach)?;
        scopes.push(capability);
    }
    scopes.sort();
    scopes.dedup();
    Ok(scopes)
}

pub(super) async fn revoke(
    State(plane): State<Plane>,
    caller: Caller,
    Path(named): Path<String>,
) -> Result<Written<NoContent>, Problem> {
    let setup = plane.setup.get();
    let id = named.parse::<ApiKeyId>().ok();
    let key = setup.keys.values().find(|key| Some(key.id) == id && is_own(&caller, key));
    let key = key.ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no API key `{}`", short(&named))))?;
    let actor = caller.actor();
    let revoked = || NewEvent::new(key.app, &actor, api_key::Revoked { key: key.id });
    let why = format!("the API key `{}`, which registered it, was revoked", key.name);
    // Those of a key that is somebody's go on in that name, cut down as they were.
    let reach = |setup: &Setup| match (key.account, key.app) {
        (Some(_), _) => Vec::new(),
        (None, Some(app)) => vec![app],
        (None, None) => setup.apps.keys().copied().collect(),
    };
    let decided = plane
        .decide_across(reach, |setup| {
            let mut events = vec![revoked()];
            events.extend(registrant::without_key(setup, &actor, key.id, &why));
            Ok((events, ()))
        })
        .await?;
    Decided { app: key.app, ..decided }.no_content(&plane).await
}
