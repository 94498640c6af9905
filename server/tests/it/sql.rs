//! Runs `testdata/sql/**/*.slt`, each file on an empty database, once with simple queries and once with the extended
//! protocol.
//!
//! Every case that differs is reported with file, line and diff, and the run goes on: one missing feature hides nothing.
//! Against PostgreSQL (`KALAMDB_PG_URL`) only the `pg_compat_` files run; `REWRITE=1` then stores its answers.

use std::collections::BTreeMap;
use std::path::Path;

use crate::answer::{Answer, Report};
use crate::client::{Client, Fields, Message, report_fields};
use crate::files::{scripts, shown};
use crate::script::{self, Case, Script};
use crate::support::{Target, rewriting};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Protocol {
    Simple,
    Extended,
}

#[derive(Default)]
struct Tally {
    cases: usize,
    failures: usize,
    /// What came instead of the expected line, and how often.
    causes: BTreeMap<String, usize>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.cases += other.cases;
        self.failures += other.failures;
        other.causes.into_iter().for_each(|(cause, n)| *self.causes.entry(cause).or_default() += n);
    }

    /// Only errors that were not expected say what is missing; other differences are in the diffs above.
    fn note_cause(&mut self, difference: &str) {
        let unexpected = difference.lines().find_map(|l| l.strip_prefix("  + "));
        if let Some(line) = unexpected.filter(|l| l.starts_with("ERROR ") || l.starts_with("NO ANSWER")) {
            *self.causes.entry(line.to_string()).or_default() += 1;
        }
    }

    fn print_causes(&self) {
        let mut causes: Vec<_> = self.causes.iter().filter(|c| *c.1 > 1).collect();
        causes.sort_by_key(|c| std::cmp::Reverse(c.1));
        causes.iter().take(40).for_each(|(cause, n)| println!("{n:5} times {cause}"));
    }
}

#[test]
fn sql() {
    let mut target = Target::start();
    let mut files = scripts("sql", ".slt");
    if target.is_postgres() {
        files.retain(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with("pg_compat_")));
    }
    let mut total = Tally::default();
    for (number, file) in files.iter().enumerate() {
        for protocol in [Protocol::Simple, Protocol::Extended] {
            let suffix = format!("{number}_{}", if protocol == Protocol::Simple { "s" } else { "e" });
            let tally = run_file(&mut target, file, protocol, &suffix);
            println!("{:4} of {:4} {protocol:?} {}", tally.cases - tally.failures, tally.cases, shown(file));
            total.add(tally);
        }
    }
    total.print_causes();
    println!("{} of {} cases agree, in {} files", total.cases - total.failures, total.cases, files.len());
    assert_eq!(total.failures, 0, "failing cases");
}

fn run_file(target: &mut Target, file: &Path, protocol: Protocol, suffix: &str) -> Tally {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let script = script::parse(&text);
    let mut tally = Tally::default();
    let database = match target.create_database(suffix) {
        Ok(name) => name,
        Err(e) => {
            println!("{}: no database: {e}", shown(file));
            return Tally { cases: script.cases.len(), failures: script.cases.len(), ..Tally::default() };
        }
    };
    let answers = run_cases(target, file, &script, protocol, &database, &mut tally);
    if rewriting() && protocol == Protocol::Simple {
        std::fs::write(file, script::render(&script, &answers)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        tally.failures = 0;
    }
    tally
}

fn run_cases(
    target: &mut Target,
    file: &Path,
    script: &Script,
    protocol: Protocol,
    database: &str,
    tally: &mut Tally,
) -> Vec<Vec<String>> {
    let mut sessions: BTreeMap<&str, Client> = BTreeMap::new();
    let mut answers = Vec::new();
    for case in &script.cases {
        let mut answer = match run_case(target, &mut sessions, case, protocol, database) {
            Ok(messages) => {
                let shows_position = if rewriting() { script.positions } else { true };
                lines(&messages, shows_position)
            }
            Err(e) => {
                sessions.remove(case.session.as_str());
                let crashed = if target.revive() { ", the server has crashed" } else { "" };
                vec![format!("NO ANSWER: {e}{crashed}")]
            }
        };
        if case.unordered && answer.len() > 1 {
            answer[1..].sort();
        }
        tally.cases += 1;
        if let Some(difference) = script::difference(case, &answer) {
            tally.failures += 1;
            tally.note_cause(&difference);
            if !rewriting() || protocol == Protocol::Extended {
                println!("{}:{} {protocol:?}\n{}\n{difference}", shown(file), case.line, case.sql);
            }
        }
        answers.push(answer);
    }
    answers
}

fn run_case<'a>(
    target: &Target,
    sessions: &mut BTreeMap<&'a str, Client>,
    case: &'a Case,
    protocol: Protocol,
    database: &str,
) -> std::io::Result<Vec<Message>> {
    let session = case.session.as_str();
    if !sessions.contains_key(session) {
        sessions.insert(session, Client::connect(target.addr(), database)?);
    }
    let client = sessions.get_mut(session).unwrap_or_else(|| unreachable!("inserted above"));
    match protocol {
        Protocol::Extended if !case.simple_only => client.extended(&case.sql),
        _ => client.simple(&case.sql),
    }
}

/// Turns the messages up to ReadyForQuery into lines; `position` says whether errors show where they are.
pub(crate) fn lines(messages: &[Message], position: bool) -> Vec<String> {
    let mut answer = Answer::default();
    for message in messages {
        let mut fields = Fields(&message.body);
        match message.tag {
            b'T' => {
                let columns = (0..fields.i16()).map(|_| column(&mut fields));
                answer.columns(columns);
            }
            b'D' => {
                let values = (0..fields.i16()).map(|_| fields.value());
                answer.row(values);
            }
            b'C' => answer.complete(&fields.cstr()),
            b'I' => answer.empty(),
            b'E' => answer.error(&report(&message.body, position)),
            b'N' => answer.notice(&report(&message.body, position)),
            // Steps of the extended protocol and changed settings: the wire scripts look at those.
            b'Z' | b'1' | b'2' | b'n' | b't' | b'S' | b'K' => {}
            tag => answer.other(format!("MESSAGE {}", tag as char)),
        }
    }
    answer.lines()
}

/// A column of RowDescription: name, type OID, type modifier.
fn column(fields: &mut Fields<'_>) -> (String, u32, i32) {
    let name = fields.cstr();
    fields.i32();
    fields.i16();
    let oid = fields.i32() as u32;
    fields.i16();
    let typmod = fields.i32();
    fields.i16();
    (name, oid, typmod)
}

fn report(body: &[u8], position: bool) -> Report {
    let fields = report_fields(body);
    let get = |code| fields.iter().find(|f| f.0 == code).map(|f| f.1.clone());
    Report {
        severity: get('V').unwrap_or_else(|| "NO SEVERITY".to_string()),
        code: get('C').unwrap_or_else(|| "NO SQLSTATE".to_string()),
        message: get('M').unwrap_or_default(),
        detail: get('D'),
        hint: get('H'),
        position: get('P').filter(|_| position),
    }
}
