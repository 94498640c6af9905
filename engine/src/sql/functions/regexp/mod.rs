//! Regular expressions: the operators `~`, `~*` and their negations, and the regexp_* functions.

mod functions;
mod pattern;
mod translate;

use kalamdb_catalog::PgType;

use super::{FnDef, OpDef};
use functions as f;

const BOOL: PgType = PgType::BOOL;
const BPCHAR: PgType = PgType::BPCHAR;
const INT4: PgType = PgType::INT4;
const NAME: PgType = PgType::NAME;
const TEXT: PgType = PgType::TEXT;
const TEXTS: PgType = PgType::TEXT_ARRAY;

pub(super) static FUNCTIONS: &[FnDef] = &[
    FnDef::new(2073, "substring", &[TEXT, TEXT], TEXT, |_, a| f::substring(a)),
    FnDef::new(2074, "substring", &[TEXT, TEXT, TEXT], TEXT, |_, a| f::substring_similar(a)),
    FnDef::new(3396, "regexp_match", &[TEXT, TEXT], TEXTS, |_, a| f::regexp_match(a)),
    FnDef::new(3397, "regexp_match", &[TEXT, TEXT, TEXT], TEXTS, |_, a| f::regexp_match(a)),
    FnDef::new(2763, "regexp_matches", &[TEXT, TEXT], TEXTS, |_, a| f::regexp_matches(a)).set(),
    FnDef::new(2764, "regexp_matches", &[TEXT, TEXT, TEXT], TEXTS, |_, a| f::regexp_matches(a)).set(),
    FnDef::new(2284, "regexp_replace", &[TEXT, TEXT, TEXT], TEXT, |_, a| f::regexp_replace(a)),
    FnDef::new(2285, "regexp_replace", &[TEXT, TEXT, TEXT, TEXT], TEXT, |_, a| f::regexp_replace(a)),
    FnDef::new(6253, "regexp_replace", &[TEXT, TEXT, TEXT, INT4], TEXT, |_, a| f::regexp_replace_nth(a)),
    FnDef::new(6252, "regexp_replace", &[TEXT, TEXT, TEXT, INT4, INT4], TEXT, |_, a| f::regexp_replace_nth(a)),
    FnDef::new(6251, "regexp_replace", &[TEXT, TEXT, TEXT, INT4, INT4, TEXT], TEXT, |_, a| f::regexp_replace_nth(a)),
    FnDef::new(2767, "regexp_split_to_array", &[TEXT, TEXT], TEXTS, |_, a| f::split(a, "regexp_split_to_array()")),
    FnDef::new(2768, "regexp_split_to_array", &[TEXT, TEXT, TEXT], TEXTS, |_, a| {
        f::split(a, "regexp_split_to_array()")
    }),
    FnDef::new(2765, "regexp_split_to_table", &[TEXT, TEXT], TEXT, |_, a| f::split(a, "regexp_split_to_table()")).set(),
    FnDef::new(2766, "regexp_split_to_table", &[TEXT, TEXT, TEXT], TEXT, |_, a| f::split(a, "regexp_split_to_table()"))
        .set(),
    FnDef::new(6254, "regexp_count", &[TEXT, TEXT], INT4, |_, a| f::regexp_count(a)),
    FnDef::new(6255, "regexp_count", &[TEXT, TEXT, INT4], INT4, |_, a| f::regexp_count(a)),
    FnDef::new(6256, "regexp_count", &[TEXT, TEXT, INT4, TEXT], INT4, |_, a| f::regexp_count(a)),
    FnDef::new(6257, "regexp_instr", &[TEXT, TEXT], INT4, |_, a| f::regexp_instr(a)),
    FnDef::new(6258, "regexp_instr", &[TEXT, TEXT, INT4], INT4, |_, a| f::regexp_instr(a)),
    FnDef::new(6259, "regexp_instr", &[TEXT, TEXT, INT4, INT4], INT4, |_, a| f::regexp_instr(a)),
    FnDef::new(6260, "regexp_instr", &[TEXT, TEXT, INT4, INT4, INT4], INT4, |_, a| f::regexp_instr(a)),
    FnDef::new(6261, "regexp_instr", &[TEXT, TEXT, INT4, INT4, INT4, TEXT], INT4, |_, a| f::regexp_instr(a)),
    FnDef::new(6262, "regexp_instr", &[TEXT, TEXT, INT4, INT4, INT4, TEXT, INT4], INT4, |_, a| f::regexp_instr(a)),
    FnDef::new(6263, "regexp_like", &[TEXT, TEXT], BOOL, |_, a| f::regexp_like(a)),
    FnDef::new(6264, "regexp_like", &[TEXT, TEXT, TEXT], BOOL, |_, a| f::regexp_like(a)),
    FnDef::new(6265, "regexp_substr", &[TEXT, TEXT], TEXT, |_, a| f::regexp_substr(a)),
    FnDef::new(6266, "regexp_substr", &[TEXT, TEXT, INT4], TEXT, |_, a| f::regexp_substr(a)),
    FnDef::new(6267, "regexp_substr", &[TEXT, TEXT, INT4, INT4], TEXT, |_, a| f::regexp_substr(a)),
    FnDef::new(6268, "regexp_substr", &[TEXT, TEXT, INT4, INT4, TEXT], TEXT, |_, a| f::regexp_substr(a)),
    FnDef::new(6269, "regexp_substr", &[TEXT, TEXT, INT4, INT4, TEXT, INT4], TEXT, |_, a| f::regexp_substr(a)),
];

pub(super) static OPERATORS: &[OpDef] = &[
    OpDef::infix(641, "~", TEXT, TEXT, BOOL, |_, a| f::matches(a, false, false)),
    OpDef::infix(642, "!~", TEXT, TEXT, BOOL, |_, a| f::matches(a, false, true)),
    OpDef::infix(1228, "~*", TEXT, TEXT, BOOL, |_, a| f::matches(a, true, false)),
    OpDef::infix(1229, "!~*", TEXT, TEXT, BOOL, |_, a| f::matches(a, true, true)),
    OpDef::infix(1055, "~", BPCHAR, TEXT, BOOL, |_, a| f::matches(a, false, false)),
    OpDef::infix(1056, "!~", BPCHAR, TEXT, BOOL, |_, a| f::matches(a, false, true)),
    OpDef::infix(1234, "~*", BPCHAR, TEXT, BOOL, |_, a| f::matches(a, true, false)),
    OpDef::infix(1235, "!~*", BPCHAR, TEXT, BOOL, |_, a| f::matches(a, true, true)),
    OpDef::infix(639, "~", NAME, TEXT, BOOL, |_, a| f::matches(a, false, false)),
    OpDef::infix(640, "!~", NAME, TEXT, BOOL, |_, a| f::matches(a, false, true)),
    OpDef::infix(1226, "~*", NAME, TEXT, BOOL, |_, a| f::matches(a, true, false)),
    OpDef::infix(1227, "!~*", NAME, TEXT, BOOL, |_, a| f::matches(a, true, true)),
];
