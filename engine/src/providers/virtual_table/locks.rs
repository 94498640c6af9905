//! pg_locks: who holds and who waits for what.
//!
//! As in PostgreSQL, rows that are locked without anybody waiting are not shown; who waits for one waits for the transaction
//! that holds it.

use kalamdb_catalog::Result;

use super::{Rows, owned, text};
use crate::session::SessionContext;
use crate::txn::{LockInfo, LockTag};
use crate::types::Value;

pub(super) fn pg_locks(rows: &mut Rows<'_>, session: &SessionContext) -> Result<()> {
    let Some(txns) = &session.txns else { return Ok(()) };
    let locks = txns.locks();
    for lock in &locks {
        if matches!(lock.tag, LockTag::Row { .. }) && lock.granted {
            continue;
        }
        let what = match lock.tag {
            LockTag::Row { .. } => {
                vec![("locktype", text("transactionid")), ("transactionid", holder_of(&locks, lock))]
            }
            LockTag::Table(oid) => vec![
                ("locktype", text("relation")),
                ("database", Value::Oid(session.database)),
                ("relation", Value::Oid(oid)),
            ],
            LockTag::Advisory(key) => {
                let (database, class, object, kind) = key.parts();
                vec![
                    ("locktype", text("advisory")),
                    ("database", Value::Oid(database)),
                    ("classid", Value::Oid(class)),
                    ("objid", Value::Oid(object)),
                    ("objsubid", Value::Int2(kind as i16)),
                ]
            }
        };
        let mode = if matches!(lock.tag, LockTag::Row { .. }) { "ShareLock" } else { lock.mode.name() };
        let who = [
            ("virtualtransaction", owned(format!("{}/{}", lock.owner.pid(), lock.owner.transaction()))),
            ("pid", Value::Int4(lock.owner.pid())),
            ("mode", text(mode)),
            ("granted", Value::Bool(lock.granted)),
            ("fastpath", Value::Bool(false)),
        ];
        rows.push(&what.into_iter().chain(who).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// The transaction that holds the row that another one waits for.
fn holder_of(locks: &[LockInfo], waiting: &LockInfo) -> Value<'static> {
    let holder = locks.iter().find(|l| l.granted && l.tag == waiting.tag);
    holder.map_or(Value::Null, |h| Value::Oid(h.owner.transaction()))
}
