//! COPY FROM STDIN and COPY TO STDOUT: rows in and out. Their bytes are `sql::copy`'s.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::sql::sqlparser::ast;
use kalamdb_catalog::{CachedTableData, ColumnDefinition, PgType, Result, SqlError, SqlState};

use super::dml::table_columns;
use super::target::Target;
use crate::session::{Session, SessionContext};
use crate::sql::bind::{Binder, Parameters, fold, live_position};
use crate::sql::copy::{Collected, CopyInState, CopyParser, CopySink, LateRow, parse_copy_options};
use crate::sql::index_entries::RowValues;
use crate::sql::plan;
use crate::sql::prepared::PreparedStatement;
use crate::sql::statement::{CopyStatement, CopyTarget};
use crate::sql::{Column, CopyIn, Response};
use crate::txn::{LockMode, StatementWrites};
use crate::types::Value;

pub(crate) async fn run(session: &mut Session, prepared: &PreparedStatement, copy: &CopyStatement) -> Result<Response> {
    session.transaction()?;
    if copy.from { start_in(session, prepared, copy).await } else { out(session, prepared, copy).await }
}

async fn out(session: &mut Session, prepared: &PreparedStatement, copy: &CopyStatement) -> Result<Response> {
    if copy.filter.is_some() {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "WHERE clause not allowed with COPY TO"));
    }
    let context = Arc::clone(session.context());
    let bound = match &copy.target {
        CopyTarget::Subscribe(subscribe) => {
            let columns = super::subscribe::prepare(session, subscribe)?.columns();
            let format = parse_copy_options(&copy.options, &columns, false)?;
            let rows = super::subscribe::begin(session, subscribe).await?;
            return Ok(Response::CopyOut { columns, rows: rows.stream(), format });
        }
        CopyTarget::Query(query) if query.with.is_none() && is_dml(&query.body) => {
            return out_of_dml(session, prepared, copy, &query.body).await;
        }
        CopyTarget::Query(query) => {
            let mut binder = Binder::new(&context, context.catalog(), prepared.source(), Parameters::default());
            binder.query(query)?
        }
        CopyTarget::Table(name) => {
            let table = super::ddl::relation(session, prepared, name).map_err(SqlError::without_position)?;
            if table.definition.is_view() {
                return Err(SqlError::new(
                    SqlState::WRONG_OBJECT_TYPE,
                    format!("cannot copy from view \"{}\"", table.definition.name),
                )
                .hint("Try the COPY (SELECT ...) TO variant."));
            }
            let columns: Vec<String> = chosen(&table, copy)?
                .iter()
                .map(|c| kalamdb_catalog::name::quote_ident(&c.name).into_owned())
                .collect();
            let catalog = context.catalog();
            let schema = catalog.schema(table.definition.schema).map_or_else(String::new, |s| s.name.clone());
            let from = kalamdb_catalog::name::qualified(&schema, &table.definition.name);
            let query = crate::sql::parse::query(&format!("SELECT {} FROM {from}", columns.join(", ")))?;
            let mut binder = Binder::new(&context, catalog, prepared.source(), Parameters::default());
            binder.query(&query)?
        }
    };
    let format = parse_copy_options(&copy.options, &bound.columns, false)?;
    let statement = super::select::statement_context(session)?;
    let rows = session.app().engine.run(&bound.plan, &[], statement).await?;
    Ok(Response::CopyOut { columns: bound.columns, rows, format })
}

fn is_dml(body: &ast::SetExpr) -> bool {
    matches!(body, ast::SetExpr::Insert(_) | ast::SetExpr::Update(_) | ast::SetExpr::Delete(_))
}

/// COPY (INSERT/UPDATE/DELETE ... RETURNING ...) TO STDOUT
async fn out_of_dml(
    session: &mut Session,
    prepared: &PreparedStatement,
    copy: &CopyStatement,
    body: &ast::SetExpr,
) -> Result<Response> {
    super::check_writable(session, "COPY TO")?;
    let context = Arc::clone(session.context());
    let mut binder = Binder::new(&context, context.catalog(), prepared.source(), Parameters::default());
    let dml = match body {
        ast::SetExpr::Insert(ast::Statement::Insert(insert)) => binder.insert(insert)?,
        ast::SetExpr::Update(ast::Statement::Update(update)) => binder.update(update)?,
        ast::SetExpr::Delete(ast::Statement::Delete(delete)) => binder.delete(delete)?,
        _ => return Err(SqlError::unsupported("COPY of this statement")),
    };
    let Some(columns) = dml.returning.clone() else {
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "COPY query must have a RETURNING clause"));
    };
    let format = parse_copy_options(&copy.options, &columns, false)?;
    let locks = std::mem::take(&mut binder.locks);
    session.lock_tables(&locks).await?;
    match super::dml::run(session, &dml, &[]).await? {
        Response::Rows { columns, rows, .. } => Ok(Response::CopyOut { columns, rows, format }),
        _ => Err(SqlError::internal("RETURNING has given no rows")),
    }
}

/// The columns that COPY names, or all.
fn chosen(table: &CachedTableData, copy: &CopyStatement) -> Result<Vec<Column>> {
    let all = table_columns(table);
    if copy.columns.is_empty() {
        return Ok(all);
    }
    let mut columns: Vec<Column> = Vec::with_capacity(copy.columns.len());
    for ident in &copy.columns {
        let name = fold(ident);
        let Some(column) = all.iter().find(|c| c.name == name) else {
            return Err(SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{name}\" of relation \"{}\" does not exist", table.definition.name),
            ));
        };
        if columns.iter().any(|c| c.name == name) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        columns.push(column.clone());
    }
    Ok(columns)
}

async fn start_in(session: &mut Session, prepared: &PreparedStatement, copy: &CopyStatement) -> Result<Response> {
    let CopyTarget::Table(name) = &copy.target else {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "COPY query must be written TO"));
    };
    super::check_writable(session, "COPY FROM")?;
    let context = Arc::clone(session.context());
    let mut binder = Binder::new(&context, context.catalog(), prepared.source(), Parameters::default());
    let mut table = binder.target_table(name, "copy to")?;
    while session.lock_tables(&[(table.definition.oid, LockMode::RowExclusive)]).await? {
        binder = Binder::new(&context, context.catalog(), prepared.source(), Parameters::default());
        table = binder.target_table(name, "copy to")?;
    }
    let columns = chosen(&table, copy)?;
    let format = parse_copy_options(&copy.options, &columns, true)?;
    let target = Arc::new(Target::new(session, &table)?);
    let definitions: Vec<ColumnDefinition> = table.definition.live_columns().map(|(_, c)| c.clone()).collect();
    let mut sources = Vec::with_capacity(definitions.len());
    for (live, definition) in definitions.iter().enumerate() {
        let given = columns.iter().position(|c| live_position(&table, &c.name) == Some(live));
        sources.push(match given {
            Some(index) => Source::Given(index),
            None => default_source(&context, &mut binder, definition)?,
        });
    }
    let filter = match &copy.filter {
        Some(condition) => Some(Filter::new(&context, &mut binder, &table, condition)?),
        None => None,
    };
    let txn = session.open_transaction()?;
    let writes = txn.statement();
    let ids = if target.key_columns().is_empty() { Some(RowIds::default()) } else { None };
    let reserve = session.app().txns.clone();
    let sink = Sink { target, sources, filter, writes: Some(writes), late: Vec::new(), ids, reserve };
    let parser = CopyParser::new(format.clone(), table.definition.name.clone(), columns.clone(), context.format());
    let state = CopyInState { parser, sink: Box::new(sink) };
    Ok(Response::CopyIn(Box::new(CopyIn { columns, format, state })))
}

/// Where a column's value comes from.
enum Source {
    Given(usize),
    Constant(Value<'static>),
    /// A default to evaluate for each row.
    Expression(Arc<dyn datafusion::physical_expr::PhysicalExpr>, PgType),
}

fn default_source(context: &Arc<SessionContext>, binder: &mut Binder<'_>, column: &ColumnDefinition) -> Result<Source> {
    let typed = binder.default_of(column)?;
    if let datafusion::logical_expr::Expr::Literal(value, _) = &typed.expr {
        return Ok(Source::Constant(Value::from_scalar(value, column.ty)?));
    }
    let physical = plan::physical_expr(&typed.expr, &DFSchema::empty(), context)?;
    Ok(Source::Expression(physical, column.ty))
}

#[derive(Default)]
struct RowIds {
    next: u64,
    end: u64,
}

/// Row ids taken at a time.
const ROW_IDS_BLOCK: u64 = 1024;

struct Sink {
    target: Arc<Target>,
    sources: Vec<Source>,
    filter: Option<Filter>,
    writes: Option<StatementWrites>,
    /// Rows whose keys other transactions are writing: their turn comes when the data has ended.
    late: Vec<LateRow>,
    ids: Option<RowIds>,
    reserve: Arc<crate::txn::TxnManager>,
}

impl CopySink for Sink {
    fn row(&mut self, values: &[Value<'_>]) -> Result<bool> {
        let mut row: Vec<Value<'_>> = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            row.push(match source {
                Source::Given(index) => values[*index].clone(),
                Source::Constant(value) => value.clone(),
                Source::Expression(expr, ty) => evaluate(expr, *ty)?,
            });
        }
        if let Some(filter) = &self.filter
            && !filter.keeps(&row)?
        {
            return Ok(false);
        }
        let row = self.target.with_generated(row)?;
        self.target.check_values(&row)?;
        let id = match &mut self.ids {
            None => 0,
            Some(ids) => {
                if ids.next == ids.end {
                    ids.next = self.reserve.row_ids(ROW_IDS_BLOCK)?;
                    ids.end = ids.next + ROW_IDS_BLOCK;
                }
                ids.next += 1;
                ids.next - 1
            }
        };
        let row = RowValues::Values(&row);
        let key = self.target.key_of(&row, id);
        let Some(writes) = &mut self.writes else {
            return Err(SqlError::internal("a COPY goes on after its end"));
        };
        if !self.target.try_insert(writes, &key, &row)? {
            let encoded = row.encode(self.target.layout());
            writes.count(key.len() + encoded.len())?;
            self.late.push(LateRow { key, row: encoded });
        }
        Ok(true)
    }

    fn take(&mut self) -> Option<Collected> {
        let writes = self.writes.take()?;
        Some(Collected { target: self.target.clone(), writes, late: std::mem::take(&mut self.late) })
    }
}

/// WHERE of COPY FROM: rows it is not true for are left out.
struct Filter {
    condition: Arc<dyn datafusion::physical_expr::PhysicalExpr>,
    schema: SchemaRef,
    types: Vec<PgType>,
}

impl Filter {
    fn new(
        context: &Arc<SessionContext>,
        binder: &mut Binder<'_>,
        table: &Arc<CachedTableData>,
        condition: &ast::Expr,
    ) -> Result<Filter> {
        let (condition, schema) = binder.copy_condition(table, condition)?;
        let condition = plan::physical_expr(&condition, &schema, context)?;
        let types = table.definition.live_columns().map(|(_, c)| c.ty).collect();
        Ok(Filter { condition, schema: Arc::new(schema.as_arrow().clone()), types })
    }

    fn keeps(&self, row: &[Value<'_>]) -> Result<bool> {
        let columns = row.iter().zip(&self.types).map(|(v, ty)| v.to_array(*ty)).collect::<Result<Vec<_>>>()?;
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|e| SqlError::internal(e.to_string()))?;
        let answer = self.condition.evaluate(&batch).and_then(|v| v.into_array(1)).map_err(plan::sql_error)?;
        Ok(matches!(Value::from_array(&answer, PgType::BOOL, 0), Value::Bool(true)))
    }
}

fn evaluate(expr: &Arc<dyn datafusion::physical_expr::PhysicalExpr>, ty: PgType) -> Result<Value<'static>> {
    let batch = plan::batch_of_one(&Arc::new(Schema::empty()), Vec::new())?;
    let value = expr.evaluate(&batch).and_then(|v| v.into_array(1)).map_err(plan::sql_error)?;
    Ok(Value::from_array(&value, ty, 0).into_owned())
}

/// CopyDone: the rows become part of the transaction.
pub(crate) async fn finish(session: &mut Session, mut copy: Box<CopyIn>) -> Result<u64> {
    let rows = copy.state.finish()?;
    let Some(Collected { target, mut writes, late }) = copy.state.sink.take() else {
        return Err(SqlError::internal("a COPY ends twice"));
    };
    for LateRow { key, row } in late {
        let values = target.layout().decode(&row)?;
        target.insert_late(&mut writes, key, &RowValues::Values(&values)).await?;
    }
    super::dml::finish(session, std::slice::from_ref(&*target), writes).await?;
    Ok(rows)
}
