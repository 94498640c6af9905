//! Window function calls.

use datafusion::common::ScalarValue;
use datafusion::functions_window as fw;
use datafusion::logical_expr::expr::{NullTreatment, Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{Cast, Expr, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition};
use datafusion::sql::sqlparser::ast::{self, FunctionArguments, WindowSpec, WindowType};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::scope::{Clause, Ctx};
use super::typed::Typed;
use super::{Binder, fold};
use crate::sql::functions;

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
        let mut order_types = Vec::new();
        for key in &spec.order_by {
            let bound = self.windowed_expr(&key.expr, &inner, ctx)?;
            order_types.push(bound.ty);
            order_by.push(self.sort_expr(bound, &key.options)?);
        }
        let frame = self.window_frame(spec.window_frame.as_ref(), &order_by, &order_types)?;
        let (fun, args, ret, carrier, filter, distinct) = if is_window_function(name) {
            self.pure_window(name, f, ctx, position)?
        } else if functions::aggregates_named(name).next().is_some() {
            let (typed, parts) = self.aggregate_call(name, f, &Ctx { clause: Clause::Select, ..*ctx }, position)?;
            let fun = WindowFunctionDefinition::AggregateUDF(parts.udf);
            (fun, parts.args, typed.ty, typed.ty.arrow(), parts.filter, parts.distinct)
        } else {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("OVER specified, but {name} is not a window function nor an aggregate function"),
            )
            .at(position));
        };
        if distinct {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "DISTINCT is not implemented for window functions",
            )
            .at(position));
        }
        if f.null_treatment == Some(ast::NullTreatment::IgnoreNulls) {
            return Err(SqlError::unsupported("IGNORE NULLS").at(position));
        }
        let params = WindowFunctionParams {
            args,
            partition_by,
            order_by,
            window_frame: frame,
            filter,
            null_treatment: None::<NullTreatment>,
            distinct: false,
        };
        let call = Expr::WindowFunction(Box::new(WindowFunction { fun, params }));
        let expr = if carrier == ret.arrow() { call } else { Expr::Cast(Cast::new(Box::new(call), ret.arrow())) };
        Ok(Typed::new(expr, ret).at(position))
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
                Some(name) => {
                    let mut base = self.named_window(name)?;
                    if base.window_frame.is_some() {
                        return Err(SqlError::new(
                            SqlState::WINDOWING_ERROR,
                            format!("cannot copy window \"{}\" because it has a frame clause", fold(name)),
                        )
                        .hint("Omit the parentheses in this OVER clause."));
                    }
                    if !spec.partition_by.is_empty() {
                        return Err(SqlError::new(
                            SqlState::WINDOWING_ERROR,
                            format!("cannot override PARTITION BY clause of window \"{}\"", fold(name)),
                        ));
                    }
                    if !spec.order_by.is_empty() {
                        if !base.order_by.is_empty() {
                            return Err(SqlError::new(
                                SqlState::WINDOWING_ERROR,
                                format!("cannot override ORDER BY clause of window \"{}\"", fold(name)),
                            ));
                        }
                        base.order_by = spec.order_by.clone();
                    }
                    base.window_frame = spec.window_frame.clone();
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

    /// (function, arguments, type, carrier that DataFusion gives, filter, distinct)
    #[allow(clippy::type_complexity)]
    fn pure_window(
        &mut self,
        name: &str,
        f: &ast::Function,
        ctx: &Ctx<'_>,
        position: Option<u32>,
    ) -> Result<(
        WindowFunctionDefinition,
        Vec<Expr>,
        PgType,
        datafusion::arrow::datatypes::DataType,
        Option<Box<Expr>>,
        bool,
    )> {
        use datafusion::arrow::datatypes::DataType;
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
        let (udf, ret, carrier, counts) = match name {
            "row_number" => (fw::row_number::row_number_udwf(), PgType::INT8, DataType::UInt64, 0..=0),
            "rank" => (fw::rank::rank_udwf(), PgType::INT8, DataType::UInt64, 0..=0),
            "dense_rank" => (fw::rank::dense_rank_udwf(), PgType::INT8, DataType::UInt64, 0..=0),
            "percent_rank" => (fw::rank::percent_rank_udwf(), PgType::FLOAT8, DataType::Float64, 0..=0),
            "cume_dist" => (fw::cume_dist::cume_dist_udwf(), PgType::FLOAT8, DataType::Float64, 0..=0),
            "ntile" => (fw::ntile::ntile_udwf(), PgType::INT4, DataType::UInt64, 1..=1),
            "lag" | "lead" | "first_value" | "last_value" | "nth_value" => {
                let first = args.first().cloned().ok_or_else(wrong)?;
                let first = if first.is_unknown() { self.coerce(first, PgType::TEXT)? } else { first };
                let ty = first.ty;
                args[0] = first;
                let (udf, counts) = match name {
                    "lag" => (fw::lead_lag::lag_udwf(), 1..=3),
                    "lead" => (fw::lead_lag::lead_udwf(), 1..=3),
                    "first_value" => (fw::nth_value::first_value_udwf(), 1..=1),
                    "last_value" => (fw::nth_value::last_value_udwf(), 1..=1),
                    _ => (fw::nth_value::nth_value_udwf(), 2..=2),
                };
                (udf, ty, ty.arrow(), counts)
            }
            _ => return Err(wrong()),
        };
        if !counts.contains(&args.len()) {
            return Err(wrong());
        }
        let mut exprs = Vec::with_capacity(args.len());
        for (i, arg) in args.into_iter().enumerate() {
            let arg = match (name, i) {
                ("ntile", 0) | ("lag" | "lead" | "nth_value", 1) => {
                    let arg = self.coerce(arg, PgType::INT4)?;
                    self.coerce(arg, PgType::INT8)?
                }
                ("lag" | "lead", 2) => self.coerce(arg, ret)?,
                _ => arg,
            };
            if let (Expr::Literal(ScalarValue::Int64(None), _), "ntile" | "nth_value") = (&arg.expr, name) {
                return Err(SqlError::unsupported(format!("a NULL argument of {name}")).at(position));
            }
            if let (Expr::Literal(ScalarValue::Int64(None), _), "lag" | "lead", 1) = (&arg.expr, name, i) {
                // No offset, no row: DataFusion would take 1. A row outside every partition is NULL too.
                let far = Typed::literal(&crate::types::Value::Int8(i64::from(i32::MAX)), PgType::INT8);
                exprs.push(far.expr);
                exprs.truncate(2);
                return Ok((WindowFunctionDefinition::WindowUDF(udf), exprs, ret, carrier, None, false));
            }
            if let Expr::Literal(ScalarValue::Int64(Some(n)), _) = &arg.expr {
                match (name, i) {
                    ("ntile", 0) if *n <= 0 => {
                        return Err(SqlError::new(
                            SqlState::INVALID_ARGUMENT_FOR_NTILE,
                            "argument of ntile must be greater than zero",
                        ));
                    }
                    ("nth_value", 1) if *n <= 0 => {
                        return Err(SqlError::new(
                            SqlState::INVALID_ARGUMENT_FOR_NTH_VALUE,
                            "argument of nth_value must be greater than zero",
                        ));
                    }
                    _ => {}
                }
            }
            exprs.push(arg.expr);
        }
        Ok((WindowFunctionDefinition::WindowUDF(udf), exprs, ret, carrier, None, false))
    }

    fn window_frame(
        &mut self,
        frame: Option<&ast::WindowFrame>,
        order_by: &[Sort],
        order_types: &[PgType],
    ) -> Result<WindowFrame> {
        let order_type = order_types.first().copied();
        let Some(frame) = frame else {
            if order_by.is_empty() {
                return Ok(WindowFrame::new(None));
            }
            let start = WindowFrameBound::Preceding(ScalarValue::UInt64(None));
            return Ok(WindowFrame::new_bounds(peers(order_types), start, WindowFrameBound::CurrentRow));
        };
        let units = match frame.units {
            ast::WindowFrameUnits::Rows => WindowFrameUnits::Rows,
            ast::WindowFrameUnits::Range => WindowFrameUnits::Range,
            ast::WindowFrameUnits::Groups => WindowFrameUnits::Groups,
        };
        if units == WindowFrameUnits::Groups && order_by.is_empty() {
            return Err(SqlError::new(SqlState::WINDOWING_ERROR, "GROUPS mode requires an ORDER BY clause"));
        }
        let start = self.frame_bound(&frame.start_bound, units, order_type)?;
        let end = match &frame.end_bound {
            Some(bound) => self.frame_bound(bound, units, order_type)?,
            None => WindowFrameBound::CurrentRow,
        };
        check_frame(&frame.start_bound, frame.end_bound.as_ref())?;
        let offset = |b: Option<&ast::WindowFrameBound>| {
            matches!(b, Some(ast::WindowFrameBound::Preceding(Some(_)) | ast::WindowFrameBound::Following(Some(_))))
        };
        let offsets = offset(Some(&frame.start_bound)) || offset(frame.end_bound.as_ref());
        if units == WindowFrameUnits::Range && offsets && order_by.len() != 1 {
            return Err(SqlError::new(
                SqlState::WINDOWING_ERROR,
                "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column",
            ));
        }
        if units == WindowFrameUnits::Range && order_by.is_empty() {
            // Without ORDER BY all rows are peers: the frame is the partition.
            return Ok(WindowFrame::new(None));
        }
        let units = if units == WindowFrameUnits::Range && !offsets { peers(order_types) } else { units };
        Ok(WindowFrame::new_bounds(units, start, end))
    }

    fn frame_bound(
        &mut self,
        bound: &ast::WindowFrameBound,
        units: WindowFrameUnits,
        order_type: Option<PgType>,
    ) -> Result<WindowFrameBound> {
        let null = || ScalarValue::UInt64(None);
        Ok(match bound {
            ast::WindowFrameBound::CurrentRow => WindowFrameBound::CurrentRow,
            ast::WindowFrameBound::Preceding(None) => WindowFrameBound::Preceding(null()),
            ast::WindowFrameBound::Following(None) => WindowFrameBound::Following(null()),
            ast::WindowFrameBound::Preceding(Some(e)) => {
                WindowFrameBound::Preceding(self.frame_offset(e, units, order_type)?)
            }
            ast::WindowFrameBound::Following(Some(e)) => {
                WindowFrameBound::Following(self.frame_offset(e, units, order_type)?)
            }
        })
    }

    fn frame_offset(
        &mut self,
        e: &ast::Expr,
        units: WindowFrameUnits,
        order_type: Option<PgType>,
    ) -> Result<ScalarValue> {
        let bound = self.constant_expr(e, Clause::Window)?;
        if units != WindowFrameUnits::Range {
            let bound = self.coerce(bound, PgType::INT8)?;
            return match bound.expr {
                Expr::Literal(ScalarValue::Int64(Some(n)), _) if n >= 0 => Ok(ScalarValue::UInt64(Some(n as u64))),
                Expr::Literal(ScalarValue::Int64(Some(_)), _) => Err(SqlError::new(
                    SqlState::INVALID_PRECEDING_OR_FOLLOWING_SIZE,
                    "frame starting offset must not be negative",
                )),
                _ => Err(SqlError::unsupported("a window frame offset that is not a constant")),
            };
        }
        let ty = order_type.unwrap_or(PgType::INT4);
        if !ty.is_integer() && !ty.is_float() {
            return Err(SqlError::unsupported(format!("RANGE with an offset over type {}", ty.sql_name())));
        }
        match self.coerce(bound, ty)?.expr {
            Expr::Literal(value, _) => Ok(value),
            _ => Err(SqlError::unsupported("a window frame offset that is not a constant")),
        }
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
