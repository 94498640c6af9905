//! A live query: a SELECT whose result is kept up to date for those who listen to it.
//!
//! Rows of one table with a filter and outputs are evaluated change by change ([`RowQuery`]); everything else is run again
//! and compared ([`super::diff`]).

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column as DfColumn, DFSchema, DataFusionError};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::ast::{self, Visit, visit_expressions};
use kalamdb_catalog::{CachedTableData, Catalog, Oid, PgType, Result, SqlError, SqlState, TableDefinition, TableKind};

use super::payload::{Form, Names, Teller, object};
use crate::limits::VIEW_DEPTH_MAX;
use crate::providers;
use crate::session::SessionContext;
use crate::sql::Column;
use crate::sql::bind::{Binder, BoundQuery, Parameters, SimpleSelect, live_position};
use crate::sql::functions::json::JsonWriter;
use crate::sql::functions::{Volatility, functions_named};
use crate::sql::index_entries::evaluate;
use crate::sql::parse;
use crate::sql::plan::{physical_expr, planning};
use crate::sql::statement::Statement;
use crate::storage::{BatchDecoder, RowLayout, RowMeta, ScanColumn, keys};
use crate::types::{ColumnReader, Value};

/// Functions that are the same throughout a statement and yet not a matter of rows: their value changes by itself, or with
/// the session or the catalog.
const NOT_OF_ROWS: &[&str] = &[
    "current_date",
    "current_schema",
    "current_schemas",
    "current_setting",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "now",
    "obj_description",
    "col_description",
    "shobj_description",
    "statement_timestamp",
    "transaction_timestamp",
    "version",
];

/// A query as it was listened to, bound to one state of the catalog.
pub(super) struct BoundLive {
    /// The tables whose rows it is made of, as they were.
    pub(super) tables: Vec<Arc<CachedTableData>>,
    /// The views that it goes through.
    views: Vec<Arc<CachedTableData>>,
    /// Of the result.
    pub(super) columns: Vec<Column>,
    pub(super) teller: Teller,
    pub(super) how: How,
}

impl BoundLive {
    /// What its names mean, in order.
    pub(super) fn oids(&self) -> Vec<Oid> {
        let mut oids: Vec<Oid> = self.relations().map(|r| r.definition.oid).collect();
        oids.sort_unstable();
        oids
    }

    pub(super) fn relations(&self) -> impl Iterator<Item = &Arc<CachedTableData>> {
        self.tables.iter().chain(&self.views)
    }

    /// True if its relations have the same rows in a catalog as when it was bound, in the same form.
    pub(super) fn has_same_rows(&self, catalog: &Catalog) -> bool {
        let now = |t: &CachedTableData| catalog.table(t.definition.oid);
        self.relations().all(|t| now(t).is_some_and(|now| same_rows(&t.definition, &now.definition)))
    }

    /// The payloads of stored rows of its table.
    pub(super) fn snapshot_rows<'a>(
        &self,
        seq: u64,
        rows: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<Vec<Arc<str>>> {
        let How::Rows(query) = &self.how else { return Err(SqlError::internal("a query of other rows")) };
        let shown = query.shown(&self.teller, rows)?;
        Ok(shown.into_iter().flatten().map(|(key, row)| self.teller.snapshot(seq, &key, &row)).collect())
    }
}

/// True if a table has the same rows as before, in the same form: an index has been made, say.
fn same_rows(before: &TableDefinition, after: &TableDefinition) -> bool {
    let key = |t: &TableDefinition| t.primary_key.as_ref().map(|key| key.columns.clone());
    before.storage == after.storage
        && before.columns == after.columns
        && before.kind == after.kind
        && key(before) == key(after)
}

/// How the result is kept up to date.
pub(super) enum How {
    Rows(Box<RowQuery>),
    Diff(Box<DiffQuery>),
}

/// A query that is run again.
pub(super) struct DiffQuery {
    pub(super) plan: LogicalPlan,
    /// The outputs that tell rows apart; None: the whole row.
    pub(super) key: Option<(Vec<(usize, PgType)>, Names)>,
    pub(super) writer: JsonWriter,
}

impl DiffQuery {
    /// The keys of rows, as JSON objects; None if the row is its own.
    pub(super) fn keys(&self, batch: &RecordBatch) -> Option<Vec<String>> {
        let (key, names) = self.key.as_ref()?;
        let readers: Vec<_> = key.iter().map(|(i, ty)| (*ty, ColumnReader::new(batch.column(*i), *ty))).collect();
        let values = |at| readers.iter().map(move |(ty, reader)| (*ty, reader.value(at)));
        Some((0..batch.num_rows()).map(|at| object(names, &self.writer, values(at))).collect())
    }
}

/// Checks and binds the text of a live query that tells of its rows in a form. 0A000 by name for what cannot be live.
pub(super) fn bind(session: &Arc<SessionContext>, text: &str, form: Form) -> Result<BoundLive> {
    let query = parsed(text)?;
    check_functions(&query)?;
    let mut binder = Binder::new(session, session.catalog(), text, Parameters::default());
    let bound = binder.query(&query)?;
    if !binder.modifying.is_empty() {
        return Err(refused("a statement that writes"));
    }
    if binder.locking.is_some() {
        return Err(refused("a locking clause"));
    }
    let (tables, views) = relations_of(session, &binder)?;
    let teller = Teller::new(&bound.columns, form, &session.format())?;
    let how = match &bound.simple {
        Some(simple) if simple.tail.is_empty() => {
            RowQuery::new(session, simple, &bound)?.map(|q| How::Rows(Box::new(q)))
        }
        _ => None,
    };
    let how = match how {
        Some(how) => how,
        None => {
            let key = key_of(&query, &bound, &tables);
            let key = key.map(|key| {
                let names = Names::new(key.iter().map(|i| bound.columns[*i].name.as_str()));
                (key.into_iter().map(|i| (i, bound.columns[i].ty)).collect(), names)
            });
            let writer = JsonWriter::new(&session.format());
            How::Diff(Box::new(DiffQuery { plan: bound.plan, key, writer }))
        }
    };
    Ok(BoundLive { tables, views, columns: bound.columns, teller, how })
}

/// The query of a channel's text.
fn parsed(text: &str) -> Result<Box<ast::Query>> {
    let statements = parse(text, &mut Vec::new())?;
    match statements.as_slice() {
        [only] => match &*only.statement {
            Statement::Query(query) => Ok(query.clone()),
            _ => Err(refused("a statement that is not a query")),
        },
        _ => Err(refused("more than one statement")),
    }
}

fn refused(what: &str) -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} cannot be in a live query"))
}

/// 0A000 for functions whose value is not a matter of the rows they are applied to, 42P02 for parameters.
fn check_functions(query: &ast::Query) -> Result<()> {
    match query.visit(&mut Check) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Check;

impl ast::Visitor for Check {
    type Break = SqlError;

    fn pre_visit_expr(&mut self, e: &ast::Expr) -> ControlFlow<SqlError> {
        match e {
            ast::Expr::Function(call) => {
                let one = matches!(&call.args, ast::FunctionArguments::List(list) if list.args.len() == 1);
                check_function(&function_name(&call.name), one)
            }
            ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Placeholder(name), .. }) => ControlFlow::Break(
                SqlError::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter {name}")),
            ),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &ast::TableFactor) -> ControlFlow<SqlError> {
        match factor {
            ast::TableFactor::Table { name, args: Some(args), .. } => {
                check_function(&function_name(name), args.args.len() == 1)
            }
            ast::TableFactor::Function { name, args, .. } => check_function(&function_name(name), args.len() == 1),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn check_function(name: &str, one_argument: bool) -> ControlFlow<SqlError> {
    let volatile = functions_named(name).any(|f| f.volatility == Volatility::Volatile);
    let stable = functions_named(name).any(|f| f.volatility == Volatility::Stable);
    let system = ["pg_", "has_", "txid_", "to_reg", "inet_"].iter().any(|prefix| name.starts_with(prefix));
    let of_now = NOT_OF_ROWS.contains(&name) || name == "age" && one_argument;
    if !(volatile || of_now || stable && system) {
        return ControlFlow::Continue(());
    }
    let error = refused(&format!("function {name}()"));
    ControlFlow::Break(error.detail("Its value may change while no row does, and nobody would be told."))
}

/// The stored tables that a query reads, and the views through which it does. 0A000 for others.
#[allow(clippy::type_complexity)]
fn relations_of(
    session: &SessionContext,
    binder: &Binder<'_>,
) -> Result<(Vec<Arc<CachedTableData>>, Vec<Arc<CachedTableData>>)> {
    let catalog = session.catalog();
    let mut tables: Vec<Arc<CachedTableData>> = Vec::new();
    let mut views = Vec::new();
    let mut waiting: Vec<(Oid, usize)> = binder.relations.iter().map(|(r, _)| (r.definition.oid, 0)).collect();
    waiting.extend(binder.locks.iter().map(|(oid, _)| (*oid, 0)));
    while let Some((oid, depth)) = waiting.pop() {
        let relation = catalog.table(oid).ok_or_else(|| SqlError::internal("a live query reads what is not there"))?;
        if providers::is_builtin(relation) || depth > VIEW_DEPTH_MAX {
            return Err(refused(&format!("system relation \"{}\"", relation.definition.name)));
        }
        if relation.definition.persistence.is_temporary() {
            return Err(refused(&format!("temporary relation \"{}\"", relation.definition.name)));
        }
        match &relation.definition.kind {
            TableKind::View { sql, depends_on } => {
                check_functions(&*parse::query(sql)?)?;
                views.push(Arc::clone(relation));
                waiting.extend(depends_on.iter().map(|d| (d.oid, depth + 1)));
            }
            TableKind::Shared => {
                if !tables.iter().any(|t| t.definition.oid == oid) {
                    tables.push(Arc::clone(relation));
                }
            }
            _ => return Err(refused(&format!("relation \"{}\"", relation.definition.name))),
        }
    }
    if tables.is_empty() {
        return Err(refused("a query without a table"));
    }
    Ok((tables, views))
}

/// The outputs that tell the rows of a result apart: the values that are grouped by, or the primary keys of its tables, if
/// they are all there.
fn key_of(query: &ast::Query, bound: &BoundQuery, tables: &[Arc<CachedTableData>]) -> Option<Vec<usize>> {
    let ast::SetExpr::Select(select) = query.body.as_ref() else { return None };
    if select.distinct.is_some() || query.with.is_some() || gives_sets(select) {
        return None;
    }
    if let ast::GroupByExpr::Expressions(by, modifiers) = &select.group_by
        && !by.is_empty()
    {
        return modifiers.is_empty().then(|| grouped_outputs(select, by)).flatten();
    }
    let factors = select
        .from
        .iter()
        .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation)));
    let plain = factors.clone().all(|factor| matches!(factor, ast::TableFactor::Table { args: None, .. }));
    // Each table once: another number of relations is views, subqueries, or a table joined with itself.
    if !plain || factors.count() != tables.len() || outer_joined(select) {
        return None;
    }
    let mut key = Vec::new();
    for table in tables {
        for position in &table.definition.primary_key.as_ref()?.columns {
            let attribute = *position as i16 + 1;
            key.push(bound.columns.iter().position(|c| c.table == table.definition.oid && c.attribute == attribute)?);
        }
    }
    Some(key)
}

/// True if a row may be shown several times, once for each of a set's.
fn gives_sets(select: &ast::Select) -> bool {
    let mut found = false;
    let _ = visit_expressions(&select.projection, |e| {
        if let ast::Expr::Function(call) = e {
            found |= functions_named(&function_name(&call.name)).any(|f| f.returns_set);
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

fn function_name(name: &ast::ObjectName) -> String {
    name.0.last().and_then(|p| p.as_ident()).map(|i| i.value.to_lowercase()).unwrap_or_default()
}

/// True if a join may give NULLs in place of a table's row: then its key does not tell rows apart.
fn outer_joined(select: &ast::Select) -> bool {
    let inner = |join: &ast::Join| {
        matches!(
            join.join_operator,
            ast::JoinOperator::Join(_) | ast::JoinOperator::Inner(_) | ast::JoinOperator::CrossJoin(_)
        )
    };
    !select.from.iter().flat_map(|from| &from.joins).all(inner)
}

/// The outputs that are what is grouped by; None if one is not shown.
fn grouped_outputs(select: &ast::Select, by: &[ast::Expr]) -> Option<Vec<usize>> {
    let mut outputs = Vec::new();
    for expr in by {
        let found = select.projection.iter().position(|item| match item {
            ast::SelectItem::UnnamedExpr(shown) => shown == expr,
            // The alias is no key: what is grouped by a name is the column of that name, if there is one.
            ast::SelectItem::ExprWithAlias { expr: shown, .. } => shown == expr,
            _ => false,
        });
        let ordinal = match expr {
            ast::Expr::Value(value) => value.value.to_string().parse::<usize>().ok().and_then(|n| n.checked_sub(1)),
            _ => None,
        };
        outputs.push(found.or(ordinal)?);
    }
    let stars = select
        .projection
        .iter()
        .any(|item| matches!(item, ast::SelectItem::Wildcard(_) | ast::SelectItem::QualifiedWildcard(..)));
    (!stars).then_some(outputs)
}

/// Rows of one table, each of which is in the result or not by itself.
pub(super) struct RowQuery {
    pub(super) table: Arc<CachedTableData>,
    pub(super) layout: Arc<RowLayout>,
    types: Vec<PgType>,
    schema: SchemaRef,
    filter: Option<Arc<dyn PhysicalExpr>>,
    outputs: Vec<Arc<dyn PhysicalExpr>>,
    /// Live columns of the primary key; empty: the outputs tell rows apart.
    key: Vec<usize>,
    key_names: Names,
    /// A column that has to have a certain value, by its live position, and the value as it is compared.
    pub(super) equal: Option<(usize, Vec<u8>)>,
    /// What gives the rows as they are now: each as it is stored.
    pub(super) plan: LogicalPlan,
    writer: JsonWriter,
}

/// The change of one row.
#[derive(Clone, Debug)]
pub(super) struct RowChange {
    pub(super) seq: u64,
    pub(super) old: Option<bytes::Bytes>,
    pub(super) new: Option<bytes::Bytes>,
}

/// What a change of a row is to a query.
#[derive(Debug)]
pub(super) struct RowEvent {
    pub(super) seq: u64,
    pub(super) op: &'static str,
    /// A JSON object.
    pub(super) key: String,
    /// What the row is told as.
    pub(super) new: Option<String>,
    pub(super) old: Option<String>,
}

/// What the scan of [`RowQuery::plan`] is called.
const SCAN: &str = "t";

impl RowQuery {
    /// None for what is more than a look at one row: the row's version, say.
    fn new(session: &Arc<SessionContext>, simple: &SimpleSelect, bound: &BoundQuery) -> Result<Option<RowQuery>> {
        let Some(table) = session.catalog().table(simple.table).cloned() else { return Ok(None) };
        let definition = &table.definition;
        let layout = Arc::new(RowLayout::new(definition)?);
        let types: Vec<PgType> = layout.types().to_vec();
        let fields: Vec<Field> =
            types.iter().enumerate().map(|(i, ty)| Field::new(i.to_string(), ty.arrow(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let named = planning(DFSchema::try_from(Arc::clone(&schema)))?;
        let over_row = |expr: &Expr| {
            let by_position = |e: Expr| match &e {
                Expr::Column(column) => match live_position(&table, &column.name) {
                    Some(live) => Ok(Transformed::yes(Expr::Column(DfColumn::new_unqualified(live.to_string())))),
                    None => Err(DataFusionError::Internal("not a column of the row".to_owned())),
                },
                _ => Ok(Transformed::no(e)),
            };
            let expr = expr.clone().transform_up(by_position).ok()?.data;
            physical_expr(&expr, &named, session).ok()
        };
        let filter = match &simple.filter {
            Some(filter) => match over_row(filter) {
                Some(filter) => Some(filter),
                None => return Ok(None),
            },
            None => None,
        };
        let mut outputs = Vec::with_capacity(simple.outputs.len());
        for output in simple.outputs.iter().take(bound.columns.len()) {
            let Some(compiled) = over_row(output) else { return Ok(None) };
            outputs.push(compiled);
        }
        let mut key = Vec::new();
        for position in definition.primary_key.iter().flat_map(|k| &k.columns) {
            key.extend(definition.live_columns().position(|(i, _)| i == *position));
        }
        let key_names = Names::new(
            key.iter().filter_map(|live| definition.live_columns().nth(*live)).map(|(_, c)| c.name.as_str()),
        );
        Ok(Some(RowQuery {
            plan: stored_rows(&table, simple.filter.as_ref())?,
            equal: simple.filter.as_ref().and_then(|filter| equality(filter, &table, &types)),
            layout,
            types,
            schema,
            filter,
            outputs,
            key,
            key_names,
            writer: JsonWriter::new(&session.format()),
            table,
        }))
    }

    /// What a value of a column is compared by: [`RowQuery::equal`].
    pub(super) fn comparable(&self, row: &[u8], live: usize) -> Result<Option<Vec<u8>>> {
        Ok(match self.layout.decode_column(row, live)? {
            Value::Null => None,
            value => {
                let mut key = Vec::new();
                keys::push_value(&mut key, self.types[live], &value);
                Some(key)
            }
        })
    }

    /// Stored rows as those of the result: None for one that is not in it; else its key, a JSON object, and what it is told as.
    pub(super) fn shown<'a>(
        &self,
        teller: &Teller,
        rows: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<Vec<Option<(String, String)>>> {
        let count = rows.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let projection: Vec<ScanColumn> = (0..self.types.len()).map(ScanColumn::User).collect();
        let mut decoder = BatchDecoder::new(&self.layout, &projection, count);
        for row in rows {
            decoder.append(row, RowMeta { key: &[], seq: 0 })?;
        }
        let columns = decoder.finish()?;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        let batch = batch.map_err(|e| SqlError::internal(e.to_string()))?;
        let passes = match &self.filter {
            Some(filter) => evaluate(filter, &batch)?.as_boolean().clone(),
            None => BooleanArray::from(vec![true; count]),
        };
        let passes: Vec<bool> = (0..count).map(|i| passes.is_valid(i) && passes.value(i)).collect();
        // The outputs are evaluated for rows of the result only: for others they may be errors.
        let indices = datafusion::arrow::array::UInt32Array::from_iter_values(
            passes.iter().enumerate().filter(|(_, passes)| **passes).map(|(i, _)| i as u32),
        );
        let batch = datafusion::arrow::compute::take_record_batch(&batch, &indices);
        let batch = batch.map_err(|e| SqlError::internal(e.to_string()))?;
        let outputs = self.outputs.iter().map(|expr| evaluate(expr, &batch)).collect::<Result<Vec<ArrayRef>>>()?;
        let mut told = teller.rows(&outputs, batch.num_rows())?.into_iter();
        let key: Vec<ColumnReader<'_>> =
            self.key.iter().map(|live| ColumnReader::new(batch.column(*live), self.types[*live])).collect();
        let mut at = 0;
        let mut shown = Vec::with_capacity(count);
        for passes in passes {
            let Some(row) = passes.then(|| told.next()).flatten() else {
                shown.push(None);
                continue;
            };
            let key = if key.is_empty() {
                row.clone()
            } else {
                let values = self.key.iter().zip(&key).map(|(live, r)| (self.types[*live], r.value(at)));
                object(&self.key_names, &self.writer, values)
            };
            shown.push(Some((key, row)));
            at += 1;
        }
        Ok(shown)
    }

    /// What changes of rows are to the query, in their order. An error is one that the query would have met.
    pub(super) fn events(&self, teller: &Teller, changes: &[&RowChange]) -> Result<Vec<RowEvent>> {
        let old: Vec<&[u8]> = changes.iter().filter_map(|c| c.old.as_deref()).collect();
        let new: Vec<&[u8]> = changes.iter().filter_map(|c| c.new.as_deref()).collect();
        let (mut old, mut new) =
            (self.shown(teller, old.into_iter())?.into_iter(), self.shown(teller, new.into_iter())?.into_iter());
        let mut events = Vec::new();
        for change in changes {
            let before = change.old.as_ref().and_then(|_| old.next().flatten());
            let after = change.new.as_ref().and_then(|_| new.next().flatten());
            let seq = change.seq;
            match (before, after) {
                (None, None) => {}
                (None, Some((key, new))) => {
                    events.push(RowEvent { seq, op: "insert", key, new: Some(new), old: None });
                }
                (Some((key, old)), None) => {
                    events.push(RowEvent { seq, op: "delete", key, new: None, old: Some(old) });
                }
                (Some((_, old)), Some((_, new))) if old == new => {}
                // Without a primary key the row is its own key: another row has come.
                (Some((before, old)), Some((after, new))) if before != after => {
                    events.push(RowEvent { seq, op: "delete", key: before, new: None, old: Some(old) });
                    events.push(RowEvent { seq, op: "insert", key: after, new: Some(new), old: None });
                }
                (Some((_, old)), Some((key, new))) => {
                    events.push(RowEvent { seq, op: "update", key, new: Some(new), old: Some(old) });
                }
            }
        }
        Ok(events)
    }
}

/// The rows of a table that fulfil a condition, each as it is stored.
fn stored_rows(table: &Arc<CachedTableData>, filter: Option<&Expr>) -> Result<LogicalPlan> {
    let source = providers::source(table, 0, Vec::new());
    let mut builder = planning(LogicalPlanBuilder::scan(SCAN, source, None))?;
    if let Some(filter) = filter {
        let of_scan = |e: Expr| match &e {
            Expr::Column(column) => Ok(Transformed::yes(Expr::Column(DfColumn::new(Some(SCAN), column.name.clone())))),
            _ => Ok(Transformed::no(e)),
        };
        let filter = planning(filter.clone().transform_up(of_scan))?.data;
        builder = planning(builder.filter(filter))?;
    }
    let row = Expr::Column(DfColumn::new(Some(SCAN), providers::ROW_COLUMN));
    planning(builder.project(vec![row]).and_then(|b| b.build()))
}

/// The first condition of the form `column = constant`.
fn equality(filter: &Expr, table: &CachedTableData, types: &[PgType]) -> Option<(usize, Vec<u8>)> {
    let Expr::BinaryExpr(binary) = filter else { return None };
    match binary.op {
        Operator::And => equality(&binary.left, table, types).or_else(|| equality(&binary.right, table, types)),
        Operator::Eq => {
            let (column, value) = match (&*binary.left, &*binary.right) {
                (Expr::Column(column), Expr::Literal(value, _)) | (Expr::Literal(value, _), Expr::Column(column)) => {
                    (column, value)
                }
                _ => return None,
            };
            let live = live_position(table, &column.name)?;
            let ty = types[live];
            // Where equal values may be stored in different ways, rows are looked at one by one.
            if value.is_null() || value.data_type() != ty.arrow() || ty.is_float() {
                return None;
            }
            let mut key = Vec::new();
            keys::push_value(&mut key, ty, &Value::from_scalar(value, ty).ok()?);
            Some((live, key))
        }
        _ => None,
    }
}
