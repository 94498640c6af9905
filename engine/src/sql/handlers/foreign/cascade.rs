//! The order in which ON UPDATE CASCADE follows the keys that one statement has changed.
//!
//! With `SET id = id + 1` a row's new key is another row's old one. What refers to the second row has to follow first, or it would
//! be taken for what refers to the first.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use kalamdb_catalog::constraint::{ForeignAction, ForeignKey};
use kalamdb_catalog::{CachedTableData, Oid, Result, SqlError};

use super::Found;
use crate::session::Session;
use crate::storage::{RowLayout, keys};
use crate::txn::{PendingCheck, PendingKind};
use crate::types::Value;

/// What is to be looked at, or carried out, in order.
pub(super) enum Step {
    Check(PendingCheck),
    /// Rows whose keys have changed places, of a constraint: each as it was and as it is.
    Cycle(Oid, Vec<(Bytes, Bytes)>),
}

/// The checks of a statement; those that cascade come, for each constraint, in the order in which they can.
pub(super) fn steps(session: &Session, checks: Vec<PendingCheck>) -> Result<Vec<Step>> {
    let mut cascading: HashMap<Oid, Vec<Change>> = HashMap::new();
    let mut constraints: HashMap<Oid, Option<(Found, RowLayout)>> = HashMap::new();
    for check in &checks {
        let PendingKind::Referenced { old, new: Some(new) } = &check.what else { continue };
        let found = match constraints.entry(check.constraint) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => free.insert(cascade(session, check.constraint)?),
        };
        let Some((found, layout)) = found else { continue };
        let Some(foreign) = found.constraint.foreign_key() else { continue };
        let target = found.target(session, foreign)?;
        cascading.entry(check.constraint).or_default().push(Change {
            from: key(&target, layout, foreign, old)?,
            to: key(&target, layout, foreign, new)?,
            rows: (old.clone(), new.clone()),
        });
    }
    cascading.retain(|_, changes| changes.len() > 1);
    let mut done: HashSet<Oid> = HashSet::new();
    let mut steps = Vec::with_capacity(checks.len());
    for check in checks {
        let cascades = matches!(check.what, PendingKind::Referenced { new: Some(_), .. });
        match cascading.get(&check.constraint) {
            Some(changes) if cascades => {
                if done.insert(check.constraint) {
                    steps.extend(ordered(check.constraint, changes));
                }
            }
            _ => steps.push(Step::Check(check)),
        }
    }
    Ok(steps)
}

/// A row whose key has changed.
struct Change {
    /// None if any of it is NULL.
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
    rows: (Bytes, Bytes),
}

/// The constraint, if it is ON UPDATE CASCADE, with the layout of the table that it refers to.
fn cascade(session: &Session, constraint: Oid) -> Result<Option<(Found, RowLayout)>> {
    let Some(found) = Found::find(session, constraint) else { return Ok(None) };
    let Some(foreign) = found.constraint.foreign_key().filter(|f| f.on_update == ForeignAction::Cascade) else {
        return Ok(None);
    };
    let layout = RowLayout::new(&found.target(session, foreign)?.definition)?;
    Ok(Some((found, layout)))
}

/// What a row is referred to by, to be compared.
fn key(target: &CachedTableData, layout: &RowLayout, foreign: &ForeignKey, row: &[u8]) -> Result<Option<Vec<u8>>> {
    let definition = &target.definition;
    let mut key = Vec::new();
    for position in &foreign.target_columns {
        let live = definition.live_columns().position(|(i, _)| i == *position);
        let live = live.ok_or_else(|| SqlError::internal("a foreign key's column has been dropped"))?;
        match layout.decode_column(row, live)? {
            Value::Null => return Ok(None),
            value => keys::push_value(&mut key, definition.columns[*position].ty, &value),
        }
    }
    Ok(Some(key))
}

/// Each change after the one that leaves the key it comes to; changes in a circle together.
fn ordered(constraint: Oid, changes: &[Change]) -> Vec<Step> {
    let leaving: HashMap<&[u8], usize> =
        changes.iter().enumerate().filter_map(|(i, change)| Some((change.from.as_deref()?, i))).collect();
    let next = |i: usize| leaving.get(changes[i].to.as_deref()?).copied();
    let step = |i: usize| {
        let (old, new) = changes[i].rows.clone();
        Step::Check(PendingCheck { constraint, what: PendingKind::Referenced { old, new: Some(new) } })
    };
    let mut placed = vec![false; changes.len()];
    let mut steps = Vec::with_capacity(changes.len());
    for start in 0..changes.len() {
        let mut path = Vec::new();
        let mut on_path: HashMap<usize, usize> = HashMap::new();
        let mut at = Some(start);
        while let Some(i) = at.filter(|i| !placed[*i]) {
            if let Some(from) = on_path.get(&i) {
                let circle = path.split_off(*from);
                circle.iter().for_each(|i: &usize| placed[*i] = true);
                steps.push(Step::Cycle(constraint, circle.iter().map(|i| changes[*i].rows.clone()).collect()));
                break;
            }
            on_path.insert(i, path.len());
            path.push(i);
            at = next(i);
        }
        for i in path.into_iter().rev() {
            placed[i] = true;
            steps.push(step(i));
        }
    }
    steps
}
