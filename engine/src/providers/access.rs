//! Ways into a table: which ranges of its primary key, or of an index, hold all rows that a query's conditions can let through.
//!
//! A way may hold more than the conditions let through, never less: they are applied to the rows all the same.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use kalamdb_catalog::index::{IndexColumn, IndexDefinition, IndexKey};
use kalamdb_catalog::{CachedTableData, Oid, PgType, StorageId, TableDefinition};

use crate::sql::compare;
use crate::storage::keys;
use crate::types::Value;

/// Keys from `start` up to but not including `end`.
pub(super) type KeyRange = (Vec<u8>, Vec<u8>);

/// More points than this in an IN list are read as one range.
const POINTS_MAX: usize = 1024;

/// What the binder knows of an index that is over more than plain columns: its expressions, and its predicate.
#[derive(Clone, Debug)]
pub(crate) struct BoundIndex {
    pub(crate) oid: Oid,
    /// In the place of each column that is an expression: the expression over the table's columns, unqualified.
    pub(crate) expressions: Vec<Option<Expr>>,
    /// What holds for the rows that have an entry.
    pub(crate) predicate: Option<Expr>,
}

/// A way into a table.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// None: the table itself, in the order of its primary key.
    pub(super) index: Option<IndexDefinition>,
    pub(super) ranges: Vec<KeyRange>,
    /// Leading columns that have one value in all that is read.
    pub(super) constant: usize,
    /// Leading columns that conditions give values, and whether the one behind them has bounds.
    fixed: usize,
    bounded: bool,
    /// At most one row for each range.
    pub(super) points: bool,
}

/// A column that a way sorts by.
struct Part {
    key: PartKey,
    ty: PgType,
    /// How an index has it: descending, NULLs first. None in the table itself.
    order: Option<(bool, bool)>,
}

enum PartKey {
    Column(String),
    Expression(Expr),
}

impl Part {
    /// True for the expression that this part sorts by.
    fn is(&self, e: &Expr) -> bool {
        match &self.key {
            PartKey::Column(name) => matches!(e, Expr::Column(c) if c.name == *name),
            PartKey::Expression(own) => unqualified(e) == *own,
        }
    }

    fn push(&self, key: &mut Vec<u8>, value: &Value<'_>) {
        match self.order {
            Some((descending, nulls_first)) => {
                keys::push_index_value(key, self.ty, value, descending, nulls_first);
            }
            None => keys::push_value(key, self.ty, value),
        }
    }
}

fn unqualified(e: &Expr) -> Expr {
    let bare = |e: Expr| match e {
        Expr::Column(c) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(c.name)))),
        other => Ok(Transformed::no(other)),
    };
    e.clone().transform(bare).map_or_else(|_| e.clone(), |t| t.data)
}

/// True for a condition that can be a way into the table: a comparison of what a key or an index begins with.
pub(super) fn is_way(table: &CachedTableData, bound: &[BoundIndex], filter: &Expr) -> bool {
    let definition = &table.definition;
    let is_key = |e: &Expr| match e {
        Expr::Column(c) => {
            let position = definition.column_index(&c.name);
            let in_key = |columns: &[usize]| position.is_some_and(|p| columns.contains(&p));
            definition.primary_key.as_ref().is_some_and(|k| in_key(&k.columns))
                || definition
                    .indexes
                    .iter()
                    .any(|i| i.columns.iter().any(|c| c.position() == position && position.is_some()))
        }
        other => bound.iter().any(|b| b.expressions.iter().flatten().any(|e| unqualified(other) == *e)),
    };
    let constant = |e: &Expr| !e.any_column_refs();
    if key_of_row(filter).is_some() {
        return true;
    }
    let serves = match filter {
        Expr::BinaryExpr(b) if b.op == Operator::Or => is_way(table, bound, &b.left) && is_way(table, bound, &b.right),
        Expr::BinaryExpr(b) if comparison(b.op) => {
            (is_key(&b.left) && constant(&b.right)) || (is_key(&b.right) && constant(&b.left))
        }
        Expr::InList(InList { expr, list, negated: false }) => is_key(expr) && list.iter().all(constant),
        Expr::Between(Between { expr, negated: false, low, high }) => is_key(expr) && constant(low) && constant(high),
        Expr::IsNull(e) => is_key(e),
        _ => false,
    };
    serves || bound.iter().any(|b| b.predicate.as_ref().is_some_and(|p| implied_by(p, filter)))
}

/// True if a part of the predicate is this very condition.
fn implied_by(predicate: &Expr, filter: &Expr) -> bool {
    let filter = unqualified(filter);
    datafusion::logical_expr::utils::split_conjunction(predicate).into_iter().any(|p| *p == filter)
}

fn comparison(op: Operator) -> bool {
    matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

/// The best way for a query with these conditions.
pub(super) fn best(table: &CachedTableData, bound: &[BoundIndex], filters: &[Expr]) -> Way {
    if let Some(key) = filters.iter().find_map(key_of_row) {
        return Way::to_row(key);
    }
    let own = primary(&table.definition, filters);
    // One row by its key: there is nothing better.
    if own.points {
        return own;
    }
    let mut best = own;
    for index in &table.definition.indexes {
        let Some(way) = through(&table.definition, index, bound, filters) else { continue };
        if way.rank() > best.rank() {
            best = way;
        }
    }
    best
}

/// The key of `#key = ...`: WHERE CURRENT OF.
fn key_of_row(filter: &Expr) -> Option<&[u8]> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else { return None };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(c), Expr::Literal(ScalarValue::Binary(Some(key)), _)) if c.name == super::KEY_COLUMN => Some(key),
        _ => None,
    }
}

impl Way {
    /// One row by its key.
    fn to_row(key: &[u8]) -> Way {
        let ranges = vec![(key.to_vec(), keys::after(key))];
        Way { index: None, ranges, constant: 0, fixed: 1, bounded: false, points: true }
    }

    /// All of an index.
    pub(super) fn through_all(index: &IndexDefinition) -> Way {
        ranges(index.storage, &[], &[], Some(index))
    }

    /// How many leading columns conditions give values.
    pub(super) fn fixed_columns(&self) -> usize {
        self.fixed
    }

    /// How much it leaves out: more is better; of two that leave out the same the table itself, whose rows need no second look.
    fn rank(&self) -> (bool, usize, bool, bool) {
        (self.points, self.fixed, self.bounded, self.index.is_none())
    }

    /// True if it leaves anything out.
    pub(super) fn is_restricted(&self) -> bool {
        self.fixed > 0 || self.bounded
    }

    /// Rows that one may expect, to compare ways by; nothing is counted.
    pub(super) fn expected_rows(&self) -> usize {
        let ranges = self.ranges.len();
        match (self.points, self.fixed, self.bounded) {
            (true, ..) => ranges,
            (false, 0, false) => 1_000_000,
            (false, 0, true) => 50_000,
            (false, _, true) => 50 * ranges,
            (false, _, false) => 100 * ranges,
        }
    }
}

/// The way through the table's own order.
fn primary(definition: &TableDefinition, filters: &[Expr]) -> Way {
    let parts = match &definition.primary_key {
        None => Vec::new(),
        Some(key) => {
            let part = |i: &usize| {
                let column = &definition.columns[*i];
                Part { key: PartKey::Column(column.name.clone()), ty: column.ty, order: None }
            };
            key.columns.iter().map(part).collect()
        }
    };
    let mut way = ranges(definition.storage, &parts, filters, None);
    way.points = way.points && !parts.is_empty();
    way
}

/// The way through an index; None if it does not serve.
fn through(
    definition: &TableDefinition,
    index: &IndexDefinition,
    bound: &[BoundIndex],
    filters: &[Expr],
) -> Option<Way> {
    let more = bound.iter().find(|b| b.oid == index.oid);
    if index.predicate.is_some() {
        let predicate = more?.predicate.as_ref()?;
        let known = datafusion::logical_expr::utils::split_conjunction(predicate);
        if !known.into_iter().all(|p| filters.iter().any(|f| unqualified(f) == *p)) {
            return None;
        }
    }
    let way = ranges(index.storage, &parts_of(definition, index, more), filters, Some(index));
    // The rows of a partial index may be few.
    (way.is_restricted() || index.predicate.is_some()).then_some(way)
}

/// The parts that can be told from conditions: up to the first that cannot.
fn parts_of(definition: &TableDefinition, index: &IndexDefinition, bound: Option<&BoundIndex>) -> Vec<Part> {
    let part = |(i, column): (usize, &IndexColumn)| {
        let (key, ty) = match &column.key {
            IndexKey::Column(position) => {
                let column = &definition.columns[*position];
                (PartKey::Column(column.name.clone()), column.ty)
            }
            IndexKey::Expression(_, ty) => (PartKey::Expression(bound?.expressions.get(i)?.clone()?), *ty),
        };
        Some(Part { key, ty, order: Some((column.descending, column.nulls_first)) })
    };
    index.columns.iter().enumerate().map_while(part).collect()
}

/// The order of an index's leading columns: positions of plain columns, whether they descend, whether NULLs come first.
pub(super) fn order_of(index: &IndexDefinition) -> Vec<(usize, bool, bool)> {
    let column = |c: &IndexColumn| Some((c.position()?, c.descending, c.nulls_first));
    index.columns.iter().map_while(column).collect()
}

/// What the conditions say of the parts, as ranges of keys.
fn ranges(storage: StorageId, parts: &[Part], filters: &[Expr], index: Option<&IndexDefinition>) -> Way {
    let mut way =
        Way { index: index.cloned(), ranges: Vec::new(), constant: 0, fixed: 0, bounded: false, points: false };
    let mut prefixes = vec![storage.to_be_bytes().to_vec()];
    for part in parts {
        if !compare::sorts_natively(part.ty) || part.ty.is_array() {
            break;
        }
        let bounds = bounds_of(part, filters);
        match bounds.points {
            Some(points) if prefixes.len() * points.len() <= POINTS_MAX => {
                if points.len() == 1 && way.constant == way.fixed {
                    way.constant += 1;
                }
                way.fixed += 1;
                prefixes = with_points(&prefixes, part, &points);
            }
            _ => {
                way.bounded = bounds.low.is_some() || bounds.high.is_some();
                if way.bounded {
                    way.ranges = bounded(prefixes, part, &bounds.low, &bounds.high);
                    return way;
                }
                break;
            }
        }
    }
    let whole_key = way.fixed == parts.len();
    way.points = whole_key && !parts.is_empty() && index.is_none_or(|i| i.unique && i.columns.len() == parts.len());
    way.ranges = match (index, whole_key && !parts.is_empty()) {
        (None, true) => prefixes.into_iter().map(|p| (p.clone(), keys::after(&p))).collect(),
        (None, false) if parts.is_empty() => vec![keys::storage_range(storage)],
        _ => prefixes.into_iter().map(|p| (p.clone(), keys::prefix_end(&p))).collect(),
    };
    way
}

fn with_points(prefixes: &[Vec<u8>], part: &Part, points: &[Value<'_>]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = prefixes
        .iter()
        .flat_map(|prefix| {
            points.iter().map(|value| {
                let mut key = prefix.clone();
                part.push(&mut key, value);
                key
            })
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

/// What filters say of one column. Points are exact values; the bounds are inclusive or not.
struct Bounds {
    points: Option<Vec<Value<'static>>>,
    low: Option<(Value<'static>, bool)>,
    high: Option<(Value<'static>, bool)>,
}

fn bounds_of(part: &Part, filters: &[Expr]) -> Bounds {
    let ty = part.ty;
    let mut bounds = Bounds { points: None, low: None, high: None };
    for filter in filters {
        match filter {
            Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) => {
                let mut points = Vec::new();
                if bounds.points.is_none() && alternatives(part, filter, &mut points) {
                    bounds.points = Some(points);
                }
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (op, value) = if part.is(left) {
                    (Some(*op), literal(right, ty))
                } else if part.is(right) {
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
                if part.is(expr) && bounds.points.is_none() && list.len() <= POINTS_MAX =>
            {
                // A NULL in the list matches nothing.
                let known = list.iter().filter(|e| !matches!(e, Expr::Literal(v, _) if v.is_null()));
                bounds.points = known.map(|e| literal(e, ty)).collect();
            }
            Expr::Between(Between { expr, negated: false, low, high }) if part.is(expr) => {
                if let (Some(l), Some(h)) = (literal(low, ty), literal(high, ty)) {
                    bounds.low = Some((l, true));
                    bounds.high = Some((h, true));
                }
            }
            Expr::IsNull(e) if part.order.is_some() && part.is(e) && bounds.points.is_none() => {
                bounds.points = Some(vec![Value::Null]);
            }
            _ => {}
        }
    }
    bounds
}

/// The values of `a = 1 OR a = 2 ...`; false if it is more than that.
fn alternatives(part: &Part, e: &Expr, points: &mut Vec<Value<'static>>) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = e else { return false };
    let value = match op {
        Operator::Or => return alternatives(part, left, points) && alternatives(part, right, points),
        Operator::Eq if part.is(left) => literal(right, part.ty),
        Operator::Eq if part.is(right) => literal(left, part.ty),
        _ => None,
    };
    let known = value.is_some() && points.len() < POINTS_MAX;
    points.extend(value);
    known
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

type Bound = Option<(Value<'static>, bool)>;

fn bounded(prefixes: Vec<Vec<u8>>, part: &Part, low: &Bound, high: &Bound) -> Vec<KeyRange> {
    let edge = |prefix: &[u8], value: &Value<'_>| {
        let mut key = prefix.to_vec();
        part.push(&mut key, value);
        key
    };
    // Where the index descends, what is high comes first.
    let descending = part.order.is_some_and(|(descending, _)| descending);
    let (first, last) = if descending { (high, low) } else { (low, high) };
    prefixes
        .into_iter()
        .map(|prefix| {
            // Bounds leave NULLs out.
            let mut all = prefix.clone();
            if part.order.is_some() {
                all.push(keys::NOT_NULL_MARK);
            }
            let start = match first {
                None => all.clone(),
                Some((value, true)) => edge(&prefix, value),
                Some((value, false)) => keys::prefix_end(&edge(&prefix, value)),
            };
            let end = match last {
                None => keys::prefix_end(&all),
                Some((value, true)) => keys::prefix_end(&edge(&prefix, value)),
                Some((value, false)) => edge(&prefix, value),
            };
            (start, end)
        })
        .filter(|(start, end)| start < end)
        .collect()
}

/// The ranges of a table's key, or of an index, whose first column has one of these values.
pub(super) fn lookups(
    storage: StorageId,
    ty: PgType,
    order: Option<(bool, bool)>,
    values: &[Value<'_>],
) -> Vec<KeyRange> {
    let part = Part { key: PartKey::Column(String::new()), ty, order };
    let prefixes = with_points(&[storage.to_be_bytes().to_vec()], &part, values);
    prefixes.into_iter().map(|p| (p.clone(), keys::prefix_end(&p))).collect()
}
