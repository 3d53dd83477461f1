//! Reads the setup from the state tables.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use picloud_core::{
    capability::Capability,
    event::{Actor, route::Definition, script::ScriptKind},
    id::{AccountId, ApiKeyId, AppId},
    limits::Limits,
    log::Position,
    run::Program,
};
use sqlx::{PgConnection, types::Json};
use tracing::warn;
use uuid::Uuid;

use super::{Active, ApiKey, App, Domain, Member, Route, Script, http_exceptions, topics, triggers};

/// Which part of the setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Every app.
    All,
    /// One app.
    One(AppId),
}

/// Reads apps with all that belongs to them. Within one transaction of repeatable reads, all of one moment.
pub(super) async fn apps(connection: &mut PgConnection, which: Which) -> Result<Vec<App>, sqlx::Error> {
    let only = match which {
        Which::All => None,
        Which::One(app) => Some(app.uuid()),
    };
    let mut domains = domains(connection, only).await?;
    let mut envs = envs(connection, only).await?;
    let mut routes = routes(connection, only).await?;
    let mut members = members(connection, only).await?;
    let mut triggers = triggers::load(connection, only).await?;
    let mut gone_triggers = triggers::gone(connection, only).await?;
    let mut queues = triggers::queues(connection, only).await?;
    let mut topics = topics::load(connection, only).await?;
    let mut http_exceptions = http_exceptions::load(connection, only).await?;
    let rows = sqlx::query!(
        "select id, slug, created_at, is_paused, position from state.app where $1::uuid is null or id = $1 order by slug",
        only
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut apps = Vec::with_capacity(rows.len());
    for row in rows {
        let slug: Arc<str> = row.slug.into();
        let Env { values, positions: env_positions } = envs.remove(&row.id).unwrap_or_default();
        let env = Arc::new(values);
        let http_exceptions = http_exceptions.remove(&row.id).unwrap_or_default();
        let topics = topics.remove(&row.id).unwrap_or_default();
        apps.push(App {
            id: row.id.into(),
            scripts: scripts(connection, row.id, &slug, &env).await?,
            slug,
            created_at: row.created_at,
            is_paused: row.is_paused,
            position: Position(row.position),
            members: members.remove(&row.id).unwrap_or_default(),
            domains: domains.remove(&row.id).unwrap_or_default(),
            env,
            env_positions,
            may_call: http_exceptions::read(&http_exceptions),
            http_exceptions,
            routes: routes.remove(&row.id).unwrap_or_default(),
            triggers: triggers.remove(&row.id).unwrap_or_default(),
            gone_triggers: gone_triggers.remove(&row.id).unwrap_or_default(),
            queues: queues.remove(&row.id).unwrap_or_default(),
            access: topics::access(&topics),
            topics,
        });
    }
    Ok(apps)
}

/// Reads the names that apps had.
pub(super) async fn former_slugs(connection: &mut PgConnection) -> Result<HashMap<String, AppId>, sqlx::Error> {
    let rows = sqlx::query!("select slug, app_id from state.former_slug").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.slug, row.app_id.into())).collect())
}

async fn members(
    connection: &mut PgConnection,
    only: Option<Uuid>,
) -> Result<HashMap<Uuid, BTreeMap<AccountId, Member>>, sqlx::Error> {
    let rows = sqlx::query!(
        "select app_id, account_id, role, created_at, position from state.member
        where $1::uuid is null or app_id = $1",
        only
    )
    .fetch_all(connection)
    .await?;
    let mut members: HashMap<Uuid, BTreeMap<AccountId, Member>> = HashMap::new();
    for row in rows {
        let Ok(role) =
            row.role.parse().inspect_err(|error| warn!(%error, "A stored role is not known to this version"))
        else {
            continue;
        };
        let member = Member { role, created_at: row.created_at, position: Position(row.position) };
        members.entry(row.app_id).or_default().insert(row.account_id.into(), member);
    }
    Ok(members)
}

async fn domains(connection: &mut PgConnection, only: Option<Uuid>) -> Result<HashMap<Uuid, Vec<Domain>>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, app_id, host, created_at from state.domain where $1::uuid is null or app_id = $1 order by host",
        only
    )
    .fetch_all(connection)
    .await?;
    let mut domains: HashMap<Uuid, Vec<Domain>> = HashMap::new();
    for row in rows {
        let domain = Domain { id: row.id.into(), host: row.host, created_at: row.created_at };
        domains.entry(row.app_id).or_default().push(domain);
    }
    Ok(domains)
}

/// The configuration values of an app.
#[derive(Default)]
struct Env {
    values: BTreeMap<String, String>,
    positions: BTreeMap<String, Position>,
}

async fn envs(connection: &mut PgConnection, only: Option<Uuid>) -> Result<HashMap<Uuid, Env>, sqlx::Error> {
    let rows =
        sqlx::query!("select app_id, name, value, position from state.env where $1::uuid is null or app_id = $1", only)
            .fetch_all(connection)
            .await?;
    let mut envs: HashMap<Uuid, Env> = HashMap::new();
    for row in rows {
        let env = envs.entry(row.app_id).or_default();
        env.positions.insert(row.name.clone(), Position(row.position));
        env.values.insert(row.name, row.value);
    }
    Ok(envs)
}

async fn routes(connection: &mut PgConnection, only: Option<Uuid>) -> Result<HashMap<Uuid, Vec<Route>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select id, app_id, definition as "definition: Json<Definition>", created_at, position
        from state.route where $1::uuid is null or app_id = $1 order by path, method nulls last, host nulls last, id"#,
        only
    )
    .fetch_all(connection)
    .await?;
    let mut routes: HashMap<Uuid, Vec<Route>> = HashMap::new();
    for row in rows {
        let route = Route {
            id: row.id.into(),
            definition: row.definition.0,
            created_at: row.created_at,
            position: Position(row.position),
        };
        routes.entry(row.app_id).or_default().push(route);
    }
    Ok(routes)
}

async fn scripts(
    connection: &mut PgConnection,
    app: Uuid,
    slug: &Arc<str>,
    env: &Arc<BTreeMap<String, String>>,
) -> Result<Vec<Script>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select s.id, s.name, s.kind, s.is_paused, s.created_at, s.position,
            v.id as "version?", v.number as "number?", v.source as "source?", v.sha256 as "sha256?",
            v.limits as "limits?: Json<Limits>", v.actor as "actor?: Json<Actor>"
        from state.script s
        left join state.version v on v.id = s.active_version
        where s.app_id = $1
        order by s.name"#,
        app
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let active = match (row.version, row.number, row.source, row.sha256, row.limits, row.actor) {
                (Some(version), Some(number), Some(source), Some(sha256), Some(Json(limits)), Some(actor)) => {
                    Some(Active {
                        version: version.into(),
                        number: number.unsigned_abs(),
                        sha256,
                        deployed_by: actor.0,
                        limits,
                        program: Arc::new(Program {
                            app: app.into(),
                            app_slug: Arc::clone(slug),
                            script: row.id.into(),
                            name: row.name.as_str().into(),
                            version: version.into(),
                            number: number.unsigned_abs(),
                            source: source.into(),
                            limits,
                            env: Arc::clone(env),
                        }),
                    })
                }
                _ => None,
            };
            Script {
                id: row.id.into(),
                name: row.name,
                kind: if row.kind == ScriptKind::Module.as_str() { ScriptKind::Module } else { ScriptKind::Endpoint },
                is_paused: row.is_paused,
                created_at: row.created_at,
                position: Position(row.position),
                active,
            }
        })
        .collect())
}

/// Reads the API keys that were not revoked, by their hashes.
pub(super) async fn keys(connection: &mut PgConnection) -> Result<HashMap<[u8; 32], Arc<ApiKey>>, sqlx::Error> {
    let rows = sqlx::query!(
        "select k.id, k.name, k.prefix, k.scopes, k.app_id, k.account_id, k.expires_at, m.material
        from state.api_key k
        join live.secret_material m on m.id = k.id and m.kind = 'api_key'
        where k.revoked_at is null"
    )
    .fetch_all(connection)
    .await?;
    let mut keys = HashMap::with_capacity(rows.len());
    for row in rows {
        let id = ApiKeyId::from(row.id);
        let Ok(hash) = <[u8; 32]>::try_from(row.material.as_slice()) else {
            warn!(api_key.id = %id, "The hash of an API key is not 32 bytes long: the key does not work");
            continue;
        };
        // A scope that only a newer version knows gives nothing here.
        let scopes = row.scopes.iter().filter_map(|scope| scope.parse::<Capability>().ok()).collect();
        let key = ApiKey {
            id,
            name: row.name,
            prefix: row.prefix,
            scopes,
            app: row.app_id.map(Into::into),
            account: row.account_id.map(Into::into),
            expires_at: row.expires_at,
        };
        keys.insert(hash, Arc::new(key));
    }
    Ok(keys)
}
