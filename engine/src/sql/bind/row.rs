//! Row values: comparisons field by field, rows against subqueries, and rows as values of type record.

use std::cell::RefCell;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{Case, Exists};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, lit};
use datafusion::sql::sqlparser::ast::{self, Spanned};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::expr::{binary, no_operator};
use super::scope::{Clause, Ctx, Relation, ScopeColumn};
use super::select::Target;
use super::typed::Typed;
use super::{Binder, fold};
use crate::sql::apply::ApplyMode;
use crate::sql::functions::{self, Volatility};
use crate::sql::plan::planning;
use crate::sql::udf::{Resolved, resolved_of};
use crate::types::Value;

/// What a row is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RowQuery {
    /// The one row of a subquery.
    Scalar,
    Any,
    All,
}

impl Binder<'_> {
    /// `(a, b) op (c, d)`: field by field (manual, 9.25.5).
    pub(super) fn row_comparison(
        &mut self,
        left: &[&ast::Expr],
        name: &str,
        right: &ast::Expr,
        ctx: &Ctx<'_>,
    ) -> Result<Typed> {
        if let ast::Expr::Subquery(query) = right {
            return self.row_against_query(left, name, query, RowQuery::Scalar, ctx);
        }
        let Some(right) = row_values(right) else {
            let l = self.row_of(left.iter().copied(), ctx)?;
            let position = self.position(right.span());
            let r = self.expr(right, ctx)?;
            return self.operator(name, l, r, position);
        };
        if left.len() != right.len() {
            let at = self.operator_position(left[left.len() - 1], left[left.len() - 1]);
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "unequal number of entries in row expressions").at(at));
        }
        let mut pairs = Vec::with_capacity(left.len());
        for (l, r) in left.iter().zip(right) {
            let position = self.operator_position(l, r);
            pairs.push((self.expr(l, ctx)?, self.expr(r, ctx)?, position));
        }
        self.compare_pairs(name, pairs).map(|e| Typed::new(e, PgType::BOOL))
    }

    /// The comparison of two rows, from their fields and where the operators stand.
    fn compare_pairs(&mut self, name: &str, pairs: Vec<(Typed, Typed, Option<u32>)>) -> Result<Expr> {
        let (strict, last) = match name {
            "=" | "<>" => {
                let join = if name == "=" { Operator::And } else { Operator::Or };
                let mut all: Option<Expr> = None;
                for (l, r, position) in pairs {
                    let one = self.operator(name, l, r, position)?.expr;
                    all = Some(match all {
                        None => one,
                        Some(before) => binary(before, join, one),
                    });
                }
                return Ok(all.unwrap_or_else(|| lit(true)));
            }
            "<" | "<=" => ("<", name),
            ">" | ">=" => (">", name),
            _ => return Err(no_operator(name, Some(PgType::RECORD), PgType::RECORD)),
        };
        let mut result: Option<Expr> = None;
        for (l, r, position) in pairs.into_iter().rev() {
            result = Some(match result {
                None => self.operator(last, l, r, position)?.expr,
                Some(rest) => {
                    let before = self.operator(strict, l.clone(), r.clone(), position)?.expr;
                    let equal = self.operator("=", l, r, position)?.expr;
                    binary(before, Operator::Or, binary(equal, Operator::And, rest))
                }
            });
        }
        Ok(result.unwrap_or_else(|| lit(true)))
    }

    /// `(start, end) OVERLAPS (start, end)` is a function of the four.
    pub(super) fn overlaps(&mut self, left: &ast::Expr, right: &ast::Expr, ctx: &Ctx<'_>) -> Result<Typed> {
        let mut args = Vec::with_capacity(4);
        for (side, e) in [("left", left), ("right", right)] {
            let values = row_values(e).filter(|values| values.len() == 2).ok_or_else(|| {
                let message = format!("wrong number of parameters on {side} side of OVERLAPS expression");
                SqlError::new(SqlState::SYNTAX_ERROR, message).at(self.position(e.span()))
            })?;
            for value in values {
                args.push(self.expr(value, ctx)?);
            }
        }
        let position = self.operator_position(left, right);
        self.call_named("overlaps", args, position)
    }

    /// `(a, b) [NOT] IN (SELECT x, y ...)`
    pub(super) fn row_in_subquery(
        &mut self,
        values: &[&ast::Expr],
        query: &ast::Query,
        negated: bool,
        ctx: &Ctx<'_>,
    ) -> Result<Typed> {
        if negated {
            // As a whole it may be unknown, which a conjunct of WHERE may not forget below the NOT.
            let ctx = Ctx { clause: Clause::Where, ..*ctx };
            let found = self.row_against_query(values, "=", query, RowQuery::Any, &ctx)?;
            return Ok(Typed { expr: Expr::Not(Box::new(found.expr)), ..found });
        }
        self.row_against_query(values, "=", query, RowQuery::Any, ctx)
    }

    /// The comparison is made inside the subquery, for each of its rows; what it gives there is the subquery's one column.
    pub(super) fn row_against_query(
        &mut self,
        values: &[&ast::Expr],
        name: &str,
        query: &ast::Query,
        how: RowQuery,
        ctx: &Ctx<'_>,
    ) -> Result<Typed> {
        let (bound, mut outer) = self.inner_query(query, ctx)?;
        if bound.columns.len() != values.len() {
            let problem = if bound.columns.len() > values.len() { "many" } else { "few" };
            let at = values.first().and_then(|v| self.position_after(v));
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("subquery has too {problem} columns")).at(at));
        }
        let holder = RefCell::new(Vec::new());
        let inner_ctx = Ctx { outer: &holder, parent: Some(ctx), ..*ctx };
        let mut pairs = Vec::with_capacity(values.len());
        for (i, value) in values.iter().enumerate() {
            let left = self.expr(value, ctx)?;
            let left = self.outer_reference(left, &inner_ctx);
            let (qualifier, field) = bound.plan.schema().qualified_field(i);
            let right = Typed::new(Expr::Column(Column::from((qualifier, field))), bound.columns[i].ty);
            let position = left.position;
            pairs.push((left, right, position));
        }
        let matches = self.compare_pairs(name, pairs)?;
        let correlated = !outer.is_empty();
        outer.extend(holder.into_inner());
        if how == RowQuery::Any && name == "=" && !correlated {
            // As a condition of WHERE, where unknown counts as false, it is EXISTS with the comparison inside.
            let filtered = LogicalPlanBuilder::from(bound.plan.clone()).filter(matches.clone());
            let plan = planning(filtered.and_then(|b| b.build()))?;
            if let Some(subquery) = super::subquery::native(ctx, &plan, &outer)? {
                return Ok(Typed::new(Expr::Exists(Exists::new(subquery, false)), PgType::BOOL));
            }
        }
        let column = matches.alias("matches");
        let plan = planning(LogicalPlanBuilder::from(bound.plan).project(vec![column]).and_then(|b| b.build()))?;
        if how == RowQuery::Scalar {
            let expr = self.push_apply(ctx, ApplyMode::Scalar, DataType::Boolean, plan, outer);
            return Ok(Typed::new(expr, PgType::BOOL));
        }
        let list = self.push_apply(ctx, ApplyMode::Array, PgType::BOOL_ARRAY.arrow(), plan, outer);
        let list = Typed::new(list, PgType::BOOL_ARRAY);
        let yes = Typed::literal(&Value::Bool(true), PgType::BOOL);
        self.any_all_of(yes, "=", list, how == RowQuery::Any, None)
    }

    /// `ROW(a, b)` or `(a, b)` as a value: fields f1, f2 ...
    pub(super) fn row_of<'e>(&mut self, values: impl Iterator<Item = &'e ast::Expr>, ctx: &Ctx<'_>) -> Result<Typed> {
        let mut fields = Vec::new();
        for value in values {
            fields.push(self.expr(value, ctx)?);
        }
        self.record(fields)
    }

    /// A record of these fields, named f1, f2 ...
    fn record(&mut self, fields: Vec<Typed>) -> Result<Typed> {
        let mut named = Vec::with_capacity(fields.len());
        for (i, field) in fields.into_iter().enumerate() {
            let field = if field.is_unknown() { self.coerce(field, PgType::TEXT)? } else { self.single(field)? };
            named.push((format!("f{}", i + 1), field));
        }
        Ok(record(named))
    }

    /// `ROW(t.*, x)`: the arguments of a call of `row`.
    pub(super) fn row_call(&mut self, args: &[ast::FunctionArg], ctx: &Ctx<'_>) -> Result<Typed> {
        let mut fields = Vec::with_capacity(args.len());
        for arg in args {
            match arg {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(e)) => fields.push(self.expr(e, ctx)?),
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::QualifiedWildcard(name)) => {
                    fields.extend(self.star_of(name, ctx)?.into_iter().map(|t| t.typed));
                }
                other => return Err(SqlError::unsupported(format!("{other} in ROW"))),
            }
        }
        self.record(fields)
    }

    /// `(value).name`
    pub(super) fn field_of(&mut self, value: &Typed, name: &ast::Ident) -> Result<Typed> {
        let at = value.position;
        let wanted = fold(name);
        if value.ty != PgType::RECORD {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!(
                    "column notation .{wanted} applied to type {}, which is not a composite type",
                    value.ty.sql_name()
                ),
            )
            .at(at));
        }
        self.fields(&value.expr)
            .into_iter()
            .flatten()
            .find(|(name, _)| *name == wanted)
            .map(|(_, field)| field)
            .ok_or_else(|| {
                SqlError::new(
                    SqlState::UNDEFINED_COLUMN,
                    format!("could not identify column \"{wanted}\" in record data type"),
                )
                .at(at)
            })
    }

    /// `(value).*` in a select list.
    pub(super) fn all_fields(&mut self, e: &ast::Expr, ctx: &Ctx<'_>) -> Result<Vec<Target>> {
        let value = self.expr(e, ctx)?;
        match self.fields(&value.expr) {
            Some(fields) => Ok(fields.into_iter().map(|(name, typed)| Target::new(typed, name)).collect()),
            None if value.ty == PgType::RECORD => {
                Err(SqlError::unsupported("* of a record whose fields are not known when the query is planned"))
            }
            None => Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("type {} is not composite", value.ty.sql_name()),
            )
            .at(value.position)),
        }
    }

    /// The fields of a record that is made in the query itself, or in a subquery whose column it is.
    fn fields(&self, e: &Expr) -> Option<Vec<(String, Typed)>> {
        if let Expr::Column(column) = e {
            let fields = self.records.get(column)?;
            let field = |(name, ty): &(String, PgType)| (name.clone(), record_field(e.clone(), name, *ty));
            return Some(fields.iter().map(field).collect());
        }
        fields(e)
    }

    /// The fields of a query's i-th column.
    pub(super) fn fields_of_output(&self, plan: &LogicalPlan, i: usize) -> Option<Vec<(String, PgType)>> {
        match plan {
            LogicalPlan::Projection(projection) => {
                let e = match &projection.expr[i] {
                    Expr::Alias(alias) => alias.expr.as_ref(),
                    other => other,
                };
                let fields = self.fields(e)?;
                Some(fields.into_iter().map(|(name, typed)| (name, typed.ty)).collect())
            }
            LogicalPlan::Sort(sort) => self.fields_of_output(&sort.input, i),
            LogicalPlan::Limit(limit) => self.fields_of_output(&limit.input, i),
            _ => None,
        }
    }

    /// A record `IS [NOT] NULL` if all its fields are.
    pub(super) fn record_null_test(&mut self, value: Typed, negated: bool) -> Result<Typed> {
        let imp = if negated { functions::record_not_null } else { functions::record_null };
        let test = Resolved {
            name: if negated { "record_not_null" } else { "record_null" },
            args: vec![PgType::RECORD],
            ret: PgType::BOOL,
            list: false,
            typmod: -1,
            explicit: false,
            volatility: Volatility::Immutable,
            waits: false,
            imp,
        };
        Ok(Typed::new(test.call(vec![value.expr]), PgType::BOOL))
    }
}

/// A record: the first argument of the call holds the fields' names.
fn record(fields: Vec<(String, Typed)>) -> Typed {
    let mut args = vec![PgType::TEXT];
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    let mut exprs = vec![lit(names.join("\0"))];
    for (_, field) in fields {
        args.push(field.ty);
        exprs.push(field.expr);
    }
    let row = Resolved {
        name: "row",
        args,
        ret: PgType::RECORD,
        list: false,
        typmod: -1,
        explicit: false,
        volatility: Volatility::Immutable,
        waits: false,
        imp: functions::make_record,
    };
    Typed::new(row.call(exprs), PgType::RECORD)
}

/// One field of a record.
fn record_field(record: Expr, name: &str, ty: PgType) -> Typed {
    let field = Resolved {
        name: "record_field",
        args: vec![PgType::RECORD, PgType::TEXT],
        ret: ty,
        list: false,
        typmod: -1,
        explicit: false,
        volatility: Volatility::Immutable,
        waits: false,
        imp: functions::record_field,
    };
    Typed::new(field.call(vec![record, lit(name)]), ty)
}

/// A relation's row as a value: NULL where an outer join has found none.
pub(super) fn whole_row(relation: &Relation) -> ScopeColumn {
    let fields = relation.columns.iter().map(|c| (c.name.clone(), c.typed.clone())).collect();
    let mut typed = record(fields);
    if let Some(system) = relation.system.first() {
        let missing = Expr::IsNull(Box::new(system.typed.expr.clone()));
        let null = lit(ScalarValue::Binary(None));
        typed.expr = Expr::Case(Case::new(None, vec![(Box::new(missing), Box::new(null))], Some(Box::new(typed.expr))));
    }
    ScopeColumn { name: relation.name.clone(), typed, table: 0, attribute: 0 }
}

/// The fields of a record that is made in the query itself.
fn fields(e: &Expr) -> Option<Vec<(String, Typed)>> {
    match e {
        Expr::ScalarFunction(call) => {
            let resolved = resolved_of(&call.func).filter(|r| r.name == "row" && r.ret == PgType::RECORD)?;
            let Expr::Literal(ScalarValue::Utf8(Some(names)), _) = &call.args[0] else { return None };
            let fields = call.args[1..].iter().zip(&resolved.args[1..]);
            let names = names.split('\0').map(str::to_owned);
            Some(names.zip(fields.map(|(e, ty)| Typed::new(e.clone(), *ty))).collect())
        }
        Expr::Case(case) => fields(case.else_expr.as_deref()?),
        _ => None,
    }
}

/// The fields of `(a, b)` or `ROW(a, b)`.
pub(super) fn row_values(e: &ast::Expr) -> Option<Vec<&ast::Expr>> {
    match e {
        ast::Expr::Tuple(values) => Some(values.iter().collect()),
        ast::Expr::Nested(inner) => row_values(inner),
        ast::Expr::Function(f) => match (f.name.0.as_slice(), &f.args) {
            ([ast::ObjectNamePart::Identifier(name)], ast::FunctionArguments::List(list))
                if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("row") =>
            {
                list.args
                    .iter()
                    .map(|a| match a {
                        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(e)) => Some(e),
                        _ => None,
                    })
                    .collect()
            }
            _ => None,
        },
        _ => None,
    }
}
