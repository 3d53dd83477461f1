//! Reads a backup, a frame at a time; what is handed out is as it was written.

use std::io::{self, Read};

use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::{
    BEGIN, FileError, Manifest, VERSION,
    frame::{DIGEST_BYTES, HEADER_BYTES, Kind},
};

/// What comes next in a backup.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// A table of the manifest begins. They come in the order of that.
    Table(usize),
    /// Rows of the table, cut anywhere.
    Rows(Vec<u8>),
    /// All was read, and nothing is missing.
    End,
}

/// A backup that is read.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    hash: Sha256,
    /// So many bytes were read.
    at: u64,
    /// The tables' names, and how many of them have begun.
    tables: Vec<String>,
    begun: usize,
}

impl<R: Read> Reader<R> {
    /// Reads what a backup says of itself.
    ///
    /// # Errors
    /// [`FileError`], when it is none, of a newer format, or damaged.
    pub fn open(from: R) -> Result<(Self, Manifest), FileError> {
        let mut reader = Self { from, hash: Sha256::new(), at: 0, tables: Vec::new(), begun: 0 };
        let version = reader.version()?;
        if version > VERSION {
            return Err(FileError::Newer { found: version, known: VERSION });
        }
        let begin = reader.at;
        let (kind, content) = reader.frame()?;
        if kind != Kind::Manifest {
            return Err(reader.damaged(begin));
        }
        let manifest: Manifest = reader.json(begin, &content)?;
        reader.tables = manifest.tables.iter().map(|table| table.name.clone()).collect();
        Ok((reader, manifest))
    }

    /// Reads what comes next.
    ///
    /// # Errors
    /// [`FileError`], when it is damaged or was cut off.
    pub fn next_part(&mut self) -> Result<Part, FileError> {
        let begin = self.at;
        let (kind, content) = self.frame()?;
        match kind {
            Kind::Table => {
                let number: usize = self.json(begin, &content)?;
                if number != self.begun || number >= self.tables.len() {
                    return Err(self.damaged(begin));
                }
                self.begun += 1;
                Ok(Part::Table(number))
            }
            Kind::Rows if self.begun > 0 => Ok(Part::Rows(content)),
            Kind::End if self.begun == self.tables.len() => {
                let at = self.at;
                if self.from.read(&mut [0])? > 0 {
                    return Err(FileError::Trailing { at });
                }
                Ok(Part::End)
            }
            Kind::Manifest | Kind::Rows | Kind::End => Err(self.damaged(begin)),
        }
    }

    /// So many bytes were read.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.at
    }

    /// The number in the first line.
    fn version(&mut self) -> Result<u32, FileError> {
        let mut begin = [0; BEGIN.len()];
        // What is shorter than that is no backup that was cut off.
        self.fill(&mut begin).map_err(|error| not_a_backup(error, BEGIN.len()))?;
        if begin != BEGIN.as_bytes() {
            return Err(FileError::NotABackup);
        }
        let mut version = 0_u32;
        // A version has few digits: then comes the end of the line.
        for n in 0..10 {
            let mut byte = [0];
            self.fill(&mut byte)?;
            match byte[0] {
                b'\n' if n > 0 && version > 0 => return Ok(version),
                digit @ b'0'..=b'9' => version = version.saturating_mul(10).saturating_add(u32::from(digit - b'0')),
                _ => return Err(FileError::NotABackup),
            }
        }
        Err(FileError::NotABackup)
    }

    /// The next frame, proved.
    fn frame(&mut self) -> Result<(Kind, Vec<u8>), FileError> {
        let begin = self.at;
        let mut header = [0; HEADER_BYTES];
        self.fill(&mut header)?;
        let [letter, length @ ..] = header;
        let length = u32::from_be_bytes(length) as usize;
        let kind = Kind::of(letter).filter(|kind| length <= zstd::zstd_safe::compress_bound(kind.max_bytes()));
        let Some(kind) = kind else { return Err(self.damaged(begin)) };
        let mut packed = Vec::new();
        // As it comes: a length that is not so must not take memory.
        self.from.by_ref().take(length as u64).read_to_end(&mut packed)?;
        self.hash.update(&packed);
        self.at += packed.len() as u64;
        if packed.len() < length {
            return Err(self.truncated());
        }
        let proved = self.hash.clone().finalize();
        let mut digest = [0; DIGEST_BYTES];
        self.fill(&mut digest)?;
        if digest != *proved {
            return Err(self.damaged(begin));
        }
        match zstd::bulk::decompress(&packed, kind.max_bytes()) {
            Ok(content) => Ok((kind, content)),
            Err(_) => Err(self.damaged(begin)),
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), FileError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.from.read(&mut buffer[filled..]) {
                Ok(0) => {
                    self.at += filled as u64;
                    return Err(self.truncated());
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.hash.update(&*buffer);
        self.at += filled as u64;
        Ok(())
    }

    fn json<T: DeserializeOwned>(&self, begin: u64, content: &[u8]) -> Result<T, FileError> {
        serde_json::from_slice(content).map_err(|_| self.damaged(begin))
    }

    fn truncated(&self) -> FileError {
        FileError::Truncated { at: self.at, within: self.within() }
    }

    fn damaged(&self, from: u64) -> FileError {
        FileError::Damaged { from, to: self.at, within: self.within() }
    }

    fn within(&self) -> String {
        match self.begun.checked_sub(1).and_then(|last| self.tables.get(last)) {
            Some(table) => format!("the rows of `{table}`, or what follows them"),
            None => "what it says of itself".to_owned(),
        }
    }
}

fn not_a_backup(error: FileError, whole: usize) -> FileError {
    match error {
        FileError::Truncated { at, .. } if at < whole as u64 => FileError::NotABackup,
        other => other,
    }
}
