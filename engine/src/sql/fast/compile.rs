//! Expressions made ready once. What is there already (a parameter, a literal, a column) is taken as it is; anything else
//! is a physical expression over a batch of one row that holds just the columns and parameters it needs.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column as DfColumn, DFSchema, DataFusionError, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Case, Expr};
use datafusion::physical_expr::PhysicalExpr;
use kalamdb_catalog::{CachedTableData, PgType, Result, SqlError};

use crate::session::SessionContext;
use crate::sql::bind::live_position;
use crate::sql::plan::{batch_of_one, physical_expr, sql_error};
use crate::sql::udf::resolved_of;
use crate::storage::RowLayout;
use crate::types::Value;

/// An expression ready to be evaluated for one row.
pub(super) enum Compiled {
    /// By index.
    Parameter(usize),
    Literal(ScalarValue),
    /// A column of the row, by its index among the live ones.
    Column(usize),
    Program(Program),
}

pub(super) struct Program {
    expr: Arc<dyn PhysicalExpr>,
    /// Of the batch it runs on: one column for each input.
    schema: SchemaRef,
    inputs: Vec<Input>,
}

#[derive(Clone, Copy, PartialEq)]
enum Input {
    Parameter(usize),
    Column(usize),
}

/// What column names mean in an expression.
#[derive(Clone, Copy)]
pub(super) enum Columns<'a> {
    None,
    /// The table's own, qualified.
    Table(&'a CachedTableData),
    /// A row about to be stored: `new#i`.
    New,
}

/// Where an expression finds its values when it runs.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) layout: &'a RowLayout,
    pub(super) row: Row<'a>,
    pub(super) parameters: &'a [ScalarValue],
}

#[derive(Clone, Copy)]
pub(super) enum Row<'a> {
    None,
    Stored(&'a [u8]),
    /// One value per live column.
    Values(&'a [Value<'a>]),
}

/// Compiles the expressions of one statement. `None` everywhere means: not understood, decline the statement.
#[derive(Clone, Copy)]
pub(super) struct Compiler<'a> {
    pub(super) session: &'a Arc<SessionContext>,
    /// Of the live columns.
    pub(super) types: &'a [PgType],
    pub(super) columns: Columns<'a>,
}

impl Compiler<'_> {
    /// The expression and its carrier.
    pub(super) fn compile(&self, expr: &Expr) -> Option<(Compiled, DataType)> {
        match expr {
            Expr::Alias(alias) => self.compile(&alias.expr),
            Expr::Literal(value, _) => Some((Compiled::Literal(value.clone()), value.data_type())),
            Expr::Placeholder(placeholder) => {
                let (index, carrier) = parameter(placeholder)?;
                Some((Compiled::Parameter(index), carrier))
            }
            Expr::Column(column) => {
                let live = self.column(column)?;
                Some((Compiled::Column(live), self.types[live].arrow()))
            }
            other => self.program(other),
        }
    }

    /// An expression whose carrier has to be that of `ty`.
    pub(super) fn compile_as(&self, expr: &Expr, ty: PgType) -> Option<Compiled> {
        let (compiled, carrier) = self.compile(expr)?;
        let null = matches!(&compiled, Compiled::Literal(value) if value.is_null());
        (null || carrier == ty.arrow()).then_some(compiled)
    }

    /// Conditions.
    pub(super) fn conditions(&self, conditions: &[&Expr]) -> Option<Vec<Compiled>> {
        conditions.iter().map(|e| self.compile_as(e, PgType::BOOL)).collect()
    }

    /// The live column that a name means here. System columns are none.
    pub(super) fn column(&self, column: &DfColumn) -> Option<usize> {
        match (self.columns, &column.relation) {
            (Columns::Table(table), Some(_)) => live_position(table, &column.name),
            (Columns::New, None) => {
                let live = column.name.strip_prefix("new#")?.parse().ok()?;
                (live < self.types.len()).then_some(live)
            }
            _ => None,
        }
    }

    fn program(&self, expr: &Expr) -> Option<(Compiled, DataType)> {
        let mut inputs = Vec::new();
        let mut fields = Vec::new();
        let resolved = expr.clone().transform_up(|e| self.resolve(e, &mut inputs, &mut fields)).ok()?.data;
        let schema = Arc::new(Schema::new(fields));
        let named = DFSchema::try_from(Arc::clone(&schema)).ok()?;
        let expr = physical_expr(&resolved, &named, self.session).ok()?;
        let carrier = expr.data_type(&schema).ok()?;
        Some((Compiled::Program(Program { expr, schema, inputs }), carrier))
    }

    /// Makes columns and parameters the columns of the program's batch. An error declines the expression.
    fn resolve(&self, e: Expr, inputs: &mut Vec<Input>, fields: &mut Vec<Field>) -> DfResult<Transformed<Expr>> {
        let found = match &e {
            Expr::Column(column) => self.column(column).map(|i| (Input::Column(i), self.types[i].arrow())),
            Expr::Placeholder(placeholder) => parameter(placeholder).map(|(i, carrier)| (Input::Parameter(i), carrier)),
            Expr::ScalarFunction(call) => match resolved_of(&call.func) {
                Some(function) if !function.list && !needs_statement(function.name) => return Ok(Transformed::no(e)),
                None if call.func.name() == "coalesce" => return first_not_null(&call.args),
                _ => None,
            },
            other if is_plain(other) => return Ok(Transformed::no(e)),
            _ => None,
        };
        let Some((input, carrier)) = found else { return Err(declined()) };
        let at = inputs.iter().position(|i| *i == input).unwrap_or_else(|| {
            fields.push(Field::new(inputs.len().to_string(), carrier, true));
            inputs.push(input);
            inputs.len() - 1
        });
        Ok(Transformed::yes(Expr::Column(DfColumn::new_unqualified(at.to_string()))))
    }
}

/// Functions that are not called here: what sleeps must not do it on a connection's thread, where a cancel may be waiting, and
/// what locks for the transaction needs more than the session.
fn needs_statement(function: &str) -> bool {
    function == "pg_sleep" || function.starts_with("pg_try_advisory_xact_lock")
}

/// Expressions that say by themselves what they do. The rest needs a plan (subqueries, aggregates, windows).
fn is_plain(e: &Expr) -> bool {
    matches!(
        e,
        Expr::Literal(..)
            | Expr::Alias(_)
            | Expr::BinaryExpr(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotUnknown(_)
            | Expr::Between(_)
            | Expr::InList(_)
            | Expr::Case(_)
            | Expr::Cast(_)
    )
}

/// COALESCE as the CASE that DataFusion's optimiser would make of it; it cannot run as it is. The arguments appear twice,
/// so a volatile one declines.
fn first_not_null(args: &[Expr]) -> DfResult<Transformed<Expr>> {
    let Some((last, before)) = args.split_last() else { return Err(declined()) };
    if args.iter().any(Expr::is_volatile) {
        return Err(declined());
    }
    if before.is_empty() {
        return Ok(Transformed::yes(last.clone()));
    }
    let whens = before.iter().map(|e| (Box::new(e.clone().is_not_null()), Box::new(e.clone()))).collect();
    Ok(Transformed::yes(Expr::Case(Case::new(None, whens, Some(Box::new(last.clone()))))))
}

fn declined() -> DataFusionError {
    DataFusionError::NotImplemented("an expression that needs a plan".to_owned())
}

/// Index and carrier of `$n`. What a subquery takes from around it has other names.
fn parameter(placeholder: &Placeholder) -> Option<(usize, DataType)> {
    let number: usize = placeholder.id.strip_prefix('$')?.parse().ok()?;
    let carrier = placeholder.field.as_ref()?.data_type().clone();
    Some((number.checked_sub(1)?, carrier))
}

impl Compiled {
    /// The value, as one of type `ty`, whose carrier it was compiled for.
    pub(super) fn value<'a>(&'a self, inputs: &Inputs<'a>, ty: PgType) -> Result<Value<'a>> {
        match self {
            Compiled::Parameter(index) => borrowed(inputs.parameter(*index)?, ty),
            Compiled::Literal(value) => borrowed(value, ty),
            Compiled::Column(live) => inputs.column(*live),
            Compiled::Program(program) => {
                let array = program.run(inputs)?;
                Ok(Value::from_array(&array, ty, 0).into_owned())
            }
        }
    }

    /// The value as an array of its carrier.
    pub(super) fn array(&self, inputs: &Inputs<'_>) -> Result<ArrayRef> {
        match self {
            Compiled::Parameter(index) => inputs.parameter(*index)?.to_array().map_err(sql_error),
            Compiled::Literal(value) => value.to_array().map_err(sql_error),
            Compiled::Column(live) => inputs.column_array(*live),
            Compiled::Program(program) => program.run(inputs),
        }
    }
}

impl Program {
    fn run(&self, inputs: &Inputs<'_>) -> Result<ArrayRef> {
        let arrays = self
            .inputs
            .iter()
            .map(|input| match input {
                Input::Parameter(index) => inputs.parameter(*index)?.to_array().map_err(sql_error),
                Input::Column(live) => inputs.column_array(*live),
            })
            .collect::<Result<Vec<_>>>()?;
        let batch = batch_of_one(&self.schema, arrays)?;
        self.expr.evaluate(&batch).and_then(|v| v.into_array(1)).map_err(sql_error)
    }
}

impl<'a> Inputs<'a> {
    fn parameter(&self, index: usize) -> Result<&'a ScalarValue> {
        self.parameters.get(index).ok_or_else(|| SqlError::internal("a statement runs without its parameters"))
    }

    fn column(&self, live: usize) -> Result<Value<'a>> {
        match self.row {
            Row::Stored(row) => self.layout.decode_column(row, live),
            Row::Values(values) => Ok(values[live].clone()),
            Row::None => Err(SqlError::internal("an expression without a row names a column")),
        }
    }

    fn column_array(&self, live: usize) -> Result<ArrayRef> {
        self.column(live)?.to_array(self.layout.types()[live])
    }
}

/// [`Value::from_scalar`] without a copy of what is long, or an array for what is short.
fn borrowed(scalar: &ScalarValue, ty: PgType) -> Result<Value<'_>> {
    Ok(match scalar {
        ScalarValue::Utf8(Some(v)) => Value::Text(Cow::Borrowed(v)),
        ScalarValue::Binary(Some(v)) => Value::Bytes(Cow::Borrowed(v)),
        ScalarValue::Float32(Some(v)) => Value::Float4(*v),
        ScalarValue::Float64(Some(v)) => Value::Float8(*v),
        ScalarValue::Date32(Some(v)) => Value::Date(*v),
        ScalarValue::Time64Microsecond(Some(v)) => Value::Time(*v),
        ScalarValue::TimestampMicrosecond(Some(v), _) => Value::Timestamp(*v),
        ScalarValue::FixedSizeBinary(16, Some(v)) => match v.first_chunk::<16>() {
            Some(v) => Value::Uuid(*v),
            None => return Err(SqlError::internal("a uuid has 16 bytes")),
        },
        other => return Value::from_scalar(other, ty),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `borrowed` is only a shorter way to what `Value::from_scalar` gives.
    #[test]
    fn borrowed_values_are_the_same() {
        let cases = [
            (PgType::BOOL, Value::Bool(true)),
            (PgType::INT4, Value::Int4(-1)),
            (PgType::FLOAT4, Value::Float4(1.5)),
            (PgType::FLOAT8, Value::Float8(-0.0)),
            (PgType::TEXT, Value::Text("ä".into())),
            (PgType::BYTEA, Value::Bytes(Cow::Borrowed(&[0, 1]))),
            (PgType::UUID, Value::Uuid([7; 16])),
            (PgType::DATE, Value::Date(-3)),
            (PgType::TIME, Value::Time(4)),
            (PgType::TIMESTAMP, Value::Timestamp(5)),
            (PgType::TIMESTAMPTZ, Value::Timestamp(i64::MAX)),
            (PgType::DATE, Value::Null),
        ];
        for (ty, value) in cases {
            let scalar = value.to_scalar(ty).unwrap();
            assert_eq!(format!("{:?}", borrowed(&scalar, ty).unwrap()), format!("{value:?}"));
            assert_eq!(format!("{:?}", Value::from_scalar(&scalar, ty).unwrap()), format!("{value:?}"));
        }
    }
}
