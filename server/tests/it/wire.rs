//! Runs `testdata/wire/*.wire`: messages to the server and the messages that come back, byte values included.
//!
//! `> [NAME:] COMMAND ...` sends on the connection NAME (`main` if not given), `< [NAME:] MESSAGE` is what has to come.
//! Lines to send that follow each other are sent together, before anything is read. Commands:
//!
//! ```text
//! connect                                  open, start up with user postgres, read up to ReadyForQuery
//! Startup version=3.0 user=u database=d options="-c a=b"     `database=@` is the script's own, empty database
//! SSLRequest | GSSENCRequest               answered by one byte outside any message
//! CancelRequest of=NAME [secret=wrong]     on a new connection
//! Query "sql" | Parse name="" sql="" types=int4,0 | Bind portal="" stmt="" formats=0,1 values="x",NULL,x'00ff' results=1
//! Describe S|P "name" | Execute portal="" max=0 | Close S|P "name" | Flush | Sync | Terminate
//! CopyData "text\n" | CopyData x'00' | CopyDone | CopyFail "message"
//! Raw x'510000'                            bytes as they are
//! Eof                                      end of what the client sends
//! Pause 300                                wait that many ms (and, with REWRITE, for the answer to what was sent)
//! ```
//!
//! A notification shows the name of the connection that it is from; commits' numbers in it are masked, and in the rows of a SUBSCRIBE.
//!
//! What differs from server to server is masked: BackendKeyData's numbers, server_version, table OIDs, and the file,
//! line and routine of errors. ParameterStatus messages that follow each other are compared in name order.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::answer::escape;
use crate::client::{Client, Fields, Message, cstr, framed, report_fields, startup};
use crate::files::{scripts, shown};
use crate::support::{Target, rewriting};
use crate::types;

/// How long the answers to one group of commands may take.
const ANSWER_MS_MAX: u64 = 10_000;
/// REWRITE takes a connection as answered after this much silence.
const SILENCE_MS: u64 = 150;

#[test]
fn wire() {
    let mut target = Target::start();
    let mut files = scripts("wire", ".wire");
    if target.is_postgres() {
        files.retain(|f| !f.file_name().is_some_and(|n| n.to_string_lossy().starts_with("kalamdb_")));
    }
    let (mut groups, mut failures) = (0, 0);
    for (number, file) in files.iter().enumerate() {
        let database = match target.create_database(&format!("wire_{number}")) {
            Ok(name) => name,
            Err(e) => {
                println!("{}: no database: {e}", shown(file));
                failures += 1;
                continue;
            }
        };
        let (of, failed) = Run::new(target.addr(), database).file(file);
        println!("{:4} of {of:4} groups {}", of - failed, shown(file));
        groups += of;
        failures += failed;
        if target.revive() {
            println!("{}: the server has crashed", shown(file));
            failures += 1;
        }
    }
    println!("{failures} failures in {groups} groups, {} files", files.len());
    assert_eq!(failures, 0, "failing groups");
}

/// Comments, then lines to send, then the lines that answer them.
#[derive(Default)]
struct Group {
    line: usize,
    before: Vec<String>,
    sends: Vec<String>,
    expected: Vec<String>,
}

fn groups(text: &str) -> Vec<Group> {
    let mut out = vec![Group::default()];
    for (number, line) in text.lines().enumerate() {
        let starts_new = !line.starts_with('<') && out.last().is_some_and(|g| !g.expected.is_empty());
        let comment_after_send = !line.starts_with(['<', '>']) && out.last().is_some_and(|g| !g.sends.is_empty());
        if starts_new || comment_after_send {
            out.push(Group::default());
        }
        let group = out.last_mut().unwrap_or_else(|| unreachable!("never empty"));
        match line.as_bytes().first() {
            Some(b'>') => {
                group.line = if group.sends.is_empty() { number + 1 } else { group.line };
                group.sends.push(line.to_string());
            }
            Some(b'<') => group.expected.push(line.to_string()),
            _ => group.before.push(line.to_string()),
        }
    }
    out
}

struct Run {
    addr: SocketAddr,
    database: String,
    connections: BTreeMap<String, Connection>,
}

struct Connection {
    client: Client,
    /// Answers of one byte that are due (SSLRequest).
    bytes_due: usize,
    /// Keys of closed connections stay known: a late CancelRequest is a case.
    closed: bool,
}

impl Run {
    fn new(addr: SocketAddr, database: String) -> Self {
        Run { addr, database, connections: BTreeMap::new() }
    }

    /// The number of groups with something to compare, and of those that differ.
    fn file(mut self, file: &Path) -> (usize, usize) {
        let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let (mut count, mut failed, mut rewritten) = (0, 0, String::new());
        for group in groups(&text) {
            let answer = self.group(&group);
            if !group.sends.is_empty() {
                count += 1;
            }
            if !rewriting() && answer != group.expected {
                failed += 1;
                println!("{}:{}\n{}", shown(file), group.line, group.sends.join("\n"));
                print_difference(&group.expected, &answer);
            }
            for line in group.before.iter().chain(&group.sends).chain(&answer) {
                rewritten.push_str(line);
                rewritten.push('\n');
            }
        }
        if rewriting() {
            std::fs::write(file, rewritten).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        }
        (count, failed)
    }

    fn group(&mut self, group: &Group) -> Vec<String> {
        for send in &group.sends {
            let (name, command) = split_line(send);
            if let Err(e) = self.send(name, command) {
                return vec![format!("< {}NOT SENT: {e}", prefix(name))];
            }
        }
        let mut wanted: BTreeMap<&str, usize> = BTreeMap::new();
        for line in &group.expected {
            *wanted.entry(split_line(line).0).or_default() += 1;
        }
        let names: Vec<String> = self.connections.keys().cloned().collect();
        let mut out = Vec::new();
        for name in names {
            let count = wanted.get(name.as_str()).copied().unwrap_or(0);
            let lines = self.receive(&name, count);
            out.extend(lines.into_iter().map(|l| format!("< {}{l}", prefix(&name))));
        }
        out
    }

    /// As many messages as the script expects, and what else is there already.
    fn receive(&mut self, name: &str, count: usize) -> Vec<String> {
        let pids: BTreeMap<i32, String> =
            self.connections.iter().map(|(name, connection)| (connection.client.pid, name.clone())).collect();
        let Some(connection) = self.connections.get_mut(name).filter(|c| !c.closed) else { return Vec::new() };
        let deadline = Instant::now() + Duration::from_millis(ANSWER_MS_MAX);
        let mut lines = Vec::new();
        loop {
            let wait = if rewriting() || lines.len() >= count {
                Duration::from_millis(if rewriting() { SILENCE_MS } else { 1 })
            } else {
                deadline.saturating_duration_since(Instant::now())
            };
            match connection.next(wait) {
                Ok(Some(line)) => lines.push(named(line, &pids)),
                Ok(None) => break,
                Err(_) => {
                    connection.closed = true;
                    lines.push("EOF".to_string());
                    break;
                }
            }
        }
        sort_parameter_status(&mut lines);
        lines
    }

    fn send(&mut self, name: &str, command: &str) -> io::Result<()> {
        let words = words(command);
        let verb = words[0].text();
        match verb.as_str() {
            "connect" => {
                let client = Client::connect(self.addr, &self.database)?;
                self.connections.insert(name.to_string(), Connection { client, bytes_due: 0, closed: false });
                return Ok(());
            }
            "Pause" => {
                std::thread::sleep(Duration::from_millis(words[1].text().parse().unwrap_or(0)));
                return Ok(());
            }
            "CancelRequest" => {
                let of = &self.connections[&argument(&words, "of").text()].client;
                let mut body = 80_877_102_u32.to_be_bytes().to_vec();
                body.extend(of.pid.to_be_bytes());
                let wrong = argument(&words, "secret").text() == "wrong";
                body.extend(of.secret.iter().map(|b| if wrong { !b } else { *b }));
                let packet = [(body.len() as u32 + 4).to_be_bytes().as_slice(), &body].concat();
                return Client::open(self.addr)?.send_raw(&packet);
            }
            _ => {}
        }
        if self.connections.get(name).is_none_or(|c| c.closed) {
            let client = Client::open(self.addr)?;
            self.connections.insert(name.to_string(), Connection { client, bytes_due: 0, closed: false });
        }
        let connection = self.connections.get_mut(name).unwrap_or_else(|| unreachable!("inserted above"));
        match verb.as_str() {
            "SSLRequest" | "GSSENCRequest" => {
                connection.bytes_due += 1;
                let code = if verb == "SSLRequest" { 80_877_103_u32 } else { 80_877_104 };
                connection.client.send_raw(&[8_u32.to_be_bytes(), code.to_be_bytes()].concat())
            }
            "Eof" => connection.client.shutdown_write(),
            "Startup" => connection.client.send_raw(&startup_packet(&words[1..], &self.database)),
            _ => connection.client.send_raw(&message(&verb, &words[1..])),
        }
    }
}

impl Connection {
    fn next(&mut self, wait: Duration) -> io::Result<Option<String>> {
        if self.bytes_due > 0 {
            self.bytes_due -= 1;
            return self.client.next_byte().map(|b| Some(format!("Byte {}", b as char)));
        }
        Ok(self.client.next_within(wait)?.map(|m| display(&m)))
    }
}

/// `> a: Query ...` is connection `a` and the rest.
fn split_line(line: &str) -> (&str, &str) {
    let rest = line[1..].trim_start();
    match rest.split_once(": ") {
        Some((name, rest)) if name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) => (name, rest),
        _ => ("main", rest),
    }
}

fn prefix(name: &str) -> String {
    if name == "main" { String::new() } else { format!("{name}: ") }
}

fn print_difference(expected: &[String], actual: &[String]) {
    let same = expected.iter().zip(actual).take_while(|(e, a)| e == a).count();
    for line in expected.iter().skip(same).take(8) {
        println!("  - {line}");
    }
    for line in actual.iter().skip(same).take(8) {
        println!("  + {line}");
    }
    println!();
}

fn sort_parameter_status(lines: &mut [String]) {
    for run in lines.chunk_by_mut(|a, b| a.starts_with("ParameterStatus ") && b.starts_with("ParameterStatus ")) {
        run.sort();
    }
}

/// One word of a command: `key=value,value` or a value alone.
#[derive(Default)]
struct Word {
    key: String,
    values: Vec<Option<Vec<u8>>>,
}

impl Word {
    fn text(&self) -> String {
        self.values.first().cloned().flatten().map(|v| String::from_utf8_lossy(&v).into_owned()).unwrap_or_default()
    }

    fn bytes(&self) -> Vec<u8> {
        self.values.first().cloned().flatten().unwrap_or_default()
    }
}

fn words(command: &str) -> Vec<Word> {
    let mut rest = command.trim();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let mut word = Word::default();
        let bare = rest.find([' ', '=', '"', '\'']).unwrap_or(rest.len());
        if rest[bare..].starts_with('=') {
            word.key = rest[..bare].to_string();
            rest = &rest[bare + 1..];
        }
        while word.key.is_empty() || !rest.is_empty() && !rest.starts_with(' ') {
            let (value, after) = one_value(rest);
            word.values.push(value);
            rest = after;
            let Some(more) = rest.strip_prefix(',') else { break };
            rest = more;
        }
        out.push(word);
        rest = rest.trim_start();
    }
    out
}

/// A value and what follows it: `"text with \n \" \\ \0"`, `x'00ff'`, `NULL`, or a bare word.
fn one_value(text: &str) -> (Option<Vec<u8>>, &str) {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return (Some(value.into_bytes()), &quoted[at + 1..]),
                '\\' => value.push(match chars.next().map_or('\\', |c| c.1) {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '0' => '\0',
                    c => c,
                }),
                c => value.push(c),
            }
        }
        panic!("unterminated string: {text}");
    }
    if let Some(hex) = text.strip_prefix("x'") {
        let (hex, after) = hex.split_once('\'').unwrap_or_else(|| panic!("unterminated bytes: {text}"));
        let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(&String::from_utf8_lossy(pair), 16).expect("two hex digits");
        return (Some(digits.chunks(2).map(byte).collect()), after);
    }
    let end = text.find([' ', ',']).unwrap_or(text.len());
    let value = (&text[..end] != "NULL").then(|| text.as_bytes()[..end].to_vec());
    (value, &text[end..])
}

fn argument<'a>(words: &'a [Word], key: &str) -> &'a Word {
    static NONE: Word = Word { key: String::new(), values: Vec::new() };
    words.iter().find(|w| w.key == key).unwrap_or(&NONE)
}

fn startup_packet(words: &[Word], database: &str) -> Vec<u8> {
    let version = argument(words, "version").text();
    let (major, minor) = version.split_once('.').unwrap_or(("3", "0"));
    let number = |part: &str| part.parse::<u32>().unwrap_or(0);
    let pairs: Vec<(String, String)> = words
        .iter()
        .filter(|w| w.key != "version")
        .map(|w| (w.key.clone(), if w.text() == "@" { database.to_string() } else { w.text() }))
        .collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|p| (p.0.as_str(), p.1.as_str())).collect();
    startup((number(major) << 16) | number(minor), &pairs)
}

fn message(verb: &str, args: &[Word]) -> Vec<u8> {
    let first = args.first().map(Word::bytes).unwrap_or_default();
    let named = |key| cstr(&argument(args, key).text());
    match verb {
        "Query" => framed(b'Q', &[first.as_slice(), b"\0"].concat()),
        "Parse" => {
            let types: Vec<u32> = list(argument(args, "types")).iter().map(|t| type_oid(t)).collect();
            let mut body = [named("name"), named("sql")].concat();
            body.extend((types.len() as i16).to_be_bytes());
            types.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
            framed(b'P', &body)
        }
        "Bind" => framed(b'B', &bind(args)),
        "Describe" | "Close" => {
            let tag = if verb == "Describe" { b'D' } else { b'C' };
            framed(tag, &[first.as_slice(), &cstr(&args.get(1).map(Word::text).unwrap_or_default())].concat())
        }
        "Execute" => {
            let max: i32 = argument(args, "max").text().parse().unwrap_or(0);
            framed(b'E', &[named("portal").as_slice(), &max.to_be_bytes()].concat())
        }
        "Flush" => framed(b'H', b""),
        "Sync" => framed(b'S', b""),
        "Terminate" => framed(b'X', b""),
        "CopyData" => framed(b'd', &first),
        "CopyDone" => framed(b'c', b""),
        "CopyFail" => framed(b'f', &[first.as_slice(), b"\0"].concat()),
        "Raw" => first,
        _ => panic!("unknown command {verb}"),
    }
}

fn bind(args: &[Word]) -> Vec<u8> {
    let mut body = [cstr(&argument(args, "portal").text()), cstr(&argument(args, "stmt").text())].concat();
    let formats = |body: &mut Vec<u8>, key| {
        let codes = list(argument(args, key));
        body.extend((codes.len() as i16).to_be_bytes());
        codes.iter().for_each(|c| body.extend(c.parse::<i16>().unwrap_or(0).to_be_bytes()));
    };
    formats(&mut body, "formats");
    let values = &argument(args, "values").values;
    body.extend((values.len() as i16).to_be_bytes());
    for value in values {
        body.extend(value.as_ref().map_or(-1, |v| v.len() as i32).to_be_bytes());
        body.extend(value.as_deref().unwrap_or_default());
    }
    formats(&mut body, "results");
    body
}

fn list(word: &Word) -> Vec<String> {
    word.values.iter().flatten().map(|v| String::from_utf8_lossy(v).into_owned()).collect()
}

fn type_oid(name: &str) -> u32 {
    types::oid(name).unwrap_or_else(|| panic!("unknown type {name}"))
}

/// The message as a script shows it.
fn display(message: &Message) -> String {
    let mut fields = Fields(&message.body);
    match message.tag {
        b'R' => match fields.i32() {
            0 => "AuthenticationOk".to_string(),
            n => format!("Authentication {n}"),
        },
        b'K' => "BackendKeyData".to_string(),
        b'S' => {
            let (name, value) = (fields.cstr(), fields.cstr());
            let value = if name == "server_version" { "*".to_string() } else { value };
            format!("ParameterStatus {name}={}", escape(&value))
        }
        b'Z' => format!("ReadyForQuery {}", fields.u8() as char),
        b'T' => format!("RowDescription{}", columns(fields)),
        b't' => {
            let oids: Vec<String> = (0..fields.i16()).map(|_| types::name(fields.i32() as u32, -1)).collect();
            format!("ParameterDescription {}", oids.join(","))
        }
        b'D' => {
            let mut values: Vec<String> = (0..fields.i16()).map(|_| shown_value(fields.value())).collect();
            if let [seq, op, ..] = values.as_mut_slice()
                && OPS.contains(&op.trim_matches('"'))
            {
                "*".clone_into(seq);
            }
            format!("DataRow {}", values.join(" "))
        }
        b'C' => format!("CommandComplete {:?}", fields.cstr()),
        b'E' => format!("ErrorResponse{}", report(&message.body)),
        b'N' => format!("NoticeResponse{}", report(&message.body)),
        b'G' | b'H' | b'W' => {
            let kind = if message.tag == b'G' { "CopyInResponse" } else { "CopyOutResponse" };
            let overall = fields.u8();
            let formats: Vec<String> = (0..fields.i16()).map(|_| fields.i16().to_string()).collect();
            format!("{kind} {overall} columns={}", formats.join(","))
        }
        b'A' => {
            let (pid, channel, payload) = (fields.i32(), fields.cstr(), without_position(&fields.cstr()));
            format!("{NOTIFICATION}{pid} {channel:?} {payload:?}")
        }
        b'd' => {
            let text = String::from_utf8_lossy(&message.body);
            let fields: Vec<&str> = text.splitn(3, ['\t', ',']).collect();
            match fields.as_slice() {
                [seq, op, ..] if OPS.contains(op) => format!("CopyData {:?}", format!("*{}", &text[seq.len()..])),
                _ => format!("CopyData {}", shown_value(Some(&message.body))),
            }
        }
        b'v' => {
            let minor = fields.i32();
            let names: Vec<String> = (0..fields.i32()).map(|_| fields.cstr()).collect();
            format!("NegotiateProtocolVersion 3.{} unknown={}", minor & 0xffff, names.join(","))
        }
        tag => plain(tag),
    }
}

/// What the rows of a SUBSCRIBE say after the number of the commit, which is masked.
const OPS: [&str; 8] = ["ready", "snapshot", "insert", "old", "update", "delete", "reset", "progress"];

/// A live query's payload without its commit's number.
fn without_position(payload: &str) -> String {
    match payload.split_once("\"seq\":") {
        Some((before, rest)) => {
            format!("{before}\"seq\":*{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => payload.to_owned(),
    }
}

const NOTIFICATION: &str = "NotificationResponse from=";

/// A notification with the name of the connection in place of its pid.
fn named(line: String, pids: &BTreeMap<i32, String>) -> String {
    let from = line.strip_prefix(NOTIFICATION).and_then(|rest| rest.split_once(' '));
    let name = from.and_then(|(pid, rest)| Some((pids.get(&pid.parse().ok()?)?, rest)));
    name.map_or(line.clone(), |(name, rest)| format!("{NOTIFICATION}{name} {rest}"))
}

/// Messages without a body.
fn plain(tag: u8) -> String {
    let name = match tag {
        b'1' => "ParseComplete",
        b'2' => "BindComplete",
        b'3' => "CloseComplete",
        b'c' => "CopyDone",
        b'I' => "EmptyQueryResponse",
        b'n' => "NoData",
        b's' => "PortalSuspended",
        _ => return format!("UNKNOWN MESSAGE {}", tag as char),
    };
    name.to_string()
}

/// ` name:type:format`, with `@n` for column n of a table.
fn columns(mut fields: Fields<'_>) -> String {
    let mut out = String::new();
    for _ in 0..fields.i16() {
        let name = fields.cstr();
        let table = fields.i32();
        let attribute = fields.i16();
        let oid = fields.i32() as u32;
        let length = fields.i16();
        let typmod = fields.i32();
        let format = if fields.i16() == 0 { "text" } else { "binary" };
        let origin = if table == 0 { String::new() } else { format!("@{attribute}") };
        out.push_str(&format!(" {name}{origin}:{}/{length}:{format}", types::name(oid, typmod)));
    }
    out
}

/// Text in quotes if it is printable, else hex.
fn shown_value(value: Option<&[u8]>) -> String {
    let Some(bytes) = value else { return "NULL".to_string() };
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) => format!("{text:?}"),
        _ => format!("x'{}'", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}

/// Every field but file, line and routine, and the localized severity as a mark if it differs from the plain one.
fn report(body: &[u8]) -> String {
    let mut out = String::new();
    for (code, value) in report_fields(body) {
        match code {
            'F' | 'L' | 'R' => {}
            'S' | 'V' | 'C' | 'P' => out.push_str(&format!(" {code}={value}")),
            _ => out.push_str(&format!(" {code}={value:?}")),
        }
    }
    out
}
