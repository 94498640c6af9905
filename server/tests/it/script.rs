//! The text of `testdata/sql/**/*.slt`: cases of one SQL text and what the server answers to it.
//!
//! A case is SQL up to a line that ends with `;`, then the answer, up to an empty line. `#` starts a comment line.
//! See testdata/README.md for the answer's form. Lines that begin with `@` in front of the SQL say how to run it:
//! `@unordered` (compare rows as a set), `@simple` (not with the extended protocol), `@session NAME` (on another
//! connection). `@positions` alone makes REWRITE write the POSITION of errors in that file.

#[derive(Debug, Default)]
pub struct Case {
    /// Line of the SQL's first line, from 1.
    pub line: usize,
    /// Comments, directives and empty lines before the SQL, as they stand in the file.
    pub before: Vec<String>,
    pub sql: String,
    pub expected: Vec<String>,
    pub unordered: bool,
    pub simple_only: bool,
    pub session: String,
}

#[derive(Debug, Default)]
pub struct Script {
    pub cases: Vec<Case>,
    pub positions: bool,
    /// Comments after the last case.
    pub after: Vec<String>,
}

/// Splits a file's text into cases. Anything is a script: what is not SQL comes back as a failing case.
pub fn parse(text: &str) -> Script {
    let mut script = Script::default();
    let mut lines = text.lines().enumerate().peekable();
    let mut case = Case::default();
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            case.before.push(line.to_string());
            continue;
        }
        if let Some(directive) = line.strip_prefix('@') {
            case.before.push(line.to_string());
            match directive.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["unordered"] => case.unordered = true,
                ["simple"] => case.simple_only = true,
                ["positions"] => script.positions = true,
                ["session", name] => case.session = (*name).to_string(),
                _ => panic!("line {}: unknown directive {line}", number + 1),
            }
            continue;
        }
        case.line = number + 1;
        case.sql = line.to_string();
        while !case.sql.ends_with(';') {
            let Some((_, more)) = lines.next() else { break };
            case.sql.push('\n');
            case.sql.push_str(more);
        }
        while let Some((_, answer)) = lines.next_if(|(_, l)| !l.trim().is_empty()) {
            case.expected.push(answer.to_string());
        }
        script.cases.push(std::mem::take(&mut case));
    }
    script.after = case.before;
    script
}

/// The file's text with other answers: what REWRITE stores.
pub fn render(script: &Script, answers: &[Vec<String>]) -> String {
    let mut out = String::new();
    for (case, answer) in script.cases.iter().zip(answers) {
        for line in case.before.iter().chain([&case.sql]).chain(answer) {
            out.push_str(line);
            out.push('\n');
        }
    }
    for line in &script.after {
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// The first lines in which an answer is not the expected one, as a diff; `None` if they agree.
///
/// DETAIL, HINT and POSITION lines count only where the script gives them; everything else is compared line by line.
pub fn difference(case: &Case, actual: &[String]) -> Option<String> {
    let optional = ["DETAIL: ", "HINT: ", "POSITION: "];
    let kept: Vec<&String> = actual
        .iter()
        .filter(|line| {
            case.expected.contains(line) || !optional.iter().any(|o| line.starts_with(o)) || {
                let kind = &line[..line.find(' ').unwrap_or(0)];
                case.expected.iter().any(|e| e.starts_with(kind))
            }
        })
        .collect();
    let mut expected: Vec<&String> = case.expected.iter().collect();
    let mut got = kept;
    if case.unordered {
        expected.sort();
        got.sort();
    }
    if expected == got {
        return None;
    }
    let same = expected.iter().zip(&got).take_while(|(e, g)| e == g).count();
    let mut out = String::new();
    for line in expected.iter().skip(same).take(8) {
        out.push_str(&format!("  - {line}\n"));
    }
    for line in got.iter().skip(same).take(8) {
        out.push_str(&format!("  + {line}\n"));
    }
    Some(out)
}
