//! SQL's functions, operators, casts and aggregates, with PostgreSQL's signatures and OIDs.
//!
//! Each family is a file with tables: `FUNCTIONS`, `OPERATORS`, `CASTS`, and `AGGREGATES` where it has some. The binder picks a
//! row by PostgreSQL's rules (manual, chapter 10) and turns it into a DataFusion expression; `pg_proc` lists the
//! same rows. An implementation sees whole Arrow arrays, one per argument, all `call.rows` long.

pub mod adapt;
pub(crate) mod advisory;
mod aggregates;
mod arithmetic;
mod arrays;
mod catalog;
mod datetime;
mod ids;
pub(crate) mod json;
mod math;
mod notify;
mod ordered_set;
mod record;
mod regexp;
mod sequences;
mod session;
mod special;
mod system;
mod text;
mod text_aggregates;
mod to_char;

use std::collections::HashMap;
use std::sync::LazyLock;

use datafusion::arrow::array::ArrayRef;
use kalamdb_catalog::{PgType, Result};

pub use catalog::{parse_type_name, reg_in, reg_out, schema_named, search_path};
pub(crate) use ordered_set::{collect_array, mode, percentile_cont, percentile_disc};
pub(crate) use record::{make_record, record_field, record_not_null, record_null};
pub(crate) use special::row_count;
pub use special::{any_all, make_array, ordinals};

use crate::session::SessionContext;
use crate::txn::RowLocker;

/// pg_proc.provolatile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Volatility {
    Immutable,
    Stable,
    Volatile,
}

/// What an implementation is told besides its arguments.
pub struct Call<'a> {
    pub session: &'a SessionContext,
    /// The transaction's locks. None where an expression is evaluated outside a statement.
    pub locker: Option<&'a RowLocker>,
    /// Length of every argument array and of the result.
    pub rows: usize,
    /// Declared types of the arguments after resolution (polymorphic ones made concrete).
    pub arg_types: &'a [PgType],
    pub ret: PgType,
    /// Type modifier of the result for casts to `varchar(n)`, `numeric(p,s)` ..., else -1.
    pub typmod: i32,
    /// True for a cast written by the user (`::`), false for one the planner or an INSERT put in.
    pub explicit: bool,
}

/// The implementation: arrays of the argument types' carriers to an array of the result's carrier.
/// With `strict` rows where any argument is NULL must come out NULL without the body being run on them.
pub type ScalarImpl = fn(&Call<'_>, &[ArrayRef]) -> Result<ArrayRef>;

/// A row of pg_proc with its implementation.
pub struct FnDef {
    pub oid: u32,
    pub name: &'static str,
    /// Polymorphic types allowed. With `variadic` the last entry is the repeated element type.
    pub args: &'static [PgType],
    pub variadic: bool,
    /// Trailing arguments that may be left out; the implementation then sees fewer arrays.
    pub optional: usize,
    pub ret: PgType,
    /// True for set-returning functions: the implementation returns a List array, one list per input row.
    pub returns_set: bool,
    pub volatility: Volatility,
    pub strict: bool,
    /// May have to wait: carried out by `advisory::wait_and_lock`, not by `imp`.
    pub waits: bool,
    pub imp: ScalarImpl,
}

/// A row of pg_operator. Comparison operators are not listed: the planner compares sort keys (`sql::compare`).
/// A prefix operator has `left: None`.
pub struct OpDef {
    pub oid: u32,
    pub name: &'static str,
    pub left: Option<PgType>,
    pub right: PgType,
    pub ret: PgType,
    pub volatility: Volatility,
    pub imp: ScalarImpl,
}

/// pg_cast.castcontext.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum CastContext {
    Implicit,
    Assignment,
    Explicit,
}

/// A row of pg_cast. Casts to and from text of any type, and type-modifier coercions (from = to), need no function
/// here if the text form is what converts; `imp` is called with `call.typmod`.
pub struct CastDef {
    pub from: PgType,
    pub to: PgType,
    pub context: CastContext,
    pub imp: ScalarImpl,
}

/// An aggregate: pg_proc row with prokind 'a'.
pub struct AggDef {
    pub oid: u32,
    pub name: &'static str,
    pub args: &'static [PgType],
    pub variadic: bool,
    pub ret: PgType,
    /// Makes the DataFusion aggregate for concrete argument types; it must take exactly these carriers (signature
    /// `any`/`user_defined` without coercion), return `ret`'s carrier, and honour DISTINCT/ORDER BY/FILTER through
    /// DataFusion.
    pub make: fn(args: &[PgType], ret: PgType) -> datafusion::logical_expr::AggregateUDF,
}

impl FnDef {
    /// A strict immutable function; change fields with struct update syntax for the rest.
    pub const fn new(oid: u32, name: &'static str, args: &'static [PgType], ret: PgType, imp: ScalarImpl) -> FnDef {
        FnDef {
            oid,
            name,
            args,
            variadic: false,
            optional: 0,
            ret,
            returns_set: false,
            volatility: Volatility::Immutable,
            strict: true,
            waits: false,
            imp,
        }
    }

    pub const fn stable(self) -> FnDef {
        FnDef { volatility: Volatility::Stable, ..self }
    }

    pub const fn volatile(self) -> FnDef {
        FnDef { volatility: Volatility::Volatile, ..self }
    }

    pub const fn waiting(self) -> FnDef {
        FnDef { waits: true, ..self }
    }

    /// Called on NULL arguments too.
    pub const fn called_on_null(self) -> FnDef {
        FnDef { strict: false, ..self }
    }

    pub const fn variadic(self) -> FnDef {
        FnDef { variadic: true, ..self }
    }

    pub const fn optional(self, optional: usize) -> FnDef {
        FnDef { optional, ..self }
    }

    pub const fn set(self) -> FnDef {
        FnDef { returns_set: true, ..self }
    }
}

impl OpDef {
    pub const fn infix(
        oid: u32,
        name: &'static str,
        left: PgType,
        right: PgType,
        ret: PgType,
        imp: ScalarImpl,
    ) -> OpDef {
        OpDef { oid, name, left: Some(left), right, ret, volatility: Volatility::Immutable, imp }
    }

    pub const fn prefix(oid: u32, name: &'static str, right: PgType, ret: PgType, imp: ScalarImpl) -> OpDef {
        OpDef { oid, name, left: None, right, ret, volatility: Volatility::Immutable, imp }
    }

    pub const fn stable(self) -> OpDef {
        OpDef { volatility: Volatility::Stable, ..self }
    }
}

static FUNCTIONS: &[&[FnDef]] = &[
    advisory::FUNCTIONS,
    arrays::FUNCTIONS,
    catalog::FUNCTIONS,
    datetime::FUNCTIONS,
    ids::FUNCTIONS,
    json::FUNCTIONS,
    math::FUNCTIONS,
    notify::FUNCTIONS,
    regexp::FUNCTIONS,
    sequences::FUNCTIONS,
    session::FUNCTIONS,
    system::FUNCTIONS,
    system::PRIVILEGES,
    text::FUNCTIONS,
    to_char::FUNCTIONS,
];

static OPERATORS: &[&[OpDef]] = &[
    arithmetic::OPERATORS,
    arrays::OPERATORS,
    datetime::OPERATORS,
    json::OPERATORS,
    regexp::OPERATORS,
    text::OPERATORS,
];

static CASTS: &[&[CastDef]] = &[arithmetic::CASTS, catalog::CASTS, datetime::CASTS, json::CASTS, text::CASTS];

static AGGREGATES: &[&[AggDef]] = &[aggregates::AGGREGATES, text_aggregates::AGGREGATES];

fn by_name<T>(
    all: impl Iterator<Item = &'static T>,
    name: fn(&T) -> &'static str,
) -> HashMap<&'static str, Vec<&'static T>> {
    let mut map: HashMap<&'static str, Vec<&'static T>> = HashMap::new();
    for def in all {
        map.entry(name(def)).or_default().push(def);
    }
    map
}

static FUNCTIONS_BY_NAME: LazyLock<HashMap<&str, Vec<&FnDef>>> = LazyLock::new(|| by_name(all(), |d| d.name));
static OPERATORS_BY_NAME: LazyLock<HashMap<&str, Vec<&OpDef>>> = LazyLock::new(|| by_name(operators(), |d| d.name));
static AGGREGATES_BY_NAME: LazyLock<HashMap<&str, Vec<&AggDef>>> = LazyLock::new(|| by_name(aggregates(), |d| d.name));

/// Every plain function.
pub fn all() -> impl Iterator<Item = &'static FnDef> {
    FUNCTIONS.iter().flat_map(|f| f.iter())
}

/// Every operator but the comparisons.
pub fn operators() -> impl Iterator<Item = &'static OpDef> {
    OPERATORS.iter().flat_map(|f| f.iter())
}

/// Every cast with a function.
pub fn casts() -> impl Iterator<Item = &'static CastDef> {
    CASTS.iter().flat_map(|f| f.iter())
}

/// Every aggregate.
pub fn aggregates() -> impl Iterator<Item = &'static AggDef> {
    AGGREGATES.iter().flat_map(|f| f.iter())
}

pub fn functions_named(name: &str) -> impl Iterator<Item = &'static FnDef> {
    FUNCTIONS_BY_NAME.get(name).into_iter().flatten().copied()
}

pub fn operators_named(name: &str) -> impl Iterator<Item = &'static OpDef> {
    OPERATORS_BY_NAME.get(name).into_iter().flatten().copied()
}

pub fn aggregates_named(name: &str) -> impl Iterator<Item = &'static AggDef> {
    AGGREGATES_BY_NAME.get(name).into_iter().flatten().copied()
}
