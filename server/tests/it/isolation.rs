//! Runs `testdata/isolation/*.slt`: several named sessions that wait for each other, as PostgreSQL's isolation tester does.
//!
//! The form is that of the SQL scripts. A step that waits for a lock answers `WAITING`; what it says later is shown under
//! the step that lets it go on, each line behind the session's name. A session that waits and has the next step is first
//! waited for. Whether a session waits for a lock is asked of pg_locks, never guessed from the time it takes.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::{Client, Message};
use crate::files::{scripts, shown};
use crate::script;
use crate::sql::lines;
use crate::support::{Target, rewriting};

/// How long a step may take that does not wait for a lock.
const STEP_S_MAX: u64 = 30;
/// How often a running step is looked at.
const LOOK_MS: u64 = 5;

struct Session {
    client: Client,
    /// The messages of the step under way.
    pending: Option<Vec<Message>>,
}

/// What came of looking at a step.
enum Step {
    Done(Vec<String>),
    Waiting,
}

impl Session {
    /// Reads what has come; the answer once it is complete.
    fn poll(&mut self, wait: Duration) -> io::Result<Option<Vec<String>>> {
        let Some(pending) = &mut self.pending else { return Ok(None) };
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(message) = self.client.next_within(left)? else { return Ok(None) };
            let done = message.tag == b'Z';
            pending.push(message);
            if done {
                let messages = self.pending.take().unwrap_or_default();
                return Ok(Some(notices_first(without_pids(lines(&messages, false)))));
            }
        }
    }

    /// Waits until the step is complete or waits for a lock.
    fn settle(&mut self, admin: &mut Client) -> io::Result<Step> {
        let deadline = Instant::now() + Duration::from_secs(STEP_S_MAX);
        loop {
            if let Some(answer) = self.poll(Duration::from_millis(LOOK_MS))? {
                return Ok(Step::Done(answer));
            }
            let waits = format!("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = {}", self.client.pid);
            let waits = admin.column(&waits).map_err(io::Error::other)?;
            if waits.first().is_some_and(|n| n != "0") {
                return Ok(Step::Waiting);
            }
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

/// The details of a deadlock name processes.
fn without_pids(lines: Vec<String>) -> Vec<String> {
    let deadlock = lines.iter().any(|l| l.starts_with("ERROR 40P01"));
    let names_pids = |l: &String| deadlock && (l.starts_with("DETAIL") || l.starts_with("HINT"));
    lines.into_iter().filter(|l| !names_pids(l)).collect()
}

/// Whether a notice comes before or after the columns are announced is a matter of timing.
fn notices_first(lines: Vec<String>) -> Vec<String> {
    let notice = |l: &String| l.starts_with("NOTICE ") || l.starts_with("WARNING ");
    let (mut first, rest): (Vec<_>, Vec<_>) = lines.into_iter().partition(notice);
    first.extend(rest);
    first
}

#[test]
fn isolation() {
    let target = Target::start();
    let mut files = scripts("isolation", ".slt");
    if target.is_postgres() {
        files.retain(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with("pg_compat_")));
    }
    let (mut cases, mut failures) = (0, 0);
    for (number, file) in files.iter().enumerate() {
        let (ran, failed) = run_file(&target, file, number);
        println!("{:4} of {ran:4} {}", ran - failed, shown(file));
        cases += ran;
        failures += failed;
    }
    println!("{} of {cases} steps agree, in {} files", cases - failures, files.len());
    assert_eq!(failures, 0, "failing steps");
}

/// How many steps there are, and how many fail.
fn run_file(target: &Target, file: &Path, number: usize) -> (usize, usize) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let script = script::parse(&text);
    let database = target.create_database(&format!("i{number}")).expect("a database");
    let mut admin = Client::connect(target.addr(), &database).expect("a session");
    let mut sessions: BTreeMap<&str, Session> = BTreeMap::new();
    let (mut answers, mut failures) = (Vec::new(), 0);
    for case in &script.cases {
        let answer = step(target, &database, &mut admin, &mut sessions, case).unwrap_or_else(|e| {
            // A session in an unknown state ends; the script goes on with a new one.
            sessions.remove(case.session.as_str());
            vec![format!("NO ANSWER: {e}")]
        });
        if let Some(difference) = script::difference(case, &answer) {
            failures += 1;
            if !rewriting() {
                println!("{}:{} {}\n{}\n{difference}", shown(file), case.line, case.session, case.sql);
            }
        }
        answers.push(answer);
    }
    if rewriting() {
        std::fs::write(file, script::render(&script, &answers)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        failures = 0;
    }
    (script.cases.len(), failures)
}

fn step<'a>(
    target: &Target,
    database: &str,
    admin: &mut Client,
    sessions: &mut BTreeMap<&'a str, Session>,
    case: &'a script::Case,
) -> io::Result<Vec<String>> {
    let name = case.session.as_str();
    if !sessions.contains_key(name) {
        sessions.insert(name, Session { client: Client::connect(target.addr(), database)?, pending: None });
    }
    let mut answer = Vec::new();
    if let Some(session) = sessions.get_mut(name) {
        if session.pending.is_some() {
            let late = session.poll(Duration::from_secs(STEP_S_MAX))?.ok_or(io::ErrorKind::TimedOut)?;
            answer.extend(late.iter().map(|line| format!("{name}: {line}")));
        }
        session.pending = Some(Vec::new());
        session.client.send_simple(&case.sql)?;
        match session.settle(admin)? {
            Step::Done(lines) => answer.extend(lines),
            Step::Waiting => answer.push("WAITING".to_string()),
        }
    }
    // Whom this step has let go.
    for (other, session) in sessions.iter_mut().filter(|(other, s)| **other != name && s.pending.is_some()) {
        if let Step::Done(lines) = session.settle(admin)? {
            answer.extend(lines.iter().map(|line| format!("{other}: {line}")));
        }
    }
    Ok(answer)
}
