//! Window functions over frames that DataFusion does not have: EXCLUDE, RANGE with offsets over every type that can be
//! added to, offsets and arguments that are no literals, and aggregates that cannot take a row back (`array_agg`) over
//! frames that move (manual, 4.2.8; nodeWindowAgg.c).
//!
//! To DataFusion each is a window function over the whole partition, which it sorts and cuts; the frame is worked out
//! here. What a frame needs comes as arguments: the sort keys, and for RANGE with an offset the key and the bound of
//! each row, computed by the query like any other expression.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt64Array};
use datafusion::arrow::compute::{self, SortOptions};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, PartitionEvaluator, Signature, Volatility, WindowFrameUnits, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use kalamdb_catalog::{SqlError, SqlState};

use super::udf::df_error;

/// What is computed over a frame.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Compute {
    Aggregate(Arc<AggregateUDF>),
    FirstValue,
    LastValue,
    /// Arguments: the value, n (int8).
    NthValue,
    /// Arguments: the value, offset (int8), maybe a default. Of the partition, not of the frame.
    Lag,
    Lead,
    /// Argument: the number of buckets (int8). Of the partition.
    Ntile,
}

/// Where a frame begins or ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Bound {
    Unbounded,
    CurrentRow,
    /// ROWS and GROUPS: one argument, int8. RANGE: three, see [`Framed`].
    Preceding,
    Following,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Exclude {
    Nothing,
    CurrentRow,
    Group,
    Ties,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Frame {
    pub(crate) units: WindowFrameUnits,
    pub(crate) start: Bound,
    pub(crate) end: Bound,
    pub(crate) exclude: Exclude,
}

/// The function as DataFusion sees it. Its arguments, in this order: those of `compute`; the filter (boolean), if any;
/// the sort keys; those of the start, then of the end. For RANGE with an offset these are the key, the bound and whether
/// the offset is no size, one of each per row.
#[derive(Debug)]
pub(crate) struct Framed {
    pub(crate) name: String,
    pub(crate) compute: Compute,
    pub(crate) frame: Frame,
    pub(crate) args: usize,
    pub(crate) filtered: bool,
    pub(crate) keys: usize,
    /// The first sort key descends; only RANGE with an offset asks.
    pub(crate) descending: bool,
    pub(crate) ret: DataType,
    pub(crate) signature: Signature,
}

impl Framed {
    pub(crate) fn signature() -> Signature {
        Signature::variadic_any(Volatility::Immutable)
    }

    fn identity(&self) -> (&Compute, &Frame, usize, bool, usize, bool, &DataType) {
        (&self.compute, &self.frame, self.args, self.filtered, self.keys, self.descending, &self.ret)
    }
}

impl PartialEq for Framed {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}
impl Eq for Framed {}
impl Hash for Framed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl WindowUDFImpl for Framed {
    /// Two calls that differ in their frame only must not have one name: a window's column is named after its call.
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> DfResult<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), self.ret.clone(), true)))
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs<'_>) -> DfResult<Box<dyn PartitionEvaluator>> {
        let fields: Vec<FieldRef> = args.input_fields()[..self.args].to_vec();
        Ok(Box::new(Evaluator {
            compute: self.compute.clone(),
            frame: self.frame.clone(),
            args: self.args,
            filtered: self.filtered,
            keys: self.keys,
            descending: self.descending,
            fields,
            ret: self.ret.clone(),
        }))
    }
}

/// True if DataFusion can move a frame over this aggregate.
pub(crate) fn slides(udf: &AggregateUDF, args: &[DataType], ret: &DataType) -> bool {
    let fields: Vec<FieldRef> =
        args.iter().enumerate().map(|(i, ty)| Arc::new(Field::new(i.to_string(), ty.clone(), true))).collect();
    with_args(&fields, ret, |args| udf.create_sliding_accumulator(args))
        .is_ok_and(|accumulator| accumulator.supports_retract_batch())
}

fn with_args<T>(fields: &[FieldRef], ret: &DataType, f: impl FnOnce(AccumulatorArgs<'_>) -> T) -> T {
    let schema = Schema::new(fields.to_vec());
    let exprs: Vec<Arc<dyn PhysicalExpr>> =
        fields.iter().enumerate().map(|(i, f)| Arc::new(Column::new(f.name(), i)) as _).collect();
    f(AccumulatorArgs {
        return_field: Arc::new(Field::new("result", ret.clone(), true)),
        schema: &schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: "window aggregate",
        is_distinct: false,
        exprs: &exprs,
        expr_fields: fields,
    })
}

#[derive(Debug)]
struct Evaluator {
    compute: Compute,
    frame: Frame,
    args: usize,
    filtered: bool,
    keys: usize,
    descending: bool,
    fields: Vec<FieldRef>,
    ret: DataType,
}

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> DfResult<ArrayRef> {
        let (args, rest) = values.split_at(self.args);
        let (filter, rest) = rest.split_at(usize::from(self.filtered));
        let (keys, bounds) = rest.split_at(self.keys);
        match &self.compute {
            Compute::Lag => return neighbours(args, rows, -1),
            Compute::Lead => return neighbours(args, rows, 1),
            Compute::Ntile => return buckets(&args[0], rows),
            _ => {}
        }
        let frames = Frames::new(&self.frame, self.descending, keys, bounds, rows)?;
        match &self.compute {
            Compute::Aggregate(udf) => {
                let filter = filter.first().map(|f| f.as_boolean());
                self.aggregate(udf, args, filter, &frames, rows)
            }
            Compute::NthValue => {
                let n = args[1].as_primitive::<Int64Type>();
                let nth = |row: usize| match n.is_valid(row).then(|| n.value(row)) {
                    None => Ok(None),
                    Some(n) if n <= 0 => Err(error(
                        SqlState::INVALID_ARGUMENT_FOR_NTH_VALUE,
                        "argument of nth_value must be greater than zero",
                    )),
                    Some(n) => Ok(frames.of(row).nth(n as usize - 1)),
                };
                picked(&args[0], rows, nth)
            }
            Compute::LastValue => picked(&args[0], rows, |row| Ok(frames.of(row).last())),
            _ => picked(&args[0], rows, |row| Ok(frames.of(row).nth(0))),
        }
    }

    fn supports_bounded_execution(&self) -> bool {
        false
    }
}

impl Evaluator {
    fn aggregate(
        &self,
        udf: &AggregateUDF,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
        frames: &Frames<'_>,
        rows: usize,
    ) -> DfResult<ArrayRef> {
        let new = || with_args(&self.fields, &self.ret, |args| udf.accumulator(args));
        let add = |accumulator: &mut Box<dyn Accumulator>, range: Range<usize>| {
            let slice = |array: &ArrayRef| array.slice(range.start, range.len());
            let taken: Vec<ArrayRef> = match filter {
                None => args.iter().map(slice).collect(),
                Some(filter) => {
                    let filter = filter.slice(range.start, range.len());
                    args.iter().map(|a| compute::filter(&slice(a), &filter)).collect::<Result<_, _>>()?
                }
            };
            accumulator.update_batch(&taken)
        };
        let mut accumulator = new()?;
        let mut so_far = Segments::default();
        let mut results: Vec<ScalarValue> = Vec::with_capacity(rows);
        for row in 0..rows {
            let frame = frames.of(row);
            match (results.last(), so_far.grown_to(&frame)) {
                (Some(same), Some(more)) if more.is_empty() => {
                    results.push(same.clone());
                    continue;
                }
                // A frame that only grows goes on where the last row's ended.
                (_, Some(more)) => add(&mut accumulator, more)?,
                (_, None) => {
                    accumulator = new()?;
                    for range in frame.ranges().filter(|r| !r.is_empty()) {
                        add(&mut accumulator, range)?;
                    }
                }
            }
            so_far = frame;
            results.push(accumulator.evaluate()?);
        }
        ScalarValue::iter_to_array(results)
    }
}

/// The rows of a frame: up to three stretches, because EXCLUDE takes out of the middle and TIES leaves one row there.
#[derive(Clone, Default, PartialEq, Debug)]
struct Segments([Range<usize>; 3]);

impl Segments {
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.0.iter().cloned()
    }

    fn nth(&self, mut n: usize) -> Option<usize> {
        for range in self.ranges() {
            if n < range.len() {
                return Some(range.start + n);
            }
            n -= range.len();
        }
        None
    }

    fn last(&self) -> Option<usize> {
        self.ranges().filter(|r| !r.is_empty()).last().map(|r| r.end - 1)
    }

    /// What has to be added to these rows to make them `other`; None if rows have to go.
    fn grown_to(&self, other: &Segments) -> Option<Range<usize>> {
        if self == other {
            return Some(0..0);
        }
        let one = |s: &Segments| s.0[1].is_empty() && s.0[2].is_empty();
        let (mine, theirs) = (&self.0[0], &other.0[0]);
        (one(self) && one(other) && !mine.is_empty() && mine.start == theirs.start && mine.end <= theirs.end)
            .then_some(mine.end..theirs.end)
    }
}

/// The frames of a partition's rows.
struct Frames<'a> {
    frame: &'a Frame,
    rows: usize,
    /// Rows that are peers, in order.
    groups: Vec<Range<usize>>,
    group_of: Vec<usize>,
    start: Offset,
    end: Offset,
}

/// What a bound's arguments say.
enum Offset {
    None,
    /// ROWS, GROUPS.
    Count(u64),
    /// RANGE: for each row the first row at or after its bound, for a start, or behind the last one at or before it.
    Rows(Vec<usize>),
}

impl<'a> Frames<'a> {
    fn new(
        frame: &'a Frame,
        descending: bool,
        keys: &[ArrayRef],
        bounds: &[ArrayRef],
        rows: usize,
    ) -> DfResult<Frames<'a>> {
        let groups = match keys {
            [] => std::iter::once(0..rows).collect(),
            keys => compute::partition(keys)?.ranges(),
        };
        let mut group_of = Vec::with_capacity(rows);
        for (i, group) in groups.iter().enumerate() {
            group_of.resize(group.end, i);
        }
        let width = if frame.units == WindowFrameUnits::Range { 3 } else { 1 };
        let has_offset = |bound: Bound| matches!(bound, Bound::Preceding | Bound::Following);
        let (of_start, of_end) = bounds.split_at(if has_offset(frame.start) { width } else { 0 });
        let offset = |bound: Bound, args: &[ArrayRef], which: &str| -> DfResult<Offset> {
            match (frame.units, args) {
                _ if !has_offset(bound) || rows == 0 => Ok(Offset::None),
                (WindowFrameUnits::Range, [key, limit, wrong]) => {
                    let ends = which == "ending";
                    range_offset(key, limit, wrong, descending, ends, which, &groups, &group_of).map(Offset::Rows)
                }
                (_, [count]) => count_offset(count, which).map(Offset::Count),
                _ => Err(df_error(SqlError::internal("a window frame without its offsets"))),
            }
        };
        let start = offset(frame.start, of_start, "starting")?;
        let end = offset(frame.end, of_end, "ending")?;
        Ok(Frames { frame, rows, groups, group_of, start, end })
    }

    fn of(&self, row: usize) -> Segments {
        let start = self.edge(row, self.frame.start, &self.start, false);
        let end = self.edge(row, self.frame.end, &self.end, true);
        if start >= end {
            return Segments::default();
        }
        let group = &self.groups[self.group_of[row]];
        // What goes, and what comes back into the gap.
        let (gone, back) = match self.frame.exclude {
            Exclude::Nothing => return Segments([start..end, 0..0, 0..0]),
            Exclude::CurrentRow => (row..row + 1, 0..0),
            Exclude::Group => (group.clone(), 0..0),
            Exclude::Ties => (group.clone(), row..row + 1),
        };
        let within = |r: Range<usize>| r.start.clamp(start, end)..r.end.clamp(start, end);
        Segments([within(start..gone.start), within(back), within(gone.end..end)])
    }

    /// The first row of a frame, or the row behind its last one.
    fn edge(&self, row: usize, bound: Bound, offset: &Offset, end: bool) -> usize {
        let side = |range: &Range<usize>| if end { range.end } else { range.start };
        match (bound, offset) {
            (Bound::Unbounded, _) => {
                if end {
                    self.rows
                } else {
                    0
                }
            }
            (_, Offset::Rows(rows)) => rows[row],
            (Bound::CurrentRow, _) if self.frame.units == WindowFrameUnits::Rows => row + usize::from(end),
            (Bound::CurrentRow, _) => side(&self.groups[self.group_of[row]]),
            (_, Offset::Count(count)) => {
                let count = usize::try_from(*count).unwrap_or(usize::MAX);
                let back = bound == Bound::Preceding;
                if self.frame.units == WindowFrameUnits::Rows {
                    let at = row + usize::from(end);
                    return if back { at.saturating_sub(count) } else { at.saturating_add(count).min(self.rows) };
                }
                let group = self.group_of[row];
                let there = if back { group.checked_sub(count) } else { group.checked_add(count) };
                match there.and_then(|g| self.groups.get(g)) {
                    Some(range) => side(range),
                    None if back => 0,
                    None => self.rows,
                }
            }
            (_, Offset::None) => row,
        }
    }
}

/// The offset of ROWS or GROUPS: the same for all rows.
fn count_offset(count: &ArrayRef, which: &str) -> DfResult<u64> {
    let count = count.as_primitive::<Int64Type>();
    if count.is_null(0) {
        return Err(null_offset(which));
    }
    u64::try_from(count.value(0)).map_err(|_| {
        let message = format!("frame {which} offset must not be negative");
        error(SqlState::INVALID_PRECEDING_OR_FOLLOWING_SIZE, message)
    })
}

#[allow(clippy::too_many_arguments)]
fn range_offset(
    key: &ArrayRef,
    limit: &ArrayRef,
    wrong: &ArrayRef,
    descending: bool,
    ends: bool,
    which: &str,
    groups: &[Range<usize>],
    group_of: &[usize],
) -> DfResult<Vec<usize>> {
    let wrong = wrong.as_boolean();
    if wrong.is_null(0) {
        return Err(null_offset(which));
    }
    if wrong.value(0) {
        let message = "invalid preceding or following size in window function";
        return Err(error(SqlState::INVALID_PRECEDING_OR_FOLLOWING_SIZE, message));
    }
    let rows = key.len();
    // Rows without a key are peers of each other and in nobody else's range.
    let nulls = key.null_count();
    let keyed = if key.is_null(0) { nulls..rows } else { 0..rows - nulls };
    let options = SortOptions { descending, nulls_first: false };
    let converter = RowConverter::new(vec![SortField::new_with_options(key.data_type().clone(), options)])?;
    let keys = converter.convert_columns(std::slice::from_ref(key))?;
    let limits = converter.convert_columns(std::slice::from_ref(limit))?;
    let edge = |row: usize| {
        if key.is_null(row) {
            let peers = &groups[group_of[row]];
            return if ends { peers.end } else { peers.start };
        }
        let limit = limits.row(row);
        let (mut low, mut high) = (keyed.start, keyed.end);
        while low < high {
            let middle = (low + high) / 2;
            let before = match keys.row(middle).cmp(&limit) {
                Ordering::Less => true,
                Ordering::Equal => ends,
                Ordering::Greater => false,
            };
            if before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    };
    Ok((0..rows).map(edge).collect())
}

/// The value of the row that `pick` gives for each row; NULL for none.
fn picked(values: &ArrayRef, rows: usize, pick: impl Fn(usize) -> DfResult<Option<usize>>) -> DfResult<ArrayRef> {
    let rows = (0..rows).map(|row| Ok(pick(row)?.map(|r| r as u64))).collect::<DfResult<UInt64Array>>()?;
    Ok(compute::take(values, &rows, None)?)
}

/// lag and lead: the value so many rows away, or the default of this row.
fn neighbours(args: &[ArrayRef], rows: usize, direction: i64) -> DfResult<ArrayRef> {
    let offsets = args[1].as_primitive::<Int64Type>();
    let there = |row: usize| {
        let away = offsets.value(row).checked_mul(direction)?.checked_add(row as i64)?;
        usize::try_from(away).ok().filter(|r| *r < rows)
    };
    let found = picked(&args[0], rows, |row| Ok(if offsets.is_null(row) { None } else { there(row) }))?;
    let Some(default) = args.get(2) else { return Ok(found) };
    // A NULL offset gives NULL, not the default.
    let outside: BooleanArray = (0..rows).map(|row| Some(offsets.is_valid(row) && there(row).is_none())).collect();
    Ok(compute::kernels::zip::zip(&outside, default, &found)?)
}

/// ntile: the first number of buckets that is not NULL counts, from its row on (windowfuncs.c).
fn buckets(count: &ArrayRef, rows: usize) -> DfResult<ArrayRef> {
    let count = count.as_primitive::<Int64Type>();
    let Some(first) = (0..rows).find(|row| count.is_valid(*row)) else {
        return Ok(datafusion::arrow::array::new_null_array(&DataType::UInt64, rows));
    };
    let Some(count) = u64::try_from(count.value(first)).ok().filter(|n| *n > 0) else {
        let message = "argument of ntile must be greater than zero";
        return Err(error(SqlState::INVALID_ARGUMENT_FOR_NTILE, message));
    };
    // The first `larger` buckets have one row more.
    let (size, larger) = (rows as u64 / count, rows as u64 % count);
    let bucket = |row: u64| match row / (size + 1) {
        bucket if bucket < larger => bucket + 1,
        _ => larger + (row - larger * (size + 1)) / size.max(1) + 1,
    };
    let numbered = |row: usize| row.checked_sub(first).map(|row| bucket(row as u64));
    Ok(Arc::new((0..rows).map(numbered).collect::<UInt64Array>()))
}

fn null_offset(which: &str) -> datafusion::common::DataFusionError {
    error(SqlState::NULL_VALUE_NOT_ALLOWED, format!("frame {which} offset must not be null"))
}

fn error(state: SqlState, message: impl Into<String>) -> datafusion::common::DataFusionError {
    df_error(SqlError::new(state, message.into()))
}
