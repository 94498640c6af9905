//! The `pg_get_*def` family: definitions turned back into SQL.

use kalamdb_catalog::constraint::{ConstraintKind, ForeignAction, ForeignKey};
use kalamdb_catalog::index::{IndexColumn, IndexKey};
use kalamdb_catalog::name::{qualified, quote_ident};
use kalamdb_catalog::{Oid, TableDefinition, TableKind};

use super::procedures;
use super::reg::argument_type;
use super::{relation_name, schema_name};
use crate::session::SessionContext;
use crate::sql::deparse;

fn column_list(t: &TableDefinition, columns: &[usize]) -> String {
    let names: Vec<_> = columns.iter().map(|c| quote_ident(&t.columns[*c].name)).collect();
    names.join(", ")
}

/// `PRIMARY KEY (a, b)`
pub(super) fn constraint(oid: Oid, session: &SessionContext) -> Option<String> {
    let catalog = session.catalog();
    let table = catalog.table_of_constraint(oid)?;
    let t = &table.definition;
    let constraint = t.constraint(oid)?;
    let mut text = match &constraint.kind {
        ConstraintKind::Primary(_, columns) => format!("PRIMARY KEY ({})", column_list(t, columns)),
        ConstraintKind::Unique(index) => {
            let index = t.index(*index)?;
            let distinct = if index.nulls_not_distinct { " NULLS NOT DISTINCT" } else { "" };
            let mut text = format!("UNIQUE{distinct} ({})", column_list(t, &index.plain_columns()?));
            if !index.include.is_empty() {
                text += &format!(" INCLUDE ({})", column_list(t, &index.include));
            }
            text
        }
        ConstraintKind::Check(sql, _) => format!("CHECK ({})", deparse::expression(t, sql, session)),
        ConstraintKind::Foreign(key) => foreign_key(t, key, session)?,
    };
    if constraint.deferrable {
        text += " DEFERRABLE";
    }
    if constraint.deferred {
        text += " INITIALLY DEFERRED";
    }
    if !constraint.validated {
        text += " NOT VALID";
    }
    Some(text)
}

fn foreign_key(t: &TableDefinition, key: &ForeignKey, session: &SessionContext) -> Option<String> {
    let catalog = session.catalog();
    let target = &catalog.table(key.target)?.definition;
    let mut text = format!(
        "FOREIGN KEY ({}) REFERENCES {}({})",
        column_list(t, &key.columns),
        relation_name(target.oid, session)?,
        column_list(target, &key.target_columns)
    );
    if key.full {
        text += " MATCH FULL";
    }
    for (on, action) in [("UPDATE", key.on_update), ("DELETE", key.on_delete)] {
        if action != ForeignAction::NoAction {
            text += &format!(" ON {on} {}", action.sql());
        }
    }
    if !key.set_columns.is_empty() {
        text += &format!(" ({})", column_list(t, &key.set_columns));
    }
    Some(text)
}

/// The whole CREATE INDEX for column 0, else the definition of that column; pretty leaves out a schema that the search
/// path makes superfluous.
pub(super) fn index(oid: Oid, column: i32, pretty: bool, session: &SessionContext) -> Option<String> {
    let catalog = session.catalog();
    let table = catalog.table_of_index(oid)?;
    let t = &table.definition;
    let index = t.index(oid)?;
    if column != 0 {
        let position = usize::try_from(column - 1).ok();
        let found = position.and_then(|i| index.columns.get(i)).map(|c| index_column(t, c, session));
        let included = position.and_then(|i| index.include.get(i.checked_sub(index.columns.len())?));
        return Some(found.or_else(|| Some(column_list(t, &[*included?]))).unwrap_or_default());
    }
    let on = if pretty { relation_name(t.oid, session)? } else { qualified(&schema_name(t.schema, session), &t.name) };
    let columns: Vec<String> = index
        .columns
        .iter()
        .map(|c| {
            let mut text = index_column(t, c, session);
            if c.descending {
                text += " DESC";
            }
            match (c.descending, c.nulls_first) {
                (false, true) => text += " NULLS FIRST",
                (true, false) => text += " NULLS LAST",
                _ => {}
            }
            text
        })
        .collect();
    let unique = if index.unique { "UNIQUE " } else { "" };
    let mut text =
        format!("CREATE {unique}INDEX {} ON {on} USING btree ({})", quote_ident(&index.name), columns.join(", "));
    if !index.include.is_empty() {
        text += &format!(" INCLUDE ({})", column_list(t, &index.include));
    }
    if index.nulls_not_distinct {
        text += " NULLS NOT DISTINCT";
    }
    if !index.options.is_empty() {
        let options: Vec<String> = index.options.iter().map(|(name, value)| format!("{name}='{value}'")).collect();
        text += &format!(" WITH ({})", options.join(", "));
    }
    if let Some(predicate) = &index.predicate {
        text += &format!(" WHERE {}", deparse::expression(t, predicate, session));
    }
    Some(text)
}

fn index_column(t: &TableDefinition, column: &IndexColumn, session: &SessionContext) -> String {
    match &column.key {
        IndexKey::Column(position) => column_list(t, &[*position]),
        IndexKey::Expression(sql, _) if deparse::is_call(sql) => deparse::expression(t, sql, session),
        IndexKey::Expression(sql, _) => format!("({})", deparse::expression(t, sql, session)),
    }
}

/// The view's SELECT with a semicolon; None for what is not a view.
pub(super) fn view(oid: Oid, session: &SessionContext) -> Option<String> {
    match &session.catalog().table(oid)?.definition.kind {
        TableKind::View { sql, .. } => Some(format!(" {sql};")),
        _ => None,
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
            let kind = crate::sql::handlers::drop::kind_word(&table.definition);
            match usize::try_from(column - 1).ok().and_then(|i| table.definition.columns.get(i)) {
                Some(c) => Some(format!("column {} of {kind} {name}", quote_ident(&c.name))),
                None => Some(format!("{kind} {name}")),
            }
        }
        PG_TYPE => Some(format!("type {}", super::reg::type_name(oid, session)?)),
        PG_NAMESPACE => Some(format!("schema {}", quote_ident(&catalog.schema(oid)?.name))),
        PG_CONSTRAINT => {
            let table = catalog.table_of_constraint(oid)?;
            let constraint = table.definition.constraint(oid)?;
            let on = relation_name(table.definition.oid, session)?;
            Some(format!("constraint {} on table {on}", quote_ident(&constraint.name)))
        }
        _ => None,
    }
}
