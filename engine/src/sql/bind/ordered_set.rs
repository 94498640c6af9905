//! Ordered-set aggregates: `percentile_cont(0.5) WITHIN GROUP (ORDER BY x)` (manual, section 9.21).
//!
//! The values are collected in order by array_agg; what is left is a function of that array and the direct arguments.

use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::sql::sqlparser::ast;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::Binder;
use super::expr::binary;
use super::scope::{Clause, Ctx};
use super::typed::Typed;
use crate::sql::functions::{self, ScalarImpl, Volatility};
use crate::sql::udf::Resolved;

/// True for the names of ordered-set aggregates that are there.
pub(super) fn is_ordered_set(name: &str) -> bool {
    matches!(name, "percentile_cont" | "percentile_disc" | "mode")
}

impl Binder<'_> {
    pub(super) fn ordered_set(
        &mut self,
        name: &str,
        f: &ast::Function,
        ctx: &Ctx<'_>,
        position: Option<u32>,
    ) -> Result<Typed> {
        let ast::FunctionArguments::List(list) = &f.args else {
            return Err(super::func::no_function(name, &[]).at(position));
        };
        let inner = Ctx { in_aggregate: true, clause: Clause::Filter, ..*ctx };
        let keys: Vec<&ast::Expr> = f.within_group.iter().map(|k| &k.expr).collect();
        if let Some(parent) = ctx.parent
            && self.belongs_outside(&keys, &inner)?
        {
            let typed = self.ordered_set(name, f, parent, position)?;
            return Ok(self.outer_reference(typed, ctx));
        }
        super::func::check_aggregate_place(ctx).map_err(|e| e.at(position))?;
        if f.over.is_some() {
            return Err(SqlError::unsupported(format!("OVER for ordered-set aggregate {name}")).at(position));
        }
        let direct = self.arguments(&list.args, ctx)?;
        let [key] = f.within_group.as_slice() else {
            if f.within_group.is_empty() {
                let message = format!("WITHIN GROUP is required for ordered-set aggregate {name}");
                return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message).at(position));
            }
            return Err(SqlError::unsupported(format!("several sort keys in {name}")).at(position));
        };
        let value = self.expr(&key.expr, &inner)?;
        let value = if value.is_unknown() { self.coerce(value, PgType::TEXT)? } else { value };
        let types: Vec<PgType> = direct.iter().map(|d| d.ty).chain([value.ty]).collect();
        let none = || super::func::no_function(name, &types).at(position);
        if direct.len() != usize::from(name != "mode") {
            return Err(none());
        }
        let value = match name {
            "percentile_cont" if value.ty == PgType::INTERVAL => {
                return Err(SqlError::unsupported("percentile_cont over intervals").at(position));
            }
            "percentile_cont" => self.coerce(value, PgType::FLOAT8).map_err(|_| none())?,
            _ => value,
        };
        let Some(array) = value.ty.array() else {
            return Err(SqlError::unsupported(format!("{name} over type {}", value.ty.sql_name())).at(position));
        };
        let filter = match &f.filter {
            Some(filter) => {
                let bound = self.expr(filter, &inner)?;
                Some(self.boolean(bound, "FILTER")?)
            }
            None => None,
        };
        let present = Expr::IsNotNull(Box::new(value.expr.clone()));
        let filter = match filter {
            Some(filter) => binary(filter, datafusion::logical_expr::Operator::And, present),
            None => present,
        };
        let element = value.ty;
        let sort = self.sort_expr(value.clone(), &key.options)?;
        let udf = functions::collect_array(element, array);
        let values = AggregateFunction::new_udf(udf, vec![value.expr], false, Some(Box::new(filter)), vec![sort], None);
        let mut args = vec![Expr::AggregateFunction(values)];
        let mut arg_types = vec![array];
        let several = direct.first().is_some_and(|d| d.ty.is_array());
        for fraction in direct {
            let ty = if several { PgType::FLOAT8_ARRAY } else { PgType::FLOAT8 };
            args.push(self.coerce(fraction, ty).map_err(|_| none())?.expr);
            arg_types.push(ty);
        }
        let (name, imp): (&'static str, ScalarImpl) = match name {
            "percentile_cont" => ("percentile_cont", functions::percentile_cont),
            "percentile_disc" => ("percentile_disc", functions::percentile_disc),
            _ => ("mode", functions::mode),
        };
        let ret = if several { array } else { element };
        let call = Resolved {
            name,
            args: arg_types,
            ret,
            list: false,
            typmod: -1,
            explicit: false,
            volatility: Volatility::Immutable,
            waits: false,
            imp,
        };
        Ok(Typed::new(call.call(args), ret).at(position))
    }
}
