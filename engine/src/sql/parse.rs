//! SQL text to statements: sqlparser's PostgreSQL grammar, with our own rules in front for what its grammar lacks or reads
//! differently (SET, SHOW, transactions, COPY, maintenance commands, NAMESPACE).

mod alter_table;
mod constraints;
mod cursors;
mod insert;
mod locking;
mod merge;
mod notify;
mod sequences;

pub(super) use locking::{key_kept, locked_relations};
pub(crate) use notify::is_query;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{self, Expr, Ident, ObjectName};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::bind::{fold, position};
use super::dialect::Postgres;
use super::statement::{
    CopyStatement, CopyTarget, IsolationLevel, LikeItem, Reindexed, Statement, TransactionCommand, TransactionModes,
};
use super::window::Exclude;
use crate::types::io::truncate_name;

/// Nested expressions and queries deeper than this are 54001.
const DEPTH_MAX: usize = 200;

/// A statement of a query string, with the whole string: positions in errors count in it.
#[derive(Clone, Debug)]
pub struct ParsedStatement {
    pub(crate) statement: Arc<Statement>,
    pub(crate) source: Arc<str>,
}

/// Splits and parses a query string. A syntax error anywhere fails all of it, as in PostgreSQL. `notices` gets one for
/// every name that was cut.
pub fn parse(sql: &str, notices: &mut Vec<SqlError>) -> Result<Vec<ParsedStatement>> {
    let source: Arc<str> = Arc::from(sql);
    let mut tokens = tokens(sql)?;
    cut_names(&mut tokens, notices);
    let mut parser = Sql::of(sql, tokens);
    let mut statements = Vec::new();
    loop {
        while parser.inner.consume_token(&Token::SemiColon) {}
        if parser.at_end() {
            return Ok(statements);
        }
        let statement = parser.statement()?;
        if !parser.at_end() && parser.peek() != Token::SemiColon {
            return Err(parser.unexpected());
        }
        statements.push(ParsedStatement { statement: Arc::new(statement), source: Arc::clone(&source) });
    }
}

/// A stored query: a view's text.
pub(crate) fn query(sql: &str) -> Result<Box<ast::Query>> {
    let mut parser = Sql::new(sql)?;
    parser.parsed(|p| p.parse_query())
}

/// A stored expression: a column's default.
pub(super) fn expression(sql: &str) -> Result<Expr> {
    let mut parser = Sql::new(sql)?;
    parser.parsed(|p| p.parse_expr())
}

struct Sql<'a> {
    inner: Parser<'a>,
    source: &'a str,
}

static DIALECT: Postgres = Postgres;

impl<'a> Sql<'a> {
    /// A stored text. Its names stand as they were written; that they are cut has been told.
    fn new(source: &'a str) -> Result<Self> {
        let mut tokens = tokens(source)?;
        cut_names(&mut tokens, &mut Vec::new());
        Ok(Sql::of(source, tokens))
    }

    fn of(source: &'a str, tokens: Vec<TokenWithSpan>) -> Self {
        let mut tokens = insert::insert_clauses(locking::clauses(prepared(tokens)));
        cursors::current_of(&mut tokens);
        merge::merge_actions(&mut tokens);
        let inner = Parser::new(&DIALECT).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens);
        Sql { inner, source }
    }

    fn peek(&self) -> Token {
        self.inner.peek_token().token
    }

    fn at_end(&self) -> bool {
        self.peek() == Token::EOF
    }

    fn word_at(&self, n: usize) -> String {
        match self.inner.peek_nth_token(n).token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
            _ => String::new(),
        }
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.word_at(0) == word;
        if found {
            self.inner.next_token();
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.take_word(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Runs a part of sqlparser's grammar; where it stops is where the error is.
    fn parsed<T>(
        &mut self,
        f: impl FnOnce(&mut Parser<'a>) -> std::result::Result<T, datafusion::sql::sqlparser::parser::ParserError>,
    ) -> Result<T> {
        use datafusion::sql::sqlparser::parser::ParserError;
        match f(&mut self.inner) {
            Ok(value) => Ok(value),
            Err(ParserError::RecursionLimitExceeded) => {
                Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
                    .hint("Simplify the statement: it nests expressions or queries too deeply."))
            }
            Err(ParserError::TokenizerError(message)) => Err(SqlError::new(SqlState::SYNTAX_ERROR, message)),
            Err(ParserError::ParserError(message)) => Err(self.failed(&message)),
        }
    }

    /// sqlparser says where in its message only ("... at Line: 1, Column: 8"); the place, not the wording, is used.
    fn failed(&self, message: &str) -> SqlError {
        let number = |tag: &str| {
            let rest = &message[message.rfind(tag)? + tag.len()..];
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u64>().ok()
        };
        let (Some(line), Some(column)) = (number("Line: "), number("Column: ")) else {
            return self.unexpected();
        };
        let location = datafusion::sql::sqlparser::tokenizer::Location::new(line, column);
        let at = position(self.source, datafusion::sql::sqlparser::tokenizer::Span::new(location, location));
        let start = at.map_or(0, |p| p as usize - 1);
        let rest: String = self.source.chars().skip(start).collect();
        match Tokenizer::new(&DIALECT, &rest).tokenize_with_location() {
            Ok(tokens) => match tokens.first() {
                Some(first) => syntax_error(self.source, &first.token, at),
                None => syntax_error(self.source, &Token::EOF, None),
            },
            Err(_) => self.unexpected(),
        }
    }

    fn unexpected(&self) -> SqlError {
        let token = self.inner.peek_token();
        syntax_error(self.source, &token.token, position(self.source, token.span))
    }

    fn statement(&mut self) -> Result<Statement> {
        if let Some(statement) = self.own_statement()? {
            return Ok(statement);
        }
        let parsed = self.parsed(|p| p.parse_statement())?;
        Ok(match parsed {
            ast::Statement::Prepare { name, data_types, statement } => {
                let inner = wrap(*statement)?;
                Statement::Prepare { name: fold(&name), types: data_types, statement: Arc::new(inner) }
            }
            ast::Statement::Execute { name: Some(name), parameters, .. } => {
                Statement::Execute { name: super::bind::name_parts(&name)?.join("."), arguments: parameters }
            }
            ast::Statement::Explain { analyze, verbose, statement, format, options, .. } => {
                super::statement::explain(analyze, verbose, wrap(*statement)?, format, options)?
            }
            other => wrap(other)?,
        })
    }

    fn own_statement(&mut self) -> Result<Option<Statement>> {
        let word = self.word_at(0);
        let statement = match word.as_str() {
            "begin" | "start" => self.begin()?,
            "commit" | "end" => self.end(|chain| TransactionCommand::Commit { chain })?,
            "rollback" | "abort" => self.rollback()?,
            "savepoint" => {
                self.inner.next_token();
                Statement::Transaction(TransactionCommand::Savepoint(self.name()?))
            }
            "release" => {
                self.inner.next_token();
                self.take_word("savepoint");
                Statement::Transaction(TransactionCommand::Release(self.name()?))
            }
            "lock" => match self.parsed(|p| p.parse_lock_statement()) {
                Ok(lock) => Statement::Lock(lock),
                Err(error) => return Err(error),
            },
            "set" if self.word_at(1) == "constraints" => self.set_constraints()?,
            "set" => self.set()?,
            "reset" => self.reset()?,
            "show" => self.show()?,
            "discard" => self.discard()?,
            "deallocate" => {
                self.inner.next_token();
                self.take_word("prepare");
                let name = if self.take_word("all") { None } else { Some(self.name()?) };
                Statement::Deallocate { name }
            }
            "close" => {
                self.inner.next_token();
                let name = if self.take_word("all") { None } else { Some(self.name()?) };
                Statement::Close { name }
            }
            "prepare" if self.word_at(1) == "transaction" && self.word_at(2).is_empty() => {
                return Err(SqlError::unsupported("two-phase commit"));
            }
            "kill" if self.word_at(1) == "live" => self.kill_live_query()?,
            "listen" => self.listen()?,
            "subscribe" => Statement::Subscribe(self.subscribe()?),
            "unlisten" => self.unlisten()?,
            "notify" => self.notify()?,
            "declare" => self.declare()?,
            "fetch" => self.fetch(false)?,
            "move" => self.fetch(true)?,
            "copy" => self.copy()?,
            "table" => Statement::Query(self.table_query()?),
            "alter" if self.word_at(1) == "table" => self.alter_table()?,
            "alter" if self.word_at(1) == "sequence" => self.alter_sequence()?,
            "drop" if self.word_at(1) == "index" => self.drop_index()?,
            "reindex" => self.reindex()?,
            "create" if self.creates_table() => self.create_table()?,
            "create" if self.creates_sequence() => self.create_sequence()?,
            "vacuum" | "analyze" | "checkpoint" | "cluster" => self.maintenance(&word)?,
            _ => return Ok(None),
        };
        Ok(Some(statement))
    }

    fn drop_index(&mut self) -> Result<Statement> {
        self.inner.next_token();
        self.inner.next_token();
        let concurrently = self.take_word("concurrently");
        let if_exists = self.take_words(&["if", "exists"]);
        let names = self.parsed(|p| p.parse_comma_separated(|p| p.parse_object_name(false)))?;
        let cascade = self.take_word("cascade");
        if !cascade {
            self.take_word("restrict");
        }
        Ok(Statement::DropIndex { names, if_exists, cascade, concurrently })
    }

    fn reindex(&mut self) -> Result<Statement> {
        self.inner.next_token();
        if self.inner.consume_token(&Token::LParen) {
            while !self.at_end() && !self.inner.consume_token(&Token::RParen) {
                self.inner.next_token();
            }
        }
        let word = self.word_at(0);
        self.inner.next_token();
        let concurrently = self.take_word("concurrently");
        let what = match word.as_str() {
            "index" => Reindexed::Index(self.parsed(|p| p.parse_object_name(false))?),
            "table" => Reindexed::Table(self.parsed(|p| p.parse_object_name(false))?),
            "schema" => Reindexed::Schema(self.name()?),
            "database" | "system" => {
                if !self.at_end() && self.peek() != Token::SemiColon {
                    self.name()?;
                }
                Reindexed::Database
            }
            _ => {
                self.inner.prev_token();
                return Err(self.unexpected());
            }
        };
        Ok(Statement::Reindex { what, concurrently })
    }

    /// SET CONSTRAINTS { ALL | name, ... } { DEFERRED | IMMEDIATE }
    fn set_constraints(&mut self) -> Result<Statement> {
        self.inner.next_token();
        self.inner.next_token();
        let names = if self.take_word("all") {
            Vec::new()
        } else {
            self.parsed(|p| p.parse_comma_separated(|p| p.parse_object_name(false)))?
        };
        let deferred = self.take_word("deferred");
        if !deferred {
            self.expect_word("immediate")?;
        }
        Ok(Statement::SetConstraints { names, deferred })
    }

    /// `TABLE t ...` as a statement of its own: the grammar knows it only inside a query.
    fn table_query(&mut self) -> Result<Box<ast::Query>> {
        self.inner.next_token();
        let start = self.inner.index();
        let mut tokens: Vec<TokenWithSpan> = ["SELECT", "*", "FROM"]
            .iter()
            .map(|word| match *word {
                "*" => TokenWithSpan::wrap(Token::Mul),
                word => TokenWithSpan::wrap(Token::make_keyword(word)),
            })
            .collect();
        while !self.at_end() && self.peek() != Token::SemiColon {
            tokens.push(self.inner.next_token());
        }
        if self.inner.index() == start {
            return Err(self.unexpected());
        }
        let inner = Parser::new(&DIALECT).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens);
        let mut sub = Sql { inner, source: self.source };
        let query = sub.parsed(|p| p.parse_query())?;
        if sub.at_end() { Ok(query) } else { Err(sub.unexpected()) }
    }

    fn creates_table(&self) -> bool {
        let kinds = ["unlogged", "temp", "temporary", "local", "global"];
        let words = (1..).take_while(|n| kinds.contains(&self.word_at(*n).as_str())).count();
        self.word_at(words + 1) == "table"
    }

    /// CREATE TABLE: LIKE items, names before AS, and `WITH [NO] DATA` are read here, the rest by sqlparser.
    fn create_table(&mut self) -> Result<Statement> {
        let mut tokens = Vec::new();
        while !self.at_end() && self.peek() != Token::SemiColon {
            tokens.push(self.inner.next_token());
        }
        let mut extras = CreateExtras { unlogged: word_of(&tokens[1].token) == "unlogged", ..CreateExtras::default() };
        if extras.unlogged {
            tokens.remove(1);
        }
        order_identity_options(&mut tokens);
        constraints::constraint_clauses(&mut tokens)?;
        self.take_data_clause(&mut tokens, &mut extras);
        self.take_column_list(&mut tokens, &mut extras)?;
        let inner = Parser::new(&DIALECT).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens);
        let mut sub = Sql { inner, source: self.source };
        let parsed = sub.parsed(|p| p.parse_statement())?;
        if !sub.at_end() {
            return Err(sub.unexpected());
        }
        let ast::Statement::CreateTable(create) = parsed else {
            return Ok(Statement::Ddl(Box::new(parsed)));
        };
        let CreateExtras { likes, names, no_data, unlogged } = extras;
        Ok(Statement::CreateTable(Box::new(super::statement::CreateTable { create, likes, names, no_data, unlogged })))
    }

    /// `... WITH [NO] DATA` at the end.
    fn take_data_clause(&self, tokens: &mut Vec<TokenWithSpan>, extras: &mut CreateExtras) {
        let words: Vec<String> = tokens.iter().rev().take(3).map(|t| word_of(&t.token)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["data", "no", "with"] => {
                extras.no_data = true;
                tokens.truncate(tokens.len() - 3);
            }
            ["data", "with", ..] => tokens.truncate(tokens.len() - 2),
            _ => {}
        }
    }

    fn take_column_list(&self, tokens: &mut Vec<TokenWithSpan>, extras: &mut CreateExtras) -> Result<()> {
        let Some(open) = tokens.iter().position(|t| t.token == Token::LParen) else { return Ok(()) };
        if tokens[..open].iter().any(|t| word_of(&t.token) == "as") {
            return Ok(());
        }
        let Some(close) = closing(tokens, open) else { return Ok(()) };
        let inside: Vec<TokenWithSpan> = tokens[open + 1..close].to_vec();
        let items = split_items(&inside);
        let names_only = items.iter().all(|i| i.len() == 1 && matches!(i[0].token, Token::Word(_)));
        if names_only && tokens.get(close + 1).is_some_and(|t| word_of(&t.token) == "as") {
            for item in &items {
                if let Token::Word(word) = &item[0].token {
                    extras.names.push(word.clone().into_ident(item[0].span));
                }
            }
            tokens.drain(open..=close);
            return Ok(());
        }
        let mut kept: Vec<TokenWithSpan> = Vec::new();
        let mut columns = 0;
        for item in items {
            if item.first().is_some_and(|t| word_of(&t.token) == "like") {
                let (table, including) = self.like_item(&item[1..])?;
                extras.likes.push(LikeItem { table, including, after: columns });
                continue;
            }
            let first = item.first().map(|t| word_of(&t.token)).unwrap_or_default();
            columns +=
                usize::from(!matches!(first.as_str(), "constraint" | "primary" | "unique" | "check" | "foreign"));
            if !kept.is_empty() {
                kept.push(TokenWithSpan::wrap(Token::Comma));
            }
            kept.extend(item);
        }
        if !extras.likes.is_empty() {
            tokens.splice(open + 1..close, kept);
        }
        Ok(())
    }

    /// `t INCLUDING DEFAULTS EXCLUDING ...`
    fn like_item(&self, tokens: &[TokenWithSpan]) -> Result<(ObjectName, Vec<String>)> {
        let inner = Parser::new(&DIALECT).with_tokens_with_locations(tokens.to_vec());
        let mut sub = Sql { inner, source: self.source };
        let name = sub.parsed(|p| p.parse_object_name(false))?;
        let mut including = Vec::new();
        while !sub.at_end() {
            let on = if sub.take_word("including") {
                true
            } else {
                sub.expect_word("excluding")?;
                false
            };
            let option = sub.name_or_keyword()?;
            if on {
                including.push(option);
            } else {
                including.retain(|o| *o != option && option != "all");
            }
        }
        Ok((name, including))
    }

    /// A name where keywords may stand too: CURRENT_USER, ALL.
    fn name_or_keyword(&mut self) -> Result<String> {
        self.parsed(|p| p.parse_identifier()).map(|i| fold(&i))
    }

    /// `ColId` of PostgreSQL's grammar.
    fn name(&mut self) -> Result<String> {
        match self.peek() {
            Token::Word(word) if word.quote_style.is_some() => {}
            token @ Token::Word(_) if !kalamdb_catalog::name::is_reserved(&word_of(&token)) => {}
            _ => return Err(self.unexpected()),
        }
        self.name_or_keyword()
    }

    fn begin(&mut self) -> Result<Statement> {
        let start = self.take_word("start");
        if start {
            self.expect_word("transaction")?;
        } else {
            self.inner.next_token();
            let _ = self.take_word("transaction") || self.take_word("work");
        }
        let modes = self.transaction_modes()?;
        Ok(Statement::Transaction(TransactionCommand::Begin { modes, start }))
    }

    /// ROLLBACK, and ROLLBACK TO with its savepoint.
    fn rollback(&mut self) -> Result<Statement> {
        let words = usize::from(matches!(self.word_at(1).as_str(), "transaction" | "work"));
        if self.word_at(1 + words) != "to" || self.word_at(0) == "abort" {
            return self.end(|chain| TransactionCommand::Rollback { chain });
        }
        for _ in 0..words + 2 {
            self.inner.next_token();
        }
        self.take_word("savepoint");
        Ok(Statement::Transaction(TransactionCommand::RollbackTo(self.name()?)))
    }

    fn end(&mut self, command: fn(bool) -> TransactionCommand) -> Result<Statement> {
        self.inner.next_token();
        if self.word_at(0) == "prepared" {
            return Err(SqlError::unsupported("two-phase commit"));
        }
        let _ = self.take_word("transaction") || self.take_word("work");
        let mut chain = false;
        if self.take_word("and") {
            chain = !self.take_word("no");
            self.expect_word("chain")?;
        }
        Ok(Statement::Transaction(command(chain)))
    }

    fn transaction_modes(&mut self) -> Result<TransactionModes> {
        let mut modes = TransactionModes::default();
        loop {
            if self.take_word("isolation") {
                self.expect_word("level")?;
                modes.isolation = Some(self.isolation_level()?);
            } else if self.take_word("read") {
                if self.take_word("only") {
                    modes.read_only = Some(true);
                } else {
                    self.expect_word("write")?;
                    modes.read_only = Some(false);
                }
            } else if self.take_word("not") {
                self.expect_word("deferrable")?;
                modes.deferrable = Some(false);
            } else if self.take_word("deferrable") {
                modes.deferrable = Some(true);
            } else if !self.inner.consume_token(&Token::Comma) {
                return Ok(modes);
            }
        }
    }

    fn isolation_level(&mut self) -> Result<IsolationLevel> {
        if self.take_word("read") {
            if self.take_word("uncommitted") {
                return Ok(IsolationLevel::ReadUncommitted);
            }
            self.expect_word("committed")?;
            return Ok(IsolationLevel::ReadCommitted);
        }
        if self.take_word("repeatable") {
            self.expect_word("read")?;
            return Ok(IsolationLevel::RepeatableRead);
        }
        self.expect_word("serializable")?;
        Ok(IsolationLevel::Serializable)
    }

    fn set(&mut self) -> Result<Statement> {
        self.inner.next_token();
        let mut local = false;
        if self.word_at(0) == "session" {
            match self.word_at(1).as_str() {
                "characteristics" => {
                    for word in ["session", "characteristics", "as", "transaction"] {
                        self.expect_word(word)?;
                    }
                    let modes = self.transaction_modes()?;
                    return Ok(Statement::SetTransaction { modes, session: true });
                }
                "authorization" => {
                    self.inner.next_token();
                    self.inner.next_token();
                    return self.set_identity("SET SESSION AUTHORIZATION");
                }
                _ => {
                    self.inner.next_token();
                }
            }
        } else {
            local = self.take_word("local");
        }
        match self.word_at(0).as_str() {
            "transaction" => {
                self.inner.next_token();
                if self.take_word("snapshot") {
                    return self.set_snapshot(local);
                }
                let modes = self.transaction_modes()?;
                return Ok(Statement::SetTransaction { modes, session: false });
            }
            "role" => {
                self.inner.next_token();
                return self.set_identity("SET ROLE");
            }
            "constraints" => return Err(SqlError::unsupported("SET CONSTRAINTS")),
            "time" if self.word_at(1) == "zone" => {
                self.inner.next_token();
                self.inner.next_token();
                let value = match self.word_at(0).as_str() {
                    "default" | "local" => {
                        self.inner.next_token();
                        None
                    }
                    _ => Some(self.set_value()?),
                };
                return Ok(Statement::Set { name: "timezone".to_owned(), value, local });
            }
            "names" => {
                self.inner.next_token();
                let value = if self.take_word("default") { None } else { Some(self.set_value()?) };
                return Ok(Statement::Set { name: "client_encoding".to_owned(), value, local });
            }
            _ => {}
        }
        let name = self.setting_name()?;
        if !self.take_word("to") && !self.inner.consume_token(&Token::Eq) {
            return Err(self.unexpected());
        }
        if self.take_word("default") {
            return Ok(Statement::Set { name, value: None, local });
        }
        let mut values = vec![self.set_value()?];
        while self.inner.consume_token(&Token::Comma) {
            values.push(self.set_value()?);
        }
        Ok(Statement::Set { name, value: Some(values.join(", ")), local })
    }

    fn set_snapshot(&mut self, local: bool) -> Result<Statement> {
        let name = self.string_constant()?;
        if local {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "SET LOCAL TRANSACTION SNAPSHOT is not implemented",
            ));
        }
        Ok(Statement::SetSnapshot { name })
    }

    /// A string constant in any of its spellings.
    fn string_constant(&mut self) -> Result<String> {
        let token = self.inner.next_token();
        match token.token {
            Token::SingleQuotedString(s) | Token::EscapedStringLiteral(s) => Ok(s),
            Token::DollarQuotedString(s) => Ok(s.value),
            other => Err(syntax_error(self.source, &other, position(self.source, token.span))),
        }
    }

    /// SET ROLE and SET SESSION AUTHORIZATION back to what they are.
    fn set_identity(&mut self, what: &str) -> Result<Statement> {
        if self.take_word("default") || self.take_word("none") {
            return Ok(Statement::Accepted { tag: "SET" });
        }
        Err(SqlError::unsupported(what))
    }

    fn setting_name(&mut self) -> Result<String> {
        let mut name = self.name()?;
        while self.inner.consume_token(&Token::Period) {
            name.push('.');
            name.push_str(&self.name()?);
        }
        Ok(name)
    }

    fn set_value(&mut self) -> Result<String> {
        let token = self.inner.next_token();
        Ok(match token.token {
            Token::SingleQuotedString(s) | Token::EscapedStringLiteral(s) => s,
            Token::DollarQuotedString(s) => s.value,
            Token::Number(n, _) => n,
            Token::Minus => format!("-{}", self.set_value()?),
            Token::Plus => self.set_value()?,
            Token::Word(word) if word.quote_style.is_some() => {
                kalamdb_catalog::name::quote_ident(&word.value).into_owned()
            }
            Token::Word(word) => word.value.to_lowercase(),
            other => return Err(syntax_error(self.source, &other, position(self.source, token.span))),
        })
    }

    fn reset(&mut self) -> Result<Statement> {
        self.inner.next_token();
        if self.take_word("all") {
            return Ok(Statement::Reset { name: None });
        }
        if self.word_at(0) == "session" && self.word_at(1) == "authorization" {
            self.inner.next_token();
            self.inner.next_token();
            return Ok(Statement::Accepted { tag: "RESET" });
        }
        if self.take_word("role") {
            return Ok(Statement::Accepted { tag: "RESET" });
        }
        if self.word_at(0) == "time" && self.word_at(1) == "zone" {
            self.inner.next_token();
            self.inner.next_token();
            return Ok(Statement::Reset { name: Some("timezone".to_owned()) });
        }
        let name = self.setting_name()?;
        Ok(Statement::Reset { name: Some(name) })
    }

    fn show(&mut self) -> Result<Statement> {
        self.inner.next_token();
        if self.take_word("all") {
            return Ok(Statement::ShowAll);
        }
        if self.take_word("namespaces") {
            let text = "SELECT nspname AS namespace FROM pg_catalog.pg_namespace ORDER BY 1";
            return Ok(Statement::Query(query(text)?));
        }
        let two = (self.word_at(0), self.word_at(1));
        let name = match (two.0.as_str(), two.1.as_str()) {
            ("time", "zone") => {
                self.inner.next_token();
                self.inner.next_token();
                "TimeZone".to_owned()
            }
            ("transaction", "isolation") => {
                for word in ["transaction", "isolation", "level"] {
                    self.expect_word(word)?;
                }
                "transaction_isolation".to_owned()
            }
            ("session", "authorization") => {
                self.inner.next_token();
                self.inner.next_token();
                "session_authorization".to_owned()
            }
            _ => self.setting_name()?,
        };
        Ok(Statement::Show { name })
    }

    fn discard(&mut self) -> Result<Statement> {
        self.inner.next_token();
        let what = self.word_at(0);
        match what.as_str() {
            "all" | "plans" | "sequences" | "temp" | "temporary" => {
                self.inner.next_token();
                Ok(Statement::Discard { what: if what == "temporary" { "temp".to_owned() } else { what } })
            }
            _ => Err(self.unexpected()),
        }
    }

    /// VACUUM, ANALYZE, CHECKPOINT as tools send them: options, then tables that must exist.
    fn maintenance(&mut self, word: &str) -> Result<Statement> {
        self.inner.next_token();
        let tag = match word {
            "vacuum" => "VACUUM",
            "analyze" => "ANALYZE",
            "checkpoint" => return Ok(Statement::Maintenance { tag: "CHECKPOINT", tables: Vec::new() }),
            _ => return Err(SqlError::unsupported("CLUSTER")),
        };
        if self.inner.consume_token(&Token::LParen) {
            let mut depth = 1;
            while depth > 0 {
                match self.inner.next_token().token {
                    Token::LParen => depth += 1,
                    Token::RParen => depth -= 1,
                    Token::EOF => return Err(self.unexpected()),
                    _ => {}
                }
            }
        }
        while ["full", "freeze", "verbose", "analyze"].iter().any(|w| self.take_word(w)) {}
        let mut tables = Vec::new();
        while !self.at_end() && self.peek() != Token::SemiColon {
            tables.push(self.parsed(|p| p.parse_object_name(false))?);
            if self.inner.consume_token(&Token::LParen) {
                while self.inner.next_token().token != Token::RParen {
                    if self.at_end() {
                        return Err(self.unexpected());
                    }
                }
            }
            if !self.inner.consume_token(&Token::Comma) {
                break;
            }
        }
        Ok(Statement::Maintenance { tag, tables })
    }

    fn copy(&mut self) -> Result<Statement> {
        self.inner.next_token();
        let legacy_binary = self.take_word("binary");
        let (target, columns) = if self.inner.consume_token(&Token::LParen) {
            let target = match self.word_at(0).as_str() {
                "subscribe" => CopyTarget::Subscribe(self.subscribe()?),
                _ => CopyTarget::Query(self.parsed(|p| p.parse_query())?),
            };
            if !self.inner.consume_token(&Token::RParen) {
                return Err(self.unexpected());
            }
            (target, Vec::new())
        } else {
            let name: ObjectName = self.parsed(|p| p.parse_object_name(false))?;
            (CopyTarget::Table(name), self.column_list()?)
        };
        let from = match self.word_at(0).as_str() {
            "from" => true,
            "to" => false,
            _ => return Err(self.unexpected()),
        };
        self.inner.next_token();
        let place = self.word_at(0);
        if !matches!(place.as_str(), "stdin" | "stdout") {
            return Err(SqlError::unsupported("COPY with a file or program")
                .hint("Use STDIN or STDOUT; psql's \\copy reads and writes files of the client."));
        }
        self.inner.next_token();
        let mut options = Vec::new();
        if legacy_binary {
            options.push(("format".to_owned(), Some("binary".to_owned())));
        }
        self.take_word("with");
        if self.inner.consume_token(&Token::LParen) {
            self.copy_options(&mut options)?;
        } else {
            self.legacy_copy_options(&mut options)?;
        }
        let filter = if self.take_word("where") { Some(self.parsed(|p| p.parse_expr())?) } else { None };
        Ok(Statement::Copy(Box::new(CopyStatement { target, columns, from, options, filter })))
    }

    fn column_list(&mut self) -> Result<Vec<Ident>> {
        let mut columns = Vec::new();
        if self.inner.consume_token(&Token::LParen) {
            loop {
                columns.push(self.parsed(|p| p.parse_identifier())?);
                if self.inner.consume_token(&Token::RParen) {
                    break;
                }
                if !self.inner.consume_token(&Token::Comma) {
                    return Err(self.unexpected());
                }
            }
        }
        Ok(columns)
    }

    /// `(FORMAT csv, HEADER, FORCE_QUOTE (a, b))`
    fn copy_options(&mut self, options: &mut Vec<(String, Option<String>)>) -> Result<()> {
        loop {
            let name = self.name_or_keyword()?;
            let value = match self.peek() {
                Token::Comma | Token::RParen => None,
                Token::Mul => {
                    self.inner.next_token();
                    Some("*".to_owned())
                }
                Token::LParen => Some(self.joined_columns()?),
                _ => Some(self.set_value()?),
            };
            options.push((name, value));
            if self.inner.consume_token(&Token::RParen) {
                return Ok(());
            }
            if !self.inner.consume_token(&Token::Comma) {
                return Err(self.unexpected());
            }
        }
    }

    fn joined_columns(&mut self) -> Result<String> {
        let columns = self.column_list()?;
        let quoted: Vec<String> =
            columns.iter().map(|c| kalamdb_catalog::name::quote_ident(&fold(c)).into_owned()).collect();
        Ok(quoted.join(", "))
    }

    /// The syntax before PostgreSQL 9.0: `WITH CSV HEADER DELIMITER ';'`.
    fn legacy_copy_options(&mut self, options: &mut Vec<(String, Option<String>)>) -> Result<()> {
        loop {
            let word = self.word_at(0);
            let option = match word.as_str() {
                "binary" | "csv" => ("format".to_owned(), Some(word.clone())),
                "freeze" | "header" => (word.clone(), None),
                "delimiter" | "null" | "quote" | "escape" | "encoding" => {
                    self.inner.next_token();
                    self.take_word("as");
                    let value = self.set_value()?;
                    options.push((word, Some(value)));
                    continue;
                }
                "force" => {
                    self.inner.next_token();
                    let name = match self.word_at(0).as_str() {
                        "quote" => "force_quote",
                        "null" => "force_null",
                        "not" => {
                            self.inner.next_token();
                            "force_not_null"
                        }
                        _ => return Err(self.unexpected()),
                    };
                    self.inner.next_token();
                    let value = if self.inner.consume_token(&Token::Mul) {
                        "*".to_owned()
                    } else {
                        let mut names = vec![self.name()?];
                        while self.inner.consume_token(&Token::Comma) {
                            names.push(self.name()?);
                        }
                        names.iter().map(|n| kalamdb_catalog::name::quote_ident(n)).collect::<Vec<_>>().join(", ")
                    };
                    options.push((name.to_owned(), Some(value)));
                    continue;
                }
                _ => return Ok(()),
            };
            self.inner.next_token();
            options.push(option);
        }
    }
}

fn wrap(statement: ast::Statement) -> Result<Statement> {
    Ok(match statement {
        ast::Statement::Query(query) => match *query {
            ast::Query { with: Some(with), body, .. } if is_dml(&body) => {
                let inner = match *body {
                    ast::SetExpr::Insert(s)
                    | ast::SetExpr::Update(s)
                    | ast::SetExpr::Delete(s)
                    | ast::SetExpr::Merge(s) => wrap(s)?,
                    _ => return Err(SqlError::internal("a statement that writes has no body")),
                };
                Statement::With { with: Box::new(with), statement: Box::new(inner) }
            }
            query => Statement::Query(Box::new(query)),
        },
        ast::Statement::Insert(insert) => Statement::Insert(Box::new(insert)),
        ast::Statement::Update(update) => Statement::Update(Box::new(update)),
        ast::Statement::Delete(delete) => Statement::Delete(Box::new(delete)),
        ast::Statement::Merge(merge) => Statement::Merge(Box::new(merge)),
        ast::Statement::Execute { name: Some(name), parameters, .. } => {
            Statement::Execute { name: super::bind::name_parts(&name)?.join("."), arguments: parameters }
        }
        other => Statement::Ddl(Box::new(other)),
    })
}

fn is_dml(body: &ast::SetExpr) -> bool {
    use ast::SetExpr::{Delete, Insert, Merge, Update};
    matches!(body, Insert(_) | Update(_) | Delete(_) | Merge(_))
}

/// What CREATE TABLE may hold that sqlparser cannot read, taken out of the tokens.
#[derive(Default)]
struct CreateExtras {
    likes: Vec<LikeItem>,
    names: Vec<Ident>,
    no_data: bool,
    unlogged: bool,
}

/// Puts the options behind AS IDENTITY into the one order that sqlparser takes.
fn order_identity_options(tokens: &mut Vec<TokenWithSpan>) {
    const ORDER: [&str; 6] = ["increment", "minvalue", "maxvalue", "start", "cache", "cycle"];
    let mut at = 0;
    while let Some(open) = (at..tokens.len().saturating_sub(1))
        .find(|i| word_of(&tokens[*i].token) == "identity" && tokens[i + 1].token == Token::LParen)
        .map(|i| i + 1)
    {
        let Some(close) = closing(tokens, open) else { return };
        let mut options: Vec<(usize, Vec<TokenWithSpan>)> = Vec::new();
        for token in tokens[open + 1..close].iter().cloned() {
            let word = word_of(&token.token);
            let after_no = options.last().is_some_and(|(_, o)| o.len() == 1 && word_of(&o[0].token) == "no");
            match ORDER.iter().position(|o| *o == word) {
                Some(rank) if after_no => {
                    if let Some(last) = options.last_mut() {
                        last.0 = rank;
                        last.1.push(token);
                    }
                }
                Some(rank) => options.push((rank, vec![token])),
                None if word == "no" || options.is_empty() => options.push((ORDER.len(), vec![token])),
                None => options.last_mut().into_iter().for_each(|(_, o)| o.push(token.clone())),
            }
        }
        options.sort_by_key(|(rank, _)| *rank);
        tokens.splice(open + 1..close, options.into_iter().flat_map(|(_, option)| option));
        at = close;
    }
}

/// An unquoted word in lower case; empty for other tokens.
fn word_of(token: &Token) -> String {
    match token {
        Token::Word(w) if w.quote_style.is_none() => w.value.to_lowercase(),
        _ => String::new(),
    }
}

/// The parenthesis that closes the one at `open`.
fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

/// Splits at commas outside parentheses and brackets.
fn split_items(tokens: &[TokenWithSpan]) -> Vec<Vec<TokenWithSpan>> {
    let mut items = vec![Vec::new()];
    let mut depth = 0;
    for token in tokens {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth -= 1,
            Token::Comma if depth == 0 => {
                items.push(Vec::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = items.last_mut() {
            last.push(token.clone());
        }
    }
    items.retain(|i| !i.is_empty());
    items
}

/// The tokens of a text, white space included.
fn tokens(source: &str) -> Result<Vec<TokenWithSpan>> {
    let tokens = Tokenizer::new(&DIALECT, source).tokenize_with_location().map_err(|e| {
        let span = datafusion::sql::sqlparser::tokenizer::Span::new(e.location, e.location);
        let at = position(source, span);
        let start = at.map_or(0, |p| p as usize - 1);
        let near: String = source.chars().skip(start).collect();
        let what = if near.starts_with('"') {
            format!("unterminated quoted identifier at or near \"{near}\"")
        } else if e.message.starts_with("Unterminated") {
            format!("unterminated quoted string at or near \"{near}\"")
        } else {
            let word: String = near.chars().take_while(|c| !c.is_whitespace()).collect();
            format!("syntax error at or near \"{word}\"")
        };
        SqlError::new(SqlState::SYNTAX_ERROR, what).at(at)
    })?;
    check_numbers(source, &tokens)?;
    check_names(source, &tokens)?;
    Ok(tokens)
}

/// Names longer than the limit, cut as PostgreSQL's scanner does (scansup.c), each with its notice.
fn cut_names(tokens: &mut [TokenWithSpan], notices: &mut Vec<SqlError>) {
    for at in 0..tokens.len() {
        if notify::is_query_channel(tokens, at) {
            continue;
        }
        let Token::Word(word) = &mut tokens[at].token else { continue };
        let short = truncate_name(&word.value);
        if short.len() < word.value.len() {
            let fold = |name: &str| if word.quote_style.is_none() { name.to_lowercase() } else { name.to_owned() };
            let message = format!("identifier \"{}\" will be truncated to \"{}\"", fold(&word.value), fold(short));
            notices.push(SqlError::new(SqlState::NAME_TOO_LONG, message));
            word.value.truncate(short.len());
        }
    }
}

/// 42601 for a number that runs into a name: `123abc` is neither.
fn check_numbers(source: &str, tokens: &[TokenWithSpan]) -> Result<()> {
    for pair in tokens.windows(2) {
        if let [
            TokenWithSpan { token: Token::Number(digits, _), span },
            TokenWithSpan { token: Token::Word(word), span: next },
        ] = pair
            && span.end == next.start
            && word.quote_style.is_none()
        {
            let near: String = digits.chars().chain(word.value.chars().take(1)).collect();
            let message = format!("trailing junk after numeric literal at or near \"{near}\"");
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(position(source, *span)));
        }
    }
    Ok(())
}

/// 42601 for `""`.
fn check_names(source: &str, tokens: &[TokenWithSpan]) -> Result<()> {
    let empty =
        |t: &&TokenWithSpan| matches!(&t.token, Token::Word(w) if w.quote_style.is_some() && w.value.is_empty());
    match tokens.iter().find(empty) {
        Some(token) => {
            let message = "zero-length delimited identifier at or near \"\"\"\"";
            Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(position(source, token.span)))
        }
        None => Ok(()),
    }
}

/// What the tokens mean in PostgreSQL before its grammar sees them: CREATE NAMESPACE is CREATE SCHEMA, ONLY is nothing where
/// there is no inheritance, and string literals on successive lines are one.
fn prepared(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut newline = false;
    for mut token in tokens {
        if let Token::Whitespace(space) = &token.token {
            newline |= space.to_string().contains('\n');
            continue;
        }
        let word = word_of(&token.token);
        let last = out.last().map(|t| word_of(&t.token)).unwrap_or_default();
        if word == "namespace" && matches!(last.as_str(), "create" | "drop" | "alter") {
            token.token = Token::make_keyword("SCHEMA");
        }
        if word == "only" && matches!(last.as_str(), "from" | "update" | "on") {
            continue;
        }
        if token.token == Token::Mul && ends_with_field_access(&out) {
            token.token = Token::make_word(STAR_FIELD, Some('"'));
        }
        if word == "only" && matches!(last.as_str(), "row" | "rows") && fetch_is_limit(&mut out) {
            continue;
        }
        if token.token == Token::RParen {
            move_exclusion(&mut out);
        }
        if matches!(word.as_str(), "preceding" | "following") {
            enclose_offset(&mut out);
        }
        if let Token::CustomBinaryOperator(name) = &token.token
            && let Some(operators) = split_signs(name)
        {
            out.extend(operators.into_iter().map(|operator| TokenWithSpan { token: operator, span: token.span }));
            newline = false;
            continue;
        }
        if newline
            && let Token::SingleQuotedString(more) = &token.token
            && let Some(TokenWithSpan { token: Token::SingleQuotedString(text), .. }) = out.last_mut()
        {
            text.push_str(more);
            newline = false;
            continue;
        }
        newline = false;
        out.push(token);
    }
    out
}

/// A frame's offset that begins with a string gets parentheses: sqlparser takes the string alone for an interval.
fn enclose_offset(out: &mut Vec<TokenWithSpan>) {
    let begins =
        |t: &TokenWithSpan| matches!(word_of(&t.token).as_str(), "range" | "rows" | "groups" | "between" | "and");
    let Some(before) = out.iter().rposition(begins) else { return };
    let longer = out.len() > before + 2;
    if let Some(first) = out.get(before + 1).filter(|t| longer && matches!(t.token, Token::SingleQuotedString(_))) {
        let open = TokenWithSpan { token: Token::LParen, span: first.span };
        let close = TokenWithSpan { token: Token::RParen, span: first.span };
        out.insert(before + 1, open);
        out.push(close);
    }
}

/// Signs at the end of an operator are operators of their own, unless it has a character that none of SQL's has (scan.l):
/// `1>-1` is `1 > -1`. The operator and its signs, if it has any.
fn split_signs(name: &str) -> Option<Vec<Token>> {
    let own = ['~', '!', '@', '#', '%', '^', '&', '|', '`', '?'];
    let operator = match name.trim_end_matches(['-', '+']) {
        "" => &name[..1],
        operator => operator,
    };
    if operator.len() == name.len() || name.contains(own) {
        return None;
    }
    let mut tokens = vec![match operator {
        "<" => Token::Lt,
        ">" => Token::Gt,
        "=" => Token::Eq,
        "<=" => Token::LtEq,
        ">=" => Token::GtEq,
        "<>" => Token::Neq,
        "*" => Token::Mul,
        "/" => Token::Div,
        "-" => Token::Minus,
        "+" => Token::Plus,
        other => Token::CustomBinaryOperator(other.to_owned()),
    }];
    let sign = |c: char| if c == '-' { Token::Minus } else { Token::Plus };
    tokens.extend(name[operator.len()..].chars().map(sign));
    Some(tokens)
}

/// The name that stands for `*` in `(row).*`, which sqlparser does not read.
const STAR_FIELD: &str = "(*)";

/// True for the field that `(row).*` has been made.
pub(super) fn is_star(field: &Ident) -> bool {
    field.value == STAR_FIELD && field.quote_style.is_some()
}

/// What the EXCLUDE of a window's frame begins with, where it stands as the name of the window that is copied: sqlparser
/// does not read EXCLUDE.
const EXCLUSION: &str = "(exclude) ";

/// `(w ... EXCLUDE TIES` as `("(exclude) ties w" ...`, at the end of what may be a window.
fn move_exclusion(out: &mut Vec<TokenWithSpan>) {
    let words: Vec<String> = out.iter().rev().take(4).rev().map(|t| word_of(&t.token)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (what, length) = match words.as_slice() {
        [_, "exclude", "current", "row"] => ("row", 3),
        [_, "exclude", "no", "others"] => ("nothing", 3),
        [.., "exclude", "group"] => ("group", 2),
        [.., "exclude", "ties"] => ("ties", 2),
        _ => return,
    };
    let rest = out.len() - length;
    let ends_frame = |t: &TokenWithSpan| matches!(word_of(&t.token).as_str(), "row" | "preceding" | "following");
    if !out[..rest].last().is_some_and(ends_frame) {
        return;
    }
    let mut depth = 0;
    let open = out[..rest].iter().rposition(|t| {
        match t.token {
            Token::RParen => depth += 1,
            Token::LParen if depth == 0 => return true,
            Token::LParen => depth -= 1,
            _ => {}
        }
        false
    });
    let Some(open) = open else { return };
    out.truncate(rest);
    let first = &mut out[open + 1];
    let copied = match &first.token {
        Token::Word(word)
            if word.quote_style.is_some()
                || !matches!(word_of(&first.token).as_str(), "partition" | "order" | "rows" | "range" | "groups") =>
        {
            Some(if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() })
        }
        _ => None,
    };
    let mark = Token::make_word(&format!("{EXCLUSION}{what} {}", copied.as_deref().unwrap_or_default()), Some('"'));
    match copied {
        Some(_) => first.token = mark,
        None => {
            let span = first.span;
            out.insert(open + 1, TokenWithSpan::new(mark, span));
        }
    }
}

/// What a window excludes from its frame, and the window it copies, if its name has been made of both.
pub(super) fn exclusion(name: &Ident) -> Option<(Exclude, Option<Ident>)> {
    let (what, copied) = name.value.strip_prefix(EXCLUSION)?.split_once(' ')?;
    let exclude = match what {
        "row" => Exclude::CurrentRow,
        "group" => Exclude::Group,
        "ties" => Exclude::Ties,
        _ => Exclude::Nothing,
    };
    let copied =
        (!copied.is_empty()).then(|| Ident { value: copied.to_owned(), quote_style: Some('"'), span: name.span });
    Some((exclude, copied))
}

/// `)` and `.`: what may come next is a field of a row.
fn ends_with_field_access(out: &[TokenWithSpan]) -> bool {
    matches!(out, [.., TokenWithSpan { token: Token::RParen, .. }, TokenWithSpan { token: Token::Period, .. }])
}

/// `FETCH FIRST (n) ROWS` before ONLY as LIMIT, which takes any expression; false if that is not what stands there.
fn fetch_is_limit(out: &mut Vec<TokenWithSpan>) -> bool {
    let is = |t: &TokenWithSpan, words: &[&str]| words.contains(&word_of(&t.token).as_str());
    let Some(fetch) = out.iter().rposition(|t| is(t, &["fetch"])) else { return false };
    if fetch == 0 || !out.get(fetch + 1).is_some_and(|t| is(t, &["first", "next"])) {
        return false;
    }
    let span = out[fetch].span;
    out.pop();
    out.splice(fetch..fetch + 2, [TokenWithSpan::new(Token::make_keyword("LIMIT"), span)]);
    if out.len() == fetch + 1 {
        out.push(TokenWithSpan::wrap(Token::Number("1".to_owned(), false)));
    }
    true
}

/// 42601 as PostgreSQL words it.
fn syntax_error(source: &str, token: &Token, at: Option<u32>) -> SqlError {
    match token {
        Token::EOF => SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at end of input")
            .at(Some(source.trim_end().chars().count() as u32 + 1)),
        token => SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{token}\"")).at(at),
    }
}
