//! Statements as the executor tells them apart.

use std::sync::Arc;
use std::time::Duration;

use datafusion::sql::sqlparser::ast;
use kalamdb_catalog::{Result, SqlError, SqlState};

use crate::live::ListenOptions;
use crate::session::Direction;

/// One statement. `sql::execute` matches it exhaustively.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    Query(Box<ast::Query>),
    Insert(Box<ast::Insert>),
    Update(Box<ast::Update>),
    Delete(Box<ast::Delete>),
    Merge(Box<ast::Merge>),
    /// WITH before INSERT, UPDATE or DELETE.
    With {
        with: Box<ast::With>,
        statement: Box<Statement>,
    },
    CreateTable(Box<CreateTable>),
    CreateSequence(Box<CreateSequence>),
    AlterSequence(Box<AlterSequence>),
    AlterTable(Box<AlterTable>),
    DropIndex {
        names: Vec<ast::ObjectName>,
        if_exists: bool,
        cascade: bool,
        concurrently: bool,
    },
    Reindex {
        what: Reindexed,
        concurrently: bool,
    },
    /// SET CONSTRAINTS; no names: ALL.
    SetConstraints {
        names: Vec<ast::ObjectName>,
        deferred: bool,
    },
    Copy(Box<CopyStatement>),
    /// CREATE, ALTER, DROP, TRUNCATE; `handlers::ddl` names what it refuses.
    Ddl(Box<ast::Statement>),
    Explain(Box<Explain>),
    Transaction(TransactionCommand),
    SetTransaction {
        modes: TransactionModes,
        session: bool,
    },
    SetSnapshot {
        name: String,
    },
    Set {
        name: String,
        value: Option<String>,
        local: bool,
    },
    Reset {
        name: Option<String>,
    },
    Show {
        name: String,
    },
    ShowAll,
    Discard {
        what: String,
    },
    Prepare {
        name: String,
        types: Vec<ast::DataType>,
        statement: Arc<Statement>,
    },
    Execute {
        name: String,
        arguments: Vec<ast::Expr>,
    },
    Deallocate {
        name: Option<String>,
    },
    Declare(Box<Declare>),
    Fetch {
        name: String,
        direction: Direction,
        /// MOVE: the rows are not shown.
        moves: bool,
        /// How long to wait for a row of a SUBSCRIBE.
        timeout: Option<Duration>,
    },
    Close {
        name: Option<String>,
    },
    Listen {
        channel: String,
        options: ListenOptions,
        /// Of the channel's text in the query string, from 1.
        position: Option<u32>,
    },
    /// No channel: all.
    Unlisten {
        channel: Option<String>,
    },
    Notify {
        channel: String,
        payload: String,
    },
    /// KILL LIVE QUERY 'id'
    Subscribe(Subscribe),
    KillLiveQuery {
        id: String,
    },
    Lock(ast::Lock),
    /// VACUUM, ANALYZE, CHECKPOINT
    Maintenance {
        tag: &'static str,
        tables: Vec<ast::ObjectName>,
    },
    /// A statement whose whole effect is already so (SET ROLE NONE).
    Accepted {
        tag: &'static str,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum TransactionCommand {
    /// `start`: written as START TRANSACTION, which is its tag.
    Begin {
        modes: TransactionModes,
        start: bool,
    },
    /// `chain`: the next one begins at once, with the same modes.
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    Release(String),
    RollbackTo(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IsolationLevel {
    /// Does what READ COMMITTED does, and is shown as what it was called.
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl IsolationLevel {
    /// The value of transaction_isolation.
    pub(crate) fn name(self) -> &'static str {
        match self {
            IsolationLevel::ReadUncommitted => "read uncommitted",
            IsolationLevel::ReadCommitted => "read committed",
            IsolationLevel::RepeatableRead => "repeatable read",
            IsolationLevel::Serializable => "serializable",
        }
    }
}

#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct TransactionModes {
    pub isolation: Option<IsolationLevel>,
    pub read_only: Option<bool>,
    pub deferrable: Option<bool>,
}

impl TransactionModes {
    /// The modes given, as values of the settings `transaction_*` and `default_transaction_*`.
    pub(crate) fn settings(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let switch = |on| if on { "on" } else { "off" };
        let isolation = self.isolation.map(|level| ("transaction_isolation", level.name()));
        let read_only = self.read_only.map(|on| ("transaction_read_only", switch(on)));
        let deferrable = self.deferrable.map(|on| ("transaction_deferrable", switch(on)));
        isolation.into_iter().chain(read_only).chain(deferrable)
    }
}

/// LIKE table INCLUDING ...
#[derive(Clone, Debug)]
pub(crate) struct LikeItem {
    pub table: ast::ObjectName,
    /// In lower case.
    pub including: Vec<String>,
    /// How many columns stand before it.
    pub after: usize,
}

/// CREATE TABLE with what sqlparser's grammar lacks.
#[derive(Clone, Debug)]
pub(crate) struct CreateTable {
    pub create: ast::CreateTable,
    /// LIKE items of the column list.
    pub likes: Vec<LikeItem>,
    /// Column names of CREATE TABLE t (a, b) AS.
    pub names: Vec<ast::Ident>,
    /// WITH NO DATA
    pub no_data: bool,
    pub unlogged: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Declare {
    pub name: String,
    /// SCROLL or NO SCROLL
    pub scroll: Option<bool>,
    pub hold: bool,
    pub of: Declared,
}

/// What a cursor goes through.
#[derive(Clone, Debug)]
pub(crate) enum Declared {
    Query(Box<ast::Query>),
    Subscribe(Subscribe),
}

/// SUBSCRIBE TO
#[derive(Clone, Default, Debug)]
pub(crate) struct Subscribe {
    /// The query.
    pub text: Arc<str>,
    pub options: ListenOptions,
    /// Tell when all of a commit has been told.
    pub progress: bool,
    /// Where the query is in the statement: a character, from 1.
    pub position: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Reindexed {
    Index(ast::ObjectName),
    Table(ast::ObjectName),
    Schema(String),
    /// DATABASE, SYSTEM
    Database,
}

#[derive(Clone, Debug)]
pub(crate) struct CreateSequence {
    pub name: ast::ObjectName,
    pub temporary: bool,
    pub if_not_exists: bool,
    pub options: SequenceOptions,
}

#[derive(Clone, Debug)]
pub(crate) struct AlterSequence {
    pub name: ast::ObjectName,
    pub if_exists: bool,
    pub action: SequenceAction,
}

#[derive(Clone, Debug)]
pub(crate) enum SequenceAction {
    Options(SequenceOptions),
    Rename(String),
    SetSchema(String),
    OwnerTo(String),
}

/// Options of a sequence as they are given. `Some(None)`: NO MINVALUE, NO MAXVALUE, RESTART without a value.
#[derive(Clone, Default, Debug)]
pub(crate) struct SequenceOptions {
    pub ty: Option<ast::DataType>,
    pub increment: Option<i64>,
    pub min: Option<Option<i64>>,
    pub max: Option<Option<i64>>,
    pub start: Option<i64>,
    pub restart: Option<Option<i64>>,
    pub cache: Option<i64>,
    pub cycle: Option<bool>,
    /// NONE is a name here.
    pub owned_by: Option<ast::ObjectName>,
}

#[derive(Clone, Debug)]
pub(crate) struct AlterTable {
    pub name: ast::ObjectName,
    pub if_exists: bool,
    pub operations: Vec<AlterOperation>,
}

#[derive(Clone, Debug)]
pub(crate) enum AlterOperation {
    /// What sqlparser reads.
    Parsed(Box<ast::AlterTableOperation>),
    SetSchema(String),
    /// RESET (option, ...)
    ResetOptions(Vec<String>),
    /// ALTER COLUMN c SET GENERATED ..., SET INCREMENT ..., RESTART ...: whether always, and the sequence's options.
    SetIdentity {
        column: ast::Ident,
        always: Option<bool>,
        options: SequenceOptions,
    },
    DropIdentity {
        column: ast::Ident,
        if_exists: bool,
    },
    /// DROP EXPRESSION
    DropExpression {
        column: ast::Ident,
        if_exists: bool,
    },
    /// ALTER CONSTRAINT c \[NOT\] DEFERRABLE [INITIALLY ...]
    AlterConstraint {
        name: ast::Ident,
        deferrable: bool,
        deferred: bool,
    },
    /// ADD [CONSTRAINT c] UNIQUE | PRIMARY KEY USING INDEX i
    UsingIndex {
        name: Option<ast::Ident>,
        primary: bool,
        index: ast::Ident,
        deferrable: bool,
        deferred: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct CopyStatement {
    pub target: CopyTarget,
    pub columns: Vec<ast::Ident>,
    pub from: bool,
    pub options: Vec<(String, Option<String>)>,
    pub filter: Option<ast::Expr>,
}

#[derive(Clone, Debug)]
pub(crate) enum CopyTarget {
    Table(ast::ObjectName),
    Query(Box<ast::Query>),
    Subscribe(Subscribe),
}

#[derive(Clone, Debug)]
pub(crate) struct Explain {
    pub statement: Statement,
    pub analyze: bool,
    pub verbose: bool,
    pub json: bool,
}

impl Statement {
    /// True for what a failed transaction block still takes.
    pub(crate) fn ends_failure(&self) -> bool {
        use TransactionCommand::{Commit, Rollback, RollbackTo};
        matches!(self, Statement::Transaction(Commit { .. } | Rollback { .. } | RollbackTo(_)))
    }
}

/// EXPLAIN with its options; 0A000 for those without effect here.
pub(crate) fn explain(
    mut analyze: bool,
    mut verbose: bool,
    statement: Statement,
    format: Option<ast::AnalyzeFormatKind>,
    options: Option<Vec<ast::UtilityOption>>,
) -> Result<Statement> {
    let mut json = false;
    if format.is_some() {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"FORMAT\""));
    }
    for option in options.unwrap_or_default() {
        let name = option.name.value.to_lowercase();
        let value = option.arg.as_ref().map(|a| a.to_string().trim_matches('\'').to_lowercase());
        let on = !matches!(value.as_deref(), Some("false" | "off" | "0"));
        match name.as_str() {
            "analyze" => analyze = on,
            "verbose" => verbose = on,
            // What they would add is not in our plans; their absence changes no result.
            "costs" | "timing" | "summary" | "settings" | "buffers" | "wal" => {}
            "format" => match value.as_deref() {
                Some("text") => json = false,
                Some("json") => json = true,
                other => {
                    let shown = other.unwrap_or_default();
                    return Err(match shown {
                        "xml" | "yaml" => SqlError::unsupported(format!("EXPLAIN format {shown}")),
                        _ => SqlError::new(
                            SqlState::INVALID_PARAMETER_VALUE,
                            format!("unrecognized value for EXPLAIN option \"format\": \"{shown}\""),
                        ),
                    });
                }
            },
            other => {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("unrecognized EXPLAIN option \"{other}\"")));
            }
        }
    }
    Ok(Statement::Explain(Box::new(Explain { statement, analyze, verbose, json })))
}
