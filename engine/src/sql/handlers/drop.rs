//! DROP of relations and indexes, with what depends on them.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{ObjectName, ObjectType};
use kalamdb_catalog::constraint::Constraint;
use kalamdb_catalog::index::IndexDefinition;
use kalamdb_catalog::name::quote_ident;
use kalamdb_catalog::{
    CachedTableData, Catalog, CatalogChange, Oid, Result, SqlError, SqlState, TableDefinition, TableKind,
};

use super::ddl::{change, refuse_builtin, relation, shown_name};
use super::schema::absent;
use crate::session::Session;
use crate::sql::Response;
use crate::sql::bind::name_parts;
use crate::sql::execute::complete;
use crate::sql::functions::search_path;
use crate::sql::prepared::PreparedStatement;

pub(crate) fn relations(
    session: &mut Session,
    prepared: &PreparedStatement,
    kind: ObjectType,
    if_exists: bool,
    names: &[ObjectName],
    cascade: bool,
) -> Result<Response> {
    let word = match kind {
        ObjectType::View => "view",
        ObjectType::Sequence => "sequence",
        _ => "table",
    };
    let mut doomed: Vec<Arc<CachedTableData>> = Vec::new();
    for name in names {
        match relation(session, prepared, name) {
            Ok(table) => {
                refuse_builtin(&table)?;
                let found = kind_word(&table.definition);
                if found != word {
                    return Err(SqlError::new(
                        SqlState::WRONG_OBJECT_TYPE,
                        format!("\"{}\" is not a {word}", table.definition.name),
                    )
                    .hint(format!("Use DROP {} to remove a {found}.", found.to_uppercase())));
                }
                refuse_identity_sequence(session, &table)?;
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
    complete(format!("DROP {}", word.to_uppercase()))
}

/// 2BP01 for the sequence of an identity column: it goes with the column only.
fn refuse_identity_sequence(session: &Session, table: &Arc<CachedTableData>) -> Result<()> {
    let Some(owner) = table.definition.sequence().and_then(|s| s.owner).filter(|o| o.identity) else { return Ok(()) };
    let column = Object::Column(owner.table, owner.column).describe(session);
    Err(SqlError::new(
        SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
        format!("cannot drop sequence {} because {column} requires it", shown_name(session, table)),
    )
    .hint(format!("You can drop {column} instead.")))
}

/// What can depend on something else.
#[derive(Clone)]
pub(crate) enum Object {
    /// A view, or a relation that goes with its schema.
    Relation(Arc<CachedTableData>),
    /// A constraint of the table with this OID.
    Constraint(Oid, Constraint),
    /// The default of a column.
    Default(Oid, usize),
    /// A generated column.
    Column(Oid, usize),
}

impl Object {
    /// As messages name it.
    fn describe(&self, session: &Session) -> String {
        let catalog = session.context().catalog();
        let of_table = |oid: &Oid, what: &dyn Fn(&TableDefinition) -> String| match catalog.table(*oid) {
            Some(table) => format!("{} table {}", what(&table.definition), shown_name(session, table)),
            None => String::new(),
        };
        match self {
            Object::Relation(table) => format!("{} {}", kind_word(&table.definition), shown_name(session, table)),
            Object::Constraint(table, constraint) => {
                of_table(table, &|_| format!("constraint {} on", quote_ident(&constraint.name)))
            }
            Object::Default(table, column) => {
                of_table(table, &|t| format!("default value for column {} of", quote_ident(&t.columns[*column].name)))
            }
            Object::Column(table, column) => {
                of_table(table, &|t| format!("column {} of", quote_ident(&t.columns[*column].name)))
            }
        }
    }

    /// Removes it. Relations are removed by the caller, in an order of their own.
    fn remove(&self, session: &mut Session) -> Result<()> {
        let (Object::Constraint(oid, _) | Object::Default(oid, _) | Object::Column(oid, _)) = self else {
            return Ok(());
        };
        let Some(table) = session.context().catalog().table(*oid).cloned() else { return Ok(()) };
        let mut definition = table.definition.clone();
        match self {
            Object::Constraint(_, constraint) => definition.constraints.retain(|c| c.oid != constraint.oid),
            Object::Default(_, column) => {
                definition.columns[*column].default = None;
                definition.columns[*column].default_oid = 0;
            }
            Object::Column(_, column) => super::alter_table::take_column(&mut definition, *column),
            Object::Relation(_) => {}
        }
        change(session, CatalogChange::PutTable(definition))
    }
}

/// What kind of relation it is, in messages.
pub(crate) fn kind_word(table: &TableDefinition) -> &'static str {
    match table.kind {
        TableKind::View { .. } => "view",
        TableKind::Sequence(_) => "sequence",
        TableKind::Shared | TableKind::System | TableKind::Virtual(_) => "table",
    }
}

/// Tells of what depends on something that is to go: 2BP01 with the list, or with CASCADE a notice. `several`: on them.
pub(crate) fn report(
    session: &Session,
    edges: &[(Object, String)],
    what: &str,
    several: bool,
    cascade: bool,
) -> Result<()> {
    if edges.is_empty() {
        return Ok(());
    }
    if !cascade {
        let lines: Vec<String> =
            edges.iter().map(|(object, on)| format!("{} depends on {on}", object.describe(session))).collect();
        return Err(SqlError::new(
            SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            format!("cannot drop {what} because other objects depend on {}", if several { "them" } else { "it" }),
        )
        .detail(lines.join("\n"))
        .hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    let names: Vec<String> = edges.iter().map(|(object, _)| object.describe(session)).collect();
    let notice = |m: String| SqlError::new(SqlState::SUCCESSFUL_COMPLETION, m);
    session.context().notice(match names.as_slice() {
        [one] => notice(format!("drop cascades to {one}")),
        many => {
            let detail: Vec<String> = many.iter().map(|n| format!("drop cascades to {n}")).collect();
            notice(format!("drop cascades to {} other objects", many.len())).detail(detail.join("\n"))
        }
    });
    Ok(())
}

/// Drops relations and, with CASCADE, what depends on them. `owned` relations go with what they are in (a schema) and
/// count as dependents of it. 2BP01 names what stands in the way.
pub(crate) fn drop_all(
    session: &mut Session,
    relations: &[Arc<CachedTableData>],
    what: &str,
    cascade: bool,
    owned: bool,
) -> Result<()> {
    let catalog = session.context().catalog();
    let mut relations: Vec<Arc<CachedTableData>> = relations.to_vec();
    // The sequences of a table's columns go with it, without a word.
    let mut parts: Vec<Arc<CachedTableData>> = Vec::new();
    for table in &relations {
        let sequences = catalog.owned_sequences(table.definition.oid);
        parts.extend(sequences.filter(|s| !relations.iter().any(|r| r.definition.oid == s.definition.oid)).cloned());
    }
    let whole = relations_oids(&relations, owned);
    let (inside, others): (Vec<_>, Vec<_>) = relations.into_iter().partition(|r| is_part_of(r, &whole));
    relations = others;
    parts.extend(inside);
    let describe = |t: &Arc<CachedTableData>| Object::Relation(Arc::clone(t)).describe(session);
    // (dependent, what it depends on)
    let mut edges: Vec<(Object, String)> = Vec::new();
    if owned {
        // A view is said to depend on what it reads, if that goes too.
        let within = |t: &Arc<CachedTableData>| relations.iter().find(|r| t.reads(r.definition.oid)).map(describe);
        edges.extend(
            relations.iter().map(|t| (Object::Relation(Arc::clone(t)), within(t).unwrap_or_else(|| what.to_owned()))),
        );
    }
    let mut seen: HashSet<Oid> = relations.iter().chain(&parts).map(|r| r.definition.oid).collect();
    let mut found = Vec::new();
    for relation in relations.iter().chain(&parts) {
        add_dependents(&catalog, relation, &mut seen, &mut found);
    }
    found.reverse();
    edges.extend(found.iter().map(|(dependent, on)| (Object::Relation(Arc::clone(dependent)), describe(on))));
    for relation in relations.iter().chain(&parts) {
        let on = describe(relation);
        edges.extend(inside_tables(&catalog, relation, &seen).into_iter().map(|object| (object, on.clone())));
    }
    let several = relations.len() > 1 && !owned;
    report(session, &edges, what, several, cascade)?;
    for (object, _) in &edges {
        object.remove(session)?;
    }
    let views = found.iter().map(|(dependent, _)| dependent).rev();
    for table in views.chain(relations.iter().rev()).chain(parts.iter().rev()) {
        change(session, CatalogChange::DropTable(table.definition.oid))?;
    }
    Ok(())
}

/// The relations that go as a whole with what they are in; none if they have been named one by one.
fn relations_oids(relations: &[Arc<CachedTableData>], owned: bool) -> Vec<Oid> {
    if owned { relations.iter().map(|r| r.definition.oid).collect() } else { Vec::new() }
}

/// True for a sequence whose table is among these.
fn is_part_of(relation: &CachedTableData, tables: &[Oid]) -> bool {
    relation.definition.sequence().and_then(|s| s.owner).is_some_and(|owner| tables.contains(&owner.table))
}

/// What depends on a relation inside of tables that stay: foreign keys, and the defaults that a sequence feeds.
fn inside_tables(catalog: &Catalog, relation: &CachedTableData, doomed: &HashSet<Oid>) -> Vec<Object> {
    let oid = relation.definition.oid;
    let mut found = Vec::new();
    for table in catalog.referencing(oid).filter(|t| !doomed.contains(&t.definition.oid)) {
        let keys = table.definition.constraints.iter();
        let keys = keys.filter(|c| c.foreign_key().is_some_and(|key| key.target == oid));
        found.extend(keys.map(|c| Object::Constraint(table.definition.oid, c.clone())));
    }
    found.sort_by_key(|object| match object {
        Object::Constraint(_, constraint) => constraint.oid,
        _ => 0,
    });
    if relation.definition.sequence().is_some() {
        found.extend(
            fed_columns(catalog, oid, doomed).into_iter().map(|(table, column)| Object::Default(table, column)),
        );
    }
    found
}

/// The columns of tables that stay whose default names a sequence.
fn fed_columns(catalog: &Catalog, sequence: Oid, doomed: &HashSet<Oid>) -> Vec<(Oid, usize)> {
    let mention = format!("'{sequence}'::regclass");
    let mut found: Vec<(Oid, usize)> = Vec::new();
    for table in catalog.tables().filter(|t| !doomed.contains(&t.definition.oid)) {
        let columns = table.definition.live_columns();
        let fed = columns.filter(|(_, c)| c.default.as_ref().is_some_and(|d| d.contains(&mention)));
        found.extend(fed.map(|(i, _)| (table.definition.oid, i)));
    }
    found.sort_unstable();
    found
}

/// Drops an index: 2BP01 for one that a constraint needs; what refers to it goes with CASCADE.
pub(crate) fn index(
    session: &mut Session,
    table: &Arc<CachedTableData>,
    index: &IndexDefinition,
    cascade: bool,
) -> Result<()> {
    let shown = shown_index_name(session, &table.definition, &index.name);
    if let Some(constraint) = table.definition.constraint_of_index(index.oid) {
        let constraint =
            format!("constraint {} on table {}", quote_ident(&constraint.name), shown_name(session, table));
        return Err(SqlError::new(
            SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            format!("cannot drop index {shown} because {constraint} requires it"),
        )
        .hint(format!("You can drop {constraint} instead.")));
    }
    let what = format!("index {shown}");
    let edges: Vec<(Object, String)> =
        referring_to_index(session, table.definition.oid, index.oid).into_iter().map(|o| (o, what.clone())).collect();
    report(session, &edges, &what, false, cascade)?;
    for (object, _) in &edges {
        object.remove(session)?;
    }
    let current = super::alter_table::current(session, table.definition.oid)?;
    let mut definition = current.definition.clone();
    definition.indexes.retain(|i| i.oid != index.oid);
    change(session, CatalogChange::PutTable(definition))
}

/// The foreign keys that rest on an index.
pub(crate) fn referring_to_index(session: &Session, table: Oid, index: Oid) -> Vec<Object> {
    let catalog = session.context().catalog();
    let mut found = Vec::new();
    for other in catalog.referencing(table) {
        let keys = other.definition.constraints.iter();
        let keys = keys.filter(|c| c.foreign_key().is_some_and(|key| key.index == index));
        found.extend(keys.map(|c| Object::Constraint(other.definition.oid, c.clone())));
    }
    found.sort_by_key(|object| match object {
        Object::Constraint(_, constraint) => constraint.oid,
        _ => 0,
    });
    found
}

/// Removes what [`report`] has told of; relations are the caller's.
pub(crate) fn remove(session: &mut Session, edges: &[(Object, String)]) -> Result<()> {
    edges.iter().try_for_each(|(object, _)| object.remove(session))
}

/// An index's name, qualified unless the search path finds it.
pub(crate) fn shown_index_name(session: &Session, table: &TableDefinition, name: &str) -> String {
    let context = session.context();
    let catalog = context.catalog();
    let path = kalamdb_catalog::name::path_schemas(&catalog, context.database, &search_path(context));
    let first = path.iter().find(|schema| {
        catalog.index_by_name(**schema, name).is_some() || catalog.table_by_name(**schema, name).is_some()
    });
    if first == Some(&table.schema) {
        return quote_ident(name).into_owned();
    }
    kalamdb_catalog::name::qualified(&catalog.schema(table.schema).map_or_else(String::new, |s| s.name.clone()), name)
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
