//! Load for listeners: connections that listen, a client that writes, and how long what is written takes to arrive.
//!
//! ```text
//! load PORT hold COUNT "LISTEN ch_{i}"          connections, until standard input ends; {i}: the connection's number
//! load PORT notify COUNT SECONDS RATE           all listen to one channel; latency of NOTIFY
//! load PORT live COUNT SECONDS RATE             all listen to the same live query
//! load PORT keys COUNT SECONDS RATE             each listens to its own value of a column
//! load PORT stuck COUNT SECONDS RATE            the same with rows of 4 kB, and one in a hundred does not read
//! load PORT resume COUNT SECONDS RATE           all listen to the same live query, go away again and again and come back with
//!                                               since; fails if a change is lost, doubled or out of order
//! ```
//!
//! RATE is commits per second, 0 for as many as possible. What is measured is printed as `name value unit`, tab-separated.

#![allow(clippy::print_stdout, reason = "its results")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout};

const TABLE: &str = "DROP TABLE IF EXISTS live_load; CREATE TABLE live_load (id bigint PRIMARY KEY, room int, at bigint, body text)";
/// Connections that start up at a time.
const STARTING_MAX: usize = 64;

struct Client {
    socket: TcpStream,
    input: Vec<u8>,
}

impl Client {
    async fn connect(port: u16) -> io::Result<Client> {
        let socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.set_nodelay(true)?;
        let mut client = Client { socket, input: Vec::new() };
        let parameters = b"user\0postgres\0database\0postgres\0\0";
        let mut packet = (parameters.len() as u32 + 8).to_be_bytes().to_vec();
        packet.extend(196_608_u32.to_be_bytes());
        packet.extend(parameters);
        client.socket.write_all(&packet).await?;
        client.until_ready().await?;
        Ok(client)
    }

    async fn message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            if let Some([tag, length @ ..]) = self.input.first_chunk::<5>() {
                let (tag, length) = (*tag, u32::from_be_bytes(*length) as usize);
                if self.input.len() > length {
                    let body = self.input[5..=length].to_vec();
                    self.input.drain(..=length);
                    return Ok((tag, body));
                }
            }
            if self.socket.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn until_ready(&mut self) -> io::Result<()> {
        loop {
            match self.message().await? {
                (b'Z', _) => return Ok(()),
                (b'E', body) => return Err(io::Error::other(String::from_utf8_lossy(&body).into_owned())),
                _ => {}
            }
        }
    }

    async fn run(&mut self, sql: &str) -> io::Result<()> {
        self.run_without_waiting(sql).await?;
        self.until_ready().await
    }

    async fn run_without_waiting(&mut self, sql: &str) -> io::Result<()> {
        let mut packet = vec![b'Q'];
        packet.extend((sql.len() as u32 + 5).to_be_bytes());
        packet.extend(sql.as_bytes());
        packet.push(0);
        self.socket.write_all(&packet).await
    }
}

fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// The time that a payload was sent at: its last number of 16 digits.
fn sent_at(body: &[u8]) -> Option<u64> {
    let digits = body.windows(16).rfind(|w| w.iter().all(u8::is_ascii_digit))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Opens connections that have run a statement.
async fn listeners(port: u16, count: usize, statement: &str) -> io::Result<Vec<Client>> {
    let mut open = Vec::with_capacity(count);
    for first in (0..count).step_by(STARTING_MAX) {
        let starting = (first..count.min(first + STARTING_MAX)).map(|i| {
            let statement = statement.replace("{i}", &i.to_string());
            tokio::spawn(async move {
                let mut client = Client::connect(port).await?;
                client.run(&statement).await?;
                Ok::<_, io::Error>(client)
            })
        });
        let starting: Vec<_> = starting.collect();
        for client in starting {
            open.push(client.await.map_err(io::Error::other)??);
        }
    }
    Ok(open)
}

async fn measure(port: u16, kind: &str, count: usize, seconds: u64, rate: u64) -> io::Result<()> {
    let mut writer = Client::connect(port).await?;
    let statement = match kind {
        "notify" => "LISTEN load".to_owned(),
        _ => {
            writer.run(TABLE).await?;
            let room = if kind == "keys" { "{i}" } else { "7" };
            let columns = if kind == "stuck" { "id, body, at" } else { "id, at" };
            format!("LISTEN \"SELECT {columns} FROM live_load WHERE room = {room}\"")
        }
    };
    let mut open = listeners(port, count, &statement).await?;
    let stuck = open.split_off(if kind == "stuck" { count - count / 100 } else { count });
    let count = open.len();
    let body = if kind == "stuck" { "repeat('x', 4000)" } else { "NULL" };
    let received = Arc::new(AtomicU64::new(0));
    let latencies = Arc::new(Mutex::new(Vec::<u32>::new()));
    for mut client in open {
        let (received, latencies) = (Arc::clone(&received), Arc::clone(&latencies));
        tokio::spawn(async move {
            while let Ok((tag, body)) = client.message().await {
                if tag != b'A' {
                    continue;
                }
                let Some(sent) = sent_at(&body) else { continue };
                let latency = now_micros().saturating_sub(sent) as u32;
                // Some of very many are enough.
                if received.fetch_add(1, Ordering::Relaxed) % 16 == 0 || count < 100 {
                    latencies.lock().await.push(latency);
                }
            }
        });
    }
    sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    let mut commits = 0_u64;
    while started.elapsed() < Duration::from_secs(seconds) {
        let at = now_micros();
        let room = if kind == "keys" { commits as usize % count } else { 7 };
        let sql = match kind {
            "notify" => format!("NOTIFY load, '{at}'"),
            _ => format!("INSERT INTO live_load VALUES ({commits}, {room}, {at}, {body})"),
        };
        writer.run(&sql).await?;
        commits += 1;
        if rate > 0 {
            sleep_until(started + Duration::from_micros(commits * 1_000_000 / rate)).await;
        }
    }
    let wrote = started.elapsed();
    let expected = if kind == "keys" { commits } else { commits * count as u64 };
    let arrived = timeout(Duration::from_secs(60), async {
        while received.load(Ordering::Relaxed) < expected {
            sleep(Duration::from_millis(1)).await;
        }
    });
    if arrived.await.is_err() {
        return Err(io::Error::other(format!("{} of {expected} have arrived", received.load(Ordering::Relaxed))));
    }
    let all = started.elapsed();
    let mut latencies = latencies.lock().await.clone();
    latencies.sort_unstable();
    let part = |p: usize| latencies[(latencies.len() - 1) * p / 100];
    println!("latency p50\t{}\tus", part(50));
    println!("latency p99\t{}\tus", part(99));
    println!("commits\t{:.0}\ttps", commits as f64 / wrote.as_secs_f64());
    println!("deliveries\t{:.0}\tper s", expected as f64 / all.as_secs_f64());
    drop(stuck);
    Ok(())
}

/// The number behind a name in a payload.
fn number_of(payload: &str, name: &str) -> Option<u64> {
    let rest = &payload[payload.find(name)? + name.len()..];
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

/// What one who goes away and comes back has got.
struct Returning {
    port: u16,
    query: String,
    /// The commit he has got everything of, and the row that has to come next.
    seq: u64,
    next: u64,
}

impl Returning {
    /// Listens for a while, `stay` changes long, or to the end.
    async fn listen(&mut self, stay: u64, last: &AtomicU64) -> io::Result<()> {
        let mut client = Client::connect(self.port).await?;
        client.run_without_waiting(&format!("LISTEN \"{}\" WITH (since = {})", self.query, self.seq)).await?;
        let mut seen = 0;
        while seen < stay && self.next < last.load(Ordering::Relaxed) {
            let Ok(message) = timeout(Duration::from_millis(200), client.message()).await else { continue };
            let (tag, body) = message?;
            let text = String::from_utf8_lossy(&body);
            if tag == b'E' {
                return Err(io::Error::other(text.into_owned()));
            }
            if tag != b'A' {
                continue;
            }
            let seq = number_of(&text, "\"seq\":").ok_or_else(|| io::Error::other(format!("no seq: {text}")))?;
            if text.contains("\"op\":\"ready\"") {
                self.seq = self.seq.max(seq);
                continue;
            }
            let id = number_of(&text, "\"id\":").filter(|_| text.contains("\"op\":\"insert\""));
            if id != Some(self.next) {
                return Err(io::Error::other(format!("row {} had to come, not {text}", self.next)));
            }
            (self.next, self.seq, seen) = (self.next + 1, seq, seen + 1);
        }
        Ok(())
    }
}

async fn resume(port: u16, count: usize, seconds: u64, rate: u64) -> io::Result<()> {
    let mut writer = Client::connect(port).await?;
    writer.run(TABLE).await?;
    let query = "SELECT id FROM live_load WHERE room = 7".to_owned();
    writer.run(&format!("LISTEN \"{query}\"")).await?;
    let start = loop {
        if let (b'A', body) = writer.message().await? {
            break number_of(&String::from_utf8_lossy(&body), "\"seq\":").unwrap_or(0);
        }
    };
    writer.run("UNLISTEN *").await?;
    // Not known before the end.
    let last = Arc::new(AtomicU64::new(u64::MAX));
    let away = Arc::new(AtomicU64::new(0));
    let listeners: Vec<_> = (0..count as u64)
        .map(|number| {
            let (last, away) = (Arc::clone(&last), Arc::clone(&away));
            let mut returning = Returning { port, query: query.clone(), seq: start, next: 0 };
            tokio::spawn(async move {
                let mut stay = number;
                while returning.next < last.load(Ordering::Relaxed) {
                    stay = stay.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    returning.listen(1 + (stay >> 33) % 40, &last).await?;
                    away.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, io::Error>(())
            })
        })
        .collect();
    let started = Instant::now();
    let mut commits = 0_u64;
    while started.elapsed() < Duration::from_secs(seconds) {
        writer.run(&format!("INSERT INTO live_load VALUES ({commits}, 7, 0)")).await?;
        commits += 1;
        sleep_until(started + Duration::from_micros(commits * 1_000_000 / rate.max(1))).await;
    }
    last.store(commits, Ordering::Relaxed);
    for listener in listeners {
        timeout(Duration::from_secs(60), listener).await.map_err(io::Error::other)?.map_err(io::Error::other)??;
    }
    println!("disconnects without a lost or doubled change\t{}\ttimes", away.load(Ordering::Relaxed));
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let usage = || io::Error::other("load PORT hold|notify|live|keys|stuck|resume COUNT ...: see the source's head");
    let number = |text: &str| text.parse::<u64>().map_err(io::Error::other);
    match arguments.as_slice() {
        [port, "hold", count, statement] => {
            let open = listeners(number(port)? as u16, number(count)? as usize, statement).await?;
            println!("holding {}", open.len());
            tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
            Ok(())
        }
        [port, kind @ ("notify" | "live" | "keys" | "stuck" | "resume"), count, seconds, rate] => {
            let (count, seconds, rate) = (number(count)? as usize, number(seconds)?, number(rate)?);
            if *kind == "resume" {
                return resume(number(port)? as u16, count, seconds, rate).await;
            }
            measure(number(port)? as u16, kind, count, seconds, rate).await
        }
        _ => Err(usage()),
    }
}
