//! What a reader is told must be true: "Life of a statement" in `engine/src/lib.rs` names functions that exist.
//!
//! The other habits that a machine can check are in ci/tidy.

use std::path::{Path, PathBuf};

use crate::files::root;

#[test]
fn life_of_a_statement_names_what_exists() {
    let text = std::fs::read_to_string(root().join("engine/src/lib.rs")).expect("engine/src/lib.rs");
    let essay: Vec<&str> = text.lines().take_while(|l| l.starts_with("//!")).collect();
    assert!(
        essay.iter().any(|l| l.contains("Life of a statement")),
        "engine/src/lib.rs has no \"Life of a statement\""
    );
    let names: Vec<&str> = essay.iter().flat_map(|l| l.split('`').skip(1).step_by(2)).filter(|n| is_path(n)).collect();
    assert!(names.len() >= 5, "only {names:?} named");
    let mut source = String::new();
    for part in ["catalog/src", "engine/src", "protocol/src", "server/src"] {
        read_all(&root().join(part), &mut source);
    }
    let missing: Vec<&str> = names.into_iter().filter(|name| !exists(name, &source)).collect();
    assert!(missing.is_empty(), "named in \"Life of a statement\", but nowhere in the source: {missing:?}");
}

/// A name or a path of names, `()` or not; other code in backquotes is not looked at.
fn is_path(text: &str) -> bool {
    let name = text.trim_end_matches("()");
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
}

/// Whether every part of the path is defined somewhere: as a function, type, module, or as a source file or crate.
fn exists(name: &str, source: &str) -> bool {
    name.trim_end_matches("()").split("::").all(|part| {
        let defined = ["fn", "struct", "enum", "trait", "mod", "type", "const", "static"].iter().any(|kind| {
            source.match_indices(&format!("{kind} {part}")).any(|(at, found)| {
                !source[at + found.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            })
        });
        let is_variant = part.starts_with(|c: char| c.is_ascii_uppercase()) && source.contains(&format!(" {part}"));
        defined || is_variant || ["catalog", "engine", "protocol", "server"].contains(&part)
    })
}

fn read_all(folder: &Path, out: &mut String) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("a folder entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read_all(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push_str(&std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
        }
    }
}
