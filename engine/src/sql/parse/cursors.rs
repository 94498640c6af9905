//! DECLARE, FETCH and MOVE.

use std::time::Duration;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::{Sql, word_of};
use crate::session::{Direction, parse_milliseconds};
use crate::sql::bind::CURRENT_OF;
use crate::sql::statement::{Declare, Declared, Statement};

impl Sql<'_> {
    pub(super) fn declare(&mut self) -> Result<Statement> {
        self.inner.next_token();
        let name = self.name()?;
        let (mut scroll, mut hold) = (None, false);
        loop {
            if self.take_word("binary") {
                return Err(SqlError::unsupported("DECLARE ... BINARY"));
            } else if self.take_words(&["no", "scroll"]) {
                self.check_scroll(&mut scroll, false)?;
            } else if self.take_word("scroll") {
                self.check_scroll(&mut scroll, true)?;
            } else if !self.take_word("insensitive") && !self.take_word("asensitive") {
                break;
            }
        }
        self.expect_word("cursor")?;
        if self.take_words(&["with", "hold"]) {
            hold = true;
        } else {
            self.take_words(&["without", "hold"]);
        }
        self.expect_word("for")?;
        let of = match self.word_at(0).as_str() {
            "subscribe" => Declared::Subscribe(self.subscribe()?),
            _ => Declared::Query(self.parsed(|p| p.parse_query())?),
        };
        Ok(Statement::Declare(Box::new(Declare { name, scroll, hold, of })))
    }

    fn check_scroll(&self, scroll: &mut Option<bool>, wanted: bool) -> Result<()> {
        if scroll.replace(wanted).is_some_and(|before| before != wanted) {
            let message = "cannot specify both SCROLL and NO SCROLL";
            return Err(SqlError::new(SqlState::INVALID_CURSOR_DEFINITION, message));
        }
        Ok(())
    }

    /// FETCH and MOVE: direction, FROM or IN, name.
    pub(super) fn fetch(&mut self, moves: bool) -> Result<Statement> {
        self.inner.next_token();
        let direction = self.direction()?;
        let _ = self.take_word("from") || self.take_word("in");
        let name = self.name()?;
        let timeout = if !moves && self.take_word("with") { Some(self.fetch_timeout()?) } else { None };
        Ok(Statement::Fetch { name, direction, moves, timeout })
    }

    /// (timeout = '1s'): how long a cursor of a SUBSCRIBE waits for rows.
    fn fetch_timeout(&mut self) -> Result<Duration> {
        if !self.inner.consume_token(&Token::LParen) || !self.take_word("timeout") {
            return Err(self.unexpected());
        }
        let _ = self.inner.consume_token(&Token::Eq);
        let value = self.set_value()?;
        if !self.inner.consume_token(&Token::RParen) {
            return Err(self.unexpected());
        }
        let seconds = parse_milliseconds("timeout", &value)? / 1000.0;
        Duration::try_from_secs_f64(seconds).map_err(|_| {
            let message = format!("{value} is outside the valid range for parameter \"timeout\"");
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
        })
    }

    fn direction(&mut self) -> Result<Direction> {
        // A cursor may have a direction's name.
        let named = matches!(self.inner.peek_nth_token(1).token, Token::EOF | Token::SemiColon);
        let word = if named { String::new() } else { self.word_at(0) };
        let counted = |sql: &mut Self| sql.count();
        Ok(match word.as_str() {
            "next" => self.taken(Direction::Forward(1)),
            "prior" => self.taken(Direction::Forward(-1)),
            "first" => self.taken(Direction::Absolute(1)),
            "last" => self.taken(Direction::Absolute(-1)),
            "all" => self.taken(Direction::ForwardAll),
            "absolute" => {
                self.inner.next_token();
                Direction::Absolute(self.count()?.ok_or_else(|| self.unexpected())?)
            }
            "relative" => {
                self.inner.next_token();
                Direction::Relative(self.count()?.ok_or_else(|| self.unexpected())?)
            }
            "forward" => {
                self.inner.next_token();
                if self.take_word("all") {
                    Direction::ForwardAll
                } else {
                    Direction::Forward(counted(self)?.unwrap_or(1))
                }
            }
            "backward" => {
                self.inner.next_token();
                if self.take_word("all") {
                    return Ok(Direction::BackwardAll);
                }
                Direction::Forward(-counted(self)?.unwrap_or(1))
            }
            _ => Direction::Forward(self.count()?.unwrap_or(1)),
        })
    }

    fn taken(&mut self, direction: Direction) -> Direction {
        self.inner.next_token();
        direction
    }

    /// A whole number with its sign, if one comes.
    fn count(&mut self) -> Result<Option<i64>> {
        let sign = match self.peek() {
            Token::Minus => -1,
            Token::Plus => 1,
            Token::Number(..) => 0,
            _ => return Ok(None),
        };
        if sign != 0 {
            self.inner.next_token();
        }
        let Token::Number(digits, _) = self.peek() else { return Err(self.unexpected()) };
        // The grammar has int4 here.
        let Ok(number) = digits.parse::<i32>() else { return Err(self.unexpected()) };
        self.inner.next_token();
        Ok(Some(i64::from(number) * if sign < 0 { -1 } else { 1 }))
    }
}

/// `WHERE CURRENT OF c` becomes a name.
pub(super) fn current_of(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at + 2 < tokens.len() {
        if word_of(&tokens[at].token) == "current"
            && word_of(&tokens[at + 1].token) == "of"
            && at > 0
            && word_of(&tokens[at - 1].token) == "where"
            && let Token::Word(word) = &tokens[at + 2].token
        {
            let name = crate::sql::bind::fold(&word.clone().into_ident(tokens[at + 2].span));
            let token = Token::make_word(&format!("{CURRENT_OF}{name}"), Some('"'));
            let span = tokens[at].span;
            tokens.splice(at..at + 3, [TokenWithSpan { token, span }]);
        }
        at += 1;
    }
}
