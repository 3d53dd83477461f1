//! Pages of what the server searches for: they may end before they are full, and then tell where to go on.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::print::{self, QUIET};

/// Where to go on.
#[derive(Clone, Debug, Args)]
pub struct GoOn {
    /// Go on where a search stopped that took long, or behind what was shown
    #[arg(long, value_name = "CURSOR")]
    pub(super) cursor: Option<String>,
}

/// A page.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    pub(super) items: Vec<Value>,
    /// There may be more.
    pub(super) cursor: Option<String>,
    /// As far back as was searched, if the time was up before the page was full.
    #[serde(default)]
    pub(super) searched_to: Option<String>,
}

impl Page {
    /// Says on stderr that not all was searched, if it was not. Whether that had to be said.
    pub(super) fn is_cut(&self) -> bool {
        let told = self.told();
        if let Some(told) = &told {
            print::aside(&format!("{QUIET}{told}{QUIET:#}\n"));
        }
        told.is_some()
    }

    fn told(&self) -> Option<String> {
        let (to, cursor) = (self.searched_to.as_ref()?, self.cursor.as_ref()?);
        Some(format!("searched back to {to}, which took long; go on with --cursor {cursor}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_cut_says_how_far_it_goes_and_how_to_go_on() {
        let read = |page: &str| serde_json::from_str::<Page>(page).unwrap();
        let cut = read(r#"{"items":[],"cursor":"c","searched_to":"2026-03-01T12:34:00.000000Z"}"#);
        let told = "searched back to 2026-03-01T12:34:00.000000Z, which took long; go on with --cursor c";
        assert_eq!(cut.told().unwrap(), told);
        assert_eq!(read(r#"{"items":[],"cursor":"c","searched_to":null}"#).told(), None);
        // Of a server that has not heard of it.
        assert_eq!(read(r#"{"items":[],"cursor":null}"#).told(), None);
    }
}
