//! Aggregates that collect their input in order: string_agg, array_agg and the json ones.
//!
//! Collecting, ORDER BY and the merging of partial results are DataFusion's `array_agg`, one per argument with the same
//! ordering, so that their lists stay aligned; only the last step is made here. DISTINCT keeps first occurrences: the
//! binder gives DISTINCT without ORDER BY an ordering by its arguments, as PostgreSQL sorts to find duplicates.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, new_empty_array};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DataFusionError, Result as DfResult, ScalarValue};
use datafusion::functions_aggregate::array_agg::ArrayAgg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::AggDef;
use super::json::JsonWriter;
use crate::types::json::{canonical, jsonb_sort_key};
use crate::types::{ColumnReader, FormatSettings, Value, write_binary};

const ANY: PgType = PgType::ANY;
const ANYELEMENT: PgType = PgType::ANYELEMENT;
const BYTEA: PgType = PgType::BYTEA;
const JSON: PgType = PgType::JSON;
const JSONB: PgType = PgType::JSONB;
const TEXT: PgType = PgType::TEXT;

const fn agg(
    oid: u32,
    name: &'static str,
    args: &'static [PgType],
    ret: PgType,
    make: fn(&[PgType], PgType) -> AggregateUDF,
) -> AggDef {
    AggDef { oid, name, args, variadic: false, ret, make }
}

pub(super) static AGGREGATES: &[AggDef] = &[
    agg(3538, "string_agg", &[TEXT, TEXT], TEXT, |args, ret| udf("string_agg", Kind::Join, args, ret)),
    agg(3545, "string_agg", &[BYTEA, BYTEA], BYTEA, |args, ret| udf("string_agg", Kind::Join, args, ret)),
    agg(2335, "array_agg", &[PgType::ANYNONARRAY], PgType::ANYARRAY, |args, ret| {
        udf("array_agg", Kind::Array, args, ret)
    }),
    agg(3175, "json_agg", &[ANYELEMENT], JSON, |args, ret| udf("json_agg", Kind::JsonArray, args, ret)),
    agg(3267, "jsonb_agg", &[ANYELEMENT], JSONB, |args, ret| udf("jsonb_agg", Kind::JsonArray, args, ret)),
    agg(3197, "json_object_agg", &[ANY, ANY], JSON, |args, ret| udf("json_object_agg", Kind::JsonObject, args, ret)),
    agg(3270, "jsonb_object_agg", &[ANY, ANY], JSONB, |args, ret| udf("jsonb_object_agg", Kind::JsonObject, args, ret)),
];

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kind {
    Join,
    Array,
    JsonArray,
    JsonObject,
}

fn udf(name: &'static str, kind: Kind, args: &[PgType], ret: PgType) -> AggregateUDF {
    AggregateUDF::new_from_impl(Collect {
        name,
        kind,
        args: args.to_vec(),
        ret,
        pre_ordered: false,
        signature: Signature::any(args.len(), Volatility::Immutable),
    })
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Collect {
    name: &'static str,
    kind: Kind,
    args: Vec<PgType>,
    ret: PgType,
    pre_ordered: bool,
    signature: Signature,
}

impl Collect {
    fn inner(&self) -> DfResult<Arc<dyn AggregateUDFImpl>> {
        let inner: Arc<dyn AggregateUDFImpl> = Arc::new(ArrayAgg::default());
        Ok(inner.clone().with_beneficial_ordering(self.pre_ordered)?.unwrap_or(inner))
    }
}

/// The arguments of the aggregate as those of `array_agg` over argument `n`.
fn nth_args<'a>(args: &AccumulatorArgs<'a>, n: usize) -> AccumulatorArgs<'a> {
    let field = &args.expr_fields[n];
    let list = DataType::new_list(field.data_type().clone(), true);
    AccumulatorArgs {
        return_field: Arc::new(args.return_field.as_ref().clone().with_data_type(list)),
        schema: args.schema,
        ignore_nulls: false,
        order_bys: args.order_bys,
        is_reversed: args.is_reversed,
        name: args.name,
        is_distinct: false,
        exprs: &args.exprs[n..=n],
        expr_fields: &args.expr_fields[n..=n],
    }
}

impl AggregateUDFImpl for Collect {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.ret.arrow())
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DfResult<Vec<FieldRef>> {
        let inner = self.inner()?;
        let mut fields = Vec::new();
        for n in 0..self.args.len() {
            let name = format!("{}[{n}]", args.name);
            fields.extend(inner.state_fields(StateFieldsArgs {
                name: &name,
                input_fields: &args.input_fields[n..=n],
                return_field: args.return_field.clone(),
                ordering_fields: args.ordering_fields,
                is_distinct: false,
            })?);
        }
        Ok(fields)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        let inner = self.inner()?;
        let lists = (0..self.args.len()).map(|n| inner.accumulator(nth_args(&args, n))).collect::<DfResult<_>>()?;
        Ok(Box::new(Collected {
            kind: self.kind,
            args: self.args.clone(),
            ret: self.ret,
            distinct: args.is_distinct,
            states: if args.order_bys.is_empty() { 1 } else { 2 },
            lists,
        }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::SoftRequirement
    }

    fn with_beneficial_ordering(self: Arc<Self>, beneficial: bool) -> DfResult<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(Arc::new(Collect { pre_ordered: beneficial, ..self.as_ref().clone() })))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.kind == Kind::Array && !args.is_distinct && args.order_bys.is_empty()
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn GroupsAccumulator>> {
        self.inner()?.create_groups_accumulator(nth_args(&args, 0))
    }
}

/// One list per argument, and what becomes of them.
struct Collected {
    kind: Kind,
    args: Vec<PgType>,
    ret: PgType,
    distinct: bool,
    /// State columns of each list: the values, and with ORDER BY the sort keys.
    states: usize,
    lists: Vec<Box<dyn Accumulator>>,
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected").field("kind", &self.kind).field("args", &self.args).finish_non_exhaustive()
    }
}

impl Accumulator for Collected {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let (args, orderings) = values.split_at(self.args.len());
        for (list, arg) in self.lists.iter_mut().zip(args) {
            let mut columns = vec![arg.clone()];
            columns.extend(orderings.iter().cloned());
            list.update_batch(&columns)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let mut columns = Vec::with_capacity(self.lists.len());
        for (list, ty) in self.lists.iter_mut().zip(&self.args) {
            columns.push(match list.evaluate()? {
                ScalarValue::List(list) if list.is_valid(0) => list.value(0),
                _ => new_empty_array(&ty.arrow()),
            });
        }
        self.finish(&columns).map_err(|e| DataFusionError::External(Box::new(e)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.lists.iter().map(|list| list.size()).sum::<usize>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let mut out = Vec::new();
        for list in &mut self.lists {
            out.extend(list.state()?);
        }
        Ok(out)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        for (list, states) in self.lists.iter_mut().zip(states.chunks(self.states)) {
            list.merge_batch(states)?;
        }
        Ok(())
    }
}

impl Collected {
    /// The result over the collected columns; NULL if there was no row.
    fn finish(&self, columns: &[ArrayRef]) -> Result<ScalarValue> {
        let readers: Vec<(PgType, ColumnReader<'_>)> =
            columns.iter().zip(&self.args).map(|(column, ty)| (*ty, ColumnReader::new(column, *ty))).collect();
        let rows = self.rows(&readers, columns.first().map_or(0, |c| c.len()));
        let value = match self.kind {
            _ if rows.is_empty() => Value::Null,
            Kind::Join => joined(&readers, &rows, self.ret),
            Kind::Array => {
                let mut out = crate::types::ArrayBuilder::new(self.args[0], rows.len());
                for &row in &rows {
                    out.append(&readers[0].1.value(row))?;
                }
                Value::Array(out.finish())
            }
            Kind::JsonArray => self.json(json_array(&readers, &rows))?,
            Kind::JsonObject => self.json(json_object(&readers, &rows)?)?,
        };
        if value.is_null() {
            return ScalarValue::try_from(&self.ret.arrow()).map_err(|e| SqlError::internal(e.to_string()));
        }
        value.to_scalar(self.ret)
    }

    /// The rows that count.
    fn rows(&self, readers: &[(PgType, ColumnReader<'_>)], len: usize) -> Vec<usize> {
        if !self.distinct {
            return (0..len).collect();
        }
        let mut seen = HashSet::new();
        let mut key = Vec::new();
        (0..len)
            .filter(|row| {
                key.clear();
                readers.iter().for_each(|(ty, reader)| equality_key(*ty, &reader.value(*row), &mut key));
                seen.insert(key.clone())
            })
            .collect()
    }

    fn json(&self, text: String) -> Result<Value<'static>> {
        let text = if self.ret == JSONB { canonical(&text)? } else { text };
        Ok(Value::Text(text.into()))
    }
}

/// Appends bytes that are equal for values PostgreSQL holds equal.
fn equality_key(ty: PgType, value: &Value<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 5]);
    match value {
        Value::Null => {}
        Value::Float4(v) if *v == 0.0 || v.is_nan() => out.push(u8::from(v.is_nan())),
        Value::Float8(v) if *v == 0.0 || v.is_nan() => out.push(u8::from(v.is_nan())),
        Value::Bytes(v) if ty == PgType::NUMERIC => out.extend_from_slice(crate::types::numeric::sort_key(v)),
        Value::Text(v) if ty == PgType::BPCHAR => out.extend_from_slice(v.trim_end_matches(' ').as_bytes()),
        Value::Text(v) if ty == JSONB => out.extend_from_slice(&jsonb_sort_key(v)),
        Value::Interval(v) => {
            let micros = (i128::from(v.months) * 30 + i128::from(v.days)) * 86_400_000_000 + i128::from(v.micros);
            out.extend_from_slice(&micros.to_be_bytes());
        }
        other => write_binary(ty, other, out),
    }
    let len = (out.len() - start - 5) as u32;
    out[start] = u8::from(!value.is_null());
    out[start + 1..start + 5].copy_from_slice(&len.to_be_bytes());
}

/// string_agg: each value but the first has its row's delimiter in front; NULL values are left out.
fn joined(readers: &[(PgType, ColumnReader<'_>)], rows: &[usize], ret: PgType) -> Value<'static> {
    let bytes = |value: Value<'_>| match value {
        Value::Text(text) => text.into_owned().into_bytes(),
        Value::Bytes(bytes) => bytes.into_owned(),
        _ => Vec::new(),
    };
    let mut out: Option<Vec<u8>> = None;
    for &row in rows {
        let value = readers[0].1.value(row);
        if value.is_null() {
            continue;
        }
        match &mut out {
            None => out = Some(bytes(value)),
            Some(out) => {
                out.extend(bytes(readers[1].1.value(row)));
                out.extend(bytes(value));
            }
        }
    }
    match out {
        None => Value::Null,
        Some(out) if ret == BYTEA => Value::Bytes(out.into()),
        Some(out) => Value::Text(String::from_utf8_lossy(&out).into_owned().into()),
    }
}

fn json_array(readers: &[(PgType, ColumnReader<'_>)], rows: &[usize]) -> String {
    let writer = JsonWriter::new(&FormatSettings::default());
    let (ty, reader) = &readers[0];
    let mut out = String::from("[");
    for (i, &row) in rows.iter().enumerate() {
        let value = reader.value(row);
        if i > 0 {
            let structured = matches!(value, Value::Array(_)) || (*ty == PgType::RECORD && !value.is_null());
            out.push_str(if structured { ", \n " } else { ", " });
        }
        writer.write(*ty, &value, &mut out);
    }
    out.push(']');
    out
}

fn json_object(readers: &[(PgType, ColumnReader<'_>)], rows: &[usize]) -> Result<String> {
    let writer = JsonWriter::new(&FormatSettings::default());
    let invalid = |message: &str| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let (key_type, keys) = &readers[0];
    let (ty, values) = &readers[1];
    let mut out = String::from("{ ");
    for (i, &row) in rows.iter().enumerate() {
        let key = keys.value(row);
        if key.is_null() {
            return Err(invalid("field name must not be null"));
        }
        if matches!(key, Value::Array(_)) || matches!(*key_type, JSON | JSONB) {
            return Err(invalid("key value must be scalar, not array, composite, or json"));
        }
        out.push_str(if i > 0 { ", " } else { "" });
        writer.write_key(*key_type, &key, &mut out);
        out.push_str(" : ");
        writer.write(*ty, &values.value(row), &mut out);
    }
    out.push_str(" }");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, Int32Array, StringArray};

    use super::*;

    fn check(kind: Kind, args: &[PgType], ret: PgType, distinct: bool, columns: &[ArrayRef]) -> String {
        let collected = Collected { kind, args: args.to_vec(), ret, distinct, states: 1, lists: Vec::new() };
        collected.finish(columns).map_or_else(|e| e.message().to_owned(), |v| v.to_string())
    }

    #[test]
    fn results_are_postgresqls() {
        let texts = |v: Vec<Option<&str>>| Arc::new(StringArray::from(v)) as ArrayRef;
        let numbers = |v: Vec<Option<i32>>| Arc::new(Int32Array::from(v)) as ArrayRef;
        let words = texts(vec![Some("a"), None, Some("b")]);
        let delimiters = texts(vec![Some("1"), Some("2"), Some("3")]);
        assert_eq!(check(Kind::Join, &[TEXT, TEXT], TEXT, false, &[words, delimiters]), "a3b");
        let none = texts(vec![]);
        assert_eq!(check(Kind::Join, &[TEXT, TEXT], TEXT, false, &[none.clone(), none]), "NULL");
        let ints = numbers(vec![Some(2), Some(1), None, Some(2)]);
        assert_eq!(check(Kind::JsonArray, &[PgType::INT4], JSON, true, std::slice::from_ref(&ints)), "[2, 1, null]");
        assert_eq!(check(Kind::JsonArray, &[PgType::INT4], JSONB, false, &[ints]), "[2, 1, null, 2]");
        let (keys, values) = (texts(vec![Some("k"), Some("l")]), numbers(vec![Some(1), None]));
        let object = |ret| check(Kind::JsonObject, &[TEXT, PgType::INT4], ret, false, &[keys.clone(), values.clone()]);
        assert_eq!(object(JSON), r#"{ "k" : 1, "l" : null }"#);
        assert_eq!(object(JSONB), r#"{"k": 1, "l": null}"#);
        let no_key = check(Kind::JsonObject, &[TEXT, TEXT], JSON, false, &[texts(vec![None]), texts(vec![None])]);
        assert_eq!(no_key, "field name must not be null");
    }

    #[test]
    fn order_by_holds_over_partial_results() {
        use datafusion::arrow::datatypes::{Field, Schema};
        use datafusion::arrow::record_batch::RecordBatch;
        use datafusion::datasource::MemTable;
        use datafusion::prelude::{SessionConfig, SessionContext};

        let schema = Arc::new(Schema::new(vec![
            Field::new("g", DataType::Int32, true),
            Field::new("x", DataType::Utf8, true),
            Field::new("d", DataType::Utf8, true),
        ]));
        let batch = |g: Vec<i32>, x: Vec<&str>| {
            let delimiters = Arc::new(StringArray::from(vec!["-"; g.len()])) as ArrayRef;
            let columns = vec![Arc::new(Int32Array::from(g)) as ArrayRef, Arc::new(StringArray::from(x)), delimiters];
            RecordBatch::try_new(schema.clone(), columns).unwrap()
        };
        let partitions =
            vec![vec![batch(vec![1, 2, 1], vec!["c", "x", "a"])], vec![batch(vec![1, 2, 1], vec!["b", "y", "c"])]];
        let table = MemTable::try_new(schema.clone(), partitions).unwrap();
        let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        session.register_table("t", Arc::new(table)).unwrap();
        session.register_udaf((AGGREGATES[0].make)(&[TEXT, TEXT], TEXT));
        session.register_udaf((AGGREGATES[3].make)(&[TEXT], JSON));
        let query = "select string_agg(x, d order by x desc), string_agg(distinct x, d order by x), \
            json_agg(x order by x) from t group by g order by g";
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let batches = runtime.block_on(async { session.sql(query).await.unwrap().collect().await.unwrap() });
        let shown: Vec<String> = batches
            .iter()
            .flat_map(|b| (0..b.num_rows()).map(move |row| (b, row)))
            .map(|(b, row)| {
                b.columns().iter().map(|c| c.as_string::<i32>().value(row).to_owned()).collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(shown, [r#"c-c-b-a a-b-c ["a", "b", "c", "c"]"#, r#"y-x x-y ["x", "y"]"#]);
    }
}
