//! The data directory: made with mode 0700, held by one server at a time, and the keeper of the node's id.
//!
//! Files of this module: `server.lock` (locked while a server runs; holds its pid) and `node_id`. Everything else in
//! the directory is the engine's.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

const LOCK_FILE: &str = "server.lock";
const NODE_ID_FILE: &str = "node_id";
const MODE: u32 = 0o700;

/// A data directory that is ours until this is dropped.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is missing and locks it. A directory that another server uses, or that holds
    /// something else, is an error and stays as it is.
    pub(crate) fn open(path: &Path) -> Result<DataDir, String> {
        let shown = path.display();
        let failed = |what: &str, error: io::Error| format!("cannot {what} data directory \"{shown}\": {error}");
        if !path.exists() {
            DirBuilder::new().recursive(true).mode(MODE).create(path).map_err(|error| failed("create", error))?;
        }
        let mut entries = fs::read_dir(path).map_err(|error| failed("read", error))?;
        if entries.next().is_none() {
            fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(|error| failed("restrict", error))?;
        } else if !path.join(LOCK_FILE).exists() {
            return Err(format!("directory \"{shown}\" is not empty and is not a KalamDB data directory"));
        }
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(|error| failed("open", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = lock.read_to_string(&mut pid);
                return Err(format!("data directory \"{shown}\" is in use by another server (pid {})", pid.trim()));
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", error)),
        }
        lock.set_len(0).map_err(|error| failed("lock", error))?;
        writeln!(lock, "{}", std::process::id()).map_err(|error| failed("lock", error))?;
        Ok(DataDir { path: path.to_owned(), _lock: lock })
    }

    /// The configured id, else the one kept here, else a new one, kept from then on.
    pub(crate) fn node_id(&self, configured: Option<&str>) -> Result<String, String> {
        if let Some(id) = configured {
            return Ok(id.to_owned());
        }
        let path = self.path.join(NODE_ID_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let id = text.trim();
                check_node_id(id).map_err(|error| format!("file \"{}\": {error}", path.display()))?;
                Ok(id.to_owned())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let id = uuid::Uuid::new_v4().to_string();
                write_durably(&path, &id).map_err(|error| format!("cannot write \"{}\": {error}", path.display()))?;
                Ok(id)
            }
            Err(error) => Err(format!("cannot read \"{}\": {error}", path.display())),
        }
    }
}

/// A node id is 1 to 64 letters, digits, dots, hyphens and underscores: safe in log lines and file names.
pub(crate) fn check_node_id(id: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if (1..=64).contains(&id.len()) && id.chars().all(allowed) {
        return Ok(());
    }
    Err(format!("\"{id}\" is not a node id: 1 to 64 letters, digits, dots, hyphens and underscores"))
}

/// Writes beside and renames, so that a crash leaves either no file or a whole one.
fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("kalamdb-data-dir-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_directory_has_one_server_and_keeps_its_id() {
        let path = scratch("lock");
        let first = DataDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let id = first.node_id(None).unwrap();
        let refused = DataDir::open(&path).err().unwrap();
        assert_eq!(
            refused,
            format!("data directory \"{}\" is in use by another server (pid {})", path.display(), std::process::id())
        );
        drop(first);
        let again = DataDir::open(&path).unwrap();
        assert_eq!(again.node_id(None).unwrap(), id);
        assert_eq!(again.node_id(Some("n1")).unwrap(), "n1");
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_foreign_directory_is_left_alone() {
        let path = scratch("foreign");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("letter.txt"), "x").unwrap();
        let refused = DataDir::open(&path).err().unwrap();
        assert!(refused.ends_with("is not empty and is not a KalamDB data directory"), "{refused}");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn node_ids() {
        for (id, valid) in [("n1", true), ("rack-4.host_7", true), ("", false), ("a b", false), ("\"", false)] {
            assert_eq!(check_node_id(id).is_ok(), valid, "{id}");
        }
    }
}
