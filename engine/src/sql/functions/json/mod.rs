//! json and jsonb functions, operators and casts (manual, section 9.16).
//!
//! Reading works on the text ([`crate::types::json::raw`]); changing and comparing works on the tree.

mod access;
mod build;
mod modify;

use datafusion::arrow::array::ArrayRef;
use kalamdb_catalog::{PgType, Result, SqlError, SqlState};

use super::adapt::{Ret, map1, map2};
use super::{CastContext, CastDef, FnDef, OpDef};
use crate::types::Numeric;
use crate::types::json::{Json, canonical, parse};

pub(crate) use build::JsonWriter;

const ANY: PgType = PgType::ANY;
const ANYARRAY: PgType = PgType::ANYARRAY;
const ANYELEMENT: PgType = PgType::ANYELEMENT;
const BOOL: PgType = PgType::BOOL;
const INT4: PgType = PgType::INT4;
const JSON: PgType = PgType::JSON;
const JSONB: PgType = PgType::JSONB;
const TEXT: PgType = PgType::TEXT;
const TEXTS: PgType = PgType::TEXT_ARRAY;

pub(super) static FUNCTIONS: &[FnDef] = &[
    FnDef::new(3947, "json_object_field", &[JSON, TEXT], JSON, |_, a| access::field(a)),
    FnDef::new(3948, "json_object_field_text", &[JSON, TEXT], TEXT, |_, a| access::field_text(a)),
    FnDef::new(3949, "json_array_element", &[JSON, INT4], JSON, access::element),
    FnDef::new(3950, "json_array_element_text", &[JSON, INT4], TEXT, access::element_text),
    FnDef::new(3478, "jsonb_object_field", &[JSONB, TEXT], JSONB, |_, a| access::field(a)),
    FnDef::new(3214, "jsonb_object_field_text", &[JSONB, TEXT], TEXT, |_, a| access::field_text(a)),
    FnDef::new(3215, "jsonb_array_element", &[JSONB, INT4], JSONB, access::element),
    FnDef::new(3216, "jsonb_array_element_text", &[JSONB, INT4], TEXT, access::element_text),
    FnDef::new(3951, "json_extract_path", &[JSON, TEXT], JSON, |c, a| access::extract(c, a, false)).variadic(),
    FnDef::new(3953, "json_extract_path_text", &[JSON, TEXT], TEXT, |c, a| access::extract(c, a, true)).variadic(),
    FnDef::new(3217, "jsonb_extract_path", &[JSONB, TEXT], JSONB, |c, a| access::extract(c, a, false)).variadic(),
    FnDef::new(3940, "jsonb_extract_path_text", &[JSONB, TEXT], TEXT, |c, a| access::extract(c, a, true)).variadic(),
    FnDef::new(3956, "json_array_length", &[JSON], INT4, |_, a| map1(a, access::array_length)),
    FnDef::new(3207, "jsonb_array_length", &[JSONB], INT4, |_, a| map1(a, access::array_length)),
    FnDef::new(3968, "json_typeof", &[JSON], TEXT, |_, a| map1(a, access::type_of)),
    FnDef::new(3210, "jsonb_typeof", &[JSONB], TEXT, |_, a| map1(a, access::type_of)),
    FnDef::new(3957, "json_object_keys", &[JSON], TEXT, |_, a| access::keys(a, "json_object_keys")).set(),
    FnDef::new(3931, "jsonb_object_keys", &[JSONB], TEXT, |_, a| access::keys(a, "jsonb_object_keys")).set(),
    FnDef::new(3955, "json_array_elements", &[JSON], JSON, |c, a| access::elements(c, a, false)).set(),
    FnDef::new(3969, "json_array_elements_text", &[JSON], TEXT, |c, a| access::elements(c, a, true)).set(),
    FnDef::new(3219, "jsonb_array_elements", &[JSONB], JSONB, |c, a| access::elements(c, a, false)).set(),
    FnDef::new(3465, "jsonb_array_elements_text", &[JSONB], TEXT, |c, a| access::elements(c, a, true)).set(),
    FnDef::new(3176, "to_json", &[ANYELEMENT], JSON, build::to_json).stable(),
    FnDef::new(3787, "to_jsonb", &[ANYELEMENT], JSONB, build::to_json).stable(),
    FnDef::new(3155, "row_to_json", &[PgType::RECORD], JSON, build::to_json).stable(),
    FnDef::new(3153, "array_to_json", &[ANYARRAY], JSON, build::to_json).stable(),
    FnDef::new(3199, "json_build_array", &[], JSON, build::build_array).called_on_null().stable(),
    FnDef::new(3198, "json_build_array", &[ANY], JSON, build::build_array).variadic().called_on_null().stable(),
    FnDef::new(3272, "jsonb_build_array", &[], JSONB, build::build_array).called_on_null().stable(),
    FnDef::new(3271, "jsonb_build_array", &[ANY], JSONB, build::build_array).variadic().called_on_null().stable(),
    FnDef::new(3201, "json_build_object", &[], JSON, build::build_object).called_on_null().stable(),
    FnDef::new(3200, "json_build_object", &[ANY], JSON, build::build_object).variadic().called_on_null().stable(),
    FnDef::new(3274, "jsonb_build_object", &[], JSONB, build::build_object).called_on_null().stable(),
    FnDef::new(3273, "jsonb_build_object", &[ANY], JSONB, build::build_object).variadic().called_on_null().stable(),
    FnDef::new(3202, "json_object", &[TEXTS], JSON, build::object_of_texts),
    FnDef::new(3203, "json_object", &[TEXTS, TEXTS], JSON, build::object_of_texts),
    FnDef::new(3263, "jsonb_object", &[TEXTS], JSONB, build::object_of_texts),
    FnDef::new(3264, "jsonb_object", &[TEXTS, TEXTS], JSONB, build::object_of_texts),
    FnDef::new(3305, "jsonb_set", &[JSONB, TEXTS, JSONB, BOOL], JSONB, |_, a| modify::set(a)).optional(1),
    FnDef::new(3579, "jsonb_insert", &[JSONB, TEXTS, JSONB, BOOL], JSONB, |_, a| modify::insert(a)).optional(1),
    FnDef::new(3306, "jsonb_pretty", &[JSONB], TEXT, |_, a| {
        map1(a, |s: &str| {
            let mut out = String::new();
            parse(s)?.write_pretty(0, &mut out);
            Ok(out)
        })
    }),
    FnDef::new(3261, "json_strip_nulls", &[JSON], JSON, |_, a| map1(a, modify::strip_nulls_json)),
    FnDef::new(3262, "jsonb_strip_nulls", &[JSONB], JSONB, |_, a| map1(a, modify::strip_nulls)),
    FnDef::new(3301, "jsonb_concat", &[JSONB, JSONB], JSONB, |_, a| map2(a, modify::concat)),
    FnDef::new(4046, "jsonb_contains", &[JSONB, JSONB], BOOL, |_, a| map2(a, access::contains)),
    FnDef::new(4050, "jsonb_contained", &[JSONB, JSONB], BOOL, |_, a| {
        map2(a, |a: &str, b: &str| access::contains(b, a))
    }),
    FnDef::new(4047, "jsonb_exists", &[JSONB, TEXT], BOOL, |_, a| map2(a, access::exists)),
    FnDef::new(4048, "jsonb_exists_any", &[JSONB, TEXTS], BOOL, |_, a| map2(a, access::exists_any)),
    FnDef::new(4049, "jsonb_exists_all", &[JSONB, TEXTS], BOOL, |_, a| map2(a, access::exists_all)),
];

pub(super) static OPERATORS: &[OpDef] = &[
    OpDef::infix(3962, "->", JSON, TEXT, JSON, |_, a| access::field(a)),
    OpDef::infix(3963, "->>", JSON, TEXT, TEXT, |_, a| access::field_text(a)),
    OpDef::infix(3964, "->", JSON, INT4, JSON, access::element),
    OpDef::infix(3965, "->>", JSON, INT4, TEXT, access::element_text),
    OpDef::infix(3966, "#>", JSON, TEXTS, JSON, |_, a| access::path(a, false)),
    OpDef::infix(3967, "#>>", JSON, TEXTS, TEXT, |_, a| access::path(a, true)),
    OpDef::infix(3211, "->", JSONB, TEXT, JSONB, |_, a| access::field(a)),
    OpDef::infix(3477, "->>", JSONB, TEXT, TEXT, |_, a| access::field_text(a)),
    OpDef::infix(3212, "->", JSONB, INT4, JSONB, access::element),
    OpDef::infix(3481, "->>", JSONB, INT4, TEXT, access::element_text),
    OpDef::infix(3213, "#>", JSONB, TEXTS, JSONB, |_, a| access::path(a, false)),
    OpDef::infix(3206, "#>>", JSONB, TEXTS, TEXT, |_, a| access::path(a, true)),
    OpDef::infix(3246, "@>", JSONB, JSONB, BOOL, |_, a| map2(a, access::contains)),
    OpDef::infix(3250, "<@", JSONB, JSONB, BOOL, |_, a| map2(a, |a: &str, b: &str| access::contains(b, a))),
    OpDef::infix(3247, "?", JSONB, TEXT, BOOL, |_, a| map2(a, access::exists)),
    OpDef::infix(3248, "?|", JSONB, TEXTS, BOOL, |_, a| map2(a, access::exists_any)),
    OpDef::infix(3249, "?&", JSONB, TEXTS, BOOL, |_, a| map2(a, access::exists_all)),
    OpDef::infix(3284, "||", JSONB, JSONB, JSONB, |_, a| map2(a, modify::concat)),
    OpDef::infix(3285, "-", JSONB, TEXT, JSONB, |_, a| map2(a, modify::delete_key)),
    OpDef::infix(3286, "-", JSONB, INT4, JSONB, |_, a| map2(a, modify::delete_index)),
    OpDef::infix(3398, "-", JSONB, TEXTS, JSONB, |_, a| map2(a, modify::delete_keys)),
    OpDef::infix(3287, "#-", JSONB, TEXTS, JSONB, |_, a| map2(a, modify::delete_path)),
];

const fn explicit(to: PgType, imp: super::ScalarImpl) -> CastDef {
    CastDef { from: JSONB, to, context: CastContext::Explicit, imp }
}

pub(super) static CASTS: &[CastDef] = &[
    CastDef { from: JSON, to: JSONB, context: CastContext::Assignment, imp: |_, a| map1(a, canonical_text) },
    CastDef { from: JSONB, to: JSON, context: CastContext::Assignment, imp: |_, a| Ok(a[0].clone()) },
    explicit(BOOL, |_, a| {
        map1(a, |s: &str| match s {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(cannot_cast(s, "boolean")),
        })
    }),
    explicit(PgType::NUMERIC, |call, a| number(a, "numeric", |n| n.apply_typmod(call.typmod))),
    explicit(PgType::INT2, |_, a| number(a, "smallint", |n| n.to_i16())),
    explicit(INT4, |_, a| number(a, "integer", |n| n.to_i32())),
    explicit(PgType::INT8, |_, a| number(a, "bigint", |n| n.to_i64())),
    explicit(PgType::FLOAT4, |_, a| number(a, "real", |n| Ok(n.to_f32()))),
    explicit(PgType::FLOAT8, |_, a| number(a, "double precision", |n| Ok(n.to_f64()))),
];

fn canonical_text(s: &str) -> Result<String> {
    canonical(s)
}

fn cannot_cast(jsonb: &str, to: &str) -> SqlError {
    use crate::types::json::raw::{Kind, kind};
    let what = match kind(jsonb) {
        Kind::Number => "numeric",
        other => other.name(),
    };
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("cannot cast jsonb {what} to type {to}"))
}

fn number<R: Ret>(args: &[ArrayRef], to: &str, f: impl Fn(Numeric) -> Result<R>) -> Result<ArrayRef> {
    map1(args, |s: &str| match parse(s)? {
        Json::Number(n) => f(Numeric::parse(&n)?),
        _ => Err(cannot_cast(s, to)),
    })
}
