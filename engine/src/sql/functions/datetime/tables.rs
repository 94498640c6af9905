//! The rows of pg_proc, pg_operator and pg_cast for dates and times.

use datafusion::arrow::array::ArrayRef;
use kalamdb_catalog::{PgType, Result};

use super::arith::{self, timestamp_to_timestamptz, timestamptz_to_timestamp};
use super::parts::{self, PartValue};
use super::zones::{self, ZoneCache};
use super::{make, overlaps, series, truncate};
use crate::clock::now_micros;
use crate::sql::functions::adapt::{Date, Time, Timestamp, Timestamptz, map0, map1, map2, map3, opt1, opt2};
use crate::sql::functions::{Call, CastContext, CastDef, FnDef, OpDef, ScalarImpl};
use crate::types::Interval;
use crate::types::datetime::{
    Civil, MICROS_PER_SECOND, check_timestamp, is_finite, is_finite_date, round_time, round_timestamp,
    timestamp_out_of_range, zone,
};

const DATE: PgType = PgType::DATE;
const TIME: PgType = PgType::TIME;
const TS: PgType = PgType::TIMESTAMP;
const TSTZ: PgType = PgType::TIMESTAMPTZ;
const INTERVAL: PgType = PgType::INTERVAL;
const TEXT: PgType = PgType::TEXT;
const INT4: PgType = PgType::INT4;
const FLOAT8: PgType = PgType::FLOAT8;
const BOOL: PgType = PgType::BOOL;
const NUMERIC: PgType = PgType::NUMERIC;

pub(crate) static OPERATORS: &[OpDef] = &[
    OpDef::infix(1100, "+", DATE, INT4, DATE, |_, a| map2(a, arith::date_add_days)),
    OpDef::infix(2555, "+", INT4, DATE, DATE, |_, a| map2(a, |n, d| arith::date_add_days(d, n))),
    OpDef::infix(1101, "-", DATE, INT4, DATE, |_, a| map2(a, arith::date_sub_days)),
    OpDef::infix(1099, "-", DATE, DATE, INT4, |_, a| map2(a, arith::date_difference)),
    OpDef::infix(1076, "+", DATE, INTERVAL, TS, |_, a| map2(a, |d, i| arith::timestamp_add(midnight(d)?, i))),
    OpDef::infix(2551, "+", INTERVAL, DATE, TS, |_, a| map2(a, |i, d| arith::timestamp_add(midnight(d)?, i))),
    OpDef::infix(1077, "-", DATE, INTERVAL, TS, |_, a| map2(a, |d, i| arith::timestamp_sub(midnight(d)?, i))),
    OpDef::infix(1360, "+", DATE, TIME, TS, |_, a| map2(a, arith::date_and_time)),
    OpDef::infix(1363, "+", TIME, DATE, TS, |_, a| map2(a, |t, d| arith::date_and_time(d, t))),
    OpDef::infix(1800, "+", TIME, INTERVAL, TIME, |_, a| map2(a, |t, i| Ok(arith::time_add(t, i)))),
    OpDef::infix(1849, "+", INTERVAL, TIME, TIME, |_, a| map2(a, |i, t| Ok(arith::time_add(t, i)))),
    OpDef::infix(1801, "-", TIME, INTERVAL, TIME, |_, a| map2(a, |t, i| Ok(arith::time_sub(t, i)))),
    OpDef::infix(1399, "-", TIME, TIME, INTERVAL, |_, a| map2(a, |x: Time, y: Time| Ok(span(x.0 - y.0)))),
    OpDef::infix(2066, "+", TS, INTERVAL, TS, |_, a| map2(a, arith::timestamp_add)),
    OpDef::infix(2553, "+", INTERVAL, TS, TS, |_, a| map2(a, |i, t| arith::timestamp_add(t, i))),
    OpDef::infix(2068, "-", TS, INTERVAL, TS, |_, a| map2(a, arith::timestamp_sub)),
    OpDef::infix(2067, "-", TS, TS, INTERVAL, |_, a| map2(a, |x: Timestamp, y: Timestamp| arith::difference(x.0, y.0))),
    OpDef::infix(1327, "+", TSTZ, INTERVAL, TSTZ, timestamptz_plus).stable(),
    OpDef::infix(2554, "+", INTERVAL, TSTZ, TSTZ, |call, a| {
        let format = call.session.format();
        map2(a, |i, t| arith::timestamptz_add(&format.time_zone, t, i))
    })
    .stable(),
    OpDef::infix(1329, "-", TSTZ, INTERVAL, TSTZ, |call, a| {
        let format = call.session.format();
        map2(a, |t, i| arith::timestamptz_sub(&format.time_zone, t, i))
    })
    .stable(),
    OpDef::infix(1328, "-", TSTZ, TSTZ, INTERVAL, |_, a| {
        map2(a, |x: Timestamptz, y: Timestamptz| arith::difference(x.0, y.0))
    }),
    OpDef::infix(1337, "+", INTERVAL, INTERVAL, INTERVAL, |_, a| map2(a, |x: Interval, y| x.checked_add(&y))),
    OpDef::infix(1338, "-", INTERVAL, INTERVAL, INTERVAL, |_, a| map2(a, |x: Interval, y| x.checked_sub(&y))),
    OpDef::prefix(1336, "-", INTERVAL, INTERVAL, |_, a| map1(a, |x: Interval| x.checked_neg())),
    OpDef::infix(1583, "*", INTERVAL, FLOAT8, INTERVAL, |_, a| map2(a, |x: Interval, f| x.checked_mul(f))),
    OpDef::infix(1584, "*", FLOAT8, INTERVAL, INTERVAL, |_, a| map2(a, |f, x: Interval| x.checked_mul(f))),
    OpDef::infix(1585, "/", INTERVAL, FLOAT8, INTERVAL, |_, a| map2(a, |x: Interval, f| x.checked_div(f))),
];

const fn cast(from: PgType, to: PgType, context: CastContext, imp: ScalarImpl) -> CastDef {
    CastDef { from, to, context, imp }
}

pub(crate) static CASTS: &[CastDef] = &[
    cast(DATE, TS, CastContext::Implicit, |_, a| map1(a, midnight)),
    cast(DATE, TSTZ, CastContext::Implicit, |call, a| {
        let format = call.session.format();
        map1(a, |d| arith::date_to_timestamptz(&format.time_zone, d))
    }),
    cast(TIME, INTERVAL, CastContext::Implicit, |_, a| map1(a, |t: Time| Ok(span(t.0)))),
    cast(TS, DATE, CastContext::Assignment, |_, a| map1(a, |t| Ok(arith::timestamp_to_date(t)))),
    cast(TS, TIME, CastContext::Assignment, |_, a| opt1(a, |t| Ok(arith::timestamp_to_time(t)))),
    cast(TS, TSTZ, CastContext::Implicit, |call, a| {
        let format = call.session.format();
        map1(a, |t| timestamp_to_timestamptz(&format.time_zone, t))
    }),
    cast(TSTZ, DATE, CastContext::Assignment, |call, a| {
        let format = call.session.format();
        map1(a, |t| Ok(arith::timestamp_to_date(timestamptz_to_timestamp(&format.time_zone, t)?)))
    }),
    cast(TSTZ, TIME, CastContext::Assignment, |call, a| {
        let format = call.session.format();
        opt1(a, |t| Ok(arith::timestamp_to_time(timestamptz_to_timestamp(&format.time_zone, t)?)))
    }),
    cast(TSTZ, TS, CastContext::Assignment, |call, a| {
        let format = call.session.format();
        map1(a, |t| timestamptz_to_timestamp(&format.time_zone, t))
    }),
    cast(INTERVAL, TIME, CastContext::Assignment, |_, a| map1(a, |i| Ok(arith::interval_to_time(i)))),
    cast(TIME, TIME, CastContext::Implicit, |call, a| map1(a, |t: Time| Ok(Time(round_time(t.0, call.typmod))))),
    cast(TS, TS, CastContext::Implicit, |call, a| {
        map1(a, |t: Timestamp| round_timestamp(t.0, call.typmod).map(Timestamp))
    }),
    cast(TSTZ, TSTZ, CastContext::Implicit, |call, a| {
        map1(a, |t: Timestamptz| round_timestamp(t.0, call.typmod).map(Timestamptz))
    }),
    cast(INTERVAL, INTERVAL, CastContext::Implicit, |call, a| map1(a, |i: Interval| i.with_typmod(call.typmod))),
];

fn midnight(date: Date) -> Result<Timestamp> {
    arith::date_to_timestamp(date)
}

fn span(micros: i64) -> Interval {
    Interval { micros, ..Interval::ZERO }
}

fn timestamptz_plus(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let format = call.session.format();
    map2(args, |t, i| arith::timestamptz_add(&format.time_zone, t, i))
}

fn now(call: &Call<'_>, _: &[ArrayRef]) -> Result<ArrayRef> {
    let micros = call.session.transaction_micros();
    map0(call.rows, || Ok(Timestamptz(micros)))
}

/// The start of the transaction as a local time.
fn local_now(call: &Call<'_>) -> Result<Timestamp> {
    timestamptz_to_timestamp(&call.session.format().time_zone, Timestamptz(call.session.transaction_micros()))
}

/// "Mon Nov 23 06:24:09.757976 2026 UTC"
fn timeofday(call: &Call<'_>, _: &[ArrayRef]) -> Result<ArrayRef> {
    let format = call.session.format();
    map0(call.rows, || {
        let micros = now_micros();
        let info = zone::offset_info(&format.time_zone, micros);
        let civil = Civil::from_timestamp(micros + i64::from(info.offset) * MICROS_PER_SECOND);
        let day = &crate::types::datetime::WEEKDAYS[crate::types::datetime::weekday(civil.julian()) as usize][..3];
        let month = crate::types::datetime::MONTHS[(civil.month - 1) as usize];
        Ok(format!(
            "{day} {month} {:02} {:02}:{:02}:{:02}.{:06} {} {}",
            civil.day, civil.hour, civil.minute, civil.second, civil.micros, civil.year, info.abbreviation
        ))
    })
}

fn timestamp_part(word: &str, t: Timestamp) -> Result<PartValue> {
    parts::of_timestamp(word, t.0, None)
}

fn timestamptz_part(call: &Call<'_>) -> impl Fn(&str, Timestamptz) -> Result<PartValue> {
    let format = call.session.format();
    move |word, t| {
        let offset = if is_finite(t.0) { zone::utc_offset(&format.time_zone, t.0) } else { 0 };
        parts::of_timestamp(word, t.0, Some(offset))
    }
}

fn extract_timestamptz(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let part = timestamptz_part(call);
    opt2(args, |word: &str, t| part(word, t)?.numeric())
}

fn date_part_timestamptz(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let part = timestamptz_part(call);
    opt2(args, |word: &str, t| Ok(part(word, t)?.float8()))
}

fn date_trunc_zone(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut cache = ZoneCache::default();
    map3(args, |word: &str, t: Timestamptz, zone: &str| {
        if !is_finite(t.0) {
            return Ok(t);
        }
        let zone = cache.get(zone, truncate::zone_argument)?;
        truncate::in_zone(word, t.0, &zone).map(Timestamptz)
    })
}

fn zone_of_timestamptz(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut cache = ZoneCache::default();
    map2(args, |zone: &str, t: Timestamptz| {
        if !is_finite(t.0) {
            return Ok(Timestamp(t.0));
        }
        zones::to_local(&cache.get(zone, zone::at_time_zone)?, t.0).map(Timestamp)
    })
}

fn zone_of_timestamp(_: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut cache = ZoneCache::default();
    map2(args, |zone: &str, t: Timestamp| {
        if !is_finite(t.0) {
            return Ok(Timestamptz(t.0));
        }
        zones::to_utc(&cache.get(zone, zone::at_time_zone)?, t.0).map(Timestamptz)
    })
}

fn age_timestamptz(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let format = call.session.format();
    let local = |t| timestamptz_to_timestamp(&format.time_zone, t).map(|t| t.0);
    map2(args, |a, b| arith::age(local(a)?, local(b)?))
}

fn age_today(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let today = midnight(arith::timestamp_to_date(local_now(call)?))?;
    map1(args, |t: Timestamp| arith::age(today.0, t.0))
}

fn age_today_timestamptz(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let format = call.session.format();
    let today = midnight(arith::timestamp_to_date(local_now(call)?))?;
    map1(args, |t| arith::age(today.0, timestamptz_to_timestamp(&format.time_zone, t)?.0))
}

/// Reads the int4 and float8 arguments of a `make_` function row by row; `f` sees the integers, then the seconds.
fn make_rows<const N: usize, R: crate::sql::functions::adapt::Ret>(
    call: &Call<'_>,
    args: &[ArrayRef],
    mut f: impl FnMut([i32; N], f64, usize) -> Result<R>,
) -> Result<ArrayRef> {
    use crate::sql::functions::adapt::Arg;
    let mut out = R::builder(call.rows);
    for row in 0..call.rows {
        let value = if args.iter().any(|a| a.is_null(row)) {
            None
        } else {
            let mut counts = [0; N];
            for (count, array) in counts.iter_mut().zip(args) {
                *count = i32::read(&**array, row);
            }
            let seconds = args.get(N).map_or(0.0, |a| f64::read(&**a, row));
            Some(f(counts, seconds, row)?)
        };
        R::append(&mut out, value);
    }
    Ok(R::finish(out))
}

fn make_timestamp(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    make_rows(call, args, |[y, m, d, h, i], s, _| make::timestamp(y, m, d, h, i, s).map(Timestamp))
}

fn make_timestamptz(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let format = call.session.format();
    make_rows(call, args, |[y, m, d, h, i], s, _| {
        timestamp_to_timestamptz(&format.time_zone, Timestamp(make::timestamp(y, m, d, h, i, s)?))
    })
}

fn make_timestamptz_in(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    use crate::sql::functions::adapt::Arg;
    let mut cache = ZoneCache::default();
    make_rows(call, args, |[y, m, d, h, i], s, row| {
        let local = make::timestamp(y, m, d, h, i, s)?;
        let zone = cache.get(<&str>::read(&*args[6], row), zones::of_argument)?;
        let offset = i128::from(zone.local_offset(local)) * i128::from(MICROS_PER_SECOND);
        check_timestamp(i128::from(local) - offset).map(Timestamptz).ok_or_else(timestamp_out_of_range)
    })
}

fn make_interval(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    make_rows(call, args, |counts: [i32; 6], s, _| make::interval(counts, s))
}

const fn zoned(oid: u32, name: &'static str, args: &'static [PgType], imp: ScalarImpl) -> FnDef {
    FnDef::new(oid, name, args, TSTZ, imp)
}

const fn overlapping(oid: u32, args: &'static [PgType], imp: ScalarImpl) -> FnDef {
    FnDef::new(oid, "overlaps", args, BOOL, imp).called_on_null()
}

pub(crate) static FUNCTIONS: &[FnDef] = &[
    zoned(1299, "now", &[], now).stable(),
    zoned(2647, "transaction_timestamp", &[], now).stable(),
    zoned(2648, "statement_timestamp", &[], |call, _| {
        let micros = call.session.statement_micros();
        map0(call.rows, || Ok(Timestamptz(micros)))
    })
    .stable(),
    zoned(2649, "clock_timestamp", &[], |call, _| map0(call.rows, || Ok(Timestamptz(now_micros())))).volatile(),
    FnDef::new(274, "timeofday", &[], TEXT, timeofday).volatile(),
    FnDef::new(0, "current_date", &[], DATE, |call, _| {
        let today = arith::timestamp_to_date(local_now(call)?);
        map0(call.rows, || Ok(today))
    })
    .stable(),
    FnDef::new(0, "localtimestamp", &[], TS, |call, _| {
        let now = local_now(call)?;
        map0(call.rows, || Ok(now))
    })
    .stable(),
    FnDef::new(0, "localtime", &[], TIME, |call, _| {
        let time = arith::timestamp_to_time(local_now(call)?).unwrap_or(Time(0));
        map0(call.rows, || Ok(time))
    })
    .stable(),
    FnDef::new(6199, "extract", &[TEXT, DATE], NUMERIC, |_, a| {
        opt2(a, |w: &str, d: Date| parts::of_date_value(w, d.0)?.numeric())
    }),
    FnDef::new(6200, "extract", &[TEXT, TIME], NUMERIC, |_, a| {
        opt2(a, |w: &str, t: Time| parts::of_time_value(w, t.0)?.numeric())
    }),
    FnDef::new(6202, "extract", &[TEXT, TS], NUMERIC, |_, a| opt2(a, |w: &str, t| timestamp_part(w, t)?.numeric())),
    FnDef::new(6203, "extract", &[TEXT, TSTZ], NUMERIC, extract_timestamptz).stable(),
    FnDef::new(6204, "extract", &[TEXT, INTERVAL], NUMERIC, |_, a| {
        opt2(a, |w: &str, i| parts::of_interval(w, i)?.numeric())
    }),
    FnDef::new(1384, "date_part", &[TEXT, DATE], FLOAT8, |_, a| {
        opt2(a, |w: &str, d| Ok(timestamp_part(w, midnight(d)?)?.float8()))
    }),
    FnDef::new(1385, "date_part", &[TEXT, TIME], FLOAT8, |_, a| {
        opt2(a, |w: &str, t: Time| Ok(parts::of_time_value(w, t.0)?.float8()))
    }),
    FnDef::new(2021, "date_part", &[TEXT, TS], FLOAT8, |_, a| opt2(a, |w: &str, t| Ok(timestamp_part(w, t)?.float8()))),
    FnDef::new(1171, "date_part", &[TEXT, TSTZ], FLOAT8, date_part_timestamptz).stable(),
    FnDef::new(1172, "date_part", &[TEXT, INTERVAL], FLOAT8, |_, a| {
        opt2(a, |w: &str, i| Ok(parts::of_interval(w, i)?.float8()))
    }),
    FnDef::new(2020, "date_trunc", &[TEXT, TS], TS, |_, a| {
        map2(a, |w: &str, t: Timestamp| truncate::timestamp(w, t.0).map(Timestamp))
    }),
    zoned(1217, "date_trunc", &[TEXT, TSTZ], |call, a| {
        let format = call.session.format();
        map2(a, |w: &str, t: Timestamptz| truncate::timestamptz(w, t.0, &format.time_zone).map(Timestamptz))
    })
    .stable(),
    zoned(1284, "date_trunc", &[TEXT, TSTZ, TEXT], date_trunc_zone).stable(),
    FnDef::new(1218, "date_trunc", &[TEXT, INTERVAL], INTERVAL, |_, a| map2(a, truncate::interval)),
    FnDef::new(6177, "date_bin", &[INTERVAL, TS, TS], TS, |_, a| {
        map3(a, |i, t: Timestamp, o: Timestamp| truncate::bin(i, t.0, o.0).map(Timestamp))
    }),
    zoned(6178, "date_bin", &[INTERVAL, TSTZ, TSTZ], |_, a| {
        map3(a, |i, t: Timestamptz, o: Timestamptz| truncate::bin(i, t.0, o.0).map(Timestamptz))
    }),
    FnDef::new(2058, "age", &[TS, TS], INTERVAL, |_, a| map2(a, |x: Timestamp, y: Timestamp| arith::age(x.0, y.0))),
    FnDef::new(1199, "age", &[TSTZ, TSTZ], INTERVAL, age_timestamptz).stable(),
    FnDef::new(2059, "age", &[TS], INTERVAL, age_today).stable(),
    FnDef::new(1386, "age", &[TSTZ], INTERVAL, age_today_timestamptz).stable(),
    FnDef::new(3846, "make_date", &[INT4, INT4, INT4], DATE, |_, a| map3(a, |y, m, d| make::date(y, m, d).map(Date))),
    FnDef::new(3847, "make_time", &[INT4, INT4, FLOAT8], TIME, |_, a| map3(a, |h, m, s| make::time(h, m, s).map(Time))),
    FnDef::new(3461, "make_timestamp", &[INT4, INT4, INT4, INT4, INT4, FLOAT8], TS, make_timestamp),
    zoned(3462, "make_timestamptz", &[INT4, INT4, INT4, INT4, INT4, FLOAT8], make_timestamptz).stable(),
    zoned(3463, "make_timestamptz", &[INT4, INT4, INT4, INT4, INT4, FLOAT8, TEXT], make_timestamptz_in).stable(),
    FnDef::new(3464, "make_interval", &[INT4, INT4, INT4, INT4, INT4, INT4, FLOAT8], INTERVAL, make_interval)
        .optional(7),
    FnDef::new(1175, "justify_hours", &[INTERVAL], INTERVAL, |_, a| map1(a, |i: Interval| i.justify_hours())),
    FnDef::new(1295, "justify_days", &[INTERVAL], INTERVAL, |_, a| map1(a, |i: Interval| i.justify_days())),
    FnDef::new(2711, "justify_interval", &[INTERVAL], INTERVAL, |_, a| map1(a, |i: Interval| i.justify_interval())),
    FnDef::new(1373, "isfinite", &[DATE], BOOL, |_, a| map1(a, |d: Date| Ok(is_finite_date(d.0)))),
    FnDef::new(2048, "isfinite", &[TS], BOOL, |_, a| map1(a, |t: Timestamp| Ok(is_finite(t.0)))),
    FnDef::new(1389, "isfinite", &[TSTZ], BOOL, |_, a| map1(a, |t: Timestamptz| Ok(is_finite(t.0)))),
    FnDef::new(1390, "isfinite", &[INTERVAL], BOOL, |_, a| map1(a, |_: Interval| Ok(true))),
    FnDef::new(1159, "timezone", &[TEXT, TSTZ], TS, zone_of_timestamptz),
    zoned(2069, "timezone", &[TEXT, TS], zone_of_timestamp),
    FnDef::new(1026, "timezone", &[INTERVAL, TSTZ], TS, |_, a| {
        map2(a, |i, t: Timestamptz| zones::to_local(&zones::of_interval(i, t.0)?, t.0).map(Timestamp))
    }),
    zoned(2070, "timezone", &[INTERVAL, TS], |_, a| {
        map2(a, |i, t: Timestamp| zones::to_utc(&zones::of_interval(i, t.0)?, t.0).map(Timestamptz))
    }),
    zoned(1158, "to_timestamp", &[FLOAT8], |_, a| map1(a, |s| make::from_epoch(s).map(Timestamptz))),
    FnDef::new(938, "generate_series", &[TS, TS, INTERVAL], TS, series::timestamps).set(),
    zoned(939, "generate_series", &[TSTZ, TSTZ, INTERVAL], series::timestamptzs).set().stable(),
    overlapping(2041, &[TS, TS, TS, TS], overlaps::timestamps::<false, false>),
    overlapping(2042, &[TS, INTERVAL, TS, INTERVAL], overlaps::timestamps::<true, true>),
    overlapping(2043, &[TS, TS, TS, INTERVAL], overlaps::timestamps::<false, true>),
    overlapping(2044, &[TS, INTERVAL, TS, TS], overlaps::timestamps::<true, false>),
    overlapping(1304, &[TSTZ, TSTZ, TSTZ, TSTZ], overlaps::timestamptzs::<false, false>),
    overlapping(1305, &[TSTZ, INTERVAL, TSTZ, INTERVAL], overlaps::timestamptzs::<true, true>).stable(),
    overlapping(1306, &[TSTZ, TSTZ, TSTZ, INTERVAL], overlaps::timestamptzs::<false, true>).stable(),
    overlapping(1307, &[TSTZ, INTERVAL, TSTZ, TSTZ], overlaps::timestamptzs::<true, false>).stable(),
    overlapping(1308, &[TIME, TIME, TIME, TIME], overlaps::times::<false, false>),
    overlapping(1309, &[TIME, INTERVAL, TIME, INTERVAL], overlaps::times::<true, true>),
    overlapping(1310, &[TIME, TIME, TIME, INTERVAL], overlaps::times::<false, true>),
    overlapping(1311, &[TIME, INTERVAL, TIME, TIME], overlaps::times::<true, false>),
];
