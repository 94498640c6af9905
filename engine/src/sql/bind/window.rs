//! Window function calls.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::functions_window as fw;
use datafusion::logical_expr::expr::{NullTreatment, Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Cast, Expr, Operator, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, WindowUDF,
};
use datafusion::sql::sqlparser::ast::{self, FunctionArguments, WindowSpec, WindowType};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::scope::{Clause, Ctx};
use super::typed::Typed;
use super::{Binder, fold};
use crate::sql::coerce::common_type;
use crate::sql::functions;
use crate::sql::parse::exclusion;
use crate::sql::plan::planning;
use crate::sql::window::{self, Bound, Compute, Exclude, Frame, Framed};
use crate::types::Value;

/// Functions that exist only with OVER.
pub(super) fn is_window_function(name: &str) -> bool {
    matches!(
        name,
        "row_number"
            | "rank"
            | "dense_rank"
            | "percent_rank"
            | "cume_dist"
            | "ntile"
            | "lag"
            | "lead"
            | "first_value"
            | "last_value"
            | "nth_value"
    )
}

impl Binder<'_> {
    pub(super) fn window_call(
        &mut self,
        name: &str,
        f: &ast::Function,
        over: &WindowType,
        ctx: &Ctx<'_>,
        position: Option<u32>,
    ) -> Result<Typed> {
        if !ctx.clause.allows_windows() || ctx.in_aggregate {
            let message = if ctx.in_aggregate {
                "aggregate function calls cannot contain window function calls".to_owned()
            } else {
                format!("window functions are not allowed in {}", ctx.clause.name())
            };
            let code = if ctx.in_aggregate { SqlState::GROUPING_ERROR } else { SqlState::WINDOWING_ERROR };
            return Err(SqlError::new(code, message).at(position));
        }
        let spec = self.window_spec(over)?;
        let inner = Ctx { clause: Clause::Window, ..*ctx };
        let mut partition_by = Vec::new();
        for key in &spec.partition_by {
            let key = self.windowed_expr(key, &inner, ctx)?;
            let key = if key.is_unknown() { self.coerce(key, PgType::TEXT)? } else { key };
            partition_by.push(self.sort_key(key.expr, key.ty)?);
        }
        let mut order_by = Vec::new();
        let mut order_keys = Vec::new();
        for key in &spec.order_by {
            let bound = self.windowed_expr(&key.expr, &inner, ctx)?;
            order_keys.push(bound.clone());
            order_by.push(self.sort_expr(bound, &key.options)?);
        }
        let frame = self.window_frame(&spec, &order_by, &order_keys)?;
        let call = if is_window_function(name) {
            self.pure_window(name, f, ctx, position)?
        } else if functions::aggregates_named(name).next().is_some() {
            let (typed, parts) = self.aggregate_call(name, f, &Ctx { clause: Clause::Select, ..*ctx }, position)?;
            let ret = typed.ty;
            WindowCall {
                native: Some(WindowFunctionDefinition::AggregateUDF(Arc::clone(&parts.udf))),
                compute: Some(Compute::Aggregate(parts.udf)),
                args: parts.args,
                carriers: parts.carriers,
                ret,
                carrier: ret.arrow(),
                filter: parts.filter,
                distinct: parts.distinct,
            }
        } else {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("OVER specified, but {name} is not a window function nor an aggregate function"),
            )
            .at(position));
        };
        if call.distinct {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "DISTINCT is not implemented for window functions",
            )
            .at(position));
        }
        if f.null_treatment == Some(ast::NullTreatment::IgnoreNulls) {
            return Err(SqlError::unsupported("IGNORE NULLS").at(position));
        }
        let (carrier, ret) = (call.carrier.clone(), call.ret);
        let (fun, args, window_frame, filter) = self.placed(name, call, frame, &order_by)?;
        let params = WindowFunctionParams {
            args,
            partition_by,
            order_by,
            window_frame,
            filter,
            null_treatment: None::<NullTreatment>,
            distinct: false,
        };
        let call = Expr::WindowFunction(Box::new(WindowFunction { fun, params }));
        let expr = if carrier == ret.arrow() { call } else { Expr::Cast(Cast::new(Box::new(call), ret.arrow())) };
        Ok(Typed::new(expr, ret).at(position))
    }

    /// A call as DataFusion's function where it has that, else as ours over the whole partition.
    #[allow(clippy::type_complexity)]
    fn placed(
        &self,
        name: &str,
        call: WindowCall,
        frame: BoundFrame,
        order_by: &[Sort],
    ) -> Result<(WindowFunctionDefinition, Vec<Expr>, WindowFrame, Option<Box<Expr>>)> {
        // These do not look at their frame.
        let frameless = matches!(call.compute, None | Some(Compute::Lag | Compute::Lead | Compute::Ntile));
        let native_frame = frame.native.or_else(|| frameless.then(|| WindowFrame::new(None)));
        if let (Some(native), Some(window_frame)) = (&call.native, native_frame) {
            // An aggregate over a frame that leaves rows behind has to take them back.
            let slides = match &call.compute {
                Some(Compute::Aggregate(udf)) => {
                    window_frame.is_ever_expanding() || window::slides(udf, &call.carriers, &call.carrier)
                }
                _ => true,
            };
            if slides {
                return Ok((native.clone(), call.args, window_frame, call.filter));
            }
        }
        let Some(compute) = call.compute else { return Err(SqlError::internal("a window function without a way")) };
        let (units, exclude) = (frame.frame.units, frame.frame.exclude);
        let framed = Framed {
            name: format!("{name} {units} {:?} {:?} {exclude:?}", frame.frame.start, frame.frame.end),
            compute,
            frame: frame.frame,
            args: call.args.len(),
            filtered: call.filter.is_some(),
            keys: order_by.len(),
            descending: order_by.first().is_some_and(|s| !s.asc),
            ret: call.carrier,
            signature: Framed::signature(),
        };
        let mut args = call.args;
        args.extend(call.filter.map(|f| *f));
        args.extend(order_by.iter().map(|s| s.expr.clone()));
        args.extend(frame.args);
        let udf = Arc::new(WindowUDF::new_from_impl(framed));
        Ok((WindowFunctionDefinition::WindowUDF(udf), args, WindowFrame::new(None), None))
    }

    /// Keys of a window may hold aggregates, as the select list may.
    fn windowed_expr(&mut self, e: &ast::Expr, inner: &Ctx<'_>, outer: &Ctx<'_>) -> Result<Typed> {
        let ctx = Ctx { clause: if outer.clause == Clause::Select { Clause::Having } else { inner.clause }, ..*inner };
        self.expr(e, &ctx)
    }

    pub(super) fn window_spec(&mut self, over: &WindowType) -> Result<WindowSpec> {
        match over {
            WindowType::NamedWindow(name) => self.named_window(name),
            WindowType::WindowSpec(spec) => match &spec.window_name {
                None => Ok(spec.clone()),
                Some(mark) if exclusion(mark).is_some_and(|(_, copied)| copied.is_none()) => Ok(spec.clone()),
                Some(name) => {
                    let excludes = exclusion(name);
                    let copied = excludes.as_ref().and_then(|(_, copied)| copied.as_ref()).unwrap_or(name);
                    let mut base = self.named_window(copied)?;
                    if base.window_frame.is_some() {
                        return Err(SqlError::new(
                            SqlState::WINDOWING_ERROR,
                            format!("cannot copy window \"{}\" because it has a frame clause", fold(copied)),
                        )
                        .hint("Omit the parentheses in this OVER clause."));
                    }
                    if !spec.partition_by.is_empty() {
                        return Err(SqlError::new(
                            SqlState::WINDOWING_ERROR,
                            format!("cannot override PARTITION BY clause of window \"{}\"", fold(copied)),
                        ));
                    }
                    if !spec.order_by.is_empty() {
                        if !base.order_by.is_empty() {
                            return Err(SqlError::new(
                                SqlState::WINDOWING_ERROR,
                                format!("cannot override ORDER BY clause of window \"{}\"", fold(copied)),
                            ));
                        }
                        base.order_by = spec.order_by.clone();
                    }
                    base.window_frame = spec.window_frame.clone();
                    base.window_name = excludes.is_some().then(|| name.clone());
                    Ok(base)
                }
            },
        }
    }

    fn named_window(&mut self, name: &ast::Ident) -> Result<WindowSpec> {
        let wanted = fold(name);
        let found = self.windows.iter().rev().find(|(n, _)| *n == wanted).map(|(_, spec)| spec.clone());
        found.ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_OBJECT, format!("window \"{wanted}\" does not exist"))
                .at(self.position(name.span))
        })
    }

    fn pure_window(
        &mut self,
        name: &str,
        f: &ast::Function,
        ctx: &Ctx<'_>,
        position: Option<u32>,
    ) -> Result<WindowCall> {
        if f.filter.is_some() {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "FILTER is not implemented for non-aggregate window functions",
            )
            .at(position));
        }
        let ctx = Ctx { clause: if ctx.clause == Clause::Select { Clause::Having } else { ctx.clause }, ..*ctx };
        let mut args = match &f.args {
            FunctionArguments::List(list) => self.arguments(&list.args, &ctx)?,
            _ => Vec::new(),
        };
        let types: Vec<PgType> = args.iter().map(|a| a.ty).collect();
        let wrong = || super::func::no_function(name, &types).at(position);
        let (udf, compute, ret, carrier, counts) = match name {
            "row_number" => (fw::row_number::row_number_udwf(), None, PgType::INT8, DataType::UInt64, 0..=0),
            "rank" => (fw::rank::rank_udwf(), None, PgType::INT8, DataType::UInt64, 0..=0),
            "dense_rank" => (fw::rank::dense_rank_udwf(), None, PgType::INT8, DataType::UInt64, 0..=0),
            "percent_rank" => (fw::rank::percent_rank_udwf(), None, PgType::FLOAT8, DataType::Float64, 0..=0),
            "cume_dist" => (fw::cume_dist::cume_dist_udwf(), None, PgType::FLOAT8, DataType::Float64, 0..=0),
            "ntile" => (fw::ntile::ntile_udwf(), Some(Compute::Ntile), PgType::INT4, DataType::UInt64, 1..=1),
            "lag" | "lead" | "first_value" | "last_value" | "nth_value" => {
                let first = args.first().cloned().ok_or_else(wrong)?;
                let first = if first.is_unknown() { self.coerce(first, PgType::TEXT)? } else { first };
                // lag and lead take a default of any type that has one in common with the value (anycompatible).
                let ty = match args.get(2) {
                    Some(default) if matches!(name, "lag" | "lead") && !default.is_unknown() => {
                        common_type(&[first.ty, default.ty], name).map_err(|_| wrong())?
                    }
                    _ => first.ty,
                };
                args[0] = if ty == first.ty { first } else { self.coerce(first, ty)? };
                let (udf, compute, counts) = match name {
                    "lag" => (fw::lead_lag::lag_udwf(), Compute::Lag, 1..=3),
                    "lead" => (fw::lead_lag::lead_udwf(), Compute::Lead, 1..=3),
                    "first_value" => (fw::nth_value::first_value_udwf(), Compute::FirstValue, 1..=1),
                    "last_value" => (fw::nth_value::last_value_udwf(), Compute::LastValue, 1..=1),
                    _ => (fw::nth_value::nth_value_udwf(), Compute::NthValue, 2..=2),
                };
                (udf, Some(compute), ty, ty.arrow(), counts)
            }
            _ => return Err(wrong()),
        };
        if !counts.contains(&args.len()) {
            return Err(wrong());
        }
        let mut exprs = Vec::with_capacity(args.len());
        let mut native = true;
        for (i, arg) in args.into_iter().enumerate() {
            let arg = match (name, i) {
                ("ntile", 0) | ("lag" | "lead" | "nth_value", 1) => {
                    let arg = self.coerce(arg, PgType::INT4)?;
                    let arg = self.coerce(arg, PgType::INT8)?;
                    // DataFusion's take a number above zero, written out.
                    let positive = matches!(&arg.expr, Expr::Literal(ScalarValue::Int64(Some(n)), _) if *n > 0);
                    let moves = matches!(name, "lag" | "lead");
                    native &= positive || moves && matches!(&arg.expr, Expr::Literal(ScalarValue::Int64(Some(_)), _));
                    arg
                }
                ("lag" | "lead", 2) => {
                    let arg = self.coerce(arg, ret)?;
                    native &= matches!(&arg.expr, Expr::Literal(..));
                    arg
                }
                _ => arg,
            };
            exprs.push(arg.expr);
        }
        Ok(WindowCall {
            native: native.then_some(WindowFunctionDefinition::WindowUDF(udf)),
            compute,
            args: exprs,
            carriers: Vec::new(),
            ret,
            carrier,
            filter: None,
            distinct: false,
        })
    }

    fn window_frame(&mut self, spec: &WindowSpec, order_by: &[Sort], keys: &[Typed]) -> Result<BoundFrame> {
        let order_types: Vec<PgType> = keys.iter().map(|k| k.ty).collect();
        let exclude = spec.window_name.as_ref().and_then(exclusion).map_or(Exclude::Nothing, |(what, _)| what);
        let Some(frame) = &spec.window_frame else {
            let native = if order_by.is_empty() {
                WindowFrame::new(None)
            } else {
                let start = WindowFrameBound::Preceding(ScalarValue::UInt64(None));
                WindowFrame::new_bounds(peers(&order_types), start, WindowFrameBound::CurrentRow)
            };
            let frame =
                Frame { units: WindowFrameUnits::Range, start: Bound::Unbounded, end: Bound::CurrentRow, exclude };
            return Ok(BoundFrame { native: Some(native), frame, args: Vec::new() });
        };
        let units = match frame.units {
            ast::WindowFrameUnits::Rows => WindowFrameUnits::Rows,
            ast::WindowFrameUnits::Range => WindowFrameUnits::Range,
            ast::WindowFrameUnits::Groups => WindowFrameUnits::Groups,
        };
        if units == WindowFrameUnits::Groups && order_by.is_empty() {
            return Err(SqlError::new(SqlState::WINDOWING_ERROR, "GROUPS mode requires an ORDER BY clause"));
        }
        check_frame(&frame.start_bound, frame.end_bound.as_ref())?;
        let end_bound = frame.end_bound.as_ref().unwrap_or(&ast::WindowFrameBound::CurrentRow);
        let offsets = [&frame.start_bound, end_bound].into_iter().any(|b| offset_of(b).is_some());
        if units == WindowFrameUnits::Range && offsets && order_by.len() != 1 {
            return Err(SqlError::new(
                SqlState::WINDOWING_ERROR,
                "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column",
            ));
        }
        let start = self.frame_bound(&frame.start_bound, units, order_by, keys, Edge::Start)?;
        let end = self.frame_bound(end_bound, units, order_by, keys, Edge::End)?;
        let native = match (start.native, end.native) {
            _ if exclude != Exclude::Nothing => None,
            (Some(start), Some(end)) if is_reversed(&start, &end) => None,
            // Without ORDER BY all rows are peers: the frame is the partition.
            _ if units == WindowFrameUnits::Range && order_by.is_empty() => Some(WindowFrame::new(None)),
            (Some(start), Some(end)) => {
                let range = units == WindowFrameUnits::Range;
                let units = if range && !offsets { peers(&order_types) } else { units };
                Some(WindowFrame::new_bounds(units, start, end))
            }
            _ => None,
        };
        let frame = Frame { units, start: start.bound, end: end.bound, exclude };
        Ok(BoundFrame { native, frame, args: start.args.into_iter().chain(end.args).collect() })
    }

    fn frame_bound(
        &mut self,
        bound: &ast::WindowFrameBound,
        units: WindowFrameUnits,
        order_by: &[Sort],
        keys: &[Typed],
        edge: Edge,
    ) -> Result<FrameEdge> {
        let unbounded = ScalarValue::UInt64(None);
        let plain = |bound, native| Ok(FrameEdge { bound, native: Some(native), args: Vec::new() });
        let (offset, preceding) = match bound {
            ast::WindowFrameBound::CurrentRow => return plain(Bound::CurrentRow, WindowFrameBound::CurrentRow),
            ast::WindowFrameBound::Preceding(None) => {
                return plain(Bound::Unbounded, WindowFrameBound::Preceding(unbounded));
            }
            ast::WindowFrameBound::Following(None) => {
                return plain(Bound::Unbounded, WindowFrameBound::Following(unbounded));
            }
            ast::WindowFrameBound::Preceding(Some(e)) => (e, true),
            ast::WindowFrameBound::Following(Some(e)) => (e, false),
        };
        let offset = match &**offset {
            // sqlparser takes a string here for an interval; it is one only if the key wants one.
            ast::Expr::Interval(i) if i.leading_field.is_none() && i.fractional_seconds_precision.is_none() => {
                &*i.value
            }
            other => other,
        };
        let offset = self.constant_expr(offset, Clause::Window)?;
        let (literal, args) = match (units, order_by, keys) {
            (WindowFrameUnits::Range, [sort], [key]) => {
                // Beyond all keys, on the side from which the frame comes.
                let beyond = if (edge == Edge::Start) == sort.asc { "-Infinity" } else { "Infinity" };
                (None, self.range_offset(offset, key, preceding == sort.asc, beyond)?)
            }
            _ => {
                let offset = self.coerce(offset, PgType::INT8)?.expr;
                let literal = match &offset {
                    Expr::Literal(ScalarValue::Int64(Some(n)), _) if *n >= 0 => {
                        Some(ScalarValue::UInt64(Some(*n as u64)))
                    }
                    _ => None,
                };
                (literal, vec![offset])
            }
        };
        let native =
            literal.map(|n| if preceding { WindowFrameBound::Preceding(n) } else { WindowFrameBound::Following(n) });
        Ok(FrameEdge { bound: if preceding { Bound::Preceding } else { Bound::Following }, native, args })
    }

    /// An offset of RANGE as the arguments of [`Framed`]: key, bound, and whether it is no size (the in_range functions of
    /// PostgreSQL's types). DataFusion's own bound overflows with the key's type. `beyond` is the bound where an infinite
    /// offset meets an infinite key: all rows are in range.
    fn range_offset(&mut self, offset: Typed, key: &Typed, subtract: bool, beyond: &str) -> Result<Vec<Expr>> {
        let unsupported = |what: String| {
            let message = format!("RANGE with offset PRECEDING/FOLLOWING is not supported for {what}");
            SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
        };
        // (what the key is added to as, what is added)
        let (as_type, of_type) = match key.ty {
            PgType::INT2 | PgType::INT4 | PgType::INT8 => (PgType::NUMERIC, PgType::INT8),
            PgType::FLOAT4 | PgType::FLOAT8 => (PgType::FLOAT8, PgType::FLOAT8),
            PgType::NUMERIC => (PgType::NUMERIC, PgType::NUMERIC),
            PgType::DATE | PgType::TIMESTAMP => (PgType::TIMESTAMP, PgType::INTERVAL),
            PgType::TIMESTAMPTZ => (PgType::TIMESTAMPTZ, PgType::INTERVAL),
            PgType::TIME | PgType::INTERVAL => (PgType::INTERVAL, PgType::INTERVAL),
            other => return Err(unsupported(format!("column type {}", other.sql_name()))),
        };
        let given = offset.ty;
        let offset = self.coerce(offset, of_type).map_err(|_| {
            unsupported(format!("column type {} and offset type {}", key.ty.sql_name(), given.sql_name()))
                .hint("Cast the offset value to an appropriate type.")
        })?;
        let mut added = offset;
        if key.ty == PgType::TIME {
            // Only the part below a day counts.
            let day = Typed::literal(&Value::Text("day".into()), PgType::TEXT);
            let days = self.call_named("date_trunc", vec![day, added.clone()], None)?;
            added = self.operator("-", added, days, None)?;
        }
        let zero = Typed::unknown("0".to_owned());
        let mut wrong = self.operator("<", added.clone(), zero, None)?.expr;
        if matches!(of_type, PgType::FLOAT8 | PgType::NUMERIC) {
            let nan = self.operator("=", added.clone(), Typed::unknown("NaN".to_owned()), None)?;
            wrong = wrong.or(nan.expr);
        }
        let added = if as_type == PgType::NUMERIC { self.coerce(added, as_type)? } else { added };
        let key = self.cast(key.clone(), as_type, -1)?;
        let mut bound = if as_type == PgType::FLOAT8 {
            // Out of range is infinite here, which no row is beyond.
            let op = if subtract { Operator::Minus } else { Operator::Plus };
            Typed::new(datafusion::logical_expr::binary_expr(key.expr.clone(), op, added.expr), as_type)
        } else {
            self.operator(if subtract { "-" } else { "+" }, key.clone(), added, None)?
        };
        if matches!(as_type, PgType::FLOAT8 | PgType::NUMERIC) {
            let nan = || Typed::unknown("NaN".to_owned());
            let lost = self.operator("=", bound.clone(), nan(), None)?;
            let kept = self.operator("<>", key.clone(), nan(), None)?;
            let all = self.coerce(Typed::unknown(beyond.to_owned()), as_type)?;
            let when = lost.expr.and(kept.expr);
            let bounded = datafusion::logical_expr::when(when, all.expr).otherwise(bound.expr);
            bound = Typed::new(planning(bounded)?, as_type);
        }
        let key = self.sort_key(key.expr, as_type)?;
        Ok(vec![key, self.sort_key(bound.expr, as_type)?, wrong])
    }
}

/// Which end of a frame a bound is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Start,
    End,
}

/// True for a frame that ends before it starts: it is empty, which DataFusion does not take.
fn is_reversed(start: &WindowFrameBound, end: &WindowFrameBound) -> bool {
    use WindowFrameBound::{Following, Preceding};
    match (start, end) {
        (Preceding(ScalarValue::UInt64(Some(from))), Preceding(ScalarValue::UInt64(Some(to)))) => from < to,
        (Following(ScalarValue::UInt64(Some(from))), Following(ScalarValue::UInt64(Some(to)))) => from > to,
        _ => false,
    }
}

/// A window function or aggregate with its arguments.
struct WindowCall {
    /// DataFusion's function, if it takes these arguments.
    native: Option<WindowFunctionDefinition>,
    /// Ours; None where DataFusion's is right with every frame.
    compute: Option<Compute>,
    args: Vec<Expr>,
    /// Of an aggregate's arguments.
    carriers: Vec<DataType>,
    ret: PgType,
    /// What the function gives.
    carrier: DataType,
    filter: Option<Box<Expr>>,
    distinct: bool,
}

/// A frame as DataFusion's, if it has such, and as ours with the arguments of its offsets.
struct BoundFrame {
    native: Option<WindowFrame>,
    frame: Frame,
    args: Vec<Expr>,
}

struct FrameEdge {
    bound: Bound,
    native: Option<WindowFrameBound>,
    args: Vec<Expr>,
}

fn offset_of(bound: &ast::WindowFrameBound) -> Option<&ast::Expr> {
    match bound {
        ast::WindowFrameBound::Preceding(Some(e)) | ast::WindowFrameBound::Following(Some(e)) => Some(e),
        _ => None,
    }
}

/// The units of a frame that ends with the current row's peers. RANGE and GROUPS mean the same without offsets, but
/// DataFusion's RANGE wants keys that it can add to.
fn peers(order_types: &[PgType]) -> WindowFrameUnits {
    let adds = |ty: &PgType| {
        ty.is_integer() || ty.is_float() || (ty.is_string() && *ty != PgType::CHAR) || *ty == PgType::DATE
    };
    if order_types.iter().all(adds) { WindowFrameUnits::Range } else { WindowFrameUnits::Groups }
}

fn check_frame(start: &ast::WindowFrameBound, end: Option<&ast::WindowFrameBound>) -> Result<()> {
    use ast::WindowFrameBound::{CurrentRow, Following, Preceding};
    let error = |m: &str| Err(SqlError::new(SqlState::WINDOWING_ERROR, m));
    match (start, end) {
        (Following(None), _) => error("frame start cannot be UNBOUNDED FOLLOWING"),
        (_, Some(Preceding(None))) => error("frame end cannot be UNBOUNDED PRECEDING"),
        (CurrentRow, Some(Preceding(_))) => error("frame starting from current row cannot have preceding rows"),
        (Following(_), None | Some(CurrentRow | Preceding(_))) => {
            error("frame starting from following row cannot have preceding rows")
        }
        _ => Ok(()),
    }
}
