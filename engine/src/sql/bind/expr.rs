//! Scalar expressions.

use datafusion::logical_expr::expr::{Between, Case, InList};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit};
use datafusion::sql::sqlparser::ast::{self, BinaryOperator as Op, Spanned, UnaryOperator};
use datafusion::sql::sqlparser::tokenizer::Span;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::resolve::{Candidate, Choice, choose};
use super::row::{row_values, whole_row};
use super::scope::{Ctx, ScopeColumn};
use super::typed::{Kind, Typed};
use super::{Binder, fold, type_of_name};
use crate::sql::compare;
use crate::sql::functions::{self, OpDef};
use crate::sql::udf::Resolved;

impl Candidate for &'static OpDef {
    fn consistent(&self, types: &[PgType]) -> bool {
        let declared = [self.left.unwrap_or(self.right), self.right];
        types.len() != 2 || super::func::concrete(&declared, self.ret, types).is_some()
    }
    fn arg(&self, index: usize) -> PgType {
        match (index, self.left) {
            (0, Some(left)) => left,
            _ => self.right,
        }
    }
}

impl Binder<'_> {
    /// Binds an expression where `ctx` says what names mean.
    pub(crate) fn expr(&mut self, e: &ast::Expr, ctx: &Ctx<'_>) -> Result<Typed> {
        self.deeper(|b| b.expr_here(e, ctx))
    }

    fn expr_here(&mut self, e: &ast::Expr, ctx: &Ctx<'_>) -> Result<Typed> {
        let position = self.position(e.span());
        match e {
            ast::Expr::Identifier(ident) => self.identifier(ident, ctx),
            ast::Expr::CompoundIdentifier(parts) => self.compound(parts, ctx),
            ast::Expr::Value(v) => self.constant(v),
            ast::Expr::Nested(inner) => self.expr(inner, ctx),
            ast::Expr::TypedString(t) => {
                let (ty, typmod) = type_of_name(&t.data_type).map_err(|e| e.at(position))?;
                let literal = self.constant(&t.value)?;
                self.cast(literal, ty, typmod)
            }
            ast::Expr::Interval(i) => self.interval(i, ctx).map(|t| t.at(position)),
            ast::Expr::Cast { expr, data_type, kind, .. } => {
                if matches!(kind, ast::CastKind::TryCast | ast::CastKind::SafeCast) {
                    return Err(
                        SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"TRY_CAST\"").at(position)
                    );
                }
                let (at, type_at) = match kind {
                    ast::CastKind::DoubleColon => self.double_colon(expr),
                    _ => (position, position),
                };
                let (ty, typmod) = type_of_name(data_type).map_err(|e| e.at(type_at))?;
                let inner = match (expr.as_ref(), ty.element()) {
                    (ast::Expr::Array(array), _) if array.elem.is_empty() => Typed::unknown("{}".to_owned()),
                    (ast::Expr::Array(array), Some(element)) => self.array_of(&array.elem, (element, typmod), ctx)?,
                    _ => self.expr(expr, ctx)?,
                };
                let inner = match inner.kind {
                    Kind::Plain => Typed { position: at, ..inner },
                    _ => inner,
                };
                self.cast(inner, ty, typmod)
            }
            ast::Expr::BinaryOp { left, op, right } => self.binary(left, op, right, ctx),
            ast::Expr::UnaryOp { op, expr } => self.unary(op, expr, ctx, position),
            ast::Expr::IsNull(x) => self.null_test(x, ctx, false),
            ast::Expr::IsNotNull(x) => self.null_test(x, ctx, true),
            ast::Expr::IsTrue(x) => self.bool_test(x, "IS TRUE", Expr::IsTrue, ctx),
            ast::Expr::IsNotTrue(x) => self.bool_test(x, "IS NOT TRUE", Expr::IsNotTrue, ctx),
            ast::Expr::IsFalse(x) => self.bool_test(x, "IS FALSE", Expr::IsFalse, ctx),
            ast::Expr::IsNotFalse(x) => self.bool_test(x, "IS NOT FALSE", Expr::IsNotFalse, ctx),
            ast::Expr::IsUnknown(x) => self.bool_test(x, "IS UNKNOWN", Expr::IsUnknown, ctx),
            ast::Expr::IsNotUnknown(x) => self.bool_test(x, "IS NOT UNKNOWN", Expr::IsNotUnknown, ctx),
            ast::Expr::IsDistinctFrom(a, b) => self.distinct_from(a, b, Operator::IsDistinctFrom, ctx),
            ast::Expr::IsNotDistinctFrom(a, b) => self.distinct_from(a, b, Operator::IsNotDistinctFrom, ctx),
            ast::Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated, ctx),
            ast::Expr::InSubquery { expr, subquery, negated } => self.in_subquery(expr, subquery, *negated, ctx),
            ast::Expr::Between { expr, negated, low, high } => self.between(expr, *negated, low, high, ctx),
            ast::Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(if *negated { "!~~" } else { "~~" }, expr, pattern, escape_char.as_ref(), ctx)
            }
            ast::Expr::Like { negated, any: true, expr, pattern, escape_char: None } => {
                self.like_any(if *negated { "!~~" } else { "~~" }, expr, pattern, ctx)
            }
            ast::Expr::ILike { negated, any: true, expr, pattern, escape_char: None } => {
                self.like_any(if *negated { "!~~*" } else { "~~*" }, expr, pattern, ctx)
            }
            ast::Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(if *negated { "!~~*" } else { "~~*" }, expr, pattern, escape_char.as_ref(), ctx)
            }
            ast::Expr::SimilarTo { negated, expr, pattern, escape_char } => {
                self.similar(*negated, expr, pattern, escape_char.as_ref(), ctx)
            }
            ast::Expr::AnyOp { left, compare_op, right, .. } => self.any_all(left, compare_op, right, true, ctx),
            ast::Expr::AllOp { left, compare_op, right } => self.any_all(left, compare_op, right, false, ctx),
            ast::Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), ctx)
            }
            ast::Expr::Exists { subquery, negated } => self.exists(subquery, *negated, ctx),
            ast::Expr::Subquery(query) => self.scalar_subquery(query, ctx).map(|t| t.at(position)),
            ast::Expr::Array(array) => self.array(&array.elem, ctx).map(|t| t.at(position)),
            ast::Expr::Collate { expr, collation } => self.collate(expr, collation, ctx),
            ast::Expr::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain, ctx),
            ast::Expr::QualifiedWildcard(name, _) => self.row_by_name(name, ctx).map(|t| t.at(position)),
            ast::Expr::Tuple(values) => self.row_of(values.iter(), ctx).map(|t| t.at(position)),
            other => self.function_like(other, ctx).map(|t| t.at(position)),
        }
    }

    fn identifier(&mut self, ident: &ast::Ident, ctx: &Ctx<'_>) -> Result<Typed> {
        let name = fold(ident);
        let position = self.position(ident.span);
        if ident.quote_style.is_none()
            && let Some(typed) = self.bare_function(&name)?
        {
            return Ok(typed.at(position));
        }
        let find = |c: &Ctx<'_>| c.scope.find(&name).map(|f| f.cloned());
        let whole = |c: &Ctx<'_>| Ok(c.scope.relation(None, &name)?.map(whole_row));
        let mut found = self.lookup(ctx, &find).map_err(|e| e.at(position))?;
        if found.is_none() {
            found = self.lookup(ctx, &whole).map_err(|e| e.at(position))?;
        }
        match found {
            Some(column) => Ok(self.noted(column.typed, position)),
            None if name.starts_with(super::CURRENT_OF) => {
                Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"OF\""))
            }
            None => {
                Err(SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist")).at(position))
            }
        }
    }

    /// `t.c`, `s.t.c`, `db.s.t.c`.
    fn compound(&mut self, parts: &[ast::Ident], ctx: &Ctx<'_>) -> Result<Typed> {
        let position = self.position(parts[0].span);
        let names: Vec<String> = parts.iter().map(fold).collect();
        if self.keys_visible
            && let [table, column] = names.as_slice()
            && column == crate::providers::KEY_COLUMN
        {
            let found = ctx.scope.relations.iter().find(|r| r.name == *table && r.base.is_some());
            let found = found.ok_or_else(|| SqlError::internal("a relation has no keys"))?;
            return Ok(Typed::new(found.hidden(column), PgType::BYTEA));
        }
        let (schema, table, column) = match names.as_slice() {
            [table, column] => (None, table, column),
            [schema, table, column] => (Some(schema.as_str()), table, column),
            [_, schema, table, column] => (Some(schema.as_str()), table, column),
            _ => {
                return Err(SqlError::new(
                    SqlState::SYNTAX_ERROR,
                    format!("improper qualified name (too many dotted names): {}", names.join(".")),
                )
                .at(position));
            }
        };
        let found = self
            .lookup(ctx, &|c| match c.scope.relation(schema, table)? {
                Some(relation) => match relation.column(column)? {
                    Some(column) => Ok(Some(column.clone())),
                    None => Err(SqlError::new(
                        SqlState::UNDEFINED_COLUMN,
                        format!("column {table}.{column} does not exist"),
                    )),
                },
                None => Ok(None),
            })
            .map_err(|e| e.at(position))?;
        match found {
            Some(column) => Ok(self.noted(column.typed, position)),
            None => {
                if let Some(alias) = self.alias_of(ctx, table) {
                    return Err(SqlError::new(
                        SqlState::UNDEFINED_TABLE,
                        format!("invalid reference to FROM-clause entry for table \"{table}\""),
                    )
                    .hint(format!("Perhaps you meant to reference the table alias \"{alias}\"."))
                    .at(position));
                }
                let shown = schema.map_or_else(|| table.clone(), |s| format!("{s}.{table}"));
                let message = format!(
                    "missing FROM-clause entry for table \"{}\"",
                    if schema.is_some() { table } else { &shown }
                );
                Err(SqlError::new(SqlState::UNDEFINED_TABLE, message).at(position))
            }
        }
    }

    /// The alias that hides a table of this name.
    fn alias_of(&self, ctx: &Ctx<'_>, table: &str) -> Option<String> {
        let hidden = ctx.scope.relations.iter().find(|r| {
            let oid = r.columns.first().map_or(0, |c| c.table);
            r.name != table && self.catalog.table(oid).is_some_and(|t| t.definition.name == table)
        });
        hidden.map(|r| r.name.clone())
    }

    /// Remembers where a column was named first, for errors found later (GROUP BY).
    fn noted(&mut self, typed: Typed, position: Option<u32>) -> Typed {
        if let (Expr::Column(column), Some(position)) = (&typed.expr, position) {
            self.positions.entry(column.clone()).or_insert(position);
        }
        typed.at(position)
    }

    /// Looks in this scope, then in the ones around it; what comes from outside is handed in row by row.
    pub(super) fn lookup(
        &mut self,
        ctx: &Ctx<'_>,
        find: &dyn Fn(&Ctx<'_>) -> Result<Option<ScopeColumn>>,
    ) -> Result<Option<ScopeColumn>> {
        if let Some(column) = find(ctx)? {
            return Ok(Some(column));
        }
        let Some(parent) = ctx.parent else { return Ok(None) };
        match self.lookup(parent, find)? {
            None => Ok(None),
            Some(mut column) => {
                column.typed = self.outer_reference(column.typed, ctx);
                Ok(Some(column))
            }
        }
    }

    fn binary(&mut self, left: &ast::Expr, op: &Op, right: &ast::Expr, ctx: &Ctx<'_>) -> Result<Typed> {
        if matches!(op, Op::And | Op::Or) {
            let name = if *op == Op::And { "AND" } else { "OR" };
            let sets = self.sets_so_far();
            let l = self.expr(left, ctx)?;
            let l = self.boolean(l, name)?;
            let r = self.expr(right, ctx)?;
            let r = self.boolean(r, name)?;
            self.refuse_set_in(sets, name)?;
            let op = if *op == Op::And { Operator::And } else { Operator::Or };
            return Ok(Typed::new(binary(l, op, r), PgType::BOOL));
        }
        if *op == Op::Overlaps {
            return self.overlaps(left, right, ctx);
        }
        let name = operator_name(op)?;
        if let Some(values) = row_values(left) {
            return self.row_comparison(&values, &name, right, ctx);
        }
        let l = self.expr(left, ctx)?;
        let r = self.expr(right, ctx)?;
        let position = self.operator_position(left, right);
        self.operator(&name, l, r, position)
    }

    /// Where the `::` after an expression stands, and the type after it.
    fn double_colon(&self, inner: &ast::Expr) -> (Option<u32>, Option<u32>) {
        let Some(at) = self.position_after(inner) else { return (None, None) };
        let after = self.source.chars().skip(at as usize + 1).take_while(|c| c.is_whitespace()).count();
        (Some(at), Some(at + 2 + after as u32))
    }

    /// sqlparser does not keep where an operator stands: it is what comes before the right operand.
    pub(super) fn operator_position(&self, left: &ast::Expr, right: &ast::Expr) -> Option<u32> {
        let Some(start) = self.position(right.span()) else { return self.position_after(left) };
        let chars: Vec<char> = self.source.chars().take(start as usize - 1).collect();
        self.operator_before(&chars).or(self.position_after(left))
    }

    /// The start of the operator, symbol or word, at the end of `chars`.
    fn operator_before(&self, chars: &[char]) -> Option<u32> {
        let blank = |c: &&char| c.is_whitespace() || **c == '(';
        let end = chars.len() - chars.iter().rev().take_while(blank).count();
        let symbol = |c: &&char| "+-*/<>=~!@#%^&|`?".contains(**c);
        let word = |c: &&char| c.is_alphabetic();
        let symbols = chars[..end].iter().rev().take_while(symbol).count();
        let length = if symbols > 0 { symbols } else { chars[..end].iter().rev().take_while(word).count() };
        (length > 0).then_some((end - length + 1) as u32)
    }

    /// Where what follows an expression stands.
    pub(super) fn position_after(&self, e: &ast::Expr) -> Option<u32> {
        let end = Spanned::span(e).end;
        if end.line == 0 {
            return None;
        }
        let span = Span::new(end, end);
        let start = self.position(span)? as usize - 1;
        let skipped = self.source.chars().skip(start).take_while(|c| c.is_whitespace() || *c == ')').count();
        Some((start + skipped + 1) as u32)
    }

    /// An infix operator on bound operands.
    pub(super) fn operator(&mut self, name: &str, l: Typed, r: Typed, position: Option<u32>) -> Result<Typed> {
        if let Some(op) = compare::operator(name) {
            return self.comparison(name, op, l, r, position);
        }
        let types = [l.ty, r.ty];
        let all: Vec<&'static OpDef> = functions::operators_named(name).filter(|o| o.left.is_some()).collect();
        // One unknown operand is first taken to have the other's type.
        let same = if l.is_unknown() { r.ty } else { l.ty };
        let exact = all.iter().find(|o| {
            (l.is_unknown() || r.is_unknown()) && o.left == Some(same) && o.right == same && same != PgType::UNKNOWN
        });
        let chosen = match exact {
            Some(o) => *o,
            None => match choose(&all, &types) {
                Choice::One(o) => o,
                Choice::None => return Err(no_operator(name, Some(l.ty), r.ty).at(position)),
                Choice::Ambiguous => return Err(ambiguous_operator(name, Some(l.ty), r.ty).at(position)),
            },
        };
        let declared = [chosen.left.unwrap_or(chosen.right), chosen.right];
        let (wanted, ret) = super::func::concrete(&declared, chosen.ret, &types)
            .ok_or_else(|| no_operator(name, Some(l.ty), r.ty).at(position))?;
        let l = self.coerce(l, wanted[0])?;
        let r = self.coerce(r, wanted[1])?;
        self.call_operator(chosen, vec![l, r], wanted, ret, position)
    }

    fn call_operator(
        &mut self,
        op: &'static OpDef,
        args: Vec<Typed>,
        types: Vec<PgType>,
        ret: PgType,
        position: Option<u32>,
    ) -> Result<Typed> {
        let resolved = Resolved {
            name: op.name,
            args: types,
            ret,
            list: false,
            typmod: -1,
            explicit: false,
            volatility: op.volatility,
            waits: false,
            imp: op.imp,
        };
        let expr = self.fold_constant(resolved.call(args.into_iter().map(|a| a.expr).collect()))?;
        Ok(Typed::new(expr, ret).at(position))
    }

    /// `=`, `<` and the like: both sides to their common type, then their sort keys compared.
    pub(super) fn comparison(
        &mut self,
        name: &str,
        op: Operator,
        l: Typed,
        r: Typed,
        position: Option<u32>,
    ) -> Result<Typed> {
        let Some(ty) = compare::common(l.ty, r.ty) else {
            return Err(no_operator(name, Some(l.ty), r.ty).at(position));
        };
        if !compare::comparable(ty, op) {
            return Err(no_operator(name, Some(l.ty), r.ty).at(position));
        }
        let l = self.coerce(l, ty)?;
        let r = self.coerce(r, ty)?;
        let l = self.sort_key(l.expr, ty)?;
        let r = self.sort_key(r.expr, ty)?;
        Ok(Typed::new(binary(l, op, r), PgType::BOOL).at(position))
    }

    /// The expression to compare, group and sort values of `ty` by.
    pub(super) fn sort_key(&self, expr: Expr, ty: PgType) -> Result<Expr> {
        self.fold_constant(compare::sort_key(expr, ty))
    }

    fn unary(&mut self, op: &UnaryOperator, e: &ast::Expr, ctx: &Ctx<'_>, position: Option<u32>) -> Result<Typed> {
        let name = match op {
            UnaryOperator::Not => {
                let sets = self.sets_so_far();
                let inner = self.expr(e, ctx)?;
                let inner = self.boolean(inner, "NOT")?;
                self.refuse_set_in(sets, "NOT")?;
                return Ok(Typed::new(Expr::Not(Box::new(inner)), PgType::BOOL));
            }
            UnaryOperator::Minus => {
                if let Some(negative) = self.negative_literal(e)? {
                    return Ok(negative.at(position));
                }
                "-"
            }
            UnaryOperator::Plus => "+",
            UnaryOperator::BitwiseNot => "~",
            UnaryOperator::PGSquareRoot => "|/",
            UnaryOperator::PGCubeRoot => "||/",
            UnaryOperator::PGAbs => "@",
            UnaryOperator::BangNot | UnaryOperator::PGPrefixFactorial => "!!",
            other => return Err(SqlError::unsupported(format!("operator {other}")).at(position)),
        };
        let inner = self.expr(e, ctx)?;
        let position = position.and_then(|p| {
            let chars: Vec<char> = self.source.chars().take(p as usize - 1).collect();
            self.operator_before(&chars)
        });
        self.prefix(name, inner, position)
    }

    fn prefix(&mut self, name: &str, inner: Typed, position: Option<u32>) -> Result<Typed> {
        #[derive(Clone, Copy)]
        struct Prefix(&'static OpDef);
        impl Candidate for Prefix {
            fn consistent(&self, _: &[PgType]) -> bool {
                true
            }
            fn arg(&self, _: usize) -> PgType {
                self.0.right
            }
        }
        let all: Vec<Prefix> = functions::operators_named(name).filter(|o| o.left.is_none()).map(Prefix).collect();
        match choose(&all, &[inner.ty]) {
            Choice::One(Prefix(op)) => {
                let inner = self.coerce(inner, op.right)?;
                self.call_operator(op, vec![inner], vec![op.right], op.ret, position)
            }
            Choice::None => Err(no_operator(name, None, inner.ty).at(position)),
            Choice::Ambiguous => Err(ambiguous_operator(name, None, inner.ty).at(position)),
        }
    }

    /// `-9223372036854775808` is an int8, though 9223372036854775808 is none.
    fn negative_literal(&mut self, e: &ast::Expr) -> Result<Option<Typed>> {
        let ast::Expr::Value(v) = e else { return Ok(None) };
        let ast::Value::Number(digits, long) = &v.value else { return Ok(None) };
        let negative = ast::Value::Number(format!("-{digits}"), *long);
        let span = v.span;
        self.constant(&ast::ValueWithSpan { value: negative, span }).map(Some)
    }

    pub(super) fn null_test(&mut self, e: &ast::Expr, ctx: &Ctx<'_>, negated: bool) -> Result<Typed> {
        if let Some(values) = row_values(e) {
            // (a, b) IS [NOT] NULL: all fields are [not] null.
            let mut all = lit(true);
            for value in values {
                // A row among the fields is a value, whatever is in it.
                let test = match row_values(value) {
                    Some(_) => lit(negated),
                    None => self.null_test(value, ctx, negated)?.expr,
                };
                all = binary(all, Operator::And, test);
            }
            return Ok(Typed::new(all, PgType::BOOL));
        }
        let inner = self.expr(e, ctx)?;
        // A parameter that is only tested for NULL has no type.
        let literal = matches!(inner.kind, Kind::Literal(_));
        let inner = if literal { self.coerce(inner, PgType::TEXT)? } else { inner };
        let inner = self.single(inner)?;
        if inner.ty == PgType::RECORD {
            return self.record_null_test(inner, negated);
        }
        let inner = Box::new(inner.expr);
        let test = if negated { Expr::IsNotNull(inner) } else { Expr::IsNull(inner) };
        Ok(Typed::new(test, PgType::BOOL))
    }

    fn bool_test(&mut self, e: &ast::Expr, what: &str, make: fn(Box<Expr>) -> Expr, ctx: &Ctx<'_>) -> Result<Typed> {
        let inner = self.expr(e, ctx)?;
        let inner = self.boolean(inner, what)?;
        Ok(Typed::new(make(Box::new(inner)), PgType::BOOL))
    }

    fn distinct_from(&mut self, a: &ast::Expr, b: &ast::Expr, op: Operator, ctx: &Ctx<'_>) -> Result<Typed> {
        if let (Some(l), Some(r)) = (row_values(a), row_values(b)) {
            let (join, start) = match op {
                Operator::IsDistinctFrom => (Operator::Or, false),
                _ => (Operator::And, true),
            };
            let mut all = lit(start);
            for (l, r) in l.iter().zip(r) {
                let one = self.distinct_from(l, r, op, ctx)?;
                all = binary(all, join, one.expr);
            }
            return Ok(Typed::new(all, PgType::BOOL));
        }
        let l = self.expr(a, ctx)?;
        let r = self.expr(b, ctx)?;
        let position = self.operator_position(a, b);
        if op == Operator::IsNotDistinctFrom {
            return self.not_distinct(l, r, position);
        }
        self.comparison("=", op, l, r, position)
    }

    /// `a IS NOT DISTINCT FROM b`, spelled out where it could become the condition of a join: DataFusion's join on it would
    /// take every other condition of the join for one that NULLs fulfil.
    fn not_distinct(&mut self, l: Typed, r: Typed, position: Option<u32>) -> Result<Typed> {
        let sides = [&l.expr, &r.expr];
        if sides.iter().any(|e| e.column_refs().is_empty()) {
            return self.comparison("=", Operator::IsNotDistinctFrom, l, r, position);
        }
        let (null, value) = (|e: &Expr| e.clone().is_null(), |e: &Expr| e.clone().is_not_null());
        let neither = null(&l.expr).and(null(&r.expr));
        let both = value(&l.expr).and(value(&r.expr));
        let equal = self.comparison("=", Operator::Eq, l, r, position)?;
        Ok(Typed { expr: both.and(equal.expr).or(neither), ..equal })
    }

    fn in_list(&mut self, e: &ast::Expr, list: &[ast::Expr], negated: bool, ctx: &Ctx<'_>) -> Result<Typed> {
        let (op, join) = if negated { ("<>", Operator::And) } else { ("=", Operator::Or) };
        if row_values(e).is_some() {
            let mut all: Option<Expr> = None;
            for item in list {
                let one = self.binary(e, if negated { &Op::NotEq } else { &Op::Eq }, item, ctx)?.expr;
                all = Some(match all {
                    None => one,
                    Some(before) => binary(before, join, one),
                });
            }
            return Ok(Typed::new(all.unwrap_or_else(|| lit(negated)), PgType::BOOL));
        }
        let needle = self.expr(e, ctx)?;
        let mut items = vec![needle.clone()];
        for item in list {
            items.push(self.expr(item, ctx)?);
        }
        let types: Vec<PgType> = items.iter().map(|t| t.ty).collect();
        if let Ok(ty) = crate::sql::coerce::common_type(&types, "IN")
            && compare::comparable(ty, Operator::Eq)
        {
            let mut keys = Vec::with_capacity(items.len());
            for item in items {
                let item = self.coerce(item, ty)?;
                keys.push(self.sort_key(item.expr, ty)?);
            }
            let needle = keys.remove(0);
            if !keys.iter().all(|k| matches!(k, Expr::Literal(..) | Expr::Placeholder(_))) {
                // DataFusion's list is right for constants only.
                let (op, join) = if negated { (Operator::NotEq, Operator::And) } else { (Operator::Eq, Operator::Or) };
                let compared = keys.into_iter().map(|k| binary(needle.clone(), op, k));
                let all = compared.reduce(|all, one| binary(all, join, one)).unwrap_or_else(|| lit(negated));
                return Ok(Typed::new(all, PgType::BOOL));
            }
            return Ok(Typed::new(Expr::InList(InList::new(Box::new(needle), keys, negated)), PgType::BOOL));
        }
        let mut all: Option<Expr> = None;
        for item in items.into_iter().skip(1) {
            let position = item.position;
            let one = self.operator(op, needle.clone(), item, position)?.expr;
            all = Some(match all {
                None => one,
                Some(before) => binary(before, join, one),
            });
        }
        Ok(Typed::new(all.unwrap_or_else(|| lit(negated)), PgType::BOOL))
    }

    fn between(
        &mut self,
        e: &ast::Expr,
        negated: bool,
        low: &ast::Expr,
        high: &ast::Expr,
        ctx: &Ctx<'_>,
    ) -> Result<Typed> {
        let position = self.operator_position(e, low);
        let sets = self.sets_so_far();
        let value = self.expr(e, ctx)?;
        let value = self.single(value)?;
        let low = self.expr(low, ctx)?;
        let low = self.single(low)?;
        let high = self.expr(high, ctx)?;
        let high = self.single(high)?;
        self.refuse_set_in(sets, if negated { "OR" } else { "AND" })?;
        let same = !low.is_unknown() && low.ty == high.ty && low.ty == value.ty;
        if same {
            let ty = value.ty;
            let part = |b: &Self, t: Typed| b.sort_key(t.expr, ty).map(Box::new);
            let between = Between::new(part(self, value)?, negated, part(self, low)?, part(self, high)?);
            if compare::comparable(ty, Operator::Lt) {
                return Ok(Typed::new(Expr::Between(between), PgType::BOOL));
            }
            return Err(no_operator(">=", Some(ty), ty).at(position));
        }
        let (first, second, join) = if negated { ("<", ">", Operator::Or) } else { (">=", "<=", Operator::And) };
        let above = self.operator(first, value.clone(), low, position)?;
        let below = self.operator(second, value, high, position)?;
        Ok(Typed::new(binary(above.expr, join, below.expr), PgType::BOOL))
    }

    fn like(
        &mut self,
        op: &str,
        e: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ast::ValueWithSpan>,
        ctx: &Ctx<'_>,
    ) -> Result<Typed> {
        let value = self.expr(e, ctx)?;
        let mut wanted = self.expr(pattern, ctx)?;
        if let Some(escape) = escape {
            let escape = self.constant(escape)?;
            wanted = self.call_named("like_escape", vec![wanted, escape], None)?;
        }
        let position = self.operator_position(e, pattern);
        self.operator(op, value, wanted, position)
    }

    fn like_any(&mut self, op: &str, e: &ast::Expr, patterns: &ast::Expr, ctx: &Ctx<'_>) -> Result<Typed> {
        let value = self.expr(e, ctx)?;
        let list = self.expr(patterns, ctx)?;
        let list = if list.is_unknown() { self.coerce(list, PgType::TEXT_ARRAY)? } else { list };
        let position = list.position;
        self.any_all_of(value, op, list, true, position)
    }

    fn similar(
        &mut self,
        negated: bool,
        e: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ast::ValueWithSpan>,
        ctx: &Ctx<'_>,
    ) -> Result<Typed> {
        let value = self.expr(e, ctx)?;
        let mut args = vec![self.expr(pattern, ctx)?];
        if let Some(escape) = escape {
            args.push(self.constant(escape)?);
        }
        let wanted = self.call_named("similar_to_escape", args, None)?;
        let position = self.operator_position(e, pattern);
        self.operator(if negated { "!~" } else { "~" }, value, wanted, position)
    }

    fn case(
        &mut self,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
        ctx: &Ctx<'_>,
    ) -> Result<Typed> {
        let sets = self.sets_so_far();
        let operand = operand.map(|o| self.expr(o, ctx)).transpose()?;
        let operand = match operand {
            Some(o) if matches!(o.kind, Kind::Literal(_)) => Some(self.coerce(o, PgType::TEXT)?),
            other => other,
        };
        let mut whens = Vec::with_capacity(conditions.len());
        let mut results = Vec::with_capacity(conditions.len() + 1);
        for when in conditions {
            let known = ctx.applies.borrow().len();
            let condition = self.expr(&when.condition, ctx)?;
            Self::only_in_branch(ctx, known, &whens, None);
            whens.push(match &operand {
                Some(o) => {
                    let position = condition.position;
                    self.operator("=", o.clone(), condition, position)?.expr
                }
                None => self.boolean(condition, "CASE/WHEN")?,
            });
            let known = ctx.applies.borrow().len();
            results.push(self.expr(&when.result, ctx)?);
            if let Some((condition, before)) = whens.split_last() {
                Self::only_in_branch(ctx, known, before, Some(condition));
            }
        }
        let known = ctx.applies.borrow().len();
        // PostgreSQL lists the ELSE first when it looks for the common type.
        let otherwise = match otherwise {
            Some(e) => self.expr(e, ctx)?,
            None => Typed::null(),
        };
        Self::only_in_branch(ctx, known, &whens, None);
        results.insert(0, otherwise);
        self.refuse_sets(sets, &results, "CASE")?;
        let (mut results, ty, typmod) = self.unify(results, "CASE")?;
        let otherwise = results.remove(0);
        let pairs = whens.into_iter().zip(results).map(|(w, r)| (Box::new(w), Box::new(r.expr))).collect();
        let case = Expr::Case(Case::new(None, pairs, Some(Box::new(otherwise.expr))));
        Ok(Typed { typmod, ..Typed::new(case, ty) })
    }

    /// `ARRAY[...]`
    fn array(&mut self, items: &[ast::Expr], ctx: &Ctx<'_>) -> Result<Typed> {
        if items.is_empty() {
            return Err(SqlError::new(SqlState::INDETERMINATE_DATATYPE, "cannot determine type of empty array")
                .hint("Explicitly cast to the desired type, for example ARRAY[]::integer[]."));
        }
        let mut bound = Vec::with_capacity(items.len());
        for item in items {
            bound.push(self.expr(item, ctx)?);
        }
        let (items, element, _) = self.unify(bound, "ARRAY")?;
        self.make_array(items, element)
    }

    /// ARRAY[...] under a cast: what it is cast to is what its elements are cast to.
    fn array_of(&mut self, items: &[ast::Expr], (ty, typmod): (PgType, i32), ctx: &Ctx<'_>) -> Result<Typed> {
        let mut bound = Vec::with_capacity(items.len());
        for item in items {
            let item = self.expr(item, ctx)?;
            bound.push(if item.ty.is_array() { item } else { self.cast(item, ty, typmod)? });
        }
        self.make_array(bound, ty)
    }

    fn make_array(&mut self, items: Vec<Typed>, element: PgType) -> Result<Typed> {
        if items.iter().any(|i| i.ty.is_array()) {
            return Err(SqlError::unsupported("a multidimensional array"));
        }
        let Some(ty) = element.array() else {
            return Err(SqlError::new(
                SqlState::UNDEFINED_OBJECT,
                format!("could not find array type for data type {}", element.sql_name()),
            ));
        };
        let args = vec![element; items.len()];
        let resolved = Resolved {
            name: "array",
            args,
            ret: ty,
            list: false,
            typmod: -1,
            explicit: false,
            volatility: functions::Volatility::Immutable,
            waits: false,
            imp: functions::make_array,
        };
        let expr = self.fold_constant(resolved.call(items.into_iter().map(|i| i.expr).collect()))?;
        Ok(Typed::new(expr, ty))
    }

    fn collate(&mut self, e: &ast::Expr, collation: &ast::ObjectName, ctx: &Ctx<'_>) -> Result<Typed> {
        let parts = super::name_parts(collation)?;
        let name = parts.last().map(String::as_str).unwrap_or_default();
        let inner = self.expr(e, ctx)?;
        if !matches!(name, "default" | "C" | "POSIX" | "ucs_basic") {
            return Err(SqlError::new(
                SqlState::UNDEFINED_OBJECT,
                format!("collation \"{name}\" for encoding \"UTF8\" does not exist"),
            )
            .at(self.position(super::name_span(collation))));
        }
        if inner.is_unknown() {
            return self.coerce(inner, PgType::TEXT);
        }
        if inner.ty.info().category != 'S' && !inner.ty.is_array() {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("collations are not supported by type {}", inner.ty.sql_name()),
            )
            .at(inner.position));
        }
        Ok(inner)
    }

    /// `a[1]`, `a[2:3]`
    fn access(&mut self, root: &ast::Expr, chain: &[ast::AccessExpr], ctx: &Ctx<'_>) -> Result<Typed> {
        let mut value = self.expr(root, ctx)?;
        let slice = |a: &ast::AccessExpr| matches!(a, ast::AccessExpr::Subscript(ast::Subscript::Slice { .. }));
        if chain.len() > 1 && chain.iter().any(slice) {
            // One slice makes slices of all subscripts, of dimensions that our arrays do not have.
            return Err(SqlError::unsupported("a slice of a multidimensional array").at(value.position));
        }
        for access in chain {
            let position = value.position;
            value = match access {
                ast::AccessExpr::Subscript(ast::Subscript::Index { index }) => {
                    let index = self.expr(index, ctx)?;
                    match value.ty {
                        PgType::JSONB => self.operator("->", value, index, position)?,
                        ty if ty.list_element().is_some() => {
                            let index = self.assign(index, PgType::INT4, -1)?;
                            self.call_named("array_subscript", vec![value, index], position)?
                        }
                        ty => return Err(not_subscriptable(ty).at(position)),
                    }
                }
                ast::AccessExpr::Subscript(ast::Subscript::Slice { lower_bound, upper_bound, stride: None }) => {
                    if value.ty.list_element().is_none() {
                        return Err(not_subscriptable(value.ty).at(position));
                    }
                    let low = match lower_bound {
                        Some(b) => self.expr(b, ctx)?,
                        None => Typed::literal(&crate::types::Value::Int4(1), PgType::INT4),
                    };
                    let high = match upper_bound {
                        Some(b) => self.expr(b, ctx)?,
                        None => self.call_named("cardinality", vec![value.clone()], position)?,
                    };
                    let low = self.assign(low, PgType::INT4, -1)?;
                    let high = self.assign(high, PgType::INT4, -1)?;
                    let args = vec![value, low, high];
                    self.call_named("array_slice", args, position)?
                }
                ast::AccessExpr::Dot(ast::Expr::Identifier(name)) => self.field_of(&value, name)?,
                _ => return Err(SqlError::unsupported("this way to a part of a value").at(position)),
            };
        }
        Ok(value)
    }

    fn interval(&mut self, i: &ast::Interval, ctx: &Ctx<'_>) -> Result<Typed> {
        let value = self.expr(&i.value, ctx)?;
        let typmod = super::types::interval_literal_typmod(i)?;
        self.cast(value, PgType::INTERVAL, typmod)
    }
}

/// An infix expression.
pub(super) fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

/// The name of an operator as pg_operator has it.
pub(super) fn operator_name(op: &Op) -> Result<String> {
    Ok(match op {
        Op::NotEq => "<>".to_owned(),
        Op::PGExp => "^".to_owned(),
        Op::PGBitwiseXor => "#".to_owned(),
        Op::PGLikeMatch => "~~".to_owned(),
        Op::PGILikeMatch => "~~*".to_owned(),
        Op::PGNotLikeMatch => "!~~".to_owned(),
        Op::PGNotILikeMatch => "!~~*".to_owned(),
        Op::BitwiseXor => "^".to_owned(),
        Op::PGCustomBinaryOperator(parts) => match parts.as_slice() {
            [.., last] if parts.len() == 1 || parts[0] == "pg_catalog" => last.clone(),
            _ => return Err(SqlError::unsupported(format!("operator {op}"))),
        },
        other => other.to_string(),
    })
}

pub(super) fn no_operator(name: &str, left: Option<PgType>, right: PgType) -> SqlError {
    SqlError::new(
        SqlState::UNDEFINED_FUNCTION,
        format!("operator does not exist: {}", operator_signature(name, left, right)),
    )
    .hint(match left {
        Some(_) => "No operator matches the given name and argument types. You might need to add explicit type casts.",
        None => "No operator matches the given name and argument type. You might need to add an explicit type cast.",
    })
}

fn ambiguous_operator(name: &str, left: Option<PgType>, right: PgType) -> SqlError {
    SqlError::new(
        SqlState::AMBIGUOUS_FUNCTION,
        format!("operator is not unique: {}", operator_signature(name, left, right)),
    )
    .hint("Could not choose a best candidate operator. You might need to add explicit type casts.")
}

fn operator_signature(name: &str, left: Option<PgType>, right: PgType) -> String {
    match left {
        Some(left) => format!("{} {name} {}", left.sql_name(), right.sql_name()),
        None => format!("{name} {}", right.sql_name()),
    }
}

fn not_subscriptable(ty: PgType) -> SqlError {
    SqlError::new(
        SqlState::DATATYPE_MISMATCH,
        format!("cannot subscript type {} because it does not support subscripting", ty.sql_name()),
    )
}
