//! COPY on the wire (manual, section 55.2.6). The bytes are the engine's business (`engine::sql::copy`); here they are
//! carried, with the rules of the two sub-protocols.

use kalamdb_catalog::{SqlError, SqlState};
use kalamdb_engine::session::CancelReason;
use kalamdb_engine::sql::{Column, CopyFormat, CopyIn, CopyKind, CopyWriter, RowStream};
use tokio::time::{Instant, sleep_until};

use crate::connection::{Connection, attended};
use crate::decode::{Frontend, decode};
use crate::encode::{bare, copy_response, message};
use crate::error::{Stop, violation, write_error};
use crate::limits::{COPY_PIECE_BYTES, FLUSH_BYTES};
use crate::names::Names;
use crate::transport::Frame;

impl Connection {
    /// COPY FROM STDIN: takes data until the client ends it. Gives the number of rows.
    pub(crate) async fn copy_in(&mut self, mut copy: Box<CopyIn>) -> Result<u64, Stop> {
        self.tell_notices();
        let binary = copy.format.kind == CopyKind::Binary;
        copy_response(&mut self.transport.out, b'G', binary, copy.columns.len());
        loop {
            let frame = self.copy_frame().await?;
            match frame.tag {
                b'd' => self.copy_data(&mut copy, &frame.body).await?,
                b'c' => {
                    let done = self.session.copy_done(copy);
                    return Ok(attended(&mut self.transport, &self.cancel, self.deadline, done).await?);
                }
                b'f' => {
                    let Frontend::CopyFail(reason) = decode(frame.tag, &frame.body)? else { continue };
                    let message = format!("COPY from stdin failed: {reason}");
                    return Err(copy.locate(SqlError::new(SqlState::QUERY_CANCELED, message)).into());
                }
                // libpq may send these before it knows that a COPY has begun.
                b'H' | b'S' => {}
                b'X' => return Err(Stop::Closed),
                tag => {
                    let error = violation(format!("unexpected message type 0x{tag:02X} during COPY from stdin"));
                    write_error(&mut self.transport.out, "ERROR", &copy.locate(error));
                    let lost = "terminating connection because protocol synchronization was lost";
                    return Err(Stop::Fatal(violation(lost)));
                }
            }
        }
    }

    async fn copy_data(&mut self, copy: &mut CopyIn, data: &[u8]) -> Result<(), SqlError> {
        for piece in data.chunks(COPY_PIECE_BYTES) {
            self.session.copy_data(copy, piece)?;
            if data.len() > COPY_PIECE_BYTES {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// The next message of the client; a cancel or a timeout ends the wait.
    async fn copy_frame(&mut self) -> Result<Frame, Stop> {
        let mut deadline = self.deadline;
        loop {
            if let Some(frame) = self.transport.frame()? {
                self.cancel.check()?;
                return Ok(frame);
            }
            if self.transport.has_output() {
                self.write_out().await?;
            }
            tokio::select! {
                biased;
                error = self.cancel.tripped() => return Err(error.into()),
                filled = self.transport.fill() => filled?,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    deadline = None;
                    self.cancel.cancel(CancelReason::StatementTimeout);
                }
            }
        }
    }

    /// COPY TO STDOUT. Gives the number of rows.
    pub(crate) async fn copy_out(
        &mut self,
        mut columns: Vec<Column>,
        mut rows: RowStream,
        format: CopyFormat,
    ) -> Result<u64, Stop> {
        self.tell_notices();
        let binary = format.kind == CopyKind::Binary;
        copy_response(&mut self.transport.out, b'H', binary, columns.len());
        let mut types: Vec<_> = columns.iter().map(|c| c.ty).collect();
        let names = Names::take(&mut types, |_| !binary);
        columns.iter_mut().zip(types).for_each(|(column, ty)| column.ty = ty);
        let writer = CopyWriter::new(format, columns, self.session.format());
        // The header of a text format is a message of its own; that of binary goes ahead of the first row.
        let mut header = Vec::new();
        writer.header(&mut header);
        if !binary && !header.is_empty() {
            message(&mut self.transport.out, b'd', |out| out.append(&mut header));
        }
        let mut sent = 0;
        while let Some(batch) = self.pull(&mut rows).await? {
            let batch = names.put(batch, self.session.context())?;
            let mut next = 0;
            while next < batch.num_rows() {
                let rows = writer.rows(batch.columns());
                while next < batch.num_rows() && self.transport.out.len() < FLUSH_BYTES {
                    message(&mut self.transport.out, b'd', |out| {
                        out.append(&mut header);
                        rows.write(next, out);
                    });
                    next += 1;
                }
                drop(rows);
                if self.transport.out.len() >= FLUSH_BYTES {
                    self.write_out().await?;
                }
            }
            if batch.num_rows() == 0 {
                self.transport.end_batch();
            }
            sent += batch.num_rows() as u64;
        }
        if binary {
            message(&mut self.transport.out, b'd', |out| {
                out.append(&mut header);
                writer.trailer(out);
            });
        }
        bare(&mut self.transport.out, b'c');
        Ok(sent)
    }
}
