//! Live queries against their oracle: what a listener has been told, applied, is what the query gives when it is run.
//!
//! Random transactions (NULLs, changes of keys, savepoints, rollbacks) by several writers, queries of every kind; listeners
//! that go away and come back, that do not read, and a server that is killed. A change that does not fit what the listener
//! has (an insert of a row that is there, an old row that was another) fails at once. `KALAMDB_SEED` repeats a run's choices.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Client, Fields, report_fields};
use crate::files::TempDir;
use crate::history::{Random, setting};
use crate::support::{Server, Target};

/// How long a change may take to arrive on a loaded machine.
const ARRIVAL_S_MAX: u64 = 20;
const WRITERS: u64 = 3;

const SCHEMA: &str = "
    CREATE TABLE r (id int PRIMARY KEY, a int, b text, c numeric);
    CREATE TABLE k (a int, b text);
    CREATE TABLE s (id int PRIMARY KEY, r_id int, v int);
    CREATE INDEX ON r (a);
    CREATE VIEW v AS SELECT id, b AS name FROM r WHERE a IS NOT NULL";

/// Queries, and whether their keys tell rows apart.
const QUERIES: &[(&str, bool)] = &[
    ("TABLE r", true),
    ("SELECT id, a FROM r WHERE a > 3", true),
    ("SELECT id FROM r WHERE a = 5", true),
    ("SELECT id, c FROM r WHERE b = 'x1' AND a < 7", true),
    ("SELECT b, a + 1 AS x FROM r WHERE a IS NULL OR b LIKE 'x%'", true),
    ("SELECT id, CASE WHEN a > 5 THEN b END AS w FROM r WHERE NOT (a = 3)", true),
    ("SELECT * FROM v WHERE name <> 'x2'", true),
    ("TABLE k", false),
    ("SELECT b FROM k WHERE a = 2", false),
    ("SELECT a, count(*) AS n, sum(c) AS s FROM r GROUP BY a", true),
    ("SELECT count(*) AS n, max(b) AS m FROM k", false),
    ("SELECT DISTINCT b FROM r", false),
    ("SELECT id, a FROM r ORDER BY a DESC NULLS LAST, id LIMIT 3", true),
    ("SELECT r.id, s.id AS sid, v FROM r JOIN s ON s.r_id = r.id", true),
    ("SELECT r.id, s.v FROM r LEFT JOIN s ON s.r_id = r.id WHERE r.a > 2", false),
    ("SELECT id FROM r WHERE EXISTS (SELECT 1 FROM s WHERE s.r_id = r.id AND v > 4)", true),
    ("SELECT a FROM r UNION SELECT v FROM s", false),
    ("SELECT a FROM r UNION ALL SELECT a FROM k", false),
    ("WITH x AS (SELECT max(a) AS m FROM r) SELECT r.id FROM r, x WHERE r.a = x.m", false),
];

/// One who listens to a query and applies what he is told.
struct Listener {
    client: Client,
    query: String,
    unique: bool,
    /// Rows by key; several if the key does not tell them apart.
    rows: BTreeMap<String, Vec<String>>,
    /// Changes of a commit of which more come.
    partial: Vec<Value>,
    /// The commit that `rows` are as of.
    seq: u64,
    resets: u64,
    /// The last one, as it was told.
    reset: String,
}

impl Listener {
    fn new(addr: SocketAddr, database: &str, (query, unique): (&str, bool), options: &str) -> Result<Listener, String> {
        let client = Client::connect(addr, database).map_err(|e| e.to_string())?;
        let (query, rows) = (query.to_owned(), BTreeMap::new());
        let (partial, reset) = (Vec::new(), String::new());
        let mut listener = Listener { client, query, unique, rows, partial, seq: 0, resets: 0, reset };
        listener.listen(options)?;
        Ok(listener)
    }

    fn listen(&mut self, options: &str) -> Result<(), String> {
        let quoted = self.query.replace('"', "\"\"");
        let messages = self.client.simple(&format!("LISTEN \"{quoted}\" WITH ({options})"));
        for message in messages.map_err(|e| e.to_string())? {
            self.message(message.tag, &message.body)?;
        }
        Ok(())
    }

    /// Comes back after its connection has gone.
    fn resume(&mut self, addr: SocketAddr, database: &str) -> Result<(), String> {
        self.client = Client::connect(addr, database).map_err(|e| e.to_string())?;
        self.partial.clear();
        self.listen(&format!("since = {}", self.seq))
    }

    fn message(&mut self, tag: u8, body: &[u8]) -> Result<(), String> {
        let mut fields = Fields(body);
        match tag {
            b'A' => {
                fields.i32();
                let (channel, payload) = (fields.cstr(), fields.cstr());
                if channel != self.query {
                    return Err(format!("a notification for {channel}"));
                }
                let event = serde_json::from_str(&payload).map_err(|e| format!("{e}: {payload}"))?;
                self.apply(event).map_err(|e| format!("{e}: {payload}"))
            }
            b'E' => Err(format!("{}: {}", self.query, String::from_utf8_lossy(body))),
            _ => Ok(()),
        }
    }

    fn apply(&mut self, event: Value) -> Result<(), String> {
        let seq = event["seq"].as_u64().ok_or("no seq")?;
        match event["op"].as_str() {
            Some("ready") => self.seq = seq,
            Some("reset") => {
                self.rows.clear();
                self.partial.clear();
                self.resets += 1;
                self.reset = event.to_string();
            }
            Some("snapshot") => self.insert(&event)?,
            Some(_) => {
                if self.partial.first().is_some_and(|first| first["seq"] != event["seq"]) || seq <= self.seq {
                    return Err(format!("commit {seq} is out of order after {}", self.seq));
                }
                let last = event["last"] == true;
                self.partial.push(event);
                if last {
                    for event in std::mem::take(&mut self.partial) {
                        self.change(&event)?;
                    }
                    self.seq = seq;
                }
            }
            None => return Err("no op".to_owned()),
        }
        Ok(())
    }

    fn insert(&mut self, event: &Value) -> Result<(), String> {
        let rows = self.rows.entry(event["key"].to_string()).or_default();
        if self.unique && !rows.is_empty() {
            return Err("the row is there already".to_owned());
        }
        rows.push(event["new"].to_string());
        Ok(())
    }

    fn remove(&mut self, event: &Value) -> Result<(), String> {
        let old = event["old"].to_string();
        let rows = self.rows.entry(event["key"].to_string()).or_default();
        let at = rows.iter().position(|row| *row == old).ok_or("the old row is not there")?;
        rows.swap_remove(at);
        Ok(())
    }

    fn change(&mut self, event: &Value) -> Result<(), String> {
        match event["op"].as_str() {
            Some("insert") => self.insert(event),
            Some("delete") => self.remove(event),
            Some("update") => self.remove(event).and_then(|()| self.insert(event)),
            op => Err(format!("an op {op:?}")),
        }
    }

    /// The rows as told, in order.
    fn shown(&self) -> Vec<String> {
        let mut rows: Vec<String> = self.rows.values().flatten().cloned().collect();
        rows.sort();
        rows
    }

    /// Waits until what has been told is what the query gives.
    fn settle(&mut self, admin: &mut Client) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(ARRIVAL_S_MAX);
        let sql = format!("SELECT row_to_json(q) FROM ({}) q", self.query.replace("TABLE", "SELECT * FROM"));
        let parsed = |row: String| serde_json::from_str::<Value>(&row).map_or(row, |row| row.to_string());
        let mut expected: Vec<String> = admin.column(&sql)?.into_iter().map(parsed).collect();
        expected.sort();
        loop {
            if self.partial.is_empty() && self.shown() == expected {
                return Ok(());
            }
            match self.client.next_within(Duration::from_millis(50)).map_err(|e| format!("{}: {e}", self.query))? {
                Some(message) => self.message(message.tag, &message.body)?,
                None if Instant::now() > deadline => {
                    let (query, reset) = (&self.query, &self.reset);
                    return Err(format!("{query}: after {reset}\ntold {:?}\ngives {expected:?}", self.shown()));
                }
                None => {}
            }
        }
    }
}

fn random_statement(random: &mut Random) -> String {
    let id = random.below(30);
    let a = match random.below(10) {
        9 => "NULL".to_owned(),
        n => n.to_string(),
    };
    let b = match random.below(5) {
        4 => "NULL".to_owned(),
        n => format!("'x{n}'"),
    };
    match random.below(14) {
        0..3 => format!("INSERT INTO r VALUES ({id}, {a}, {b}, {a} * 1.5) ON CONFLICT DO NOTHING"),
        3 => format!("INSERT INTO r VALUES ({id}, {a}, {b}, 2) ON CONFLICT (id) DO UPDATE SET a = excluded.a, b = r.b"),
        4 => format!("UPDATE r SET a = {a}, c = c + 1 WHERE id % 7 = {}", id % 7),
        5 => format!("UPDATE r SET b = {b} WHERE id = {id}"),
        6 => format!("UPDATE r SET id = id + 30 WHERE id = {id} AND NOT EXISTS (SELECT 1 FROM r WHERE id = {id} + 30)"),
        7 => format!("DELETE FROM r WHERE id = {id} OR id > 40"),
        8 => format!("INSERT INTO k SELECT {a}, {b} FROM generate_series(1, {})", id % 3),
        9 => format!("UPDATE k SET a = {a} WHERE b = {b}"),
        10 => format!("DELETE FROM k WHERE a = {a}"),
        11 => format!("INSERT INTO s VALUES ({id}, {}, {a}) ON CONFLICT (id) DO UPDATE SET v = excluded.v", id % 10),
        12 => format!("UPDATE s SET r_id = {id} WHERE id % 5 = {}", id % 5),
        _ => format!("DELETE FROM s WHERE id = {id}"),
    }
}

/// One transaction; errors of conflicts end it.
fn transact(client: &mut Client, random: &mut Random) {
    let mut sql = String::from("BEGIN;");
    for _ in 0..=random.below(4) {
        sql += &random_statement(random);
        sql += ";";
        if random.below(6) == 0 {
            sql += &format!("SAVEPOINT p; {}; ROLLBACK TO p;", random_statement(random));
        }
    }
    sql += if random.below(6) == 0 { "ROLLBACK" } else { "COMMIT" };
    if client.column(&sql).is_err() {
        let _ = client.column("ROLLBACK");
    }
}

fn burst(addr: SocketAddr, database: &str, seed: u64, transactions: u64) {
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let mut client = Client::connect(addr, database).expect("a session");
                let mut random = Random::new(seed.wrapping_mul(31).wrapping_add(writer));
                for _ in 0..transactions {
                    transact(&mut client, &mut random);
                }
            });
        }
    });
}

fn holds(addr: SocketAddr, database: &str, seed: u64) -> Result<u64, String> {
    let mut admin = Client::connect(addr, database).map_err(|e| e.to_string())?;
    admin.column(SCHEMA)?;
    burst(addr, database, seed, 10);
    let mut listeners: Vec<Listener> = Vec::new();
    // They come while others write.
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || burst(addr, database, seed + 1, 30));
        for query in QUERIES {
            listeners.push(Listener::new(addr, database, *query, "snapshot = true")?);
        }
        writing.join().map_err(|_| "a writer panicked".to_owned())
    })?;
    for listener in &mut listeners {
        listener.settle(&mut admin)?;
    }
    // After every commit of one writer.
    let mut random = Random::new(seed + 2);
    let mut writer = Client::connect(addr, database).map_err(|e| e.to_string())?;
    for _ in 0..40 {
        transact(&mut writer, &mut random);
        for listener in &mut listeners {
            listener.settle(&mut admin)?;
        }
    }
    // They go away at any time, and come back.
    for round in 0..6 {
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || burst(addr, database, seed + 3 + round, 15));
            while !writing.is_finished() {
                let at = random.below(listeners.len() as u64) as usize;
                let listener = &mut listeners[at];
                for _ in 0..random.below(20) {
                    if let Ok(Some(message)) = listener.client.next_within(Duration::from_millis(1)) {
                        listener.message(message.tag, &message.body)?;
                    }
                }
                listener.resume(addr, database)?;
            }
            writing.join().map_err(|_| "a writer panicked".to_owned())
        })?;
        for listener in &mut listeners {
            listener.settle(&mut admin)?;
        }
    }
    Ok(listeners.iter().filter(|l| !l.query.contains("LIMIT")).map(|l| l.resets).sum())
}

fn seed() -> u64 {
    setting("KALAMDB_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 8)
}

/// Checks what must hold for any seed, in a new database. None with PostgreSQL, which has no live queries.
fn checked<T>(name: &str, holds: fn(SocketAddr, &str, u64) -> Result<T, String>) -> Option<T> {
    let target = Target::start();
    if target.is_postgres() {
        return None;
    }
    let seed = seed();
    println!("KALAMDB_SEED={seed}");
    let database = target.create_database(name).expect("a database");
    Some(holds(target.addr(), &database, seed).unwrap_or_else(|what| panic!("{what}")))
}

#[test]
fn live_queries_hold() {
    // The log reaches back: nobody had to begin anew, but with LIMIT.
    if let Some(resets) = checked("live", holds) {
        assert_eq!(resets, 0);
    }
}

/// Who does not read is reset, and has the rows when he reads again. The writer is not held up.
#[test]
fn a_listener_that_does_not_read_is_reset() {
    let target = Target::start();
    if target.is_postgres() {
        return;
    }
    let database = target.create_database("slow").expect("a database");
    let mut admin = Client::connect(target.addr(), &database).expect("a session");
    admin.column("CREATE TABLE big (id int PRIMARY KEY, b text)").expect("a table");
    let query = ("SELECT id, length(b) AS n, b FROM big WHERE id % 100 <> 1", true);
    let mut slow = Listener::new(target.addr(), &database, query, "snapshot = true").expect("a live query");
    for batch in 0..20 {
        let insert =
            format!("INSERT INTO big SELECT g, repeat('x', 50000) FROM generate_series({0}, {0} + 49) g", batch * 50);
        admin.column(&insert).expect("to be written");
    }
    admin.column("DELETE FROM big WHERE id > 60").expect("to be deleted");
    slow.settle(&mut admin).expect("the rows");
    assert!(slow.resets > 0, "50 MB fit into its buffers");
}

/// Tables are altered while others write, and while listeners come; who listens has the new columns in the end.
fn alters_hold(addr: SocketAddr, database: &str, seed: u64) -> Result<u64, String> {
    const ALTERED: [(&str, bool); 5] = [
        ("TABLE r", true),
        ("SELECT * FROM r WHERE a > 3", true),
        ("SELECT id, a FROM r WHERE a = 5", true),
        ("SELECT r.*, s.v FROM r JOIN s ON s.r_id = r.id", false),
        ("SELECT a, count(*) AS n FROM r GROUP BY a", true),
    ];
    let mut admin = Client::connect(addr, database).map_err(|e| e.to_string())?;
    admin.column(SCHEMA)?;
    burst(addr, database, seed, 10);
    let mut listeners: Vec<Listener> = Vec::new();
    for round in 0..4 {
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || burst(addr, database, seed + 1 + round, 15));
            let coming = scope.spawn(move || {
                let listen = |query| Listener::new(addr, database, query, "snapshot = true");
                ALTERED.into_iter().map(listen).collect::<Result<Vec<_>, _>>()
            });
            for number in 0..4 {
                let column = format!("extra_{round}_{number}");
                admin.column(&format!("ALTER TABLE r ADD COLUMN {column} int DEFAULT {number}"))?;
                // It may come to a deadlock with a writer.
                let _ = admin.column(&format!("UPDATE r SET {column} = a WHERE a > 2"));
                if number % 2 == 0 {
                    admin.column(&format!("ALTER TABLE r DROP COLUMN {column}"))?;
                }
            }
            writing.join().map_err(|_| "a writer panicked".to_owned())?;
            listeners.extend(coming.join().map_err(|_| "a listener panicked".to_owned())??);
            Ok::<_, String>(())
        })?;
        for listener in &mut listeners {
            listener.settle(&mut admin)?;
        }
    }
    Ok(listeners.iter().map(|l| l.resets).sum())
}

#[test]
fn altered_tables_hold() {
    if let Some(resets) = checked("altered", alters_hold) {
        assert!(resets > 0, "nobody was told of new columns");
    }
}

/// Many on one channel, each of which gets everything; and more than fits into the queue's memory at once.
#[test]
fn every_listener_gets_everything() {
    let target = Target::start();
    let connect = || Client::connect(target.addr(), "postgres").expect("a session");
    let mut listeners: Vec<Client> = (0..12).map(|_| connect()).collect();
    for listener in &mut listeners {
        listener.column("LISTEN everything").expect("to listen");
    }
    let mut sender = connect();
    for i in 0..400 {
        sender.column(&format!("NOTIFY everything, '{i}'")).expect("to notify");
    }
    let many = "SELECT count(pg_notify('everything', g || ':' || repeat('x', 3900))) FROM generate_series(400, 5399) g";
    sender.column(many).expect("to notify");
    for (number, listener) in listeners.iter_mut().enumerate() {
        for expected in 0..5400 {
            let message = listener.next().unwrap_or_else(|e| panic!("listener {number} at {expected}: {e}"));
            let mut fields = Fields(&message.body);
            assert_eq!((message.tag, fields.i32(), fields.cstr()), (b'A', sender.pid, "everything".to_owned()));
            let payload = fields.cstr();
            let got = payload.split(':').next().and_then(|n| n.parse::<u32>().ok());
            assert_eq!(got, Some(expected), "listener {number}");
        }
    }
}

/// After kill -9 and a restart a listener goes on where he was.
#[test]
fn a_listener_goes_on_after_a_crash() {
    let dir = TempDir::new();
    let seed = seed();
    let mut server = Server::start(dir.path());
    let mut admin = server.client();
    admin.column(SCHEMA).expect("tables");
    let mut listeners: Vec<Listener> = Vec::new();
    for query in &QUERIES[..9] {
        listeners.push(Listener::new(server.addr, "postgres", *query, "snapshot = true").expect("a live query"));
    }
    for round in 0..3 {
        let addr = server.addr;
        let writing = std::thread::spawn(move || {
            let mut random = Random::new(seed + round);
            let Ok(mut client) = Client::connect(addr, "postgres") else { return };
            loop {
                let sql =
                    format!("BEGIN; {}; {}; COMMIT", random_statement(&mut random), random_statement(&mut random));
                let answer = client.column(&sql);
                if answer.is_err() && client.column("ROLLBACK").is_err() {
                    return;
                }
            }
        });
        let until = Instant::now() + Duration::from_millis(400);
        while Instant::now() < until {
            for listener in &mut listeners {
                if let Ok(Some(message)) = listener.client.next_within(Duration::from_millis(1)) {
                    listener.message(message.tag, &message.body).unwrap_or_else(|e| panic!("KALAMDB_SEED={seed}: {e}"));
                }
            }
        }
        server.kill();
        writing.join().expect("the writer's end");
        server = Server::start(dir.path());
        admin = server.client();
        for listener in &mut listeners {
            let resumed = listener.resume(server.addr, "postgres").and_then(|()| listener.settle(&mut admin));
            resumed.unwrap_or_else(|e| panic!("KALAMDB_SEED={seed}: {e}"));
            assert_eq!(listener.resets, 0, "KALAMDB_SEED={seed}: {}", listener.query);
        }
    }
}

/// One who subscribes to a query, and has its rows, with how many of each there are.
struct Subscriber {
    client: Client,
    query: String,
    rows: BTreeMap<String, usize>,
    /// Changes of a commit of which more come: whether the row comes or goes.
    partial: Vec<(bool, String)>,
    seq: u64,
}

/// The values of a DataRow, as text.
fn values(body: &[u8]) -> Vec<String> {
    let mut fields = Fields(body);
    let shown = |v: Option<&[u8]>| v.map_or("NULL".to_owned(), |v| format!("={}", String::from_utf8_lossy(v)));
    (0..fields.i16()).map(|_| shown(fields.value())).collect()
}

impl Subscriber {
    fn new(addr: SocketAddr, database: &str, query: &str, options: &str) -> Result<Subscriber, String> {
        let client = Client::connect(addr, database).map_err(|e| e.to_string())?;
        let (query, rows) = (query.to_owned(), BTreeMap::new());
        let mut subscriber = Subscriber { client, query, rows, partial: Vec::new(), seq: 0 };
        subscriber.subscribe(options)?;
        Ok(subscriber)
    }

    fn subscribe(&mut self, options: &str) -> Result<(), String> {
        let sql = format!("SUBSCRIBE TO {} WITH (progress, {options})", self.query);
        self.client.send_simple(&sql).map_err(|e| e.to_string())
    }

    fn resume(&mut self, addr: SocketAddr, database: &str) -> Result<(), String> {
        self.client = Client::connect(addr, database).map_err(|e| e.to_string())?;
        self.partial.clear();
        self.subscribe(&format!("since = {}", self.seq))
    }

    fn message(&mut self, tag: u8, body: &[u8]) -> Result<(), String> {
        match tag {
            b'D' => {
                let values = values(body);
                self.row(&values[0], &values[1], values[2..].join("|")).map_err(|e| format!("{e}: {values:?}"))
            }
            b'E' => Err(format!("{}: {}", self.query, String::from_utf8_lossy(body))),
            _ => Ok(()),
        }
    }

    fn row(&mut self, seq: &str, op: &str, row: String) -> Result<(), String> {
        let seq: u64 = seq.trim_start_matches('=').parse().map_err(|_| "no seq")?;
        match op.trim_start_matches('=') {
            "ready" => self.seq = seq,
            "reset" => {
                self.rows.clear();
                self.partial.clear();
            }
            "snapshot" => *self.rows.entry(row).or_default() += 1,
            op @ ("insert" | "update" | "delete" | "old") if seq > self.seq => {
                self.partial.push((matches!(op, "insert" | "update"), row));
            }
            "progress" if seq > self.seq => {
                for (comes, row) in std::mem::take(&mut self.partial) {
                    let count = self.rows.entry(row).or_default();
                    *count = if comes { *count + 1 } else { count.checked_sub(1).ok_or("the old row is not there")? };
                }
                self.rows.retain(|_, count| *count > 0);
                self.seq = seq;
            }
            _ => return Err("out of order, or no such op".to_owned()),
        }
        Ok(())
    }

    fn settle(&mut self, admin: &mut Client) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(ARRIVAL_S_MAX);
        let mut expected: BTreeMap<String, usize> = BTreeMap::new();
        for message in admin.simple(&self.query).map_err(|e| e.to_string())? {
            if message.tag == b'D' {
                *expected.entry(values(&message.body).join("|")).or_default() += 1;
            }
        }
        loop {
            if self.partial.is_empty() && self.rows == expected {
                return Ok(());
            }
            match self.client.next_within(Duration::from_millis(50)).map_err(|e| format!("{}: {e}", self.query))? {
                Some(message) => self.message(message.tag, &message.body)?,
                None if Instant::now() > deadline => {
                    return Err(format!("{}:\ntold {:?}\ngives {expected:?}", self.query, self.rows));
                }
                None => {}
            }
        }
    }
}

fn rows_hold(addr: SocketAddr, database: &str, seed: u64) -> Result<(), String> {
    let mut admin = Client::connect(addr, database).map_err(|e| e.to_string())?;
    admin.column(SCHEMA)?;
    burst(addr, database, seed, 10);
    let mut subscribers: Vec<Subscriber> = Vec::new();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || burst(addr, database, seed + 1, 30));
        for (query, _) in QUERIES {
            subscribers.push(Subscriber::new(addr, database, query, "snapshot")?);
        }
        writing.join().map_err(|_| "a writer panicked".to_owned())
    })?;
    let mut random = Random::new(seed + 2);
    let mut writer = Client::connect(addr, database).map_err(|e| e.to_string())?;
    for _ in 0..20 {
        for subscriber in &mut subscribers {
            subscriber.settle(&mut admin)?;
        }
        transact(&mut writer, &mut random);
    }
    // They go away and come back.
    for round in 0..3 {
        burst(addr, database, seed + 3 + round, 5);
        for subscriber in &mut subscribers {
            subscriber.resume(addr, database)?;
            subscriber.settle(&mut admin)?;
        }
    }
    Ok(())
}

/// SUBSCRIBE: the rows told, applied, are what the query gives.
#[test]
fn subscriptions_hold() {
    checked("rows", rows_hold);
}

/// The SQLSTATE of a statement's error; "00000" without one.
fn outcome(client: &mut Client, sql: &str) -> String {
    let messages = client.simple(sql).expect("an answer");
    let error = messages.iter().find(|m| m.tag == b'E');
    let code = |m: &crate::client::Message| {
        report_fields(&m.body).into_iter().find(|(field, _)| *field == 'C').map(|(_, code)| code)
    };
    error.map_or_else(|| "00000".to_owned(), |m| code(m).expect("a code"))
}

/// More live queries, and more notifications than there is room for, are refused, and room that is given back is there again.
#[test]
fn limits_are_kept() {
    let dir = TempDir::new();
    let config = "[live]\nqueries = 3\nqueries_per_session = 2\nnotify_queue_size = \"1MB\"\n";
    std::fs::write(dir.path().join("config.toml"), config).expect("a configuration");
    let server = Server::start(dir.path());
    let (mut a, mut b) = (server.client(), server.client());
    a.column("CREATE TABLE t (id int PRIMARY KEY, v int)").expect("a table");
    let listen = |n: u32| format!("LISTEN \"SELECT id FROM t WHERE v = {n}\"");
    assert_eq!(outcome(&mut a, &listen(1)), "00000");
    assert_eq!(outcome(&mut a, &listen(2)), "00000");
    assert_eq!(outcome(&mut a, &listen(3)), "54000", "a third of one session");
    assert_eq!(outcome(&mut a, &listen(2)), "00000", "once more what is listened to");
    assert_eq!(outcome(&mut a, &format!("BEGIN; {}", listen(3))), "00000", "it counts at commit");
    assert_eq!(outcome(&mut a, "COMMIT"), "54000");
    assert_eq!(outcome(&mut b, &listen(1)), "00000");
    assert_eq!(outcome(&mut b, &listen(2)), "54000", "a fourth of all");
    assert_eq!(outcome(&mut b, "SUBSCRIBE TO SELECT id FROM t"), "54000");
    assert_eq!(outcome(&mut a, "UNLISTEN *"), "00000");
    assert_eq!(outcome(&mut b, &listen(2)), "00000");
    assert_eq!(outcome(&mut b, "SUBSCRIBE TO SELECT id FROM t"), "54000", "a third of one session");

    // A listener in a transaction takes nothing.
    assert_eq!(outcome(&mut a, "LISTEN c"), "00000");
    assert_eq!(outcome(&mut a, "BEGIN; SELECT 1"), "00000");
    let tell = |n: u32| format!("BEGIN; INSERT INTO t VALUES ({n}); SELECT pg_notify('c', repeat('x', 7000)); COMMIT");
    let refused = (0..400).find(|n| outcome(&mut b, &tell(*n)) != "00000").expect("the queue to be full");
    assert!(refused > 100, "1 MB holds more than {refused}");
    assert_eq!(outcome(&mut b, &tell(refused)), "54000");
    assert_eq!(
        b.column("SELECT count(*) FROM t").expect("a count"),
        [refused.to_string()],
        "its transaction is undone"
    );
    assert_eq!(outcome(&mut b, &format!("INSERT INTO t VALUES ({refused})")), "00000", "others go on");
    let told = a.simple("COMMIT").expect("an answer").iter().filter(|m| m.tag == b'A').count();
    assert_eq!(told, refused as usize);
    assert_eq!(outcome(&mut b, &tell(refused + 1)), "00000");
}

/// A database whose queries are listened to stays; one that is gone takes nothing along.
#[test]
fn a_database_goes_when_nobody_listens_there() {
    let dir = TempDir::new();
    let server = Server::start(dir.path());
    let mut admin = server.client();
    admin.column("CREATE DATABASE other").expect("a database");
    let mut there = Client::connect(server.addr, "other").expect("a session");
    there.column("CREATE TABLE t (id int PRIMARY KEY)").expect("a table");
    assert_eq!(outcome(&mut there, "LISTEN \"TABLE t\"; LISTEN c"), "00000");
    assert_eq!(outcome(&mut admin, "DROP DATABASE other"), "55006");
    // A channel is a database's own.
    assert_eq!(outcome(&mut admin, "NOTIFY c, 'elsewhere'"), "00000");
    assert_eq!(outcome(&mut there, "NOTIFY c, 'here'"), "00000");
    drop(there);
    let deadline = Instant::now() + Duration::from_secs(ARRIVAL_S_MAX);
    while outcome(&mut admin, "DROP DATABASE other") != "00000" {
        assert!(Instant::now() < deadline, "the session has not ended");
    }
    assert_eq!(admin.column("SELECT count(*) FROM system.live_queries").expect("a count"), ["0"]);
    admin.column("CREATE DATABASE other").expect("a database");
    let mut there = Client::connect(server.addr, "other").expect("a session");
    assert_eq!(outcome(&mut there, "LISTEN \"TABLE t\""), "42P01");
}
