//! ORDER BY and LIMIT that the primary key or an index answers with the first rows of a range: what a queue takes, or a page shows.

use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use kalamdb_catalog::index::IndexDefinition;
use kalamdb_catalog::{CachedTableData, PgType, Result, StorageId};

use super::compile::{Compiled, Compiler, Inputs};
use super::point::{KeyPart, all_true, compared_with, key_part, narrowed};
use crate::sql::bind::{SimpleTail, live_position};
use crate::sql::compare;
use crate::storage::keys;
use crate::types::Value;

/// A range whose rows come in the order that is asked for.
pub(super) struct Walk {
    storage: StorageId,
    /// The range is one of an index, whose entries lead to the rows.
    pub(super) through_index: bool,
    /// Leading columns with one value.
    constant: Vec<Placed>,
    /// Bounds of the column behind them: at least, at most. That they may be exclusive is left to the filter.
    low: Option<Placed>,
    high: Option<Placed>,
    pub(super) reverse: bool,
    /// All conditions that the range does not make true.
    filter: Vec<Compiled>,
    /// All conditions.
    whole: Vec<Compiled>,
    /// At most one row.
    one: bool,
}

/// A value in its place in the key.
struct Placed {
    part: KeyPart,
    /// How an index has it: descending, NULLs first. None in the primary key.
    order: Option<(bool, bool)>,
}

/// A column of a key or an index: its position in the table, and how it sorts.
type Sorted = (usize, Option<(bool, bool)>);

impl Walk {
    /// None: no order serves, or the conditions are not understood.
    pub(super) fn compile(
        compiler: &Compiler<'_>,
        table: &CachedTableData,
        filter: Option<&Expr>,
        tail: &SimpleTail,
    ) -> Option<Walk> {
        if filter.is_some_and(Expr::is_volatile) {
            return None;
        }
        let definition = &table.definition;
        let primary: Vec<Sorted> = definition.primary_key.iter().flat_map(|k| &k.columns).map(|c| (*c, None)).collect();
        let walk = |storage, columns: &[Sorted], through_index| {
            Self::over(compiler, table, (storage, through_index), columns, filter, tail)
        };
        if !primary.is_empty()
            && let Some(found) = walk(definition.storage, &primary, false)
        {
            return Some(found);
        }
        let of_index = |i: &IndexDefinition| {
            let columns = i.columns.iter().map_while(|c| Some((c.position()?, Some((c.descending, c.nulls_first)))));
            walk(i.storage, &columns.collect::<Vec<_>>(), true)
        };
        definition.indexes.iter().filter(|i| i.predicate.is_none()).find_map(of_index)
    }

    fn over(
        compiler: &Compiler<'_>,
        table: &CachedTableData,
        (storage, through_index): (StorageId, bool),
        columns: &[Sorted],
        filter: Option<&Expr>,
        tail: &SimpleTail,
    ) -> Option<Walk> {
        let definition = &table.definition;
        let mut conditions: Vec<&Expr> = filter.map_or_else(Vec::new, split_conjunction);
        let mut constant = Vec::new();
        let mut rest = columns;
        while let Some(((position, order), behind)) = rest.split_first() {
            let column = &definition.columns[*position];
            if !compare::sorts_natively(column.ty) {
                return None;
            }
            let live = live_position(table, &column.name)?;
            let equation = |e: &&Expr| key_part(compiler, e, live, column.ty);
            let Some((at, part)) = conditions.iter().enumerate().find_map(|(at, e)| Some((at, equation(e)?))) else {
                break;
            };
            conditions.remove(at);
            constant.push(Placed { part, order: *order });
            rest = behind;
        }
        let reverse = direction(compiler, table, &columns[..constant.len()], rest, tail)?;
        let (mut low, mut high) = (None, None);
        if let Some((position, order)) = rest.first() {
            let column = &definition.columns[*position];
            let live = live_position(table, &column.name)?;
            for condition in &conditions {
                let Some((op, part)) = bound(compiler, condition, live, column.ty) else { continue };
                let descending = order.is_some_and(|(descending, _)| descending);
                let is_low = matches!(op, Operator::Gt | Operator::GtEq) != descending;
                let bound = if is_low { &mut low } else { &mut high };
                *bound = Some(Placed { part, order: *order });
            }
        }
        let whole = compiler.conditions(&filter.map_or_else(Vec::new, split_conjunction))?;
        let filter = compiler.conditions(&conditions)?;
        let one = rest.is_empty() && !through_index;
        Some(Walk { storage, through_index, constant, low, high, reverse, filter, whole, one })
    }

    /// The range of keys; None if there can be no row in it.
    #[allow(clippy::type_complexity)]
    pub(super) fn range(&self, inputs: &Inputs<'_>) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let mut prefix = self.storage.to_be_bytes().to_vec();
        for placed in &self.constant {
            match placed.value(inputs)? {
                None | Some(Value::Null) => return Ok(None),
                Some(value) => placed.push(&mut prefix, &value),
            }
        }
        let (mut start, mut last) = (prefix.clone(), prefix);
        for (bound, key) in [(&self.low, &mut start), (&self.high, &mut last)] {
            let Some(bound) = bound else { continue };
            match bound.value(inputs)? {
                Some(Value::Null) => return Ok(None),
                Some(value) => bound.push(key, &value),
                // Beyond all values of the column: the filter knows on which side.
                None => {}
            }
        }
        let end = if self.one { keys::after(&last) } else { keys::prefix_end(&last) };
        Ok(Some((start, end)))
    }

    /// Whether a row of the range is wanted.
    pub(super) fn matches(&self, inputs: &Inputs<'_>) -> Result<bool> {
        all_true(&self.filter, inputs)
    }

    /// Whether a row that has been changed since it was in the range is still wanted.
    pub(super) fn matches_anew(&self, inputs: &Inputs<'_>) -> Result<bool> {
        all_true(&self.whole, inputs)
    }
}

impl Placed {
    /// None for a number that the column cannot hold.
    fn value<'a>(&'a self, inputs: &Inputs<'a>) -> Result<Option<Value<'a>>> {
        Ok(narrowed(self.part.value.value(inputs, self.part.given)?, self.part.ty))
    }

    fn push(&self, key: &mut Vec<u8>, value: &Value<'_>) {
        match self.order {
            Some((descending, nulls_first)) => {
                keys::push_index_value(key, self.part.ty, value, descending, nulls_first);
            }
            None => keys::push_value(key, self.part.ty, value),
        }
    }
}

/// Whether ORDER BY is the order of the columns behind the constant ones (Some(false)) or its reverse (Some(true)).
fn direction(
    compiler: &Compiler<'_>,
    table: &CachedTableData,
    constant: &[Sorted],
    rest: &[Sorted],
    tail: &SimpleTail,
) -> Option<bool> {
    let definition = &table.definition;
    let position = |e: &Expr| {
        let Expr::Column(column) = e else { return None };
        let live = compiler.column(column)?;
        definition.live_columns().nth(live).map(|(i, _)| i)
    };
    let mut wanted = Vec::with_capacity(tail.order.len());
    for sort in &tail.order {
        let position = position(&sort.expr)?;
        if !constant.iter().any(|(p, _)| *p == position) {
            wanted.push((position, !sort.asc, sort.nulls_first));
        }
    }
    if wanted.len() > rest.len() {
        return None;
    }
    let same = |reverse: bool| {
        wanted.iter().zip(rest).all(|((position, descending, nulls_first), (own, order))| {
            let column = &definition.columns[*position];
            let (own_descending, own_nulls_first) = order.unwrap_or((false, false));
            position == own
                && compare::sorts_natively(column.ty)
                && *descending == (own_descending != reverse)
                && (column.not_null || *nulls_first == (own_nulls_first != reverse))
        })
    };
    if same(false) {
        return Some(false);
    }
    same(true).then_some(true)
}

/// What a condition says the column is at least or at most.
fn bound(compiler: &Compiler<'_>, condition: &Expr, live: usize, ty: PgType) -> Option<(Operator, KeyPart)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    if !matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq) {
        return None;
    }
    match compared_with(compiler, left, right, live, ty) {
        Some(part) => Some((*op, part)),
        None => Some((op.swap()?, compared_with(compiler, right, left, live, ty)?)),
    }
}
