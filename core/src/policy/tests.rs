//! The matrix: every role, capability, scope, binding and app, against a table written out by hand.

use Capability::*;

use super::*;

/// Who holds what, the least of them that does. Written out so that a change of the policy is a change here.
const TABLE: &[(Capability, Least)] = &[
    (InstanceCreateApp, Least::Instance(InstanceRole::Admin)),
    (InstanceManageAccounts, Least::Instance(InstanceRole::Admin)),
    (InstanceManageSettings, Least::Instance(InstanceRole::Owner)),
    (InstanceReadLog, Least::Instance(InstanceRole::Admin)),
    (AppRead, Least::App(AppRole::Viewer)),
    (AppAdmin, Least::App(AppRole::AppAdmin)),
    (AppInvoke, Least::App(AppRole::Editor)),
    (AppWriteScript, Least::App(AppRole::Editor)),
    (AppWriteRoute, Least::App(AppRole::Editor)),
    (AppManageDomains, Least::App(AppRole::AppAdmin)),
    (AppReadLog, Least::App(AppRole::Viewer)),
    (AppKvRead, Least::App(AppRole::Viewer)),
    (AppKvWrite, Least::App(AppRole::Editor)),
    (AppDocsRead, Least::App(AppRole::Viewer)),
    (AppDocsWrite, Least::App(AppRole::Editor)),
    (AppFilesRead, Least::App(AppRole::Viewer)),
    (AppFilesWrite, Least::App(AppRole::Editor)),
    (AppSecretsRead, Least::App(AppRole::Editor)),
    (AppSecretsWrite, Least::App(AppRole::Editor)),
    (AppHttpRequest, Least::App(AppRole::Editor)),
    (AppEmailSend, Least::App(AppRole::Editor)),
    (AppTopicPublish, Least::App(AppRole::Editor)),
    (AppManageTopics, Least::App(AppRole::Editor)),
    (AppManageTriggers, Least::App(AppRole::Editor)),
    (AppQueueManage, Least::App(AppRole::Editor)),
    (AppDeadLetterManage, Least::App(AppRole::Editor)),
    (AppReplay, Least::App(AppRole::Editor)),
];

#[derive(Clone, Copy)]
enum Least {
    Instance(InstanceRole),
    App(AppRole),
}

/// What the table says of a role on the instance and one (or none) on an app.
fn told(role: InstanceRole, member: Option<AppRole>, capability: Capability, to_an_app: bool) -> bool {
    let (_, least) = TABLE.iter().find(|(named, _)| *named == capability).expect("every capability is in the table");
    match least {
        Least::Instance(least) => !to_an_app && role >= *least,
        Least::App(least) => {
            let everywhere = match role {
                InstanceRole::Owner => Some(AppRole::AppAdmin),
                InstanceRole::Admin => Some(AppRole::Editor),
                InstanceRole::Member => None,
            };
            to_an_app && (everywhere >= Some(*least) || member >= Some(*least))
        }
    }
}

fn memberships() -> impl Iterator<Item = Option<AppRole>> {
    std::iter::once(None).chain(AppRole::ALL.iter().copied().map(Some))
}

fn rights(role: InstanceRole, app: AppId, member: Option<AppRole>) -> Arc<Rights> {
    Arc::new(Rights { role, apps: member.map(|member| (app, member)).into_iter().collect() })
}

#[test]
fn the_table_names_every_capability_once() {
    let named: Vec<Capability> = TABLE.iter().map(|(capability, _)| *capability).collect();
    assert_eq!(named, Capability::ALL);
}

#[test]
fn accounts_do_what_the_table_says_on_their_own_app_another_and_the_instance() {
    let (own, other) = (AppId::generate(), AppId::generate());
    for role in InstanceRole::ALL {
        for member in memberships() {
            let account = AccountId::generate();
            let rights = rights(*role, own, member);
            let principal = Principal::Account { account, rights, session: SessionId::generate() };
            for capability in Capability::ALL {
                for (app, member) in [(Some(own), member), (Some(other), None), (None, None)] {
                    assert_eq!(
                        allows(&principal, *capability, app),
                        told(*role, member, *capability, app.is_some()),
                        "{role} {member:?} {capability} {app:?}"
                    );
                }
            }
        }
    }
}

/// Every role or none, every membership, every single scope and all of them, bound or not, to its own app, another and the
/// instance: 72 thousand questions.
#[test]
fn keys_do_what_role_scopes_and_binding_all_allow() {
    let (own, other) = (AppId::generate(), AppId::generate());
    let scopes: Vec<Arc<[Capability]>> = Capability::ALL
        .iter()
        .map(|scope| Arc::from([*scope]))
        .chain([Arc::from([]), Arc::from(Capability::ALL)])
        .collect();
    let owners = std::iter::once(None)
        .chain(InstanceRole::ALL.iter().flat_map(|role| memberships().map(move |member| Some((*role, member)))));
    for owner in owners {
        for scopes in &scopes {
            for bound in [None, Some(own), Some(other)] {
                let account = owner.map(|(role, member)| (AccountId::generate(), rights(role, own, member)));
                let principal = Principal::ApiKey {
                    key: ApiKeyId::generate(),
                    scopes: Arc::clone(scopes),
                    app: bound,
                    account,
                    expires_at: None,
                };
                for capability in Capability::ALL {
                    for app in [Some(own), Some(other), None] {
                        let fits = capability.is_instance() == app.is_none();
                        let in_scope = scopes.contains(capability) || (app.is_some() && scopes.contains(&AppAdmin));
                        let in_reach = match (bound, app) {
                            (None, _) => true,
                            (Some(_), None) => false,
                            (Some(bound), Some(app)) => bound == app,
                        };
                        let is_held = owner.is_none_or(|(role, member)| {
                            let member = if app == Some(own) { member } else { None };
                            told(role, member, *capability, app.is_some())
                        });
                        assert_eq!(
                            allows(&principal, *capability, app),
                            fits && in_scope && in_reach && is_held,
                            "{owner:?} {scopes:?} {bound:?} {capability} {app:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn nobody_may_do_nothing() {
    for capability in Capability::ALL {
        assert!(!allows(&Principal::Public, *capability, Some(AppId::generate())));
        assert!(!allows(&Principal::Public, *capability, None));
    }
}

#[test]
fn roles_survive_their_names_and_others_are_refused_with_what_there_is() {
    for role in InstanceRole::ALL {
        assert_eq!(role.as_str().parse(), Ok(*role));
        assert_eq!(serde_json::to_string(role).expect("JSON"), format!("\"{role}\""));
    }
    for role in AppRole::ALL {
        assert_eq!(role.as_str().parse(), Ok(*role));
        assert_eq!(serde_json::to_string(role).expect("JSON"), format!("\"{role}\""));
    }
    let refused = "root".parse::<InstanceRole>().expect_err("no role");
    assert_eq!(refused.to_string(), "`root` is not a role: it is one of `owner`, `admin`, `member`");
}

#[test]
fn a_run_may_do_what_its_principal_may_in_its_app() {
    let (own, other) = (AppId::generate(), AppId::generate());
    let rights = rights(InstanceRole::Member, own, Some(AppRole::Editor));
    let scopes = Arc::from([AppKvRead, AppManageDomains, InstanceReadLog]);
    let (account, session) = (AccountId::generate(), SessionId::generate());
    let key = ApiKeyId::generate();
    let person = Principal::Account { account, rights: Arc::clone(&rights), session };
    let program =
        Principal::ApiKey { key, scopes, app: None, account: Some((account, Arc::clone(&rights))), expires_at: None };
    for (principal, app) in [(&person, own), (&person, other), (&program, own), (&program, other)] {
        let may = rights_in(principal, app);
        assert!(may.has_principal());
        for capability in Capability::ALL {
            let is_allowed = allows(principal, *capability, Some(app));
            assert_eq!(may.allows(*capability), is_allowed, "{principal:?} {capability} {app}");
        }
    }
    assert_eq!(rights_in(&person, own), run::Rights::Principal(rights.capabilities(own)));
    assert_eq!(rights_in(&program, own), run::Rights::Principal(Capabilities::from_iter([AppKvRead])));
    assert_eq!(rights_in(&program, other), run::Rights::Principal(Capabilities::NONE));
}

#[test]
fn what_nobody_makes_happen_may_do_what_the_script_does() {
    let public = rights_in(&Principal::Public, AppId::generate());
    assert!(!public.has_principal());
    assert!(Capability::ALL.iter().all(|capability| public.allows(*capability)));
}
