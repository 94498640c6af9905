//! Sending the rows of a statement: pulled batch by batch, written at the client's pace, stopped where a portal is.

use arrow_array::RecordBatch;
use futures::StreamExt;
use kalamdb_catalog::PgType;
use kalamdb_engine::sql::{Column, RowStream};

use crate::connection::{Connection, attended};
use crate::decode::Formats;
use crate::encode::RowWriter;
use crate::error::Stop;
use crate::limits::FLUSH_BYTES;
use crate::names::Names;

/// Rows under way: a stream and what is left of the batch taken last.
pub(crate) struct RowSource {
    pub(crate) tag: &'static str,
    /// The columns' types as they are written.
    types: Vec<PgType>,
    names: Names,
    rows: RowStream,
    batch: Option<RecordBatch>,
    /// The next row of `batch`.
    next: usize,
}

/// What sending came to.
pub(crate) struct Sent {
    pub(crate) rows: u64,
    /// False if it stopped at the row limit.
    pub(crate) all: bool,
}

impl RowSource {
    pub(crate) fn new(columns: &[Column], formats: &Formats, rows: RowStream, tag: &'static str) -> Self {
        let mut types: Vec<_> = columns.iter().map(|c| c.ty).collect();
        let names = Names::take(&mut types, |i| matches!(formats.binary(i), Ok(false)));
        RowSource { tag, types, names, rows, batch: None, next: 0 }
    }
}

/// The tag of CommandComplete: SHOW and EXPLAIN do not count their rows.
pub(crate) fn row_tag(tag: &str, rows: u64) -> String {
    match tag {
        "SHOW" | "EXPLAIN" | "CALL" => tag.to_owned(),
        tag => format!("{tag} {rows}"),
    }
}

impl Connection {
    /// Sends at most `limit` rows (0: all).
    pub(crate) async fn send_rows(
        &mut self,
        source: &mut RowSource,
        formats: &Formats,
        limit: usize,
    ) -> Result<Sent, Stop> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let settings = self.session.format();
        let mut sent = 0;
        while sent < limit {
            let Some(batch) = source.batch.take() else {
                let Some(batch) = self.pull(&mut source.rows).await? else {
                    return Ok(Sent { rows: sent as u64, all: true });
                };
                // Nothing more is there for now: what has come goes out meanwhile.
                if batch.num_rows() == 0 {
                    self.transport.end_batch();
                }
                source.batch = Some(source.names.put(batch, self.session.context())?);
                source.next = 0;
                continue;
            };
            let from = source.next;
            let writer = RowWriter::new(&batch, &source.types, formats, &settings)?;
            let to = from.saturating_add(limit - sent);
            source.next = writer.write(&mut self.transport.out, from, to, FLUSH_BYTES);
            sent += source.next - from;
            if source.next < batch.num_rows() {
                source.batch = Some(batch);
            }
            if self.transport.out.len() >= FLUSH_BYTES {
                self.write_out().await?;
            }
        }
        Ok(Sent { rows: sent as u64, all: false })
    }

    /// The next batch. A stream that does not hear the cancel token is dropped: it only reads.
    pub(crate) async fn pull(&mut self, rows: &mut RowStream) -> Result<Option<RecordBatch>, Stop> {
        let cancel = self.cancel.clone();
        let next = async {
            tokio::select! {
                biased;
                error = cancel.tripped() => Err(error),
                batch = rows.next() => batch.transpose(),
            }
        };
        Ok(attended(&mut self.transport, &self.cancel, self.deadline, next).await?)
    }
}
