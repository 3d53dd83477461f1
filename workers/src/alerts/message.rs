//! What receivers get: JSON whose `text` and `content` chat programs show, and whose `data` programs read.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use picloud_core::alert::{Matter, Notice};
use picloud_projections::{alerts::Told, setup::Setup};
use serde_json::{Value, json};

/// A message on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The same for each attempt: receivers tell by it what they have had already.
    pub id: String,
    /// JSON.
    pub body: Bytes,
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
        Self::new(id, &format!("alert.{notice}"), at, &text(instance, &sentence, next.as_deref()), &data)
    }

    /// One that says that it is a test.
    pub fn test(id: String, channel: &str, instance: &str, now: DateTime<Utc>) -> Self {
        let sentence = format!("This is a test of the alert channel `{channel}`.");
        let data = json!({ "channel": channel, "message": sentence, "instance": instance });
        Self::new(id, "alert.test", now, &text(instance, &sentence, None), &data)
    }

    fn new(id: String, kind: &str, at: DateTime<Utc>, text: &str, data: &Value) -> Self {
        let body = json!({ "type": kind, "timestamp": time(at), "text": text, "content": text, "data": data });
        Self { id, body: body.to_string().into() }
    }
}

fn text(instance: &str, sentence: &str, next: Option<&str>) -> String {
    let next = next.map(|next| format!(" Next: `{next}`")).unwrap_or_default();
    format!("[PiCloud {instance}] {sentence}{next}")
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
        serde_json::from_slice(&message.body).expect("JSON")
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
    fn each_attempt_sends_the_same() {
        let told = told(Matter::ListeningDegraded { node: "attic".into() });
        let again = || Message::of(&told, Notice::Raised, &Setup::default(), "http://pi:8081");
        assert_eq!(again(), again());
    }
}
