//! A plain client of protocol 3.0 over a blocking socket.
//!
//! The tests compare what is on the wire (column names, type OIDs, type modifiers, every field of an error), and a
//! driver hides half of that. Nothing here interprets a value: text stays text, bytes stay bytes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a reply may take before a test gives up. Above every wait in the scripts.
const REPLY_MS_MAX: u64 = 20_000;

/// One message of the server: its type byte and what follows the length.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

/// Reads the fields of a message body. Past the end it yields zeros and empty strings: a test then fails by comparison,
/// with the message printed.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(n.min(self.0.len()));
        self.0 = tail;
        head
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn i16(&mut self) -> i16 {
        self.bytes(2).try_into().map_or(0, i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> i32 {
        self.bytes(4).try_into().map_or(0, i32::from_be_bytes)
    }

    pub(crate) fn cstr(&mut self) -> String {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        let text = String::from_utf8_lossy(self.bytes(end)).into_owned();
        self.bytes(1);
        text
    }

    /// A value with its length in front, -1 being NULL.
    pub(crate) fn value(&mut self) -> Option<&'a [u8]> {
        let len = self.i32();
        (len >= 0).then(|| self.bytes(len as usize))
    }
}

/// The fields of an ErrorResponse or NoticeResponse, by their one-letter code.
pub(crate) fn report_fields(body: &[u8]) -> Vec<(char, String)> {
    let mut fields = Fields(body);
    let mut out = Vec::new();
    while let code @ 1.. = fields.u8() {
        out.push((code as char, fields.cstr()));
    }
    out
}

pub(crate) struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    pub(crate) pid: i32,
    pub(crate) secret: Vec<u8>,
}

impl Client {
    /// A socket on which nothing has been sent.
    pub(crate) fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, input: Vec::new(), pid: 0, secret: Vec::new() })
    }

    /// A session, ready for its first command.
    pub(crate) fn connect(addr: SocketAddr, database: &str) -> io::Result<Self> {
        let mut client = Self::open(addr)?;
        client.send_raw(&startup(0x0003_0000, &[("user", "postgres"), ("database", database)]))?;
        for message in client.until_ready()? {
            if message.tag == b'E' {
                return Err(io::Error::other(format!("startup refused: {:?}", report_fields(&message.body))));
            }
        }
        Ok(client)
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// The next message; `None` if nothing came in `wait`, an error of kind `UnexpectedEof` when the server has closed.
    pub(crate) fn next_within(&mut self, wait: Duration) -> io::Result<Option<Message>> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(message) = self.buffered() {
                return Ok(Some(message));
            }
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match self.fill(left)? {
                true => {}
                false if Instant::now() >= deadline => return Ok(None),
                false => {}
            }
        }
    }

    /// One byte outside any message: the answer to SSLRequest and GSSENCRequest.
    pub(crate) fn next_byte(&mut self) -> io::Result<u8> {
        let deadline = Instant::now() + Duration::from_millis(REPLY_MS_MAX);
        while self.input.is_empty() {
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.fill(Duration::from_millis(50))?;
        }
        Ok(self.input.remove(0))
    }

    pub(crate) fn next(&mut self) -> io::Result<Message> {
        self.next_within(Duration::from_millis(REPLY_MS_MAX))?.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    /// Sends a query without waiting for its answer.
    pub(crate) fn send_simple(&mut self, sql: &str) -> io::Result<()> {
        self.send_raw(&framed(b'Q', &cstr(sql)))
    }

    /// Everything up to and with ReadyForQuery.
    pub(crate) fn until_ready(&mut self) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        loop {
            let message = match self.next() {
                Ok(message) => message,
                // A FATAL error is the last word of a session: it is the answer, not a failure of the test.
                Err(_) if messages.iter().any(|m: &Message| m.tag == b'E') => return Ok(messages),
                Err(e) => return Err(e),
            };
            let done = message.tag == b'Z';
            messages.push(message);
            if done {
                return Ok(messages);
            }
        }
    }

    pub(crate) fn simple(&mut self, sql: &str) -> io::Result<Vec<Message>> {
        self.send_simple(sql)?;
        self.until_ready()
    }

    /// Parse, Bind, Describe, Execute, Sync: unnamed, all in text.
    pub(crate) fn extended(&mut self, sql: &str) -> io::Result<Vec<Message>> {
        let mut out = framed(b'P', &[b"\0", cstr(sql).as_slice(), b"\0\0"].concat());
        out.extend(framed(b'B', b"\0\0\0\0\0\0\0\0"));
        out.extend(framed(b'D', b"P\0"));
        out.extend(framed(b'E', b"\0\0\0\0\0"));
        out.extend(framed(b'S', b""));
        self.send_raw(&out)?;
        self.until_ready()
    }

    /// The values of the first column, or the first error as `SQLSTATE: message`.
    pub(crate) fn column(&mut self, sql: &str) -> Result<Vec<String>, String> {
        let messages = self.simple(sql).map_err(|e| e.to_string())?;
        let mut out = Vec::new();
        for message in messages {
            if message.tag == b'E' {
                let fields = report_fields(&message.body);
                let get = |c| fields.iter().find(|f| f.0 == c).map_or("", |f| f.1.as_str());
                return Err(format!("{}: {}", get('C'), get('M')));
            }
            if message.tag == b'D' {
                let mut fields = Fields(&message.body);
                fields.i16();
                out.push(String::from_utf8_lossy(fields.value().unwrap_or(b"NULL")).into_owned());
            }
        }
        Ok(out)
    }

    fn buffered(&mut self) -> Option<Message> {
        let len = u32::from_be_bytes(self.input.get(1..5)?.try_into().ok()?) as usize;
        let body = self.input.get(5..(len + 1).max(5))?.to_vec();
        let tag = self.input[0];
        self.input.drain(..len + 1);
        if tag == b'K' {
            let mut fields = Fields(&body);
            self.pid = fields.i32();
            self.secret = fields.0.to_vec();
        }
        Some(Message { tag, body })
    }

    /// True if bytes came; an error at the end of the stream.
    fn fill(&mut self, wait: Duration) -> io::Result<bool> {
        self.stream.set_read_timeout(Some(wait))?;
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.input.extend_from_slice(&chunk[..n]);
                Ok(true)
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

pub(crate) fn cstr(text: &str) -> Vec<u8> {
    let mut out = text.as_bytes().to_vec();
    out.push(0);
    out
}

/// A message with its type byte and length.
pub(crate) fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend((body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// A startup packet: no type byte.
pub(crate) fn startup(version: u32, params: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in params {
        body.extend(cstr(name));
        body.extend(cstr(value));
    }
    body.push(0);
    let mut out = (body.len() as u32 + 4).to_be_bytes().to_vec();
    out.extend(body);
    out
}
