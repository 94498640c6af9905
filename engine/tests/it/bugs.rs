//! A session that says of a statement whether it met a bug of ours. Shared with the fuzz targets of ci/fuzz.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use kalamdb_catalog::SqlState;
use kalamdb_engine::session::Parameter;

use crate::answer::Answer;
use crate::client::{Client, Engine};
use crate::mutate::Corpus;

/// A statement that runs longer is cancelled, which is no failure.
const STATEMENT_MS_MAX: u64 = 2000;

/// The last panic on a thread that is not a test's: those that run queries turn theirs into an error without its place.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

fn note_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name().is_none_or(|name| !name.contains("::"))
            && let Ok(mut last) = PANIC.lock()
        {
            *last = Some(info.to_string().replace('\n', " "));
        }
        before(info);
    }));
}

/// Values for parameters, whatever their types.
fn parameters() -> Vec<Parameter> {
    [Some("1"), None, Some("x"), Some("2000-01-01"), Some("{1,NULL}")]
        .map(|text| Parameter { bytes: text.map(|t| t.as_bytes().to_vec()), binary: false })
        .to_vec()
}

/// An engine with the relations of the scripts, and a session on it.
pub(crate) struct Target {
    engine: Engine,
    client: Client,
    /// Statements without an error, and those with one: a search that only meets errors of syntax finds nothing.
    pub(crate) ran: u64,
    pub(crate) refused: u64,
}

impl Target {
    pub(crate) async fn new(corpus: &Corpus) -> Target {
        note_panics();
        let engine = Engine::open();
        let mut target = Target { client: client(&engine), engine, ran: 0, refused: 0 };
        for file in 0..corpus.files.len() {
            target.client.query(&format!("CREATE SCHEMA script_{file}")).await;
            target.relations_of(file).await;
            for sql in corpus.setup(file) {
                target.client.query(sql).await;
            }
        }
        target.client.limit = Some(Duration::from_millis(STATEMENT_MS_MAX));
        target.client.parameters = Some(parameters());
        target
    }

    /// Makes unqualified names those of a file's relations.
    pub(crate) async fn relations_of(&mut self, file: usize) {
        self.client.query(&format!("SET search_path = script_{file}")).await;
    }

    /// The bug that a text meets, in a transaction that is rolled back.
    pub(crate) async fn bug(&mut self, sql: &str) -> Option<String> {
        self.client.query("BEGIN").await;
        let mut answer = Answer::default();
        let outcome = AssertUnwindSafe(self.client.run(sql, &mut answer)).catch_unwind().await;
        match &outcome {
            Ok(Ok(())) => self.ran += 1,
            Ok(Err(_)) | Err(_) => self.refused += 1,
        }
        let bug = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => (error.code() == SqlState::INTERNAL_ERROR).then(|| format!("XX000: {}", error.message())),
            Err(_) => {
                // The session is in no state to go on with.
                self.client =
                    Client { parameters: Some(parameters()), limit: self.client.limit, ..client(&self.engine) };
                Some("panic".to_owned())
            }
        };
        let panic = PANIC.lock().ok().and_then(|mut last| last.take());
        let bug = panic.or(bug);
        self.client.rollback().await;
        bug
    }
}

fn client(engine: &Engine) -> Client {
    Client::open(&engine.app, "postgres").expect("a session")
}

/// The kind of a bug: its message without the names and numbers in it.
pub(crate) fn kind(bug: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for c in bug.lines().next().unwrap_or_default().chars() {
        match c {
            '"' | '\'' | '`' => quoted = !quoted,
            _ if quoted => {}
            c if c.is_ascii_digit() => {
                if !out.ends_with('#') {
                    out.push('#');
                }
            }
            c => out.push(c),
        }
    }
    out
}
