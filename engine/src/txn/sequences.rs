//! The state of sequences: outside transactions, never going back (manual, section 9.17).
//!
//! What is stored runs [`AHEAD`] values in front of what is given out, so that not every nextval writes; after a crash the
//! values in between are lost, as in PostgreSQL. That write is on its way to the disk before the value is used, and any commit
//! that makes the value durable syncs it with itself: both are in one log, in this order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kalamdb_catalog::sequence::SequenceDefinition;
use kalamdb_catalog::{Result, SqlError, SqlState, StorageId};
use parking_lot::Mutex;

use crate::storage::{Batch, Storage, sequence_meta};

/// Values between two writes of a state (sequence.c, SEQ_LOG_VALS).
const AHEAD: i64 = 32;

#[derive(Debug)]
pub(super) struct Sequences {
    storage: Arc<Storage>,
    states: Mutex<HashMap<StorageId, SequenceState>>,
    /// A state has been written since the log was synced last.
    unsynced: AtomicBool,
}

/// Where a sequence stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SequenceState {
    pub last: i64,
    /// False: `last` has not been given out.
    pub called: bool,
    /// Values that can be given out before the state is written again.
    pub ahead: i64,
}

impl Sequences {
    pub(super) fn new(storage: Arc<Storage>) -> Sequences {
        Sequences { storage, states: Mutex::default(), unsynced: AtomicBool::new(false) }
    }

    pub(super) fn state(&self, id: StorageId, sequence: &SequenceDefinition) -> Result<SequenceState> {
        self.load(&mut self.states.lock(), id, sequence)
    }

    /// The next value; 2200H at the end of one that does not cycle. `name` is for the error.
    pub(super) fn next(&self, id: StorageId, sequence: &SequenceDefinition, name: &str) -> Result<i64> {
        let mut states = self.states.lock();
        let mut state = self.load(&mut states, id, sequence)?;
        if state.called {
            state.last = following(&state, sequence).map_or_else(|| restarted(sequence, name), Ok)?;
        }
        state.called = true;
        if state.ahead == 0 {
            let mut stored = state;
            for _ in 0..AHEAD {
                let Some(last) = following(&stored, sequence) else { break };
                stored.last = last;
            }
            self.write(id, stored)?;
            state.ahead = AHEAD;
        } else {
            state.ahead -= 1;
        }
        states.insert(id, state);
        Ok(state.last)
    }

    /// setval
    pub(super) fn set(&self, id: StorageId, last: i64, called: bool) -> Result<()> {
        let mut states = self.states.lock();
        let state = SequenceState { last, called, ahead: 0 };
        self.write(id, state)?;
        states.insert(id, state);
        Ok(())
    }

    /// Makes what has been written durable, if nothing else has.
    pub(super) fn sync(&self) -> Result<()> {
        if self.unsynced.swap(false, Ordering::AcqRel) {
            return self.storage.sync();
        }
        Ok(())
    }

    /// A commit has been synced, and with it all that was written before.
    pub(super) fn synced(&self) {
        self.unsynced.store(false, Ordering::Release);
    }

    fn load(
        &self,
        states: &mut HashMap<StorageId, SequenceState>,
        id: StorageId,
        sequence: &SequenceDefinition,
    ) -> Result<SequenceState> {
        if let Some(state) = states.get(&id) {
            return Ok(*state);
        }
        let (last, called) = match self.storage.meta_get(&sequence_meta(id))? {
            Some(bytes) => decode(&bytes)?,
            None => sequence.initial,
        };
        let state = SequenceState { last, called, ahead: 0 };
        states.insert(id, state);
        Ok(state)
    }

    fn write(&self, id: StorageId, state: SequenceState) -> Result<()> {
        let mut value = state.last.to_be_bytes().to_vec();
        value.push(u8::from(state.called));
        let mut batch = Batch::default();
        batch.put_meta(&self.storage, &sequence_meta(id), &value);
        self.unsynced.store(true, Ordering::Release);
        self.storage.write(batch, false)
    }
}

fn decode(bytes: &[u8]) -> Result<(i64, bool)> {
    match bytes {
        [last @ .., called] if last.len() == 8 => {
            let last = last.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
            Ok((last as i64, *called != 0))
        }
        _ => Err(SqlError::new(SqlState::DATA_CORRUPTED, "the state of a sequence is damaged")),
    }
}

/// The value after the last one; None at the end.
fn following(state: &SequenceState, sequence: &SequenceDefinition) -> Option<i64> {
    let next = state.last.checked_add(sequence.increment)?;
    (sequence.min..=sequence.max).contains(&next).then_some(next)
}

/// The value after the end.
fn restarted(sequence: &SequenceDefinition, name: &str) -> Result<i64> {
    let up = sequence.increment > 0;
    if sequence.cycle {
        return Ok(if up { sequence.min } else { sequence.max });
    }
    let (what, bound) = if up { ("maximum", sequence.max) } else { ("minimum", sequence.min) };
    let message = format!("nextval: reached {what} value of sequence \"{name}\" ({bound})");
    Err(SqlError::new(SqlState::SEQUENCE_GENERATOR_LIMIT_EXCEEDED, message))
}
