//! What is done at the end of a transaction and of a session, besides committing.

use kalamdb_catalog::Result;

use super::CursorInfo;
use super::run::{Session, State};
use crate::sql;

impl Session {
    /// Looks at what has been deferred, and clears temporary tables; an error ends the transaction.
    pub(super) async fn before_commit(&mut self) -> Result<()> {
        self.hold_cursors().await?;
        let temporary = self.context.has_temporary();
        let txn = self.open_transaction()?;
        let writes = temporary && txn.has_writes();
        if txn.pending().is_empty() && !writes {
            return Ok(());
        }
        let result = self.look_at_deferred(writes).await;
        if result.is_err()
            && let State::Block(mut txn) | State::Implicit(mut txn) = std::mem::replace(&mut self.state, State::Idle)
        {
            txn.rollback();
            self.restore_vars();
        }
        result
    }

    /// Reads what cursors WITH HOLD are to have beyond the transaction; an error ends it.
    async fn hold_cursors(&mut self) -> Result<()> {
        for cursor in self.cursors.values_mut().filter(|c| c.hold && c.savepoints.is_some() && !c.failed) {
            if let Err(error) = cursor.read_all().await {
                if let State::Block(mut txn) | State::Implicit(mut txn) =
                    std::mem::replace(&mut self.state, State::Idle)
                {
                    txn.rollback();
                    self.restore_vars();
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// After a commit only cursors WITH HOLD are left.
    pub(super) fn keep_held_cursors(&mut self) {
        if self.cursors.is_empty() {
            return;
        }
        self.cursors.retain(|_, cursor| cursor.hold);
        self.cursors.values_mut().for_each(|cursor| cursor.savepoints = None);
        let _ = self.note_cursors();
    }

    /// After a rollback only those of transactions before it.
    pub(super) fn drop_cursors(&mut self) {
        if self.cursors.is_empty() {
            return;
        }
        self.cursors.retain(|_, cursor| cursor.savepoints.is_none());
        let _ = self.note_cursors();
    }

    /// Lets statements see the cursors: WHERE CURRENT OF, pg_cursors.
    pub(crate) fn note_cursors(&self) -> Result<()> {
        let mut noted = Vec::with_capacity(self.cursors.len());
        for (name, cursor) in &self.cursors {
            noted.push(CursorInfo {
                name: name.clone(),
                statement: cursor.statement.clone(),
                hold: cursor.hold,
                scroll: cursor.scroll,
                created_at: cursor.created_at,
                tables: cursor.tables.clone(),
                held: cursor.savepoints.is_none(),
                keys: cursor.keys()?,
            });
        }
        self.context.set_cursors(noted);
        Ok(())
    }

    async fn look_at_deferred(&mut self, writes: bool) -> Result<()> {
        self.transaction()?;
        sql::handlers::foreign::deferred(self, None).await?;
        if writes && sql::handlers::temporary::any_to_clear(self) {
            sql::handlers::temporary::before_commit(self)?;
        }
        Ok(())
    }

    /// The end of the session: its temporary relations go.
    pub async fn close(&mut self) {
        self.fail();
        self.state = State::Idle;
        if !self.context.has_temporary() {
            return;
        }
        let dropped = match self.transaction() {
            Ok(_) => sql::handlers::temporary::end(self),
            Err(error) => Err(error),
        };
        let ended = match dropped {
            Ok(()) => self.finish_implicit().await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            // They are dropped when the server starts again.
            tracing::warn!(%error, "could not drop the temporary tables of a session");
        }
    }

    /// After any error: rolls back an implicit transaction, or marks the block failed.
    pub fn fail(&mut self) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Implicit(mut txn) => {
                txn.rollback();
                self.restore_vars();
            }
            State::Block(mut txn) if txn.savepoints() > 0 => {
                txn.undo_to_last_savepoint();
                self.state = State::Failed(Some(txn));
            }
            State::Block(mut txn) => {
                txn.rollback();
                self.drop_cursors();
                self.state = State::Failed(None);
            }
            other => self.state = other,
        }
    }
}
