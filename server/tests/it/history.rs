//! Histories of concurrent transactions, checked for what their isolation level rules out, in the manner of Elle.
//!
//! Clients append unique numbers to registers (lists) and read them. A list shows who wrote after whom, a read which
//! writes it saw and which it missed: dependencies between transactions follow from the answers alone. A cycle of them,
//! or an answer that fits no order, is an anomaly; nothing has to be known of how the server works.
//!
//! `KALAMDB_SEED` repeats a run's choices (its timing it cannot), `KALAMDB_HISTORY_SECONDS` sets how long a level runs.

mod check;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use self::check::{Level, Lists, Op, Txn, check};
use crate::client::{Client, Fields, report_fields};
use crate::support::Target;

const CLIENTS: u64 = 6;
const OPERATIONS_MAX: u64 = 4;
/// Registers in use at a time: few, so that transactions meet.
const REGISTERS: u64 = 8;
/// After so many appends the oldest register is left alone and a new one begins: lists stay short, and rows that are
/// not there yet come up again and again.
const APPENDS_PER_REGISTER: u64 = 32;
const SECONDS: u64 = 3;

/// xorshift: what it gives depends on the seed alone.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Never 0, from which it would not get away.
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}

enum Failure {
    /// The server gave this transaction up for another's sake.
    Aborted,
    Broken(String),
}

impl From<Failure> for String {
    fn from(failure: Failure) -> String {
        match failure {
            Failure::Aborted => "aborted where nothing else runs".to_string(),
            Failure::Broken(what) => what,
        }
    }
}

#[derive(Default)]
struct Answer {
    rows: Vec<Vec<String>>,
    tag: String,
}

fn ask(client: &mut Client, sql: &str, extended: bool) -> Result<Answer, Failure> {
    let messages = if extended { client.extended(sql) } else { client.simple(sql) };
    let mut answer = Answer::default();
    for message in messages.map_err(|e| Failure::Broken(format!("{sql}: {e}")))? {
        let mut fields = Fields(&message.body);
        match message.tag {
            b'E' => {
                let report = report_fields(&message.body);
                let aborted = report.iter().any(|f| f.0 == 'C' && ["40001", "40P01"].contains(&f.1.as_str()));
                return Err(if aborted { Failure::Aborted } else { Failure::Broken(format!("{sql}: {report:?}")) });
            }
            b'D' => {
                let columns = 0..fields.i16();
                let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or(b"NULL")).into_owned();
                answer.rows.push(columns.map(|_| text(fields.value())).collect());
            }
            b'C' => answer.tag = fields.cstr(),
            _ => {}
        }
    }
    Ok(answer)
}

/// A statement that must have touched one row; RETURNING's list is a read.
fn wrote(answer: &Answer, tag: &str, register: u64, ops: &mut Vec<Op>) -> Result<(), Failure> {
    if answer.tag != tag {
        return Err(Failure::Broken(format!("{:?} instead of {tag:?} for register {register}", answer.tag)));
    }
    if let [row] = answer.rows.as_slice() {
        ops.push(Op::Read { register, seen: parsed(&row[0])? });
    }
    Ok(())
}

fn parsed(list: &str) -> Result<Vec<u64>, Failure> {
    let values = list.split_whitespace().map(str::parse).collect::<Result<_, _>>();
    values.map_err(|e| Failure::Broken(format!("the list {list:?}: {e}")))
}

/// Rows of a register's number and list.
fn lists(answer: &Answer) -> Result<Lists, Failure> {
    let list = |row: &Vec<String>| match row.as_slice() {
        [id, list] => Ok((id.parse().map_err(|e| Failure::Broken(format!("register {id:?}: {e}")))?, parsed(list)?)),
        _ => Err(Failure::Broken(format!("two columns, not {row:?}"))),
    };
    answer.rows.iter().map(list).collect()
}

/// One level's run.
struct Run {
    level: Level,
    seed: u64,
    addr: SocketAddr,
    database: String,
    start: Instant,
    until: Instant,
    /// The next value to append. It also tells which registers are in use.
    next: AtomicU64,
}

impl Run {
    fn connect(&self) -> Result<Client, String> {
        Client::connect(self.addr, &self.database).map_err(|e| format!("no session: {e}"))
    }

    /// Runs the clients; their transactions and the state they leave.
    fn record(&self) -> Result<(Vec<Txn>, Lists), String> {
        let mut admin = self.connect()?;
        ask(&mut admin, "CREATE TABLE registers (id int PRIMARY KEY, list text NOT NULL)", false)?;
        let histories = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || self.session(number))).collect();
            let ended = clients.into_iter().map(|c| c.join().unwrap_or_else(|_| Err("a client panicked".to_string())));
            ended.collect::<Result<Vec<_>, String>>()
        })?;
        let last = lists(&ask(&mut admin, "SELECT id, list FROM registers", false)?)?;
        Ok((histories.into_iter().flatten().collect(), last))
    }

    fn session(&self, number: u64) -> Result<Vec<Txn>, String> {
        let mut client = self.connect()?;
        let mut random = Random::new(self.seed.wrapping_add(number));
        ask(&mut client, &format!("SET default_transaction_isolation = '{}'", self.level.sql()), false)?;
        // Nobody orders what it locks; the usual second for each deadlock would be all that the run does.
        ask(&mut client, "SET deadlock_timeout = '10ms'", false)?;
        let mut txns = Vec::new();
        while Instant::now() < self.until {
            let (mut ops, began) = (Vec::new(), self.start.elapsed());
            let committed = match self.transaction(&mut client, &mut random, &mut ops) {
                Ok(committed) => committed,
                Err(Failure::Aborted) => {
                    ask(&mut client, "ROLLBACK", false)?;
                    false
                }
                Err(Failure::Broken(what)) => return Err(what),
            };
            txns.push(Txn { ops, committed, began, ended: self.start.elapsed() });
        }
        Ok(txns)
    }

    /// Whether it was committed. What it has done so far is in `ops` also when it fails.
    fn transaction(&self, client: &mut Client, random: &mut Random, ops: &mut Vec<Op>) -> Result<bool, Failure> {
        let count = 1 + random.below(OPERATIONS_MAX);
        let block = count > 1 || random.below(2) == 0;
        if block {
            ask(client, "BEGIN", false)?;
        }
        for _ in 0..count {
            let oldest = self.next.load(Ordering::Relaxed) / APPENDS_PER_REGISTER;
            let register = oldest + random.below(REGISTERS);
            match random.below(8) {
                0 => self.scan(client, random, oldest, ops)?,
                1..4 => self.read(client, random, register, ops)?,
                _ => self.append(client, random, register, block, ops)?,
            }
        }
        if !block {
            return Ok(true);
        }
        let end = if random.below(16) == 0 { "ROLLBACK" } else { "COMMIT" };
        match ask(client, end, false)?.tag {
            tag if tag == end => Ok(end == "COMMIT"),
            tag => Err(Failure::Broken(format!("{end} has become {tag}"))),
        }
    }

    fn read(&self, client: &mut Client, random: &mut Random, register: u64, ops: &mut Vec<Op>) -> Result<(), Failure> {
        let lock = ["", "", "", "", "", "", " FOR SHARE", " FOR UPDATE"][random.below(8) as usize];
        let select = format!("SELECT list FROM registers WHERE id = {register}{lock}");
        let answer = ask(client, &select, random.below(2) == 0)?;
        let seen = match answer.rows.as_slice() {
            [] => Vec::new(),
            [row] => parsed(&row[0])?,
            rows => return Err(Failure::Broken(format!("one register in {} rows", rows.len()))),
        };
        ops.push(Op::Read { register, seen });
        Ok(())
    }

    /// Reads the registers in use at once, and so also that some are missing.
    fn scan(&self, client: &mut Client, random: &mut Random, oldest: u64, ops: &mut Vec<Op>) -> Result<(), Failure> {
        let beyond = oldest + REGISTERS;
        let select = format!("SELECT id, list FROM registers WHERE id >= {oldest} AND id < {beyond}");
        let mut found = lists(&ask(client, &select, random.below(2) == 0)?)?;
        ops.extend((oldest..beyond).map(|register| {
            let seen = found.remove(&register).unwrap_or_default();
            Op::Read { register, seen }
        }));
        Ok(())
    }

    fn append(
        &self,
        client: &mut Client,
        random: &mut Random,
        register: u64,
        block: bool,
        ops: &mut Vec<Op>,
    ) -> Result<(), Failure> {
        let value = self.next.fetch_add(1, Ordering::Relaxed);
        let returning = if random.below(2) == 0 { "" } else { " RETURNING list" };
        let extended = random.below(2) == 0;
        // Before it is sent: an append that fails must be known too, as one that nobody may see.
        ops.push(Op::Append { register, value });
        if random.below(4) > 0 {
            let update = format!("UPDATE registers SET list = list || ' {value}' WHERE id = {register}{returning}");
            let answer = ask(client, &update, extended)?;
            if answer.tag != "UPDATE 0" {
                return wrote(&answer, "UPDATE 1", register, ops);
            }
            // It was a read of a register that is missing.
            ops.pop();
            ops.push(Op::Read { register, seen: Vec::new() });
            if !block {
                return Ok(());
            }
            ops.push(Op::Append { register, value });
        }
        let insert = format!(
            "INSERT INTO registers VALUES ({register}, ' {value}')
             ON CONFLICT (id) DO UPDATE SET list = registers.list || excluded.list{returning}"
        );
        wrote(&ask(client, &insert, extended)?, "INSERT 0 1", register, ops)
    }
}

pub(crate) fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number: {text}")))
}

fn history_holds(level: Level, suffix: &str) {
    let seed = setting("KALAMDB_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let seconds = Duration::from_secs(setting("KALAMDB_HISTORY_SECONDS").unwrap_or(SECONDS));
    let target = Target::start();
    let database = target.create_database(suffix).expect("a database");
    let start = Instant::now();
    let (addr, until) = (target.addr(), start + seconds);
    let run = Run { level, seed, addr, database, start, until, next: AtomicU64::new(1) };
    let outcome = run.record().and_then(|(txns, last)| {
        check(level, &txns, &last)?;
        let committed = txns.iter().filter(|txn| txn.committed).count() as u64;
        println!("{level:?}: {committed} transactions committed, {} aborted", txns.len() as u64 - committed);
        if committed < CLIENTS { Err("too few transactions to tell".to_string()) } else { Ok(()) }
    });
    outcome.unwrap_or_else(|what| panic!("{level:?}, KALAMDB_SEED={seed}: {what}"));
}

#[test]
fn history_of_read_committed() {
    history_holds(Level::ReadCommitted, "history_rc");
}

#[test]
fn history_of_repeatable_read() {
    history_holds(Level::Snapshot, "history_rr");
}

#[test]
fn history_of_serializable() {
    history_holds(Level::Serializable, "history_s");
}
