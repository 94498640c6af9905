//! The one error of all KalamDB crates: it carries its PostgreSQL face, so that every layer passes it on unread.
//!
//! Messages are PostgreSQL's where PostgreSQL has the error: lower case, no full stop. `detail` and `hint` are
//! full sentences. `XX000` means a bug in KalamDB.

use std::fmt;

use crate::sqlstate::SqlState;

/// Result with [`SqlError`].
pub type Result<T, E = SqlError> = std::result::Result<T, E>;

/// An error as a PostgreSQL client sees it (manual, section 55.8, "Error and Notice Message Fields").
#[derive(Clone, PartialEq)]
pub struct SqlError(Box<ErrorFields>);

/// The fields of an error or notice.
#[derive(Clone, PartialEq, Debug)]
pub struct ErrorFields {
    pub code: SqlState,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Position in the statement's text: characters, from 1.
    pub position: Option<u32>,
    /// The `where` field: "COPY t, line 3, column b: ...".
    pub context: Option<String>,
    pub schema: Option<String>,
    pub table: Option<String>,
    pub column: Option<String>,
    pub datatype: Option<String>,
    pub constraint: Option<String>,
}

impl SqlError {
    pub fn new(code: SqlState, message: impl Into<String>) -> Self {
        SqlError(Box::new(ErrorFields {
            code,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            context: None,
            schema: None,
            table: None,
            column: None,
            datatype: None,
            constraint: None,
        }))
    }

    /// A feature refused by name: `0A000`, "X is not supported".
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// A bug in KalamDB.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(SqlState::INTERNAL_ERROR, message)
    }

    pub fn fields(&self) -> &ErrorFields {
        &self.0
    }

    pub fn code(&self) -> SqlState {
        self.0.code
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Sets the position (characters, from 1) unless one is set already: the innermost place wins.
    #[must_use]
    pub fn at(mut self, position: Option<u32>) -> Self {
        if self.0.position.is_none() {
            self.0.position = position;
        }
        self
    }

    /// The error without its position, where the position is in another text than the client's.
    #[must_use]
    pub fn without_position(mut self) -> Self {
        self.0.position = None;
        self
    }

    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.0.context = Some(context.into());
        self
    }

    /// Adds the place around the context there is: the innermost comes first.
    #[must_use]
    pub fn within(self, place: impl Into<String>) -> Self {
        let place = place.into();
        let context = match &self.0.context {
            Some(inner) => format!("{inner}\n{place}"),
            None => place,
        };
        self.context(context)
    }

    #[must_use]
    pub fn table(mut self, schema: impl Into<String>, table: impl Into<String>) -> Self {
        self.0.schema = Some(schema.into());
        self.0.table = Some(table.into());
        self
    }

    #[must_use]
    pub fn column(mut self, column: impl Into<String>) -> Self {
        self.0.column = Some(column.into());
        self
    }

    #[must_use]
    pub fn datatype(mut self, datatype: impl Into<String>) -> Self {
        self.0.datatype = Some(datatype.into());
        self
    }

    #[must_use]
    pub fn constraint(mut self, constraint: impl Into<String>) -> Self {
        self.0.constraint = Some(constraint.into());
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)?;
        if let Some(detail) = &self.0.detail {
            write!(f, " ({detail})")?;
        }
        Ok(())
    }
}

impl std::error::Error for SqlError {}
