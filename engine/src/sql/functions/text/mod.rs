//! Functions, operators and casts of strings (manual, sections 9.4, 9.5 and 9.7) and of bytea.

mod casts;
mod digest;
mod encode;
mod format;
mod like;
mod pad;
mod quote;
mod split;
mod strings;

use kalamdb_catalog::PgType;

pub(super) use casts::CASTS;
pub(crate) use format::output_text;
pub(crate) use like::similar_to_escape;
pub(super) use quote::{quote_ident, quote_literal};

use super::adapt::{map1, map2, map3};
use super::{FnDef, OpDef};

const ANY: PgType = PgType::ANY;
const ANYELEMENT: PgType = PgType::ANYELEMENT;
const ANYNONARRAY: PgType = PgType::ANYNONARRAY;
const BOOL: PgType = PgType::BOOL;
const BPCHAR: PgType = PgType::BPCHAR;
const BYTEA: PgType = PgType::BYTEA;
const INT4: PgType = PgType::INT4;
const NAME: PgType = PgType::NAME;
const TEXT: PgType = PgType::TEXT;
const TEXTS: PgType = PgType::TEXT_ARRAY;

pub(super) static FUNCTIONS: &[FnDef] = &[
    FnDef::new(1317, "length", &[TEXT], INT4, |_, a| map1(a, strings::length)),
    FnDef::new(1318, "length", &[BPCHAR], INT4, |_, a| map1(a, strings::bpchar_length)),
    FnDef::new(2010, "length", &[BYTEA], INT4, |_, a| map1(a, strings::byte_length)),
    FnDef::new(1381, "char_length", &[TEXT], INT4, |_, a| map1(a, strings::length)),
    FnDef::new(1372, "char_length", &[BPCHAR], INT4, |_, a| map1(a, strings::bpchar_length)),
    FnDef::new(1369, "character_length", &[TEXT], INT4, |_, a| map1(a, strings::length)),
    FnDef::new(1367, "character_length", &[BPCHAR], INT4, |_, a| map1(a, strings::bpchar_length)),
    FnDef::new(1374, "octet_length", &[TEXT], INT4, |_, a| map1(a, |s: &str| strings::byte_length(s.as_bytes()))),
    FnDef::new(1375, "octet_length", &[BPCHAR], INT4, |_, a| map1(a, |s: &str| strings::byte_length(s.as_bytes()))),
    FnDef::new(720, "octet_length", &[BYTEA], INT4, |_, a| map1(a, strings::byte_length)),
    FnDef::new(1811, "bit_length", &[TEXT], INT4, |_, a| map1(a, |s: &str| strings::bit_length(s.as_bytes()))),
    FnDef::new(1810, "bit_length", &[BYTEA], INT4, |_, a| map1(a, strings::bit_length)),
    FnDef::new(870, "lower", &[TEXT], TEXT, |_, a| map1(a, |s: &str| Ok(strings::lower(s)))),
    FnDef::new(871, "upper", &[TEXT], TEXT, |_, a| map1(a, |s: &str| Ok(strings::upper(s)))),
    FnDef::new(872, "initcap", &[TEXT], TEXT, |_, a| map1(a, |s: &str| Ok(strings::initcap(s)))),
    FnDef::new(883, "substr", &[TEXT, INT4], TEXT, |_, a| map2(a, strings::substr_from)),
    FnDef::new(877, "substr", &[TEXT, INT4, INT4], TEXT, |_, a| map3(a, strings::substr)),
    FnDef::new(937, "substring", &[TEXT, INT4], TEXT, |_, a| map2(a, strings::substr_from)),
    FnDef::new(936, "substring", &[TEXT, INT4, INT4], TEXT, |_, a| map3(a, strings::substr)),
    FnDef::new(2086, "substr", &[BYTEA, INT4], BYTEA, |_, a| map2(a, strings::bytes_from)),
    FnDef::new(2085, "substr", &[BYTEA, INT4, INT4], BYTEA, |_, a| map3(a, strings::bytes)),
    FnDef::new(2013, "substring", &[BYTEA, INT4], BYTEA, |_, a| map2(a, strings::bytes_from)),
    FnDef::new(2012, "substring", &[BYTEA, INT4, INT4], BYTEA, |_, a| map3(a, strings::bytes)),
    FnDef::new(1405, "overlay", &[TEXT, TEXT, INT4], TEXT, |_, a| strings::overlay(a)),
    FnDef::new(1404, "overlay", &[TEXT, TEXT, INT4, INT4], TEXT, |_, a| strings::overlay(a)),
    FnDef::new(3060, "left", &[TEXT, INT4], TEXT, |_, a| map2(a, strings::left)),
    FnDef::new(3061, "right", &[TEXT, INT4], TEXT, |_, a| map2(a, strings::right)),
    FnDef::new(879, "lpad", &[TEXT, INT4], TEXT, |_, a| map2(a, |s: &str, n: i32| pad::lpad(s, n, " "))),
    FnDef::new(873, "lpad", &[TEXT, INT4, TEXT], TEXT, |_, a| map3(a, pad::lpad)),
    FnDef::new(880, "rpad", &[TEXT, INT4], TEXT, |_, a| map2(a, |s: &str, n: i32| pad::rpad(s, n, " "))),
    FnDef::new(874, "rpad", &[TEXT, INT4, TEXT], TEXT, |_, a| map3(a, pad::rpad)),
    FnDef::new(881, "ltrim", &[TEXT], TEXT, |_, a| map1(a, |s: &str| Ok(s.trim_start_matches(' ').to_owned()))),
    FnDef::new(875, "ltrim", &[TEXT, TEXT], TEXT, |_, a| map2(a, pad::ltrim)),
    FnDef::new(882, "rtrim", &[TEXT], TEXT, |_, a| map1(a, |s: &str| Ok(s.trim_end_matches(' ').to_owned()))),
    FnDef::new(876, "rtrim", &[TEXT, TEXT], TEXT, |_, a| map2(a, pad::rtrim)),
    FnDef::new(885, "btrim", &[TEXT], TEXT, |_, a| map1(a, |s: &str| Ok(s.trim_matches(' ').to_owned()))),
    FnDef::new(884, "btrim", &[TEXT, TEXT], TEXT, |_, a| map2(a, pad::btrim)),
    FnDef::new(6195, "ltrim", &[BYTEA, BYTEA], BYTEA, |_, a| {
        map2(a, |s: &[u8], set: &[u8]| Ok(pad::trim_bytes(s, set, true, false)))
    }),
    FnDef::new(6196, "rtrim", &[BYTEA, BYTEA], BYTEA, |_, a| {
        map2(a, |s: &[u8], set: &[u8]| Ok(pad::trim_bytes(s, set, false, true)))
    }),
    FnDef::new(2015, "btrim", &[BYTEA, BYTEA], BYTEA, |_, a| {
        map2(a, |s: &[u8], set: &[u8]| Ok(pad::trim_bytes(s, set, true, true)))
    }),
    FnDef::new(1622, "repeat", &[TEXT, INT4], TEXT, |_, a| map2(a, pad::repeat)),
    FnDef::new(849, "position", &[TEXT, TEXT], INT4, |_, a| map2(a, strings::position)),
    FnDef::new(868, "strpos", &[TEXT, TEXT], INT4, |_, a| map2(a, strings::position)),
    FnDef::new(2014, "position", &[BYTEA, BYTEA], INT4, |_, a| map2(a, strings::byte_position)),
    FnDef::new(2087, "replace", &[TEXT, TEXT, TEXT], TEXT, |_, a| map3(a, strings::replace)),
    FnDef::new(878, "translate", &[TEXT, TEXT, TEXT], TEXT, |_, a| map3(a, strings::translate)),
    FnDef::new(3062, "reverse", &[TEXT], TEXT, |_, a| map1(a, |s: &str| Ok(s.chars().rev().collect::<String>()))),
    FnDef::new(3696, "starts_with", &[TEXT, TEXT], BOOL, |_, a| map2(a, |s: &str, p: &str| Ok(s.starts_with(p)))),
    FnDef::new(1620, "ascii", &[TEXT], INT4, |_, a| map1(a, |s: &str| Ok(s.chars().next().map_or(0, |c| c as i32)))),
    FnDef::new(1621, "chr", &[INT4], TEXT, |_, a| map1(a, strings::chr)),
    FnDef::new(2088, "split_part", &[TEXT, TEXT, INT4], TEXT, |_, a| map3(a, split::split_part)),
    FnDef::new(394, "string_to_array", &[TEXT, TEXT], TEXTS, |_, a| split::string_to_array(a)).called_on_null(),
    FnDef::new(376, "string_to_array", &[TEXT, TEXT, TEXT], TEXTS, |_, a| split::string_to_array(a)).called_on_null(),
    FnDef::new(6160, "string_to_table", &[TEXT, TEXT], TEXT, |_, a| split::string_to_array(a)).called_on_null().set(),
    FnDef::new(6161, "string_to_table", &[TEXT, TEXT, TEXT], TEXT, |_, a| split::string_to_array(a))
        .called_on_null()
        .set(),
    FnDef::new(3058, "concat", &[ANY], TEXT, format::concat).variadic().called_on_null().stable(),
    FnDef::new(3059, "concat_ws", &[TEXT, ANY], TEXT, format::concat_ws).variadic().called_on_null().stable(),
    FnDef::new(3540, "format", &[TEXT], TEXT, format::format).called_on_null().stable(),
    FnDef::new(3539, "format", &[TEXT, ANY], TEXT, format::format).variadic().called_on_null().stable(),
    FnDef::new(1282, "quote_ident", &[TEXT], TEXT, |_, a| map1(a, |s: &str| Ok(quote_ident(s)))),
    FnDef::new(1283, "quote_literal", &[TEXT], TEXT, |_, a| map1(a, |s: &str| Ok(quote_literal(s)))),
    FnDef::new(1285, "quote_literal", &[ANYELEMENT], TEXT, quote::quote_any).stable(),
    FnDef::new(1289, "quote_nullable", &[TEXT], TEXT, quote::quote_nullable).called_on_null(),
    FnDef::new(1290, "quote_nullable", &[ANYELEMENT], TEXT, quote::quote_nullable).called_on_null().stable(),
    FnDef::new(400, "hashtext", &[TEXT], PgType::INT4, |_, a| map1(a, |s: &str| Ok(digest::hash(s.as_bytes())))),
    FnDef::new(2311, "md5", &[TEXT], TEXT, |_, a| map1(a, |s: &str| Ok(digest::md5_hex(s.as_bytes())))),
    FnDef::new(2321, "md5", &[BYTEA], TEXT, |_, a| map1(a, |s: &[u8]| Ok(digest::md5_hex(s)))),
    FnDef::new(3419, "sha224", &[BYTEA], BYTEA, |_, a| map1(a, |s: &[u8]| Ok(digest::sha224(s)))),
    FnDef::new(3420, "sha256", &[BYTEA], BYTEA, |_, a| map1(a, |s: &[u8]| Ok(digest::sha256(s)))),
    FnDef::new(3421, "sha384", &[BYTEA], BYTEA, |_, a| map1(a, |s: &[u8]| Ok(digest::sha384(s)))),
    FnDef::new(3422, "sha512", &[BYTEA], BYTEA, |_, a| map1(a, |s: &[u8]| Ok(digest::sha512(s)))),
    FnDef::new(1946, "encode", &[BYTEA, TEXT], TEXT, |_, a| map2(a, encode::encode)),
    FnDef::new(1947, "decode", &[TEXT, TEXT], BYTEA, |_, a| map2(a, encode::decode)),
    FnDef::new(1714, "convert_from", &[BYTEA, NAME], TEXT, |_, a| map2(a, encode::convert_from)).stable(),
    FnDef::new(1717, "convert_to", &[TEXT, NAME], BYTEA, |_, a| map2(a, encode::convert_to)).stable(),
    FnDef::new(721, "get_byte", &[BYTEA, INT4], INT4, |_, a| map2(a, encode::get_byte)),
    FnDef::new(722, "set_byte", &[BYTEA, INT4, INT4], BYTEA, |_, a| map3(a, encode::set_byte)),
    FnDef::new(1569, "like", &[TEXT, TEXT], BOOL, |_, a| like::like(a, false, false)),
    FnDef::new(1570, "notlike", &[TEXT, TEXT], BOOL, |_, a| like::like(a, false, true)),
    FnDef::new(1633, "texticlike", &[TEXT, TEXT], BOOL, |_, a| like::like(a, true, false)),
    FnDef::new(1634, "texticnlike", &[TEXT, TEXT], BOOL, |_, a| like::like(a, true, true)),
    FnDef::new(1637, "like_escape", &[TEXT, TEXT], TEXT, |_, a| map2(a, like::like_escape)),
    FnDef::new(1987, "similar_to_escape", &[TEXT], TEXT, |_, a| {
        map1(a, |pattern: &str| similar_to_escape(pattern, "\\"))
    }),
    FnDef::new(1986, "similar_to_escape", &[TEXT, TEXT], TEXT, |_, a| map2(a, similar_to_escape)),
];

pub(super) static OPERATORS: &[OpDef] = &[
    OpDef::infix(654, "||", TEXT, TEXT, TEXT, |_, a| map2(a, |a: &str, b: &str| Ok([a, b].concat()))),
    OpDef::infix(2018, "||", BYTEA, BYTEA, BYTEA, |_, a| map2(a, |a: &[u8], b: &[u8]| Ok([a, b].concat()))),
    OpDef::infix(2779, "||", TEXT, ANYNONARRAY, TEXT, format::concat_strict).stable(),
    OpDef::infix(2780, "||", ANYNONARRAY, TEXT, TEXT, format::concat_strict).stable(),
    OpDef::infix(3877, "^@", TEXT, TEXT, BOOL, |_, a| map2(a, |s: &str, p: &str| Ok(s.starts_with(p)))),
    OpDef::infix(1209, "~~", TEXT, TEXT, BOOL, |_, a| like::like(a, false, false)),
    OpDef::infix(1210, "!~~", TEXT, TEXT, BOOL, |_, a| like::like(a, false, true)),
    OpDef::infix(1627, "~~*", TEXT, TEXT, BOOL, |_, a| like::like(a, true, false)),
    OpDef::infix(1628, "!~~*", TEXT, TEXT, BOOL, |_, a| like::like(a, true, true)),
    OpDef::infix(1211, "~~", BPCHAR, TEXT, BOOL, |_, a| like::like(a, false, false)),
    OpDef::infix(1212, "!~~", BPCHAR, TEXT, BOOL, |_, a| like::like(a, false, true)),
    OpDef::infix(1629, "~~*", BPCHAR, TEXT, BOOL, |_, a| like::like(a, true, false)),
    OpDef::infix(1630, "!~~*", BPCHAR, TEXT, BOOL, |_, a| like::like(a, true, true)),
    OpDef::infix(1207, "~~", NAME, TEXT, BOOL, |_, a| like::like(a, false, false)),
    OpDef::infix(1208, "!~~", NAME, TEXT, BOOL, |_, a| like::like(a, false, true)),
    OpDef::infix(1625, "~~*", NAME, TEXT, BOOL, |_, a| like::like(a, true, false)),
    OpDef::infix(1626, "!~~*", NAME, TEXT, BOOL, |_, a| like::like(a, true, true)),
];
