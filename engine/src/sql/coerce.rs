//! Type conversion (manual, chapter 10): which casts exist, which apply by themselves, and the expressions that do them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray};
use datafusion::arrow::datatypes::Field;
use datafusion::logical_expr::Expr;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::functions::{self, Call, CastContext, CastDef, ScalarImpl, Volatility};
use super::udf::Resolved;
use crate::types::{ArrayBuilder, ColumnReader, Value, parse_text, write_text};

/// How a value of one type becomes one of another.
#[derive(Clone, Copy)]
pub(super) enum CastPath {
    /// Same carrier, same value.
    Relabel,
    Function(&'static CastDef),
    /// Through the text form.
    ViaText,
    /// Each element of an array.
    Elements,
}

static CASTS: LazyLock<HashMap<(PgType, PgType), &'static CastDef>> =
    LazyLock::new(|| functions::casts().map(|c| ((c.from, c.to), c)).collect());

/// Types that are the same bytes: (from, to, context), as pg_cast lists with castmethod 'b'.
const RELABELS: &[(PgType, PgType, CastContext)] = &[
    (PgType::VARCHAR, PgType::TEXT, CastContext::Implicit),
    (PgType::TEXT, PgType::VARCHAR, CastContext::Implicit),
    (PgType::TEXT, PgType::BPCHAR, CastContext::Implicit),
    (PgType::VARCHAR, PgType::BPCHAR, CastContext::Implicit),
    (PgType::INT2VECTOR, PgType::INT2_ARRAY, CastContext::Implicit),
    (PgType::OIDVECTOR, PgType::OID_ARRAY, CastContext::Implicit),
    (PgType::PG_NODE_TREE, PgType::TEXT, CastContext::Implicit),
];

/// The cast from `from` to `to` allowed in `context`, if there is one (parse_coerce.c, find_coercion_pathway).
pub(super) fn cast_path(from: PgType, to: PgType, context: CastContext) -> Option<CastPath> {
    if from == to {
        return Some(CastPath::Relabel);
    }
    if let Some(cast) = CASTS.get(&(from, to)) {
        return (cast.context <= context).then_some(CastPath::Function(cast));
    }
    if let Some((_, _, needed)) = RELABELS.iter().find(|(f, t, _)| *f == from && *t == to) {
        return (*needed <= context).then_some(CastPath::Relabel);
    }
    if from.is_oid_like() && to.is_oid_like() && from != PgType::XID && to != PgType::XID {
        let needed = if to == PgType::OID || from == PgType::OID { CastContext::Implicit } else { return None };
        return (needed <= context).then_some(CastPath::Relabel);
    }
    if let (Some(f), Some(t)) = (from.element(), to.element()) {
        return cast_path(f, t, context).map(|_| CastPath::Elements);
    }
    let to_string = to.info().category == 'S' && context >= CastContext::Assignment;
    let from_string = from.info().category == 'S' && context == CastContext::Explicit;
    let pseudo = |t: PgType| t.info().kind == 'p' && !matches!(t, PgType::RECORD | PgType::RECORD_ARRAY);
    ((to_string || from_string) && !pseudo(from) && !pseudo(to)).then_some(CastPath::ViaText)
}

/// True if `from` is accepted where `to` is wanted, without a cast being written. Unknown literals go anywhere.
pub(super) fn can_coerce(from: PgType, to: PgType) -> bool {
    if from == to || from == PgType::UNKNOWN {
        return true;
    }
    match to {
        PgType::ANY | PgType::ANYELEMENT | PgType::ANYCOMPATIBLE => true,
        PgType::ANYARRAY | PgType::ANYCOMPATIBLEARRAY => from.list_element().is_some(),
        PgType::ANYNONARRAY | PgType::ANYCOMPATIBLENONARRAY => !from.is_array(),
        _ => cast_path(from, to, CastContext::Implicit).is_some(),
    }
}

/// The expression that takes `expr` along `path`.
pub(super) fn apply_cast(expr: Expr, from: PgType, to: PgType, typmod: i32, explicit: bool, path: CastPath) -> Expr {
    let (name, imp, volatility): (&'static str, ScalarImpl, Volatility) = match path {
        CastPath::Relabel => return expr,
        CastPath::Function(cast) => (to.info().name, cast.imp, cast_volatility(from, to)),
        CastPath::ViaText => (to.info().name, cast_via_text, cast_volatility(from, to)),
        CastPath::Elements => (to.info().name, cast_elements, Volatility::Stable),
    };
    Resolved { name, args: vec![from], ret: to, list: false, typmod, explicit, volatility, waits: false, imp }
        .call(vec![expr])
}

/// Casts that read the session's time zone, styles or search path give the same answer only within a statement.
fn cast_volatility(from: PgType, to: PgType) -> Volatility {
    let depends = |t: PgType| {
        t.is_reg()
            || t.is_float()
            || matches!(t, PgType::DATE | PgType::TIME | PgType::TIMESTAMP | PgType::TIMESTAMPTZ | PgType::INTERVAL)
            || t == PgType::BYTEA
    };
    // Without a text or a time zone in between there is nothing to read.
    let plain = |t: PgType| {
        t.is_float()
            || matches!(t, PgType::DATE | PgType::TIME | PgType::TIMESTAMP | PgType::INTERVAL)
            || matches!(t, PgType::INT2 | PgType::INT4 | PgType::INT8 | PgType::NUMERIC)
    };
    let varies = (depends(from) || depends(to)) && !(plain(from) && plain(to));
    if varies { Volatility::Stable } else { Volatility::Immutable }
}

/// A type modifier applied to a value that already has the type: `varchar(3)`, `numeric(10,2)`, `timestamp(0)`.
pub(super) fn apply_typmod(expr: Expr, ty: PgType, typmod: i32, explicit: bool) -> Expr {
    if typmod < 0 {
        return expr;
    }
    let imp = match CASTS.get(&(ty, ty)) {
        Some(cast) => cast.imp,
        None if ty.is_array() => cast_elements,
        None => return expr,
    };
    Resolved {
        name: ty.info().name,
        args: vec![ty],
        ret: ty,
        list: false,
        typmod,
        explicit,
        volatility: Volatility::Immutable,
        waits: false,
        imp,
    }
    .call(vec![expr])
}

/// Output function of `from`, then input function of `to`.
fn cast_via_text(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let from = call.arg_types[0];
    let format = call.session.format();
    let mut out = ArrayBuilder::new(call.ret, call.rows);
    let reader = ColumnReader::new(&args[0], from);
    let mut text = Vec::new();
    for row in 0..args[0].len() {
        let value = reader.value(row);
        if let Value::Null = value {
            out.append_null();
            continue;
        }
        text.clear();
        if from.is_reg() {
            let Value::Oid(oid) = value else { return Err(SqlError::internal("a reg* value is an oid")) };
            text.extend_from_slice(functions::reg_out(from, oid, call.session).as_bytes());
        } else {
            write_text(from, &value, &format, &mut text);
        }
        let text = std::str::from_utf8(&text).map_err(|_| SqlError::internal("an output function wrote no UTF-8"))?;
        let text = if from == PgType::BPCHAR { text.trim_end_matches(' ') } else { text };
        if call.ret.is_reg() {
            out.append(&Value::Oid(functions::reg_in(call.ret, text, call.session)?))?;
        } else if call.ret.is_string() {
            // A cast truncates silently when written, and checks when put in.
            let typmod = if call.explicit { -1 } else { call.typmod };
            out.append(&parse_text(call.ret, typmod, text, &format)?)?;
        } else {
            out.append(&parse_text(call.ret, call.typmod, text, &format)?)?;
        }
    }
    let out = out.finish();
    if call.ret.is_string()
        && call.explicit
        && call.typmod >= 0
        && let Some(length) = CASTS.get(&(call.ret, call.ret))
    {
        let call = Call { arg_types: &[call.ret], ..*call };
        return (length.imp)(&call, &[out]);
    }
    Ok(out)
}

/// Casts the elements of arrays.
fn cast_elements(call: &Call<'_>, args: &[ArrayRef]) -> Result<ArrayRef> {
    let (Some(from), Some(to)) = (call.arg_types[0].element(), call.ret.element()) else {
        return Err(SqlError::internal("an element cast of no array"));
    };
    let list = args[0].as_list::<i32>();
    let values = list.values();
    let element_call = Call { arg_types: &[from], ret: to, rows: values.len(), session: call.session, ..*call };
    let values = match cast_path(from, to, CastContext::Explicit) {
        Some(CastPath::Relabel) => match CASTS.get(&(to, to)) {
            Some(cast) if call.typmod >= 0 => (cast.imp)(&element_call, &[Arc::clone(values)])?,
            _ => Arc::clone(values),
        },
        Some(CastPath::Function(cast)) => (cast.imp)(&element_call, &[Arc::clone(values)])?,
        Some(CastPath::ViaText) => cast_via_text(&element_call, &[Arc::clone(values)])?,
        Some(CastPath::Elements) | None => return Err(cannot_cast(call.arg_types[0], call.ret)),
    };
    let field = Arc::new(Field::new("item", to.arrow(), true));
    let list = ListArray::try_new(field, list.offsets().clone(), values, list.nulls().cloned());
    Ok(Arc::new(list.map_err(|e| SqlError::internal(e.to_string()))?))
}

/// 42846
pub(super) fn cannot_cast(from: PgType, to: PgType) -> SqlError {
    SqlError::new(SqlState::CANNOT_COERCE, format!("cannot cast type {} to {}", from.sql_name(), to.sql_name()))
}

/// The type that UNION, CASE, VALUES, ARRAY ... agree on (manual, 10.5). `what` names the construct in the error.
pub(super) fn common_type(types: &[PgType], what: &str) -> Result<PgType> {
    let known: Vec<PgType> = types.iter().copied().filter(|t| *t != PgType::UNKNOWN).collect();
    let Some(&first) = known.first() else { return Ok(PgType::TEXT) };
    if known.iter().all(|t| *t == first) {
        return Ok(first);
    }
    let mut chosen = first;
    for &ty in &known[1..] {
        if ty == chosen {
            continue;
        }
        if ty.info().category != chosen.info().category {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("{what} types {} and {} cannot be matched", chosen.sql_name(), ty.sql_name()),
            ));
        }
        let forward = can_coerce(chosen, ty);
        if !chosen.info().preferred && forward && !can_coerce(ty, chosen) {
            chosen = ty;
        }
    }
    for &ty in &known {
        if !can_coerce(ty, chosen) {
            return Err(SqlError::new(
                SqlState::CANNOT_COERCE,
                format!("{what} could not convert type {} to {}", ty.sql_name(), chosen.sql_name()),
            ));
        }
    }
    Ok(chosen)
}
