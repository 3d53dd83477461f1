//! Why something is no schedule, in words for whoever wrote it.

use crate::nearest::nearest;

/// How much of what was given is shown again.
const SHOWN_CHARS: usize = 80;

/// Why something is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The expression is longer than any schedule needs.
    #[error("the schedule has {given} bytes: at most {allowed} are allowed")]
    TooLong {
        /// How many bytes it has.
        given: usize,
        /// How many it may have.
        allowed: usize,
    },
    /// Not five or six fields.
    #[error(
        "`{given}` has {count} fields: a schedule has 5 (minute, hour, day of month, month, day of week), or 6 with \
         seconds before them"
    )]
    Count {
        /// The expression.
        given: String,
        /// How many fields it has.
        count: usize,
    },
    /// A field says what it cannot say.
    #[error("`{given}` is no {field}: allowed is {allowed}")]
    Field {
        /// Which field.
        field: &'static str,
        /// The part of it that is wrong.
        given: String,
        /// What it may say.
        allowed: &'static str,
    },
    /// An `@` name that is none.
    #[error("there is no schedule `{given}`{}: there is {known}", did_you_mean(.nearest.as_deref()))]
    Name {
        /// What was given.
        given: String,
        /// The known name that is most like it.
        nearest: Option<String>,
        /// What there is.
        known: &'static str,
    },
    /// No day has what the fields ask for, such as the 30th of February.
    #[error("`{given}` never fires: no day fits its day of month, month and day of week")]
    Never {
        /// The expression.
        given: String,
    },
    /// A time zone that is none.
    #[error(
        "there is no time zone `{given}`{}: it is an IANA name such as `UTC` or `Europe/Berlin`",
        did_you_mean(.nearest.as_deref())
    )]
    Zone {
        /// What was given.
        given: String,
        /// The known name that is most like it.
        nearest: Option<&'static str>,
    },
}

impl ScheduleError {
    /// Whether it is the zone that is wrong; otherwise it is the expression.
    #[must_use]
    pub const fn is_about_zone(&self) -> bool {
        matches!(self, Self::Zone { .. })
    }

    pub(super) fn zone(given: &str) -> Self {
        let given = shown(given);
        let nearest = nearest(&given, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
        Self::Zone { given, nearest }
    }
}

/// Not all of what may be long.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}
