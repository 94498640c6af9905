//! Function calls, and the syntax that PostgreSQL reads as function calls (EXTRACT, SUBSTRING, TRIM ...).

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::expr::{AggregateFunction, Case, Sort};
use datafusion::logical_expr::{AggregateUDF, Expr, lit};
use datafusion::sql::sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::resolve::{Candidate, Choice, choose};
use super::scope::{Clause, Ctx};
use super::typed::{Kind, Typed};
use super::{Binder, name_parts, name_span};
use crate::sql::compare;
use crate::sql::functions::{self, AggDef, FnDef};
use crate::sql::udf::Resolved;
use crate::types::Value;

/// An overload seen with `n` arguments: variadic ones are stretched.
#[derive(Clone, Copy)]
struct Overload<T> {
    def: T,
    ret: PgType,
    args: &'static [PgType],
    variadic: bool,
}

impl<T: Copy> Candidate for Overload<T> {
    fn arg(&self, index: usize) -> PgType {
        if self.variadic && index + 1 >= self.args.len() {
            return self.args.last().copied().unwrap_or(PgType::ANY);
        }
        self.args[index]
    }

    fn consistent(&self, types: &[PgType]) -> bool {
        let declared: Vec<PgType> = (0..types.len()).map(|i| self.arg(i)).collect();
        concrete(&declared, self.ret, types).is_some()
    }
}

/// Concrete types for polymorphic ones: (argument types, result type), or None if the actual types disagree.
pub(super) fn concrete(declared: &[PgType], ret: PgType, actual: &[PgType]) -> Option<(Vec<PgType>, PgType)> {
    let mut element: Option<PgType> = None;
    let mut compatible: Vec<PgType> = Vec::new();
    for (d, a) in declared.iter().zip(actual) {
        match *d {
            PgType::ANYELEMENT | PgType::ANYNONARRAY if *a != PgType::UNKNOWN => {
                if element.is_some_and(|e| e != *a) {
                    return None;
                }
                element = Some(*a);
            }
            PgType::ANYARRAY if *a != PgType::UNKNOWN => {
                let e = a.list_element()?;
                if element.is_some_and(|known| known != e) {
                    return None;
                }
                element = Some(e);
            }
            PgType::ANYCOMPATIBLE | PgType::ANYCOMPATIBLENONARRAY => compatible.push(*a),
            PgType::ANYCOMPATIBLEARRAY if *a != PgType::UNKNOWN => compatible.push(a.list_element()?),
            _ => {}
        }
    }
    let element = element.unwrap_or(PgType::TEXT);
    let compatible = crate::sql::coerce::common_type(&compatible, "").ok()?;
    let fix = |t: PgType, actual: Option<PgType>| match t {
        PgType::ANYELEMENT | PgType::ANYNONARRAY => Some(element),
        PgType::ANYARRAY => match actual {
            Some(a) if a.list_element() == Some(element) => Some(a),
            _ => element.array(),
        },
        PgType::ANYCOMPATIBLE | PgType::ANYCOMPATIBLENONARRAY => Some(compatible),
        PgType::ANYCOMPATIBLEARRAY => compatible.array(),
        PgType::ANY => Some(actual.filter(|a| *a != PgType::UNKNOWN).unwrap_or(PgType::TEXT)),
        t => Some(t),
    };
    let args = declared.iter().zip(actual).map(|(d, a)| fix(*d, Some(*a))).collect::<Option<Vec<_>>>()?;
    Some((args, fix(ret, None)?))
}

impl Binder<'_> {
    /// Expressions that are calls under another syntax.
    pub(super) fn function_like(&mut self, e: &ast::Expr, ctx: &Ctx<'_>) -> Result<Typed> {
        match e {
            ast::Expr::Function(f) => self.function(f, ctx),
            ast::Expr::Extract { field, expr, .. } => {
                let field = Typed::unknown(field.to_string().to_lowercase().trim_matches('\'').to_owned());
                let source = self.expr(expr, ctx)?;
                self.call_named("extract", vec![field, source], None)
            }
            ast::Expr::Position { expr, r#in } => {
                let (needle, hay) = (self.expr(expr, ctx)?, self.expr(r#in, ctx)?);
                self.call_named("position", vec![hay, needle], None)
            }
            ast::Expr::Substring { expr, substring_from, substring_for, shorthand, .. } => {
                let mut args = vec![self.expr(expr, ctx)?];
                match (substring_from, substring_for) {
                    (Some(from), None) => args.push(self.expr(from, ctx)?),
                    (Some(from), Some(count)) => {
                        args.push(self.expr(from, ctx)?);
                        args.push(self.expr(count, ctx)?);
                    }
                    (None, Some(count)) => {
                        args.push(Typed::literal(&Value::Int4(1), PgType::INT4));
                        args.push(self.expr(count, ctx)?);
                    }
                    (None, None) => {}
                }
                self.call_named(if *shorthand { "substr" } else { "substring" }, args, None)
            }
            ast::Expr::Trim { expr, trim_where, trim_what, trim_characters } => {
                let name = match trim_where {
                    None | Some(ast::TrimWhereField::Both) => "btrim",
                    Some(ast::TrimWhereField::Leading) => "ltrim",
                    Some(ast::TrimWhereField::Trailing) => "rtrim",
                };
                let mut args = vec![self.expr(expr, ctx)?];
                if let Some(what) = trim_what {
                    args.push(self.expr(what, ctx)?);
                }
                for what in trim_characters.iter().flatten() {
                    args.push(self.expr(what, ctx)?);
                }
                self.call_named(name, args, None)
            }
            ast::Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut args =
                    vec![self.expr(expr, ctx)?, self.expr(overlay_what, ctx)?, self.expr(overlay_from, ctx)?];
                if let Some(count) = overlay_for {
                    args.push(self.expr(count, ctx)?);
                }
                self.call_named("overlay", args, None)
            }
            ast::Expr::Ceil { expr, .. } => {
                let arg = self.expr(expr, ctx)?;
                self.call_named("ceil", vec![arg], None)
            }
            ast::Expr::Floor { expr, .. } => {
                let arg = self.expr(expr, ctx)?;
                self.call_named("floor", vec![arg], None)
            }
            ast::Expr::AtTimeZone { timestamp, time_zone } => {
                let (value, zone) = (self.expr(timestamp, ctx)?, self.expr(time_zone, ctx)?);
                self.call_named("timezone", vec![zone, value], None)
            }
            ast::Expr::Cube(_) | ast::Expr::Rollup(_) | ast::Expr::GroupingSets(_) => {
                Err(SqlError::new(SqlState::SYNTAX_ERROR, "grouping sets are allowed only in GROUP BY"))
            }
            other => Err(SqlError::unsupported(format!("expression {other}"))),
        }
    }

    /// Names that SQL reads as calls without parentheses.
    pub(super) fn bare_function(&mut self, name: &str) -> Result<Option<Typed>> {
        match name {
            "current_catalog" | "current_role" | "current_schema" | "current_user" | "session_user" | "user"
            | "current_date" | "localtimestamp" | "localtime" => self.call_named(name, Vec::new(), None).map(Some),
            "current_timestamp" => self.call_named("now", Vec::new(), None).map(Some),
            _ => Ok(None),
        }
    }

    fn function(&mut self, f: &ast::Function, ctx: &Ctx<'_>) -> Result<Typed> {
        let position = self.position(name_span(&f.name));
        let parts = name_parts(&f.name)?;
        let name = match parts.as_slice() {
            [name] => name.as_str(),
            [schema, name] if schema == "pg_catalog" || schema == "information_schema" => name.as_str(),
            [schema, ..] if self.catalog.schema_by_name(self.session.database, schema).is_none() => {
                return Err(SqlError::new(
                    SqlState::INVALID_SCHEMA_NAME,
                    format!("schema \"{schema}\" does not exist"),
                )
                .at(position));
            }
            _ => {
                return Err(SqlError::new(
                    SqlState::UNDEFINED_FUNCTION,
                    format!("function {}() does not exist", parts.join(".")),
                )
                .at(position));
            }
        };
        if let FunctionArguments::Subquery(query) = &f.args {
            if name == "array" {
                return self.array_subquery(query, ctx);
            }
            return Err(SqlError::unsupported(format!("a query as argument of {name}")).at(position));
        }
        let list = match &f.args {
            FunctionArguments::List(list) => Some(list),
            _ => None,
        };
        if list.is_none()
            && parts.len() == 1
            && let Some(typed) = self.bare_function(name)?
        {
            return Ok(typed);
        }
        if super::ordered_set::is_ordered_set(name) {
            return self.ordered_set(name, f, ctx, position);
        }
        if !f.within_group.is_empty() && super::window::is_window_function(name) {
            return Err(SqlError::unsupported(format!("hypothetical-set aggregate {name}")).at(position));
        }
        if let Some(over) = &f.over {
            return self.window_call(name, f, over, ctx, position);
        }
        let empty = Vec::new();
        let args = list.map_or(&empty, |l| &l.args);
        if functions::aggregates_named(name).next().is_some() {
            return self.aggregate_call(name, f, ctx, position).map(|(t, _)| t);
        }
        if f.filter.is_some() || !f.within_group.is_empty() {
            return Err(not_an_aggregate(name, "FILTER").at(position));
        }
        if list.is_some_and(|l| matches!(l.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct))) {
            let known = functions::functions_named(name).next().is_some();
            if known {
                return Err(not_an_aggregate(name, "DISTINCT").at(position));
            }
        }
        if let Some(special) = self.special_call(name, args, ctx, position)? {
            return Ok(special);
        }
        if super::window::is_window_function(name) {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("window function {name} requires an OVER clause"),
            )
            .at(position));
        }
        let args = match self.named_arguments(name, args, ctx, position)? {
            Some(args) => args,
            None => self.arguments(args, ctx)?,
        };
        let typed = self.call_named(name, args, position)?;
        if typed.kind == Kind::Set {
            super::sets::check_place(ctx.clause).map_err(|e| e.at(position))?;
        }
        Ok(typed)
    }

    /// Arguments by position.
    pub(super) fn arguments(&mut self, args: &[FunctionArg], ctx: &Ctx<'_>) -> Result<Vec<Typed>> {
        let mut bound = Vec::with_capacity(args.len());
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => bound.push(self.expr(e, ctx)?),
                FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                    return Err(SqlError::unsupported("named argument notation"));
                }
                FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name)) => {
                    bound.push(self.row_by_name(name, ctx)?)
                }
                FunctionArg::Unnamed(other) => return Err(SqlError::unsupported(format!("argument {other}"))),
            }
        }
        Ok(bound)
    }

    /// COALESCE and the like, whose arguments share a type instead of having one declared.
    fn special_call(
        &mut self,
        name: &str,
        args: &[FunctionArg],
        ctx: &Ctx<'_>,
        position: Option<u32>,
    ) -> Result<Option<Typed>> {
        let upper = name.to_uppercase();
        match name {
            "coalesce" => {
                let sets = self.sets_so_far();
                let mut bound = Vec::with_capacity(args.len());
                let mut found = Vec::with_capacity(args.len());
                for arg in args {
                    let known = ctx.applies.borrow().len();
                    let arg = self.arguments(std::slice::from_ref(arg), ctx)?;
                    Self::only_in_branch(ctx, known, &found, None);
                    found.extend(arg.iter().map(|a| a.expr.clone().is_not_null()));
                    bound.extend(arg);
                }
                self.refuse_sets(sets, &bound, &upper)?;
                let (args, ty, typmod) = self.unify(bound, &upper)?;
                let expr = coalesce(args.into_iter().map(|a| a.expr).collect());
                Ok(Some(Typed { typmod, ..Typed::new(expr, ty) }))
            }
            "nullif" => {
                let args = self.arguments(args, ctx)?;
                let [a, b] = args.as_slice() else { return Ok(None) };
                let a = if matches!(a.kind, Kind::Literal(_)) && b.is_unknown() {
                    self.coerce(a.clone(), PgType::TEXT)?
                } else {
                    a.clone()
                };
                let equal = self.operator("=", a.clone(), b.clone(), position)?;
                let compared = compare::common(a.ty, b.ty).unwrap_or(a.ty);
                let a = if a.is_unknown() || a.ty.is_number() { self.coerce(a, compared)? } else { a };
                let null = Typed::literal(&Value::Null, a.ty).expr;
                let case = Case::new(None, vec![(Box::new(equal.expr), Box::new(null))], Some(Box::new(a.expr)));
                Ok(Some(Typed { typmod: a.typmod, ..Typed::new(Expr::Case(case), a.ty) }))
            }
            "greatest" | "least" => {
                let args = self.arguments(args, ctx)?;
                let (args, ty, _) = self.unify(args, &upper)?;
                self.extreme(args, ty, if name == "greatest" { ">" } else { "<" }).map(Some)
            }
            "pg_typeof" => {
                let args = self.arguments(args, ctx)?;
                let [arg] = args.as_slice() else { return Ok(None) };
                let name = Typed::literal(&Value::Oid(arg.ty.oid()), PgType::REGTYPE);
                if !super::group::contains_aggregate(&arg.expr) {
                    return Ok(Some(name));
                }
                // The argument says nothing, but that it is an aggregate says how many rows there are.
                let missing = Expr::IsNull(Box::new(arg.expr.clone()));
                let both = vec![(Box::new(missing), Box::new(name.expr.clone()))];
                let expr = Expr::Case(Case::new(None, both, Some(Box::new(name.expr.clone()))));
                Ok(Some(Typed { expr, ..name }))
            }
            "row" => self.row_call(args, ctx).map(|t| Some(t.at(position))),
            "grouping" => {
                let args = self.arguments(args, ctx)?;
                let udf = datafusion::functions_aggregate::grouping::grouping_udaf();
                let call = Expr::AggregateFunction(AggregateFunction::new_udf(
                    udf,
                    args.into_iter().map(|a| a.expr).collect(),
                    false,
                    None,
                    vec![],
                    None,
                ));
                Ok(Some(Typed::new(call, PgType::INT4)))
            }
            _ => Ok(None),
        }
    }

    /// GREATEST and LEAST skip NULLs.
    fn extreme(&mut self, args: Vec<Typed>, ty: PgType, op: &str) -> Result<Typed> {
        let mut args = args.into_iter();
        let Some(mut best) = args.next() else { return Err(SqlError::internal("GREATEST of nothing")) };
        for next in args {
            let better = self.operator(op, next.clone(), best.clone(), None)?.expr;
            let missing = Expr::IsNull(Box::new(best.expr.clone()));
            let take = better.or(missing).and(Expr::IsNotNull(Box::new(next.expr.clone())));
            let case = Case::new(None, vec![(Box::new(take), Box::new(next.expr))], Some(Box::new(best.expr)));
            best = Typed::new(Expr::Case(case), ty);
        }
        Ok(best)
    }

    /// A call of a builtin by name.
    pub(super) fn call_named(&mut self, name: &str, args: Vec<Typed>, position: Option<u32>) -> Result<Typed> {
        let types: Vec<PgType> = args.iter().map(|a| a.ty).collect();
        let n = args.len();
        let candidates: Vec<Overload<&'static FnDef>> = functions::functions_named(name)
            .filter(|d| accepts(d.args.len(), d.variadic, d.optional, n))
            .map(|def| Overload { def, ret: def.ret, args: def.args, variadic: def.variadic })
            .collect();
        let chosen = match choose(&candidates, &types) {
            Choice::One(overload) => overload,
            Choice::None => {
                if let Some(cast) = self.cast_by_name(name, &args)? {
                    return Ok(cast.at(position));
                }
                return Err(no_function(name, &types).at(position));
            }
            Choice::Ambiguous => {
                return Err(SqlError::new(
                    SqlState::AMBIGUOUS_FUNCTION,
                    format!("function {} is not unique", signature(name, &types)),
                )
                .hint("Could not choose a best candidate function. You might need to add explicit type casts.")
                .at(position));
            }
        };
        let declared: Vec<PgType> = (0..n).map(|i| chosen.arg(i)).collect();
        for (arg, declared) in args.iter().zip(&declared) {
            if let (Kind::Parameter(index), PgType::ANY) = (&arg.kind, *declared) {
                return Err(SqlError::new(
                    SqlState::INDETERMINATE_DATATYPE,
                    format!("could not determine data type of parameter ${index}"),
                ));
            }
        }
        let Some((wanted, ret)) = concrete(&declared, chosen.def.ret, &types) else {
            return Err(no_function(name, &types).at(position));
        };
        let mut exprs = Vec::with_capacity(n);
        for (arg, ty) in args.into_iter().zip(&wanted) {
            exprs.push(self.coerce(arg, *ty)?.expr);
        }
        let def = chosen.def;
        let resolved = Resolved {
            name: def.name,
            args: wanted,
            ret,
            list: def.returns_set,
            typmod: -1,
            explicit: false,
            volatility: def.volatility,
            waits: def.waits,
            imp: def.imp,
        };
        let expr = self.fold_constant(resolved.call(exprs))?;
        let kind = if def.returns_set { Kind::Set } else { Kind::Plain };
        Ok(Typed { kind, ..Typed::new(expr, ret) }.at(position))
    }

    /// `int4(x)`, `text(x)`, `date('...')`: a cast in function form.
    fn cast_by_name(&mut self, name: &str, args: &[Typed]) -> Result<Option<Typed>> {
        let [arg] = args else { return Ok(None) };
        let Some(ty) = PgType::from_name(name).filter(|t| t.info().name == name) else { return Ok(None) };
        let literal = matches!(arg.kind, Kind::Literal(_));
        let castable = literal || crate::sql::coerce::cast_path(arg.ty, ty, functions::CastContext::Explicit).is_some();
        if castable { self.cast(arg.clone(), ty, -1).map(Some) } else { Ok(None) }
    }

    /// An aggregate, as an expression for `group` to take out. The second value says what it is made of, for windows.
    pub(super) fn aggregate_call(
        &mut self,
        name: &str,
        f: &ast::Function,
        ctx: &Ctx<'_>,
        position: Option<u32>,
    ) -> Result<(Typed, AggregateParts)> {
        if !f.within_group.is_empty() {
            return Err(SqlError::unsupported(format!("ordered-set aggregate {name}")).at(position));
        }
        let FunctionArguments::List(list) = &f.args else {
            return Err(no_function(name, &[]).at(position));
        };
        // Over a window an aggregate may be one of aggregates.
        let inner = match f.over {
            Some(_) => Ctx { clause: Clause::Having, ..*ctx },
            None => Ctx { in_aggregate: true, clause: Clause::Filter, ..*ctx },
        };
        if let Some(parent) = ctx.parent
            && f.over.is_none()
            && !star_or_none(list)
            && self.belongs_outside(&argument_exprs(list), &inner)?
        {
            let (typed, parts) = self.aggregate_call(name, f, parent, position)?;
            return Ok((self.outer_reference(typed, ctx), parts));
        }
        if f.over.is_none() {
            check_aggregate_place(ctx).map_err(|e| e.at(position))?;
        }
        let star = matches!(list.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]);
        let args = if star { Vec::new() } else { self.arguments(&list.args, &inner)? };
        if !star && args.is_empty() && name == "count" {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                "count(*) must be used to call a parameterless aggregate function",
            )
            .at(position));
        }
        let types: Vec<PgType> = args.iter().map(|a| a.ty).collect();
        let (def, wanted, ret) = choose_aggregate(name, &types).map_err(|e| e.at(position))?;
        let mut exprs = Vec::with_capacity(args.len());
        for (arg, ty) in args.into_iter().zip(&wanted) {
            if arg.kind == Kind::Set {
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "aggregate function calls cannot contain set-returning function calls",
                )
                .hint("You might be able to move the set-returning function into a LATERAL FROM item.")
                .at(arg.position));
            }
            exprs.push(self.coerce(arg, *ty)?.expr);
        }
        let mut order_by = Vec::new();
        for clause in &list.clauses {
            match clause {
                ast::FunctionArgumentClause::OrderBy(_) if f.over.is_some() => {
                    return Err(SqlError::new(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        "aggregate ORDER BY is not implemented for window functions",
                    )
                    .at(position));
                }
                ast::FunctionArgumentClause::OrderBy(keys) => {
                    for key in keys {
                        let bound = self.expr(&key.expr, &inner)?;
                        order_by.push(self.sort_expr(bound, &key.options)?);
                    }
                }
                other => return Err(SqlError::unsupported(format!("{other} in a function call")).at(position)),
            }
        }
        let filter = match &f.filter {
            Some(filter) => {
                let bound = self.expr(filter, &inner)?;
                Some(Box::new(self.boolean(bound, "FILTER")?))
            }
            None => None,
        };
        // The extremes are the same, however often they come.
        let extreme = matches!(name, "min" | "max");
        let distinct = matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct)) && !extreme;
        let mut exprs = exprs;
        if distinct && name == "count" {
            // Distinctness is that of the sort key; a count does not show the values.
            for (expr, ty) in exprs.iter_mut().zip(&wanted) {
                // count over numbers and intervals knows by itself which are equal.
                if !ty.is_number() && *ty != PgType::INTERVAL {
                    *expr = self.sort_key(expr.clone(), *ty)?;
                }
            }
        }
        let mut carriers: Vec<DataType> = wanted.iter().map(|ty| ty.arrow()).collect();
        if exprs.is_empty() {
            exprs.push(lit(1i64));
            carriers = vec![DataType::Int64];
        }
        if distinct && order_by.is_empty() && exprs.len() == 1 && !ret.is_number() && name != "count" {
            // PostgreSQL finds distinct values by sorting, and what collects them shows that order.
            let key = self.sort_key(exprs[0].clone(), wanted[0])?;
            order_by.push(Sort::new(key, true, false));
        }
        let udf = Arc::new((def.make)(&wanted, ret));
        let call =
            AggregateFunction::new_udf(Arc::clone(&udf), exprs.clone(), distinct, filter.clone(), order_by, None);
        let typed = Typed::new(Expr::AggregateFunction(call), ret).at(position);
        Ok((typed, AggregateParts { udf, args: exprs, carriers, filter, distinct }))
    }

    /// True if an aggregate's arguments have columns, and only of the queries around: it is theirs then (manual,
    /// 4.2.7). Looking leaves no trace in what the levels are handed.
    pub(super) fn belongs_outside(&mut self, args: &[&ast::Expr], inner: &Ctx<'_>) -> Result<bool> {
        let mut levels = Vec::new();
        let mut level = Some(inner);
        while let Some(ctx) = level {
            levels.push((ctx, ctx.outer.borrow().len(), ctx.applies.borrow().len()));
            level = ctx.parent;
        }
        let (parameters, positions) = (self.parameters.clone(), self.positions.clone());
        let ctx = Ctx { clause: Clause::Select, in_aggregate: false, ..*inner };
        let looked = args.iter().map(|e| self.expr(e, &ctx)).collect::<Result<Vec<_>>>();
        let own_applies = inner.applies.borrow().len() > levels[0].2;
        for (ctx, outer, applies) in levels {
            ctx.outer.borrow_mut().truncate(outer);
            ctx.applies.borrow_mut().truncate(applies);
        }
        (self.parameters, self.positions) = (parameters, positions);
        // What is wrong with the arguments is told when they are bound for good.
        Ok(looked.is_ok_and(|args| {
            !own_applies && args.iter().any(|a| has_outer(&a.expr)) && !args.iter().any(|a| has_own(&a.expr))
        }))
    }

    /// A sort key with PostgreSQL's defaults: ascending, NULLs as if larger than all values.
    pub(super) fn sort_expr(&mut self, key: Typed, options: &ast::OrderByOptions) -> Result<Sort> {
        let key = if key.is_unknown() { self.coerce(key, PgType::TEXT)? } else { key };
        if !compare::comparable(key.ty, datafusion::logical_expr::Operator::Lt) {
            return Err(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("could not identify an ordering operator for type {}", key.ty.sql_name()),
            )
            .hint("Use an explicit ordering operator or modify the query.")
            .at(key.position));
        }
        let asc = options.asc.unwrap_or(true);
        let nulls_first = options.nulls_first.unwrap_or(!asc);
        Ok(Sort::new(self.sort_key(key.expr, key.ty)?, asc, nulls_first))
    }
}

/// The first value that is not NULL. As CASE it runs anywhere; volatile arguments, which CASE would evaluate twice, need
/// DataFusion's own function, which only plans take.
pub(super) fn coalesce(mut args: Vec<Expr>) -> Expr {
    if args.iter().any(Expr::is_volatile) {
        return datafusion::functions::core::expr_fn::coalesce(args);
    }
    let Some(last) = args.pop() else { return lit(datafusion::common::ScalarValue::Null) };
    if args.is_empty() {
        return last;
    }
    let whens = args.into_iter().map(|e| (Box::new(e.clone().is_not_null()), Box::new(e))).collect();
    Expr::Case(Case::new(None, whens, Some(Box::new(last))))
}

/// `count(*)` and calls without arguments.
fn star_or_none(list: &ast::FunctionArgumentList) -> bool {
    list.args.is_empty() || matches!(list.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)])
}

/// What an aggregate's level is told by: its arguments and sort keys.
fn argument_exprs(list: &ast::FunctionArgumentList) -> Vec<&ast::Expr> {
    let args = list.args.iter().filter_map(|a| match a {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e),
        _ => None,
    });
    let keys = list.clauses.iter().flat_map(|clause| match clause {
        ast::FunctionArgumentClause::OrderBy(keys) => keys.iter().map(|k| &k.expr).collect(),
        _ => Vec::new(),
    });
    args.chain(keys).collect()
}

/// True if an expression uses a column of a query around.
fn has_outer(e: &Expr) -> bool {
    e.exists(|e| Ok(matches!(e, Expr::Placeholder(p) if p.id.starts_with("$outer:")))).unwrap_or(false)
}

/// True if an expression uses a column of its own query.
fn has_own(e: &Expr) -> bool {
    e.exists(|e| Ok(matches!(e, Expr::Column(_)))).unwrap_or(true)
}

/// What a window call needs of an aggregate.
pub(super) struct AggregateParts {
    pub(super) udf: Arc<AggregateUDF>,
    pub(super) args: Vec<Expr>,
    /// Of `args`.
    pub(super) carriers: Vec<DataType>,
    pub(super) filter: Option<Box<Expr>>,
    pub(super) distinct: bool,
}

fn accepts(declared: usize, variadic: bool, optional: usize, given: usize) -> bool {
    if variadic { given >= declared } else { given <= declared && given + optional >= declared }
}

fn choose_aggregate(name: &str, types: &[PgType]) -> Result<(&'static AggDef, Vec<PgType>, PgType)> {
    let candidates: Vec<Overload<&'static AggDef>> = functions::aggregates_named(name)
        .filter(|d| accepts(d.args.len(), d.variadic, 0, types.len()))
        .map(|def| Overload { def, ret: def.ret, args: def.args, variadic: def.variadic })
        .collect();
    let overload = match choose(&candidates, types) {
        Choice::One(overload) => overload,
        Choice::None => return Err(no_function(name, types)),
        Choice::Ambiguous => {
            return Err(SqlError::new(
                SqlState::AMBIGUOUS_FUNCTION,
                format!("function {} is not unique", signature(name, types)),
            )
            .hint("Could not choose a best candidate function. You might need to add explicit type casts."));
        }
    };
    let declared: Vec<PgType> = (0..types.len()).map(|i| overload.arg(i)).collect();
    let (wanted, ret) = concrete(&declared, overload.def.ret, types).ok_or_else(|| no_function(name, types))?;
    Ok((overload.def, wanted, ret))
}

pub(super) fn check_aggregate_place(ctx: &Ctx<'_>) -> Result<()> {
    if ctx.in_aggregate {
        return Err(SqlError::new(SqlState::GROUPING_ERROR, "aggregate function calls cannot be nested"));
    }
    if !ctx.clause.allows_aggregates() {
        return Err(SqlError::new(
            SqlState::GROUPING_ERROR,
            format!("aggregate functions are not allowed in {}", ctx.clause.name()),
        ));
    }
    Ok(())
}

fn not_an_aggregate(name: &str, clause: &str) -> SqlError {
    SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("{clause} specified, but {name} is not an aggregate function"))
}

fn signature(name: &str, types: &[PgType]) -> String {
    let types: Vec<&str> = types.iter().map(|t| t.sql_name()).collect();
    format!("{name}({})", types.join(", "))
}

/// 42883
pub(super) fn no_function(name: &str, types: &[PgType]) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function {} does not exist", signature(name, types)))
        .hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}
