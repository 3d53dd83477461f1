//! Routes.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    event::route::Definition,
    id::RouteId,
    log::{NewEvent, Position},
    state::route::{Route, evolve},
};

/// Something happened to a route.
pub(super) async fn changed(
    connection: &mut PgConnection,
    new: &NewEvent,
    route: RouteId,
    position: Position,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let before = find(connection, route).await?;
    match evolve(before, new, position, at) {
        Some(route) => write(connection, new, &route).await,
        None => {
            sqlx::query!("delete from state.route where id = $1", route.uuid()).execute(connection).await?;
            Ok(())
        }
    }
}

async fn find(connection: &mut PgConnection, route: RouteId) -> Result<Option<Route>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select definition as "definition: Json<Definition>", created_at, position from state.route where id = $1"#,
        route.uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Route {
        id: route,
        definition: row.definition.0,
        created_at: row.created_at,
        position: Position(row.position),
    }))
}

async fn write(connection: &mut PgConnection, new: &NewEvent, route: &Route) -> Result<(), sqlx::Error> {
    let Route { id, definition, created_at, position } = route;
    sqlx::query!(
        "insert into state.route (id, app_id, script_id, method, host, path, definition, created_at, position)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (id) do update
        set script_id = excluded.script_id,
            method = excluded.method,
            host = excluded.host,
            path = excluded.path,
            definition = excluded.definition,
            position = excluded.position",
        id.uuid(),
        new.app.map(Uuid::from),
        definition.script.uuid(),
        definition.method,
        definition.host,
        definition.path,
        Json(definition) as _,
        created_at,
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}
