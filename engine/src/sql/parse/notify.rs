//! LISTEN, NOTIFY, UNLISTEN.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::{Sql, word_of};
use crate::live::ListenOptions;
use crate::sql::bind::position;
use crate::sql::statement::Statement;

impl Sql<'_> {
    pub(super) fn listen(&mut self) -> Result<Statement> {
        self.inner.next_token();
        let position = position(self.source, self.inner.peek_token().span);
        let channel = self.name()?;
        let mut options = ListenOptions::default();
        if is_query(&channel) && self.take_word("with") {
            self.listen_options(&mut options)?;
        }
        Ok(Statement::Listen { channel, options, position })
    }

    /// (snapshot = true, since = 7)
    fn listen_options(&mut self, options: &mut ListenOptions) -> Result<()> {
        if !self.inner.consume_token(&Token::LParen) {
            return Err(self.unexpected());
        }
        loop {
            let name = self.name()?;
            let given = self.inner.consume_token(&Token::Eq);
            let value = if given { self.set_value()? } else { "true".to_owned() };
            let invalid = || {
                let message = format!("invalid value for option \"{name}\": \"{value}\"");
                SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
            };
            match name.as_str() {
                "snapshot" => {
                    options.snapshot = match value.as_str() {
                        "true" | "on" | "1" => true,
                        "false" | "off" | "0" => false,
                        _ => return Err(invalid()),
                    };
                }
                "since" => options.since = Some(value.parse().map_err(|_| invalid())?),
                _ => {
                    let message = format!("unrecognized LISTEN option \"{name}\"");
                    return Err(
                        SqlError::new(SqlState::SYNTAX_ERROR, message).hint("The options are snapshot and since.")
                    );
                }
            }
            if self.inner.consume_token(&Token::Comma) {
                continue;
            }
            return if self.inner.consume_token(&Token::RParen) { Ok(()) } else { Err(self.unexpected()) };
        }
    }

    /// UNLISTEN channel | *
    pub(super) fn unlisten(&mut self) -> Result<Statement> {
        self.inner.next_token();
        let all = self.inner.consume_token(&Token::Mul);
        Ok(Statement::Unlisten { channel: if all { None } else { Some(self.name()?) } })
    }

    /// KILL LIVE QUERY 'id'
    pub(super) fn kill_live_query(&mut self) -> Result<Statement> {
        self.inner.next_token();
        self.inner.next_token();
        self.expect_word("query")?;
        Ok(Statement::KillLiveQuery { id: self.set_value()? })
    }

    /// NOTIFY channel [, 'payload']
    pub(super) fn notify(&mut self) -> Result<Statement> {
        self.inner.next_token();
        let channel = self.name()?;
        let payload = if self.inner.consume_token(&Token::Comma) { self.string_constant()? } else { String::new() };
        Ok(Statement::Notify { channel, payload })
    }
}

/// True for a channel whose text is a query: LISTEN to it is a live query. It begins as one.
pub(crate) fn is_query(channel: &str) -> bool {
    let text = channel.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let goes_on = rest.starts_with(|c: char| c.is_whitespace() || "*('\"".contains(c)) && !rest.trim().is_empty();
    matches!(word.to_ascii_lowercase().as_str(), "select" | "table" | "with") && goes_on
}

/// True for the channel of LISTEN and UNLISTEN that is a query, at a place among tokens: it is not a name and is not cut.
pub(super) fn is_query_channel(tokens: &[TokenWithSpan], at: usize) -> bool {
    let Token::Word(word) = &tokens[at].token else { return false };
    let before = tokens[..at].iter().rev().find(|t| !matches!(t.token, Token::Whitespace(_)));
    let listens = before.is_some_and(|t| matches!(word_of(&t.token).as_str(), "listen" | "unlisten"));
    listens && word.quote_style.is_some() && is_query(&word.value)
}
