//! Parse analysis: from sqlparser's tree to typed DataFusion plans, by PostgreSQL's rules (manual, chapter 10).
//!
//! DataFusion's own SQL planner is not used: result types, overloads, parameter types, column names, error codes and
//! positions are all decided here, and here only. What leaves the binder is a plan in which every function and cast is
//! resolved and every column has a name that is unique in the statement.
//!
//! - `scope` holds what names mean; `expr`, `row`, `func`, `subquery` bind expressions; `resolve` picks overloads
//! - `from`, `select`, `group`, `window`, `setop` `limit`, `sets` bind queries; `dml` the statements that write

mod assign;
mod conflict;
mod constant;
mod copy;
mod current_of;
mod defaults;
mod dml;
mod expr;
mod from;
mod func;
mod group;
mod limit;
mod locking;
mod merge;
mod named_args;
mod names;
mod ordered_set;
mod outputs;
mod resolve;
mod row;
mod row_expr;
mod scope;
mod select;
mod setop;
mod sets;
mod subquery;
mod typed;
mod types;
mod window;
mod with;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::Span;
use kalamdb_catalog::{Catalog, PgType, Result, SqlError, SqlState};

use crate::limits;
use crate::session::SessionContext;
use crate::sql::Column;
use crate::txn::LockMode;

pub(crate) use conflict::{
    ConflictUpdate, EXPRESSION_MARK, PREDICATE_MARK, conflict_schema, deferrable_arbiter, new_row_schema,
};
pub(crate) use current_of::CURRENT_OF;
pub(crate) use defaults::{OVERRIDING_SYSTEM, OVERRIDING_USER};
pub(crate) use dml::live_position;
pub(super) use dml::{BoundDml, DmlKind, IDENTITY, SimpleDml};
pub(super) use limit::negative_row_count;
pub(crate) use merge::{MERGE_DEFAULTS, MERGE_IDENTITY, MERGE_NOTHING, MergeAction};
pub(crate) use names::column_name as output_name;
pub(crate) use row_expr::{columns_of as columns_of_row, row_schema};
pub(crate) use scope::Clause as RowClause;
pub(super) use scope::{Scope, ScopeColumn};
pub(super) use select::SimpleTail;
pub(crate) use select::{BoundQuery, SimpleSelect};
pub(super) use typed::{Kind, Typed};
pub(super) use types::{column_type, type_of_name};
pub(super) use with::Modifying;

/// Binds one statement.
pub(crate) struct Binder<'a> {
    pub session: &'a Arc<SessionContext>,
    pub catalog: Arc<Catalog>,
    /// The text that positions count in: characters, from 1.
    source: &'a str,
    parameters: Parameters,
    /// How often a relation name has been used, to make plan names unique.
    names: HashMap<String, usize>,
    ctes: Vec<Cte>,
    /// Statements of WITH that write, in order.
    pub modifying: Vec<Modifying>,
    /// The query bound next is the statement itself: its WITH may hold such statements.
    modifying_allowed: bool,
    /// Depth of views being expanded.
    view_depth: usize,
    /// Depth of the expression or query being bound.
    depth: usize,
    next_outer: usize,
    /// WINDOW definitions in sight.
    windows: Vec<(String, ast::WindowSpec)>,
    /// The fields of columns of subqueries that are records.
    records: HashMap<datafusion::common::Column, Vec<(String, PgType)>>,
    /// Set-returning calls of the select list being bound; None where no select list is.
    set_calls: Option<Vec<sets::SetCall>>,
    /// Where columns of the select list were first named.
    positions: HashMap<datafusion::common::Column, u32>,
    /// Relation names as written, with what they resolved to: CREATE VIEW writes them out in full.
    pub resolved_names: Vec<(ast::ObjectName, kalamdb_catalog::Oid)>,
    /// Relations the statement reads, for view dependencies: (relation, attribute numbers).
    pub relations: Vec<(Arc<kalamdb_catalog::CachedTableData>, Vec<i16>)>,
    /// Stored tables and views the statement uses, each with the strongest lock that it needs there.
    pub locks: Vec<(kalamdb_catalog::Oid, LockMode)>,
    /// The locking clause of the statement, if it has one.
    pub locking: Option<&'static str>,
    /// The statement means something else each time it runs.
    pub rebind: bool,
    /// The keys of rows have names.
    keys_visible: bool,
    /// Scans that may be told to give another row: see `providers::target`.
    marks: u32,
}

impl Binder<'_> {
    /// Notes that the statement needs a lock of a relation.
    pub(crate) fn needs_lock(&mut self, table: &kalamdb_catalog::CachedTableData, mode: LockMode) {
        if !crate::providers::is_builtin(table) {
            self.needs_lock_of(table.definition.oid, mode);
        }
    }

    fn needs_lock_of(&mut self, oid: kalamdb_catalog::Oid, mode: LockMode) {
        if self.locks.iter().any(|(o, m)| *o == oid && m.covers(mode)) {
            return;
        }
        self.locks.retain(|(o, m)| *o != oid || !mode.covers(*m));
        self.locks.push((oid, mode));
    }

    /// A number for a scan that may be told to give another row.
    fn next_mark(&mut self) -> u32 {
        self.marks += 1;
        self.marks
    }
}

/// A WITH query in sight.
#[derive(Clone)]
struct Cte {
    name: String,
    query: BoundQuery,
    /// False for a statement that writes and has no RETURNING.
    returns: bool,
}

/// Parameter types: declared by the client or inferred from the first use.
#[derive(Default, Clone, Debug)]
pub(crate) struct Parameters {
    types: Vec<Option<PgType>>,
}

impl Parameters {
    /// `declared`: OIDs from Parse, 0 where the client leaves the type open.
    pub(crate) fn declared(oids: &[u32]) -> Result<Self> {
        let mut types = Vec::with_capacity(oids.len());
        for &oid in oids {
            types.push(match oid {
                0 | 705 => None,
                oid => Some(PgType::from_oid(oid).ok_or_else(|| {
                    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type with OID {oid} does not exist"))
                })?),
            });
        }
        Ok(Parameters { types })
    }

    fn get(&mut self, index: usize) -> Option<PgType> {
        if self.types.len() < index {
            self.types.resize(index, None);
        }
        self.types[index - 1]
    }

    fn set(&mut self, index: usize, ty: PgType) {
        self.types[index - 1] = Some(ty);
    }

    /// All types, once the statement is bound: 42P18 for one that nothing told.
    pub(crate) fn finish(&self) -> Result<Vec<PgType>> {
        self.types
            .iter()
            .enumerate()
            .map(|(i, t)| {
                t.ok_or_else(|| {
                    SqlError::new(
                        SqlState::INDETERMINATE_DATATYPE,
                        format!("could not determine data type of parameter ${}", i + 1),
                    )
                })
            })
            .collect()
    }
}

impl<'a> Binder<'a> {
    pub(crate) fn new(
        session: &'a Arc<SessionContext>,
        catalog: Arc<Catalog>,
        source: &'a str,
        parameters: Parameters,
    ) -> Self {
        Binder {
            session,
            catalog,
            source,
            parameters,
            names: HashMap::new(),
            ctes: Vec::new(),
            modifying: Vec::new(),
            modifying_allowed: false,
            view_depth: 0,
            depth: 0,
            next_outer: 0,
            windows: Vec::new(),
            records: HashMap::new(),
            set_calls: None,
            positions: HashMap::new(),
            resolved_names: Vec::new(),
            relations: Vec::new(),
            locks: Vec::new(),
            locking: None,
            rebind: false,
            keys_visible: false,
            marks: 0,
        }
    }

    pub(crate) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Position of a span's start in the source, as errors give it.
    pub(crate) fn position(&self, span: Span) -> Option<u32> {
        position(self.source, span)
    }

    pub(crate) fn source(&self) -> &str {
        self.source
    }

    /// Where what follows an identifier stands.
    pub(crate) fn position_after_name(&self, ident: &ast::Ident) -> Option<u32> {
        let end = self.position(Span::new(ident.span.end, ident.span.end))?;
        let blank = self.source.chars().skip(end as usize - 1).take_while(|c| c.is_whitespace()).count();
        Some(end + blank as u32)
    }

    /// A query whose rows go to the client.
    pub(crate) fn query(&mut self, query: &ast::Query) -> Result<BoundQuery> {
        let mut bound = self.bind_query(query, None)?;
        self.resolve_unknown(&mut bound)?;
        Ok(bound)
    }

    /// A query of plain rows of tables, with the rows' keys behind its columns: the tables that they are keys of.
    pub(crate) fn query_with_keys(&mut self, query: &ast::Query) -> Result<(BoundQuery, Vec<kalamdb_catalog::Oid>)> {
        let mut query = query.clone();
        let mut tables = Vec::new();
        let mut items = Vec::new();
        if let Some(select) = crate::sql::handlers::cursor::simple_select(&query) {
            for from in &select.from {
                for factor in std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation)) {
                    let ast::TableFactor::Table { name, alias, args: None, .. } = factor else { continue };
                    let parts = name_parts(name)?;
                    let Ok(table) = self.relation(&parts) else { continue };
                    if table.definition.kind != kalamdb_catalog::TableKind::Shared {
                        continue;
                    }
                    let visible =
                        alias.as_ref().map_or_else(|| parts.last().cloned().unwrap_or_default(), |a| fold(&a.name));
                    let quoted = |name: &str| ast::Ident::with_quote('"', name);
                    let key = vec![quoted(&visible), quoted(crate::providers::KEY_COLUMN)];
                    items.push(ast::SelectItem::UnnamedExpr(ast::Expr::CompoundIdentifier(key)));
                    tables.push(table.definition.oid);
                }
            }
        }
        if let ast::SetExpr::Select(select) = query.body.as_mut() {
            select.projection.extend(items);
        }
        self.keys_visible = true;
        let bound = self.query(&query);
        self.keys_visible = false;
        Ok((bound?, tables))
    }

    /// A query that is a statement of its own: its WITH may write.
    pub(crate) fn statement_query(&mut self, query: &ast::Query) -> Result<BoundQuery> {
        self.modifying_allowed = true;
        self.query(query)
    }

    /// A constant expression, such as a window frame's offset.
    fn constant_expr(&mut self, e: &ast::Expr, clause: scope::Clause) -> Result<Typed> {
        let scope = Scope::default();
        let applies = std::cell::RefCell::new(Vec::new());
        let outer = std::cell::RefCell::new(Vec::new());
        let ctx = select::Env { parent: None, outer: &outer }.ctx(&scope, clause, &applies);
        let typed = self.expr(e, &ctx)?;
        if applies.borrow().is_empty() { Ok(typed) } else { Err(SqlError::unsupported("a subquery here")) }
    }

    /// An expression without columns: SET, EXECUTE arguments.
    pub(crate) fn standalone(&mut self, e: &ast::Expr) -> Result<Typed> {
        self.constant_expr(e, scope::Clause::Values)
    }

    /// One level deeper into an expression or query, on a stack that grows: `1 + 1 + ...` nests to the left without a
    /// parenthesis that the parser would count. 54001 at the limit.
    fn deeper<T>(&mut self, bind: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= limits::EXPRESSION_DEPTH_MAX {
            return Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
                .hint("Simplify the statement: it nests expressions or queries too deeply."));
        }
        self.depth += 1;
        let bound = stacker::maybe_grow(limits::STACK_RED_ZONE_BYTES, limits::STACK_SEGMENT_BYTES, || bind(self));
        self.depth -= 1;
        bound
    }

    /// A name for a relation that no other relation of the plan has.
    fn unique(&mut self, name: &str) -> String {
        let count = self.names.entry(name.to_owned()).or_insert(0);
        *count += 1;
        if *count == 1 { name.to_owned() } else { format!("{name}#{count}") }
    }
}

/// Position of a span's start in `source`: characters, from 1; None for an empty span.
pub(super) fn position(source: &str, span: Span) -> Option<u32> {
    if span.start.line == 0 {
        return None;
    }
    let mut line = 1;
    let mut characters = 0u32;
    for c in source.chars() {
        if line == span.start.line {
            break;
        }
        characters += 1;
        if c == '\n' {
            line += 1;
        }
    }
    Some(characters + span.start.column as u32)
}

/// The result columns of a plan whose i-th field is the i-th column.
pub(super) fn check_width(plan: &LogicalPlan, columns: &[Column]) -> Result<()> {
    if plan.schema().fields().len() == columns.len() {
        Ok(())
    } else {
        Err(SqlError::internal("a plan has other columns than its description"))
    }
}

/// Folds an identifier: unquoted to lower case, as PostgreSQL does.
pub(super) fn fold(ident: &ast::Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The parts of an object name, folded.
pub(super) fn name_parts(name: &ast::ObjectName) -> Result<Vec<String>> {
    name.0
        .iter()
        .map(|part| match part {
            ast::ObjectNamePart::Identifier(ident) => Ok(fold(ident)),
            ast::ObjectNamePart::Function(_) => Err(SqlError::unsupported("a function as part of a name")),
        })
        .collect()
}

/// Where an object name stands.
pub(super) fn name_span(name: &ast::ObjectName) -> Span {
    match name.0.first() {
        Some(ast::ObjectNamePart::Identifier(ident)) => ident.span,
        _ => Span::empty(),
    }
}
