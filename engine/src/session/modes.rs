//! The modes of a transaction: isolation level, access mode, snapshot (manual, SET TRANSACTION).

use kalamdb_catalog::{Result, SqlError, SqlState};

use super::{Session, Vars};
use crate::sql::statement::TransactionModes;
use crate::txn::Isolation;

impl Session {
    /// 25001 for modes that come too late: after the first query, or inside a savepoint (variable.c). `wanted` are the
    /// settings as they would be.
    pub(crate) fn check_new_modes(&mut self, wanted: &Vars) -> Result<()> {
        let vars = self.context.vars();
        let inside = self.open_transaction()?.savepoints() > 0;
        let begun = self.in_block() && !self.fresh_block;
        let late = |message: &str| Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        let level = wanted.transaction_isolation() != vars.transaction_isolation();
        let to_write = !wanted.transaction_read_only() && vars.transaction_read_only();
        let deferrable = wanted.transaction_deferrable() != vars.transaction_deferrable();
        if level && begun {
            return late("SET TRANSACTION ISOLATION LEVEL must be called before any query");
        }
        if level && inside {
            return late("SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction");
        }
        if to_write && inside {
            return late("cannot set transaction read-write mode inside a read-only transaction");
        }
        if to_write && begun {
            return late("transaction read-write mode must be set before any query");
        }
        if deferrable && inside {
            return late("SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction");
        }
        if deferrable && begun {
            return late("SET TRANSACTION [NOT] DEFERRABLE must be called before any query");
        }
        Ok(())
    }

    /// SET TRANSACTION SNAPSHOT: the transaction reads what an exported snapshot shows.
    pub(crate) fn import_snapshot(&mut self, name: &str) -> Result<()> {
        let begun = self.in_block() && !self.fresh_block;
        let database = self.context.database;
        let txn = self.open_transaction()?;
        if begun || txn.savepoints() > 0 {
            return Err(SqlError::new(
                SqlState::ACTIVE_SQL_TRANSACTION,
                "SET TRANSACTION SNAPSHOT must be called before any query",
            ));
        }
        if txn.isolation() == Isolation::ReadCommitted {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "a snapshot-importing transaction must have isolation level SERIALIZABLE or REPEATABLE READ",
            ));
        }
        txn.import_snapshot(name, database)?;
        // The next statement is not to take a newer one.
        self.fresh_block = false;
        Ok(())
    }

    /// SET TRANSACTION, and the modes of BEGIN.
    pub(crate) fn set_modes(&mut self, modes: TransactionModes) -> Result<()> {
        let mut vars = Vars::clone(&self.context.vars());
        for (name, value) in modes.settings() {
            vars.set(name, Some(value), true)?;
        }
        self.check_new_modes(&vars)?;
        self.open_transaction()?.set_read_only(vars.transaction_read_only());
        self.context.set_vars(vars);
        Ok(())
    }
}
