//! Statements near those of the scripts, on one engine: none panics, none hangs, and every error is somebody's fault but
//! ours (XX000 is a bug).
//!
//! A fixed number of statements from a fixed seed; FUZZ_SECONDS runs so long instead, FUZZ_SEED begins elsewhere. Each
//! runs in a transaction that is rolled back. ci/fuzz looks with libFuzzer, which needs longer and finds more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::bugs::{Target, kind};
use crate::client::on_a_server_thread;
use crate::mutate::{Corpus, Random, minimised};

const STATEMENTS: u64 = 2000;
const SEED: u64 = 1;
/// A statement that runs too long is cancelled; one that does not even end then hangs. Far above what planning takes on a
/// loaded machine.
const HANG_S: u64 = 60;

/// The statement that runs, and since when: for the watchdog.
type Running = Arc<Mutex<(Instant, String)>>;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|v| v.parse().unwrap_or_else(|_| panic!("{variable} must be a number: {v}")))
}

#[test]
fn no_statement_meets_a_bug() {
    let running: Running = Arc::new(Mutex::new((Instant::now(), String::new())));
    watch(&running);
    let bugs = {
        let running = Arc::clone(&running);
        on_a_server_thread(async move || search(running).await)
    };
    running.lock().expect("the running statement").1.clear();
    for (kind, (sql, times)) in &bugs {
        println!("{times} times {kind}\n    {sql:?}");
    }
    assert!(bugs.is_empty(), "{} kinds of bugs", bugs.len());
}

/// The kinds of bugs met, each with a short statement and how often it came.
async fn search(running: Running) -> BTreeMap<String, (String, u64)> {
    let corpus = Corpus::load();
    let mut target = Target::new(&corpus).await;
    let seed = number("FUZZ_SEED").unwrap_or(SEED);
    let deadline = number("FUZZ_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    let mut random = Random(seed);
    let mut bugs: BTreeMap<String, (String, u64)> = BTreeMap::new();
    let mut made = 0;
    while deadline.map_or(made < STATEMENTS, |end| Instant::now() < end) {
        made += 1;
        let file = random.below(corpus.files.len());
        target.relations_of(file).await;
        let sql = corpus.statement(file, &mut random);
        let met = watched(&running, &mut target, &sql).await;
        let Some(bug) = met else { continue };
        let kind = kind(&bug);
        if let Some(known) = bugs.get_mut(&kind) {
            known.1 += 1;
            continue;
        }
        let same =
            async |text: &str| watched(&running, &mut target, text).await.is_some_and(|bug| self::kind(&bug) == kind);
        let short = minimised(&sql, same).await;
        println!("{bug}\n    {short:?}");
        bugs.insert(kind, (short, 1));
    }
    println!("{made} statements from seed {seed}; {} ran, {} were refused", target.ran, target.refused);
    assert!(target.ran * 8 > target.refused, "hardly a statement ran");
    bugs
}

async fn watched(running: &Running, target: &mut Target, sql: &str) -> Option<String> {
    *running.lock().expect("the running statement") = (Instant::now(), sql.to_owned());
    target.bug(sql).await
}

/// Ends the process with the statement's text if one hangs: a thread that computes cannot be stopped otherwise.
fn watch(running: &Running) {
    let running = Arc::clone(running);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let (since, sql) = running.lock().expect("the running statement").clone();
            if !sql.is_empty() && since.elapsed() > Duration::from_secs(HANG_S) {
                eprintln!("hangs after {HANG_S} s: {sql:?}");
                std::process::exit(1);
            }
        }
    });
}
