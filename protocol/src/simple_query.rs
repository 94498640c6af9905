//! The simple protocol (manual, section 55.2.2): a string of statements in one implicit transaction, stopped by the
//! first error.

use std::sync::Arc;

use kalamdb_catalog::{SqlError, SqlState};
use kalamdb_engine::session::{Prepared, TransactionStatus};
use kalamdb_engine::sql::Response;

use crate::connection::{Connection, attended};
use crate::decode::Formats;
use crate::encode;
use crate::error::Stop;
use crate::rows::{RowSource, row_tag};

impl Connection {
    /// Carries out a Query message.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<(), Stop> {
        self.begin();
        self.show_running(sql);
        self.session.close_statement("");
        self.texts.remove("");
        self.portals.remove("");
        let statements = self.session.parse(sql)?;
        if statements.is_empty() {
            encode::bare(&mut self.transport.out, b'I');
        }
        let count = statements.len();
        self.session.set_one_of_several(count > 1);
        for (i, statement) in statements.iter().enumerate() {
            self.begin();
            let prepare = self.session.prepare(statement, &[]);
            let prepared = attended(&mut self.transport, &self.cancel, self.deadline, prepare).await?;
            self.run_simple(&prepared, i + 1 == count).await?;
            self.deadline = None;
        }
        Ok(())
    }

    async fn run_simple(&mut self, prepared: &Arc<Prepared>, last: bool) -> Result<(), Stop> {
        if !prepared.parameters.is_empty() {
            // A Query message has no way to give them.
            return Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1").into());
        }
        let bound = self.session.bind(prepared, &[], "")?;
        let status = self.session.status();
        let execute = self.session.execute(&bound);
        let response = attended(&mut self.transport, &self.cancel, self.deadline, execute).await?;
        let tag = match response {
            Response::Rows { columns, rows, tag } => {
                self.tell_notices();
                encode::row_description(
                    &mut self.transport.out,
                    &columns,
                    &Formats::default(),
                    &self.session.context().catalog(),
                )?;
                let mut source = RowSource::new(&columns, &Formats::default(), rows, tag);
                let sent = self.send_rows(&mut source, &Formats::default(), 0).await?;
                Some(row_tag(tag, sent.rows))
            }
            Response::Complete { tag } => Some(tag),
            Response::Empty => None,
            Response::CopyIn(copy) => Some(format!("COPY {}", self.copy_in(copy).await?)),
            Response::CopyOut { columns, rows, format } => {
                Some(format!("COPY {}", self.copy_out(columns, rows, format).await?))
            }
        };
        self.tell_notices();
        if last {
            let finish = self.session.finish_implicit();
            attended(&mut self.transport, &self.cancel, self.deadline, finish).await?;
            self.tell_notices();
        }
        self.drop_ended_portals(status);
        match tag {
            Some(tag) => encode::command_complete(&mut self.transport.out, &tag),
            None => encode::bare(&mut self.transport.out, b'I'),
        }
        Ok(())
    }

    /// A portal lives no longer than its transaction. `before` is the status before the statement that ran.
    pub(crate) fn drop_ended_portals(&mut self, before: TransactionStatus) {
        if before != TransactionStatus::Idle && self.session.status() == TransactionStatus::Idle {
            self.portals.clear();
        }
    }
}
