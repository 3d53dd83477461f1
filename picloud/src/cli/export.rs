//! `picloud events --to`: the log as a file of CloudEvents, one a line, which is gone on with where it ends.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use anyhow::Context;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::print;
use crate::{client::Client, failure::Failure};

/// As many as the server gives at once.
const PAGE: &str = "1000";

/// What every line begins with.
const BEGIN: &str = "{\"specversion\":\"1.0\",";

/// A line is looked for from the end of a file in steps of this many bytes.
const STEP: u64 = 1 << 16;

#[derive(Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    /// There may be more, behind that: also where nothing was found in the time that the server searches.
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Exported {
    cursor: String,
}

/// Writes what there is and is not in the file yet.
pub(super) async fn run(client: &Client, from: &str, query: &[(&str, String)], to: &Path) -> Result<(), Failure> {
    let (file, mut after) = open(to)?;
    let mut writer = BufWriter::new(file);
    let mut written = 0_usize;
    loop {
        let mut request = client.request(Method::GET, from).query(query).query(&[("order", "asc"), ("limit", PAGE)]);
        if let Some(cursor) = &after {
            request = request.query(&[("after", cursor)]);
        }
        let page: Page = client.read(request).await?;
        for event in &page.items {
            writer
                .write_all(event.get().as_bytes())
                .and_then(|()| writer.write_all(b"\n"))
                .with_context(|| failed(to))?;
        }
        // A page at a time: what is in the file is whole, whenever this ends.
        writer.flush().with_context(|| failed(to))?;
        written += page.items.len();
        after = page.cursor;
        if after.is_none() {
            break;
        }
    }
    writer.get_ref().sync_all().with_context(|| failed(to))?;
    print::aside(&format!("{written} events were added to {}\n", to.display()));
    Ok(())
}

/// Opens a file behind its last whole line; the cursor of the event there, if there is one.
fn open(path: &Path) -> Result<(File, Option<String>), Failure> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = opened.with_context(|| failed(path))?;
    let (line, end) = last_line(&mut file).with_context(|| format!("failed to read {}", path.display()))?;
    let after = if line.is_empty() { None } else { Some(exported(&line, path)?.cursor) };
    let mut torn = String::new();
    file.seek(SeekFrom::Start(end)).and_then(|_| file.read_to_string(&mut torn)).with_context(|| failed(path))?;
    if !(torn.starts_with(BEGIN) || BEGIN.starts_with(&torn)) {
        exported(&torn, path)?;
    }
    // What was cut off in the middle of a line is asked for again.
    file.set_len(end).and_then(|()| file.seek(SeekFrom::End(0))).with_context(|| failed(path))?;
    Ok((file, after))
}

/// The last line that is whole, and where it ends.
fn last_line(file: &mut File) -> std::io::Result<(String, u64)> {
    let length = file.metadata()?.len();
    let (mut start, mut tail) = (length, Vec::new());
    loop {
        let end = tail.iter().rposition(|byte| *byte == b'\n');
        let begin = end.and_then(|end| tail[..end].iter().rposition(|byte| *byte == b'\n'));
        match (begin, end) {
            (Some(begin), Some(end)) => return Ok((text(&tail[begin + 1..end]), start + end as u64 + 1)),
            (None, Some(end)) if start == 0 => return Ok((text(&tail[..end]), end as u64 + 1)),
            (None, None) if start == 0 => return Ok((String::new(), 0)),
            _ => {}
        }
        let step = start.min(STEP);
        start -= step;
        let mut before = vec![0; step as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut before)?;
        before.append(&mut tail);
        tail = before;
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn exported(line: &str, path: &Path) -> Result<Exported, Failure> {
    serde_json::from_str(line).map_err(|error| {
        Failure::usage(format!("{} does not end with an event that was exported: {error}", path.display()))
            .next("name a file that is not there, or one that this command has written")
    })
}

fn failed(path: &Path) -> String {
    format!("failed to write {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_line_is_found_wherever_it_lies() {
        let long = "x".repeat(3 * STEP as usize + 7);
        for (text, line) in [
            ("", ""),
            ("torn", ""),
            ("one\n", "one"),
            ("one\ntwo\n", "two"),
            ("one\ntwo\nto", "two"),
            (&format!("one\n{long}\n"), &*long),
            (&format!("one\n{long}"), "one"),
            (&format!("{long}\ntwo\n"), "two"),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let whole = text.rfind('\n').map_or(0, |end| end as u64 + 1);
            assert_eq!(last_line(&mut file).unwrap(), (line.to_owned(), whole), "{text:.20}");
        }
    }
}
