//! Named notation in calls: `make_interval(days => 10)` (manual, section 4.3).

use datafusion::sql::sqlparser::ast::{FunctionArg, FunctionArgExpr, FunctionArgOperator};
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::scope::Ctx;
use super::typed::Typed;
use super::{Binder, fold};
use crate::types::Value;

/// Functions whose arguments have names (pg_proc.proargnames).
static NAMES: &[(&str, &[&str])] = &[
    ("jsonb_insert", &["jsonb_in", "path", "replacement", "insert_after"]),
    ("jsonb_set", &["jsonb_in", "path", "replacement", "create_if_missing"]),
    ("make_date", &["year", "month", "day"]),
    ("make_interval", &["years", "months", "weeks", "days", "hours", "mins", "secs"]),
    ("make_time", &["hour", "min", "sec"]),
    ("make_timestamp", &["year", "month", "mday", "hour", "min", "sec"]),
    ("make_timestamptz", &["year", "month", "mday", "hour", "min", "sec", "timezone"]),
];

impl Binder<'_> {
    /// The arguments of a call in the order of the declaration; None if none has a name.
    pub(super) fn named_arguments(
        &mut self,
        function: &str,
        args: &[FunctionArg],
        ctx: &Ctx<'_>,
        position: Option<u32>,
    ) -> Result<Option<Vec<Typed>>> {
        let first = args.iter().position(|a| matches!(a, FunctionArg::Named { .. }));
        let Some(first) = first else { return Ok(None) };
        let mut bound = self.arguments(&args[..first], ctx)?;
        let mut named: Vec<(String, Typed)> = Vec::with_capacity(args.len() - first);
        for arg in &args[first..] {
            let FunctionArg::Named { name, arg: FunctionArgExpr::Expr(e), operator } = arg else {
                let message = "positional argument cannot follow named argument";
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
            };
            if !matches!(operator, FunctionArgOperator::RightArrow | FunctionArgOperator::Assignment) {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{operator}\"")));
            }
            let (at, name) = (self.position(name.span), fold(name));
            if named.iter().any(|(known, _)| *known == name) {
                let message = format!("argument name \"{name}\" used more than once");
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(at));
            }
            let value = self.expr(e, ctx)?;
            named.push((name, value));
        }
        let none = |bound: &[Typed], named: &[(String, Typed)]| {
            let types = bound.iter().map(|t| t.ty.sql_name().to_owned());
            let types = types.chain(named.iter().map(|(name, t)| format!("{name} => {}", t.ty.sql_name())));
            let signature = format!("{function}({})", types.collect::<Vec<_>>().join(", "));
            SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function {signature} does not exist"))
                .hint(
                    "No function matches the given name and argument types. You might need to add explicit type casts.",
                )
                .at(position)
        };
        let declared = NAMES.iter().find(|(name, _)| *name == function).map(|(_, names)| *names).unwrap_or_default();
        let fits = |(name, _): &(String, Typed)| declared.iter().skip(bound.len()).any(|d| d == name);
        if !named.iter().all(fits) {
            return Err(none(&bound, &named));
        }
        let given = named.clone();
        let positional = bound.clone();
        for name in declared.iter().skip(bound.len()) {
            match named.iter().position(|(given, _)| given == name) {
                Some(at) => bound.push(named.swap_remove(at).1),
                None if named.is_empty() => break,
                // Only make_interval has defaults before its last argument.
                None if function == "make_interval" => bound.push(Typed::literal(&Value::Int4(0), PgType::INT4)),
                None => return Err(none(&positional, &given)),
            }
        }
        Ok(Some(bound))
    }
}
