//! What became of tables of state.

use picloud_projections::state::{Column, Compared, Difference, Rebuilt, What};
use serde_json::{Value, json};

use super::{ROW_CHARS, Told, count};
use crate::cli::print::{self, BAD, GOOD, QUIET};

/// So much of a value fits, of the two that are shown of a column.
const VALUE_CHARS: usize = 60;

pub(super) fn told(one: &Rebuilt) -> Told {
    let is_wrong = one.put_right.is_none() && !matches!(one.compared, Compared::Same { .. });
    let wrong = is_wrong.then(|| (one.table.clone(), format!("--table {}", one.table)));
    Told { text: text(one), object: object(one), wrong }
}

fn text(one: &Rebuilt) -> String {
    let table = &one.table;
    let mut text = match &one.compared {
        Compared::Same { rows } => format!("{GOOD}✓{GOOD:#} {table:18} {} rows, the same", count(*rows)),
        Compared::Different { only_table, only_log, changed, .. } => {
            let ways = [(changed, "with other values"), (only_table, "too many"), (only_log, "missing")];
            let ways = ways.iter().filter(|(rows, _)| **rows > 0).map(|(rows, way)| format!("{} {way}", count(**rows)));
            let differ = format!("{} rows differ", count(only_table + only_log + changed));
            format!("{BAD}✗{BAD:#} {table:18} {differ}: {}", ways.collect::<Vec<_>>().join(", "))
        }
    };
    if let Some(rows) = one.put_right {
        text += &format!("; {} put right", count(rows));
    }
    text += "\n";
    if let Compared::Different { examples, .. } = &one.compared {
        examples.iter().for_each(|difference| text += &shown(difference));
    }
    text
}

fn shown(Difference { key, what }: &Difference) -> String {
    let line = |sign: char, said: &str| format!("{QUIET}    {sign} {key}  {said}{QUIET:#}\n");
    match what {
        What::OnlyTable { row } => line('-', &print::short(row, ROW_CHARS)),
        What::OnlyLog { row } => line('+', &print::short(row, ROW_CHARS)),
        What::Columns(columns) => {
            let shown = columns.iter().map(|Column { name, log, table }| {
                let (log, table) = (print::short(log, VALUE_CHARS), print::short(table, VALUE_CHARS));
                line('~', &format!("{name}: the log says {log}, the table has {table}"))
            });
            shown.collect()
        }
    }
}

fn object(one: &Rebuilt) -> Value {
    let mut object = match &one.compared {
        Compared::Same { rows } => json!({ "compared": "same", "rows": rows }),
        Compared::Different { only_table, only_log, changed, examples } => {
            let examples: Vec<Value> = examples.iter().map(example).collect();
            json!({
                "compared": "different",
                "only_table": only_table,
                "only_log": only_log,
                "changed": changed,
                "examples": examples,
            })
        }
    };
    object["table"] = one.table.as_str().into();
    object["put_right"] = one.put_right.into();
    object
}

fn example(Difference { key, what }: &Difference) -> Value {
    let column = |Column { name, log, table }: &Column| json!({ "column": name, "log": log, "table": table });
    match what {
        What::OnlyTable { row } => json!({ "key": key, "only": "table", "row": row }),
        What::OnlyLog { row } => json!({ "key": key, "only": "log", "row": row }),
        What::Columns(columns) => {
            json!({ "key": key, "columns": columns.iter().map(column).collect::<Vec<_>>() })
        }
    }
}
