//! Whatever happens to a file, nothing is handed out that was not written.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{frame::MAX_ROWS_BYTES, *};
use crate::{
    id::{DataKeyId, HistoryId},
    log::Position,
};

fn manifest(tables: usize) -> Manifest {
    let table = |n| Table { name: format!("state.t{n}"), columns: vec!["id".to_owned()], rows: 1 };
    Manifest {
        product: "1.2.3".to_owned(),
        schema: 19,
        taken_at: chrono::DateTime::UNIX_EPOCH,
        history: HistoryId::generate(),
        head: Position(7),
        floor: Position(2),
        triggers: Position(3),
        last_seal: None,
        master_key: NeededKey {
            fingerprint: "60303ae22b998861".to_owned(),
            data_key: DataKeyId::generate(),
            wrapped: "AAf/".to_owned(),
        },
        segments: vec![Segment { low: 1, high: 10, classes: vec!["run".to_owned()] }],
        tables: (0..tables).map(table).collect(),
    }
}

/// A file with these rows, a list for each table.
fn written(manifest: &Manifest, tables: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut writer = Writer::begin(manifest);
    let mut file = Vec::new();
    for (number, pieces) in tables.iter().enumerate() {
        writer.table(number);
        for piece in pieces {
            writer.rows(piece);
            file.extend(writer.take().unwrap_or_default());
        }
    }
    writer.end();
    file.extend(writer.take().unwrap_or_default());
    assert_eq!(file.len() as u64, writer.bytes());
    file
}

/// What a file says and holds.
fn read(file: &[u8]) -> Result<(Manifest, Vec<Vec<u8>>), FileError> {
    let (mut reader, manifest) = Reader::open(file)?;
    let mut tables: Vec<Vec<u8>> = Vec::new();
    loop {
        match reader.next_part()? {
            Part::Table(_) => tables.push(Vec::new()),
            Part::Rows(piece) => tables.last_mut().expect("a table has begun").extend(piece),
            Part::End => break,
        }
    }
    assert_eq!(reader.bytes(), file.len() as u64);
    Ok((manifest, tables))
}

fn some_tables() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    vec(vec(vec(any::<u8>(), 0..300), 0..5), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read(tables in some_tables()) {
        let manifest = manifest(tables.len());
        let (said, rows) = read(&written(&manifest, &tables)).unwrap();
        prop_assert_eq!(said, manifest);
        prop_assert_eq!(rows, tables.iter().map(|pieces| pieces.concat()).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_is_refused(tables in some_tables(), at: Index) {
        let file = written(&manifest(tables.len()), &tables);
        let at = at.index(file.len());
        let refused = read(&file[..at]).expect_err("something is missing");
        match refused {
            FileError::NotABackup => prop_assert!(at < BEGIN.len()),
            FileError::Truncated { at: told, .. } => prop_assert_eq!(told, at as u64),
            other => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn a_byte_that_was_changed_anywhere_is_found_where_it_is(tables in some_tables(), at: Index, by in 1..=255_u8) {
        let mut file = written(&manifest(tables.len()), &tables);
        let at = at.index(file.len());
        file[at] ^= by;
        match read(&file).expect_err("it is not as it was written") {
            FileError::Damaged { from, to, .. } => prop_assert!((from..to).contains(&(at as u64)), "{from} {to} {at}"),
            // A length that says too much reaches beyond the end.
            FileError::Truncated { .. } => {}
            FileError::NotABackup | FileError::Newer { .. } => prop_assert!(at <= BEGIN.len() + 1),
            other => prop_assert!(false, "{}", other),
        }
    }
}

#[test]
fn rows_of_any_size_are_held_a_frame_at_a_time() {
    let manifest = manifest(1);
    let large: Vec<u8> = (0..3 * MAX_ROWS_BYTES + 17).map(|n| (n % 251) as u8).collect();
    let file = written(&manifest, &[vec![large.clone()]]);
    let (mut reader, _) = Reader::open(&*file).unwrap();
    assert_eq!(reader.next_part().unwrap(), Part::Table(0));
    let mut whole = Vec::new();
    while let Part::Rows(piece) = reader.next_part().unwrap() {
        assert!(piece.len() <= MAX_ROWS_BYTES);
        whole.extend(piece);
    }
    assert!(whole == large);
}

#[test]
fn tables_that_were_left_out_or_exchanged_and_what_was_added_are_refused() {
    let tables = [vec![b"a\n".to_vec()], vec![b"b\n".to_vec()]];
    let whole = manifest(2);
    let few = written(&whole, &tables[..1]);
    assert!(matches!(read(&few), Err(FileError::Damaged { .. })), "one of two tables is missing");
    let mut writer = Writer::begin(&whole);
    writer.table(1);
    writer.end();
    assert!(matches!(read(&writer.take().unwrap()), Err(FileError::Damaged { .. })), "the first is missing");
    let mut more = written(&whole, &tables);
    let length = more.len() as u64;
    more.push(b'\n');
    assert!(matches!(read(&more), Err(FileError::Trailing { at }) if at == length));
}

#[test]
fn what_is_none_and_what_is_newer_is_told_apart() {
    let mut file = written(&manifest(0), &[]);
    file[BEGIN.len()] = b'2';
    let newer = read(&file).expect_err("newer").to_string();
    assert_eq!(newer, "the backup is of format 2, and this PiCloud reads up to 1: use a newer one");
    for other in [&b""[..], b"PK\x03\x04 something else", b"picloud backup x\n", b"picloud backup 0\n"] {
        assert!(matches!(read(other), Err(FileError::NotABackup)), "{}", String::from_utf8_lossy(other));
    }
}
