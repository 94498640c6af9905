//! The data directory before the engine opens it, and the node's id, which is kept there in the file `node_id`.
//!
//! The engine locks the directory and checks its format; nothing here writes into a directory that holds something. A
//! new id is therefore written only once the engine has the directory open.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

const NODE_ID_FILE: &str = "node_id";
/// Made by the engine in every data directory (engine/src/storage/README.md).
const FORMAT_FILE: &str = "FORMAT_VERSION";
const MODE: u32 = 0o700;

/// Makes the directory with mode 0700 if it is missing or empty. One that holds something else is refused.
pub(crate) fn prepare(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let failed = |what: &str, error: io::Error| format!("cannot {what} data directory \"{shown}\": {error}");
    if !path.exists() {
        DirBuilder::new().recursive(true).mode(MODE).create(path).map_err(|error| failed("create", error))?;
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut names = entries.map_err(|error| failed("read", error))?.into_iter().map(|entry| entry.file_name());
    if path.join(FORMAT_FILE).exists() || path.join(NODE_ID_FILE).exists() {
        return Ok(());
    }
    // The log that this process writes to may be there already: the shell made it.
    if names.any(|name| !name.to_string_lossy().ends_with(".log")) {
        return Err(format!("directory \"{shown}\" is not empty and is not a KalamDB data directory"));
    }
    fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(|error| failed("restrict", error))
}

/// The name of this node in its logs.
pub(crate) struct NodeId {
    pub(crate) id: String,
    /// Where to keep it, if it is new.
    new: Option<PathBuf>,
}

impl NodeId {
    /// The configured id, else the one kept in the data directory, else a new one.
    pub(crate) fn find(configured: Option<&str>, data_dir: &Path) -> Result<NodeId, String> {
        if let Some(id) = configured {
            return Ok(NodeId { id: id.to_owned(), new: None });
        }
        let path = data_dir.join(NODE_ID_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let id = text.trim();
                check_node_id(id).map_err(|error| format!("file \"{}\": {error}", path.display()))?;
                Ok(NodeId { id: id.to_owned(), new: None })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(NodeId { id: uuid::Uuid::new_v4().to_string(), new: Some(path) })
            }
            Err(error) => Err(format!("cannot read \"{}\": {error}", path.display())),
        }
    }

    /// Keeps a new id for the next start.
    pub(crate) fn keep(&self) -> Result<(), String> {
        let Some(path) = &self.new else { return Ok(()) };
        write_durably(path, &self.id).map_err(|error| format!("cannot write \"{}\": {error}", path.display()))
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
    fn a_new_directory_is_private_and_keeps_its_id() {
        let path = scratch("new");
        prepare(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let node = NodeId::find(None, &path).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        node.keep().unwrap();
        prepare(&path).unwrap();
        assert_eq!(NodeId::find(None, &path).unwrap().id, node.id);
        assert_eq!(NodeId::find(Some("n1"), &path).unwrap().id, "n1");
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_foreign_directory_is_left_alone() {
        let path = scratch("foreign");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("server.log"), "x").unwrap();
        assert_eq!(prepare(&path), Ok(()));
        fs::write(path.join("letter.txt"), "x").unwrap();
        let error = format!("directory \"{}\" is not empty and is not a KalamDB data directory", path.display());
        assert_eq!(prepare(&path), Err(error));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn node_ids() {
        for (id, valid) in [("n1", true), ("rack-4.host_7", true), ("", false), ("a b", false), ("\"", false)] {
            assert_eq!(check_node_id(id).is_ok(), valid, "{id}");
        }
    }
}
