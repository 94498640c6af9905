//! FOR UPDATE and its kin, as sqlparser can read them.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::word_of;

/// What the OF of a locking clause begins with: sqlparser reads one name there, and neither NO KEY UPDATE nor KEY SHARE.
const LOCKED_RELATIONS: &str = "(locked)";
const KEY_KEPT: &str = "(locked, key kept)";

/// A locking clause's OF as [`clauses`] has written it: whether it is the weaker form (NO KEY UPDATE, KEY SHARE), and
/// the names, None for one that is qualified.
pub(in crate::sql) fn locked_relations(of: &ObjectName) -> (bool, Vec<Option<Ident>>) {
    let mut parts = of.0.iter().filter_map(|p| p.as_ident());
    let weaker = parts.next().is_some_and(|mark| mark.value == KEY_KEPT);
    let name = |i: &Ident| (i.value != LOCKED_RELATIONS).then(|| i.clone());
    (weaker, parts.map(name).collect())
}

/// The OF of a weaker clause without names.
pub(in crate::sql) fn key_kept() -> ObjectName {
    ObjectName::from(vec![Ident::with_quote('"', KEY_KEPT)])
}

/// `FOR NO KEY UPDATE OF a, b` as `FOR UPDATE OF "(locked, key kept)".a.b`; a qualified name as the mark itself.
pub(super) fn clauses(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(is_for) {
        return tokens;
    }
    limits_first(&mut tokens);
    let mut out = Vec::with_capacity(tokens.len());
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let begins = is_for(&token);
        out.push(token);
        if !begins {
            continue;
        }
        let mut ahead: Vec<TokenWithSpan> = Vec::new();
        let mut weaker = false;
        let strength = loop {
            let Some(next) = rest.peek() else { break false };
            match (ahead.len(), word_of(&next.token).as_str()) {
                (0 | 2, "update") | (0 | 1, "share") => {
                    weaker = !ahead.is_empty();
                    ahead.clear();
                    out.extend(rest.next());
                    break true;
                }
                (0, "no" | "key") => ahead.extend(rest.next()),
                (1, "key") if word_of(&ahead[0].token) == "no" => ahead.extend(rest.next()),
                _ => break false,
            }
        };
        out.append(&mut ahead);
        if !strength {
            continue;
        }
        let of = rest.next_if(|t| word_of(&t.token) == "of");
        if of.is_none() && !weaker {
            continue;
        }
        let span = out.last().map_or_else(Span::empty, |t| t.span);
        let quoted = |text: &str| TokenWithSpan { token: Token::make_word(text, Some('"')), span };
        let dot = || TokenWithSpan { token: Token::Period, span };
        out.push(TokenWithSpan { token: Token::make_keyword("OF"), span });
        out.push(quoted(if weaker { KEY_KEPT } else { LOCKED_RELATIONS }));
        if of.is_some() {
            while let Some(mut name) = rest.next_if(|t| matches!(t.token, Token::Word(_))) {
                while rest.next_if(|t| t.token == Token::Period).is_some() {
                    rest.next();
                    name = quoted(LOCKED_RELATIONS);
                }
                out.push(dot());
                out.push(name);
                if rest.next_if(|t| t.token == Token::Comma).is_none() {
                    break;
                }
            }
        }
    }
    out
}

fn is_for(token: &TokenWithSpan) -> bool {
    word_of(&token.token) == "for"
}

/// `FOR UPDATE LIMIT 1` as `LIMIT 1 FOR UPDATE`: PostgreSQL takes both.
fn limits_first(tokens: &mut [TokenWithSpan]) {
    let mut at = 0;
    while at < tokens.len() {
        let mut end = at;
        while let Some(next) = end_of_clause(tokens, end) {
            end = next;
        }
        if end > at && matches!(word_at(tokens, end).as_str(), "limit" | "offset" | "fetch") {
            let limits = end_of_limits(tokens, end);
            tokens[at..limits].rotate_left(end - at);
            end = limits;
        }
        at = end.max(at + 1);
    }
}

fn word_at(tokens: &[TokenWithSpan], at: usize) -> String {
    tokens.get(at).map(|t| word_of(&t.token)).unwrap_or_default()
}

/// The end of the locking clause that begins here.
fn end_of_clause(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let word = |n: usize| word_at(tokens, at + n);
    let mut end = at
        + match [word(0).as_str(), word(1).as_str(), word(2).as_str(), word(3).as_str()] {
            ["for", "update" | "share", ..] => 2,
            ["for", "key", "share", _] => 3,
            ["for", "no", "key", "update"] => 4,
            _ => return None,
        };
    if word_at(tokens, end) == "of" {
        end += 1;
        let is_name = |t: &TokenWithSpan| matches!(t.token, Token::Word(_));
        while tokens.get(end).is_some_and(is_name) {
            end += 1;
            if !tokens.get(end).is_some_and(|t| matches!(t.token, Token::Comma | Token::Period)) {
                break;
            }
            end += 1;
        }
    }
    Some(match (word_at(tokens, end).as_str(), word_at(tokens, end + 1).as_str()) {
        ("nowait", _) => end + 1,
        ("skip", "locked") => end + 2,
        _ => end,
    })
}

/// The end of the query that LIMIT, OFFSET and FETCH end.
fn end_of_limits(tokens: &[TokenWithSpan], at: usize) -> usize {
    let mut depth = 0;
    let ends = |t: &TokenWithSpan| {
        match t.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return true,
            Token::RParen => depth -= 1,
            Token::SemiColon | Token::EOF => return true,
            _ => {}
        }
        depth == 0 && matches!(word_of(&t.token).as_str(), "returning" | "on" | "for")
    };
    tokens[at..].iter().position(ends).map_or(tokens.len(), |n| at + n)
}
