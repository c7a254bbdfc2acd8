//! qlog files of a worker's connections: `<dir>/<first destination connection ID>_<client|server>.sqlog`.
//!
//! The protocol part collects records in memory; they are taken under the connection's lock and
//! written here without it. A file that cannot be written ends the log of its connection, with one
//! notice; it never touches the connection. Invariant: a file is flushed before its connection's
//! last event, so that whoever has seen that event can read the whole log.
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rustc_hash::FxHashMap;

use crate::base::{ConnectionId, Side};

/// Records gather to this before they are written.
const BUFFER: usize = 64 << 10;

/// Which file records belong to.
#[derive(Clone, Copy)]
pub(in crate::runtime) struct LogName {
    pub odcid: ConnectionId,
    pub side: Side,
}

/// Open files by connection. `None`: the file failed, nothing more is written.
#[derive(Default)]
pub(super) struct LogFiles {
    open: FxHashMap<u64, Option<BufWriter<File>>>,
}

fn create(dir: &Path, name: LogName) -> io::Result<BufWriter<File>> {
    std::fs::create_dir_all(dir)?;
    let side = if name.side.is_client() { "client" } else { "server" };
    let file = File::create(dir.join(format!("{}_{side}.sqlog", name.odcid)))?;
    Ok(BufWriter::with_capacity(BUFFER, file))
}

impl LogFiles {
    /// Appends records of connection `conn`.
    ///
    /// # Errors
    /// The first failure; later records of the connection are dropped in silence.
    pub fn append(&mut self, conn: u64, dir: &Path, name: LogName, records: &[u8]) -> io::Result<()> {
        let result = match self.open.get_mut(&conn) {
            Some(Some(file)) => file.write_all(records),
            Some(None) => return Ok(()),
            None => match create(dir, name) {
                Ok(mut file) => {
                    let written = file.write_all(records);
                    self.open.insert(conn, Some(file));
                    written
                }
                Err(e) => Err(e),
            },
        };
        if result.is_err() {
            self.open.insert(conn, None);
        }
        result
    }

    /// The connection has gone: its file is complete.
    pub fn close(&mut self, conn: u64) {
        if let Some(Some(mut file)) = self.open.remove(&conn) {
            // Nobody is left to tell; the file ends early, at a record boundary as qlog readers expect.
            let _ = file.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> LogName {
        LogName { odcid: ConnectionId::new(&[0xab, 0x01]).expect("short"), side: Side::Server }
    }

    #[test]
    fn records_reach_a_file_named_after_the_connection() {
        let dir = std::env::temp_dir().join(format!("wb-log-{}", std::process::id())).join("made-on-demand");
        let mut files = LogFiles::default();
        files.append(1, &dir, name(), b"one\n").expect("first");
        files.append(1, &dir, name(), b"two\n").expect("second");
        files.close(1);
        let text = std::fs::read(dir.join("ab01_server.sqlog")).expect("file");
        assert_eq!(text, b"one\ntwo\n");
        std::fs::remove_dir_all(dir.parent().expect("parent")).expect("clean");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_once() {
        let mut files = LogFiles::default();
        let dir = Path::new("/dev/null/nowhere");
        assert!(files.append(1, dir, name(), b"one").is_err());
        assert!(files.append(1, dir, name(), b"two").is_ok());
        files.close(1);
        assert!(files.append(1, dir, name(), b"again").is_err());
    }
}
