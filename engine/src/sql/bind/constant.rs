//! Literals.

use datafusion::sql::sqlparser::ast::{self, Value as Ast};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::{Binder, Kind, Typed};
use crate::types::{Numeric, Value};

impl Binder<'_> {
    /// A literal or parameter.
    pub(super) fn constant(&mut self, value: &ast::ValueWithSpan) -> Result<Typed> {
        let position = self.position(value.span);
        let typed = match &value.value {
            Ast::Null => Typed::null(),
            Ast::Boolean(b) => Typed::literal(&Value::Bool(*b), PgType::BOOL),
            Ast::Number(digits, _) => number(digits).map_err(|e| e.at(position))?,
            Ast::SingleQuotedString(s)
            | Ast::EscapedStringLiteral(s)
            | Ast::UnicodeStringLiteral(s)
            | Ast::NationalStringLiteral(s) => Typed::unknown(s.clone()),
            Ast::DollarQuotedString(s) => Typed::unknown(s.value.clone()),
            Ast::Placeholder(name) => self.parameter(name, position)?,
            Ast::HexStringLiteral(_) | Ast::SingleQuotedByteStringLiteral(_) => {
                return Err(SqlError::unsupported("type bit").at(position));
            }
            other => return Err(SqlError::unsupported(format!("literal {other}")).at(position)),
        };
        Ok(typed.at(position))
    }

    fn parameter(&mut self, name: &str, position: Option<u32>) -> Result<Typed> {
        let index = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()).filter(|n| (1..=65535).contains(n));
        let Some(index) = index else {
            return Err(
                SqlError::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter {name}")).at(position)
            );
        };
        Ok(match self.parameters.get(index) {
            Some(ty) => Typed::new(super::typed::placeholder(format!("${index}"), ty), ty),
            None => Typed { kind: Kind::Parameter(index), ..Typed::null() },
        })
    }
}

/// int4 if it fits, else int8, else numeric (manual, 4.1.2.6).
fn number(digits: &str) -> Result<Typed> {
    if let Ok(n) = digits.parse::<i32>() {
        return Ok(Typed::literal(&Value::Int4(n), PgType::INT4));
    }
    if let Ok(n) = digits.parse::<i64>() {
        return Ok(Typed::literal(&Value::Int8(n), PgType::INT8));
    }
    if digits.contains('_') {
        return Err(SqlError::new(
            SqlState::SYNTAX_ERROR,
            format!("trailing junk after numeric literal at or near \"{digits}\""),
        ));
    }
    let n = Numeric::parse(digits)?;
    Ok(Typed::literal(&Value::Bytes(n.encode().into()), PgType::NUMERIC))
}
