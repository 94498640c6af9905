//! A socket with the two buffers of a connection, and the cutting of input into messages.
//!
//! Reading and writing are cancel safe: a future that is dropped loses no byte. A message's length is checked from
//! its header, before room is made for its body; room grows with what has arrived, not with what was announced.

use std::io;

use bytes::{Bytes, BytesMut};
use kalamdb_catalog::{SqlError, SqlState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::decode::body_bytes_max;
use crate::error::{Stop, violation};
use crate::limits::{IDLE_BUFFER_BYTES_MAX, READ_AHEAD_BYTES_MAX, READ_BYTES_MAX, READ_BYTES_MIN};

/// TCP, Unix, later TLS.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// One frontend message, cut out of the input.
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Bytes,
}

pub(crate) struct Transport {
    socket: Box<dyn Socket>,
    pub(crate) input: BytesMut,
    pub(crate) out: Vec<u8>,
    /// How much of `out` the socket has taken.
    sent: usize,
    /// Set when `out` ends a batch of messages that the client may wait for.
    batch_ended: bool,
    message_bytes_max: usize,
    closed: bool,
}

impl Transport {
    pub(crate) fn new(socket: Box<dyn Socket>, message_bytes_max: usize) -> Self {
        Transport {
            socket,
            input: BytesMut::new(),
            out: Vec::new(),
            sent: 0,
            batch_ended: false,
            message_bytes_max,
            closed: false,
        }
    }

    /// Reads more input. An error means that nothing more will come.
    pub(crate) async fn fill(&mut self) -> io::Result<()> {
        if self.closed {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let wanted = self.missing_bytes().clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        if self.input.capacity() - self.input.len() < READ_BYTES_MIN {
            self.input.reserve(wanted);
        }
        match self.socket.read_buf(&mut self.input).await {
            Ok(0) => {
                self.closed = true;
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(_) => Ok(()),
            Err(e) => {
                self.closed = true;
                Err(e)
            }
        }
    }

    /// How many bytes the message at the front still lacks.
    fn missing_bytes(&self) -> usize {
        match self.input.first_chunk::<5>() {
            Some([_, len @ ..]) => (u32::from_be_bytes(*len) as usize + 1).saturating_sub(self.input.len()),
            None => 0,
        }
    }

    /// The next message, if all of it has arrived.
    pub(crate) fn frame(&mut self) -> Result<Option<Frame>, Stop> {
        let Some([tag, len @ ..]) = self.input.first_chunk::<5>() else {
            // A type that does not exist is told at once: its length may never come.
            if let Some(tag) = self.input.first() {
                body_bytes_max(*tag, 0).map_err(Stop::Fatal)?;
            }
            return Ok(None);
        };
        let (tag, len) = (*tag, u32::from_be_bytes(*len) as usize);
        let max = body_bytes_max(tag, self.message_bytes_max).map_err(Stop::Fatal)?;
        if len < 4 || len > i32::MAX as usize {
            return Err(Stop::Fatal(violation("invalid message length")));
        }
        if len - 4 > max {
            return Err(Stop::Fatal(if max == self.message_bytes_max {
                SqlError::new(
                    SqlState::PROGRAM_LIMIT_EXCEEDED,
                    format!("message of {len} bytes exceeds the limit of {max} bytes"),
                )
            } else {
                violation("invalid message length")
            }));
        }
        if self.input.len() < len + 1 {
            return Ok(None);
        }
        let mut body = self.input.split_to(len + 1).freeze();
        bytes::Buf::advance(&mut body, 5);
        Ok(Some(Frame { tag, body }))
    }

    pub(crate) fn has_output(&self) -> bool {
        self.sent < self.out.len()
    }

    /// Writes all output.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.socket.write(&self.out[self.sent..]).await {
                Ok(0) => return self.lost(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.sent += n,
                Err(e) => return self.lost(e),
            }
        }
        self.out.clear();
        self.sent = 0;
        self.batch_ended = false;
        Ok(())
    }

    fn lost(&mut self, error: io::Error) -> io::Result<()> {
        self.closed = true;
        Err(error)
    }

    /// The client may wait for what is in `out`: it goes out before anything slow happens.
    pub(crate) fn end_batch(&mut self) {
        self.batch_ended = true;
    }

    /// What a connection does with its socket while a statement runs: gets due output out, then watches for the
    /// client's end, taking in a bounded amount of input. Returns only with bad news.
    pub(crate) async fn attend(&mut self) -> io::Error {
        loop {
            let step = if self.batch_ended {
                self.flush().await
            } else if self.input.len() < READ_AHEAD_BYTES_MAX {
                self.fill().await
            } else {
                std::future::pending().await
            };
            if let Err(e) = step {
                return e;
            }
        }
    }

    /// Gives large buffers back; for a connection with nothing to do.
    pub(crate) fn trim(&mut self) {
        if self.input.is_empty() && self.input.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.input = BytesMut::new();
        }
        if self.out.is_empty() && self.out.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.out = Vec::new();
        }
    }

    pub(crate) async fn shutdown(&mut self) {
        let _ = self.socket.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::decode;

    /// The messages in `input`, up to the first error.
    fn frames(input: &[u8], message_bytes_max: usize) -> String {
        let (ours, _theirs) = tokio::io::duplex(1);
        let mut transport = Transport::new(Box::new(ours), message_bytes_max);
        transport.input.extend_from_slice(input);
        let mut seen = String::new();
        loop {
            match transport.frame() {
                Ok(Some(frame)) => seen += &format!("{}{} ", frame.tag as char, frame.body.len()),
                Ok(None) => return seen + &format!("+{}", transport.input.len()),
                Err(Stop::Fatal(e)) => return seen + e.code().0,
                Err(stop) => return format!("{stop:?}"),
            }
        }
    }

    #[test]
    fn messages_are_cut_and_checked_before_they_are_there() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "+0"),
            (b"Q\0\0", "+3"),
            (b"Q\0\0\0\x06a\0S\0\0\0\x04Q", "Q2 S0 +1"),
            (b"S\0\0\0\x04Q\0\0\0\x06a", "S0 +6"),
            // A header alone is enough to refuse.
            (b"Q\0\0\x04\0", "54000"),
            (b"S\0\x01\0\0", "08P01"),
            (b"Q\0\0\0\x03", "08P01"),
            (b"Q\xff\xff\xff\xff", "08P01"),
            (b"z", "08P01"),
        ];
        for (input, expect) in cases {
            assert_eq!(frames(input, 1000), *expect, "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn any_input_is_cut_or_refused(
            input in proptest::collection::vec(prop_oneof![Just(0u8), Just(b'Q'), Just(b'B'), Just(7u8), any::<u8>()], 0..300)
        ) {
            let (ours, _theirs) = tokio::io::duplex(1);
            let mut transport = Transport::new(Box::new(ours), 100);
            transport.input.extend_from_slice(&input);
            while let Ok(Some(frame)) = transport.frame() {
                let _ = decode(frame.tag, &frame.body);
            }
        }
    }
}
