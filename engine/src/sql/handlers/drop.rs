//! DROP TABLE and DROP VIEW, with what depends on them.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{ObjectName, ObjectType};
use kalamdb_catalog::{CachedTableData, Catalog, CatalogChange, Oid, Result, SqlError, SqlState};

use super::ddl::{change, refuse_builtin, relation, shown_name};
use super::schema::absent;
use crate::session::Session;
use crate::sql::Response;
use crate::sql::bind::name_parts;
use crate::sql::execute::complete;
use crate::sql::prepared::PreparedStatement;

pub(crate) fn relations(
    session: &mut Session,
    prepared: &PreparedStatement,
    kind: ObjectType,
    if_exists: bool,
    names: &[ObjectName],
    cascade: bool,
) -> Result<Response> {
    let view = kind == ObjectType::View;
    let word = if view { "view" } else { "table" };
    let mut doomed: Vec<Arc<CachedTableData>> = Vec::new();
    for name in names {
        match relation(session, prepared, name) {
            Ok(table) => {
                refuse_builtin(&table)?;
                if table.definition.is_view() != view {
                    let hint = if view { "TABLE to remove a table" } else { "VIEW to remove a view" };
                    return Err(SqlError::new(
                        SqlState::WRONG_OBJECT_TYPE,
                        format!("\"{}\" is not a {word}", table.definition.name),
                    )
                    .hint(format!("Use DROP {hint}.")));
                }
                if !doomed.iter().any(|d| d.definition.oid == table.definition.oid) {
                    doomed.push(table);
                }
            }
            Err(error) if error.code() == SqlState::UNDEFINED_TABLE => {
                let shown = name_parts(name)?;
                let missing = match shown.as_slice() {
                    [schema, _] if super::ddl::named_schema(session, schema).is_err() && if_exists => {
                        SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{schema}\" does not exist"))
                    }
                    _ => {
                        let plain = if if_exists { shown.last().cloned().unwrap_or_default() } else { shown.join(".") };
                        SqlError::new(SqlState::UNDEFINED_TABLE, format!("{word} \"{plain}\" does not exist"))
                    }
                };
                if !if_exists {
                    return Err(missing);
                }
                session.context().notice(absent(&missing));
            }
            Err(error) => return Err(error),
        }
    }
    let what = match doomed.as_slice() {
        [one] => format!("{word} {}", shown_name(session, one)),
        _ => "desired object(s)".to_owned(),
    };
    drop_all(session, &doomed, &what, cascade, false)?;
    complete(if view { "DROP VIEW" } else { "DROP TABLE" })
}

/// Drops relations and, with CASCADE, the views that read them. `owned` relations go with what they are in (a schema) and
/// count as dependents of it. 2BP01 names what stands in the way.
pub(crate) fn drop_all(
    session: &mut Session,
    relations: &[Arc<CachedTableData>],
    what: &str,
    cascade: bool,
    owned: bool,
) -> Result<()> {
    let catalog = session.context().catalog();
    // (dependent, what it depends on)
    let mut edges: Vec<(Arc<CachedTableData>, String)> = Vec::new();
    let describe = |t: &Arc<CachedTableData>| {
        let word = if t.definition.is_view() { "view" } else { "table" };
        format!("{word} {}", shown_name(session, t))
    };
    if owned {
        // A view is said to depend on what it reads, if that goes too.
        let within = |t: &Arc<CachedTableData>| relations.iter().find(|r| t.reads(r.definition.oid)).map(describe);
        edges.extend(relations.iter().map(|t| (Arc::clone(t), within(t).unwrap_or_else(|| what.to_owned()))));
    }
    let mut seen: HashSet<Oid> = relations.iter().map(|r| r.definition.oid).collect();
    let mut found = Vec::new();
    for relation in relations {
        add_dependents(&catalog, relation, &mut seen, &mut found);
    }
    found.reverse();
    edges.extend(found.iter().map(|(dependent, on)| (Arc::clone(dependent), describe(on))));
    if !edges.is_empty() {
        let lines: Vec<String> = edges.iter().map(|(d, on)| format!("{} depends on {on}", describe(d))).collect();
        if !cascade {
            let several = relations.len() > 1 && !owned;
            return Err(SqlError::new(
                SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                format!("cannot drop {what} because other objects depend on {}", if several { "them" } else { "it" }),
            )
            .detail(lines.join("\n"))
            .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        let names: Vec<String> = edges.iter().map(|(d, _)| describe(d)).collect();
        let notice = |m: String| SqlError::new(SqlState::SUCCESSFUL_COMPLETION, m);
        session.context().notice(match names.as_slice() {
            [one] => notice(format!("drop cascades to {one}")),
            many => {
                let detail: Vec<String> = many.iter().map(|n| format!("drop cascades to {n}")).collect();
                notice(format!("drop cascades to {} other objects", many.len())).detail(detail.join("\n"))
            }
        });
    }
    for table in found.iter().map(|(dependent, _)| dependent).rev().chain(relations.iter().rev()) {
        change(session, CatalogChange::DropTable(table.definition.oid))?;
    }
    Ok(())
}

/// The views that read `on`, directly or through others, each with what it was reached by; in the reverse of the order in
/// which PostgreSQL reports them (dependency.c: the newest first, each behind what depends on it).
fn add_dependents(
    catalog: &Catalog,
    on: &Arc<CachedTableData>,
    seen: &mut HashSet<Oid>,
    found: &mut Vec<(Arc<CachedTableData>, Arc<CachedTableData>)>,
) {
    let mut dependents = catalog.dependents(on.definition.oid);
    dependents.sort_by_key(|d| std::cmp::Reverse(d.definition.oid));
    for dependent in dependents {
        if seen.insert(dependent.definition.oid) {
            add_dependents(catalog, &dependent, seen, found);
            found.push((dependent, Arc::clone(on)));
        }
    }
}
