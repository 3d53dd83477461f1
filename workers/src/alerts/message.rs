//! What receivers get: JSON whose `text` and `content` chat programs show and whose `data` programs read, or mail for people.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use picloud_core::{
    alert::{Matter, Notice},
    mail::Address,
};
use picloud_projections::{alerts::Told, setup::Setup};
use serde_json::{Value, json};

use crate::mail::Mail;

/// A message on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The same for each attempt: receivers tell by it what they have had already.
    pub id: String,
    /// The message that this is the end of.
    follows: Option<String>,
    /// Of what kind it is, as in `type`.
    kind: String,
    /// When it came to be true.
    at: DateTime<Utc>,
    /// When what it is about began; none for a test.
    since: Option<DateTime<Utc>>,
    /// What it says.
    sentence: String,
    /// What to type to find out more.
    next: Option<String>,
    /// Where the instance is managed.
    instance: String,
    /// What programs may want to know.
    data: Value,
}

impl Message {
    /// What a channel is owed of an alert. `instance` is where this one is managed.
    pub fn of(told: &Told, notice: Notice, setup: &Setup, instance: &str) -> Self {
        let app = match &told.matter {
            Matter::DeadLetter { app, .. } => setup.apps.get(app).map(|app| &*app.slug),
            Matter::ViewParked { .. }
            | Matter::ListeningDegraded { .. }
            | Matter::Disk { .. }
            | Matter::BackupFailed { .. } => None,
        };
        let (id, at, sentence) = match (notice, told.recovered_at) {
            (Notice::Recovered, Some(at)) => (format!("{}_recovered", told.alert), at, told.matter.recovered(app)),
            (Notice::Raised | Notice::Recovered, _) => {
                (told.alert.to_string(), told.raised_at, told.matter.raised(app))
            }
        };
        let next = (notice == Notice::Raised).then(|| told.matter.next(app));
        let mut data = json!({
            "alert": told.alert,
            "channel": told.channel,
            "condition": told.condition,
            "message": sentence,
            "instance": instance,
            "raised_at": time(told.raised_at),
        });
        if let Some(next) = &next {
            data["next"] = next.as_str().into();
        }
        if notice == Notice::Recovered {
            data["recovered_at"] = time(at).into();
        }
        details(&told.matter, app, &mut data);
        Self {
            id,
            follows: (notice == Notice::Recovered).then(|| told.alert.to_string()),
            kind: format!("alert.{notice}"),
            at,
            since: Some(told.raised_at),
            sentence,
            next,
            instance: instance.to_owned(),
            data,
        }
    }

    /// One that says that it is a test.
    pub fn test(id: String, channel: &str, instance: &str, now: DateTime<Utc>) -> Self {
        let sentence = format!("This is a test of the alert channel `{channel}`.");
        let data = json!({ "channel": channel, "message": sentence, "instance": instance });
        Self {
            id,
            follows: None,
            kind: "alert.test".to_owned(),
            at: now,
            since: None,
            sentence,
            next: None,
            instance: instance.to_owned(),
            data,
        }
    }

    /// As a URL is told.
    pub fn json(&self) -> Bytes {
        let next = self.next.as_ref().map(|next| format!(" Next: `{next}`")).unwrap_or_default();
        let text = format!("[PiCloud {}] {}{next}", self.instance, self.sentence);
        let (kind, at) = (&self.kind, time(self.at));
        json!({ "type": kind, "timestamp": at, "text": text, "content": text, "data": self.data }).to_string().into()
    }

    /// As people are told, who may read it on a telephone.
    pub fn mail(&self, to: Vec<Address>) -> Mail {
        let host = self.instance.split("://").last().unwrap_or_default();
        let mut text = format!("{}\n\nWhere: {}\n", self.sentence, self.instance);
        let mut line = |name: &str, what: &str| text += &format!("{name}: {what}\n");
        if let Some(since) = self.since {
            line("Since", &second(since));
        }
        if self.follows.is_some() {
            line("Over", &second(self.at));
        }
        if let Some(next) = &self.next {
            line("Next", next);
        }
        let channel = self.data["channel"].as_str().unwrap_or_default();
        text += &format!("\nPiCloud sent this to its alert channel `{channel}` ({}).\n", self.id);
        let subject = format!("[PiCloud {host}] {}", self.sentence);
        Mail { id: self.id.clone(), follows: self.follows.clone(), to, subject, text, at: self.at }
    }
}

/// What programs may want to know of the matter.
fn details(matter: &Matter, slug: Option<&str>, data: &mut Value) {
    match matter {
        Matter::DeadLetter { app, letters, up_to: _ } => {
            data["app"] = json!({ "id": app, "slug": slug });
            data["count"] = (*letters).into();
        }
        Matter::ViewParked { view } => data["view"] = view.as_str().into(),
        Matter::ListeningDegraded { node } => data["node"] = node.as_str().into(),
        Matter::Disk { node, available_bytes, size_bytes } => {
            data["node"] = node.as_str().into();
            data["available_bytes"] = (*available_bytes).into();
            data["size_bytes"] = (*size_bytes).into();
        }
        Matter::BackupFailed { failed_at, error } => {
            data["failed_at"] = time(*failed_at).into();
            data["error"] = error.as_str().into();
        }
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn second(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use picloud_core::{
        id::{AlertId, AppId},
        log::Position,
    };

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).expect("a time")
    }

    fn told(matter: Matter) -> Told {
        Told {
            channel: "ops".to_owned(),
            condition: matter.condition(),
            subject: matter.subject(),
            alert: AlertId::generate(),
            matter,
            raised_at: at(0),
            told_up_to: at(0),
            recovered_at: Some(at(60)),
            owed: None,
            last_error: None,
            position: Position::ZERO,
        }
    }

    fn read(message: &Message) -> Value {
        serde_json::from_slice(&message.json()).expect("JSON")
    }

    #[test]
    fn a_message_says_it_in_words_and_in_data() {
        let app = AppId::generate();
        let told = told(Matter::DeadLetter { app, letters: 3, up_to: at(0) });
        let message = Message::of(&told, Notice::Raised, &Setup::default(), "http://pi:8081");
        assert_eq!(message.id, told.alert.to_string());
        let body = read(&message);
        assert_eq!(body["type"], "alert.raised");
        assert_eq!(body["timestamp"], "2027-01-15T08:00:00.000000Z");
        let says = format!(
            "[PiCloud http://pi:8081] The app `{app}` has 3 new dead letters. Next: `picloud dead-letters ls --app {app}`"
        );
        assert_eq!((&body["text"], &body["content"]), (&json!(says), &json!(says)));
        assert_eq!(body["data"]["count"], 3);
        assert_eq!(body["data"]["app"]["id"], json!(app));
        assert_eq!(body["data"]["condition"], "dead_letter");
    }

    #[test]
    fn an_end_is_a_message_of_its_own_about_the_same_alert() {
        let told = told(Matter::ViewParked { view: "logs".into() });
        let message = Message::of(&told, Notice::Recovered, &Setup::default(), "http://pi:8081");
        assert_eq!(message.id, format!("{}_recovered", told.alert));
        // A full stop in it would be taken for the end of the id.
        assert!(!message.id.contains('.'));
        let body = read(&message);
        assert_eq!(body["type"], "alert.recovered");
        assert_eq!(body["text"], "[PiCloud http://pi:8081] The view `logs` goes on.");
        assert_eq!(body["timestamp"], body["data"]["recovered_at"]);
        assert_eq!(body["data"]["alert"], json!(told.alert));
    }

    #[test]
    fn mail_says_what_where_since_when_and_what_to_do() {
        let to = vec![Address::read("ops@example.com").expect("an address")];
        let app = AppId::generate();
        let letters = told(Matter::DeadLetter { app, letters: 3, up_to: at(0) });
        let mail = Message::of(&letters, Notice::Raised, &Setup::default(), "https://pi.example.com").mail(to.clone());
        assert_eq!((&mail.id, &mail.follows, &mail.to), (&letters.alert.to_string(), &None, &to));
        assert_eq!(mail.subject, format!("[PiCloud pi.example.com] The app `{app}` has 3 new dead letters."));
        assert_eq!(
            mail.text,
            format!(
                "The app `{app}` has 3 new dead letters.\n\nWhere: https://pi.example.com\nSince: 2027-01-15 08:00:00 UTC\n\
                 Next: picloud dead-letters ls --app {app}\n\n\
                 PiCloud sent this to its alert channel `ops` ({}).\n",
                letters.alert
            )
        );
        let view = told(Matter::ViewParked { view: "logs".into() });
        let end = Message::of(&view, Notice::Recovered, &Setup::default(), "http://pi:8081").mail(to.clone());
        assert_eq!(end.follows, Some(view.alert.to_string()), "shown below the other");
        assert!(end.text.contains("Since: 2027-01-15 08:00:00 UTC\nOver: 2027-01-15 08:01:00 UTC\n"), "{}", end.text);
        let test = Message::test("test_1".to_owned(), "ops", "http://pi:8081", at(0)).mail(to);
        assert_eq!(test.subject, "[PiCloud pi:8081] This is a test of the alert channel `ops`.");
        assert!(!test.text.contains("Since") && !test.text.contains("Next"), "{}", test.text);
    }

    #[test]
    fn each_attempt_sends_the_same() {
        let told = told(Matter::ListeningDegraded { node: "attic".into() });
        let again = || Message::of(&told, Notice::Raised, &Setup::default(), "http://pi:8081");
        assert_eq!(again(), again());
    }
}
