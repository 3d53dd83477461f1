//! What leaves of the log remember of their subjects and roots, kept up to date off the hot path.
//!
//! An append does nothing for it: what it writes lies behind all that is summarized, and is read until it is, too. So a
//! lookup is never wrong, only late; and a leaf that has none is answered right, only slowly.

use sqlx::{Connection as _, PgConnection, Postgres, Transaction};

use super::Position;

/// So many ranges of pages are summarized at once, about a second's work. Vacuums of the leaf wait meanwhile, nobody else.
const MOST_RANGES: i32 = 200;

/// Of all nodes one does this at a time. Any number will do that nobody else uses.
const LOCK: i64 = 7_305_804_405;

/// A leaf of events that are looked up.
struct Leaf {
    name: String,
    low: i64,
    /// Nothing is appended to it any more.
    is_closed: bool,
    has_lookup: bool,
}

/// Summarizes what was appended, or makes the lookup of a closed leaf that has none. Whether there is more to do.
///
/// # Errors
/// When the database refuses.
pub async fn keep(connection: &mut PgConnection, head: Position) -> Result<bool, sqlx::Error> {
    let leaves = sqlx::query_as!(
        Leaf,
        r#"select format('%s_%s', class, s.low) as "name!", s.low, s.high <= $1 as "is_closed!",
            to_regclass(format('log.%I', format('%s_%s_lookup', class, s.low))) is not null as "has_lookup!"
        from log.segments s cross join unnest(s.classes) as class
        where s.low <= $1 and class <> 'config'
        order by s.low desc"#,
        head.0
    )
    .fetch_all(&mut *connection)
    .await?;
    let newest_closed = leaves.iter().find(|leaf| leaf.is_closed).map(|leaf| leaf.low);
    for leaf in &leaves {
        let Some(mut transaction) = begin(connection).await? else { return Ok(false) };
        let done = if !leaf.has_lookup && leaf.is_closed {
            // Nobody appends to it, so nobody waits while it is made.
            let made = sqlx::query!("select log.make_lookup($1)", leaf.name).fetch_one(&mut *transaction).await;
            made.map(|_| MOST_RANGES)
        } else if leaf.has_lookup && !leaf.is_closed {
            sqlx::query_scalar!(r#"select log.summarize($1, $2) as "done!""#, leaf.name, MOST_RANGES)
                .fetch_one(&mut *transaction)
                .await
        } else if leaf.has_lookup && newest_closed == Some(leaf.low) {
            // The last range counts although it is not full, and so does whatever was left out.
            sqlx::query_scalar!(
                r#"select brin_summarize_new_values(format('log.%I', $1::text || '_lookup')::regclass) as "done!""#,
                leaf.name
            )
            .fetch_one(&mut *transaction)
            .await
            .map(|_| 0)
        } else {
            continue;
        };
        match done {
            Ok(done) => {
                transaction.commit().await?;
                if done >= MOST_RANGES {
                    return Ok(true);
                }
            }
            // A vacuum has the leaf, and summarizes it as well.
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
