//! What a server is handed: headers and text.

use chrono::{DateTime, Utc};
use lettre::{
    Message,
    message::{
        Mailbox, SinglePart,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
};
use picloud_core::mail::Address;

use super::Sender;

/// The longest subject, in characters: telephones show a third of it.
const MAX_SUBJECT_CHARS: usize = 150;

/// A message of plain text. What is in it comes from anywhere: it ends no header and begins none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The same for each attempt: receivers tell by it what they have had already. Letters, digits and `_`.
    pub id: String,
    /// The message that this one is shown below.
    pub follows: Option<String>,
    /// Whom to, one at least.
    pub to: Vec<Address>,
    /// What it is about.
    pub subject: String,
    /// What it says.
    pub text: String,
    /// When what it says was so.
    pub at: DateTime<Utc>,
}

impl Mail {
    /// As it is sent: the same each time.
    pub(super) fn composed(&self, sender: &Sender) -> Vec<u8> {
        let from = Mailbox::new(sender.name.clone(), in_their_words(&sender.address));
        let id = |id: &str| format!("<{id}@{}>", sender.address.host());
        let mut message = Message::builder()
            .from(from)
            .date(self.at.into())
            .subject(one_line(&self.subject))
            .message_id(Some(id(&self.id)))
            // So that nobody's absence answers it (RFC 3834).
            .header(AutoSubmitted);
        for to in &self.to {
            message = message.to(Mailbox::new(None, in_their_words(to)));
        }
        if let Some(follows) = &self.follows {
            message = message.in_reply_to(id(follows)).references(id(follows));
        }
        let text = SinglePart::builder().header(ContentType::TEXT_PLAIN).body(self.text.clone());
        message.singlepart(text).expect("it has a sender and an address").formatted()
    }
}

/// As the library knows addresses. It was checked when it was read, by stricter rules.
pub(super) fn in_their_words(address: &Address) -> lettre::Address {
    let (local, host) = address.parts();
    lettre::Address::new_dangerous(local, host)
}

/// The library encodes line breaks in headers; a subject with one would still be shown as two lines.
fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = words.char_indices().nth(MAX_SUBJECT_CHARS) {
        words.truncate(cut);
        words.push('…');
    }
    words
}

/// `Auto-Submitted: auto-generated`.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail() -> Mail {
        Mail {
            id: "alr_1".to_owned(),
            follows: None,
            to: vec![Address::read("ops@example.com").expect("one"), Address::read("anna@example.org").expect("one")],
            subject: "a subject".to_owned(),
            text: "some text\n.\nmore".to_owned(),
            at: DateTime::from_timestamp(1_800_000_000, 0).expect("a time"),
        }
    }

    fn composed(mail: &Mail) -> String {
        let sender = Sender::read("PiCloud at home <pi@example.com>").expect("a sender");
        String::from_utf8(mail.composed(&sender)).expect("ASCII")
    }

    fn headers(text: &str) -> Vec<&str> {
        text.split("\r\n\r\n").next().expect("headers").split("\r\n").collect()
    }

    #[test]
    fn a_message_says_who_when_and_that_nobody_wrote_it() {
        let text = composed(&mail());
        assert_eq!(
            headers(&text),
            [
                "From: \"PiCloud at home\" <pi@example.com>",
                "Date: Fri, 15 Jan 2027 08:00:00 +0000",
                "Subject: a subject",
                "Message-ID: <alr_1@example.com>",
                "Auto-Submitted: auto-generated",
                "To: ops@example.com, anna@example.org",
                "MIME-Version: 1.0",
                "Content-Type: text/plain; charset=utf-8",
                "Content-Transfer-Encoding: 7bit",
            ]
        );
        assert!(text.ends_with("\r\n\r\nsome text\r\n.\r\nmore\r\n"), "{text}");
        assert_eq!(text, composed(&mail()), "the same each time");
        let end = composed(&Mail { follows: Some("alr_0".to_owned()), ..mail() });
        assert!(end.contains("\r\nIn-Reply-To: <alr_0@example.com>\r\nReferences: <alr_0@example.com>\r\n"), "{end}");
    }

    #[test]
    fn nothing_that_is_told_makes_a_header() {
        let evil = "shop\r\nBcc: everybody@example.com\r\n\r\n<h1>\n.\nü\0\u{85}x";
        let text = composed(&Mail { subject: evil.to_owned(), text: evil.to_owned(), ..mail() });
        let names: Vec<_> = headers(&text)
            .into_iter()
            .filter(|line| !line.starts_with(' '))
            .map(|line| line.split(':').next().expect("a name"))
            .collect();
        let expected =
            "From Date Subject Message-ID Auto-Submitted To MIME-Version Content-Type Content-Transfer-Encoding";
        assert_eq!(names.join(" "), expected);
        assert!(text.is_ascii());
    }

    #[test]
    fn a_subject_is_one_short_line() {
        assert_eq!(one_line(" a\r\n\tb\u{2028} c\0d "), "a b c d");
        assert_eq!(one_line(&"ä".repeat(200)).chars().count(), 151);
    }
}
