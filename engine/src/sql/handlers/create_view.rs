//! CREATE [OR REPLACE] VIEW: the query's text with resolved names, its columns, and what it reads.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{self, Spanned};
use kalamdb_catalog::table::Dependency;
use kalamdb_catalog::{
    CachedTableData, CatalogChange, ColumnDefinition, Oid, Result, SqlError, SqlState, TableDefinition, TableKind, name,
};

use super::alter_table::put_with_views;
use super::ddl::{change, exists, place};
use crate::clock;
use crate::session::Session;
use crate::sql::Response;
use crate::sql::bind::{Binder, Parameters, fold, name_parts};
use crate::sql::execute::complete;
use crate::sql::prepared::PreparedStatement;

pub(crate) fn run(session: &mut Session, prepared: &PreparedStatement, create: &ast::CreateView) -> Result<Response> {
    let refused = [
        (create.materialized, "CREATE MATERIALIZED VIEW"),
        (create.if_not_exists, "CREATE VIEW IF NOT EXISTS"),
        (create.with_no_schema_binding || create.to.is_some() || create.params.is_some(), "this kind of view"),
    ];
    if let Some((_, what)) = refused.iter().find(|(present, _)| *present) {
        return Err(SqlError::unsupported(what));
    }
    let context = Arc::clone(session.context());
    let catalog = context.catalog();
    let mut binder = Binder::new(&context, Arc::clone(&catalog), prepared.source(), Parameters::default());
    let bound = binder.query(&create.query)?;
    if !binder.parameters().finish()?.is_empty() {
        return Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
    }
    let parts = name_parts(&create.name)?;
    let over_temporary = binder.relations.iter().any(|(table, _)| table.definition.persistence.is_temporary());
    let (schema, view) = if over_temporary || create.temporary || matches!(parts.as_slice(), [s, _] if s == "pg_temp") {
        if !create.temporary {
            let shown = parts.last().cloned().unwrap_or_default();
            let message = format!("view \"{shown}\" will be a temporary view");
            context.notice(SqlError::new(SqlState::SUCCESSFUL_COMPLETION, message));
        }
        super::temporary::place(session, parts)?
    } else {
        place(session, &create.name)?
    };
    let catalog = context.catalog();
    let old = catalog.table_by_name(schema.oid, &view).cloned();
    if let Some(old) = &old {
        if !create.or_replace {
            return Err(exists(&view));
        }
        if !old.definition.is_view() {
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{view}\" is not a view")));
        }
    } else if catalog.index_by_name(schema.oid, &view).is_some() {
        return Err(exists(&view));
    }
    if create.columns.len() > bound.columns.len() {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "CREATE VIEW specifies more column names than columns"));
    }
    let mut columns: Vec<ColumnDefinition> = Vec::with_capacity(bound.columns.len());
    for (i, column) in bound.columns.iter().enumerate() {
        let name = create.columns.get(i).map_or_else(|| column.name.clone(), |c| fold(&c.name));
        if columns.iter().any(|c| c.name == name) {
            return Err(super::create_table::duplicate_column(&name));
        }
        columns.push(ColumnDefinition::new(name, column.ty, column.typmod));
    }
    let depends_on = dependencies(session, &binder.relations);
    if let Some(old) = &old {
        check_replaceable(&old.definition, &columns)?;
        if reaches(&catalog, &depends_on, old.definition.oid) {
            return Err(SqlError::new(
                SqlState::INVALID_OBJECT_DEFINITION,
                format!("infinite recursion detected in rules for relation \"{view}\""),
            ));
        }
    }
    let sql = resolved_text(session, &binder, prepared.source(), &create.query)?;
    let definition = match old {
        Some(old) => {
            let before = &old.definition;
            let after = TableDefinition { kind: TableKind::View { sql, depends_on }, columns, ..before.clone() };
            put_with_views(session, before, after, "adding columns to a view")?;
            return complete("CREATE VIEW");
        }
        None => {
            let oid = session.app().take_oids(3);
            TableDefinition {
                oid,
                row_type_oid: oid + 1,
                schema: schema.oid,
                name: view,
                owner: context.user.clone(),
                kind: TableKind::View { sql, depends_on },
                storage: 0,
                persistence: super::temporary::persistence_of(session, schema.oid),
                schema_version: 0,
                columns,
                primary_key: None,
                indexes: Vec::new(),
                constraints: Vec::new(),
                options: Vec::new(),
                created_at: clock::now_micros(),
            }
        }
    };
    change(session, CatalogChange::PutTable(definition))?;
    complete("CREATE VIEW")
}

fn dependencies(session: &Session, relations: &[(Arc<CachedTableData>, Vec<i16>)]) -> Vec<Dependency> {
    let catalog = session.context().catalog();
    let mut found: Vec<Dependency> = Vec::new();
    for (table, columns) in relations {
        if found.iter().any(|d| d.oid == table.definition.oid) {
            continue;
        }
        let schema = catalog.schema(table.definition.schema).map_or_else(String::new, |s| s.name.clone());
        found.push(Dependency {
            oid: table.definition.oid,
            schema,
            name: table.definition.name.clone(),
            columns: columns.clone(),
        });
    }
    found
}

/// True if one of these relations is, or reads through views, the relation `oid`.
fn reaches(catalog: &kalamdb_catalog::Catalog, depends_on: &[Dependency], oid: Oid) -> bool {
    depends_on.iter().any(|d| {
        d.oid == oid
            || match catalog.table(d.oid).map(|t| &t.definition.kind) {
                Some(TableKind::View { depends_on, .. }) => reaches(catalog, depends_on, oid),
                _ => false,
            }
    })
}

/// OR REPLACE may add columns at the end and change nothing else.
fn check_replaceable(old: &TableDefinition, columns: &[ColumnDefinition]) -> Result<()> {
    let error = |m: String| Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, m));
    if columns.len() < old.columns.len() {
        return error("cannot drop columns from view".to_owned());
    }
    for (before, now) in old.columns.iter().zip(columns) {
        if before.name != now.name {
            return match error(format!("cannot change name of view column \"{}\" to \"{}\"", before.name, now.name)) {
                Err(e) => Err(e.hint("Use ALTER VIEW ... RENAME COLUMN ... to change name of view column instead.")),
                ok => ok,
            };
        }
        if before.ty != now.ty || before.typmod != now.typmod {
            return error(format!(
                "cannot change data type of view column \"{}\" from {} to {}",
                before.name,
                before.ty.display(before.typmod),
                now.ty.display(now.typmod)
            ));
        }
    }
    Ok(())
}

/// The query's text with every relation named in full, so that no search path changes its meaning.
fn resolved_text(session: &Session, binder: &Binder<'_>, source: &str, query: &ast::Query) -> Result<String> {
    let catalog = session.context().catalog();
    let chars: Vec<char> = source.chars().collect();
    let offset = |location: datafusion::sql::sqlparser::tokenizer::Location| {
        binder
            .position(datafusion::sql::sqlparser::tokenizer::Span::new(location, location))
            .map_or(0, |p| (p as usize - 1).min(chars.len()))
    };
    let mut names: Vec<(usize, usize, String)> = Vec::new();
    for (written, oid) in &binder.resolved_names {
        let span = written.span();
        let Some(table) = catalog.table(*oid) else { continue };
        let schema = catalog.schema(table.definition.schema).map_or_else(String::new, |s| s.name.clone());
        let mut full = name::qualified(&schema, &table.definition.name);
        let (start, end) = (offset(span.start), offset(span.end));
        // Without an alias the bare name must still be what columns are qualified with.
        if written.0.len() == 1 && source_word(&chars, end).is_none() {
            full = format!("{full} AS {}", name::quote_ident(&table.definition.name));
        }
        names.push((start, end, full));
    }
    names.sort();
    names.dedup();
    let span = query.span();
    let start = after_as(&chars, offset(span.start));
    let end = statement_end(&chars, start, offset(span.end));
    let mut text = String::new();
    let mut at = start;
    for (from, to, full) in names {
        if from < at || to > end {
            continue;
        }
        text.extend(&chars[at..from]);
        text.push_str(&full);
        at = to;
    }
    text.extend(&chars[at..end]);
    let text = text.trim().trim_end_matches(';').trim().to_owned();
    // What is stored must be readable again.
    crate::sql::parse::query(&text)?;
    Ok(text)
}

/// A query's span may begin inside it (VALUES, parentheses): it begins after the AS before that.
fn after_as(chars: &[char], inside: usize) -> usize {
    let word = |i: usize| chars.get(i).is_some_and(|c| c.is_alphanumeric() || *c == '_' || *c == '"');
    (2..=inside)
        .rev()
        .find(|end| {
            chars[end - 2..*end].iter().collect::<String>().eq_ignore_ascii_case("as")
                && !word(*end)
                && (*end < 3 || !word(end - 3))
        })
        .unwrap_or(inside)
}

/// The alias after a table's name, if there is one: a word that is no keyword of the grammar around it.
fn source_word(chars: &[char], end: usize) -> Option<String> {
    let rest: String = chars[end..].iter().collect();
    let rest = rest.trim_start();
    let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '"').collect();
    const AFTER: &[&str] = &[
        "where",
        "join",
        "inner",
        "left",
        "right",
        "full",
        "cross",
        "natural",
        "on",
        "using",
        "group",
        "order",
        "having",
        "limit",
        "offset",
        "union",
        "except",
        "intersect",
        "fetch",
        "for",
        "window",
        "tablesample",
    ];
    (!word.is_empty() && !AFTER.contains(&word.to_lowercase().as_str())).then_some(word)
}

/// A query's span ends at its last expression; the statement goes on to its semicolon or the end.
fn statement_end(chars: &[char], start: usize, at_least: usize) -> usize {
    let text: String = chars[start..].iter().collect();
    let mut quoted = None;
    let mut count = 0;
    for c in text.chars() {
        match quoted {
            None if c == ';' && start + count >= at_least => break,
            None if c == '\'' || c == '"' => quoted = Some(c),
            Some(q) if c == q => quoted = None,
            _ => {}
        }
        count += 1;
    }
    start + count
}
