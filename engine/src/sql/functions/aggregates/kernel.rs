//! From a [`Kernel`], what an aggregate does with one row, to all that DataFusion asks of an aggregate.
//!
//! One kernel serves plain aggregation, GROUP BY (one state per group in a flat vector), window frames (by retraction
//! where that is exact, else by going over the frame again, as PostgreSQL does) and DISTINCT (by PostgreSQL's equality,
//! for which 1.5 and 1.50, or 0 and -0, are one value).

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type, IntervalMonthDayNanoType};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result, ScalarValue, not_impl_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use kalamdb_catalog::{PgType, SqlError};

use crate::types::Interval;
use crate::types::numeric::sort_key;

/// What an aggregate does with rows. Rows with a NULL argument are skipped before it sees them.
pub(super) trait Kernel: Clone + Send + Sync + 'static {
    type State: Default + Send + Sync + 'static;
    /// The argument arrays, downcast.
    type Input<'a>;
    /// Whether [`Self::retract`] undoes [`Self::update`] exactly.
    const RETRACTS: bool = false;

    fn bind<'a>(&self, args: &'a [ArrayRef]) -> Self::Input<'a>;
    fn update(&self, state: &mut Self::State, input: &Self::Input<'_>, row: usize) -> Result<(), SqlError>;
    /// Rows 0 to `rows`, none of them NULL. The sums override this with loops over the buffer.
    fn update_all(&self, state: &mut Self::State, input: &Self::Input<'_>, rows: usize) -> Result<(), SqlError> {
        (0..rows).try_for_each(|row| self.update(state, input, row))
    }
    fn retract(&self, _state: &mut Self::State, _input: &Self::Input<'_>, _row: usize) -> Result<(), SqlError> {
        Err(SqlError::internal("aggregate cannot retract"))
    }
    /// Types of the arrays of partial states.
    fn partial_types(&self) -> Vec<DataType>;
    /// States as arrays, one row per state.
    fn partials(&self, states: &[Self::State]) -> Vec<ArrayRef>;
    fn merge(&self, state: &mut Self::State, partials: &[ArrayRef], row: usize) -> Result<(), SqlError>;
    fn finish(&self, states: &[Self::State]) -> Result<ArrayRef, SqlError>;
}

/// The aggregate `name` over a kernel.
pub(super) fn aggregate<K: Kernel>(name: &'static str, args: &[PgType], ret: PgType, kernel: K) -> AggregateUDF {
    let signature = if args.is_empty() {
        Signature::nullary(Volatility::Immutable)
    } else {
        Signature::any(args.len(), Volatility::Immutable)
    };
    AggregateUDF::from(PgAggregate { name, args: args.to_vec(), ret, kernel, signature })
}

struct PgAggregate<K> {
    name: &'static str,
    args: Vec<PgType>,
    ret: PgType,
    kernel: K,
    signature: Signature,
}

impl<K> fmt::Debug for PgAggregate<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", self.name, self.args)
    }
}

/// Name and argument types say it all: they choose the kernel.
impl<K> PartialEq for PgAggregate<K> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.args == other.args
    }
}

impl<K> Eq for PgAggregate<K> {}

impl<K> Hash for PgAggregate<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.args.hash(state);
    }
}

fn external(e: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(e))
}

impl<K: Kernel> AggregateUDFImpl for PgAggregate<K> {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.ret.arrow())
    }

    /// Over no rows, such as an empty window frame: a count is 0.
    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        match self.name {
            "count" | "regr_count" => Ok(ScalarValue::Int64(Some(0))),
            _ => ScalarValue::try_from(data_type),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let kernel = self.kernel.clone();
        if !args.is_distinct {
            return Ok(Box::new(Plain { kernel, state: K::State::default() }));
        }
        match (self.args.as_slice(), args.expr_fields) {
            ([pg_type], [field]) => {
                let (keys, item) = (Keys::new(*pg_type, field)?, field.data_type().clone());
                Ok(Box::new(Distinct { kernel, keys, item, values: BTreeMap::new() }))
            }
            _ => not_impl_err!("DISTINCT in {} of several arguments", self.name),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if args.is_distinct {
            let item = args.input_fields.first().map_or(DataType::Null, |f| f.data_type().clone());
            let list = DataType::List(Arc::new(Field::new_list_field(item, true)));
            return Ok(vec![Arc::new(Field::new(format_state_name(args.name, "distinct"), list, true))]);
        }
        let field = |(i, t)| Arc::new(Field::new(format_state_name(args.name, &format!("state{i}")), t, true));
        Ok(self.kernel.partial_types().into_iter().enumerate().map(field).collect())
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups { kernel: self.kernel.clone(), states: Vec::new() }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if K::RETRACTS && !args.is_distinct {
            return self.accumulator(args);
        }
        let state = Plain { kernel: self.kernel.clone(), state: K::State::default() };
        Ok(Box::new(Replay { inner: state, batches: VecDeque::new() }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

fn any_nulls(args: &[ArrayRef]) -> bool {
    args.iter().any(|a| a.null_count() > 0)
}

fn is_row(args: &[ArrayRef], row: usize) -> bool {
    args.iter().all(|a| a.is_valid(row))
}

/// One state.
struct Plain<K: Kernel> {
    kernel: K,
    state: K::State,
}

impl<K: Kernel> fmt::Debug for Plain<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain")
    }
}

impl<K: Kernel> Plain<K> {
    fn add(&mut self, args: &[ArrayRef]) -> Result<()> {
        let Some(first) = args.first() else { return Ok(()) };
        let input = self.kernel.bind(args);
        if any_nulls(args) {
            for row in (0..first.len()).filter(|row| is_row(args, *row)) {
                self.kernel.update(&mut self.state, &input, row).map_err(external)?;
            }
        } else {
            self.kernel.update_all(&mut self.state, &input, first.len()).map_err(external)?;
        }
        Ok(())
    }

    fn result(&self) -> Result<ScalarValue> {
        let array = self.kernel.finish(std::slice::from_ref(&self.state)).map_err(external)?;
        ScalarValue::try_from_array(&array, 0)
    }
}

impl<K: Kernel> Accumulator for Plain<K> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.result()
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let partials = self.kernel.partials(std::slice::from_ref(&self.state));
        partials.iter().map(|p| ScalarValue::try_from_array(p, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |s| s.len());
        for row in 0..rows {
            self.kernel.merge(&mut self.state, states, row).map_err(external)?;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let input = self.kernel.bind(values);
        let rows = values.first().map_or(0, |v| v.len());
        for row in (0..rows).filter(|row| is_row(values, *row)) {
            self.kernel.retract(&mut self.state, &input, row).map_err(external)?;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        K::RETRACTS
    }
}

/// A window frame, kept as arrays and gone over for each result.
struct Replay<K: Kernel> {
    inner: Plain<K>,
    batches: VecDeque<Vec<ArrayRef>>,
}

impl<K: Kernel> fmt::Debug for Replay<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replay")
    }
}

impl<K: Kernel> Accumulator for Replay<K> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if values.first().is_some_and(|v| !v.is_empty()) {
            self.batches.push_back(values.to_vec());
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.state = K::State::default();
        for batch in &self.batches {
            self.inner.add(batch)?;
        }
        self.inner.result()
    }

    fn size(&self) -> usize {
        self.batches.iter().flatten().map(|a| a.get_array_memory_size()).sum()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.evaluate()?;
        self.inner.state()
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        not_impl_err!("merging the states of a window frame")
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut rows = values.first().map_or(0, |v| v.len());
        while rows > 0 {
            let Some(batch) = self.batches.pop_front() else { break };
            let len = batch.first().map_or(0, |a| a.len());
            if len > rows {
                self.batches.push_front(batch.iter().map(|a| a.slice(rows, len - rows)).collect());
            }
            rows -= rows.min(len);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}

/// Byte keys of values: equal for values PostgreSQL holds equal, in its order.
enum Keys {
    Numeric,
    Float4,
    Float8,
    Interval,
    Rows(RowConverter),
}

impl Keys {
    fn new(pg_type: PgType, field: &Field) -> Result<Keys> {
        Ok(match pg_type {
            PgType::NUMERIC => Keys::Numeric,
            PgType::FLOAT4 => Keys::Float4,
            PgType::FLOAT8 => Keys::Float8,
            PgType::INTERVAL => Keys::Interval,
            _ => Keys::Rows(RowConverter::new(vec![SortField::new(field.data_type().clone())])?),
        })
    }

    fn of(&self, array: &ArrayRef, row: usize) -> Result<Vec<u8>> {
        Ok(match self {
            Keys::Numeric => sort_key(array.as_binary::<i32>().value(row)).to_vec(),
            Keys::Float4 => float_key(f64::from(array.as_primitive::<Float32Type>().value(row))),
            Keys::Float8 => float_key(array.as_primitive::<Float64Type>().value(row)),
            Keys::Interval => {
                let v = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
                let total = Interval { months: v.months, days: v.days, micros: v.nanoseconds }.total_micros();
                (total as u128 ^ (1 << 127)).to_be_bytes().to_vec()
            }
            Keys::Rows(converter) => {
                let rows = converter.convert_columns(&[array.slice(row, 1)])?;
                rows.row(0).as_ref().to_vec()
            }
        })
    }
}

fn float_key(v: f64) -> Vec<u8> {
    let bits = if v.is_nan() { f64::NAN.to_bits() & !(1 << 63) } else { (v + 0.0).to_bits() };
    (if bits >> 63 == 1 { !bits } else { bits ^ (1 << 63) }).to_be_bytes().to_vec()
}

/// Collects the distinct values, feeds them to the kernel in ascending order at the end.
struct Distinct<K: Kernel> {
    kernel: K,
    keys: Keys,
    /// Type of the values.
    item: DataType,
    values: BTreeMap<Vec<u8>, ArrayRef>,
}

impl<K: Kernel> fmt::Debug for Distinct<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Distinct")
    }
}

impl<K: Kernel> Accumulator for Distinct<K> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(array) = values.first() else { return Ok(()) };
        for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
            let key = self.keys.of(array, row)?;
            if let std::collections::btree_map::Entry::Vacant(e) = self.values.entry(key) {
                // A one-row copy: a slice would keep the whole batch alive.
                let value = ScalarValue::try_from_array(array, row)?.to_array()?;
                e.insert(value);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut plain = Plain { kernel: self.kernel.clone(), state: K::State::default() };
        for value in self.values.values() {
            plain.add(std::slice::from_ref(value))?;
        }
        plain.result()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.iter().map(|(k, v)| k.len() + v.get_array_memory_size() + 64).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.values.values().map(|v| ScalarValue::try_from_array(v, 0)).collect::<Result<Vec<_>>>()?;
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.item))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(lists) = states.first() else { return Ok(()) };
        let lists = lists.as_list::<i32>();
        for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
            self.update_batch(&[lists.value(row)])?;
        }
        Ok(())
    }
}

/// One state per group.
struct Groups<K: Kernel> {
    kernel: K,
    states: Vec<K::State>,
}

impl<K: Kernel> Groups<K> {
    fn grow(&mut self, groups: usize) {
        if self.states.len() < groups {
            self.states.resize_with(groups, K::State::default);
        }
    }
}

fn passes(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|f| f.is_valid(row) && f.value(row))
}

impl<K: Kernel> GroupsAccumulator for Groups<K> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> Result<()> {
        self.grow(groups);
        let input = self.kernel.bind(values);
        if filter.is_none() && !any_nulls(values) {
            for (row, group) in group_indices.iter().enumerate() {
                self.kernel.update(&mut self.states[*group], &input, row).map_err(external)?;
            }
            return Ok(());
        }
        for (row, group) in group_indices.iter().enumerate() {
            if passes(filter, row) && is_row(values, row) {
                self.kernel.update(&mut self.states[*group], &input, row).map_err(external)?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let states = emit_to.take_needed(&mut self.states);
        self.kernel.finish(&states).map_err(external)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let states = emit_to.take_needed(&mut self.states);
        Ok(self.kernel.partials(&states))
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], groups: usize) -> Result<()> {
        self.grow(groups);
        for (row, group) in group_indices.iter().enumerate() {
            self.kernel.merge(&mut self.states[*group], values, row).map_err(external)?;
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let input = self.kernel.bind(values);
        let rows = values.first().map_or(0, |v| v.len());
        let mut states = Vec::with_capacity(rows);
        for row in 0..rows {
            let mut state = K::State::default();
            if passes(filter, row) && is_row(values, row) {
                self.kernel.update(&mut state, &input, row).map_err(external)?;
            }
            states.push(state);
        }
        Ok(self.kernel.partials(&states))
    }

    fn size(&self) -> usize {
        self.states.capacity() * size_of::<K::State>()
    }
}
