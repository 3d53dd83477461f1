use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use chrono::TimeDelta;
use picloud_core::{
    capability::Capability::{self, AppAdmin, AppInvoke, AppKvRead, AppKvWrite, AppManageDomains, InstanceReadLog},
    event::trigger::Registrant,
    id::RequestId,
    log::Position,
    policy::{self, AppRole, InstanceRole},
};

use super::*;
use crate::setup::{Account, ApiKey, App};

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// An instance with two apps.
struct World {
    setup: Setup,
    shop: AppId,
    blog: AppId,
}

impl World {
    fn new() -> Self {
        Self { setup: Setup::default(), shop: AppId::generate(), blog: AppId::generate() }
    }

    /// An account that is this to the shop, and nothing to the blog but what its role says.
    fn account(&mut self, role: InstanceRole, on_shop: Option<AppRole>) -> AccountId {
        let id = AccountId::generate();
        let apps = BTreeMap::from_iter(on_shop.map(|on_shop| (self.shop, on_shop)));
        let account = Account {
            id,
            email: "ada@example.com".to_owned(),
            name: "Ada".to_owned(),
            is_active: true,
            rights: Arc::new(policy::Rights { role, apps }),
            password: None,
            totp: None,
            link: None,
            created_at: NOW,
            position: Position(1),
        };
        self.setup.accounts.insert(id, Arc::new(account));
        id
    }

    fn deactivate(&mut self, id: AccountId) {
        let account = self.setup.accounts.get_mut(&id).expect("it is there");
        *account = Arc::new(Account { is_active: false, ..Account::clone(account) });
    }

    fn key(&mut self, scopes: &[Capability], app: Option<AppId>, account: Option<AccountId>) -> ApiKeyId {
        let id = ApiKeyId::generate();
        let key = ApiKey {
            id,
            name: "a key".to_owned(),
            prefix: "pic_a".to_owned(),
            scopes: scopes.into(),
            app,
            account,
            expires_at: Some(NOW + TimeDelta::hours(1)),
        };
        let hash = [u8::try_from(self.setup.keys.len()).expect("few keys"); 32];
        self.setup.keys.insert(hash, Arc::new(key));
        id
    }

    /// What an actor may do to the shop and to the blog.
    fn may(&self, actor: &Actor) -> [Rights; 2] {
        [self.shop, self.blog].map(|app| self.setup.rights_of(actor, app, NOW))
    }
}

fn key(id: ApiKeyId) -> Actor {
    Actor::api_key(id, RequestId::generate(), None)
}

fn account(id: AccountId) -> Actor {
    Actor::account(id, RequestId::generate(), None)
}

fn only(capabilities: &[Capability]) -> Rights {
    Rights::Principal(capabilities.iter().copied().collect())
}

fn held_by(role: AppRole) -> Rights {
    Rights::Principal(Capability::ALL.iter().copied().filter(|capability| role.holds(*capability)).collect())
}

#[test]
fn an_account_may_do_to_an_app_what_its_role_or_its_membership_says() {
    let mut world = World::new();
    let editor = world.account(InstanceRole::Member, Some(AppRole::Editor));
    assert_eq!(world.may(&account(editor)), [held_by(AppRole::Editor), only(&[])]);
    let admin = world.account(InstanceRole::Admin, Some(AppRole::AppAdmin));
    assert_eq!(world.may(&account(admin)), [held_by(AppRole::AppAdmin), held_by(AppRole::Editor)]);
    let viewer = world.account(InstanceRole::Member, Some(AppRole::Viewer));
    let [on_shop, on_blog] = world.may(&account(viewer));
    assert!(on_shop.allows(AppKvRead) && !on_shop.allows(AppKvWrite) && !on_blog.allows(AppKvRead));
}

#[test]
fn a_key_may_do_what_its_scopes_its_binding_and_its_account_all_allow() {
    let mut world = World::new();
    let (shop, blog) = (world.shop, world.blog);
    let free = world.key(&[AppKvRead, AppInvoke, InstanceReadLog], None, None);
    assert_eq!(world.may(&key(free)), [only(&[AppKvRead, AppInvoke]), only(&[AppKvRead, AppInvoke])]);
    let bound = world.key(&[AppKvRead], Some(blog), None);
    assert_eq!(world.may(&key(bound)), [only(&[]), only(&[AppKvRead])]);
    let editor = world.account(InstanceRole::Member, Some(AppRole::Editor));
    let editors = world.key(&[AppKvWrite, AppManageDomains], None, Some(editor));
    assert_eq!(world.may(&key(editors)), [only(&[AppKvWrite]), only(&[])]);
    let everything = world.key(&[AppAdmin], Some(shop), None);
    assert_eq!(world.may(&key(everything)), [held_by(AppRole::AppAdmin), only(&[])]);
}

#[test]
fn who_is_gone_deactivated_or_expired_may_do_nothing_and_is_not_taken_for_nobody() {
    let mut world = World::new();
    let editor = world.account(InstanceRole::Member, Some(AppRole::Editor));
    let editors = world.key(&[AppKvWrite], None, Some(editor));
    let nothing = [only(&[]), only(&[])];
    assert_ne!(world.may(&key(editors)), nothing);
    let at_its_end = NOW + TimeDelta::hours(1);
    assert_eq!(world.setup.rights_of(&key(editors), world.shop, at_its_end), only(&[]));
    world.deactivate(editor);
    assert_eq!(world.may(&key(editors)), nothing);
    assert_eq!(world.may(&account(editor)), nothing);
    assert_eq!(world.may(&key(ApiKeyId::generate())), nothing);
    assert_eq!(world.may(&account(AccountId::generate())), nothing);
    for kind in [ActorKind::Account, ActorKind::ApiKey, ActorKind::Trigger] {
        let unreadable = Actor { kind, id: Some("nonsense".to_owned()), request_id: None, address: None };
        assert_eq!(world.may(&unreadable), nothing, "{kind:?}");
    }
}

#[test]
fn nobody_and_the_platform_itself_may_do_what_the_script_does() {
    let world = World::new();
    for actor in [Actor::public(RequestId::generate(), None), Actor::SYSTEM] {
        assert_eq!(world.may(&actor), [Rights::Public, Rights::Public]);
    }
}

/// An app with a trigger that somebody registered.
fn triggered(world: &mut World, registrant: Registrant) -> Actor {
    let (app, trigger) = (world.shop, TriggerId::generate());
    let app_of = App {
        id: app,
        slug: "shop".into(),
        created_at: NOW,
        is_paused: false,
        position: Position(1),
        members: BTreeMap::new(),
        domains: Vec::new(),
        env: Arc::default(),
        env_positions: BTreeMap::new(),
        http_exceptions: Vec::new(),
        may_call: Arc::default(),
        scripts: Vec::new(),
        routes: Vec::new(),
        triggers: Vec::new(),
        gone_triggers: HashMap::from([(trigger, registrant)]),
        queues: BTreeMap::new(),
        topics: BTreeMap::new(),
        access: Arc::default(),
    };
    world.setup.apps.insert(app, Arc::new(app_of));
    Actor { kind: ActorKind::Trigger, id: Some(trigger.to_string()), request_id: None, address: None }
}

const NOBODY: Registrant = Registrant { account: None, key: None, scopes: None };

#[test]
fn a_trigger_may_do_what_who_registered_it_may_and_no_more_than_the_key_that_was_used() {
    let mut world = World::new();
    let editor = world.account(InstanceRole::Member, Some(AppRole::Editor));
    let trigger = triggered(&mut world, Registrant { account: Some(editor), ..NOBODY });
    assert_eq!(world.may(&trigger), [held_by(AppRole::Editor), only(&[])]);
    let scopes = Some(vec![AppKvRead, AppManageDomains]);
    let registrant = Registrant { account: Some(editor), key: Some(ApiKeyId::generate()), scopes };
    let trigger = triggered(&mut world, registrant);
    assert_eq!(world.may(&trigger)[0], only(&[AppKvRead]));
    let free = world.key(&[AppKvWrite], None, None);
    let trigger = triggered(&mut world, Registrant { key: Some(free), ..NOBODY });
    assert_eq!(world.may(&trigger)[0], only(&[AppKvWrite]));
    world.deactivate(editor);
    let trigger = triggered(&mut world, Registrant { account: Some(editor), ..NOBODY });
    assert_eq!(world.may(&trigger)[0], only(&[]));
}

#[test]
fn a_triggered_run_may_do_no_more_than_who_deployed_what_runs() {
    let mut world = World::new();
    let admin = world.account(InstanceRole::Member, Some(AppRole::AppAdmin));
    let deployer = world.key(&[AppKvRead], None, None);
    let trigger = triggered(&mut world, Registrant { account: Some(admin), ..NOBODY });
    let to_run = |actor: &Actor| world.setup.rights_to_run(actor, world.shop, &key(deployer), NOW);
    assert_eq!(to_run(&trigger), only(&[AppKvRead]));
    // Who calls by itself answers for itself.
    assert_eq!(to_run(&account(admin)), held_by(AppRole::AppAdmin));
    assert_eq!(to_run(&Actor::public(RequestId::generate(), None)), Rights::Public);
}
