//! Where the tables of views lie: those that are read from, and those that are built anew beside them.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use picloud_core::log::schema::statements_about;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

/// A schema with the tables of views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema(&'static str);

impl Schema {
    /// What lists are read from.
    pub const LIVE: Self = Self("views");

    /// Where views are built anew.
    pub(super) const NEXT: Self = Self("views_next");

    /// Makes the tables of all views, as the migrations leave them, whatever became of those that are read from. What they are
    /// searched by is missing, until [`Schema::index`].
    pub(super) async fn make(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.drop(&mut *connection).await?;
        let tables = self.statements(|statement| !makes_index(statement)).join(";\n");
        let made = format!("create schema {}; {tables}", self.0);
        sqlx::raw_sql(AssertSqlSafe(made)).execute(connection).await?;
        Ok(())
    }

    /// Makes the indexes: all at once costs a fraction of what it does row by row. Two at a time, for few are made by several
    /// processors.
    pub(super) async fn index(self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let made = stream::iter(self.statements(makes_index)).map(Ok);
        made.try_for_each_concurrent(2, async |statement| {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(pool).await?;
            Ok(())
        })
        .await
    }

    /// Tells the planner what is in some tables: until it is told, it takes them for empty, and searches them as if they were.
    pub(super) async fn analyze(
        self,
        connection: &mut PgConnection,
        tables: impl Iterator<Item = &&'static str>,
    ) -> Result<(), sqlx::Error> {
        for table in tables {
            sqlx::raw_sql(AssertSqlSafe(format!("analyze {}.{table}", self.0))).execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// What the migrations say about views, about this schema.
    fn statements(self, which: impl Fn(&str) -> bool) -> Vec<String> {
        let here = format!("{}.", self.0);
        let said = statements_about(Self::LIVE.0).into_iter().filter(|statement| which(statement));
        said.map(|statement| statement.replace("views.", &here)).collect()
    }

    pub(super) async fn drop(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let dropped = format!("drop schema if exists {} cascade", self.0);
        sqlx::raw_sql(AssertSqlSafe(dropped)).execute(connection).await?;
        Ok(())
    }

    /// Puts a table, with its partitions, in the place of the one that is read from.
    pub(super) async fn put_live(self, connection: &mut PgConnection, table: &str) -> Result<(), sqlx::Error> {
        let (from, to) = (self.0, Self::LIVE.0);
        let partitions = sqlx::query_scalar!(
            r#"select c.relname::text as "name!" from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent = to_regclass($1)"#,
            format!("{from}.{table}")
        )
        .fetch_all(&mut *connection)
        .await?;
        let mut moved = format!("drop table if exists {to}.{table};");
        for name in partitions.iter().map(String::as_str).chain([table]) {
            moved += &format!("alter table {from}.{name} set schema {to};");
        }
        sqlx::raw_sql(AssertSqlSafe(moved)).execute(connection).await?;
        Ok(())
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }

    /// A statement about `views.…`, here.
    pub(super) fn sql(self, about_views: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(about_views.replace("views.", &format!("{}.", self.0)))
    }
}

fn makes_index(statement: &str) -> bool {
    statement.lines().any(|line| line.starts_with("create index") || line.starts_with("create unique index"))
}

/// The segments of the log, by which rows are counted and kept.
#[derive(Debug, Default)]
pub(super) struct Segments(Vec<(i64, i64)>);

impl Segments {
    /// Knows the segments up to a place in the log, and makes sure that some tables have a partition for each.
    pub async fn reach(
        &mut self,
        connection: &mut PgConnection,
        schema: Schema,
        tables: &[&str],
        position: i64,
    ) -> Result<(), sqlx::Error> {
        if self.0.last().is_some_and(|(_, high)| *high > position) {
            return Ok(());
        }
        let rows = sqlx::query!(
            r#"select low, high, 'run' = any (classes) as "has_runs!" from log.segments where low <= $1 order by low"#,
            position
        )
        .fetch_all(&mut *connection)
        .await?;
        // What is gone from the log needs no place here.
        for row in rows.iter().filter(|row| row.has_runs) {
            for table in tables {
                make_partition(connection, schema, table, row.low, row.high).await?;
            }
        }
        self.0 = rows.into_iter().map(|row| (row.low, row.high)).collect();
        Ok(())
    }

    /// Where the segment begins that a position lies in.
    pub fn of(&self, position: i64) -> i64 {
        let next = self.0.partition_point(|(low, _)| *low <= position);
        next.checked_sub(1).map_or(0, |n| self.0[n].0)
    }
}

/// Made as a table and then attached, as the log's own are: who reads the others meanwhile is not waited for.
async fn make_partition(
    connection: &mut PgConnection,
    Schema(schema): Schema,
    table: &str,
    low: i64,
    high: i64,
) -> Result<(), sqlx::Error> {
    let leaf = format!("{schema}.{table}_{low}");
    let exists = sqlx::query_scalar!(r#"select to_regclass($1) is not null as "exists!""#, leaf)
        .fetch_one(&mut *connection)
        .await?;
    if exists {
        return Ok(());
    }
    let made = format!(
        "create table {leaf} (like {schema}.{table} including all);
        alter table {leaf} add constraint bounds check (position >= {low} and position < {high});
        alter table {schema}.{table} attach partition {leaf} for values from ({low}) to ({high});
        alter table {leaf} drop constraint bounds"
    );
    sqlx::raw_sql(AssertSqlSafe(made)).execute(connection).await?;
    Ok(())
}
