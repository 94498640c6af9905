//! The life of one connection after start-up: wait, take a message, carry it out, answer.
//!
//! Output collects in one buffer. It is written when no complete message is left in the input (so a pipelined batch
//! costs one write), when it grows to 64 kB, or before a statement waits if a finished batch is still in it.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures::FutureExt;
use kalamdb_catalog::{SqlError, SqlState};
use kalamdb_engine::live::Notification;
use kalamdb_engine::session::{BackendState, CancelHandle, CancelReason, Session, TransactionStatus};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::cancel::{Backend, BackendGuard};
use crate::decode::{Frontend, decode};
use crate::encode;
use crate::error::{Stop, is_wanted, write_error, write_notice};
use crate::extended::{Portal, Text};
use crate::limits::NOTIFICATION_BYTES_MAX;
use crate::listener::last_words;
use crate::transport::{Frame, Transport};

/// A started connection.
pub(crate) struct Connection {
    pub(crate) transport: Transport,
    pub(crate) session: Session,
    pub(crate) cancel: CancelHandle,
    /// When the running statement trips statement_timeout.
    pub(crate) deadline: Option<Instant>,
    pub(crate) portals: HashMap<String, Portal>,
    /// The texts of statements made by Parse.
    pub(crate) texts: HashMap<String, Text>,
    /// After an error in the extended protocol nothing is done until Sync.
    skip_to_sync: bool,
    /// The last thing told is ReadyForQuery: the client has the word.
    ready: bool,
    backend: Arc<Backend>,
    _guard: BackendGuard,
}

impl Connection {
    pub(crate) fn new(transport: Transport, session: Session, guard: BackendGuard, backend: Arc<Backend>) -> Self {
        Connection {
            transport,
            cancel: session.cancel_handle(),
            session,
            deadline: None,
            portals: HashMap::new(),
            texts: HashMap::new(),
            skip_to_sync: false,
            ready: true,
            backend,
            _guard: guard,
        }
    }

    /// Serves the client until one side ends it.
    pub(crate) async fn run(mut self) {
        // A bug met by one client is that client's end, told as such, and nobody else's.
        let served = AssertUnwindSafe(self.serve()).catch_unwind().await;
        let end = served.unwrap_or_else(|_| Stop::Fatal(SqlError::internal("the statement met a bug in the server")));
        self.portals.clear();
        self.session.close().await;
        if let Stop::Error(error) | Stop::Fatal(error) = end {
            last_words(&mut self.transport, &error).await;
        }
    }

    async fn serve(&mut self) -> Stop {
        loop {
            if let Err(stop) = self.step().await {
                return stop;
            }
        }
    }

    /// Carries out one message, or waits for more.
    async fn step(&mut self) -> Result<(), Stop> {
        if self.ready && self.backend.is_terminating() {
            return Err(Stop::Fatal(shutting_down()));
        }
        match self.transport.frame()? {
            Some(frame) => self.handle(frame).await,
            None => self.wait().await,
        }
    }

    /// Writes what is due, then waits for the client, for messages to it, and for the end.
    async fn wait(&mut self) -> Result<(), Stop> {
        let idle = self.ready && self.session.status() == TransactionStatus::Idle;
        let idle_end = match self.session.idle_in_transaction_timeout() {
            Some(limit) if self.ready && !idle => Some(Instant::now() + limit),
            _ => None,
        };
        loop {
            let writing = self.transport.has_output();
            let (transport, backend) = (&mut self.transport, &self.backend);
            let exchange = async move {
                if writing {
                    return transport.flush().await;
                }
                transport.trim();
                transport.fill().await
            };
            tokio::select! {
                biased;
                () = backend.asked_to_end() => return Err(Stop::Fatal(shutting_down())),
                done = exchange => {
                    done?;
                    if !writing {
                        return Ok(());
                    }
                }
                told = self.session.next_notifications(NOTIFICATION_BYTES_MAX), if idle && !writing => {
                    write_notifications(&mut self.transport.out, &told?);
                    // Others are served between the parts of a long result, and this client's next command is seen.
                    yield_now().await;
                }
                () = sleep_until(idle_end.unwrap_or_else(Instant::now)), if idle_end.is_some() => {
                    return Err(Stop::Fatal(SqlError::new(
                        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                        "terminating connection due to idle-in-transaction timeout",
                    )));
                }
            }
        }
    }

    /// Carries out a message and tells the client of its error.
    async fn handle(&mut self, frame: Frame) -> Result<(), Stop> {
        if frame.tag == b'S' {
            self.skip_to_sync = false;
        } else if self.skip_to_sync && frame.tag != b'X' {
            return Ok(());
        }
        let outcome = match decode(frame.tag, &frame.body) {
            Ok(message) => self.dispatch(message).await,
            Err(error) => Err(Stop::Error(error)),
        };
        match outcome {
            Ok(()) => {}
            Err(Stop::Error(error)) => {
                self.fail(&error);
                self.skip_to_sync = !matches!(frame.tag, b'Q' | b'F' | b'S');
            }
            Err(stop) => return Err(stop),
        }
        if matches!(frame.tag, b'Q' | b'F' | b'S') {
            if self.session.status() == TransactionStatus::Idle {
                while self.tell_notifications()? {
                    self.write_out().await?;
                }
            }
            self.tell_ready();
        }
        Ok(())
    }

    /// The futures of statements are boxed: they are large, and an idle connection should not be.
    async fn dispatch(&mut self, message: Frontend<'_>) -> Result<(), Stop> {
        match message {
            Frontend::Query(sql) => Box::pin(self.query(sql)).await,
            Frontend::Parse { name, sql, declared } => Box::pin(self.parse(name, sql, &declared)).await,
            Frontend::Bind(bind) => self.bind(bind),
            Frontend::Describe(target) => self.describe(&target),
            Frontend::Execute { portal, rows_max } => Box::pin(self.execute(portal, rows_max)).await,
            Frontend::Close(target) => {
                self.close(&target);
                Ok(())
            }
            Frontend::Sync => Box::pin(self.sync()).await,
            Frontend::Flush => self.write_out().await,
            Frontend::Terminate => Err(Stop::Closed),
            // Left over from a COPY that failed.
            Frontend::CopyData | Frontend::CopyDone | Frontend::CopyFail(_) => Ok(()),
            Frontend::FunctionCall => Err(SqlError::unsupported("function call protocol message").into()),
        }
    }

    /// Starts the clock of a statement; a cancel that came while the client had the word is void.
    pub(crate) fn begin(&mut self) {
        if self.ready {
            self.ready = false;
            self.cancel.reset();
        }
        if self.deadline.is_none() {
            self.deadline = self.session.statement_timeout().map(|limit| Instant::now() + limit);
        }
    }

    pub(crate) fn show_running(&self, sql: &str) {
        self.backend.running(sql);
    }

    /// Reports an error and undoes what it spoils.
    fn fail(&mut self, error: &SqlError) {
        self.tell_notices();
        write_error(&mut self.transport.out, "ERROR", error);
        self.deadline = None;
        // Streams hold the snapshot of the transaction that ends here.
        self.portals.values_mut().for_each(Portal::fail);
        self.session.fail();
        if self.session.status() == TransactionStatus::Idle {
            self.portals.clear();
        }
    }

    pub(crate) fn tell_notices(&mut self) {
        let notices = self.session.take_notices();
        if notices.is_empty() {
            return;
        }
        let least = self.session.context().vars().get("client_min_messages").unwrap_or_default();
        for notice in notices.iter().filter(|notice| is_wanted(notice, &least)) {
            write_notice(&mut self.transport.out, notice);
        }
    }

    /// Puts the next notifications into the output. True if there are more.
    fn tell_notifications(&mut self) -> Result<bool, Stop> {
        let (notifications, more) = self.session.take_notifications(NOTIFICATION_BYTES_MAX)?;
        write_notifications(&mut self.transport.out, &notifications);
        Ok(more)
    }

    fn tell_ready(&mut self) {
        self.tell_notices();
        for (name, value) in self.session.take_reports() {
            encode::parameter_status(&mut self.transport.out, name, &value);
            if name == "application_name" {
                self.backend.rename(&value);
            }
        }
        let status = self.session.status();
        encode::ready_for_query(&mut self.transport.out, status);
        self.transport.end_batch();
        self.deadline = None;
        self.ready = true;
        self.backend.idle(match status {
            TransactionStatus::Idle => BackendState::Idle,
            TransactionStatus::InBlock => BackendState::IdleInTransaction,
            TransactionStatus::Failed => BackendState::IdleInFailedTransaction,
        });
    }

    /// Writes all output, at the client's pace; a cancel or a timeout ends the wait.
    pub(crate) async fn write_out(&mut self) -> Result<(), Stop> {
        let mut deadline = self.deadline;
        loop {
            tokio::select! {
                biased;
                flushed = self.transport.flush() => return flushed.map_err(Stop::from),
                error = self.cancel.tripped(), if !self.ready => return Err(error.into()),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.cancel.cancel(CancelReason::StatementTimeout);
                    deadline = None;
                }
            }
        }
    }
}

fn write_notifications(out: &mut Vec<u8>, notifications: &[Arc<Notification>]) {
    for notification in notifications {
        let wire = notification.wire(|told| {
            let mut wire = Vec::new();
            encode::notification(&mut wire, told.pid, &told.channel, &told.payload);
            wire.into()
        });
        out.extend_from_slice(wire);
    }
}

/// Runs a step of a statement. Meanwhile the socket is attended, and the cancel token is tripped when the client goes
/// away or the time is over; the step itself ends by the token, so that nothing is torn down half-way.
pub(crate) async fn attended<T>(
    transport: &mut Transport,
    cancel: &CancelHandle,
    mut deadline: Option<Instant>,
    step: impl Future<Output = T>,
) -> T {
    // The time may be over before the step begins: what has been computed without a pause has kept the clock from being looked at.
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        deadline = None;
        cancel.cancel(CancelReason::StatementTimeout);
    }
    let mut step = pin!(step);
    let mut present = true;
    loop {
        tokio::select! {
            biased;
            output = &mut step => return output,
            _ = transport.attend(), if present => {
                present = false;
                cancel.cancel(CancelReason::Disconnect);
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                deadline = None;
                cancel.cancel(CancelReason::StatementTimeout);
            }
        }
    }
}

fn shutting_down() -> SqlError {
    SqlError::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}
