//! The rows of the builtin relations that are made when asked: pg_catalog, information_schema and `system.stats`.
//!
//! What a statement sees here is the catalog it runs on ([`SessionContext::catalog`]), its own DDL included. A caller
//! that compares a column with a constant may say so in a [`Hint`]; rows that cannot match are then left out, which
//! makes psql's \d on one table independent of the number of tables. The caller still applies its filter.

mod constants;
mod information;
mod locks;
mod relations;
pub(crate) mod roles;
mod sequences;
mod server;
mod types;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int16Array, RecordBatch, StringArray, UInt32Array};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use kalamdb_catalog::{CachedTableData, ColumnDefinition, Oid, PgType, Result, SqlError, TableKind, VirtualId};

use crate::session::SessionContext;
use crate::sql::udf::{df_error, session_of};
use crate::types::{ArrayBuilder, Value};

/// Equalities the caller filters by: `column = constant`. Columns that a table does not look at are ignored.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Hint<'a> {
    /// A column of an oid type.
    pub oid: Option<(&'a str, Oid)>,
    /// A column of type name.
    pub name: Option<(&'a str, &'a str)>,
}

impl Hint<'_> {
    /// False if the caller wants other rows than those with this OID in this column.
    fn admits_oid(&self, column: &str, oid: Oid) -> bool {
        self.oid.is_none_or(|(c, wanted)| c != column || wanted == oid)
    }

    fn admits_name(&self, column: &str, name: &str) -> bool {
        self.name.is_none_or(|(c, wanted)| c != column || wanted == name)
    }
}

/// A virtual table as DataFusion reads it.
#[derive(Debug)]
pub(crate) struct VirtualTable {
    table: Arc<CachedTableData>,
    schema: SchemaRef,
}

impl VirtualTable {
    pub(crate) fn new(table: Arc<CachedTableData>) -> Self {
        let mut fields: Vec<Arc<Field>> = table.arrow_schema().fields().iter().cloned().collect();
        for column in super::system_columns(&table) {
            fields.push(Arc::new(Field::new(column.name, column.ty.arrow(), true)));
        }
        VirtualTable { table, schema: Arc::new(Schema::new(fields)) }
    }
}

#[async_trait]
impl TableProvider for VirtualTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
    fn table_type(&self) -> TableType {
        TableType::Base
    }
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let session = session_of(state.config_options())?;
        let batch = rows(&self.table, &hint_of(filters), session).map_err(df_error)?;
        let mut columns = batch.columns().to_vec();
        let oid = Arc::new(UInt32Array::from(vec![self.table.definition.oid; batch.num_rows()]));
        columns.push(oid);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let plan = MemorySourceConfig::try_new_exec(&[vec![batch]], Arc::clone(&self.schema), projection.cloned())?;
        Ok(plan)
    }
}

/// The equalities among pushed-down filters that [`rows`] can use.
fn hint_of(filters: &[Expr]) -> Hint<'_> {
    let mut hint = Hint::default();
    for filter in filters {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else { continue };
        let (column, value) = match (left.as_ref(), right.as_ref()) {
            (Expr::Column(c), Expr::Literal(v, _)) | (Expr::Literal(v, _), Expr::Column(c)) => (c, v),
            _ => continue,
        };
        match value {
            ScalarValue::UInt32(Some(oid)) => hint.oid = Some((&column.name, *oid)),
            ScalarValue::Utf8(Some(name)) => hint.name = Some((&column.name, name)),
            _ => {}
        }
    }
    hint
}

/// All rows of a virtual table, in the carriers of its columns.
pub(crate) fn rows(table: &CachedTableData, hint: &Hint<'_>, session: &SessionContext) -> Result<RecordBatch> {
    let mut rows = Rows::new(&table.definition.columns);
    let id = match &table.definition.kind {
        TableKind::Virtual(id) => *id,
        TableKind::Sequence(sequence) => {
            sequences::state(&mut rows, &table.definition, sequence, session)?;
            return rows.finish(table);
        }
        _ => return Err(SqlError::internal(format!("{} is not a virtual table", table.definition.name))),
    };
    match id {
        VirtualId::Empty => {}
        VirtualId::PgClass => relations::pg_class(&mut rows, hint, session)?,
        VirtualId::PgAttribute => relations::pg_attribute(&mut rows, hint, session)?,
        VirtualId::PgAttrdef => relations::pg_attrdef(&mut rows, hint, session)?,
        VirtualId::PgIndex => relations::pg_index(&mut rows, hint, session)?,
        VirtualId::PgConstraint => relations::pg_constraint(&mut rows, hint, session)?,
        VirtualId::PgRewrite => relations::pg_rewrite(&mut rows, hint, session)?,
        VirtualId::PgDepend => relations::pg_depend(&mut rows, session)?,
        VirtualId::PgCursors => server::pg_cursors(&mut rows, session)?,
        VirtualId::PgSequence => sequences::pg_sequence(&mut rows, hint, session)?,
        VirtualId::PgSequences => sequences::pg_sequences(&mut rows, session)?,
        VirtualId::InfoSequences => sequences::information(&mut rows, session)?,
        VirtualId::InfoReferentialConstraints => information::referential_constraints(&mut rows, session)?,
        VirtualId::InfoCheckConstraints => information::check_constraints(&mut rows, session)?,
        VirtualId::InfoConstraintColumnUsage => information::constraint_column_usage(&mut rows, session)?,
        VirtualId::PgStatUserTables => relations::pg_stat_user_tables(&mut rows, session)?,
        VirtualId::PgType => types::pg_type(&mut rows, hint, session)?,
        VirtualId::PgProc => types::pg_proc(&mut rows, hint)?,
        VirtualId::PgAggregate => types::pg_aggregate(&mut rows)?,
        VirtualId::PgOperator => types::pg_operator(&mut rows)?,
        VirtualId::PgCast => types::pg_cast(&mut rows)?,
        VirtualId::PgOpclass => types::pg_opclass(&mut rows)?,
        VirtualId::PgOpfamily => types::pg_opfamily(&mut rows)?,
        VirtualId::PgNamespace => server::pg_namespace(&mut rows, session)?,
        VirtualId::PgDatabase => server::pg_database(&mut rows, session)?,
        VirtualId::PgRoles => server::pg_roles(&mut rows, session)?,
        VirtualId::PgAuthid => server::pg_authid(&mut rows, session)?,
        VirtualId::PgUser => server::pg_user(&mut rows, session)?,
        VirtualId::PgSettings => server::pg_settings(&mut rows, session)?,
        VirtualId::PgAm => server::pg_am(&mut rows)?,
        VirtualId::PgCollation => server::pg_collation(&mut rows)?,
        VirtualId::PgTablespace => server::pg_tablespace(&mut rows)?,
        VirtualId::PgLanguage => server::pg_language(&mut rows)?,
        VirtualId::PgLocks => locks::pg_locks(&mut rows, session)?,
        VirtualId::PgStatActivity => server::pg_stat_activity(&mut rows, session)?,
        VirtualId::PgTimezoneNames => server::pg_timezone_names(&mut rows, session)?,
        VirtualId::SystemLiveQueries => server::live_queries(&mut rows, session)?,
        VirtualId::SystemStats => server::system_stats(&mut rows, session)?,
        VirtualId::InfoTables => information::tables(&mut rows, session)?,
        VirtualId::InfoColumns => information::columns(&mut rows, session)?,
        VirtualId::InfoSchemata => information::schemata(&mut rows, session)?,
        VirtualId::InfoViews => information::views(&mut rows, session)?,
        VirtualId::InfoKeyColumnUsage => information::key_column_usage(&mut rows, session)?,
        VirtualId::InfoTableConstraints => information::table_constraints(&mut rows, session)?,
    }
    rows.finish(table)
}

/// Rows under construction. A row names the columns it fills, in table order; the others are NULL, or the zero of
/// their type where NULL is not allowed.
struct Rows<'t> {
    columns: &'t [ColumnDefinition],
    builders: Vec<ArrayBuilder>,
    count: usize,
}

impl<'t> Rows<'t> {
    fn new(columns: &'t [ColumnDefinition]) -> Self {
        Rows { columns, builders: columns.iter().map(|c| ArrayBuilder::new(c.ty, 0)).collect(), count: 0 }
    }

    fn push(&mut self, row: &[(&str, Value<'_>)]) -> Result<()> {
        let mut given = row.iter().peekable();
        for (column, builder) in self.columns.iter().zip(&mut self.builders) {
            match given.next_if(|(name, _)| *name == column.name) {
                Some((_, value)) => builder.append(value)?,
                None if column.not_null => builder.append(&zero(column.ty))?,
                None => builder.append(&Value::Null)?,
            }
        }
        self.count += 1;
        match given.next() {
            Some((name, _)) => Err(SqlError::internal(format!("column {name} of a virtual table is out of place"))),
            None => Ok(()),
        }
    }

    fn finish(self, table: &CachedTableData) -> Result<RecordBatch> {
        let arrays = self.builders.into_iter().map(ArrayBuilder::finish).collect();
        RecordBatch::try_new(table.arrow_schema().clone(), arrays).map_err(|e| SqlError::internal(e.to_string()))
    }
}

fn zero(ty: PgType) -> Value<'static> {
    match ty {
        PgType::BOOL => Value::Bool(false),
        PgType::INT2 => Value::Int2(0),
        PgType::INT4 => Value::Int4(0),
        PgType::INT8 => Value::Int8(0),
        PgType::FLOAT4 => Value::Float4(0.0),
        PgType::FLOAT8 => Value::Float8(0.0),
        PgType::INT2VECTOR => int2s([]),
        PgType::OIDVECTOR => oids([]),
        t if t.is_oid_like() => Value::Oid(0),
        _ => text(""),
    }
}

fn text(value: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(value))
}

fn owned(value: String) -> Value<'static> {
    Value::Text(Cow::Owned(value))
}

/// A "char".
fn letter(value: char) -> Value<'static> {
    owned(value.to_string())
}

fn int2s(values: impl IntoIterator<Item = i16>) -> Value<'static> {
    Value::Array(Arc::new(Int16Array::from_iter_values(values)) as ArrayRef)
}

fn oids(values: impl IntoIterator<Item = u32>) -> Value<'static> {
    Value::Array(Arc::new(UInt32Array::from_iter_values(values)) as ArrayRef)
}

fn texts<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> Value<'static> {
    Value::Array(Arc::new(StringArray::from_iter_values(values)) as ArrayRef)
}

#[cfg(test)]
pub(crate) mod tests;
