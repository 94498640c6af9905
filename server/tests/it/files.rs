//! Files that tests read and directories they write in.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes with the value.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kalamdb-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        TempDir(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A directory that cannot be removed is no reason to fail a test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The scripts under `testdata/<folder>` with one of these endings, in name order. `KALAMDB_SCRIPT` keeps those whose
/// path contains it.
pub(crate) fn scripts(folder: &str, ending: &str) -> Vec<PathBuf> {
    let wanted = std::env::var("KALAMDB_SCRIPT").unwrap_or_default();
    let mut found = Vec::new();
    let mut folders = vec![root().join("testdata").join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("a folder entry").path();
            let text = path.to_string_lossy();
            if path.is_dir() {
                folders.push(path);
            } else if text.ends_with(ending) && text.contains(&wanted) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|folder| folder.join("testdata").is_dir()).expect("testdata beside the packages")
}

/// The path as a message names it.
pub(crate) fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}
