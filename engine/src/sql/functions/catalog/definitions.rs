//! The `pg_get_*def` family: definitions turned back into SQL.

use kalamdb_catalog::name::{qualified, quote_ident};
use kalamdb_catalog::{Oid, PrimaryKey, TableDefinition, TableKind};

use super::procedures;
use super::reg::argument_type;
use super::{relation_name, schema_name};
use crate::session::SessionContext;

fn key_columns(t: &TableDefinition, key: &PrimaryKey) -> String {
    let names: Vec<_> = key.columns.iter().map(|c| quote_ident(&t.columns[*c].name)).collect();
    names.join(", ")
}

/// `PRIMARY KEY (a, b)`
pub(super) fn constraint(oid: Oid, session: &SessionContext) -> Option<String> {
    let catalog = session.catalog();
    let table = catalog.table_of_constraint(oid)?;
    let key = table.definition.primary_key.as_ref()?;
    Some(format!("PRIMARY KEY ({})", key_columns(&table.definition, key)))
}

/// The whole CREATE INDEX for column 0, else the definition of that column; pretty leaves out a schema that the search
/// path makes superfluous.
pub(super) fn index(oid: Oid, column: i32, pretty: bool, session: &SessionContext) -> Option<String> {
    let catalog = session.catalog();
    let table = catalog.table_of_index(oid)?;
    let t = &table.definition;
    let key = t.primary_key.as_ref()?;
    if column != 0 {
        let position = usize::try_from(column - 1).ok().and_then(|i| key.columns.get(i));
        return Some(position.map_or_else(String::new, |c| quote_ident(&t.columns[*c].name).into_owned()));
    }
    let on = if pretty { relation_name(t.oid, session)? } else { qualified(&schema_name(t.schema, session), &t.name) };
    let columns = key_columns(t, key);
    Some(format!("CREATE UNIQUE INDEX {} ON {on} USING btree ({columns})", quote_ident(&key.name)))
}

/// The view's SELECT with a semicolon; None for what is not a view.
pub(super) fn view(oid: Oid, session: &SessionContext) -> Option<String> {
    match &session.catalog().table(oid)?.definition.kind {
        TableKind::View { sql, .. } => Some(format!(" {sql};")),
        TableKind::Shared | TableKind::System | TableKind::Virtual(_) => None,
    }
}

/// A view's rule has the view's OID (pg_rewrite).
pub(super) fn rule(oid: Oid, session: &SessionContext) -> Option<String> {
    let select = view(oid, session)?;
    let catalog = session.catalog();
    let t = &catalog.table(oid)?.definition;
    let name = qualified(&schema_name(t.schema, session), &t.name);
    Some(format!("CREATE RULE \"_RETURN\" AS\n    ON SELECT TO {name} DO INSTEAD {select}"))
}

/// `integer, VARIADIC "any"`
pub(super) fn function_arguments(oid: Oid, session: &SessionContext) -> Option<String> {
    let p = procedures::by_oid(oid)?;
    let last = p.args.len().wrapping_sub(1);
    let args: Vec<String> = p
        .args
        .iter()
        .enumerate()
        .map(|(i, ty)| {
            let name = argument_type(*ty, session);
            let any = *ty == kalamdb_catalog::PgType::ANY.oid();
            match p.variadic && i == last {
                true if any => format!("VARIADIC {name}"),
                true => format!("VARIADIC {name}[]"),
                false => name,
            }
        })
        .collect();
    Some(args.join(", "))
}

pub(super) fn function_result(oid: Oid, session: &SessionContext) -> Option<String> {
    let p = procedures::by_oid(oid)?;
    let name = argument_type(p.ret, session);
    Some(if p.returns_set { format!("SETOF {name}") } else { name })
}

/// How pg_depend's readers name an object: `table t`, `view v`, `type integer`.
pub(super) fn describe(class: Oid, oid: Oid, column: i32, session: &SessionContext) -> Option<String> {
    const PG_CLASS: Oid = 1259;
    const PG_TYPE: Oid = 1247;
    const PG_NAMESPACE: Oid = 2615;
    const PG_CONSTRAINT: Oid = 2606;
    let catalog = session.catalog();
    match class {
        PG_CLASS => {
            let name = relation_name(oid, session)?;
            let Some(table) = catalog.table(oid) else { return Some(format!("index {name}")) };
            let kind = if table.definition.is_view() { "view" } else { "table" };
            match usize::try_from(column - 1).ok().and_then(|i| table.definition.columns.get(i)) {
                Some(c) => Some(format!("column {} of {kind} {name}", quote_ident(&c.name))),
                None => Some(format!("{kind} {name}")),
            }
        }
        PG_TYPE => Some(format!("type {}", super::reg::type_name(oid, session)?)),
        PG_NAMESPACE => Some(format!("schema {}", quote_ident(&catalog.schema(oid)?.name))),
        PG_CONSTRAINT => {
            let table = catalog.table_of_constraint(oid)?;
            let key = table.definition.primary_key.as_ref()?;
            let on = relation_name(table.definition.oid, session)?;
            Some(format!("constraint {} on table {on}", quote_ident(&key.name)))
        }
        _ => None,
    }
}
