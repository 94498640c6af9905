//! A resolved function, operator or cast as a DataFusion scalar function.
//!
//! The binder has picked the overload and coerced the arguments; DataFusion sees a function of fixed Arrow types. The
//! session reaches the implementation through the plan's configuration ([`SessionExtension`]).

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::{ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility as DfVolatility,
};
use kalamdb_catalog::{PgType, SqlError};

use super::functions::advisory::wait_and_lock;
use super::functions::{Call, ScalarImpl, Volatility};
use crate::session::SessionContext;
use crate::txn::RowLocker;

/// Carries the session in DataFusion's configuration.
#[derive(Clone, Debug)]
pub(crate) struct SessionExtension {
    pub session: Arc<SessionContext>,
    /// The locks of the statement's transaction, while one runs.
    pub locker: Option<RowLocker>,
}

impl ConfigExtension for SessionExtension {
    const PREFIX: &'static str = "kalamdb";
}

impl ExtensionOptions for SessionExtension {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }
    fn set(&mut self, key: &str, _value: &str) -> DfResult<()> {
        Err(DataFusionError::Configuration(format!("{key} is not a setting")))
    }
    fn entries(&self) -> Vec<datafusion::common::config::ConfigEntry> {
        Vec::new()
    }
}

/// The session that `config` was made for.
pub(crate) fn session_of(config: &ConfigOptions) -> DfResult<&Arc<SessionContext>> {
    extension(config).map(|e| &e.session)
}

fn extension(config: &ConfigOptions) -> DfResult<&SessionExtension> {
    match config.extensions.get::<SessionExtension>() {
        Some(extension) => Ok(extension),
        None => Err(df_error(SqlError::internal("a plan runs without a session"))),
    }
}

/// Our error as DataFusion carries it; `plan::sql_error` takes it out again.
pub(crate) fn df_error(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What makes one resolved function.
#[derive(Clone)]
pub(crate) struct Resolved {
    pub name: &'static str,
    pub args: Vec<PgType>,
    pub ret: PgType,
    /// The function gives a list for each row (a set-returning function before unnesting).
    pub list: bool,
    pub typmod: i32,
    pub explicit: bool,
    pub volatility: Volatility,
    /// See `FnDef::waits`.
    pub waits: bool,
    pub imp: ScalarImpl,
}

impl Resolved {
    /// The call as an expression; `args` already have the carriers of `self.args`.
    pub(crate) fn call(self, args: Vec<Expr>) -> Expr {
        let udf = if self.waits {
            AsyncScalarUDF::new(Arc::new(PgFunction::new(self))).into_scalar_udf()
        } else {
            ScalarUDF::new_from_impl(PgFunction::new(self))
        };
        Expr::ScalarFunction(datafusion::logical_expr::expr::ScalarFunction::new_udf(Arc::new(udf), args))
    }
}

struct PgFunction {
    resolved: Resolved,
    signature: Signature,
    carrier: DataType,
}

impl PgFunction {
    fn new(resolved: Resolved) -> Self {
        let volatility = match resolved.volatility {
            Volatility::Immutable => DfVolatility::Immutable,
            Volatility::Stable => DfVolatility::Stable,
            Volatility::Volatile => DfVolatility::Volatile,
        };
        // A list is made row by row while the query runs, however constant: as a constant of the plan it would be made by
        // the optimiser, which nobody can cancel.
        let volatility = if resolved.list { DfVolatility::Volatile } else { volatility };
        let signature = Signature::variadic_any(volatility);
        let signature = if resolved.args.is_empty() { Signature::nullary(volatility) } else { signature };
        let carrier = if resolved.list {
            DataType::List(datafusion::arrow::datatypes::Field::new("item", resolved.ret.arrow(), true).into())
        } else {
            resolved.ret.arrow()
        };
        PgFunction { resolved, signature, carrier }
    }

    fn identity(&self) -> (&str, usize, &[PgType], PgType, i32, bool) {
        let r = &self.resolved;
        (r.name, r.imp as usize, &r.args, r.ret, r.typmod, r.explicit)
    }
}

impl PartialEq for PgFunction {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}
impl Eq for PgFunction {}
impl Hash for PgFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}
impl std::fmt::Debug for PgFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?}", self.resolved.name, self.resolved.args)
    }
}

impl ScalarUDFImpl for PgFunction {
    fn name(&self) -> &str {
        self.resolved.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        // The name must tell apart what differs only in types or type modifier, such as two casts of one column.
        let args: Vec<String> = args.iter().map(|a| a.schema_name().to_string()).collect();
        let r = &self.resolved;
        Ok(format!("{}({})::{:?}/{}", r.name, args.join(","), r.ret, r.typmod))
    }
    fn display_name(&self, args: &[Expr]) -> DfResult<String> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        Ok(format!("{}({})", self.resolved.name, args.join(", ")))
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.carrier.clone())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let SessionExtension { session, locker } = extension(&args.config_options)?;
        let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)))
            && self.resolved.volatility != Volatility::Volatile;
        let rows = if scalar { 1 } else { args.number_rows };
        let arrays = args.args.into_iter().map(|a| a.into_array(rows)).collect::<DfResult<Vec<_>>>()?;
        let call = Call {
            session,
            locker: locker.as_ref(),
            rows,
            arg_types: &self.resolved.args,
            ret: self.resolved.ret,
            typmod: self.resolved.typmod,
            explicit: self.resolved.explicit,
        };
        let out = (self.resolved.imp)(&call, &arrays).map_err(df_error)?;
        if scalar {
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&out, 0)?));
        }
        Ok(ColumnarValue::Array(out))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for PgFunction {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let SessionExtension { session, locker } = extension(&args.config_options)?;
        let rows = args.number_rows;
        let arrays = args.args.into_iter().map(|a| a.into_array(rows)).collect::<DfResult<Vec<_>>>()?;
        let locked = wait_and_lock(self.resolved.name, session, locker.as_ref(), &arrays, rows).await;
        Ok(ColumnarValue::Array(locked.map_err(df_error)?))
    }
}

/// True if an expression gives the same for the same row for ever.
pub(crate) fn is_immutable(expr: &Expr) -> bool {
    let varies = expr.exists(|e| {
        Ok(match e {
            Expr::ScalarFunction(call) => {
                call.func.signature().volatility != datafusion::logical_expr::Volatility::Immutable
            }
            _ => false,
        })
    });
    !varies.unwrap_or(true)
}

/// The resolved function behind a DataFusion function, if it is one of ours.
pub(crate) fn resolved_of(udf: &ScalarUDF) -> Option<&Resolved> {
    udf.inner().downcast_ref::<PgFunction>().map(|f| &f.resolved)
}
