//! Actions of MERGE that sqlparser lacks, made into ones it has.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::{DIALECT, word_of};
use crate::sql::bind::{MERGE_DEFAULTS, MERGE_NOTHING};

/// DO NOTHING, and INSERT DEFAULT VALUES.
pub(super) fn merge_actions(tokens: &mut Vec<TokenWithSpan>) {
    if !tokens.iter().any(|t| word_of(&t.token) == "merge") {
        return;
    }
    let mut at = 0;
    while at + 2 < tokens.len() {
        let word = |n: usize| word_of(&tokens[at + n].token);
        let found = match (word(0).as_str(), word(1).as_str(), word(2).as_str()) {
            ("then", "do", "nothing") => {
                let matched = (0..at).rev().find(|i| word_of(&tokens[*i].token) == "matched");
                let not = matched.is_some_and(|m| m > 0 && word_of(&tokens[m - 1].token) == "not");
                Some(if not {
                    (1, format!("INSERT (\"{MERGE_NOTHING}\") VALUES (0)"))
                } else {
                    (1, format!("UPDATE SET \"{MERGE_NOTHING}\" = 0"))
                })
            }
            ("insert", "default", "values") => Some((0, format!("INSERT (\"{MERGE_DEFAULTS}\") VALUES (0)"))),
            _ => None,
        };
        if let Some((skip, text)) = found
            && let Ok(made) = Tokenizer::new(&DIALECT, &text).tokenize_with_location()
        {
            let span = tokens[at].span;
            let made = made
                .into_iter()
                .filter(|t| !matches!(t.token, Token::Whitespace(_)))
                .map(|t| TokenWithSpan { token: t.token, span });
            tokens.splice(at + skip..at + 3, made.collect::<Vec<_>>());
        }
        at += 1;
    }
}
