//! The table of the API: every endpoint with what it needs. A test can list it, and nothing is served that is not in it.

use std::sync::Arc;

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{MethodFilter, on},
};
use picloud_core::capability::Capability;

use super::{
    Plane, access, account, accounts, api_keys, apps, deploy, domains, env, events, instance, invocations, kv, logs,
    members, pages, routes, scripts, session,
};

/// What a caller must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requires {
    /// Nothing: who asks is not known, or known by what the body says.
    Nothing,
    /// To be signed in, or a key that is good now. What each sees is its own.
    Principal,
    /// This, on the instance.
    Instance(Capability),
    /// This, on the app in the path. Whoever holds nothing at all on it is told that it is not there.
    App(Capability),
    /// `AppWriteScript` on the app, and whatever each of the changes needs; `InstanceCreateApp` where there is no app yet.
    Deploy,
}

/// One method of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// In upper case.
    pub method: &'static str,
    /// With `{names}` for what varies.
    pub path: &'static str,
    /// What a caller must hold.
    pub requires: Requires,
}

macro_rules! endpoints {
    ($($method:ident $path:literal, $requires:expr, $handler:path;)*) => {
        /// All there is, but for how the node is.
        pub const ENDPOINTS: &[Endpoint] =
            &[$(Endpoint { method: stringify!($method), path: $path, requires: $requires }),*];

        pub(super) fn router(plane: &Plane) -> Router<Plane> {
            let guarded = |requires| from_fn_with_state((Arc::clone(plane), requires), access::guard);
            Router::new()
                $(.route($path, on(MethodFilter::$method, $handler).route_layer(guarded($requires))))*
        }
    };
}

use Capability::{
    AppAdmin, AppInvoke, AppKvRead, AppManageDomains, AppRead, AppReadLog, AppWriteRoute, AppWriteScript,
    InstanceCreateApp, InstanceManageAccounts, InstanceManageSettings, InstanceReadLog,
};
use Requires::{App, Deploy, Instance, Nothing, Principal};

endpoints! {
    GET "/setup/{link}", Nothing, pages::setup;
    POST "/setup/{link}", Nothing, pages::set_up;
    GET "/join/{account}", Nothing, pages::join;
    POST "/join/{account}", Nothing, pages::joined;

    GET "/api/v1/admin/instance", Principal, instance::show;
    POST "/api/v1/admin/instance/rotate_master_key", Instance(InstanceManageSettings), instance::rotate_master_key;

    POST "/api/v1/admin/session", Nothing, session::open;
    GET "/api/v1/admin/session", Principal, session::show;
    DELETE "/api/v1/admin/session", Principal, session::close;

    GET "/api/v1/admin/account", Principal, account::show;
    PATCH "/api/v1/admin/account", Principal, account::change;
    POST "/api/v1/admin/account/password", Principal, account::set_password;
    POST "/api/v1/admin/account/totp", Principal, account::offer_totp;
    POST "/api/v1/admin/account/totp/confirm", Principal, account::confirm_totp;
    POST "/api/v1/admin/account/totp/disable", Principal, account::disable_totp;
    GET "/api/v1/admin/account/sessions", Principal, account::sessions;
    DELETE "/api/v1/admin/account/sessions/{session}", Principal, account::end_session;

    GET "/api/v1/admin/accounts", Instance(InstanceManageAccounts), accounts::list;
    POST "/api/v1/admin/accounts", Instance(InstanceManageAccounts), accounts::create;
    GET "/api/v1/admin/accounts/{account}", Instance(InstanceManageAccounts), accounts::show;
    PATCH "/api/v1/admin/accounts/{account}", Instance(InstanceManageAccounts), accounts::change;
    POST "/api/v1/admin/accounts/{account}/deactivate", Instance(InstanceManageAccounts), accounts::deactivate;
    POST "/api/v1/admin/accounts/{account}/reactivate", Instance(InstanceManageAccounts), accounts::reactivate;
    POST "/api/v1/admin/accounts/{account}/reset_password", Instance(InstanceManageAccounts), accounts::reset_password;
    POST "/api/v1/admin/accounts/{account}/join", Nothing, accounts::join;

    GET "/api/v1/admin/api_keys", Principal, api_keys::list;
    POST "/api/v1/admin/api_keys", Principal, api_keys::mint;
    DELETE "/api/v1/admin/api_keys/{key}", Principal, api_keys::revoke;

    GET "/api/v1/admin/events", Instance(InstanceReadLog), events::list_instance;
    GET "/api/v1/admin/events/stream", Instance(InstanceReadLog), events::stream_instance;

    GET "/api/v1/admin/apps", Principal, apps::list;
    POST "/api/v1/admin/apps", Instance(InstanceCreateApp), apps::create;
    GET "/api/v1/admin/apps/{app}", App(AppRead), apps::show;
    PATCH "/api/v1/admin/apps/{app}", App(AppAdmin), apps::rename;
    DELETE "/api/v1/admin/apps/{app}", App(AppAdmin), apps::delete;
    POST "/api/v1/admin/apps/{app}/pause", App(AppAdmin), apps::pause;
    POST "/api/v1/admin/apps/{app}/resume", App(AppAdmin), apps::resume;
    POST "/api/v1/admin/apps/{app}/deploy", Deploy, deploy::deploy;

    GET "/api/v1/admin/apps/{app}/domains", App(AppRead), domains::list;
    POST "/api/v1/admin/apps/{app}/domains", App(AppManageDomains), domains::claim;
    DELETE "/api/v1/admin/apps/{app}/domains/{domain}", App(AppManageDomains), domains::release;

    GET "/api/v1/admin/apps/{app}/members", App(AppRead), members::list;
    PUT "/api/v1/admin/apps/{app}/members/{account}", App(AppAdmin), members::grant;
    DELETE "/api/v1/admin/apps/{app}/members/{account}", App(AppAdmin), members::remove;

    GET "/api/v1/admin/apps/{app}/env", App(AppRead), env::list;
    PUT "/api/v1/admin/apps/{app}/env/{name}", App(AppWriteScript), env::set;
    DELETE "/api/v1/admin/apps/{app}/env/{name}", App(AppWriteScript), env::delete;

    GET "/api/v1/admin/apps/{app}/scripts", App(AppRead), scripts::list;
    POST "/api/v1/admin/apps/{app}/scripts", App(AppWriteScript), scripts::create;
    POST "/api/v1/admin/apps/{app}/scripts/validate", App(AppRead), scripts::validate;
    GET "/api/v1/admin/apps/{app}/scripts/{script}", App(AppRead), scripts::show;
    DELETE "/api/v1/admin/apps/{app}/scripts/{script}", App(AppWriteScript), scripts::delete;
    GET "/api/v1/admin/apps/{app}/scripts/{script}/versions", App(AppRead), scripts::versions::list;
    POST "/api/v1/admin/apps/{app}/scripts/{script}/versions", App(AppWriteScript), scripts::versions::create;
    GET "/api/v1/admin/apps/{app}/scripts/{script}/versions/{version}", App(AppRead), scripts::versions::show;
    POST "/api/v1/admin/apps/{app}/scripts/{script}/activate", App(AppWriteScript), scripts::activate;
    POST "/api/v1/admin/apps/{app}/scripts/{script}/invoke", App(AppInvoke), scripts::invoke::invoke;

    GET "/api/v1/admin/apps/{app}/routes", App(AppRead), routes::list;
    POST "/api/v1/admin/apps/{app}/routes", App(AppWriteRoute), routes::bind;
    POST "/api/v1/admin/apps/{app}/routes/check", App(AppRead), routes::check::check;
    POST "/api/v1/admin/apps/{app}/routes/match", App(AppRead), routes::matching::preview;
    GET "/api/v1/admin/apps/{app}/routes/{route}", App(AppRead), routes::show;
    PUT "/api/v1/admin/apps/{app}/routes/{route}", App(AppWriteRoute), routes::update;
    DELETE "/api/v1/admin/apps/{app}/routes/{route}", App(AppWriteRoute), routes::unbind;

    GET "/api/v1/admin/apps/{app}/kv", App(AppKvRead), kv::collections;
    GET "/api/v1/admin/apps/{app}/kv/{collection}", App(AppKvRead), kv::list;
    GET "/api/v1/admin/apps/{app}/kv/{collection}/{key}", App(AppKvRead), kv::show;

    GET "/api/v1/admin/apps/{app}/invocations", App(AppReadLog), invocations::list;
    GET "/api/v1/admin/apps/{app}/invocations/{invocation}", App(AppReadLog), invocations::show::show;

    GET "/api/v1/admin/apps/{app}/logs", App(AppReadLog), logs::list;
    GET "/api/v1/admin/apps/{app}/logs/stream", App(AppReadLog), logs::stream;

    GET "/api/v1/admin/apps/{app}/events", App(AppReadLog), events::list_app;
    GET "/api/v1/admin/apps/{app}/events/stream", App(AppReadLog), events::stream_app;
}
