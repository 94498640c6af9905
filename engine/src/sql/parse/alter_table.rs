//! ALTER TABLE: its operations one by one, those that sqlparser lacks read here.

use datafusion::sql::sqlparser::ast::{self, Ident};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use kalamdb_catalog::{Result, SqlError};

use super::{DEPTH_MAX, DIALECT, Sql, order_identity_options, split_items};
use crate::sql::statement::{AlterOperation, AlterTable, Statement};

impl Sql<'_> {
    pub(super) fn alter_table(&mut self) -> Result<Statement> {
        self.inner.next_token();
        self.inner.next_token();
        let if_exists = self.take_words(&["if", "exists"]);
        self.take_word("only");
        let name = self.parsed(|p| p.parse_object_name(false))?;
        let _ = self.inner.consume_token(&Token::Mul);
        let mut tokens: Vec<TokenWithSpan> = Vec::new();
        while !self.at_end() && self.peek() != Token::SemiColon {
            tokens.push(self.inner.next_token());
        }
        if tokens.is_empty() {
            return Err(self.unexpected());
        }
        let mut operations = Vec::new();
        for item in split_items(&tokens) {
            let mut own = self.sub(item.clone());
            match own.own_alteration()? {
                Some(operation) if own.at_end() => operations.push(operation),
                Some(_) => return Err(own.unexpected()),
                None => operations.extend(self.alterations(item)?),
            }
        }
        Ok(Statement::AlterTable(Box::new(AlterTable { name, if_exists, operations })))
    }

    fn sub(&self, tokens: Vec<TokenWithSpan>) -> Sql<'_> {
        let inner = Parser::new(&DIALECT).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens);
        Sql { inner, source: self.source }
    }

    /// sqlparser's reading of one operation: the table's name does not matter.
    fn alterations(&self, mut item: Vec<TokenWithSpan>) -> Result<Vec<AlterOperation>> {
        order_identity_options(&mut item);
        super::constraints::constraint_clauses(&mut item)?;
        let word = |w: &str| TokenWithSpan::wrap(Token::make_keyword(w));
        let head = [word("ALTER"), word("TABLE"), TokenWithSpan::wrap(Token::make_word("t", None))];
        let mut sub = self.sub(head.into_iter().chain(item).collect());
        let parsed = sub.parsed(|p| p.parse_statement())?;
        match parsed {
            ast::Statement::AlterTable(alter) if sub.at_end() => {
                Ok(alter.operations.into_iter().map(|o| AlterOperation::Parsed(Box::new(o))).collect())
            }
            _ => Err(sub.unexpected()),
        }
    }

    /// An operation that sqlparser does not know.
    fn own_alteration(&mut self) -> Result<Option<AlterOperation>> {
        for persistence in ["logged", "unlogged"] {
            if self.take_words(&["set", persistence]) {
                let words = format!("ALTER TABLE ... SET {}", persistence.to_uppercase());
                return Err(SqlError::unsupported(words));
            }
        }
        if self.take_words(&["set", "schema"]) {
            return Ok(Some(AlterOperation::SetSchema(self.name()?)));
        }
        if self.word_at(0) == "reset" {
            self.inner.next_token();
            let names = self.parsed(|p| {
                p.expect_token(&Token::LParen)?;
                let names = p.parse_comma_separated(Parser::parse_identifier)?;
                p.expect_token(&Token::RParen)?;
                Ok(names)
            })?;
            return Ok(Some(AlterOperation::ResetOptions(names.iter().map(super::fold).collect())));
        }
        if self.take_words(&["alter", "constraint"]) {
            let name = self.ident()?;
            let (deferrable, deferred) = self.deferral()?;
            return Ok(Some(AlterOperation::AlterConstraint { name, deferrable, deferred }));
        }
        if self.word_at(0) == "add" {
            return self.constraint_using_index();
        }
        if self.word_at(0) == "alter" {
            return self.column_alteration();
        }
        Ok(None)
    }

    /// ADD [CONSTRAINT c] UNIQUE | PRIMARY KEY USING INDEX i
    fn constraint_using_index(&mut self) -> Result<Option<AlterOperation>> {
        let start = self.inner.index();
        self.inner.next_token();
        let name = if self.take_word("constraint") { Some(self.ident()?) } else { None };
        let primary = self.take_words(&["primary", "key", "using", "index"]);
        if !primary && !self.take_words(&["unique", "using", "index"]) {
            while self.inner.index() > start {
                self.inner.prev_token();
            }
            return Ok(None);
        }
        let index = self.ident()?;
        let (deferrable, deferred) = self.deferral()?;
        Ok(Some(AlterOperation::UsingIndex { name, primary, index, deferrable, deferred }))
    }

    /// ALTER \[COLUMN\] c SET GENERATED ..., RESTART, DROP IDENTITY, DROP EXPRESSION
    fn column_alteration(&mut self) -> Result<Option<AlterOperation>> {
        let start = self.inner.index();
        self.inner.next_token();
        self.take_word("column");
        let column = self.ident()?;
        let dropped = ["identity", "expression"].into_iter().find(|what| self.take_words(&["drop", what]));
        if let Some(what) = dropped {
            let if_exists = self.take_words(&["if", "exists"]);
            return Ok(Some(match what {
                "identity" => AlterOperation::DropIdentity { column, if_exists },
                _ => AlterOperation::DropExpression { column, if_exists },
            }));
        }
        let options = ["generated", "increment", "minvalue", "maxvalue", "start", "cache", "cycle", "no", "restart"];
        let sets = self.word_at(0) == "set" && options.contains(&self.word_at(1).as_str());
        if !sets && self.word_at(0) != "restart" {
            while self.inner.index() > start {
                self.inner.prev_token();
            }
            return Ok(None);
        }
        let mut always = None;
        let mut rest: Vec<TokenWithSpan> = Vec::new();
        while !self.at_end() {
            if self.take_words(&["set", "generated", "always"]) {
                always = Some(true);
            } else if self.take_words(&["set", "generated", "by", "default"]) {
                always = Some(false);
            } else if !self.take_word("set") {
                rest.push(self.inner.next_token());
            }
        }
        let options = self.sub(rest).sequence_options()?;
        Ok(Some(AlterOperation::SetIdentity { column, always, options }))
    }

    fn ident(&mut self) -> Result<Ident> {
        self.parsed(|p| p.parse_identifier())
    }

    /// \[NOT\] DEFERRABLE [INITIALLY DEFERRED | INITIALLY IMMEDIATE]
    fn deferral(&mut self) -> Result<(bool, bool)> {
        let (mut deferrable, mut deferred) = (None, None);
        loop {
            if self.take_words(&["not", "deferrable"]) {
                deferrable = Some(false);
            } else if self.take_word("deferrable") {
                deferrable = Some(true);
            } else if self.take_words(&["initially", "deferred"]) {
                deferred = Some(true);
            } else if self.take_words(&["initially", "immediate"]) {
                deferred = Some(false);
            } else {
                let deferred = deferred.unwrap_or(false);
                if deferred && deferrable == Some(false) {
                    return Err(crate::sql::handlers::constraint::not_deferrable());
                }
                return Ok((deferrable.unwrap_or(deferred), deferred));
            }
        }
    }
}
