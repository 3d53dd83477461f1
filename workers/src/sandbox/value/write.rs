//! Values into JSON text, exactly or not at all.

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use picloud_core::limits::Limits;
use rhai::{Array, Blob, Dynamic, ImmutableString, Map};

use super::{Kind, kind_name};
use crate::sandbox::{memory, meter};

/// Why a value did not become JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// Something in it has no JSON form.
    NoForm {
        /// Where in the value, like `.items[3].price`; empty for the value itself.
        path: String,
        /// What is there.
        what: String,
    },
    /// It nests too deep, or the text grew too long: see `name`.
    Limit {
        /// The limit's name in [`Limits`].
        name: &'static str,
        /// What is allowed.
        message: String,
    },
    /// The run was ended while it was written (deadline, memory, cancelled).
    Over,
}

impl WriteError {
    /// For a message: what is wrong and where in the value.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::NoForm { path, what } if path.is_empty() => format!("{what} has no JSON form"),
            Self::NoForm { path, what } => format!("{what} at `{path}` has no JSON form"),
            Self::Limit { message, .. } => message.clone(),
            Self::Over => "the run is over".to_owned(),
        }
    }
}

/// How long the text may become, and which limit says so.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes.
    pub bytes: usize,
    /// The limit's name in [`Limits`].
    pub limit: &'static str,
}

/// Writes a value as compact JSON, for whoever reads it outside. Maps are in the order of their keys, a blob is its
/// base64.
///
/// # Errors
/// [`WriteError`] names what cannot be written, with its place, or the limit that was passed.
pub fn write_json(value: &Dynamic, limits: &Limits, room: Room) -> Result<Vec<u8>, WriteError> {
    write(value, limits, room, Style { pretty: false, blobs: true })
}

/// Writes a value as compact JSON to be read back by a script: refuses blobs, which would come back as strings.
///
/// # Errors
/// As [`write_json`].
pub fn write_json_exactly(value: &Dynamic, limits: &Limits, room: Room) -> Result<Vec<u8>, WriteError> {
    write(value, limits, room, Style { pretty: false, blobs: false })
}

/// Writes a value as JSON for people, indented by two spaces.
///
/// # Errors
/// As [`write_json`].
pub fn write_json_pretty(value: &Dynamic, limits: &Limits, room: Room) -> Result<Vec<u8>, WriteError> {
    write(value, limits, room, Style { pretty: true, blobs: true })
}

fn write(value: &Dynamic, limits: &Limits, room: Room, style: Style) -> Result<Vec<u8>, WriteError> {
    memory::unwatched(|| {
        let mut writer = Writer { out: Vec::new(), room, max_depth: limits.max_value_depth, style };
        writer.value(value, 0)?;
        Ok(writer.out)
    })
}

#[derive(Clone, Copy)]
struct Style {
    pretty: bool,
    /// Whether blobs are written, as base64.
    blobs: bool,
}

struct Writer {
    out: Vec<u8>,
    room: Room,
    max_depth: usize,
    style: Style,
}

impl Writer {
    fn value(&mut self, value: &Dynamic, depth: usize) -> Result<(), WriteError> {
        let before = self.out.len();
        match Kind::of(value) {
            Kind::Unit => self.out.extend_from_slice(b"null"),
            Kind::Bool => self.display(value.as_bool().unwrap_or_default()),
            Kind::Int => self.display(value.as_int().unwrap_or_default()),
            Kind::Float => self.float(value.as_float().unwrap_or(f64::NAN))?,
            Kind::Char => self.text(value.as_char().unwrap_or_default().encode_utf8(&mut [0; 4])),
            Kind::Text => {
                if let Some(text) = value.read_lock::<ImmutableString>() {
                    self.fits(text.len())?;
                    self.text(&text);
                }
            }
            Kind::Array => {
                if let Some(array) = value.read_lock::<Array>() {
                    self.array(&array, depth)?;
                }
            }
            Kind::Map => {
                if let Some(map) = value.read_lock::<Map>() {
                    self.map(&map, depth)?;
                }
            }
            Kind::Blob if self.style.blobs => {
                if let Some(blob) = value.read_lock::<Blob>() {
                    self.fits(blob.len().div_ceil(3) * 4)?;
                    self.text(&STANDARD.encode(&*blob));
                }
            }
            Kind::Blob => {
                let what = "a blob (use base64::encode or hex::encode)".to_owned();
                return Err(WriteError::NoForm { path: String::new(), what });
            }
            Kind::Function => return Err(no_form(kind_name(value))),
            Kind::Other => return Err(no_form(value.type_name())),
        }
        self.fits(0)?;
        meter::spend(8 + self.out.len().saturating_sub(before)).map_err(|_| WriteError::Over)
    }

    fn float(&mut self, number: f64) -> Result<(), WriteError> {
        if !number.is_finite() {
            return Err(no_form(if number.is_nan() { "NaN" } else { "an infinite float" }));
        }
        // serde_json's shortest form: it reads back as the same float, and `1.0` stays a float.
        serde_json::to_writer(&mut self.out, &number).expect("a vector takes every write");
        Ok(())
    }

    fn text(&mut self, text: &str) {
        serde_json::to_writer(&mut self.out, text).expect("a vector takes every write");
    }

    fn display(&mut self, value: impl std::fmt::Display) {
        write!(self.out, "{value}").expect("a vector takes every write");
    }

    fn array(&mut self, array: &Array, depth: usize) -> Result<(), WriteError> {
        self.open(b'[', depth)?;
        for (index, item) in array.iter().enumerate() {
            self.separate(index, depth);
            self.value(item, depth + 1).map_err(|error| error.under(|| format!("[{index}]")))?;
        }
        self.close(b']', array.is_empty(), depth);
        Ok(())
    }

    fn map(&mut self, map: &Map, depth: usize) -> Result<(), WriteError> {
        self.open(b'{', depth)?;
        for (index, (key, item)) in map.iter().enumerate() {
            self.separate(index, depth);
            self.text(key);
            self.out.extend_from_slice(if self.style.pretty { b": " } else { b":" });
            self.value(item, depth + 1).map_err(|error| error.under(|| format!(".{key}")))?;
        }
        self.close(b'}', map.is_empty(), depth);
        Ok(())
    }

    fn open(&mut self, bracket: u8, depth: usize) -> Result<(), WriteError> {
        if depth >= self.max_depth {
            let message = format!("a value nests deeper than {} levels", self.max_depth);
            return Err(WriteError::Limit { name: "max_value_depth", message });
        }
        self.out.push(bracket);
        Ok(())
    }

    fn separate(&mut self, index: usize, depth: usize) {
        if index > 0 {
            self.out.push(b',');
        }
        if self.style.pretty {
            self.line(depth + 1);
        }
    }

    fn close(&mut self, bracket: u8, empty: bool, depth: usize) {
        if self.style.pretty && !empty {
            self.line(depth);
        }
        self.out.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        self.out.push(b'\n');
        self.out.resize(self.out.len() + 2 * depth, b' ');
    }

    fn fits(&self, more: usize) -> Result<(), WriteError> {
        if self.out.len().saturating_add(more) <= self.room.bytes {
            return Ok(());
        }
        let message = format!("the JSON is longer than {} bytes", self.room.bytes);
        Err(WriteError::Limit { name: self.room.limit, message })
    }
}

impl WriteError {
    fn under(self, segment: impl FnOnce() -> String) -> Self {
        match self {
            Self::NoForm { path, what } => Self::NoForm { path: format!("{}{path}", segment()), what },
            other @ (Self::Limit { .. } | Self::Over) => other,
        }
    }
}

fn no_form(what: &str) -> WriteError {
    WriteError::NoForm { path: String::new(), what: what.to_owned() }
}
