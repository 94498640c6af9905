//! LISTEN, NOTIFY, UNLISTEN, SUBSCRIBE.

use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::{Sql, closing, syntax_error, word_of};
use crate::live::ListenOptions;
use crate::sql::bind::position;
use crate::sql::statement::{Statement, Subscribe};

impl Sql<'_> {
    pub(super) fn listen(&mut self) -> Result<Statement> {
        self.inner.next_token();
        let position = position(self.source, self.inner.peek_token().span);
        let channel = self.name()?;
        let mut options = ListenOptions::default();
        if is_query(&channel) && self.take_word("with") {
            self.live_options(&mut options, None)?;
        }
        Ok(Statement::Listen { channel, options, position })
    }

    /// SUBSCRIBE TO query [WITH (snapshot, since, progress)], up to what ends it. The query is kept as text, as LISTEN has it.
    pub(super) fn subscribe(&mut self) -> Result<Subscribe> {
        self.inner.next_token();
        self.expect_word("to")?;
        let start = self.inner.peek_token();
        let mut tokens: Vec<TokenWithSpan> = Vec::new();
        let mut depth = 0;
        loop {
            match self.peek() {
                Token::EOF => break,
                Token::SemiColon | Token::RParen if depth == 0 => break,
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            tokens.push(self.inner.next_token());
        }
        let mut subscribe = Subscribe::default();
        let mut end = self.inner.peek_token();
        if let Some(at) = options_at(&tokens) {
            end = tokens[at].clone();
            let rest = tokens.split_off(at + 1);
            let inner = Parser::new(&super::DIALECT).with_tokens_with_locations(rest);
            let mut sub = Sql { inner, source: self.source };
            sub.live_options(&mut subscribe.options, Some(&mut subscribe.progress))?;
        }
        let first = position(self.source, start.span).unwrap_or(1);
        let from = byte_at(self.source, first);
        let to = position(self.source, end.span).map_or(self.source.len(), |p| byte_at(self.source, p));
        let text = self.source.get(from..to).unwrap_or_default().trim_end();
        if !is_query(text) {
            return Err(syntax_error(self.source, &start.token, position(self.source, start.span)));
        }
        (subscribe.text, subscribe.position) = (text.into(), first);
        Ok(subscribe)
    }

    /// (snapshot = true, since = 7), and progress if it may be given.
    fn live_options(&mut self, options: &mut ListenOptions, mut progress: Option<&mut bool>) -> Result<()> {
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
            let on = || match value.as_str() {
                "true" | "on" | "1" => Ok(true),
                "false" | "off" | "0" => Ok(false),
                _ => Err(invalid()),
            };
            match (name.as_str(), progress.as_deref_mut()) {
                ("snapshot", _) => options.snapshot = on()?,
                ("since", _) => options.since = Some(value.parse().map_err(|_| invalid())?),
                ("progress", Some(progress)) => *progress = on()?,
                (_, may) => {
                    let (what, all) = match may {
                        Some(_) => ("SUBSCRIBE", "snapshot, since and progress"),
                        None => ("LISTEN", "snapshot and since"),
                    };
                    let message = format!("unrecognized {what} option \"{name}\"");
                    let error = SqlError::new(SqlState::SYNTAX_ERROR, message);
                    return Err(error.hint(format!("The options are {all}.")));
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

/// Where the WITH of `WITH (...)` at the end of a query is. A query of its own does not end in one.
fn options_at(tokens: &[TokenWithSpan]) -> Option<usize> {
    let last = tokens.len().checked_sub(1)?;
    let opens = |at: &usize| closing(tokens, *at) == Some(last);
    let open = (1..last).filter(|at| tokens[*at].token == Token::LParen).find(opens)?;
    (word_of(&tokens[open - 1].token) == "with").then_some(open - 1)
}

/// The byte at which a character begins, counted from 1.
fn byte_at(source: &str, position: u32) -> usize {
    let at = source.char_indices().nth(position.saturating_sub(1) as usize);
    at.map_or(source.len(), |(byte, _)| byte)
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
