//! Clauses of constraints that sqlparser lacks, put where its grammar has room for a name.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use kalamdb_catalog::{Result, SqlError, SqlState};

use super::{closing, word_of};
use crate::sql::bind::fold;
use crate::sql::handlers::constraint::{NOT_DISTINCT_MARK, SET_COLUMNS_MARK};

/// Rewrites the constraints of CREATE TABLE and ALTER TABLE.
pub(super) fn constraint_clauses(tokens: &mut Vec<TokenWithSpan>) -> Result<()> {
    refuse_exclusion(tokens)?;
    let mut at = 0;
    while at < tokens.len() {
        let word = |n: usize| tokens.get(at + n).map(|t| word_of(&t.token)).unwrap_or_default();
        match (word(0).as_str(), word(1).as_str()) {
            // There is no table that could inherit.
            ("no", "inherit") if at > 0 && tokens[at - 1].token == Token::RParen => {
                tokens.drain(at..at + 2);
                continue;
            }
            ("unique", "nulls") => nulls_of_column(tokens, at),
            ("set", "null" | "default") => set_columns(tokens, at)?,
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

fn quoted(name: &str) -> TokenWithSpan {
    TokenWithSpan::wrap(Token::make_word(name, Some('"')))
}

/// `a int UNIQUE NULLS NOT DISTINCT`: the name of the constraint says it. Of a table's constraint sqlparser reads it.
fn nulls_of_column(tokens: &mut Vec<TokenWithSpan>, at: usize) {
    let not = tokens.get(at + 2).is_some_and(|t| word_of(&t.token) == "not");
    let end = at + if not { 4 } else { 3 };
    if tokens.get(end).is_some_and(|t| t.token == Token::LParen) {
        return;
    }
    tokens.drain(at + 1..end.min(tokens.len()));
    if !not {
        return;
    }
    if at >= 2
        && word_of(&tokens[at - 2].token) == "constraint"
        && let Token::Word(word) = &tokens[at - 1].token
    {
        let name = fold(&word.clone().into_ident(tokens[at - 1].span));
        tokens[at - 1] = quoted(&format!("{NOT_DISTINCT_MARK}{name}"));
    } else {
        tokens.splice(at..at, [TokenWithSpan::wrap(Token::make_keyword("CONSTRAINT")), quoted(NOT_DISTINCT_MARK)]);
    }
}

/// `ON DELETE SET NULL (a, b)`: the columns go in front of FOREIGN KEY's own.
fn set_columns(tokens: &mut Vec<TokenWithSpan>, at: usize) -> Result<()> {
    let open = at + 2;
    if tokens.get(open).is_none_or(|t| t.token != Token::LParen) || at == 0 {
        return Ok(());
    }
    let on = word_of(&tokens[at - 1].token);
    if on == "update" {
        let what = word_of(&tokens[at + 1].token).to_uppercase();
        let message = format!("a column list with SET {what} is only supported for ON DELETE actions");
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    }
    let Some(close) = closing(tokens, open).filter(|_| on == "delete") else { return Ok(()) };
    let names: Vec<String> = tokens[open + 1..close]
        .iter()
        .filter_map(|t| match &t.token {
            Token::Word(word) => Some(fold(&word.clone().into_ident(t.span))),
            _ => None,
        })
        .collect();
    tokens.drain(open..=close);
    let key =
        (1..at).rev().find(|i| word_of(&tokens[*i].token) == "key" && word_of(&tokens[*i - 1].token) == "foreign");
    if let Some(key) = key {
        tokens.insert(key + 1, quoted(&format!("{SET_COLUMNS_MARK}{}", names.join("\0"))));
    }
    Ok(())
}

/// 0A000 for EXCLUDE [USING method] ( ... ) where a constraint stands.
fn refuse_exclusion(tokens: &[TokenWithSpan]) -> Result<()> {
    let word = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map(|t| word_of(&t.token)).unwrap_or_default();
    let is = |at: usize, wanted: Token| tokens.get(at).is_some_and(|t| t.token == wanted);
    for at in 0..tokens.len() {
        let begins = word(at.checked_sub(1)) == "add"
            || word(at.checked_sub(2)) == "constraint"
            || at.checked_sub(1).is_none_or(|before| is(before, Token::LParen) || is(before, Token::Comma));
        let goes_on = is(at + 1, Token::LParen) || word(Some(at + 1)) == "using";
        if word(Some(at)) == "exclude" && begins && goes_on {
            return Err(SqlError::unsupported("an exclusion constraint"));
        }
    }
    Ok(())
}
