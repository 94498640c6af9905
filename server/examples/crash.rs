//! kill -9 under concurrent writes: what was acknowledged is there after the restart, and no transaction is there in
//! part. `crash ROUNDS PORT COMMAND...` starts the server by COMMAND, which must listen on 127.0.0.1:PORT, and keeps
//! its data from round to round. Run by `make crash`.
//!
//! Each writer numbers its transactions. A transaction inserts [`PARTS`] rows, deletes one row of its predecessor's
//! predecessor and sets the writer's counter, so that a part of a transaction, a lost one and one that is there without
//! being the last each show. One transaction of a writer may be in doubt when the server dies: sent, not acknowledged.

#![allow(clippy::print_stdout, reason = "its output is its report")]

use std::error::Error;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const WRITERS: i64 = 8;
const PARTS: i64 = 4;
/// Every so often a writer's transaction also creates a table.
const TABLE_EVERY: i64 = 50;
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A number below `bound`; it need not be a good one.
fn random(bound: u64) -> u64 {
    RandomState::new().build_hasher().finish() % bound
}

/// The server's process; killed when dropped.
struct Server(Child);

impl Server {
    fn start(command: &[String]) -> Outcome<Server> {
        let child = Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).spawn()?;
        Ok(Server(child))
    }

    /// Waits for a session.
    async fn ready(&mut self, port: u16) -> Outcome<Client> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match connect(port).await {
                Ok(client) => return Ok(client),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("the server ended at start: {status}").into());
            }
        }
    }

    fn kill(mut self) -> Outcome {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn connect(port: u16) -> Outcome<Client> {
    let parameters = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&parameters, NoTls).await?;
    // Ends with the client or the server; the client's calls report why.
    tokio::spawn(connection);
    Ok(client)
}

async fn create(client: &Client) -> Outcome {
    client
        .batch_execute(
            "CREATE TABLE rows (writer bigint, number bigint, part bigint, note text, PRIMARY KEY (writer, number, part));
             CREATE INDEX rows_by_note ON rows (note, writer DESC);
             CREATE UNIQUE INDEX rows_by_number ON rows (part, number, writer);
             CREATE TABLE notes (id bigserial PRIMARY KEY, writer bigint, number bigint, part bigint NOT NULL CHECK (part > 0),
                                 FOREIGN KEY (writer, number, part) REFERENCES rows ON DELETE CASCADE);
             CREATE INDEX ON notes (writer, number);
             CREATE TABLE counters (writer bigint PRIMARY KEY, number bigint NOT NULL)",
        )
        .await?;
    for writer in 0..WRITERS {
        client.execute("INSERT INTO counters VALUES ($1, 0)", &[&writer]).await?;
    }
    Ok(())
}

/// Writes until the server dies; gives the number of the last acknowledged transaction.
async fn write(port: u16, writer: i64, mut number: i64) -> i64 {
    let Ok(mut client) = connect(port).await else { return number };
    while transaction(&mut client, writer, number + 1).await.is_ok() {
        number += 1;
    }
    number
}

async fn transaction(client: &mut Client, writer: i64, number: i64) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    let note = "x".repeat(random(300) as usize);
    for part in 0..PARTS {
        transaction.execute("INSERT INTO rows VALUES ($1, $2, $3, $4)", &[&writer, &number, &part, &note]).await?;
    }
    // Refers to a row of its own, of which the last is deleted with its note when its turn has come.
    let note = "INSERT INTO notes (writer, number, part) VALUES ($1, $2, 1), ($1, $2, 3)";
    transaction.execute(note, &[&writer, &number]).await?;
    let delete = "DELETE FROM rows WHERE writer = $1 AND number = $2 AND part = 0";
    transaction.execute(delete, &[&writer, &(number - 2)]).await?;
    let cascade = "DELETE FROM rows WHERE writer = $1 AND number = $2 AND part = 3";
    transaction.execute(cascade, &[&writer, &(number - 2)]).await?;
    transaction.execute("UPDATE counters SET number = $2 WHERE writer = $1", &[&writer, &number]).await?;
    if number % TABLE_EVERY == 0 {
        transaction.batch_execute(&format!("CREATE TABLE made_{writer}_{number} (id bigint)")).await?;
        transaction.execute(&format!("INSERT INTO made_{writer}_{number} VALUES ($1)"), &[&number]).await?;
    }
    transaction.commit().await
}

/// Checks one writer's rows; gives the number it stands at, which is `acknowledged` or the one after.
async fn verify(client: &Client, writer: i64, acknowledged: i64) -> Outcome<i64> {
    let row = client.query_one("SELECT number FROM counters WHERE writer = $1", &[&writer]).await?;
    let last: i64 = row.try_get(0)?;
    if last != acknowledged && last != acknowledged + 1 {
        return Err(format!("writer {writer}: {acknowledged} transactions acknowledged, {last} there").into());
    }
    let rows =
        client.query("SELECT number, part FROM rows WHERE writer = $1 ORDER BY number, part", &[&writer]).await?;
    let found = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let found: Vec<(i64, i64)> = found.collect::<Result<_, tokio_postgres::Error>>()?;
    let deleted = |number: i64, part: i64| (part == 0 || part == 3) && number <= last - 2;
    let expected = (1..=last).flat_map(|n| (0..PARTS).map(move |p| (n, p))).filter(|(n, p)| !deleted(*n, *p));
    let expected: Vec<(i64, i64)> = expected.collect();
    if found != expected {
        let first = found.iter().zip(&expected).position(|(f, e)| f != e).unwrap_or(found.len().min(expected.len()));
        return Err(format!(
            "writer {writer} at transaction {last}: {} rows, {} expected; first difference: found {:?}, expected {:?}",
            found.len(),
            expected.len(),
            found.get(first),
            expected.get(first)
        )
        .into());
    }
    verify_notes(client, writer, last).await?;
    for number in (TABLE_EVERY..=last).step_by(TABLE_EVERY as usize) {
        let row = client.query_one(&format!("SELECT sum(id)::bigint FROM made_{writer}_{number}"), &[]).await?;
        if row.try_get::<_, Option<i64>>(0)? != Some(number) {
            return Err(format!("table made_{writer}_{number} has lost its row").into());
        }
    }
    Ok(last)
}

/// Each row that is referred to has its note, found through the index as well as without.
async fn verify_notes(client: &Client, writer: i64, last: i64) -> Outcome {
    let kept = last + last.min(2);
    for condition in ["writer = $1", "writer + 0 = $1"] {
        let row = client.query_one(&format!("SELECT count(*) FROM notes WHERE {condition}"), &[&writer]).await?;
        let found: i64 = row.try_get(0)?;
        if found != kept {
            return Err(format!("writer {writer} at transaction {last}: {found} notes, {kept} expected").into());
        }
    }
    Ok(())
}

/// A sequence gives nothing again that it has given before the server died.
async fn verify_sequence(client: &Client) -> Outcome {
    let row = client.query_one("SELECT nextval('notes_id_seq'), (SELECT max(id) FROM notes)", &[]).await?;
    let (next, last): (i64, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    if last.is_some_and(|last| next <= last) {
        return Err(format!("the sequence gives {next} again, {last:?} is there").into());
    }
    Ok(())
}

/// `admin check` over the directory that the dead server has left.
fn check(command: &[String]) -> Outcome {
    let output = Command::new(&command[0]).args(&command[1..]).args(["admin", "check"]).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("admin check: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        .into())
}

async fn round(command: &[String], port: u16, round: u64, numbers: &mut [i64]) -> Outcome<i64> {
    if round.is_multiple_of(3) {
        // A death while starting, which is a death while recovering.
        let server = Server::start(command)?;
        tokio::time::sleep(Duration::from_millis(random(250))).await;
        server.kill()?;
    }
    let mut server = Server::start(command)?;
    let client = server.ready(port).await?;
    if client.query("SELECT 1 FROM pg_class WHERE relname = 'counters'", &[]).await?.is_empty() {
        create(&client).await?;
    }
    let before: i64 = numbers.iter().sum();
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(port, writer, numbers[writer as usize]))).collect();
    tokio::time::sleep(Duration::from_millis(300 + random(1500))).await;
    server.kill()?;
    for (number, writer) in numbers.iter_mut().zip(writers) {
        *number = writer.await?;
    }
    let acknowledged = numbers.iter().sum::<i64>() - before;

    let mut server = Server::start(command)?;
    let client = server.ready(port).await?;
    for (writer, number) in numbers.iter_mut().enumerate() {
        *number = verify(&client, writer as i64, *number).await?;
    }
    verify_sequence(&client).await?;
    server.kill()?;
    check(command)?;
    Ok(acknowledged)
}

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rounds, port, command @ ..] = arguments.as_slice() else { return Err("crash ROUNDS PORT COMMAND...".into()) };
    let (rounds, port): (u64, u16) = (rounds.parse()?, port.parse()?);
    let mut numbers = vec![0; WRITERS as usize];
    for number in 1..=rounds {
        match round(command, port, number, &mut numbers).await {
            Ok(0) => return Err(format!("not ok - crash round {number}: nothing was written").into()),
            Ok(acknowledged) => {
                println!("ok - crash round {number}: {acknowledged} transactions acknowledged, all there")
            }
            Err(error) => {
                println!("not ok - crash round {number}: {error}");
                return Err(error);
            }
        }
    }
    Ok(())
}
