//! The extended protocol (manual, section 55.2.3): Parse, Bind, Describe, Execute, Close, Sync.
//!
//! Statements live in the session, which shares their names with SQL's PREPARE; portals live here. A portal keeps its
//! row stream between Executes, so nothing is read twice or lost when max_rows stops it.

use std::sync::Arc;

use kalamdb_catalog::{SqlError, SqlState};
use kalamdb_engine::session::{Bound, Prepared, TransactionStatus, parameter_place};
use kalamdb_engine::sql::Response;

use crate::connection::{Connection, attended};
use crate::decode::{Bind, Formats, Target};
use crate::encode;
use crate::error::{Stop, violation};
use crate::rows::{RowSource, row_tag};

/// A statement as Parse sent it.
pub(crate) struct Text {
    sql: Arc<str>,
    /// There is nothing but white space and comments: such a statement is not in the session.
    empty: bool,
}

pub(crate) struct Portal {
    /// None for an empty statement.
    bound: Option<Bound>,
    sql: Option<Arc<str>>,
    formats: Formats,
    state: PortalState,
}

enum PortalState {
    Ready,
    /// Stopped by max_rows.
    Suspended(RowSource),
    /// All rows are sent; running it again sends none.
    Exhausted(&'static str),
    /// Has no rows and cannot run again.
    Done,
    /// Its transaction failed.
    Failed,
}

impl Portal {
    /// Ends its stream: the transaction it reads in is over.
    pub(crate) fn fail(&mut self) {
        self.state = PortalState::Failed;
    }
}

impl Connection {
    pub(crate) async fn parse(&mut self, name: &str, sql: &str, declared: &[u32]) -> Result<(), Stop> {
        self.begin();
        self.show_running(sql);
        if name.is_empty() {
            self.session.close_statement("");
        }
        let statements = self.session.parse(sql)?;
        if statements.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).into());
        }
        if let Some(statement) = statements.first() {
            let prepare = self.session.prepare(statement, declared);
            let prepared = attended(&mut self.transport, &self.cancel, self.deadline, prepare).await?;
            if self.empty_statement(name) && !name.is_empty() {
                return Err(duplicate_statement(name).into());
            }
            self.session.store_statement(name, prepared)?;
        } else if !name.is_empty() && (self.session.statement(name).is_some() || self.empty_statement(name)) {
            return Err(duplicate_statement(name).into());
        }
        self.texts.insert(name.to_owned(), Text { sql: sql.into(), empty: statements.is_empty() });
        self.tell_notices();
        encode::bare(&mut self.transport.out, b'1');
        Ok(())
    }

    fn empty_statement(&self, name: &str) -> bool {
        self.texts.get(name).is_some_and(|t| t.empty)
    }

    pub(crate) fn bind(&mut self, mut bind: Bind<'_>) -> Result<(), Stop> {
        self.begin();
        let prepared = self.statement(bind.statement)?;
        let (formats, count) = bind.counts()?;
        let wanted = prepared.as_ref().map_or(0, |p| p.parameters.len());
        if count != wanted {
            return Err(violation(format!(
                "bind message supplies {count} parameters, but prepared statement \"{}\" requires {wanted}",
                bind.statement
            ))
            .into());
        }
        if bind.portal.is_empty() {
            self.portals.remove("");
        } else if self.portals.contains_key(bind.portal) {
            let message = format!("cursor \"{}\" already exists", bind.portal);
            return Err(SqlError::new(SqlState::DUPLICATE_CURSOR, message).into());
        }
        let mut parameters = Vec::with_capacity(count);
        for i in 0..count {
            let read = bind.parameter(formats.binary(i));
            parameters.push(read.map_err(|e| e.within(parameter_place(bind.portal, i + 1)))?);
        }
        let (name, statement) = (bind.portal, bind.statement);
        let formats = bind.result_formats()?;
        let bound = prepared.map(|p| self.session.bind(&p, &parameters, name)).transpose()?;
        let columns = bound.as_ref().and_then(|b| b.prepared.columns.as_ref()).map(Vec::len);
        if let Some(columns) = columns
            && formats.len() > 1
            && formats.len() != columns
        {
            let message = format!("bind message has {} result formats but query has {columns} columns", formats.len());
            return Err(violation(message).into());
        }
        let sql = self.texts.get(statement).map(|t| Arc::clone(&t.sql));
        self.portals.insert(name.to_owned(), Portal { bound, sql, formats, state: PortalState::Ready });
        self.tell_notices();
        encode::bare(&mut self.transport.out, b'2');
        Ok(())
    }

    /// A statement by name; None for an empty one.
    fn statement(&self, name: &str) -> Result<Option<Arc<Prepared>>, SqlError> {
        if self.empty_statement(name) {
            return Ok(None);
        }
        self.session.statement(name).map(Some).ok_or_else(|| {
            let message = match name {
                "" => "unnamed prepared statement does not exist".to_owned(),
                name => format!("prepared statement \"{name}\" does not exist"),
            };
            SqlError::new(SqlState::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    pub(crate) fn describe(&mut self, target: &Target<'_>) -> Result<(), Stop> {
        self.begin();
        let failed = self.session.status() == TransactionStatus::Failed;
        match target {
            Target::Statement(name) => {
                let statement = self.statement(name)?;
                let columns = statement.as_ref().and_then(|s| s.columns.as_deref());
                if failed && columns.is_some() {
                    return Err(transaction_failed().into());
                }
                let parameters = statement.as_ref().map_or(&[][..], |s| &s.parameters);
                encode::parameter_description(&mut self.transport.out, parameters);
                match columns {
                    Some(columns) => {
                        encode::row_description(
                            &mut self.transport.out,
                            columns,
                            &Formats::default(),
                            &self.session.context().catalog(),
                        )?;
                    }
                    None => encode::bare(&mut self.transport.out, b'n'),
                }
            }
            Target::Portal(name) => {
                let portal = self.portals.get(*name).ok_or_else(|| no_portal(name))?;
                match portal.bound.as_ref().and_then(|b| b.prepared.columns.as_deref()) {
                    Some(_) if failed => return Err(transaction_failed().into()),
                    Some(columns) => {
                        encode::row_description(
                            &mut self.transport.out,
                            columns,
                            &portal.formats,
                            &self.session.context().catalog(),
                        )?;
                    }
                    None => encode::bare(&mut self.transport.out, b'n'),
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn execute(&mut self, name: &str, rows_max: i32) -> Result<(), Stop> {
        self.begin();
        // Out of the map while it runs, so that the connection is free for the sending of its rows.
        let (name, mut portal) = self.portals.remove_entry(name).ok_or_else(|| no_portal(name))?;
        if let Some(sql) = &portal.sql {
            self.show_running(sql);
        }
        let before = self.session.status();
        let outcome = self.run_portal(&name, &mut portal, usize::try_from(rows_max).unwrap_or(0)).await;
        if outcome.is_err() {
            portal.fail();
        }
        self.portals.insert(name, portal);
        outcome?;
        self.drop_ended_portals(before);
        self.deadline = None;
        Ok(())
    }

    async fn run_portal(&mut self, name: &str, portal: &mut Portal, limit: usize) -> Result<(), Stop> {
        let Some(bound) = &portal.bound else {
            encode::bare(&mut self.transport.out, b'I');
            return Ok(());
        };
        match std::mem::replace(&mut portal.state, PortalState::Done) {
            PortalState::Ready => {
                self.session.set_one_of_several(false);
                let execute = self.session.execute(bound);
                let response = attended(&mut self.transport, &self.cancel, self.deadline, execute).await?;
                self.first_run(portal, response, limit).await
            }
            PortalState::Suspended(source) => self.send_portal(portal, source, limit).await,
            PortalState::Exhausted(tag) => {
                encode::command_complete(&mut self.transport.out, &row_tag(tag, 0));
                portal.state = PortalState::Exhausted(tag);
                Ok(())
            }
            PortalState::Failed if self.session.status() == TransactionStatus::Failed => {
                Err(transaction_failed().into())
            }
            PortalState::Done | PortalState::Failed => {
                let message = format!("portal \"{name}\" cannot be run");
                Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message).into())
            }
        }
    }

    async fn first_run(&mut self, portal: &mut Portal, response: Response, limit: usize) -> Result<(), Stop> {
        let tag = match response {
            Response::Rows { columns, rows, tag } => {
                let source = RowSource::new(&columns, &portal.formats, rows, tag);
                return self.send_portal(portal, source, limit).await;
            }
            Response::Complete { tag } => tag,
            Response::Empty => {
                encode::bare(&mut self.transport.out, b'I');
                return Ok(());
            }
            Response::CopyIn(copy) => format!("COPY {}", self.copy_in(copy).await?),
            Response::CopyOut { columns, rows, format } => {
                format!("COPY {}", self.copy_out(columns, rows, format).await?)
            }
        };
        self.tell_notices();
        encode::command_complete(&mut self.transport.out, &tag);
        Ok(())
    }

    async fn send_portal(&mut self, portal: &mut Portal, mut source: RowSource, limit: usize) -> Result<(), Stop> {
        let sent = self.send_rows(&mut source, &portal.formats, limit).await?;
        self.tell_notices();
        if sent.all {
            encode::command_complete(&mut self.transport.out, &row_tag(source.tag, sent.rows));
            portal.state = PortalState::Exhausted(source.tag);
        } else {
            encode::bare(&mut self.transport.out, b's');
            portal.state = PortalState::Suspended(source);
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, target: &Target<'_>) {
        match target {
            Target::Statement(name) => {
                self.session.close_statement(name);
                self.texts.remove(*name);
            }
            Target::Portal(name) => drop(self.portals.remove(*name)),
        }
        encode::bare(&mut self.transport.out, b'3');
    }

    /// Ends the implicit transaction; its portals end with it.
    pub(crate) async fn sync(&mut self) -> Result<(), Stop> {
        if self.session.status() == TransactionStatus::Idle {
            self.portals.clear();
        }
        let finish = self.session.finish_implicit();
        Ok(attended(&mut self.transport, &self.cancel, self.deadline, finish).await?)
    }
}

fn no_portal(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}

fn duplicate_statement(name: &str) -> SqlError {
    SqlError::new(SqlState::DUPLICATE_PREPARED_STATEMENT, format!("prepared statement \"{name}\" already exists"))
}

fn transaction_failed() -> SqlError {
    SqlError::new(
        SqlState::IN_FAILED_SQL_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}
