//! Server-sent events, as they come in pieces.

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where to go on after a break; frames that cannot be resumed from have none.
    pub id: Option<String>,
    /// `message`, unless the server says otherwise.
    pub event: String,
    /// Its lines, joined.
    pub data: String,
}

/// Puts the pieces together.
#[derive(Debug, Default)]
pub struct Parser {
    rest: Vec<u8>,
    id: Option<String>,
    event: String,
    data: Vec<String>,
}

impl Parser {
    /// The frames that are whole now.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.rest.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            frames.extend(self.line(line.trim_end_matches(['\n', '\r'])));
        }
        frames
    }

    fn line(&mut self, line: &str) -> Option<Frame> {
        if line.is_empty() {
            return self.frame();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event),
            "data" => self.data.push(value.to_owned()),
            // Comments keep the connection awake; `retry` is for those who have no opinion.
            _ => {}
        }
        None
    }

    fn frame(&mut self) -> Option<Frame> {
        let (id, event, data) = (self.id.take(), std::mem::take(&mut self.event), std::mem::take(&mut self.data));
        let event = if event.is_empty() { "message".to_owned() } else { event };
        (!data.is_empty() || id.is_some()).then(|| Frame { id, event, data: data.join("\n") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_the_same_however_they_are_cut() {
        let text =
            ": heartbeat\n\nretry: 1000\n\nid: a\ndata: {\"n\":\r\ndata: 1}\n\nevent: up-to-date\ndata: ü\nid: b\n\nda";
        let whole = Parser::default().push(text.as_bytes());
        let expected = [
            Frame { id: Some("a".into()), event: "message".into(), data: "{\"n\":\n1}".into() },
            Frame { id: Some("b".into()), event: "up-to-date".into(), data: "ü".into() },
        ];
        assert_eq!(whole, expected);
        let mut parser = Parser::default();
        let pieces: Vec<Frame> = text.as_bytes().iter().flat_map(|byte| parser.push(&[*byte])).collect();
        assert_eq!(pieces, expected);
    }
}
