//! The table of the API: every endpoint with what it needs. A test can list it, and nothing is served that is not in it.

use std::sync::Arc;

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{MethodFilter, on},
};
use picloud_core::capability::Capability;

use super::{
    Plane, access, api_keys, apps, deploy, domains, env, events, instance, invocations, kv, logs, routes, scripts,
};

/// What a caller must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requires {
    /// Any key that is good now.
    Key,
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
        /// All there is below `/api/v1/admin`.
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
    AppInvoke, AppKvRead, AppManageDomains, AppRead, AppReadLog, AppWriteRoute, AppWriteScript, InstanceCreateApp,
    InstanceManageAccounts, InstanceReadLog,
};
use Requires::{App, Deploy, Instance, Key};

endpoints! {
    GET "/api/v1/admin/instance", Key, instance::show;

    GET "/api/v1/admin/api_keys", Instance(InstanceManageAccounts), api_keys::list;
    POST "/api/v1/admin/api_keys", Instance(InstanceManageAccounts), api_keys::mint;
    DELETE "/api/v1/admin/api_keys/{key}", Instance(InstanceManageAccounts), api_keys::revoke;

    GET "/api/v1/admin/events", Instance(InstanceReadLog), events::list_instance;
    GET "/api/v1/admin/events/stream", Instance(InstanceReadLog), events::stream_instance;

    GET "/api/v1/admin/apps", Key, apps::list;
    POST "/api/v1/admin/apps", Instance(InstanceCreateApp), apps::create;
    GET "/api/v1/admin/apps/{app}", App(AppRead), apps::show;
    POST "/api/v1/admin/apps/{app}/deploy", Deploy, deploy::deploy;

    GET "/api/v1/admin/apps/{app}/domains", App(AppRead), domains::list;
    POST "/api/v1/admin/apps/{app}/domains", App(AppManageDomains), domains::claim;
    DELETE "/api/v1/admin/apps/{app}/domains/{domain}", App(AppManageDomains), domains::release;

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
