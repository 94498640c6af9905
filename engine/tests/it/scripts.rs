//! Runs `testdata/sql/**/*.slt` on sessions of one engine: the same answers as over the wire, without a socket.
//!
//! What differs here and not there is the protocol's doing, and the other way round. COPY needs a connection; its cases
//! are counted and left out.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use futures::FutureExt;

use crate::client::{Client, Engine, on_a_server_thread};
use crate::files::{scripts, shown};
use crate::script::{self, Case};

#[derive(Default)]
struct Tally {
    cases: usize,
    failures: usize,
    copies: usize,
}

#[test]
fn sql_in_process() {
    let total = on_a_server_thread(async || {
        let engine = Engine::open();
        let mut total = Tally::default();
        for (number, file) in scripts("sql", ".slt").iter().enumerate() {
            let tally = run_file(&engine, file, &format!("script_{number}")).await;
            println!("{:4} of {:4} {}", tally.cases - tally.failures, tally.cases, shown(file));
            total.cases += tally.cases;
            total.failures += tally.failures;
            total.copies += tally.copies;
        }
        total
    });
    let agree = total.cases - total.failures;
    println!("{agree} of {} cases agree; {} of COPY left out", total.cases, total.copies);
    assert_eq!(total.failures, 0, "failing cases");
}

async fn run_file(engine: &Engine, file: &Path, database: &str) -> Tally {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let script = script::parse(&text);
    let mut admin = Client::open(&engine.app, "postgres").expect("a session");
    admin.query(&format!("CREATE DATABASE {database}")).await;
    let mut sessions: BTreeMap<&str, Client> = BTreeMap::new();
    let mut tally = Tally::default();
    for case in &script.cases {
        if is_copy(case) {
            tally.copies += 1;
            continue;
        }
        let session = case.session.as_str();
        let mut client = sessions.remove(session).unwrap_or_else(|| {
            Client::open(&engine.app, database).unwrap_or_else(|e| panic!("no session in {database}: {e}"))
        });
        let mut answer = match AssertUnwindSafe(client.query(&case.sql)).catch_unwind().await {
            Ok(answer) => {
                sessions.insert(session, client);
                answer.lines()
            }
            // The session is in no state to go on with.
            Err(_) => vec!["NO ANSWER: a panic".to_owned()],
        };
        if case.unordered && answer.len() > 1 {
            answer[1..].sort();
        }
        tally.cases += 1;
        if let Some(difference) = script::difference(case, &answer) {
            tally.failures += 1;
            println!("{}:{}\n{}\n{difference}", shown(file), case.line, case.sql);
        }
    }
    tally
}

fn is_copy(case: &Case) -> bool {
    case.sql.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("copy "))
}
