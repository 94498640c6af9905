//! Clauses of INSERT that sqlparser lacks, put into its tokens where they fit: OVERRIDING, and what ON CONFLICT infers an
//! index from besides columns.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{closing, split_items, word_of};
use crate::sql::bind::{EXPRESSION_MARK, OVERRIDING_SYSTEM, OVERRIDING_USER, PREDICATE_MARK};

/// Rewrites the clauses of all INSERTs.
pub(super) fn insert_clauses(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 0;
    while at < tokens.len() {
        match word_of(&tokens[at].token).as_str() {
            "overriding" => overriding(&mut tokens, at),
            "conflict" if at > 0 && word_of(&tokens[at - 1].token) == "on" => conflict_target(&mut tokens, at),
            _ => {}
        }
        at += 1;
    }
    tokens
}

/// OVERRIDING SYSTEM VALUE becomes the last name of the column list.
fn overriding(tokens: &mut Vec<TokenWithSpan>, at: usize) {
    let word = |n: usize| tokens.get(at + n).map(|t| word_of(&t.token)).unwrap_or_default();
    let mark = match (word(1).as_str(), word(2).as_str()) {
        ("system", "value") => OVERRIDING_SYSTEM,
        ("user", "value") => OVERRIDING_USER,
        _ => return,
    };
    let name = TokenWithSpan { token: Token::make_word(mark, Some('"')), span: tokens[at].span };
    let other = |token| TokenWithSpan::wrap(token);
    if at > 0 && tokens[at - 1].token == Token::RParen {
        tokens.splice(at - 1..at + 3, [other(Token::Comma), name, other(Token::RParen)]);
    } else {
        tokens.splice(at..at + 3, [other(Token::LParen), name, other(Token::RParen)]);
    }
}

/// `(lower(a), b) WHERE c` becomes a list of names that hold the text of what is more than a name.
fn conflict_target(tokens: &mut Vec<TokenWithSpan>, at: usize) {
    let open = at + 1;
    if tokens.get(open).is_none_or(|t| t.token != Token::LParen) {
        return;
    }
    let Some(close) = closing(tokens, open) else { return };
    let named = |text: String, like: &TokenWithSpan| TokenWithSpan {
        token: Token::make_word(&text, Some('"')),
        span: like.span,
    };
    let mut list: Vec<TokenWithSpan> = Vec::new();
    for item in split_items(&tokens[open + 1..close]) {
        let Some(first) = item.first() else { return };
        if !list.is_empty() {
            list.push(TokenWithSpan::wrap(Token::Comma));
        }
        match item.as_slice() {
            [only] if matches!(only.token, Token::Word(_)) => list.push(only.clone()),
            _ => list.push(named(format!("{EXPRESSION_MARK}{}", text(&item)), first)),
        }
    }
    let mut end = close + 1;
    if tokens.get(end).is_some_and(|t| word_of(&t.token) == "where") {
        let start = end + 1;
        let mut depth = 0;
        end = start;
        while let Some(token) = tokens.get(end) {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ if depth == 0 && word_of(&token.token) == "do" => break,
                _ => {}
            }
            end += 1;
        }
        list.push(TokenWithSpan::wrap(Token::Comma));
        list.push(named(format!("{PREDICATE_MARK}{}", text(&tokens[start..end])), &tokens[close]));
    }
    tokens.splice(open + 1..end, list.into_iter().chain([TokenWithSpan::wrap(Token::RParen)]));
}

fn text(tokens: &[TokenWithSpan]) -> String {
    tokens.iter().map(|t| t.token.to_string()).collect::<Vec<_>>().join(" ")
}
