//! Type OIDs as the scripts show them: `int4`, `numeric(10,2)`, `text[]`, an unknown one as its number.

/// Name and OID of the types that scripts meet, as in PostgreSQL's pg_type; `_name` is the array of `name`.
const NAMES: &[(u32, &str)] = &[
    (16, "bool"),
    (17, "bytea"),
    (18, "char"),
    (19, "name"),
    (20, "int8"),
    (21, "int2"),
    (22, "int2vector"),
    (23, "int4"),
    (24, "regproc"),
    (25, "text"),
    (26, "oid"),
    (27, "tid"),
    (28, "xid"),
    (29, "cid"),
    (30, "oidvector"),
    (114, "json"),
    (142, "xml"),
    (194, "pg_node_tree"),
    (199, "json[]"),
    (650, "cidr"),
    (700, "float4"),
    (701, "float8"),
    (705, "unknown"),
    (790, "money"),
    (869, "inet"),
    (1000, "bool[]"),
    (1001, "bytea[]"),
    (1002, "char[]"),
    (1003, "name[]"),
    (1005, "int2[]"),
    (1007, "int4[]"),
    (1009, "text[]"),
    (1014, "bpchar[]"),
    (1015, "varchar[]"),
    (1016, "int8[]"),
    (1021, "float4[]"),
    (1022, "float8[]"),
    (1028, "oid[]"),
    (1033, "aclitem"),
    (1034, "aclitem[]"),
    (1042, "bpchar"),
    (1043, "varchar"),
    (1082, "date"),
    (1083, "time"),
    (1114, "timestamp"),
    (1115, "timestamp[]"),
    (1182, "date[]"),
    (1183, "time[]"),
    (1184, "timestamptz"),
    (1185, "timestamptz[]"),
    (1186, "interval"),
    (1187, "interval[]"),
    (1231, "numeric[]"),
    (1266, "timetz"),
    (1560, "bit"),
    (1562, "varbit"),
    (1700, "numeric"),
    (2202, "regprocedure"),
    (2205, "regclass"),
    (2206, "regtype"),
    (2210, "regclass[]"),
    (2211, "regtype[]"),
    (2249, "record"),
    (2278, "void"),
    (2287, "record[]"),
    (2950, "uuid"),
    (2951, "uuid[]"),
    (3802, "jsonb"),
    (3807, "jsonb[]"),
    (4089, "regnamespace"),
    (4096, "regrole"),
    (5069, "xid8"),
];

/// The type with its modifier, as a script's header line shows it. The row types of user tables have no fixed OID.
pub fn name(oid: u32, typmod: i32) -> String {
    if oid >= 16384 {
        return "row".to_string();
    }
    let base = NAMES.iter().find(|n| n.0 == oid).map_or_else(|| oid.to_string(), |n| n.1.to_string());
    if typmod < 0 {
        return base;
    }
    let (element, array) = base.strip_suffix("[]").map_or((base.as_str(), ""), |e| (e, "[]"));
    match element {
        "varchar" | "bpchar" => format!("{element}({}){array}", typmod - 4),
        "numeric" => format!("{element}({},{}){array}", (typmod - 4) >> 16, (typmod - 4) & 0x7ff),
        "interval" => format!("{element}<{typmod:x}>{array}"),
        _ => format!("{element}({typmod}){array}"),
    }
}

/// The OID of a name that a wire script gives, or of a plain number.
pub fn oid(name: &str) -> Option<u32> {
    NAMES.iter().find(|n| n.1 == name).map(|n| n.0).or_else(|| name.parse().ok())
}
