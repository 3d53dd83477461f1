//! What whoever made a run happen may do now: for runs that begin long after they were asked for.

use chrono::{DateTime, Utc};
use picloud_core::{
    capability::Capabilities,
    event::{Actor, ActorKind},
    id::{AccountId, ApiKeyId, AppId, TriggerId},
    policy::{Principal, rights_in},
    run::Rights,
};

use super::Setup;

impl Setup {
    /// What an actor may do to an app at `now`. Who is gone, deactivated, revoked or expired may do nothing any more: that is
    /// a principal without a capability, never nobody, who may do what the script does.
    #[must_use]
    pub fn rights_of(&self, actor: &Actor, app: AppId, now: DateTime<Utc>) -> Rights {
        let id = actor.id.as_deref().unwrap_or_default();
        let found = match actor.kind {
            ActorKind::Public | ActorKind::System => return Rights::Public,
            ActorKind::Account => id.parse().ok().and_then(|account| self.rights_of_account(account, app)),
            ActorKind::ApiKey => id.parse().ok().and_then(|key| self.rights_of_key(key, app, now)),
            // Less where a script is to be run that somebody else deployed: see `rights_to_run`.
            ActorKind::Trigger => id.parse().ok().and_then(|trigger| self.rights_of_trigger(trigger, app, now)),
        };
        found.unwrap_or(Rights::Principal(Capabilities::NONE))
    }

    /// What a run of a version that somebody deployed may do in the name of an actor. In the name of a trigger it may do no
    /// more than who deployed it: who may change scripts gets no more rights by it than they have.
    #[must_use]
    pub fn rights_to_run(&self, actor: &Actor, app: AppId, deployed_by: &Actor, now: DateTime<Utc>) -> Rights {
        let rights = self.rights_of(actor, app, now);
        match actor.kind {
            ActorKind::Trigger => rights.and(self.rights_of(deployed_by, app, now)),
            ActorKind::Account | ActorKind::ApiKey | ActorKind::Public | ActorKind::System => rights,
        }
    }

    fn rights_of_trigger(&self, trigger: TriggerId, app: AppId, now: DateTime<Utc>) -> Option<Rights> {
        let registrants = self.apps.get(&app)?;
        let known = registrants.trigger(trigger).map(|trigger| &trigger.registrant);
        let registrant = known.or_else(|| registrants.gone_triggers.get(&trigger))?;
        match (registrant.account, registrant.key, &registrant.scopes) {
            (Some(account), _, None) => self.rights_of_account(account, app),
            // As with the key that it was registered by, had that not been revoked since.
            (Some(account), key, Some(scopes)) => {
                let account = Some((account, self.active(account)?.rights.clone()));
                let (key, scopes) = (key.unwrap_or_else(ApiKeyId::generate), scopes.as_slice().into());
                Some(rights_in(&Principal::ApiKey { key, scopes, app: None, account, expires_at: None }, app))
            }
            (None, Some(key), _) => self.rights_of_key(key, app, now),
            (None, None, _) => None,
        }
    }

    fn rights_of_account(&self, account: AccountId, app: AppId) -> Option<Rights> {
        Some(Rights::Principal(self.active(account)?.rights.capabilities(app)))
    }

    fn rights_of_key(&self, key: ApiKeyId, app: AppId, now: DateTime<Utc>) -> Option<Rights> {
        let key = self.keys.values().find(|known| known.id == key)?;
        Some(rights_in(&self.holder(key, now)?, app))
    }
}

#[cfg(test)]
mod tests;
