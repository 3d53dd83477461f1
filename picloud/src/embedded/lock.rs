//! One service a data directory.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process,
};

use super::Error;

/// Held as long as the service lives. The kernel lets go of it however the service ends, so none is ever left behind;
/// the file stays, since removing it would race with whoever is about to lock it.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the directory, or says who has it.
    pub(super) fn take(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join("service.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
                return Err(Error::InUse { data_dir: data_dir.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(Error::Io { action: "lock", path, source }),
        }
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", process::id()))
            .map_err(Error::io("write", &path))?;
        Ok(Self { _file: file })
    }
}
