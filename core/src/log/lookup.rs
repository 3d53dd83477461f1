//! By what events are found in leaves of the log, made off the hot path.
//!
//! An append does next to nothing for it. To an open leaf belongs a lookup: for each range of pages, which subjects, roots
//! and actors are certainly not in it. What is appended lies behind all that is summarized, and is read until it is, too. A
//! closed leaf gets indexes instead, which know exactly where a subject, a root, an app, a kind or an actor is. So nothing is
//! ever wrong, only late; and a leaf that has neither is answered right, only slowly.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres, Transaction};

use super::Position;

/// So many ranges of pages are summarized at once, about a second's work. Vacuums of the leaf wait meanwhile, nobody else.
const MOST_RANGES: i32 = 200;

/// Of all nodes one does this at a time. Any number will do that nobody else uses.
const LOCK: i64 = 7_305_804_405;

/// A leaf of events that are looked up.
struct Leaf {
    name: String,
    /// Nothing is appended to it any more.
    is_closed: bool,
    has_lookup: bool,
    has_indexes: bool,
}

/// What is to be done for a leaf.
enum Chore {
    Summarize,
    MakeIndexes,
    /// It has indexes.
    DropLookup,
}

impl Leaf {
    const fn chore(&self) -> Option<Chore> {
        match (self.is_closed, self.has_lookup, self.has_indexes) {
            (false, true, _) => Some(Chore::Summarize),
            (true, _, false) => Some(Chore::MakeIndexes),
            (true, true, true) => Some(Chore::DropLookup),
            // An open one from before there were lookups gets its indexes when it is closed.
            (false, false, _) | (true, false, true) => None,
        }
    }
}

/// Summarizes what was appended, or makes what one closed leaf lacks. Whether there is more to do.
///
/// # Errors
/// When the database refuses.
pub async fn keep(connection: &mut PgConnection, head: Position) -> Result<bool, sqlx::Error> {
    let leaves = sqlx::query_as!(
        Leaf,
        r#"select name as "name!", is_closed as "is_closed!",
            to_regclass(format('log.%I', name || '_lookup')) is not null as "has_lookup!",
            to_regclass(format('log.%I', name || '_by_keys')) is not null as "has_indexes!"
        from (
            select format('%s_%s', class, s.low) as name, s.low, s.high <= $1 as is_closed
            from log.segments s cross join unnest(s.classes) as class
            where s.low <= $1
        ) leaf
        order by low desc, name"#,
        head.0
    )
    .fetch_all(&mut *connection)
    .await?;
    for leaf in &leaves {
        let Some(chore) = leaf.chore() else { continue };
        let Some(mut transaction) = begin(connection).await? else { return Ok(false) };
        let done = match chore {
            Chore::Summarize => {
                let done = sqlx::query_scalar!(r#"select log.summarize($1, $2) as "done!""#, leaf.name, MOST_RANGES)
                    .fetch_one(&mut *transaction);
                done.await.map(|done| done >= MOST_RANGES)
            }
            // Nobody appends to it, so nobody waits meanwhile.
            Chore::MakeIndexes => {
                let made = sqlx::query!("select log.make_indexes($1)", leaf.name).fetch_one(&mut *transaction);
                made.await.map(|_| true)
            }
            Chore::DropLookup => {
                let drop = format!("drop index log.{}_lookup", leaf.name);
                sqlx::query(AssertSqlSafe(drop)).execute(&mut *transaction).await.map(|_| false)
            }
        };
        match done {
            Ok(has_more) => {
                transaction.commit().await?;
                if has_more {
                    return Ok(true);
                }
            }
            // Somebody reads it, or a vacuum has it, which summarizes it as well.
            Err(error) if is_lock_not_available(&error) => transaction.rollback().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// A transaction that is alone at this, and does not wait for a vacuum; none when another node is at it.
async fn begin(connection: &mut PgConnection) -> Result<Option<Transaction<'_, Postgres>>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let is_alone = sqlx::query_scalar!(
        r#"select set_config('lock_timeout', '500ms', true) is not null and pg_try_advisory_xact_lock($1) as "alone!""#,
        LOCK
    )
    .fetch_one(&mut *transaction)
    .await?;
    Ok(is_alone.then_some(transaction))
}

fn is_lock_not_available(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("55P03"))
}
