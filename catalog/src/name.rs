//! Names: quoting them, and finding the relation a name means under a search path.

use std::borrow::Cow;
use std::sync::Arc;

use crate::cached::CachedTableData;
use crate::catalog::Catalog;
use crate::table::Oid;

/// PostgreSQL 15's keywords that need quotes as a column or table name: all but the unreserved ones, in order.
#[rustfmt::skip]
const QUOTED_KEYWORDS: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "between",
    "bigint", "binary", "bit", "boolean", "both", "case", "cast", "char", "character", "check", "coalesce",
    "collate", "collation", "column", "concurrently", "constraint", "create", "cross", "current_catalog",
    "current_date", "current_role", "current_schema", "current_time", "current_timestamp", "current_user", "dec",
    "decimal", "default", "deferrable", "desc", "distinct", "do", "else", "end", "except", "exists", "extract",
    "false", "fetch", "float", "for", "foreign", "freeze", "from", "full", "grant", "greatest", "group", "grouping",
    "having", "ilike", "in", "initially", "inner", "inout", "int", "integer", "intersect", "interval", "into", "is",
    "isnull", "join", "lateral", "leading", "least", "left", "like", "limit", "localtime", "localtimestamp",
    "national", "natural", "nchar", "none", "normalize", "not", "notnull", "null", "nullif", "numeric", "offset",
    "on", "only", "or", "order", "out", "outer", "overlaps", "overlay", "placing", "position", "precision",
    "primary", "real", "references", "returning", "right", "row", "select", "session_user", "setof", "similar",
    "smallint", "some", "substring", "symmetric", "table", "tablesample", "then", "time", "timestamp", "to",
    "trailing", "treat", "trim", "true", "union", "unique", "user", "using", "values", "varchar", "variadic",
    "verbose", "when", "where", "window", "with", "xmlattributes", "xmlconcat", "xmlelement", "xmlexists",
    "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot", "xmlserialize", "xmltable",
];

/// Of these the ones that stand as a name in most commands all the same (`ColId` of PostgreSQL's grammar), in order.
#[rustfmt::skip]
const COLUMN_KEYWORDS: &[&str] = &[
    "between", "bigint", "bit", "boolean", "char", "character", "coalesce", "dec", "decimal", "exists", "extract",
    "float", "greatest", "grouping", "inout", "int", "integer", "interval", "least", "national", "nchar", "none",
    "normalize", "nullif", "numeric", "out", "overlay", "position", "precision", "real", "row", "setof", "smallint",
    "substring", "time", "timestamp", "treat", "trim", "values", "varchar", "xmlattributes", "xmlconcat",
    "xmlelement", "xmlexists", "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot", "xmlserialize",
    "xmltable",
];

/// True for a keyword, in lower case, that is no name without quotes.
pub fn is_reserved(word: &str) -> bool {
    QUOTED_KEYWORDS.binary_search(&word).is_ok() && COLUMN_KEYWORDS.binary_search(&word).is_err()
}

/// `quote_ident`: the name as SQL must spell it.
pub fn quote_ident(name: &str) -> Cow<'_, str> {
    let mut chars = name.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain && QUOTED_KEYWORDS.binary_search(&name).is_err() {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("\"{}\"", name.replace('"', "\"\"")))
    }
}

/// `schema.name`, each quoted where needed.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_ident(schema), quote_ident(name))
}

/// The schemas of a search path that exist, `pg_catalog` first unless the path names it. `$user` is the caller's to
/// replace.
pub fn path_schemas(catalog: &Catalog, database: Oid, search_path: &[String]) -> Vec<Oid> {
    let implicit = (!search_path.iter().any(|s| s == "pg_catalog")).then_some("pg_catalog");
    // What is temporary hides even the system's.
    let temporary = usize::from(search_path.first().is_some_and(|s| s.starts_with("pg_temp_")));
    let (first, rest) = search_path.split_at(temporary);
    let names = first.iter().map(String::as_str).chain(implicit).chain(rest.iter().map(String::as_str));
    let mut found = Vec::new();
    for schema in names.filter_map(|name| catalog.schema_by_name(database, name)) {
        if !found.contains(&schema.oid) {
            found.push(schema.oid);
        }
    }
    found
}

/// The relation that `schema.name`, or `name` under the search path, means.
pub fn resolve_relation(
    catalog: &Catalog,
    database: Oid,
    search_path: &[String],
    schema: Option<&str>,
    name: &str,
) -> Option<Arc<CachedTableData>> {
    let found = match schema {
        Some(schema) => catalog.table_by_name(catalog.schema_by_name(database, schema)?.oid, name),
        None => path_schemas(catalog, database, search_path)
            .into_iter()
            .find_map(|schema| catalog.table_by_name(schema, name)),
    };
    found.cloned()
}

/// Whether an unqualified use of its name means this relation (`pg_table_is_visible`).
pub fn is_visible(catalog: &Catalog, database: Oid, search_path: &[String], relation: Oid) -> bool {
    catalog.table(relation).is_some_and(|t| {
        resolve_relation(catalog, database, search_path, None, &t.definition.name)
            .is_some_and(|found| found.definition.oid == relation)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::bootstrap;
    use crate::catalog::DEFAULT_DATABASE_OID;

    #[test]
    fn names_are_quoted_where_postgresql_quotes_them() {
        for (name, quoted) in [
            ("a", "a"),
            ("_a1", "_a1"),
            ("A", "\"A\""),
            ("a b", "\"a b\""),
            ("", "\"\""),
            ("select", "\"select\""),
            ("int", "\"int\""),
            ("text", "text"),
            ("a$b", "\"a$b\""),
            ("q\"q", "\"q\"\"q\""),
        ] {
            assert_eq!(quote_ident(name), quoted);
        }
    }

    #[test]
    fn pg_catalog_comes_first_unless_listed() {
        let catalog = bootstrap();
        let path = |names: &[&str]| -> Vec<String> { names.iter().map(|n| (*n).to_owned()).collect() };
        let find = |p: &[&str], s: Option<&str>, n: &str| {
            resolve_relation(&catalog, DEFAULT_DATABASE_OID, &path(p), s, n).map(|t| t.definition.oid)
        };
        assert_eq!(find(&["public"], None, "pg_class"), Some(1259));
        assert_eq!(find(&[], None, "pg_class"), Some(1259));
        assert_eq!(find(&["public"], None, "tables"), None);
        assert_eq!(find(&["system", "pg_catalog"], None, "tables"), Some(13320));
        assert_eq!(find(&[], Some("information_schema"), "tables"), Some(13010));
        assert_eq!(find(&[], Some("nope"), "pg_class"), None);
    }
}
