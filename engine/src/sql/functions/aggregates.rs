//! Aggregates of numbers, and min/max of every ordered type (manual, section 9.21).
//!
//! The table only; what an aggregate computes is a [`kernel::Kernel`] in one of the files below. count(*) and count over
//! types whose carrier compares as PostgreSQL does, and min/max over such, are DataFusion's own, so that its
//! optimizer knows them.
//!
//! The optimizer rule `single_distinct_aggregation_to_group_by` must be off: it groups by the carrier, where 1.5 and 1.50
//! differ, and it computes a sum of partial sums with the function of the first ones, whose types are others here.

mod extremes;
mod kernel;
mod statistics;
mod sums;

use std::marker::PhantomData;
use std::sync::Arc;

use datafusion::arrow::datatypes::{
    Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::AggregateUDF;
use kalamdb_catalog::PgType;

use super::AggDef;
use extremes::{BitOp, Bits, Bools, Extreme};
use kernel::aggregate;
use statistics::{ExactSpread, FloatSpread, Regression, Spread};
use sums::{BigintSum, Count, FloatSum, IntSum, IntervalSum, NumericSum};

type Make = fn(&[PgType], PgType) -> AggregateUDF;

const fn agg(oid: u32, name: &'static str, args: &'static [PgType], ret: PgType, make: Make) -> AggDef {
    AggDef { oid, name, args, variadic: false, ret, make }
}

const I2: PgType = PgType::INT2;
const I4: PgType = PgType::INT4;
const I8: PgType = PgType::INT8;
const F4: PgType = PgType::FLOAT4;
const F8: PgType = PgType::FLOAT8;
const NUM: PgType = PgType::NUMERIC;
const INTERVAL: PgType = PgType::INTERVAL;
const BOOL: PgType = PgType::BOOL;

/// count(x). DataFusion's, but DISTINCT must hold 1.5 and 1.50 for one value.
fn count(args: &[PgType], ret: PgType) -> AggregateUDF {
    match args {
        [PgType::NUMERIC | PgType::FLOAT4 | PgType::FLOAT8 | PgType::INTERVAL] => aggregate("count", args, ret, Count),
        _ => Arc::unwrap_or_clone(count_udaf()),
    }
}

macro_rules! int_sum {
    ($name:literal, $t:ty, $avg:literal) => {
        |args, ret| aggregate($name, args, ret, IntSum::<$t> { avg: $avg, of: PhantomData })
    };
}

macro_rules! float_sum {
    ($name:literal, $t:ty, $avg:literal) => {
        |args, ret| aggregate($name, args, ret, FloatSum::<$t> { avg: $avg, of: PhantomData })
    };
}

/// min and max of a type, by DataFusion or by a kernel.
macro_rules! extreme {
    ($max:literal) => {
        |_, _| Arc::unwrap_or_clone(if $max { max_udaf() } else { min_udaf() })
    };
    ($max:literal, $t:ty) => {
        |args, ret| {
            let name = if $max { "max" } else { "min" };
            aggregate(name, args, ret, Extreme::<$t> { max: $max, of: PhantomData })
        }
    };
}

macro_rules! bits {
    ($name:literal, $op:ident, $t:ty) => {
        |args, ret| aggregate($name, args, ret, Bits::<$t> { op: BitOp::$op, of: PhantomData })
    };
}

macro_rules! exact_spread {
    ($name:literal, $t:ty, $sample:literal, $root:literal) => {
        |args, ret| {
            let spread = Spread { sample: $sample, root: $root };
            aggregate($name, args, ret, ExactSpread::<$t> { spread, of: PhantomData })
        }
    };
}

macro_rules! float_spread {
    ($name:literal, $t:ty, $sample:literal, $root:literal) => {
        |args, ret| {
            let spread = Spread { sample: $sample, root: $root };
            aggregate($name, args, ret, FloatSpread::<$t> { spread, of: PhantomData })
        }
    };
}

macro_rules! regression {
    ($oid:literal, $name:literal, $ret:expr, $what:ident) => {
        agg($oid, $name, &[F8, F8], $ret, |args, ret| aggregate($name, args, ret, Regression::$what))
    };
}

/// The aggregates of pg_proc over numbers, booleans, and ordered types.
pub(super) static AGGREGATES: &[AggDef] = &[
    agg(2803, "count", &[], I8, count),
    agg(2147, "count", &[PgType::ANY], I8, count),
    agg(2109, "sum", &[I2], I8, int_sum!("sum", Int16Type, false)),
    agg(2108, "sum", &[I4], I8, int_sum!("sum", Int32Type, false)),
    agg(2107, "sum", &[I8], NUM, |a, r| aggregate("sum", a, r, BigintSum { avg: false })),
    agg(2110, "sum", &[F4], F4, float_sum!("sum", Float32Type, false)),
    agg(2111, "sum", &[F8], F8, float_sum!("sum", Float64Type, false)),
    agg(2114, "sum", &[NUM], NUM, |a, r| aggregate("sum", a, r, NumericSum { avg: false })),
    agg(2113, "sum", &[INTERVAL], INTERVAL, |a, r| aggregate("sum", a, r, IntervalSum { avg: false })),
    agg(2102, "avg", &[I2], NUM, int_sum!("avg", Int16Type, true)),
    agg(2101, "avg", &[I4], NUM, int_sum!("avg", Int32Type, true)),
    agg(2100, "avg", &[I8], NUM, |a, r| aggregate("avg", a, r, BigintSum { avg: true })),
    agg(2104, "avg", &[F4], F8, float_sum!("avg", Float32Type, true)),
    agg(2105, "avg", &[F8], F8, float_sum!("avg", Float64Type, true)),
    agg(2103, "avg", &[NUM], NUM, |a, r| aggregate("avg", a, r, NumericSum { avg: true })),
    agg(2106, "avg", &[INTERVAL], INTERVAL, |a, r| aggregate("avg", a, r, IntervalSum { avg: true })),
    agg(2117, "max", &[I2], I2, extreme!(true)),
    agg(2116, "max", &[I4], I4, extreme!(true)),
    agg(2115, "max", &[I8], I8, extreme!(true)),
    agg(2118, "max", &[PgType::OID], PgType::OID, extreme!(true)),
    agg(4189, "max", &[PgType::PG_LSN], PgType::PG_LSN, extreme!(true)),
    agg(2129, "max", &[PgType::TEXT], PgType::TEXT, extreme!(true)),
    agg(2244, "max", &[PgType::BPCHAR], PgType::BPCHAR, extreme!(true)),
    agg(2122, "max", &[PgType::DATE], PgType::DATE, extreme!(true)),
    agg(2123, "max", &[PgType::TIME], PgType::TIME, extreme!(true)),
    agg(2126, "max", &[PgType::TIMESTAMP], PgType::TIMESTAMP, extreme!(true)),
    agg(2127, "max", &[PgType::TIMESTAMPTZ], PgType::TIMESTAMPTZ, extreme!(true)),
    agg(2119, "max", &[F4], F4, extreme!(true, Float32Type)),
    agg(2120, "max", &[F8], F8, extreme!(true, Float64Type)),
    agg(2130, "max", &[NUM], NUM, extreme!(true, extremes::Encoded)),
    agg(2128, "max", &[INTERVAL], INTERVAL, extreme!(true, IntervalMonthDayNanoType)),
    agg(2133, "min", &[I2], I2, extreme!(false)),
    agg(2132, "min", &[I4], I4, extreme!(false)),
    agg(2131, "min", &[I8], I8, extreme!(false)),
    agg(2134, "min", &[PgType::OID], PgType::OID, extreme!(false)),
    agg(4190, "min", &[PgType::PG_LSN], PgType::PG_LSN, extreme!(false)),
    agg(2145, "min", &[PgType::TEXT], PgType::TEXT, extreme!(false)),
    agg(2245, "min", &[PgType::BPCHAR], PgType::BPCHAR, extreme!(false)),
    agg(2138, "min", &[PgType::DATE], PgType::DATE, extreme!(false)),
    agg(2139, "min", &[PgType::TIME], PgType::TIME, extreme!(false)),
    agg(2142, "min", &[PgType::TIMESTAMP], PgType::TIMESTAMP, extreme!(false)),
    agg(2143, "min", &[PgType::TIMESTAMPTZ], PgType::TIMESTAMPTZ, extreme!(false)),
    agg(2135, "min", &[F4], F4, extreme!(false, Float32Type)),
    agg(2136, "min", &[F8], F8, extreme!(false, Float64Type)),
    agg(2146, "min", &[NUM], NUM, extreme!(false, extremes::Encoded)),
    agg(2144, "min", &[INTERVAL], INTERVAL, extreme!(false, IntervalMonthDayNanoType)),
    agg(2517, "bool_and", &[BOOL], BOOL, |a, r| aggregate("bool_and", a, r, Bools { and: true })),
    agg(2518, "bool_or", &[BOOL], BOOL, |a, r| aggregate("bool_or", a, r, Bools { and: false })),
    agg(2519, "every", &[BOOL], BOOL, |a, r| aggregate("every", a, r, Bools { and: true })),
    agg(2236, "bit_and", &[I2], I2, bits!("bit_and", And, Int16Type)),
    agg(2238, "bit_and", &[I4], I4, bits!("bit_and", And, Int32Type)),
    agg(2240, "bit_and", &[I8], I8, bits!("bit_and", And, Int64Type)),
    agg(2237, "bit_or", &[I2], I2, bits!("bit_or", Or, Int16Type)),
    agg(2239, "bit_or", &[I4], I4, bits!("bit_or", Or, Int32Type)),
    agg(2241, "bit_or", &[I8], I8, bits!("bit_or", Or, Int64Type)),
    agg(6164, "bit_xor", &[I2], I2, bits!("bit_xor", Xor, Int16Type)),
    agg(6165, "bit_xor", &[I4], I4, bits!("bit_xor", Xor, Int32Type)),
    agg(6166, "bit_xor", &[I8], I8, bits!("bit_xor", Xor, Int64Type)),
    agg(2154, "stddev", &[I8], NUM, exact_spread!("stddev", Int64Type, true, true)),
    agg(2156, "stddev", &[I2], NUM, exact_spread!("stddev", Int16Type, true, true)),
    agg(2155, "stddev", &[I4], NUM, exact_spread!("stddev", Int32Type, true, true)),
    agg(2157, "stddev", &[F4], F8, float_spread!("stddev", Float32Type, true, true)),
    agg(2158, "stddev", &[F8], F8, float_spread!("stddev", Float64Type, true, true)),
    agg(2159, "stddev", &[NUM], NUM, exact_spread!("stddev", statistics::Encoded, true, true)),
    agg(2724, "stddev_pop", &[I8], NUM, exact_spread!("stddev_pop", Int64Type, false, true)),
    agg(2726, "stddev_pop", &[I2], NUM, exact_spread!("stddev_pop", Int16Type, false, true)),
    agg(2725, "stddev_pop", &[I4], NUM, exact_spread!("stddev_pop", Int32Type, false, true)),
    agg(2727, "stddev_pop", &[F4], F8, float_spread!("stddev_pop", Float32Type, false, true)),
    agg(2728, "stddev_pop", &[F8], F8, float_spread!("stddev_pop", Float64Type, false, true)),
    agg(2729, "stddev_pop", &[NUM], NUM, exact_spread!("stddev_pop", statistics::Encoded, false, true)),
    agg(2712, "stddev_samp", &[I8], NUM, exact_spread!("stddev_samp", Int64Type, true, true)),
    agg(2714, "stddev_samp", &[I2], NUM, exact_spread!("stddev_samp", Int16Type, true, true)),
    agg(2713, "stddev_samp", &[I4], NUM, exact_spread!("stddev_samp", Int32Type, true, true)),
    agg(2715, "stddev_samp", &[F4], F8, float_spread!("stddev_samp", Float32Type, true, true)),
    agg(2716, "stddev_samp", &[F8], F8, float_spread!("stddev_samp", Float64Type, true, true)),
    agg(2717, "stddev_samp", &[NUM], NUM, exact_spread!("stddev_samp", statistics::Encoded, true, true)),
    agg(2718, "var_pop", &[I8], NUM, exact_spread!("var_pop", Int64Type, false, false)),
    agg(2720, "var_pop", &[I2], NUM, exact_spread!("var_pop", Int16Type, false, false)),
    agg(2719, "var_pop", &[I4], NUM, exact_spread!("var_pop", Int32Type, false, false)),
    agg(2721, "var_pop", &[F4], F8, float_spread!("var_pop", Float32Type, false, false)),
    agg(2722, "var_pop", &[F8], F8, float_spread!("var_pop", Float64Type, false, false)),
    agg(2723, "var_pop", &[NUM], NUM, exact_spread!("var_pop", statistics::Encoded, false, false)),
    agg(2641, "var_samp", &[I8], NUM, exact_spread!("var_samp", Int64Type, true, false)),
    agg(2643, "var_samp", &[I2], NUM, exact_spread!("var_samp", Int16Type, true, false)),
    agg(2642, "var_samp", &[I4], NUM, exact_spread!("var_samp", Int32Type, true, false)),
    agg(2644, "var_samp", &[F4], F8, float_spread!("var_samp", Float32Type, true, false)),
    agg(2645, "var_samp", &[F8], F8, float_spread!("var_samp", Float64Type, true, false)),
    agg(2646, "var_samp", &[NUM], NUM, exact_spread!("var_samp", statistics::Encoded, true, false)),
    agg(2148, "variance", &[I8], NUM, exact_spread!("variance", Int64Type, true, false)),
    agg(2150, "variance", &[I2], NUM, exact_spread!("variance", Int16Type, true, false)),
    agg(2149, "variance", &[I4], NUM, exact_spread!("variance", Int32Type, true, false)),
    agg(2151, "variance", &[F4], F8, float_spread!("variance", Float32Type, true, false)),
    agg(2152, "variance", &[F8], F8, float_spread!("variance", Float64Type, true, false)),
    agg(2153, "variance", &[NUM], NUM, exact_spread!("variance", statistics::Encoded, true, false)),
    regression!(2818, "regr_count", I8, Count),
    regression!(2819, "regr_sxx", F8, Sxx),
    regression!(2820, "regr_syy", F8, Syy),
    regression!(2821, "regr_sxy", F8, Sxy),
    regression!(2822, "regr_avgx", F8, AvgX),
    regression!(2823, "regr_avgy", F8, AvgY),
    regression!(2824, "regr_r2", F8, R2),
    regression!(2825, "regr_slope", F8, Slope),
    regression!(2826, "regr_intercept", F8, Intercept),
    regression!(2827, "covar_pop", F8, CovarPop),
    regression!(2828, "covar_samp", F8, CovarSamp),
    regression!(2829, "corr", F8, Corr),
];

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch,
    };
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::arrow::util::display::array_value_to_string;
    use datafusion::datasource::MemTable;
    use datafusion::logical_expr::{ExprFunctionExt, WindowFrame, WindowFrameBound, WindowFrameUnits, expr};
    use datafusion::prelude::{DataFrame, Expr, SessionContext, col, lit};

    use super::*;
    use crate::types::Numeric;

    fn numerics(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(BinaryArray::from_iter(values.iter().map(|v| v.map(|v| Numeric::parse(v).unwrap().encode()))))
    }

    fn udaf(oid: u32) -> AggregateUDF {
        let def = AGGREGATES.iter().find(|a| a.oid == oid).unwrap();
        (def.make)(def.args, def.ret)
    }

    /// The columns a, b ... in two partitions with batches of two rows.
    fn table(columns: &[ArrayRef]) -> DataFrame {
        let fields: Vec<Field> = columns
            .iter()
            .zip('a'..)
            .map(|(c, name)| Field::new(name.to_string(), c.data_type().clone(), true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(schema.clone(), columns.to_vec()).unwrap();
        let mut partitions = vec![vec![], vec![]];
        for at in (0..batch.num_rows()).step_by(2) {
            partitions[at / 2 % 2].push(batch.slice(at, 2.min(batch.num_rows() - at)));
        }
        let table = MemTable::try_new(schema, partitions).unwrap();
        let session = SessionContext::new();
        // It groups by the carrier, to which 1.5 and 1.50 are two values, and sums sums with the same function.
        session.remove_optimizer_rule("single_distinct_aggregation_to_group_by");
        session.read_table(Arc::new(table)).unwrap()
    }

    fn text(array: &ArrayRef, row: usize) -> String {
        match array.as_binary_opt::<i32>() {
            _ if array.is_null(row) => "NULL".to_owned(),
            Some(b) => Numeric::decode(b.value(row)).to_string(),
            None => array_value_to_string(array, row).unwrap(),
        }
    }

    fn collect(frame: DataFrame) -> Vec<RecordBatch> {
        tokio::runtime::Runtime::new().unwrap().block_on(frame.collect()).unwrap()
    }

    /// The aggregate over all rows, then as the one group of a GROUP BY.
    fn check(oid: u32, columns: &[ArrayRef], distinct: bool, expected: &str) {
        let names = ["a", "b"];
        let call = || {
            let args = names[..columns.len()].iter().map(|n| col(*n)).collect();
            let call = udaf(oid).call(args);
            if distinct { call.distinct().build().unwrap() } else { call }
        };
        for groups in [vec![], vec![lit(1).alias("g")]] {
            let batches = collect(table(columns).aggregate(groups, vec![call()]).unwrap());
            let batch = batches.iter().find(|b| b.num_rows() > 0).unwrap();
            assert_eq!(text(batch.columns().last().unwrap(), 0), expected, "aggregate {oid}");
        }
    }

    #[test]
    fn sums_and_averages() {
        let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(2147483647), Some(2), None, Some(3), Some(2)]));
        let bigints: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, i64::MAX, 1]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.5), None, Some(1.25), Some(-0.0), Some(0.0)]));
        let nums = numerics(&[Some("1.5"), Some("1.50"), None, Some("2"), Some("-0.125")]);
        for (oid, column, distinct, expected) in [
            (2108, &ints, false, "2147483654"),
            (2108, &ints, true, "2147483652"),
            (2101, &ints, false, "536870913.50000000"),
            (2107, &bigints, false, "18446744073709551615"),
            (2100, &bigints, false, "6148914691236517205"),
            (2111, &floats, false, "1.75"),
            (2105, &floats, false, "0.4375"),
            (2147, &ints, false, "4"),
            (2147, &ints, true, "3"),
            (2114, &nums, false, "4.875"),
            (2114, &nums, true, "3.375"),
            (2103, &nums, false, "1.21875000000000000000"),
        ] {
            check(oid, std::slice::from_ref(column), distinct, expected);
        }
        check(2114, &[numerics(&[Some("Infinity"), Some("-Infinity")])], false, "NaN");
        check(2114, &[numerics(&[None, None])], false, "NULL");
    }

    #[test]
    fn extremes_and_bits() {
        let nums = numerics(&[Some("10"), Some("9.5"), Some("-3"), None, Some("NaN")]);
        check(2130, std::slice::from_ref(&nums), false, "NaN");
        check(2146, &[nums], false, "-3");
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(1.5), None, Some(-2.0)]));
        check(2120, std::slice::from_ref(&floats), false, "NaN");
        check(2136, &[floats], false, "-2.0");
        let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(12), Some(10), None]));
        check(2238, std::slice::from_ref(&ints), false, "8");
        check(2239, std::slice::from_ref(&ints), false, "14");
        check(6165, std::slice::from_ref(&ints), false, "6");
        check(2116, &[ints], false, "12");
        let bools: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]));
        check(2517, std::slice::from_ref(&bools), false, "false");
        check(2518, &[bools], false, "true");
    }

    #[test]
    fn statistics_have_postgresqls_digits() {
        let ints: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3, 4, 8]));
        check(2155, std::slice::from_ref(&ints), false, "2.7018512172212592");
        check(2719, std::slice::from_ref(&ints), false, "5.8400000000000000");
        check(2149, &[ints], false, "7.3000000000000000");
        let nums = numerics(&[Some("1.5"), Some("2.25"), Some("3")]);
        check(2159, std::slice::from_ref(&nums), false, "0.75000000000000000000");
        check(2646, &[numerics(&[Some("1")])], false, "NULL");
        let y: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0), Some(4.0), None]));
        let x: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), Some(3.0), Some(5.0), Some(6.0)]));
        check(2825, &[y.clone(), x.clone()], false, "0.75");
        check(2818, &[y.clone(), x.clone()], false, "3");
        check(2828, &[y, x], false, "3.0");
    }

    #[test]
    fn window_frames_slide() {
        let frame = || {
            WindowFrame::new_bounds(
                WindowFrameUnits::Rows,
                WindowFrameBound::Preceding(datafusion::common::ScalarValue::UInt64(Some(1))),
                WindowFrameBound::CurrentRow,
            )
        };
        let nums = numerics(&[Some("1.50"), Some("2"), Some("3"), Some("NaN"), Some("5"), Some("6")]);
        let keys: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5, 6]));
        for (oid, expected) in
            [(2114, ["1.50", "3.50", "5", "NaN", "NaN", "11"]), (2146, ["1.50", "1.50", "2", "3", "5", "5"])]
        {
            let over = Expr::from(expr::WindowFunction::new(Arc::new(udaf(oid)), vec![col("a")]))
                .order_by(vec![col("b").sort(true, false)])
                .window_frame(frame())
                .build()
                .unwrap()
                .alias("r");
            let input = table(&[nums.clone(), keys.clone()]);
            let sorted = input.window(vec![over]).unwrap().sort(vec![col("b").sort(true, false)]).unwrap();
            let rows: Vec<String> = collect(sorted)
                .iter()
                .flat_map(|b| (0..b.num_rows()).map(|i| text(b.column_by_name("r").unwrap(), i)).collect::<Vec<_>>())
                .collect();
            assert_eq!(rows, expected, "aggregate {oid}");
        }
    }
}
