//! In whose name triggers act, and what becomes of them when that somebody goes: they stay, disabled, and say why.
//!
//! A key that is past its expiry goes without an event, so its triggers stay as they are; their runs may do nothing more.

use picloud_core::{
    event::{
        Actor, Event,
        trigger::{Disabled, Registrant},
    },
    id::{AccountId, ApiKeyId, AppId},
    log::NewEvent,
    policy::{InstanceRole, Principal},
};
use picloud_projections::setup::{App, Setup};

use crate::{
    admin::access::Caller,
    problem::{Kind, Problem},
};

impl Caller {
    /// As triggers name it.
    pub(in crate::admin) fn registrant(&self) -> Result<Registrant, Problem> {
        match &self.principal {
            Principal::Account { account, .. } => Ok(Registrant { account: Some(*account), key: None, scopes: None }),
            Principal::ApiKey { key, scopes, account, .. } => Ok(Registrant {
                account: account.as_ref().map(|(account, _)| *account),
                key: account.is_none().then_some(*key),
                scopes: Some(scopes.to_vec()),
            }),
            // The guard lets nobody in without credentials.
            Principal::Public => Err(Problem::new(Kind::Forbidden, "somebody has to answer for a trigger's runs")),
        }
    }
}

/// Who it is, as people call them.
pub(super) fn name(setup: &Setup, registrant: &Registrant) -> String {
    let account = registrant.account.map(|id| match setup.accounts.get(&id) {
        Some(account) => account.email.clone(),
        None => id.to_string(),
    });
    account.or_else(|| Some(registrant.key?.to_string())).unwrap_or_default()
}

/// Disables the triggers of an app that an account registered.
pub(in crate::admin) fn without_account(app: &App, account: AccountId, why: &str) -> Vec<Event> {
    without(app, why, |registrant| registrant.account == Some(account)).collect()
}

/// Disables the triggers that a key registered which is nobody's.
pub(in crate::admin) fn without_key(setup: &Setup, actor: &Actor, key: ApiKeyId, why: &str) -> Vec<NewEvent> {
    let its = |app: &App| {
        let disabled = without(app, why, |registrant| registrant.key == Some(key));
        disabled.map(|event| NewEvent::new(Some(app.id), actor, event)).collect::<Vec<_>>()
    };
    setup.apps.values().flat_map(|app| its(app)).collect()
}

fn without(app: &App, why: &str, is_gone: impl Fn(&Registrant) -> bool) -> impl Iterator<Item = Event> {
    let its = app.triggers.iter().filter(move |trigger| trigger.is_enabled && is_gone(&trigger.registrant));
    its.map(move |trigger| Disabled { trigger: trigger.id, why: Some(why.to_owned()) }.into())
}

/// Disables the triggers that an account registered in apps that it does not reach any more by being such on the instance.
/// None: it reaches nothing any more.
pub(in crate::admin) fn beyond_reach(
    setup: &Setup,
    actor: &Actor,
    account: AccountId,
    role: Option<InstanceRole>,
    why: &str,
) -> Vec<NewEvent> {
    let reaches =
        |app: &App| role.is_some_and(|role| role.everywhere().is_some() || app.members.contains_key(&account));
    let beyond = setup.apps.values().filter(|app| !reaches(app));
    let disabled =
        |app: &App| without_account(app, account, why).into_iter().map(|event| (app.id, event)).collect::<Vec<_>>();
    beyond.flat_map(|app| disabled(app)).map(|(app, event)| NewEvent::new(Some(app), actor, event)).collect()
}

/// The apps in which an account can have triggers: who ends that has to look at all of them.
pub(in crate::admin) fn reach(setup: &Setup, account: AccountId) -> Vec<AppId> {
    let rights = setup.accounts.get(&account).map(|account| &account.rights);
    let is_everywhere = rights.is_some_and(|rights| rights.role.everywhere().is_some());
    let has_some = |app: &App| {
        app.members.contains_key(&account)
            || app.triggers.iter().any(|trigger| trigger.registrant.account == Some(account))
    };
    setup.apps.values().filter(|app| is_everywhere || has_some(app)).map(|app| app.id).collect()
}
