//! Views that read a table being altered.
//!
//! A view is stored as text, which names tables and columns; PostgreSQL stores what the names meant. So that a view keeps
//! its meaning, each reference to the table in its text is given the names that it had: `s.t` becomes `s.t_new AS t (a,
//! b)`, or a subquery of the old columns where `*` or a bare name would take up a new one. A view is looked at by itself:
//! the views it reads count as tables.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, ObjectNamePart, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, VisitMut, VisitorMut,
};
use kalamdb_catalog::table::FIRST_USER_OID;
use kalamdb_catalog::{CachedTableData, Catalog, CatalogChange, Result, SqlError, TableDefinition, TableKind, name};

use crate::session::Session;
use crate::sql::apply::ApplyNode;
use crate::sql::bind::{Binder, BoundQuery, Parameters, fold, name_parts};
use crate::sql::parse;

/// What no column name begins with.
const PROBE: &str = "........pg.probe........";

/// The views of which the text has to change when `before` becomes `after`. 0A000 with `what` for one that cannot be kept.
pub(super) fn adapted(
    session: &Session,
    before: &TableDefinition,
    after: &TableDefinition,
    what: &str,
) -> Result<Vec<TableDefinition>> {
    let mut changed = Vec::new();
    for view in session.context().catalog().dependents(before.oid) {
        match adapt(session, &view.definition, before, after) {
            Some(new) if new == view.definition => {}
            Some(new) => changed.push(new),
            None => return Err(SqlError::unsupported(format!("{what} that view \"{}\" reads", view.definition.name))),
        }
    }
    Ok(changed)
}

/// The views that read column `index` of `table`; one that cannot be told counts.
pub(super) fn using(session: &Session, table: &TableDefinition, index: usize) -> Vec<Arc<CachedTableData>> {
    let dependents = session.context().catalog().dependents(table.oid);
    let uses = |view: &Arc<CachedTableData>| {
        used(session, &view.definition, table).is_none_or(|columns| columns.contains(&index))
    };
    dependents.into_iter().filter(uses).collect()
}

/// Positions of the columns of `table` that a view uses: every column gets a name of its own kind, and the plan is
/// searched for them. None if the view cannot be bound that way.
fn used(session: &Session, view: &TableDefinition, table: &TableDefinition) -> Option<BTreeSet<usize>> {
    let TableKind::View { sql, .. } = &view.kind else { return None };
    let mut probed = table.clone();
    for (i, column) in probed.columns.iter_mut().enumerate().filter(|(_, c)| !c.dropped) {
        column.name = format!("{PROBE}{i}");
    }
    let catalog = session.context().catalog();
    let text = Redirect::new(&catalog, table, &probed, Form::Alias).text(sql)?;
    let bound = bind(session, &isolated(&catalog, view, &probed), &text).ok()?;
    let mut found = BTreeSet::new();
    walk(&bound.plan, &mut |node| {
        for expr in node.expressions() {
            let columns = expr.column_refs().into_iter().filter_map(|c| c.name.strip_prefix(PROBE));
            found.extend(columns.filter_map(|i| i.parse::<usize>().ok()));
        }
    });
    Some(found)
}

fn adapt(
    session: &Session,
    view: &TableDefinition,
    before: &TableDefinition,
    after: &TableDefinition,
) -> Option<TableDefinition> {
    let TableKind::View { sql, depends_on } = &view.kind else { return None };
    let catalog = session.context().catalog();
    let later = isolated(&catalog, view, after);
    let same_columns = |bound: &BoundQuery| {
        bound.columns.len() == view.columns.len()
            && bound.columns.iter().zip(&view.columns).all(|(b, v)| (b.ty, b.typmod) == (v.ty, v.typmod))
    };
    let good = |text: &String| {
        let Ok(bound) = bind(session, &later, text) else { return false };
        // The same text must also mean the same: a new column may take a name that meant another relation's.
        let meaning_kept = || {
            let old = bind(session, &isolated(&catalog, view, before), sql);
            old.is_ok_and(|old| meaning(&old.plan) == meaning(&bound.plan))
        };
        same_columns(&bound) && (text != sql || meaning_kept())
    };
    let rewritten = |form| Redirect::new(&catalog, before, after, form).text(sql);
    let text = rewritten(Form::Alias)
        .filter(good)
        .or_else(|| rewritten(Form::Subquery(used(session, view, before)?)).filter(good))?;
    let mut depends_on = depends_on.clone();
    for dependency in depends_on.iter_mut().filter(|d| d.oid == before.oid) {
        dependency.name.clone_from(&after.name);
        dependency.schema = catalog.schema(after.schema).map_or_else(String::new, |s| s.name.clone());
        let live =
            |a: &i16| usize::try_from(*a - 1).ok().and_then(|i| after.columns.get(i)).is_some_and(|c| !c.dropped);
        dependency.columns.retain(live);
    }
    Some(TableDefinition { kind: TableKind::View { sql: text, depends_on }, ..view.clone() })
}

/// The catalog with `replaced` in it, and the views that `view` reads as tables.
fn isolated(catalog: &Arc<Catalog>, view: &TableDefinition, replaced: &TableDefinition) -> Arc<Catalog> {
    let mut alone = Catalog::clone(catalog);
    let mut put = |table: &TableDefinition| {
        let kind = if table.is_view() { TableKind::Shared } else { table.kind.clone() };
        alone.apply(&CatalogChange::PutTable(TableDefinition { kind, ..table.clone() }));
    };
    if let TableKind::View { depends_on, .. } = &view.kind {
        let read = depends_on.iter().filter(|d| d.oid >= FIRST_USER_OID).filter_map(|d| catalog.table(d.oid));
        read.filter(|t| t.definition.is_view()).for_each(|t| put(&t.definition));
    }
    put(replaced);
    Arc::new(alone)
}

fn bind(session: &Session, catalog: &Arc<Catalog>, text: &str) -> Result<BoundQuery> {
    let context = Arc::clone(session.context());
    Binder::new(&context, Arc::clone(catalog), text, Parameters::default()).query(&*parse::query(text)?)
}

/// A plan's nodes in words; equal for queries that read the same columns in the same way.
fn meaning(plan: &LogicalPlan) -> Vec<String> {
    let mut nodes = Vec::new();
    walk(plan, &mut |node| nodes.push(node.display().to_string()));
    nodes
}

/// Visits every node, in the plans of subqueries too.
fn walk(plan: &LogicalPlan, visit: &mut dyn FnMut(&LogicalPlan)) {
    // The closure gives no error to pass on.
    let _ = plan.apply_with_subqueries(|node| {
        visit(node);
        if let LogicalPlan::Extension(extension) = node
            && let Some(apply) = extension.node.as_any().downcast_ref::<ApplyNode>()
        {
            walk(&apply.inner, visit);
        }
        Ok(TreeNodeRecursion::Continue)
    });
}

/// How a reference keeps the column names it had.
enum Form {
    /// Only where names have changed; columns added later become visible in it.
    Alias,
    /// The reference becomes a subquery of these columns, the ones in use.
    Subquery(BTreeSet<usize>),
}

/// Rewrites references to a table.
struct Redirect<'a> {
    from: [String; 2],
    to: [String; 2],
    before: &'a TableDefinition,
    after: &'a TableDefinition,
    form: Form,
    changed: bool,
}

impl<'a> Redirect<'a> {
    fn new(catalog: &Catalog, before: &'a TableDefinition, after: &'a TableDefinition, form: Form) -> Self {
        let full = |t: &TableDefinition| {
            [catalog.schema(t.schema).map_or_else(String::new, |s| s.name.clone()), t.name.clone()]
        };
        Redirect { from: full(before), to: full(after), before, after, form, changed: false }
    }

    /// The text with its references rewritten; as it was if none has to be.
    fn text(mut self, sql: &str) -> Option<String> {
        let mut query = parse::query(sql).ok()?;
        if query.visit(&mut self).is_break() {
            return None;
        }
        Some(if self.changed { query.to_string() } else { sql.to_owned() })
    }

    /// The columns that a reference shows and still has: (name now, name it shows).
    fn columns(&self, given: &[String]) -> Vec<(&str, String)> {
        let live = self.before.live_columns().enumerate();
        let shown = |i: &usize| match &self.form {
            Form::Alias => true,
            Form::Subquery(used) => used.is_empty() || used.contains(i),
        };
        live.filter(|(_, (i, _))| !self.after.columns[*i].dropped && shown(i))
            .map(|(at, (i, c))| (self.after.columns[i].name.as_str(), given.get(at).unwrap_or(&c.name).clone()))
            .collect()
    }

    fn subquery(&self, alias: &Ident, columns: &[(&str, String)]) -> Option<TableFactor> {
        let list: Vec<String> = columns
            .iter()
            .map(|(name, shown)| format!("{} AS {}", name::quote_ident(name), name::quote_ident(shown)))
            .collect();
        let table = name::qualified(&self.to[0], &self.to[1]);
        let text = format!("SELECT * FROM (SELECT {} FROM {table}) AS {alias}", list.join(", "));
        match *parse::query(&text).ok()?.body {
            SetExpr::Select(select) => select.from.into_iter().next().map(|t| t.relation),
            _ => None,
        }
    }
}

impl VisitorMut for Redirect<'_> {
    type Break = ();

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        if !name_parts(name).is_ok_and(|parts| parts == self.from) {
            return ControlFlow::Continue(());
        }
        let given: Vec<String> = alias.iter().flat_map(|a| &a.columns).map(|c| fold(&c.name)).collect();
        let columns = self.columns(&given);
        let shown = alias.as_ref().map_or_else(|| identifier(&self.before.name), |a| a.name.clone());
        if matches!(self.form, Form::Subquery(_)) {
            let Some(subquery) = self.subquery(&shown, &columns) else { return ControlFlow::Break(()) };
            *factor = subquery;
            self.changed = true;
            return ControlFlow::Continue(());
        }
        let plain = given.is_empty() && columns.iter().all(|(name, shown)| name == shown);
        let list: Vec<String> = if plain { Vec::new() } else { columns.into_iter().map(|(_, shown)| shown).collect() };
        if list == given && self.from == self.to {
            return ControlFlow::Continue(());
        }
        *name = ObjectName(self.to.iter().map(|part| ObjectNamePart::Identifier(identifier(part))).collect());
        let columns = list.iter().map(|c| TableAliasColumnDef { name: identifier(c), data_type: None }).collect();
        *alias = Some(TableAlias { explicit: true, name: shown, columns, at: None });
        self.changed = true;
        ControlFlow::Continue(())
    }
}

/// A name as it has to be written.
fn identifier(name: &str) -> Ident {
    if name::quote_ident(name) == name { Ident::new(name) } else { Ident::with_quote('"', name) }
}
