//! What a subscriber asks for, and what it may have of it.

use picloud_core::{
    keys::Grant,
    name,
    topic::{Auth, Topics},
    trigger::Pattern,
};

/// The most that one stream can be about.
const MAX_TOPICS: usize = 100;

/// Topics that a stream is about, and what its token allows.
#[derive(Debug)]
pub(super) struct Asked {
    topics: Vec<Pattern>,
    grant: Option<Grant>,
}

/// Why a stream may not be, or not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There is no such topic, or nobody outside may listen to it.
    Nothing,
    /// It takes a token for it.
    Unauthorized,
}

/// Reads `a,b.*`. None, when it names no topics, or too many.
pub(super) fn topics(text: &str) -> Option<Vec<Pattern>> {
    let topics: Vec<_> = text.split(',').map(str::trim).take(MAX_TOPICS + 1).collect();
    let are_topics = topics.len() <= MAX_TOPICS && topics.iter().all(|topic| name::is_topic_pattern(topic));
    are_topics.then(|| topics.into_iter().map(Pattern::new).collect())
}

impl Asked {
    pub(super) const fn new(topics: Vec<Pattern>, grant: Option<Grant>) -> Self {
        Self { topics, grant }
    }

    /// The same with what a token allows.
    pub(super) fn with(self, grant: Option<Grant>) -> Self {
        Self { grant, ..self }
    }

    pub(super) const fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }

    /// Single topics; and whether there is more.
    pub(super) fn singles(&self) -> (impl Iterator<Item = &str>, bool) {
        let is_single = |topic: &&Pattern| topic.prefix().is_none();
        (self.topics.iter().filter(is_single).map(Pattern::as_str), !self.topics.iter().all(|topic| is_single(&topic)))
    }

    /// Whether it takes a token, as topics are now.
    pub(super) fn needs_token(&self, topics: &Topics) -> Result<bool, Refused> {
        let mut needs_token = false;
        for topic in &self.topics {
            needs_token |= topics.auth(topic).ok_or(Refused::Nothing)? == Auth::Token;
        }
        Ok(needs_token)
    }

    /// Whether all of it may be listened to, as topics are now.
    pub(super) fn check(&self, topics: &Topics) -> Result<(), Refused> {
        for topic in &self.topics {
            let is_covered = match topics.auth(topic).ok_or(Refused::Nothing)? {
                Auth::Public => true,
                Auth::Token => self.grant.as_ref().is_some_and(|grant| grant.covers(topic)),
            };
            if !is_covered {
                return Err(Refused::Unauthorized);
            }
        }
        Ok(())
    }

    /// Whether a message of a topic is for this stream.
    pub(super) fn wants(&self, topic: &str, auth: Auth) -> bool {
        let is_any = |topics: &[Pattern]| topics.iter().any(|asked| asked.matches(topic));
        let may = match auth {
            Auth::Public => true,
            Auth::Token => self.grant.as_ref().is_some_and(|grant| is_any(&grant.topics)),
        };
        may && is_any(&self.topics)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use picloud_core::topic::Access;

    use super::*;

    fn asked(text: &str, granted: &[&str]) -> Asked {
        let granted: Vec<_> = granted.iter().map(|topic| Pattern::new(*topic)).collect();
        let grant = Grant { topics: granted, expires_at: DateTime::UNIX_EPOCH };
        Asked::new(topics(text).expect("topics"), (!grant.topics.is_empty()).then_some(grant))
    }

    fn registered() -> Topics {
        let said = [("news.*", Auth::Public), ("room.*", Auth::Token), ("news.staff", Auth::Token)];
        said.into_iter().map(|(topic, auth)| (Pattern::new(topic), Access::External(auth))).collect()
    }

    #[test]
    fn topics_are_read_or_there_are_none() {
        let read =
            |text| topics(text).map(|topics| topics.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(read("a, b.*").as_deref(), Some("a b.*"));
        for none in ["", "a,", "A", "a..b", "a*", &vec!["a"; 101].join(",")] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn what_may_be_listened_to_hangs_on_topics_and_token() {
        for (text, granted, expected) in [
            ("news.eu", &[][..], Ok(())),
            ("news.eu,room.7", &[], Err(Refused::Unauthorized)),
            ("news.eu,room.7", &["room.7"], Ok(())),
            ("room.*", &["room.7"], Err(Refused::Unauthorized)),
            ("news.*", &[], Err(Refused::Unauthorized)),
            ("news.*", &["news.*"], Ok(())),
            ("orders", &["orders", "*"], Err(Refused::Nothing)),
            ("news.eu,orders", &[], Err(Refused::Nothing)),
        ] {
            assert_eq!(asked(text, granted).check(&registered()), expected, "{text} with {granted:?}");
        }
        assert_eq!(asked("news.eu", &[]).needs_token(&registered()), Ok(false));
        assert_eq!(asked("news.*", &[]).needs_token(&registered()), Ok(true));
    }

    #[test]
    fn a_message_is_for_who_asked_and_may() {
        let all = asked("news.*,room.7", &["room.*", "news.staff"]);
        assert!(all.wants("news.eu", Auth::Public) && all.wants("room.7", Auth::Token));
        assert!(all.wants("news.staff", Auth::Token), "the token says so");
        assert!(!all.wants("room.8", Auth::Token), "nobody asked");
        assert!(!asked("news.*", &[]).wants("news.staff", Auth::Token));
    }
}
