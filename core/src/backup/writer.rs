//! Writes a backup: what is to be stored comes out in pieces as it is ready.

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    BEGIN, Manifest, VERSION,
    frame::{Kind, MAX_ROWS_BYTES},
};

/// Rows are text and shrink to a sixth at the quickest levels; higher ones cost more time than they save.
const LEVEL: i32 = 3;

/// A backup on its way into a file.
#[derive(Debug)]
pub struct Writer {
    hash: Sha256,
    /// Rows that are not in a frame yet.
    rows: Vec<u8>,
    /// Frames that nobody has taken yet.
    ready: Vec<u8>,
    bytes: u64,
}

impl Writer {
    /// Begins one.
    #[must_use]
    pub fn begin(manifest: &Manifest) -> Self {
        let mut writer =
            Self { hash: Sha256::new(), rows: Vec::with_capacity(MAX_ROWS_BYTES), ready: Vec::new(), bytes: 0 };
        writer.put(format!("{BEGIN}{VERSION}\n").as_bytes());
        writer.json(Kind::Manifest, manifest);
        writer
    }

    /// Goes on with a table of the manifest.
    pub fn table(&mut self, number: usize) {
        self.flush();
        self.json(Kind::Table, &number);
    }

    /// Takes rows of the table, cut anywhere.
    pub fn rows(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let (now, later) = piece.split_at(piece.len().min(MAX_ROWS_BYTES - self.rows.len()));
            self.rows.extend_from_slice(now);
            piece = later;
            if self.rows.len() == MAX_ROWS_BYTES {
                self.flush();
            }
        }
    }

    /// Ends it; whoever does not find this knows that something is missing.
    pub fn end(&mut self) {
        self.flush();
        self.json(Kind::End, &());
    }

    /// What is ready to be stored.
    pub fn take(&mut self) -> Option<Bytes> {
        if self.ready.is_empty() { None } else { Some(std::mem::take(&mut self.ready).into()) }
    }

    /// So many bytes it has so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn flush(&mut self) {
        if !self.rows.is_empty() {
            let rows = std::mem::take(&mut self.rows);
            self.frame(Kind::Rows, &rows);
            self.rows = rows;
            self.rows.clear();
        }
    }

    fn json(&mut self, kind: Kind, value: &impl Serialize) {
        let text = serde_json::to_vec(value).expect("what a backup says is plain data");
        self.frame(kind, &text);
    }

    fn frame(&mut self, kind: Kind, content: &[u8]) {
        let packed = zstd::bulk::compress(content, LEVEL).expect("what is in memory can be compressed");
        let length = u32::try_from(packed.len()).expect("frames are small");
        self.put(&[kind.letter()]);
        self.put(&length.to_be_bytes());
        self.put(&packed);
        let digest = self.hash.clone().finalize();
        self.put(&digest);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.ready.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
    }
}
