//! PostgreSQL's types: OIDs, names, sizes, and the Arrow type that carries each. The only type table of the project.
//!
//! A [`PgType`] is an OID with a row in [`TYPES`]. The Arrow type is only the carrier: several PostgreSQL types share
//! one (text, varchar, json ... are Utf8), so the planner tracks the `PgType` of every expression itself.
//!
//! Carriers that are not what their Arrow name says:
//! - `numeric` is Binary, in the order-preserving encoding of `engine::types::numeric`; `record` is Binary too, with its
//!   fields' names and types (`engine::types::record`).
//! - `interval` is `IntervalMonthDayNano` whose third field counts **microseconds**, as PostgreSQL's does.
//! - `timestamp`, `timestamptz`, `time` count microseconds; `date` days; all from 1970-01-01 (PostgreSQL's wire form
//!   counts from 2000-01-01). `i64::MAX`/`MIN` (`i32` for date) are infinity and -infinity.

use std::fmt;

use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::error::{Result, SqlError};
use crate::sqlstate::SqlState;

/// A PostgreSQL type, by OID. Every value has a row in [`TYPES`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PgType(u32);

/// A row of the type table, with the meaning of the pg_type columns of the same name.
#[derive(Debug)]
pub struct TypeInfo {
    pub oid: u32,
    /// pg_type.typname
    pub name: &'static str,
    /// What `format_type(oid, NULL)` prints.
    pub sql_name: &'static str,
    /// pg_type.typlen: bytes, -1 for variable length, -2 for a C string.
    pub len: i16,
    pub by_value: bool,
    pub category: char,
    pub preferred: bool,
    /// The element type for arrays (and for int2vector, oidvector, name), else 0.
    pub elem: u32,
    /// The array type over this one, else 0.
    pub array: u32,
    /// pg_type.typtype: b base, p pseudo.
    pub kind: char,
    /// Stem of the I/O function names: typinput is `{io}in` or `{io}_in` as PostgreSQL spells it.
    pub io: &'static str,
    /// pg_type.typalign: c, s, i or d.
    pub align: char,
}

macro_rules! types {
    ($($konst:ident = $oid:literal, $name:literal, $sql:literal, $len:literal, $byval:literal, $cat:literal, $pref:literal, $elem:literal, $array:literal, $kind:literal, $io:literal, $align:literal;)*) => {
        impl PgType { $(pub const $konst: PgType = PgType($oid);)* }
        /// Every type KalamDB knows, in OID order.
        pub static TYPES: &[TypeInfo] = &[$(TypeInfo {
            oid: $oid, name: $name, sql_name: $sql, len: $len, by_value: $byval, category: $cat, preferred: $pref,
            elem: $elem, array: $array, kind: $kind, io: $io, align: $align,
        },)*];
    };
}

types! {
    BOOL = 16, "bool", "boolean", 1, true, 'B', true, 0, 1000, 'b', "bool", 'c';
    BYTEA = 17, "bytea", "bytea", -1, false, 'U', false, 0, 1001, 'b', "bytea", 'i';
    CHAR = 18, "char", "\"char\"", 1, true, 'Z', false, 0, 1002, 'b', "char", 'c';
    NAME = 19, "name", "name", 64, false, 'S', false, 18, 1003, 'b', "name", 'c';
    INT8 = 20, "int8", "bigint", 8, true, 'N', false, 0, 1016, 'b', "int8", 'd';
    INT2 = 21, "int2", "smallint", 2, true, 'N', false, 0, 1005, 'b', "int2", 's';
    INT2VECTOR = 22, "int2vector", "int2vector", -1, false, 'A', false, 21, 1006, 'b', "int2vector", 'i';
    INT4 = 23, "int4", "integer", 4, true, 'N', false, 0, 1007, 'b', "int4", 'i';
    REGPROC = 24, "regproc", "regproc", 4, true, 'N', false, 0, 1008, 'b', "regproc", 'i';
    TEXT = 25, "text", "text", -1, false, 'S', true, 0, 1009, 'b', "text", 'i';
    OID = 26, "oid", "oid", 4, true, 'N', true, 0, 1028, 'b', "oid", 'i';
    TID = 27, "tid", "tid", 6, false, 'U', false, 0, 1010, 'b', "tid", 's';
    XID = 28, "xid", "xid", 4, true, 'U', false, 0, 1011, 'b', "xid", 'i';
    CID = 29, "cid", "cid", 4, true, 'U', false, 0, 1012, 'b', "cid", 'i';
    OIDVECTOR = 30, "oidvector", "oidvector", -1, false, 'A', false, 26, 1013, 'b', "oidvector", 'i';
    JSON = 114, "json", "json", -1, false, 'U', false, 0, 199, 'b', "json_", 'i';
    XML = 142, "xml", "xml", -1, false, 'U', false, 0, 143, 'b', "xml_", 'i';
    XML_ARRAY = 143, "_xml", "xml[]", -1, false, 'A', false, 142, 0, 'b', "array_", 'i';
    PG_NODE_TREE = 194, "pg_node_tree", "pg_node_tree", -1, false, 'Z', false, 0, 0, 'b', "pg_node_tree_", 'i';
    JSON_ARRAY = 199, "_json", "json[]", -1, false, 'A', false, 114, 0, 'b', "array_", 'i';
    FLOAT4 = 700, "float4", "real", 4, true, 'N', false, 0, 1021, 'b', "float4", 'i';
    FLOAT8 = 701, "float8", "double precision", 8, true, 'N', true, 0, 1022, 'b', "float8", 'd';
    UNKNOWN = 705, "unknown", "unknown", -2, false, 'X', false, 0, 0, 'p', "unknown", 'c';
    INET = 869, "inet", "inet", -1, false, 'I', true, 0, 1041, 'b', "inet_", 'i';
    BOOL_ARRAY = 1000, "_bool", "boolean[]", -1, false, 'A', false, 16, 0, 'b', "array_", 'i';
    BYTEA_ARRAY = 1001, "_bytea", "bytea[]", -1, false, 'A', false, 17, 0, 'b', "array_", 'i';
    CHAR_ARRAY = 1002, "_char", "\"char\"[]", -1, false, 'A', false, 18, 0, 'b', "array_", 'i';
    NAME_ARRAY = 1003, "_name", "name[]", -1, false, 'A', false, 19, 0, 'b', "array_", 'i';
    INT2_ARRAY = 1005, "_int2", "smallint[]", -1, false, 'A', false, 21, 0, 'b', "array_", 'i';
    INT2VECTOR_ARRAY = 1006, "_int2vector", "int2vector[]", -1, false, 'A', false, 22, 0, 'b', "array_", 'i';
    INT4_ARRAY = 1007, "_int4", "integer[]", -1, false, 'A', false, 23, 0, 'b', "array_", 'i';
    REGPROC_ARRAY = 1008, "_regproc", "regproc[]", -1, false, 'A', false, 24, 0, 'b', "array_", 'i';
    TEXT_ARRAY = 1009, "_text", "text[]", -1, false, 'A', false, 25, 0, 'b', "array_", 'i';
    TID_ARRAY = 1010, "_tid", "tid[]", -1, false, 'A', false, 27, 0, 'b', "array_", 'i';
    XID_ARRAY = 1011, "_xid", "xid[]", -1, false, 'A', false, 28, 0, 'b', "array_", 'i';
    CID_ARRAY = 1012, "_cid", "cid[]", -1, false, 'A', false, 29, 0, 'b', "array_", 'i';
    OIDVECTOR_ARRAY = 1013, "_oidvector", "oidvector[]", -1, false, 'A', false, 30, 0, 'b', "array_", 'i';
    BPCHAR_ARRAY = 1014, "_bpchar", "character[]", -1, false, 'A', false, 1042, 0, 'b', "array_", 'i';
    VARCHAR_ARRAY = 1015, "_varchar", "character varying[]", -1, false, 'A', false, 1043, 0, 'b', "array_", 'i';
    INT8_ARRAY = 1016, "_int8", "bigint[]", -1, false, 'A', false, 20, 0, 'b', "array_", 'd';
    FLOAT4_ARRAY = 1021, "_float4", "real[]", -1, false, 'A', false, 700, 0, 'b', "array_", 'i';
    FLOAT8_ARRAY = 1022, "_float8", "double precision[]", -1, false, 'A', false, 701, 0, 'b', "array_", 'd';
    OID_ARRAY = 1028, "_oid", "oid[]", -1, false, 'A', false, 26, 0, 'b', "array_", 'i';
    ACLITEM = 1033, "aclitem", "aclitem", 12, false, 'U', false, 0, 1034, 'b', "aclitem", 'i';
    ACLITEM_ARRAY = 1034, "_aclitem", "aclitem[]", -1, false, 'A', false, 1033, 0, 'b', "array_", 'i';
    INET_ARRAY = 1041, "_inet", "inet[]", -1, false, 'A', false, 869, 0, 'b', "array_", 'i';
    BPCHAR = 1042, "bpchar", "character", -1, false, 'S', false, 0, 1014, 'b', "bpchar", 'i';
    VARCHAR = 1043, "varchar", "character varying", -1, false, 'S', false, 0, 1015, 'b', "varchar", 'i';
    DATE = 1082, "date", "date", 4, true, 'D', false, 0, 1182, 'b', "date_", 'i';
    TIME = 1083, "time", "time without time zone", 8, true, 'D', false, 0, 1183, 'b', "time_", 'd';
    TIMESTAMP = 1114, "timestamp", "timestamp without time zone", 8, true, 'D', false, 0, 1115, 'b', "timestamp_", 'd';
    TIMESTAMP_ARRAY = 1115, "_timestamp", "timestamp without time zone[]", -1, false, 'A', false, 1114, 0, 'b', "array_", 'd';
    DATE_ARRAY = 1182, "_date", "date[]", -1, false, 'A', false, 1082, 0, 'b', "array_", 'i';
    TIME_ARRAY = 1183, "_time", "time without time zone[]", -1, false, 'A', false, 1083, 0, 'b', "array_", 'd';
    TIMESTAMPTZ = 1184, "timestamptz", "timestamp with time zone", 8, true, 'D', true, 0, 1185, 'b', "timestamptz_", 'd';
    TIMESTAMPTZ_ARRAY = 1185, "_timestamptz", "timestamp with time zone[]", -1, false, 'A', false, 1184, 0, 'b', "array_", 'd';
    INTERVAL = 1186, "interval", "interval", 16, false, 'T', true, 0, 1187, 'b', "interval_", 'd';
    INTERVAL_ARRAY = 1187, "_interval", "interval[]", -1, false, 'A', false, 1186, 0, 'b', "array_", 'd';
    NUMERIC_ARRAY = 1231, "_numeric", "numeric[]", -1, false, 'A', false, 1700, 0, 'b', "array_", 'i';
    NUMERIC = 1700, "numeric", "numeric", -1, false, 'N', false, 0, 1231, 'b', "numeric_", 'i';
    REGPROCEDURE = 2202, "regprocedure", "regprocedure", 4, true, 'N', false, 0, 2207, 'b', "regprocedure", 'i';
    REGOPER = 2203, "regoper", "regoper", 4, true, 'N', false, 0, 2208, 'b', "regoper", 'i';
    REGCLASS = 2205, "regclass", "regclass", 4, true, 'N', false, 0, 2210, 'b', "regclass", 'i';
    REGTYPE = 2206, "regtype", "regtype", 4, true, 'N', false, 0, 2211, 'b', "regtype", 'i';
    REGPROCEDURE_ARRAY = 2207, "_regprocedure", "regprocedure[]", -1, false, 'A', false, 2202, 0, 'b', "array_", 'i';
    REGOPER_ARRAY = 2208, "_regoper", "regoper[]", -1, false, 'A', false, 2203, 0, 'b', "array_", 'i';
    REGCLASS_ARRAY = 2210, "_regclass", "regclass[]", -1, false, 'A', false, 2205, 0, 'b', "array_", 'i';
    REGTYPE_ARRAY = 2211, "_regtype", "regtype[]", -1, false, 'A', false, 2206, 0, 'b', "array_", 'i';
    RECORD = 2249, "record", "record", -1, false, 'P', false, 0, 2287, 'p', "record_", 'd';
    ANY = 2276, "any", "\"any\"", 4, true, 'P', false, 0, 0, 'p', "any_", 'i';
    ANYARRAY = 2277, "anyarray", "anyarray", -1, false, 'P', false, 0, 0, 'p', "anyarray_", 'd';
    VOID = 2278, "void", "void", 4, true, 'P', false, 0, 0, 'p', "void_", 'i';
    TRIGGER = 2279, "trigger", "trigger", 4, true, 'P', false, 0, 0, 'p', "trigger_", 'i';
    INTERNAL = 2281, "internal", "internal", 8, true, 'P', false, 0, 0, 'p', "internal_", 'd';
    ANYELEMENT = 2283, "anyelement", "anyelement", 4, true, 'P', false, 0, 0, 'p', "anyelement_", 'i';
    RECORD_ARRAY = 2287, "_record", "record[]", -1, false, 'P', false, 2249, 0, 'p', "array_", 'd';
    ANYNONARRAY = 2776, "anynonarray", "anynonarray", 4, true, 'P', false, 0, 0, 'p', "anynonarray_", 'i';
    UUID = 2950, "uuid", "uuid", 16, false, 'U', false, 0, 2951, 'b', "uuid_", 'c';
    UUID_ARRAY = 2951, "_uuid", "uuid[]", -1, false, 'A', false, 2950, 0, 'b', "array_", 'i';
    PG_LSN = 3220, "pg_lsn", "pg_lsn", 8, true, 'U', false, 0, 3221, 'b', "pg_lsn_", 'd';
    PG_LSN_ARRAY = 3221, "_pg_lsn", "pg_lsn[]", -1, false, 'A', false, 3220, 0, 'b', "array_", 'd';
    JSONB = 3802, "jsonb", "jsonb", -1, false, 'U', false, 0, 3807, 'b', "jsonb_", 'i';
    JSONB_ARRAY = 3807, "_jsonb", "jsonb[]", -1, false, 'A', false, 3802, 0, 'b', "array_", 'i';
    REGNAMESPACE = 4089, "regnamespace", "regnamespace", 4, true, 'N', false, 0, 4090, 'b', "regnamespace", 'i';
    REGNAMESPACE_ARRAY = 4090, "_regnamespace", "regnamespace[]", -1, false, 'A', false, 4089, 0, 'b', "array_", 'i';
    REGROLE = 4096, "regrole", "regrole", 4, true, 'N', false, 0, 4097, 'b', "regrole", 'i';
    REGROLE_ARRAY = 4097, "_regrole", "regrole[]", -1, false, 'A', false, 4096, 0, 'b', "array_", 'i';
    REGCOLLATION = 4191, "regcollation", "regcollation", 4, true, 'N', false, 0, 4192, 'b', "regcollation", 'i';
    REGCOLLATION_ARRAY = 4192, "_regcollation", "regcollation[]", -1, false, 'A', false, 4191, 0, 'b', "array_", 'i';
    ANYCOMPATIBLE = 5077, "anycompatible", "anycompatible", 4, true, 'P', false, 0, 0, 'p', "anycompatible_", 'i';
    ANYCOMPATIBLEARRAY = 5078, "anycompatiblearray", "anycompatiblearray", -1, false, 'P', false, 0, 0, 'p', "anycompatiblearray_", 'd';
    ANYCOMPATIBLENONARRAY = 5079, "anycompatiblenonarray", "anycompatiblenonarray", 4, true, 'P', false, 0, 0, 'p', "anycompatiblenonarray_", 'i';
}

impl PgType {
    /// The type with this OID, if KalamDB knows it.
    pub fn from_oid(oid: u32) -> Option<PgType> {
        TYPES.binary_search_by_key(&oid, |t| t.oid).ok().map(|_| PgType(oid))
    }

    /// The type with this pg_type name ("int4", "_int4") or one-word SQL alias ("integer"); names are lower case.
    pub fn from_name(name: &str) -> Option<PgType> {
        let name = match name {
            "boolean" => "bool",
            "smallint" => "int2",
            "integer" | "int" => "int4",
            "bigint" => "int8",
            "real" => "float4",
            "decimal" => "numeric",
            "character" => "bpchar",
            other => other,
        };
        TYPES.iter().find(|t| t.name == name).map(|t| PgType(t.oid))
    }

    pub const fn oid(self) -> u32 {
        self.0
    }

    pub fn info(self) -> &'static TypeInfo {
        match TYPES.binary_search_by_key(&self.0, |t| t.oid) {
            Ok(i) => &TYPES[i],
            Err(_) => unreachable!("a PgType is made from a row of TYPES"),
        }
    }

    /// The SQL name: "integer", "timestamp with time zone", "integer[]".
    pub fn sql_name(self) -> &'static str {
        self.info().sql_name
    }

    /// The element type of a true array type (not of int2vector, oidvector or name).
    pub fn element(self) -> Option<PgType> {
        let info = self.info();
        (info.elem != 0 && info.io == "array_").then_some(PgType(info.elem))
    }

    /// The element type of whatever `List` carries: arrays, int2vector and oidvector.
    pub fn list_element(self) -> Option<PgType> {
        match self {
            PgType::INT2VECTOR => Some(PgType::INT2),
            PgType::OIDVECTOR => Some(PgType::OID),
            _ => self.element(),
        }
    }

    /// The array type over this one.
    pub fn array(self) -> Option<PgType> {
        let array = self.info().array;
        (array != 0).then_some(PgType(array))
    }

    pub fn is_array(self) -> bool {
        self.element().is_some()
    }

    /// text, varchar, char(n), name and "char".
    pub fn is_string(self) -> bool {
        matches!(self, PgType::TEXT | PgType::VARCHAR | PgType::BPCHAR | PgType::NAME | PgType::CHAR)
    }

    pub fn is_integer(self) -> bool {
        matches!(self, PgType::INT2 | PgType::INT4 | PgType::INT8)
    }

    pub fn is_float(self) -> bool {
        matches!(self, PgType::FLOAT4 | PgType::FLOAT8)
    }

    /// int2, int4, int8, numeric, float4, float8: the types PostgreSQL promotes among each other.
    pub fn is_number(self) -> bool {
        self.is_integer() || self.is_float() || self == PgType::NUMERIC
    }

    /// oid, xid, cid and the reg* types: all carried as UInt32.
    pub fn is_oid_like(self) -> bool {
        matches!(self, PgType::OID | PgType::XID | PgType::CID) || self.is_reg()
    }

    /// The reg* types.
    pub fn is_reg(self) -> bool {
        self.info().name.starts_with("reg") && !self.is_array()
    }

    /// anyelement, anyarray and relatives, "any".
    pub fn is_polymorphic(self) -> bool {
        self.0 >= 2276 && self.info().name.starts_with("any")
    }

    /// The Arrow type that carries values of this type.
    pub fn arrow(self) -> DataType {
        match self {
            PgType::BOOL => DataType::Boolean,
            PgType::INT2 => DataType::Int16,
            PgType::INT4 => DataType::Int32,
            PgType::INT8 | PgType::PG_LSN => DataType::Int64,
            PgType::FLOAT4 => DataType::Float32,
            PgType::FLOAT8 => DataType::Float64,
            PgType::NUMERIC | PgType::BYTEA | PgType::RECORD => DataType::Binary,
            PgType::DATE => DataType::Date32,
            PgType::TIME => DataType::Time64(TimeUnit::Microsecond),
            PgType::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
            PgType::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            PgType::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
            PgType::UUID => DataType::FixedSizeBinary(16),
            PgType::VOID => DataType::Utf8,
            t if t.is_oid_like() => DataType::UInt32,
            t => match t.list_element() {
                Some(elem) => DataType::List(Field::new("item", elem.arrow(), true).into()),
                None => DataType::Utf8,
            },
        }
    }

    /// `format_type(oid, typmod)`: "character varying(20)", "numeric(10,2)", "timestamp(3) without time zone".
    pub fn display(self, typmod: i32) -> String {
        if let Some(elem) = self.element() {
            return format!("{}[]", elem.display(typmod));
        }
        match self {
            PgType::BPCHAR if typmod >= 4 => format!("character({})", typmod - 4),
            PgType::BPCHAR => "bpchar".to_owned(),
            PgType::VARCHAR if typmod >= 4 => format!("character varying({})", typmod - 4),
            PgType::NUMERIC if typmod >= 4 => {
                let (precision, scale) = numeric_typmod(typmod);
                format!("numeric({precision},{scale})")
            }
            PgType::TIMESTAMP | PgType::TIMESTAMPTZ | PgType::TIME if typmod >= 0 => {
                let name = self.sql_name();
                let (head, tail) = name.split_once(' ').unwrap_or((name, ""));
                format!("{head}({typmod}) {tail}")
            }
            PgType::INTERVAL if typmod >= 0 => {
                let precision = typmod & 0xFFFF;
                let fields = interval_fields(typmod);
                let precision = if precision == 0xFFFF { String::new() } else { format!("({precision})") };
                format!("interval{fields}{precision}")
            }
            _ => self.sql_name().to_owned(),
        }
    }
}

impl fmt::Debug for PgType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info().name)
    }
}

impl fmt::Display for PgType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sql_name())
    }
}

/// Precision and scale of a numeric type modifier (`typmod >= 4`).
pub fn numeric_typmod(typmod: i32) -> (i32, i32) {
    let t = typmod - 4;
    ((t >> 16) & 0xFFFF, ((t & 0x7FF) ^ 1024) - 1024)
}

/// The type modifier of `numeric(precision, scale)`; errors are PostgreSQL's (22023).
pub fn make_numeric_typmod(precision: i64, scale: i64) -> Result<i32> {
    if !(1..=1000).contains(&precision) {
        return Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("NUMERIC precision {precision} must be between 1 and 1000"),
        ));
    }
    if !(-1000..=1000).contains(&scale) {
        return Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("NUMERIC scale {scale} must be between -1000 and 1000"),
        ));
    }
    Ok((((precision as i32) << 16) | (scale as i32 & 0x7FF)) + 4)
}

fn interval_fields(typmod: i32) -> &'static str {
    const MONTH: i32 = 1 << 1;
    const YEAR: i32 = 1 << 2;
    const DAY: i32 = 1 << 3;
    const HOUR: i32 = 1 << 10;
    const MINUTE: i32 = 1 << 11;
    const SECOND: i32 = 1 << 12;
    match (typmod >> 16) & 0x7FFF {
        YEAR => " year",
        MONTH => " month",
        DAY => " day",
        HOUR => " hour",
        MINUTE => " minute",
        SECOND => " second",
        f if f == YEAR | MONTH => " year to month",
        f if f == DAY | HOUR => " day to hour",
        f if f == DAY | HOUR | MINUTE => " day to minute",
        f if f == DAY | HOUR | MINUTE | SECOND => " day to second",
        f if f == HOUR | MINUTE => " hour to minute",
        f if f == HOUR | MINUTE | SECOND => " hour to second",
        f if f == MINUTE | SECOND => " minute to second",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_closed() {
        for pair in TYPES.windows(2) {
            assert!(pair[0].oid < pair[1].oid, "{} before {}", pair[0].name, pair[1].name);
        }
        for t in TYPES {
            assert!(t.elem == 0 || PgType::from_oid(t.elem).is_some(), "{} has an unknown element", t.name);
            assert!(t.array == 0 || PgType::from_oid(t.array).is_some(), "{} has an unknown array", t.name);
        }
    }

    #[test]
    fn type_modifiers_print_as_in_postgresql() {
        assert_eq!(PgType::NUMERIC.display(make_numeric_typmod(10, -2).unwrap()), "numeric(10,-2)");
        assert_eq!(PgType::TIMESTAMPTZ.display(3), "timestamp(3) with time zone");
        assert_eq!(PgType::VARCHAR_ARRAY.display(24), "character varying(20)[]");
    }
}
