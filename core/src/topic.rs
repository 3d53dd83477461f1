//! Who may listen to an app's topics from outside.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::trigger::Pattern;

/// Who may listen to a topic that can be listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TopicAuth)]
pub enum Auth {
    /// Everybody.
    Public,
    /// Who has a token for it.
    Token,
}

impl Auth {
    /// As it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Token => "token",
        }
    }
}

/// Who may listen to a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Nobody: it is there for the app's own triggers.
    #[default]
    Internal,
    /// As it says.
    External(Auth),
}

impl Access {
    /// From what stands in the database. What only a newer version knows lets nobody in.
    #[must_use]
    pub fn stored(auth: Option<&str>) -> Self {
        [Auth::Public, Auth::Token]
            .into_iter()
            .find(|known| auth == Some(known.as_str()))
            .map_or(Self::Internal, Self::External)
    }

    /// Who may; none when nobody may.
    #[must_use]
    pub const fn auth(self) -> Option<Auth> {
        match self {
            Self::Internal => None,
            Self::External(auth) => Some(auth),
        }
    }
}

/// All that is said of an app's topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    /// What says the most comes first: one topic, then the longest prefix.
    said: Vec<(Pattern, Access)>,
}

impl FromIterator<(Pattern, Access)> for Topics {
    fn from_iter<I: IntoIterator<Item = (Pattern, Access)>>(said: I) -> Self {
        let mut said: Vec<_> = said.into_iter().collect();
        said.sort_by_key(|(pattern, _)| std::cmp::Reverse((pattern.prefix().is_none(), pattern.as_str().len())));
        Self { said }
    }
}

impl Topics {
    /// Who may listen to a topic: what says the most of it counts.
    #[must_use]
    pub fn access(&self, topic: &str) -> Access {
        self.said.iter().find(|(pattern, _)| pattern.matches(topic)).map_or(Access::Internal, |(_, access)| *access)
    }

    /// What is asked of whoever wants to listen to all that a pattern asks for: none when there is nothing to listen to, a token
    /// when any of it wants one.
    #[must_use]
    pub fn auth(&self, asked: &Pattern) -> Option<Auth> {
        if asked.prefix().is_none() {
            return self.access(asked.as_str()).auth();
        }
        // What covers all of it, unless something closer does; and all that is said of a part of it.
        let around = self.said.iter().find(|(pattern, _)| pattern.covers(asked)).map(|(_, access)| *access);
        let within = self.said.iter().filter(|(pattern, _)| asked.covers(pattern)).map(|(_, access)| *access);
        let all: Vec<Auth> = around.into_iter().chain(within).filter_map(Access::auth).collect();
        if all.contains(&Auth::Token) { Some(Auth::Token) } else { all.first().copied() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: Access = Access::External(Auth::Public);
    const TOKEN: Access = Access::External(Auth::Token);

    fn topics(said: &[(&str, Access)]) -> Topics {
        said.iter().map(|(topic, access)| (Pattern::new(*topic), *access)).collect()
    }

    #[test]
    fn what_says_the_most_of_a_topic_counts() {
        let topics =
            topics(&[("*", PUBLIC), ("room.*", TOKEN), ("room.lobby", PUBLIC), ("room.staff.*", Access::Internal)]);
        for (topic, access) in [
            ("news", PUBLIC),
            ("room", PUBLIC),
            ("room.7", TOKEN),
            ("room.7.typing", TOKEN),
            ("room.lobby", PUBLIC),
            ("room.lobby.typing", TOKEN),
            ("room.staff.7", Access::Internal),
            ("room.staff", TOKEN),
        ] {
            assert_eq!(topics.access(topic), access, "{topic}");
        }
        assert_eq!(Topics::default().access("news"), Access::Internal);
    }

    #[test]
    fn who_asks_for_many_needs_what_any_of_them_wants() {
        let topics = topics(&[
            ("room.*", PUBLIC),
            ("room.staff.*", TOKEN),
            ("room.staff.log", Access::Internal),
            ("news", PUBLIC),
        ]);
        for (asked, auth) in [
            ("room.7", Some(Auth::Public)),
            ("room.7.*", Some(Auth::Public)),
            ("room.*", Some(Auth::Token)),
            ("room.staff.*", Some(Auth::Token)),
            ("room.staff.log", None),
            ("*", Some(Auth::Token)),
            ("news", Some(Auth::Public)),
            ("news.*", None),
            ("orders", None),
            ("orders.*", None),
        ] {
            assert_eq!(topics.auth(&Pattern::new(asked)), auth, "{asked}");
        }
        assert_eq!(Topics::default().auth(&Pattern::new("*")), None);
    }
}
