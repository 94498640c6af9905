//! Stored expressions as PostgreSQL shows them (ruleutils.c): parentheses around every operator, literals with their types.
//!
//! Works on the text, not on what it was bound to; forms that it does not know are shown as they were written.

use datafusion::sql::sqlparser::ast::{self, BinaryOperator, Expr, UnaryOperator};
use kalamdb_catalog::name::quote_ident;
use kalamdb_catalog::{PgType, TableDefinition};

use super::bind::{fold, output_name};
use super::functions::reg_out;
use super::parse;
use crate::session::SessionContext;

/// An expression over a table's columns.
pub(crate) fn expression(table: &TableDefinition, sql: &str, session: &SessionContext) -> String {
    match parse::expression(sql) {
        Ok(e) => Deparser { table }.show(&named(e, session)),
        Err(_) => sql.to_owned(),
    }
}

/// A column's default: a sequence by its name.
pub(crate) fn default(sql: &str, session: &SessionContext) -> String {
    if !sql.contains("::regclass") {
        return sql.to_owned();
    }
    match parse::expression(sql) {
        Ok(e) => named(e, session).to_string().replace("::REGCLASS", "::regclass"),
        Err(_) => sql.to_owned(),
    }
}

/// `'16390'::regclass` as the name of that relation.
fn named(mut e: Expr, session: &SessionContext) -> Expr {
    let _ = ast::visit_expressions_mut(&mut e, |e| {
        if let Expr::Cast { expr, data_type, .. } = e
            && data_type.to_string().eq_ignore_ascii_case("regclass")
            && let Expr::Value(ast::ValueWithSpan { value: ast::Value::SingleQuotedString(text), .. }) = &mut **expr
            && let Ok(oid) = text.parse()
        {
            *text = reg_out(PgType::REGCLASS, oid, session);
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    e
}

/// True for what an index's definition shows without parentheses of its own.
pub(crate) fn is_call(sql: &str) -> bool {
    matches!(parse::expression(sql), Ok(Expr::Function(_)))
}

/// What a column of an index is called that is an expression.
pub(crate) fn name_of(sql: &str) -> String {
    parse::expression(sql).ok().and_then(|e| output_name(&e)).unwrap_or_else(|| "expr".to_owned())
}

struct Deparser<'a> {
    table: &'a TableDefinition,
}

impl Deparser<'_> {
    fn show(&self, e: &Expr) -> String {
        match e {
            Expr::Nested(inner) => self.show(inner),
            Expr::Identifier(i) => quote_ident(&fold(i)).into_owned(),
            Expr::CompoundIdentifier(parts) => {
                parts.last().map_or_else(String::new, |i| quote_ident(&fold(i)).into_owned())
            }
            Expr::Value(v) => match &v.value {
                ast::Value::SingleQuotedString(_) => format!("{e}::text"),
                ast::Value::Boolean(b) => b.to_string(),
                ast::Value::Null => "NULL".to_owned(),
                _ => e.to_string(),
            },
            Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
                let mut parts = Vec::new();
                self.flatten(left, op, &mut parts);
                parts.push(self.show(right));
                format!("({})", parts.join(&format!(" {op} ")))
            }
            Expr::BinaryOp { left, op, right } => self.operation(left, &operator(op), right),
            Expr::Like { negated, expr, pattern, .. } => {
                self.operation(expr, if *negated { "!~~" } else { "~~" }, pattern)
            }
            Expr::ILike { negated, expr, pattern, .. } => {
                self.operation(expr, if *negated { "!~~*" } else { "~~*" }, pattern)
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => format!("(NOT {})", self.show(expr)),
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } if matches!(**expr, Expr::Value(_)) => {
                format!("'-{expr}'::integer")
            }
            Expr::UnaryOp { op, expr } => format!("({op} {})", self.show(expr)),
            Expr::IsNull(e) => format!("({} IS NULL)", self.show(e)),
            Expr::IsNotNull(e) => format!("({} IS NOT NULL)", self.show(e)),
            Expr::Between { expr, negated: false, low, high } => {
                format!("({} AND {})", self.operation(expr, ">=", low), self.operation(expr, "<=", high))
            }
            Expr::Between { expr, negated: true, low, high } => {
                format!("({} OR {})", self.operation(expr, "<", low), self.operation(expr, ">", high))
            }
            Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            Expr::Function(call) => self.call(call),
            Expr::Cast { expr, data_type, .. } => match &**expr {
                Expr::Value(v) if matches!(v.value, ast::Value::SingleQuotedString(_)) => {
                    format!("{expr}::{}", self.type_name(data_type))
                }
                other => format!("({})::{}", self.show(other), self.type_name(data_type)),
            },
            other => other.to_string(),
        }
    }

    fn type_name(&self, ty: &ast::DataType) -> String {
        super::bind::type_of_name(ty).map_or_else(|_| ty.to_string(), |(ty, typmod)| ty.display(typmod))
    }

    /// The operands of a chain of the same operator.
    fn flatten(&self, e: &Expr, op: &BinaryOperator, parts: &mut Vec<String>) {
        match e {
            Expr::BinaryOp { left, op: same, right } if same == op => {
                self.flatten(left, op, parts);
                parts.push(self.show(right));
            }
            other => parts.push(self.show(other)),
        }
    }

    /// The type of a plain column.
    fn column_type(&self, e: &Expr) -> Option<PgType> {
        match e {
            Expr::Nested(inner) => self.column_type(inner),
            Expr::Identifier(i) => {
                let position = self.table.column_index(&fold(i))?;
                Some(self.table.columns[position].ty)
            }
            _ => None,
        }
    }

    fn operation(&self, left: &Expr, op: &str, right: &Expr) -> String {
        let (of_left, of_right) = (self.column_type(left), self.column_type(right));
        let left = self.operand(left, of_left.or(of_right));
        let right = self.operand(right, of_right.or(of_left));
        format!("({left} {op} {right})")
    }

    /// An operand of an operator on a column of type `ty`.
    fn operand(&self, e: &Expr, ty: Option<PgType>) -> String {
        let Some(ty) = ty else { return self.show(e) };
        match e {
            Expr::Nested(inner) => self.operand(inner, Some(ty)),
            Expr::Identifier(_) if ty == PgType::VARCHAR => format!("({})::text", self.show(e)),
            Expr::Value(v) => match (&v.value, ty) {
                (ast::Value::SingleQuotedString(_), PgType::VARCHAR) => format!("{e}::text"),
                (ast::Value::SingleQuotedString(_), ty) => format!("{e}::{}", ty.display(-1)),
                (ast::Value::Number(n, _), PgType::NUMERIC | PgType::FLOAT8 | PgType::FLOAT4)
                    if n.bytes().all(|b| b.is_ascii_digit()) =>
                {
                    let shown = if ty == PgType::NUMERIC { ty } else { PgType::FLOAT8 };
                    format!("({e})::{}", shown.display(-1))
                }
                _ => self.show(e),
            },
            other => self.show(other),
        }
    }

    fn in_list(&self, e: &Expr, list: &[Expr], negated: bool) -> String {
        let ty = self.column_type(e);
        let (op, quantifier) = if negated { ("<>", "ALL") } else { ("=", "ANY") };
        if ty == Some(PgType::VARCHAR) {
            let items: Vec<String> = list.iter().map(|i| format!("{i}::character varying")).collect();
            return format!("(({})::text {op} {quantifier} ((ARRAY[{}])::text[]))", self.show(e), items.join(", "));
        }
        let items: Vec<String> = list.iter().map(|i| self.operand(i, ty)).collect();
        format!("({} {op} {quantifier} (ARRAY[{}]))", self.operand(e, ty), items.join(", "))
    }

    fn call(&self, call: &ast::Function) -> String {
        let ast::FunctionArguments::List(list) = &call.args else { return call.to_string() };
        let mut shown = Vec::with_capacity(list.args.len());
        for argument in &list.args {
            let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(e)) = argument else { return call.to_string() };
            shown.push(match self.column_type(e) {
                Some(PgType::VARCHAR) => format!("({})::text", self.show(e)),
                _ => self.show(e),
            });
        }
        let name = call.name.to_string().to_lowercase();
        if name == "coalesce" {
            return format!("COALESCE({})", shown.join(", "));
        }
        format!("{name}({})", shown.join(", "))
    }
}

fn operator(op: &BinaryOperator) -> String {
    match op {
        BinaryOperator::NotEq => "<>".to_owned(),
        other => other.to_string(),
    }
}
