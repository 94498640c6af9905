//! CREATE SEQUENCE, ALTER SEQUENCE and the options of identity columns: sqlparser wants them in one order, and lacks half.

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::Token;
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::Sql;
use crate::sql::statement::{AlterSequence, CreateSequence, SequenceAction, SequenceOptions, Statement};

impl Sql<'_> {
    /// CREATE [TEMP | UNLOGGED] SEQUENCE
    pub(super) fn creates_sequence(&self) -> bool {
        let kinds = ["temp", "temporary", "unlogged"];
        self.word_at(1) == "sequence" || (kinds.contains(&self.word_at(1).as_str()) && self.word_at(2) == "sequence")
    }

    pub(super) fn create_sequence(&mut self) -> Result<Statement> {
        self.inner.next_token();
        let temporary = self.take_word("temp") || self.take_word("temporary");
        self.take_word("unlogged");
        self.expect_word("sequence")?;
        let if_not_exists = self.take_words(&["if", "not", "exists"]);
        let name = self.parsed(|p| p.parse_object_name(false))?;
        let options = self.sequence_options()?;
        Ok(Statement::CreateSequence(Box::new(CreateSequence { name, temporary, if_not_exists, options })))
    }

    pub(super) fn alter_sequence(&mut self) -> Result<Statement> {
        self.inner.next_token();
        self.expect_word("sequence")?;
        let if_exists = self.take_words(&["if", "exists"]);
        let name = self.parsed(|p| p.parse_object_name(false))?;
        let action = if self.take_words(&["rename", "to"]) {
            SequenceAction::Rename(self.name()?)
        } else if self.take_words(&["set", "schema"]) {
            SequenceAction::SetSchema(self.name()?)
        } else if self.take_words(&["owner", "to"]) {
            SequenceAction::OwnerTo(self.name_or_keyword()?)
        } else {
            SequenceAction::Options(self.sequence_options()?)
        };
        Ok(Statement::AlterSequence(Box::new(AlterSequence { name, if_exists, action })))
    }

    /// Options up to a closing parenthesis or the end of the statement; each at most once.
    pub(super) fn sequence_options(&mut self) -> Result<SequenceOptions> {
        let mut options = SequenceOptions::default();
        while !self.at_end() && !matches!(self.peek(), Token::SemiColon | Token::RParen) {
            let taken = self.sequence_option(&mut options)?;
            if !taken {
                let message = "conflicting or redundant options";
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
            }
        }
        Ok(options)
    }

    /// One option; false if it was there already.
    fn sequence_option(&mut self, options: &mut SequenceOptions) -> Result<bool> {
        let word = self.word_at(0);
        self.inner.next_token();
        Ok(match word.as_str() {
            "as" => {
                let ty = self.parsed(|p| p.parse_data_type())?;
                options.ty.replace(ty).is_none()
            }
            "increment" => {
                self.take_word("by");
                options.increment.replace(self.sequence_number()?).is_none()
            }
            "minvalue" => options.min.replace(Some(self.sequence_number()?)).is_none(),
            "maxvalue" => options.max.replace(Some(self.sequence_number()?)).is_none(),
            "start" => {
                self.take_word("with");
                options.start.replace(self.sequence_number()?).is_none()
            }
            "restart" => {
                let with =
                    self.take_word("with") || matches!(self.peek(), Token::Number(..) | Token::Minus | Token::Plus);
                let value = if with { Some(self.sequence_number()?) } else { None };
                options.restart.replace(value).is_none()
            }
            "cache" => options.cache.replace(self.sequence_number()?).is_none(),
            "cycle" => options.cycle.replace(true).is_none(),
            "no" if self.take_word("minvalue") => options.min.replace(None).is_none(),
            "no" if self.take_word("maxvalue") => options.max.replace(None).is_none(),
            "no" if self.take_word("cycle") => options.cycle.replace(false).is_none(),
            "owned" if self.take_word("by") => {
                let owner = self.parsed(|p| p.parse_object_name(false))?;
                options.owned_by.replace(owner).is_none()
            }
            _ => {
                self.inner.prev_token();
                return Err(self.unexpected());
            }
        })
    }

    /// A whole number with its sign.
    fn sequence_number(&mut self) -> Result<i64> {
        let negative = self.inner.consume_token(&Token::Minus);
        if !negative {
            let _ = self.inner.consume_token(&Token::Plus);
        }
        let Token::Number(digits, _) = self.peek() else { return Err(self.unexpected()) };
        let sign = if negative { "-" } else { "" };
        if digits.contains(|c: char| !c.is_ascii_digit()) {
            let message = format!("invalid input syntax for type bigint: \"{sign}{digits}\"");
            return Err(SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message));
        }
        let number = format!("{sign}{digits}").parse::<i64>().map_err(|_| {
            let message = format!("value \"{sign}{digits}\" is out of range for type bigint");
            SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
        })?;
        self.inner.next_token();
        Ok(number)
    }

    /// All of the words, or none.
    pub(super) fn take_words(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(n, word)| self.word_at(n) == *word);
        if found {
            words.iter().for_each(|_| drop(self.inner.next_token()));
        }
        found
    }
}

impl SequenceOptions {
    /// Those that sqlparser has read for an identity column.
    pub(crate) fn of_identity(given: &[ast::SequenceOptions]) -> Result<SequenceOptions> {
        let number = |e: &ast::Expr| {
            e.to_string().trim_start_matches('+').parse::<i64>().map_err(|_| {
                SqlError::new(
                    SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                    format!("value \"{e}\" is out of range for type bigint"),
                )
            })
        };
        let mut options = SequenceOptions::default();
        for option in given {
            match option {
                ast::SequenceOptions::IncrementBy(e, _) => options.increment = Some(number(e)?),
                ast::SequenceOptions::MinValue(e) => options.min = Some(e.as_ref().map(number).transpose()?),
                ast::SequenceOptions::MaxValue(e) => options.max = Some(e.as_ref().map(number).transpose()?),
                ast::SequenceOptions::StartWith(e, _) => options.start = Some(number(e)?),
                ast::SequenceOptions::Cache(e) => options.cache = Some(number(e)?),
                // It reads NO CYCLE as true.
                ast::SequenceOptions::Cycle(no) => options.cycle = Some(!no),
            }
        }
        Ok(options)
    }
}
