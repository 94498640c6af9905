//! What is done at the end of a transaction and of a session, besides committing.

use kalamdb_catalog::Result;

use super::run::{Session, State};
use crate::sql;

impl Session {
    /// Looks at what has been deferred, and clears temporary tables; an error ends the transaction.
    pub(super) async fn before_commit(&mut self) -> Result<()> {
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
}
