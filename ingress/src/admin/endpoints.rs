//! The table of the API: every endpoint with what it needs. A test can list it, and nothing is served that is not in it.

use std::sync::Arc;

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{MethodFilter, on},
};
use picloud_core::capability::Capability;

use super::{
    Plane, access, account, accounts, activity, alerts, api_keys, apps, backup, certificates, dead_letters, deploy,
    domains, env, errors, events, http_exceptions, instance, invocations, jobs, kv, logs, members, metrics, node,
    openapi::{
        self,
        contract::{self, Contract},
    },
    outbox, outbox_pause, pages, queues, routes, scripts, seals, session, subscribers, topics, triggers, views,
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

/// What is told of an endpoint that its handler's signature does not say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// Its handler's path.
    pub(super) handler: &'static str,
    /// A line for its name, and more.
    pub(super) lines: &'static [&'static str],
    /// With which statuses it succeeds. Empty: 200, or 204 without a body.
    pub(super) succeeds: &'static [u16],
    /// With which it may be refused besides those that follow from what it requires and takes.
    pub(super) refused: &'static [u16],
}

macro_rules! endpoints {
    ($($(#[doc = $line:literal])+ $method:ident $path:literal, $requires:expr, $handler:path
        $(=> $($succeeds:literal)|+)? $(, or $($refused:literal)|+)?;)*) => {
        /// All there is.
        pub const ENDPOINTS: &[Endpoint] =
            &[$(Endpoint { method: stringify!($method), path: $path, requires: $requires }),*];

        /// The same order, for the document.
        pub(super) const SAID: &[Said] = &[$(Said {
            handler: stringify!($handler),
            lines: &[$($line),+],
            succeeds: &[$($($succeeds),+)?],
            refused: &[$($($refused),+)?],
        }),*];

        /// The same order, for the document.
        pub(super) fn contracts() -> Vec<Contract> {
            vec![$(contract::of(&$handler)),*]
        }

        pub(super) fn router(plane: &Plane) -> Router<Plane> {
            let guarded = |requires| from_fn_with_state((Arc::clone(plane), requires), access::guard);
            Router::new()
                $(.route($path, on(MethodFilter::$method, $handler).route_layer(guarded($requires))))*
        }
    };
}

use Capability::{
    AppAdmin, AppDeadLetterManage, AppInvoke, AppKvRead, AppManageDomains, AppManageTopics, AppManageTriggers,
    AppQueueManage, AppRead, AppReadLog, AppReplay, AppTopicPublish, AppWriteRoute, AppWriteScript, InstanceCreateApp,
    InstanceManageAccounts, InstanceManageSettings, InstanceReadLog,
};
use Requires::{App, Deploy, Instance, Nothing, Principal};

endpoints! {
    /// Says that the process runs.
    GET "/healthz", Nothing, node::healthz;
    /// Says whether this node can serve, and what works less well than it should.
    GET "/readyz", Nothing, node::readyz => 200 | 503;
    /// Shows what runs here.
    GET "/version", Nothing, node::version;
    /// Tells figures of the whole instance, for Prometheus.
    GET "/metrics", Instance(InstanceReadLog), node::metrics;
    /// Says whether a proxy may get a certificate for a host name.
    /// 200 when the name leads to an app, or is one of the instance's own.
    GET "/internal/ask", Nothing, certificates::ask, or 404;

    /// This document.
    GET "/api/v1/openapi.json", Nothing, openapi::show;

    /// The page to make the first account at.
    GET "/setup/{link}", Nothing, pages::show_setup;
    /// Makes the first account.
    POST "/setup/{link}", Nothing, pages::set_up, or 403 | 409 | 422 | 429;
    /// The page to set a password at.
    GET "/join/{account}", Nothing, pages::show_join;
    /// Sets the password of an account at its link.
    POST "/join/{account}", Nothing, pages::joined, or 403 | 409 | 422 | 429;

    /// Shows where this instance is reached, what runs here and how it is.
    GET "/api/v1/admin/instance", Principal, instance::show;
    /// Puts all data keys under a new master key.
    POST "/api/v1/admin/instance/rotate_master_key", Instance(InstanceManageSettings), instance::rotate_master_key;

    /// Signs in.
    /// Answers a cookie (`set-cookie`) and its `csrf`, or with `bearer` a `token`. A browser has to say its `origin`.
    POST "/api/v1/admin/session", Nothing, session::open => 201, or 401 | 403 | 409 | 429;
    /// Shows who asks and what it may do.
    GET "/api/v1/admin/session", Principal, session::show, or 404;
    /// Signs out.
    DELETE "/api/v1/admin/session", Principal, session::close, or 409;

    /// Shows one's own account.
    GET "/api/v1/admin/account", Principal, account::show, or 404;
    /// Changes one's own name.
    PATCH "/api/v1/admin/account", Principal, account::change, or 404;
    /// Sets another password and ends all other sessions.
    POST "/api/v1/admin/account/password", Principal, account::set_password, or 404 | 429;
    /// Offers an authenticator, which counts once it is confirmed.
    POST "/api/v1/admin/account/totp", Principal, account::offer_totp, or 404 | 409;
    /// Turns the second factor on.
    /// The recovery codes are shown here and never again.
    POST "/api/v1/admin/account/totp/confirm", Principal, account::confirm_totp, or 404;
    /// Turns the second factor off.
    POST "/api/v1/admin/account/totp/disable", Principal, account::disable_totp, or 404 | 429;
    /// Lists one's own open sessions.
    GET "/api/v1/admin/account/sessions", Principal, account::sessions, or 404;
    /// Ends one of one's own sessions.
    DELETE "/api/v1/admin/account/sessions/{session}", Principal, account::end_session, or 409;

    /// Lists all accounts.
    GET "/api/v1/admin/accounts", Instance(InstanceManageAccounts), accounts::list;
    /// Makes an account.
    /// Without a `password` its holder is invited, and sets one at the `link` in the answer.
    POST "/api/v1/admin/accounts", Instance(InstanceManageAccounts), accounts::create => 201;
    /// Shows an account.
    GET "/api/v1/admin/accounts/{account}", Instance(InstanceManageAccounts), accounts::show;
    /// Changes an account.
    PATCH "/api/v1/admin/accounts/{account}", Instance(InstanceManageAccounts), accounts::change;
    /// Ends an account's sessions and keys, at once and on every node.
    POST "/api/v1/admin/accounts/{account}/deactivate", Instance(InstanceManageAccounts), accounts::deactivate;
    /// Lets the holder of an account in again.
    POST "/api/v1/admin/accounts/{account}/reactivate", Instance(InstanceManageAccounts), accounts::reactivate;
    /// Makes a link at which an account's holder sets another password.
    POST "/api/v1/admin/accounts/{account}/reset_password", Instance(InstanceManageAccounts), accounts::reset_password => 201;
    /// Sets the password of an account at its link.
    POST "/api/v1/admin/accounts/{account}/join", Nothing, accounts::join, or 429;

    /// Lists API keys: one's own, or all for who manages accounts.
    GET "/api/v1/admin/api_keys", Principal, api_keys::list;
    /// Makes an API key.
    /// The key itself is shown here and never again.
    POST "/api/v1/admin/api_keys", Principal, api_keys::mint => 201, or 404;
    /// Revokes an API key.
    DELETE "/api/v1/admin/api_keys/{key}", Principal, api_keys::revoke;

    /// Lists the events of the whole instance.
    /// A page may be short, or empty, before the list is at its end: it says then how far was searched.
    GET "/api/v1/admin/events", Instance(InstanceReadLog), events::list_instance;
    /// Streams the events of the whole instance.
    GET "/api/v1/admin/events/stream", Instance(InstanceReadLog), events::stream_instance;
    /// Proves that an event is in the log.
    /// What is answered can be checked without PiCloud, and holds when the event has been dropped.
    GET "/api/v1/admin/events/{event}/proof", Instance(InstanceReadLog), seals::prove, or 404;
    /// Shows the last seal of the log.
    /// Kept elsewhere, it is an anchor for everything before it.
    GET "/api/v1/admin/seals/last", Instance(InstanceReadLog), seals::last, or 404;
    /// Lists the views that lists are read from, and how far they follow the log.
    GET "/api/v1/admin/views", Instance(InstanceReadLog), views::list;

    /// Lists who is told when something is wrong with the instance.
    GET "/api/v1/admin/alerts", Instance(InstanceReadLog), alerts::list;
    /// Shows an alert channel.
    GET "/api/v1/admin/alerts/{channel}", Instance(InstanceReadLog), alerts::show, or 404;
    /// Says where alerts go, and which.
    /// The address is secret: it is not shown again. The secret that messages are signed with is shown when it is made.
    PUT "/api/v1/admin/alerts/{channel}", Instance(InstanceManageSettings), alerts::set => 200 | 201, or 409;
    /// Removes an alert channel.
    DELETE "/api/v1/admin/alerts/{channel}", Instance(InstanceManageSettings), alerts::remove, or 404;
    /// Sends a test to an alert channel and tells what its receiver said.
    POST "/api/v1/admin/alerts/{channel}/test", Instance(InstanceManageSettings), alerts::test, or 404 | 409;

    /// Copies the whole instance, as of one moment, into one file.
    /// Needs `InstanceReadLog`, too. A body that breaks off is no backup; 409: another one is being taken.
    GET "/api/v1/admin/backup", Instance(InstanceManageSettings), backup::stream, or 409;

    /// Says whether what is owed may run.
    GET "/api/v1/admin/outbox", Instance(InstanceReadLog), outbox_pause::show;
    /// Lets nothing that is owed begin to run, in any app, until it is resumed.
    /// Calls that are waited for are answered all the same. Cron triggers leave out what comes meanwhile.
    POST "/api/v1/admin/outbox/pause", Instance(InstanceManageSettings), outbox_pause::pause;
    /// Lets what is owed run again.
    POST "/api/v1/admin/outbox/resume", Instance(InstanceManageSettings), outbox_pause::resume;

    /// Lists the apps that the caller sees.
    GET "/api/v1/admin/apps", Principal, apps::list;
    /// Makes an app.
    POST "/api/v1/admin/apps", Instance(InstanceCreateApp), apps::create => 201;
    /// Shows an app.
    GET "/api/v1/admin/apps/{app}", App(AppRead), apps::show;
    /// Gives an app another name; the old one leads to it from then on.
    PATCH "/api/v1/admin/apps/{app}", App(AppAdmin), apps::rename;
    /// Deletes an app and all that belongs to it.
    /// Without its slug as `confirm` it answers 409 and says what that would be.
    DELETE "/api/v1/admin/apps/{app}", App(AppAdmin), apps::delete;
    /// Pauses an app: calls are answered with 503.
    POST "/api/v1/admin/apps/{app}/pause", App(AppAdmin), apps::pause;
    /// Lets an app go on.
    POST "/api/v1/admin/apps/{app}/resume", App(AppAdmin), apps::resume;
    /// Makes an app what a manifest says, in one commit.
    /// Each change needs its own capability, too; `dry_run` only says what would change.
    POST "/api/v1/admin/apps/{app}/deploy", Deploy, deploy::deploy;

    /// Lists the hosts that lead to an app.
    GET "/api/v1/admin/apps/{app}/domains", App(AppRead), domains::list;
    /// Claims a host.
    /// 200 when the app has it already.
    POST "/api/v1/admin/apps/{app}/domains", App(AppManageDomains), domains::claim => 200 | 201;
    /// Releases a host.
    DELETE "/api/v1/admin/apps/{app}/domains/{domain}", App(AppManageDomains), domains::release;

    /// Lists who has a role on an app.
    GET "/api/v1/admin/apps/{app}/members", App(AppRead), members::list;
    /// Shows the role that an account has on an app.
    GET "/api/v1/admin/apps/{app}/members/{account}", App(AppRead), members::show;
    /// Makes an account a member, or gives it another role.
    PUT "/api/v1/admin/apps/{app}/members/{account}", App(AppAdmin), members::grant => 200 | 201;
    /// Takes an account's role on an app away.
    DELETE "/api/v1/admin/apps/{app}/members/{account}", App(AppAdmin), members::remove;

    /// Lists an app's configuration values.
    GET "/api/v1/admin/apps/{app}/env", App(AppRead), env::list;
    /// Shows a configuration value.
    GET "/api/v1/admin/apps/{app}/env/{name}", App(AppRead), env::show;
    /// Sets a configuration value. It is in the log: no place for secrets.
    PUT "/api/v1/admin/apps/{app}/env/{name}", App(AppWriteScript), env::set;
    /// Deletes a configuration value.
    DELETE "/api/v1/admin/apps/{app}/env/{name}", App(AppWriteScript), env::delete;

    /// Lists what an app's scripts may call besides the public internet.
    GET "/api/v1/admin/apps/{app}/http_exceptions", App(AppRead), http_exceptions::list;
    /// Lets an app's scripts call a host or a network that is not on the public internet.
    /// What the platform itself listens on, and its database, stay out of reach.
    POST "/api/v1/admin/apps/{app}/http_exceptions", Instance(InstanceManageSettings), http_exceptions::allow => 200 | 201, or 404;
    /// Lets an app's scripts call it no more, from the next call on.
    DELETE "/api/v1/admin/apps/{app}/http_exceptions/{exception}", Instance(InstanceManageSettings), http_exceptions::remove;

    /// Lists an app's scripts, without their sources.
    GET "/api/v1/admin/apps/{app}/scripts", App(AppRead), scripts::list;
    /// Makes a script with its first version.
    POST "/api/v1/admin/apps/{app}/scripts", App(AppWriteScript), scripts::create => 201;
    /// Says what is wrong with a source, without storing it.
    POST "/api/v1/admin/apps/{app}/scripts/validate", App(AppRead), scripts::validate;
    /// Shows a script with the source of its active version.
    GET "/api/v1/admin/apps/{app}/scripts/{script}", App(AppRead), scripts::show;
    /// Deletes a script with all its versions.
    DELETE "/api/v1/admin/apps/{app}/scripts/{script}", App(AppWriteScript), scripts::delete;
    /// Lists a script's versions, newest first.
    GET "/api/v1/admin/apps/{app}/scripts/{script}/versions", App(AppRead), scripts::versions::list;
    /// Deploys a new version of a script.
    /// 200 when the newest version is this one already.
    POST "/api/v1/admin/apps/{app}/scripts/{script}/versions", App(AppWriteScript), scripts::versions::create => 200 | 201;
    /// Shows a version with its source.
    GET "/api/v1/admin/apps/{app}/scripts/{script}/versions/{version}", App(AppRead), scripts::versions::show;
    /// Makes a version the one that runs.
    POST "/api/v1/admin/apps/{app}/scripts/{script}/activate", App(AppWriteScript), scripts::activate;
    /// Pauses a script: calls are answered with 503, what is owed waits.
    POST "/api/v1/admin/apps/{app}/scripts/{script}/pause", App(AppWriteScript), scripts::pause, or 422;
    /// Lets a script go on.
    POST "/api/v1/admin/apps/{app}/scripts/{script}/resume", App(AppWriteScript), scripts::resume;
    /// Runs a script to try it out.
    /// A failure of the script is part of the answer, not a problem.
    POST "/api/v1/admin/apps/{app}/scripts/{script}/invoke", App(AppInvoke), scripts::invoke::invoke, or 409;
    /// Runs the last runs of a script again with another version or source: how many would come to something else.
    /// Nothing is committed and nobody is called.
    POST "/api/v1/admin/apps/{app}/scripts/{script}/backtest", App(AppReplay), scripts::backtest::backtest, or 409;

    /// Lists an app's routes.
    GET "/api/v1/admin/apps/{app}/routes", App(AppRead), routes::list;
    /// Binds a route to a script.
    POST "/api/v1/admin/apps/{app}/routes", App(AppWriteRoute), routes::bind => 201;
    /// Says which routes a pattern would contradict.
    POST "/api/v1/admin/apps/{app}/routes/check", App(AppRead), routes::check::check;
    /// Says which route a request finds, and why not the others.
    POST "/api/v1/admin/apps/{app}/routes/match", App(AppRead), routes::matching::preview;
    /// Shows a route.
    GET "/api/v1/admin/apps/{app}/routes/{route}", App(AppRead), routes::show;
    /// Replaces all that a route says.
    PUT "/api/v1/admin/apps/{app}/routes/{route}", App(AppWriteRoute), routes::update;
    /// Unbinds a route.
    DELETE "/api/v1/admin/apps/{app}/routes/{route}", App(AppWriteRoute), routes::unbind;

    /// Lists an app's triggers.
    GET "/api/v1/admin/apps/{app}/triggers", App(AppRead), triggers::list;
    /// Makes a trigger.
    /// Its runs act in the name of who makes it.
    POST "/api/v1/admin/apps/{app}/triggers", App(AppManageTriggers), triggers::create => 201;
    /// Shows a trigger.
    GET "/api/v1/admin/apps/{app}/triggers/{trigger}", App(AppRead), triggers::show;
    /// Replaces all that a trigger says.
    /// Who changes it answers for its runs from then on.
    PUT "/api/v1/admin/apps/{app}/triggers/{trigger}", App(AppManageTriggers), triggers::update;
    /// Deletes a trigger. What it made be owed is still run.
    DELETE "/api/v1/admin/apps/{app}/triggers/{trigger}", App(AppManageTriggers), triggers::delete;
    /// Lets events count again.
    /// Who enables a trigger answers for its runs from then on.
    POST "/api/v1/admin/apps/{app}/triggers/{trigger}/enable", App(AppManageTriggers), triggers::state::enable, or 422;
    /// Lets events pass a trigger by.
    POST "/api/v1/admin/apps/{app}/triggers/{trigger}/disable", App(AppManageTriggers), triggers::state::disable;
    /// Lets what a trigger makes be owed wait.
    POST "/api/v1/admin/apps/{app}/triggers/{trigger}/pause", App(AppManageTriggers), triggers::state::pause;
    /// Lets what waited run.
    POST "/api/v1/admin/apps/{app}/triggers/{trigger}/resume", App(AppManageTriggers), triggers::state::resume;
    /// Runs a trigger's script with a sample event.
    /// The run is owed like any other of the trigger; without an `event` it gets an example of one.
    POST "/api/v1/admin/apps/{app}/triggers/{trigger}/run", App(AppManageTriggers), triggers::run::run => 202;

    /// Lists the queues that a trigger takes from or of which something is said, with what waits in each.
    GET "/api/v1/admin/apps/{app}/queues", App(AppRead), queues::list;
    /// Shows a queue.
    GET "/api/v1/admin/apps/{app}/queues/{queue}", App(AppRead), queues::show;
    /// Says how a queue is taken from.
    PUT "/api/v1/admin/apps/{app}/queues/{queue}", App(AppQueueManage), queues::configure;
    /// Lets the messages of a queue wait.
    POST "/api/v1/admin/apps/{app}/queues/{queue}/pause", App(AppQueueManage), queues::pause, or 422;
    /// Lets the messages of a queue be taken again.
    POST "/api/v1/admin/apps/{app}/queues/{queue}/resume", App(AppQueueManage), queues::resume, or 422;

    /// Lists the topics of which something is said.
    GET "/api/v1/admin/apps/{app}/topics", App(AppRead), topics::list;
    /// Shows what is said of a topic.
    GET "/api/v1/admin/apps/{app}/topics/{topic}", App(AppRead), topics::show;
    /// Says who may listen to a topic, or to all below one, from outside.
    PUT "/api/v1/admin/apps/{app}/topics/{topic}", App(AppManageTopics), topics::register;
    /// Takes back what is said of a topic.
    DELETE "/api/v1/admin/apps/{app}/topics/{topic}", App(AppManageTopics), topics::delete;
    /// Publishes a message to a topic.
    POST "/api/v1/admin/apps/{app}/topics/{topic}/publish", App(AppTopicPublish), subscribers::publish;
    /// Makes a token with which topics can be listened to.
    POST "/api/v1/admin/apps/{app}/subscriber_tokens", App(AppManageTopics), subscribers::mint;
    /// Makes all tokens of an app's subscribers worthless.
    POST "/api/v1/admin/apps/{app}/subscriber_tokens/rotate", App(AppManageTopics), subscribers::rotate;

    /// Lists an app's kv collections.
    GET "/api/v1/admin/apps/{app}/kv", App(AppKvRead), kv::collections;
    /// Lists the entries of a kv collection.
    GET "/api/v1/admin/apps/{app}/kv/{collection}", App(AppKvRead), kv::list;
    /// Shows a kv entry.
    GET "/api/v1/admin/apps/{app}/kv/{collection}/{key}", App(AppKvRead), kv::show;

    /// Lists what is owed and not done, what was owed first at the front.
    GET "/api/v1/admin/apps/{app}/outbox", App(AppReadLog), outbox::list;
    /// Shows an item of the outbox: while it is pending, and for a day after its end when somebody may ask for that.
    GET "/api/v1/admin/apps/{app}/outbox/{item}", App(AppReadLog), outbox::show;
    /// Takes work back.
    /// A run of it under way writes nothing.
    POST "/api/v1/admin/apps/{app}/outbox/{item}/cancel", App(AppQueueManage), outbox::cancel;

    /// Lists dead letters, newest first.
    GET "/api/v1/admin/apps/{app}/dead_letters", App(AppReadLog), dead_letters::list;
    /// Counts dead letters: exactly, or up to a thousand where `reason` or `fingerprint` are asked for.
    GET "/api/v1/admin/apps/{app}/dead_letters/count", App(AppReadLog), dead_letters::count;
    /// Shows which unresolved letters failed alike.
    GET "/api/v1/admin/apps/{app}/dead_letters/groups", App(AppReadLog), dead_letters::groups;
    /// Shows a dead letter with all that was tried and what its run gets.
    GET "/api/v1/admin/apps/{app}/dead_letters/{letter}", App(AppReadLog), dead_letters::show;
    /// Tries a dead letter again, as it was or changed.
    /// Its work is owed once more, with no attempt behind it.
    POST "/api/v1/admin/apps/{app}/dead_letters/{letter}/replay", App(AppDeadLetterManage), dead_letters::replay;
    /// Closes a dead letter.
    POST "/api/v1/admin/apps/{app}/dead_letters/{letter}/resolve", App(AppDeadLetterManage), dead_letters::resolve;
    /// Tries many dead letters again, or closes them.
    /// A job does it, letter by letter, on those that are open now. With `dry_run` it is only said how many those are.
    POST "/api/v1/admin/apps/{app}/dead_letters/bulk", App(AppDeadLetterManage), dead_letters::bulk => 200 | 202;

    /// Lists jobs, newest first.
    GET "/api/v1/admin/apps/{app}/jobs", App(AppDeadLetterManage), jobs::list;
    /// Shows how far a job has come.
    GET "/api/v1/admin/apps/{app}/jobs/{job}", App(AppDeadLetterManage), jobs::show;
    /// Ends a job before it is done.
    /// What it has done stays; the letters that it has not come to are as they were.
    POST "/api/v1/admin/apps/{app}/jobs/{job}/cancel", App(AppDeadLetterManage), jobs::cancel;

    /// Lists runs, newest first.
    /// A page may be short, or empty, before the list is at its end: it says then how far was searched.
    GET "/api/v1/admin/apps/{app}/invocations", App(AppReadLog), invocations::list;
    /// Counts runs: exactly, or up to a thousand and for two seconds where more than one thing is asked for, times, words or durations.
    GET "/api/v1/admin/apps/{app}/invocations/count", App(AppReadLog), invocations::count;
    /// Shows a run in full: its events, log lines and recording.
    GET "/api/v1/admin/apps/{app}/invocations/{invocation}", App(AppReadLog), invocations::show::show;
    /// Runs one again against its recording, as it was or with another version or source, and tells the differences.
    /// Nothing is committed and nobody is called. What is not in the recording is told.
    POST "/api/v1/admin/apps/{app}/invocations/{invocation}/replay", App(AppReplay), invocations::replay::replay, or 409;
    /// Shows what a run belongs to: what began it, its attempts, what it did and what it set off.
    GET "/api/v1/admin/apps/{app}/invocations/{invocation}/tree", App(AppReadLog), invocations::tree::show;

    /// Figures of an app: how many runs, how they ended, how long they took, and what became of owed work.
    GET "/api/v1/admin/apps/{app}/metrics", App(AppReadLog), metrics::show;
    /// Lists how runs fail, those together that are alike, latest first.
    GET "/api/v1/admin/apps/{app}/errors", App(AppReadLog), errors::list;
    /// Tells what happened in an app, by the hour.
    GET "/api/v1/admin/apps/{app}/activity", App(AppReadLog), activity::list;

    /// Lists what scripts logged and how runs failed, newest first.
    GET "/api/v1/admin/apps/{app}/logs", App(AppReadLog), logs::list;
    /// Streams what scripts log and how runs fail.
    GET "/api/v1/admin/apps/{app}/logs/stream", App(AppReadLog), logs::stream;

    /// Lists an app's events.
    /// A page may be short, or empty, before the list is at its end: it says then how far was searched.
    GET "/api/v1/admin/apps/{app}/events", App(AppReadLog), events::list_app;
    /// Streams an app's events.
    GET "/api/v1/admin/apps/{app}/events/stream", App(AppReadLog), events::stream_app;
    /// Tells who changed a thing, when, and from what to what, newest first.
    /// A page may be short, or empty, before the list is at its end: it says then how far was searched.
    GET "/api/v1/admin/apps/{app}/events/history", App(AppReadLog), events::history::show;
}
