//! A WHERE that names one row: an equation for every column of the primary key, and conditions besides.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use kalamdb_catalog::index::IndexDefinition;
use kalamdb_catalog::{CachedTableData, PgType, Result, StorageId};

use super::compile::{Compiled, Compiler, Inputs};
use crate::sql::bind::live_position;
use crate::sql::compare;
use crate::storage::keys;
use crate::types::Value;

pub(super) struct Point {
    /// In key order.
    keys: Vec<KeyPart>,
    /// What else has to be true.
    filter: Vec<Compiled>,
}

pub(super) struct KeyPart {
    pub(super) ty: PgType,
    /// The type of `value`: `ty`, or an integer type that `ty` is widened to for the comparison.
    pub(super) given: PgType,
    pub(super) value: Compiled,
}

impl Point {
    pub(super) fn compile(compiler: &Compiler<'_>, table: &CachedTableData, filter: &Expr) -> Option<Point> {
        // A volatile condition would have to be evaluated for each row of the table.
        if filter.is_volatile() {
            return None;
        }
        let definition = &table.definition;
        let mut conditions = split_conjunction(filter);
        let mut keys = Vec::new();
        for index in &definition.primary_key.as_ref()?.columns {
            let column = &definition.columns[*index];
            // Where a sort key is compared instead of the value, there is no plain equation to find.
            if !compare::sorts_natively(column.ty) || !column.not_null {
                return None;
            }
            let live = live_position(table, &column.name)?;
            let equation = |e: &&Expr| key_part(compiler, e, live, column.ty);
            let (at, part) = conditions.iter().enumerate().find_map(|(at, e)| Some((at, equation(e)?)))?;
            conditions.remove(at);
            keys.push(part);
        }
        Some(Point { keys, filter: compiler.conditions(&conditions)? })
    }

    /// The row's key; None if a NULL or a number out of the column's range means that there is no row.
    pub(super) fn key(&self, storage: StorageId, inputs: &Inputs<'_>) -> Result<Option<Vec<u8>>> {
        let mut key = Vec::with_capacity(keys::STORAGE_LEN + self.keys.len() * 9 + keys::SEQ_LEN);
        key.extend_from_slice(&storage.to_be_bytes());
        for part in &self.keys {
            match narrowed(part.value.value(inputs, part.given)?, part.ty) {
                None | Some(Value::Null) => return Ok(None),
                Some(value) => keys::push_value(&mut key, part.ty, &value),
            }
        }
        Ok(Some(key))
    }

    /// Whether the row with the key also fulfils the other conditions.
    pub(super) fn matches(&self, inputs: &Inputs<'_>) -> Result<bool> {
        all_true(&self.filter, inputs)
    }
}

/// A WHERE that gives every column of an index a value.
pub(super) struct IndexPoint {
    storage: StorageId,
    /// In the index's order, each with its own: descending, NULLs first.
    keys: Vec<(KeyPart, bool, bool)>,
    /// What else has to be true.
    filter: Vec<Compiled>,
    /// All conditions.
    whole: Vec<Compiled>,
}

impl IndexPoint {
    /// Through a unique index if one serves.
    pub(super) fn compile(compiler: &Compiler<'_>, table: &CachedTableData, filter: &Expr) -> Option<IndexPoint> {
        if filter.is_volatile() {
            return None;
        }
        let indexes = table.definition.indexes.iter().filter(|i| i.predicate.is_none());
        let (unique, others): (Vec<_>, Vec<_>) = indexes.partition(|i| i.unique);
        unique.into_iter().chain(others).find_map(|index| Self::through(compiler, table, index, filter))
    }

    fn through(
        compiler: &Compiler<'_>,
        table: &CachedTableData,
        index: &IndexDefinition,
        filter: &Expr,
    ) -> Option<IndexPoint> {
        let definition = &table.definition;
        let mut conditions = split_conjunction(filter);
        let mut keys = Vec::with_capacity(index.columns.len());
        for indexed in &index.columns {
            let column = &definition.columns[indexed.position()?];
            if !compare::sorts_natively(column.ty) {
                return None;
            }
            let live = live_position(table, &column.name)?;
            let equation = |e: &&Expr| key_part(compiler, e, live, column.ty);
            let (at, part) = conditions.iter().enumerate().find_map(|(at, e)| Some((at, equation(e)?)))?;
            conditions.remove(at);
            keys.push((part, indexed.descending, indexed.nulls_first));
        }
        let whole = compiler.conditions(&split_conjunction(filter))?;
        Some(IndexPoint { storage: index.storage, keys, filter: compiler.conditions(&conditions)?, whole })
    }

    /// What the entries of the rows begin with; None if there can be no row.
    pub(super) fn prefix(&self, inputs: &Inputs<'_>) -> Result<Option<Vec<u8>>> {
        let mut key = self.storage.to_be_bytes().to_vec();
        for (part, descending, nulls_first) in &self.keys {
            match narrowed(part.value.value(inputs, part.given)?, part.ty) {
                None | Some(Value::Null) => return Ok(None),
                Some(value) => keys::push_index_value(&mut key, part.ty, &value, *descending, *nulls_first),
            }
        }
        Ok(Some(key))
    }

    /// Whether a row fulfils the other conditions.
    pub(super) fn matches(&self, inputs: &Inputs<'_>) -> Result<bool> {
        all_true(&self.filter, inputs)
    }

    /// Whether a row that has been changed since the index led to it is still wanted.
    pub(super) fn matches_anew(&self, inputs: &Inputs<'_>) -> Result<bool> {
        all_true(&self.whole, inputs)
    }
}

pub(super) fn all_true(conditions: &[Compiled], inputs: &Inputs<'_>) -> Result<bool> {
    for condition in conditions {
        if !matches!(condition.value(inputs, PgType::BOOL)?, Value::Bool(true)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What a condition says the key column `live` equals.
pub(super) fn key_part(compiler: &Compiler<'_>, condition: &Expr, live: usize, ty: PgType) -> Option<KeyPart> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
    let part = |column: &Expr, value: &Expr| compared_with(compiler, column, value, live, ty);
    part(left, right).or_else(|| part(right, left))
}

/// What the key column `live` is compared with, if that is what `column` and `value` are.
pub(super) fn compared_with(
    compiler: &Compiler<'_>,
    column: &Expr,
    value: &Expr,
    live: usize,
    ty: PgType,
) -> Option<KeyPart> {
    let given = compared_as(compiler, column, live, ty)?;
    let constant = !value.exists(|e| Ok(matches!(e, Expr::Column(_)))).unwrap_or(true);
    let value = constant.then(|| compiler.compile_as(value, given)).flatten()?;
    Some(KeyPart { ty, given, value })
}

/// The type in which the key column is compared, if `e` is that column: its own, or a wider integer.
fn compared_as(compiler: &Compiler<'_>, e: &Expr, live: usize, ty: PgType) -> Option<PgType> {
    let is_key = |e: &Expr| matches!(e, Expr::Column(c) if compiler.column(c) == Some(live));
    match e {
        e if is_key(e) => Some(ty),
        Expr::Cast(cast) if is_key(&cast.expr) => match (ty, cast.field.data_type()) {
            (PgType::INT2, DataType::Int32) => Some(PgType::INT4),
            (PgType::INT2 | PgType::INT4, DataType::Int64) => Some(PgType::INT8),
            _ => None,
        },
        _ => None,
    }
}

/// An integer as the narrower key column holds it; None if it cannot.
pub(super) fn narrowed(value: Value<'_>, ty: PgType) -> Option<Value<'_>> {
    match (value, ty) {
        (Value::Int4(v), PgType::INT2) => i16::try_from(v).ok().map(Value::Int2),
        (Value::Int8(v), PgType::INT2) => i16::try_from(v).ok().map(Value::Int2),
        (Value::Int8(v), PgType::INT4) => i32::try_from(v).ok().map(Value::Int4),
        (value, _) => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_narrow_within_range() {
        let cases = [
            (Value::Int8(5), PgType::INT4, Some("Int4(5)")),
            (Value::Int8(1 << 40), PgType::INT4, None),
            (Value::Int8(-32768), PgType::INT2, Some("Int2(-32768)")),
            (Value::Int4(32768), PgType::INT2, None),
            (Value::Int8(5), PgType::INT8, Some("Int8(5)")),
            (Value::Null, PgType::INT4, Some("Null")),
        ];
        for (value, ty, expected) in cases {
            let shown = narrowed(value.clone(), ty).map(|v| format!("{v:?}"));
            assert_eq!(shown.as_deref(), expected, "{value:?} as {ty:?}");
        }
    }
}
