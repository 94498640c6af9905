//! A statement that has been bound, and is bound anew when the catalog or the search path changes under it.

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use kalamdb_catalog::{Catalog, Oid, PgType, Result, SqlError, SqlState};
use parking_lot::Mutex;

use super::Column;
use super::bind::{Binder, BoundDml, Modifying, Parameters, type_of_name};
use super::fast::{Fast, FastQuery};
use super::handlers;
use super::parse::ParsedStatement;
use super::statement::{Declared, Statement};
use crate::limits;
use crate::session::{Session, SessionContext};
use crate::txn::LockMode;

/// A statement with its plan.
pub struct PreparedStatement {
    source: ParsedStatement,
    declared: Vec<u32>,
    bound: Mutex<Arc<BoundStatement>>,
}

/// What binding made of a statement, good for one catalog.
pub(crate) struct BoundStatement {
    pub plan: Plan,
    pub parameters: Vec<PgType>,
    pub columns: Option<Vec<Column>>,
    /// The statements of WITH that write.
    pub modifying: Vec<Modifying>,
    /// The tables that it reads and writes, each with the lock that this needs.
    pub locks: Vec<(Oid, LockMode)>,
    /// It means something else each time: WHERE CURRENT OF.
    pub rebind: bool,
    /// Its locking clause, if it has one.
    pub locking: Option<&'static str>,
    catalog: Arc<Catalog>,
    search_path: String,
}

/// How a statement runs.
pub(crate) enum Plan {
    /// Not optimised: the optimiser folds functions such as now() and parameters, which differ from run to run.
    Query {
        plan: LogicalPlan,
        fast: Option<FastQuery>,
    },
    Dml {
        dml: BoundDml,
        fast: Option<Box<Fast>>,
    },
    /// Everything else is carried out from its tree.
    Utility,
}

impl PreparedStatement {
    pub(crate) fn new(
        session: &Session,
        source: &ParsedStatement,
        declared: &[u32],
        catalog: Arc<Catalog>,
    ) -> Result<Self> {
        let bound = bind(session, source, declared, catalog)?;
        Ok(PreparedStatement {
            source: source.clone(),
            declared: declared.to_vec(),
            bound: Mutex::new(Arc::new(bound)),
        })
    }

    pub(crate) fn statement(&self) -> &Arc<Statement> {
        &self.source.statement
    }

    pub(crate) fn source(&self) -> &Arc<str> {
        &self.source.source
    }

    pub fn parameters(&self) -> Vec<PgType> {
        self.bound.lock().parameters.clone()
    }

    /// The tables that it uses, each with the lock that this needs.
    pub(crate) fn locks(&self) -> Vec<(Oid, LockMode)> {
        self.bound.lock().locks.clone()
    }

    pub fn columns(&self) -> Option<Vec<Column>> {
        self.bound.lock().columns.clone()
    }

    /// The plan for the catalog the statement runs on. 0A000 if it would give other columns than were announced.
    pub(crate) fn current(&self, session: &Session) -> Result<Arc<BoundStatement>> {
        let bound = Arc::clone(&self.bound.lock());
        let catalog = session.context().catalog();
        let same_path = session.context().vars().raw_search_path() == bound.search_path;
        if Arc::ptr_eq(&bound.catalog, &catalog) && same_path && !bound.rebind {
            return Ok(bound);
        }
        let declared: Vec<u32> = if bound.parameters.is_empty() {
            self.declared.clone()
        } else {
            bound.parameters.iter().map(|t| t.oid()).collect()
        };
        let fresh = Arc::new(bind(session, &self.source, &declared, catalog)?);
        let types = |b: &BoundStatement| {
            b.columns.as_ref().map(|c| c.iter().map(|c| (c.name.clone(), c.ty, c.typmod)).collect::<Vec<_>>())
        };
        if types(&fresh) != types(&bound) {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "cached plan must not change result type"));
        }
        *self.bound.lock() = Arc::clone(&fresh);
        Ok(fresh)
    }
}

fn bind(
    session: &Session,
    source: &ParsedStatement,
    declared: &[u32],
    catalog: Arc<Catalog>,
) -> Result<BoundStatement> {
    let context = session.context();
    let mut binder = Binder::new(context, Arc::clone(&catalog), &source.source, Parameters::declared(declared)?);
    let mut bind = || bind_statement(session, context, &mut binder, &source.statement);
    // The parser's trees are walked by functions of its own, which nest as deep as the text does.
    let (plan, columns) = match source.source.len() {
        0..limits::DEEP_TEXT_BYTES => bind()?,
        _ => stacker::grow(limits::DEEP_STACK_BYTES, bind)?,
    };
    let parameters = binder.parameters().finish()?;
    let modifying = std::mem::take(&mut binder.modifying);
    let locks = std::mem::take(&mut binder.locks);
    let locking = binder.locking;
    let rebind = binder.rebind;
    Ok(BoundStatement {
        plan,
        parameters,
        columns,
        modifying,
        locks,
        locking,
        rebind,
        catalog,
        search_path: context.vars().raw_search_path().to_owned(),
    })
}

fn bind_statement(
    session: &Session,
    context: &Arc<SessionContext>,
    binder: &mut Binder<'_>,
    statement: &Statement,
) -> Result<(Plan, Option<Vec<Column>>)> {
    match statement {
        Statement::Query(query) if handlers::create_table::select_into(query).is_some() => {
            // Binding it now reports its errors and parameters; the table is made when it runs.
            binder.query(&handlers::create_table::without_into(query))?;
            Ok((Plan::Utility, None))
        }
        Statement::CreateTable(create) => {
            if let Some(query) = &create.create.query {
                binder.query(query)?;
            }
            Ok((Plan::Utility, None))
        }
        Statement::Query(query) => {
            let bound = binder.statement_query(query)?;
            let fast = FastQuery::compile(binder, &bound);
            Ok((Plan::Query { plan: bound.plan, fast }, Some(bound.columns)))
        }
        Statement::Insert(insert) => dml(binder.insert(insert)?, binder),
        Statement::Update(update) => dml(binder.update(update)?, binder),
        Statement::Delete(delete) => dml(binder.delete(delete)?, binder),
        Statement::Merge(merge) => dml(binder.merge(merge)?, binder),
        Statement::With { with, statement } => {
            binder.with(with)?;
            bind_statement(session, context, binder, statement)
        }
        Statement::Declare(declare) => {
            // Binding it now reports its errors and parameters; it is bound again when it is opened.
            match &declare.of {
                Declared::Query(query) => drop(binder.query(query)?),
                Declared::Subscribe(subscribe) => drop(handlers::subscribe::prepare(session, subscribe)?),
            }
            Ok((Plan::Utility, None))
        }
        Statement::Subscribe(subscribe) => {
            Ok((Plan::Utility, Some(handlers::subscribe::prepare(session, subscribe)?.columns())))
        }
        Statement::Fetch { name, moves: false, .. } => {
            Ok((Plan::Utility, session.cursors.get(name).map(|cursor| cursor.columns.clone())))
        }
        Statement::Explain(explain) => {
            // Binding it now reports its errors and parameters; the plan is made when it runs.
            bind_statement(session, context, binder, &explain.statement)?;
            if !binder.modifying.is_empty() {
                return Err(SqlError::unsupported("EXPLAIN of a WITH that writes"));
            }
            Ok((Plan::Utility, Some(handlers::explain::columns(explain))))
        }
        Statement::Show { name } => Ok((Plan::Utility, Some(handlers::settings::show_columns(context, name)?))),
        Statement::ShowAll => Ok((Plan::Utility, Some(handlers::settings::show_all_columns()))),
        Statement::Execute { name, .. } => {
            let prepared = session.statement(name).ok_or_else(|| handlers::prepare::missing(name))?;
            Ok((Plan::Utility, prepared.columns.clone()))
        }
        _ => Ok((Plan::Utility, None)),
    }
}

fn dml(bound: BoundDml, binder: &Binder<'_>) -> Result<(Plan, Option<Vec<Column>>)> {
    let columns = bound.returning.clone();
    let fast = if binder.modifying.is_empty() { Fast::dml(binder, &bound).map(Box::new) } else { None };
    Ok((Plan::Dml { dml: bound, fast }, columns))
}

/// The types of PREPARE's list.
pub(crate) fn declared_types(types: &[datafusion::sql::sqlparser::ast::DataType]) -> Result<Vec<u32>> {
    types.iter().map(|t| Ok(type_of_name(t)?.0.oid())).collect()
}
