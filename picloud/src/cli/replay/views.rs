//! What became of views.

use picloud_projections::views::rebuild::{Compared, Difference, Rebuilt};
use serde_json::{Value, json};

use super::{ROW_CHARS, Told, count};
use crate::cli::print::{self, BAD, CAREFUL, GOOD, QUIET};

pub(super) fn told(one: &Rebuilt) -> Told {
    let is_wrong = !one.is_swapped && !matches!(one.compared, Compared::Same { .. });
    let wrong = is_wrong.then(|| (one.view.to_owned(), format!("--view {}", one.view)));
    Told { text: text(one), object: object(one), wrong }
}

fn text(one: &Rebuilt) -> String {
    let view = one.view;
    let mut text = match &one.compared {
        Compared::Same { rows } => format!("{GOOD}✓{GOOD:#} {view:18} {} rows, the same", count(*rows)),
        Compared::Different { only_live, only_built, .. } => format!(
            "{BAD}✗{BAD:#} {view:18} {} rows that do not follow from the log, {} that do and were not there",
            count(*only_live),
            count(*only_built)
        ),
        Compared::Not { reason } => format!("{CAREFUL}!{CAREFUL:#} {view:18} not compared: {reason}"),
    };
    text += if one.is_swapped { "; replaced\n" } else { "\n" };
    if let Compared::Different { examples, .. } = &one.compared {
        for Difference { table, is_live, row } in examples {
            let sign = if *is_live { '-' } else { '+' };
            text += &format!("{QUIET}    {sign} {table} {}{QUIET:#}\n", print::short(row, ROW_CHARS));
        }
    }
    text
}

fn object(one: &Rebuilt) -> Value {
    let mut object = match &one.compared {
        Compared::Same { rows } => json!({ "compared": "same", "rows": rows }),
        Compared::Different { only_live, only_built, examples } => {
            let shown = |Difference { table, is_live, row }: &Difference| json!({ "table": table, "is_live": is_live, "row": row });
            let examples: Vec<Value> = examples.iter().map(shown).collect();
            json!({ "compared": "different", "only_live": only_live, "only_built": only_built, "examples": examples })
        }
        Compared::Not { reason } => json!({ "compared": "not", "reason": reason }),
    };
    object["view"] = one.view.into();
    object["is_swapped"] = one.is_swapped.into();
    object
}
