//! A session: texts are prepared, bound and executed, their rows written in both forms, and all of it rolled back.
//!
//! Half of the mutations change tokens instead of bytes. A panic or an XX000 does not end the run: the first of each kind
//! is made short and appended to the file that FUZZ_FINDINGS names. libFuzzer itself reports crashes and hangs.
#![no_main]

#[path = "../../../server/tests/it/answer.rs"]
#[allow(dead_code, reason = "answers are not compared here")]
mod answer;
#[path = "../../../engine/tests/it/bugs.rs"]
mod bugs;
#[path = "../../../engine/tests/it/client.rs"]
#[allow(dead_code, reason = "libFuzzer has its own thread")]
mod client;
#[path = "../../../server/tests/it/files.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod files;
#[path = "../../../engine/tests/it/mutate.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod mutate;
#[path = "../../../server/tests/it/script.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod script;
#[path = "../../../server/tests/it/types.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod types;

use std::collections::HashSet;
use std::io::Write;
use std::sync::{LazyLock, Mutex, PoisonError};

use bugs::{Target, kind};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use mutate::{Corpus, Random, is_left_out, minimised};
use tokio::runtime::{Builder, Runtime};

static CORPUS: LazyLock<Corpus> = LazyLock::new(Corpus::load);

struct State {
    runtime: Runtime,
    target: Target,
    known: HashSet<String>,
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| {
    // libFuzzer's hook would abort at a panic that is caught.
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut target = runtime.block_on(Target::new(&CORPUS));
    let largest = (0..CORPUS.files.len()).max_by_key(|file| CORPUS.setup(*file).count());
    runtime.block_on(target.relations_of(largest.unwrap_or(0)));
    Mutex::new(State { runtime, target, known: HashSet::new() })
});

fuzz_target!(|sql: &str| {
    if is_left_out(sql) {
        return;
    }
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let State { runtime, target, known } = &mut *state;
    let Some(bug) = runtime.block_on(target.bug(sql)) else { return };
    let kind = kind(&bug);
    if known.insert(kind.clone()) {
        let same = async |text: &str| target.bug(text).await.is_some_and(|bug| self::kind(&bug) == kind);
        let short = runtime.block_on(minimised(sql, same));
        report(&bug, &short);
    }
});

fn report(bug: &str, sql: &str) {
    let line = format!("{bug}\n    {sql:?}\n");
    eprint!("FOUND {line}");
    if let Ok(path) = std::env::var("FUZZ_FINDINGS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(u64::from(seed));
    let text = std::str::from_utf8(&data[..size]).ok().filter(|_| random.below(2) == 0);
    let Some(text) = text else { return fuzzer_mutate(data, size, max_size) };
    let made = CORPUS.mutated(text, &mut random);
    let mut end = made.len().min(max_size);
    while !made.is_char_boundary(end) {
        end -= 1;
    }
    data[..end].copy_from_slice(&made.as_bytes()[..end]);
    end
});
