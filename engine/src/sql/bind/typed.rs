//! A bound expression and its conversions.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::Field;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Cast, Expr, lit};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::Binder;
use crate::sql::coerce::{self, CastPath, cast_path};
use crate::sql::functions::{self, Call, CastContext, Volatility};
use crate::types::{Value, parse_text};

/// An expression with its PostgreSQL type.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub expr: Expr,
    pub ty: PgType,
    pub typmod: i32,
    pub kind: Kind,
    /// Where it stands, for errors of conversions put on it later.
    pub position: Option<u32>,
}

/// What is special about an expression while its type is still open.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Kind {
    Plain,
    /// A string literal or NULL that takes the type of its surroundings; `ty` is unknown.
    Literal(Option<String>),
    /// Parameter `$n` whose type is not known yet; `ty` is unknown.
    Parameter(usize),
    /// A column of a set-returning function: the expression is a list to unnest.
    Set,
}

impl Typed {
    pub(crate) fn new(expr: Expr, ty: PgType) -> Self {
        Typed { expr, ty, typmod: -1, kind: Kind::Plain, position: None }
    }

    pub(crate) fn literal(value: &Value<'_>, ty: PgType) -> Self {
        let scalar = value.to_scalar(ty).unwrap_or_else(|_| unreachable!("a literal has the carrier of its type"));
        Typed::new(Expr::Literal(scalar, None), ty)
    }

    pub(crate) fn null() -> Self {
        Typed { kind: Kind::Literal(None), ..Typed::new(lit(ScalarValue::Utf8(None)), PgType::UNKNOWN) }
    }

    pub(crate) fn unknown(text: String) -> Self {
        let expr = lit(ScalarValue::Utf8(Some(text.clone())));
        Typed { kind: Kind::Literal(Some(text)), ..Typed::new(expr, PgType::UNKNOWN) }
    }

    pub(crate) fn at(mut self, position: Option<u32>) -> Self {
        self.position = self.position.or(position);
        self
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.ty == PgType::UNKNOWN
    }
}

/// The placeholder of a parameter.
pub(super) fn placeholder(id: String, ty: PgType) -> Expr {
    let field = Arc::new(Field::new(&id, ty.arrow(), true));
    Expr::Placeholder(Placeholder::new_with_field(id, Some(field)))
}

impl Binder<'_> {
    /// Converts where SQL converts by itself: function arguments, operands, set operations.
    pub(crate) fn coerce(&mut self, from: Typed, to: PgType) -> Result<Typed> {
        self.convert(from, to, -1, CastContext::Implicit)
    }

    /// Converts for storage in a column: INSERT, UPDATE.
    pub(crate) fn assign(&mut self, from: Typed, to: PgType, typmod: i32) -> Result<Typed> {
        self.convert(from, to, typmod, CastContext::Assignment)
    }

    /// A cast that the user wrote.
    pub(crate) fn cast(&mut self, from: Typed, to: PgType, typmod: i32) -> Result<Typed> {
        self.convert(from, to, typmod, CastContext::Explicit)
    }

    fn convert(&mut self, from: Typed, to: PgType, typmod: i32, context: CastContext) -> Result<Typed> {
        let position = from.position;
        let explicit = context == CastContext::Explicit;
        match &from.kind {
            Kind::Set => {
                let one = self.one_of_set(from)?;
                return self.convert(one, to, typmod, context);
            }
            Kind::Literal(text) => return self.literal_as(text.as_deref(), to, typmod, explicit, position),
            Kind::Parameter(index) => {
                let to = if to.is_polymorphic() { PgType::TEXT } else { to };
                self.infer(*index, to, position)?;
                let expr = placeholder(format!("${index}"), to);
                let expr = coerce::apply_typmod(expr, to, typmod, explicit);
                return Ok(Typed { expr, ty: to, typmod, kind: Kind::Plain, position });
            }
            Kind::Plain => {}
        }
        if to.is_polymorphic() {
            return Ok(from);
        }
        let Some(path) = cast_path(from.ty, to, context) else {
            return Err(coerce::cannot_cast(from.ty, to).at(position));
        };
        let had = if from.ty == to { from.typmod } else { -1 };
        let expr = self.cast_expr(from.expr, from.ty, to, typmod, explicit, path)?;
        let apply = typmod >= 0 && (typmod != had) && !matches!(path, CastPath::ViaText | CastPath::Elements);
        let expr = if apply { self.fold_constant(coerce::apply_typmod(expr, to, typmod, explicit))? } else { expr };
        let typmod = if typmod >= 0 { typmod } else { had };
        Ok(Typed { expr, ty: to, typmod, kind: Kind::Plain, position })
    }

    fn cast_expr(
        &self,
        expr: Expr,
        from: PgType,
        to: PgType,
        typmod: i32,
        explicit: bool,
        path: CastPath,
    ) -> Result<Expr> {
        // Widening that Arrow does exactly as PostgreSQL; DataFusion can see through it.
        let native = matches!(
            (from, to),
            (PgType::INT2, PgType::INT4 | PgType::INT8 | PgType::FLOAT4 | PgType::FLOAT8)
                | (PgType::INT4, PgType::INT8 | PgType::FLOAT8)
                | (PgType::FLOAT4, PgType::FLOAT8)
        );
        let cast = if native {
            match expr {
                Expr::Literal(value, _) => {
                    let value = value.cast_to(&to.arrow()).map_err(|e| SqlError::internal(e.to_string()))?;
                    return Ok(Expr::Literal(value, None));
                }
                expr => Expr::Cast(Cast::new(Box::new(expr), to.arrow())),
            }
        } else {
            coerce::apply_cast(expr, from, to, typmod, explicit, path)
        };
        self.fold_constant(cast)
    }

    /// A string literal read as a value of `to`, at once, as PostgreSQL does.
    fn literal_as(
        &self,
        text: Option<&str>,
        to: PgType,
        typmod: i32,
        explicit: bool,
        position: Option<u32>,
    ) -> Result<Typed> {
        let to = if to.is_polymorphic() || to == PgType::UNKNOWN { PgType::TEXT } else { to };
        let Some(text) = text else {
            let mut typed = Typed::literal(&Value::Null, to);
            typed.typmod = typmod;
            return Ok(typed.at(position));
        };
        let value = if to.is_reg() {
            Value::Oid(functions::reg_in(to, text, self.session).map_err(|e| e.at(position))?)
        } else {
            // A written cast to varchar(n) or char(n) cuts silently; the check is for what is stored.
            let input = if explicit && matches!(to, PgType::VARCHAR | PgType::BPCHAR) { -1 } else { typmod };
            parse_text(to, input, text, &self.session.format()).map_err(|e| e.at(position))?
        };
        let expr = Expr::Literal(value.to_scalar(to)?, None);
        let expr = if explicit && matches!(to, PgType::VARCHAR | PgType::BPCHAR) {
            self.fold_constant(coerce::apply_typmod(expr, to, typmod, true))?
        } else {
            expr
        };
        Ok(Typed { expr, ty: to, typmod, kind: Kind::Plain, position })
    }

    fn infer(&mut self, index: usize, ty: PgType, position: Option<u32>) -> Result<()> {
        match self.parameters.get(index) {
            None => {
                self.parameters.set(index, ty);
                Ok(())
            }
            Some(known) if known == ty => Ok(()),
            Some(known) => Err(SqlError::new(
                SqlState::AMBIGUOUS_PARAMETER,
                format!("inconsistent types deduced for parameter ${index}"),
            )
            .detail(format!("{} versus {}", known.sql_name(), ty.sql_name()))
            .at(position)),
        }
    }

    /// An immutable function of literals, evaluated; anything else as it is. Errors are left for execution, since the
    /// expression may never be reached (CASE).
    pub(crate) fn fold_constant(&self, expr: Expr) -> Result<Expr> {
        let Expr::ScalarFunction(function) = &expr else { return Ok(expr) };
        let literals: Option<Vec<&ScalarValue>> = function
            .args
            .iter()
            .map(|a| match a {
                Expr::Literal(value, _) => Some(value),
                _ => None,
            })
            .collect();
        let Some(literals) = literals else { return Ok(expr) };
        let Some(resolved) = crate::sql::udf::resolved_of(&function.func) else { return Ok(expr) };
        if resolved.volatility != Volatility::Immutable || resolved.list {
            return Ok(expr);
        }
        let arrays: Vec<ArrayRef> = literals
            .iter()
            .map(|v| v.to_array())
            .collect::<Result<_, _>>()
            .map_err(|e| SqlError::internal(e.to_string()))?;
        let call = Call {
            locker: None,
            session: self.session,
            rows: 1,
            arg_types: &resolved.args,
            ret: resolved.ret,
            typmod: resolved.typmod,
            explicit: resolved.explicit,
        };
        match (resolved.imp)(&call, &arrays) {
            Ok(array) => {
                let value = ScalarValue::try_from_array(&array, 0).map_err(|e| SqlError::internal(e.to_string()))?;
                Ok(Expr::Literal(value, None))
            }
            Err(_) => Ok(expr),
        }
    }

    /// A condition: WHERE, ON, HAVING, FILTER, WHEN.
    pub(crate) fn boolean(&mut self, typed: Typed, what: &str) -> Result<Expr> {
        if typed.ty != PgType::BOOL && !typed.is_unknown() {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("argument of {what} must be type boolean, not type {}", typed.ty.sql_name()),
            )
            .at(typed.position));
        }
        if typed.kind == Kind::Set {
            return Err(set_not_allowed(what).at(typed.position));
        }
        Ok(self.coerce(typed, PgType::BOOL)?.expr)
    }

    /// The common type of several expressions, and the expressions converted to it.
    pub(crate) fn unify(&mut self, mut items: Vec<Typed>, what: &str) -> Result<(Vec<Typed>, PgType, i32)> {
        let types: Vec<PgType> = items.iter().map(|t| t.ty).collect();
        let ty = coerce::common_type(&types, what).map_err(|e| {
            let other = items.iter().find(|t| !t.is_unknown() && t.ty.info().category != items[0].ty.info().category);
            e.at(other.and_then(|t| t.position))
        })?;
        let typmod = match items.first() {
            Some(first) if items.iter().all(|t| t.ty == ty && t.typmod == first.typmod) => first.typmod,
            _ => -1,
        };
        for item in &mut items {
            let taken = std::mem::replace(item, Typed::null());
            *item = self.coerce(taken, ty)?;
        }
        Ok((items, ty, typmod))
    }
}

/// 0A000: a set-returning function where only one value can stand.
pub(super) fn set_not_allowed(what: &str) -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("set-returning functions are not allowed in {what}"))
}
