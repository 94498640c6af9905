//! Filters on the primary key as ranges of keys to read.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use kalamdb_catalog::{CachedTableData, PgType};

use crate::sql::compare;
use crate::storage::keys;
use crate::types::Value;

/// Keys from `start` up to but not including `end`.
pub(super) type KeyRange = (Vec<u8>, Vec<u8>);

/// More points than this in an IN list are read as one range.
const POINTS_MAX: usize = 1024;

/// True for a comparison of a primary key column with something that is not a column.
pub(super) fn uses_key(table: &CachedTableData, filter: &Expr) -> bool {
    let Some(key) = &table.definition.primary_key else { return false };
    let is_key = |e: &Expr| {
        key_column(e).is_some_and(|name| key.columns.iter().any(|i| table.definition.columns[*i].name == name))
    };
    let constant = |e: &Expr| !e.any_column_refs();
    match filter {
        Expr::BinaryExpr(b) if comparison(b.op).is_some() => {
            (is_key(&b.left) && constant(&b.right)) || (is_key(&b.right) && constant(&b.left))
        }
        Expr::InList(InList { expr, list, negated: false }) => is_key(expr) && list.iter().all(constant),
        Expr::Between(Between { expr, negated: false, low, high }) => is_key(expr) && constant(low) && constant(high),
        _ => false,
    }
}

fn comparison(op: Operator) -> Option<Operator> {
    matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq).then_some(op)
}

/// The column of a plain reference.
fn key_column(e: &Expr) -> Option<&str> {
    match e {
        Expr::Column(c) => Some(&c.name),
        _ => None,
    }
}

/// The ranges that hold every row the filters can let through; the whole table if they say nothing of its key.
pub(super) fn key_ranges(table: &CachedTableData, filters: &[Expr]) -> Vec<KeyRange> {
    let definition = &table.definition;
    let whole = keys::storage_range(definition.storage);
    let Some(key) = &definition.primary_key else { return vec![whole] };
    let mut prefixes = vec![definition.storage.to_be_bytes().to_vec()];
    for index in &key.columns {
        let column = &definition.columns[*index];
        if !compare::sorts_natively(column.ty) || column.ty.is_array() {
            return prefixes_as_ranges(prefixes);
        }
        let bounds = bounds_of(&column.name, column.ty, filters);
        match bounds.points {
            Some(points) if prefixes.len() * points.len() <= POINTS_MAX => {
                prefixes = prefixes
                    .iter()
                    .flat_map(|p| {
                        points.iter().map(|v| {
                            let mut key = p.clone();
                            keys::push_value(&mut key, column.ty, v);
                            key
                        })
                    })
                    .collect();
                prefixes.sort();
                prefixes.dedup();
            }
            _ => return ranged(prefixes, column.ty, &bounds.low, &bounds.high),
        }
    }
    prefixes.into_iter().map(|p| (p.clone(), keys::after(&p))).collect()
}

fn prefixes_as_ranges(prefixes: Vec<Vec<u8>>) -> Vec<KeyRange> {
    prefixes.into_iter().map(|p| (p.clone(), keys::prefix_end(&p))).collect()
}

/// What filters say of one column. Points are exact values; the bounds are inclusive or not.
struct Bounds {
    points: Option<Vec<Value<'static>>>,
    low: Option<(Value<'static>, bool)>,
    high: Option<(Value<'static>, bool)>,
}

fn bounds_of(name: &str, ty: PgType, filters: &[Expr]) -> Bounds {
    let mut bounds = Bounds { points: None, low: None, high: None };
    for filter in filters {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (op, value) = if key_column(left) == Some(name) {
                    (Some(*op), literal(right, ty))
                } else if key_column(right) == Some(name) {
                    (op.swap(), literal(left, ty))
                } else {
                    continue;
                };
                let Some(value) = value else { continue };
                match op {
                    Some(Operator::Eq) => bounds.points = Some(vec![value]),
                    Some(Operator::Gt) => bounds.low = Some((value, false)),
                    Some(Operator::GtEq) => bounds.low = Some((value, true)),
                    Some(Operator::Lt) => bounds.high = Some((value, false)),
                    Some(Operator::LtEq) => bounds.high = Some((value, true)),
                    _ => {}
                }
            }
            Expr::InList(InList { expr, list, negated: false })
                if key_column(expr) == Some(name) && bounds.points.is_none() && list.len() <= POINTS_MAX =>
            {
                // A NULL in the list matches nothing.
                let known = list.iter().filter(|e| !matches!(e, Expr::Literal(v, _) if v.is_null()));
                bounds.points = known.map(|e| literal(e, ty)).collect();
            }
            Expr::Between(Between { expr, negated: false, low, high }) if key_column(expr) == Some(name) => {
                if let (Some(l), Some(h)) = (literal(low, ty), literal(high, ty)) {
                    bounds.low = Some((l, true));
                    bounds.high = Some((h, true));
                }
            }
            _ => {}
        }
    }
    bounds
}

/// A literal of the column's own carrier.
fn literal(e: &Expr, ty: PgType) -> Option<Value<'static>> {
    let Expr::Literal(value, _) = e else { return None };
    if value.is_null() || value.data_type() != ty.arrow() {
        return None;
    }
    scalar_value(value, ty)
}

fn scalar_value(value: &ScalarValue, ty: PgType) -> Option<Value<'static>> {
    Value::from_scalar(value, ty).ok()
}

fn ranged(
    prefixes: Vec<Vec<u8>>,
    ty: PgType,
    low: &Option<(Value<'static>, bool)>,
    high: &Option<(Value<'static>, bool)>,
) -> Vec<KeyRange> {
    let edge = |prefix: &[u8], value: &Value<'_>| {
        let mut key = prefix.to_vec();
        keys::push_value(&mut key, ty, value);
        key
    };
    prefixes
        .into_iter()
        .map(|prefix| {
            let start = match low {
                None => prefix.clone(),
                Some((value, true)) => edge(&prefix, value),
                Some((value, false)) => keys::prefix_end(&edge(&prefix, value)),
            };
            let end = match high {
                None => keys::prefix_end(&prefix),
                Some((value, true)) => keys::prefix_end(&edge(&prefix, value)),
                Some((value, false)) => edge(&prefix, value),
            };
            (start, end)
        })
        .filter(|(start, end)| start < end)
        .collect()
}
