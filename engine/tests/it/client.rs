//! An engine in a directory of its own, and sessions driven as a connection drives them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use futures::StreamExt;
use kalamdb_catalog::{Catalog, PgType, Result, SqlError, SqlState};
use kalamdb_engine::Settings;
use kalamdb_engine::context::AppContext;
use kalamdb_engine::session::{
    CancelReason, Parameter, Prepared, Session, SessionContext, StartupParameters, TransactionStatus,
};
use kalamdb_engine::sql::functions::reg_out;
use kalamdb_engine::sql::{Column, ParsedStatement, Response, RowStream};
use kalamdb_engine::types::{ColumnReader, FormatSettings, Value, write_binary, write_text};
use tokio::time::{Instant, sleep_until};

use crate::answer::{Answer, Report};
use crate::files::TempDir;

/// The stack of the server's threads.
const STACK_BYTES: usize = 8 << 20;

/// As in a server, no two sessions have one pid.
static PIDS: AtomicI32 = AtomicI32::new(1);

/// An open engine; closed, and its directory removed, with the value.
pub(crate) struct Engine {
    pub(crate) app: Arc<AppContext>,
    _dir: TempDir,
}

impl Engine {
    pub(crate) fn open() -> Engine {
        let dir = TempDir::new();
        let app = AppContext::open(Settings {
            node_id: "test".to_owned(),
            data_dir: dir.path().to_owned(),
            max_connections: 1000,
            block_cache_bytes: 16 << 20,
            write_buffer_bytes: 16 << 20,
            query_memory_bytes: 256 << 20,
            column_cache_bytes: 16 << 20,
            change_log_bytes_max: 16 << 20,
            change_log_age_max: Duration::from_secs(86_400),
            notify_queue_bytes_max: 1 << 20,
            live: kalamdb_engine::LiveLimits::default(),
        });
        Engine { app: app.expect("an engine in an empty directory"), _dir: dir }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.app.close();
    }
}

/// Runs a test on a thread like those that serve connections.
pub(crate) fn on_a_server_thread<T: Send + 'static>(body: impl AsyncFnOnce() -> T + Send + 'static) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || runtime.block_on(body()));
    match thread.expect("a thread").join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// One client's session.
pub(crate) struct Client {
    pub(crate) session: Session,
    /// What parameters get. None: a statement with parameters is refused, as in a Query message.
    pub(crate) parameters: Option<Vec<Parameter>>,
    /// Statements longer than this end as by statement_timeout.
    pub(crate) limit: Option<Duration>,
}

impl Client {
    pub(crate) fn open(app: &Arc<AppContext>, database: &str) -> Result<Client> {
        let startup = StartupParameters {
            user: "postgres".to_owned(),
            database: database.to_owned(),
            settings: Vec::new(),
            pid: PIDS.fetch_add(1, Ordering::Relaxed),
            client_address: None,
            peers: None,
        };
        let session = Session::open(Arc::clone(app), startup)?;
        Ok(Client { session, parameters: None, limit: None })
    }

    /// Carries out a text as a Query message does, answer and all.
    pub(crate) async fn query(&mut self, sql: &str) -> Answer {
        let mut answer = Answer::default();
        if let Err(error) = self.run(sql, &mut answer).await {
            self.tell_notices(&mut answer);
            let severity = if error.code() == SqlState::ADMIN_SHUTDOWN { "FATAL" } else { "ERROR" };
            answer.error(&report(severity, &error));
            self.session.fail();
        }
        self.tell_notices(&mut answer);
        answer
    }

    /// The same up to the first error, which leaves the transaction as it is: `Session::fail` is the caller's.
    pub(crate) async fn run(&mut self, sql: &str, answer: &mut Answer) -> Result<()> {
        self.session.close_statement("");
        let statements = self.session.parse(sql)?;
        if statements.is_empty() {
            answer.empty();
        }
        self.session.set_one_of_several(statements.len() > 1);
        for (i, statement) in statements.iter().enumerate() {
            let limit = self.limit.or(self.session.statement_timeout());
            let cancel = self.session.cancel_handle();
            let last = i + 1 == statements.len();
            let mut step = pin!(self.statement(statement, last, answer));
            let mut deadline = limit.map(|limit| Instant::now() + limit);
            loop {
                tokio::select! {
                    biased;
                    done = &mut step => break done?,
                    () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                        deadline = None;
                        cancel.cancel(CancelReason::StatementTimeout);
                    }
                }
            }
        }
        Ok(())
    }

    async fn statement(&mut self, statement: &ParsedStatement, last: bool, answer: &mut Answer) -> Result<()> {
        let prepared = self.session.prepare(statement, &[]).await?;
        let parameters = self.parameters_of(&prepared)?;
        let bound = self.session.bind(&prepared, &parameters, "")?;
        let tag = match self.session.execute(&bound).await? {
            Response::Rows { columns, rows, tag } => {
                let announced =
                    prepared.columns.as_ref().map(|columns| shown_columns(columns, &self.session.context().catalog()));
                assert_eq!(
                    announced.as_ref(),
                    Some(&shown_columns(&columns, &self.session.context().catalog())),
                    "columns of Describe and of the rows"
                );
                self.tell_notices(answer);
                answer.columns(shown_columns(&columns, &self.session.context().catalog()));
                let count = self.rows(&columns, rows, answer).await?;
                match tag {
                    "SHOW" | "EXPLAIN" => tag.to_owned(),
                    tag => format!("{tag} {count}"),
                }
            }
            Response::Complete { tag } => tag,
            Response::Empty => "EMPTY".to_owned(),
            Response::CopyIn(_) | Response::CopyOut { .. } => {
                return Err(SqlError::unsupported("COPY without a connection"));
            }
        };
        self.tell_notices(answer);
        if last {
            self.session.finish_implicit().await?;
            self.tell_notices(answer);
        }
        answer.complete(&tag);
        Ok(())
    }

    fn parameters_of(&self, prepared: &Prepared) -> Result<Vec<Parameter>> {
        match &self.parameters {
            Some(values) if !values.is_empty() => {
                Ok(values.iter().cycle().take(prepared.parameters.len()).cloned().collect())
            }
            _ if prepared.parameters.is_empty() => Ok(Vec::new()),
            _ => Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1")),
        }
    }

    async fn rows(&mut self, columns: &[Column], mut rows: RowStream, answer: &mut Answer) -> Result<u64> {
        let settings = self.session.format();
        let cancel = self.session.cancel_handle();
        let mut count = 0;
        loop {
            let batch = tokio::select! {
                biased;
                error = cancel.tripped() => return Err(error),
                batch = rows.next() => batch,
            };
            let Some(batch) = batch.transpose()? else { return Ok(count) };
            write_rows(&batch, columns, &settings, self.session.context(), answer);
            count += batch.num_rows() as u64;
        }
    }

    fn tell_notices(&mut self, answer: &mut Answer) {
        let least = self.session.context().vars().get("client_min_messages").unwrap_or_default();
        for notice in self.session.take_notices() {
            let warning = matches!(&notice.code().0[..2], "01" | "25");
            let wanted = match least.as_str() {
                "error" => false,
                "warning" => warning,
                _ => true,
            };
            if wanted {
                answer.notice(&report(if warning { "WARNING" } else { "NOTICE" }, &notice));
            }
        }
    }

    /// Ends whatever transaction is open.
    pub(crate) async fn rollback(&mut self) {
        self.session.fail();
        if self.session.status() != TransactionStatus::Idle {
            let mut ignored = Answer::default();
            self.run("ROLLBACK", &mut ignored).await.expect("ROLLBACK");
        }
        self.session.take_notices();
    }
}

fn shown_columns(columns: &[Column], catalog: &Catalog) -> Vec<(String, u32, i32)> {
    columns.iter().map(|c| (c.name.clone(), c.type_oid(catalog), c.typmod)).collect()
}

/// The values as text; the binary form is made as well and thrown away.
fn write_rows(
    batch: &RecordBatch,
    columns: &[Column],
    settings: &FormatSettings,
    session: &SessionContext,
    answer: &mut Answer,
) {
    assert_eq!(batch.num_columns(), columns.len(), "columns of a batch");
    let readers: Vec<_> =
        batch.columns().iter().zip(columns).map(|(a, c)| (ColumnReader::new(a, c.ty), c.ty)).collect();
    let mut binary = Vec::new();
    for row in 0..batch.num_rows() {
        let values: Vec<Option<Vec<u8>>> = readers
            .iter()
            .map(|(reader, ty)| {
                let value = reader.value(row);
                if !value.is_null() {
                    binary.clear();
                    write_binary(*ty, &value, &mut binary);
                }
                text(*ty, &value, settings, session)
            })
            .collect();
        answer.row(values.iter().map(Option::as_deref));
    }
}

/// The text of a value. regclass and its like read as names, which depend on the session.
fn text(ty: PgType, value: &Value<'_>, settings: &FormatSettings, session: &SessionContext) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match value {
        Value::Null => return None,
        Value::Oid(oid) if ty.is_reg() => out.extend_from_slice(reg_out(ty, *oid, session).as_bytes()),
        _ => write_text(ty, value, settings, &mut out),
    }
    Some(out)
}

fn report(severity: &str, error: &SqlError) -> Report {
    let fields = error.fields();
    Report {
        severity: severity.to_owned(),
        code: fields.code.0.to_owned(),
        message: fields.message.clone(),
        detail: fields.detail.clone(),
        hint: fields.hint.clone(),
        position: fields.position.map(|p| p.to_string()),
    }
}
