//! PostgreSQL's grammar where sqlparser's PostgreSQL dialect differs from it: operators it reads with another precedence
//! or not at all. Everything else is sqlparser's.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Interval, UnaryOperator};
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// The dialect of every parser of the engine.
#[derive(Debug)]
pub(super) struct Postgres;

const INNER: PostgreSqlDialect = PostgreSqlDialect {};

/// Switches that the inner dialect turns on.
macro_rules! switched_on {
    ($($name:ident)*) => { $(fn $name(&self) -> bool { INNER.$name() })* };
}

impl Dialect for Postgres {
    /// sqlparser asks in places whether a dialect *is* PostgreSQL's.
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    switched_on! {
        supports_unicode_string_literal supports_filter_during_aggregation supports_group_by_expr
        allow_extract_custom allow_extract_single_quotes supports_create_index_with_clause
        supports_explain_with_utility_options supports_listen_notify supports_factorial_operator
        supports_bitwise_shift_operators supports_comment_on supports_load_extension
        supports_empty_projections supports_nested_comments supports_string_escape_constant
        supports_numeric_literal_underscores supports_array_typedef_with_brackets supports_geometric_types
        supports_set_names supports_alter_column_type_using supports_notnull_operator supports_interval_options
        supports_insert_table_alias supports_create_table_like_parenthesized supports_select_wildcard_with_alias
        supports_comma_separated_trim supports_xml_expressions supports_comment_optimizer_hint
    }

    /// `make_interval(days := 1)`, beside `=>`.
    fn supports_named_fn_args_with_assignment_operator(&self) -> bool {
        true
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        INNER.identifier_quote_style(identifier)
    }
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        INNER.is_delimited_identifier_start(ch)
    }
    fn is_identifier_start(&self, ch: char) -> bool {
        INNER.is_identifier_start(ch)
    }
    fn is_identifier_part(&self, ch: char) -> bool {
        INNER.is_identifier_part(ch)
    }
    fn is_custom_operator_part(&self, ch: char) -> bool {
        INNER.is_custom_operator_part(ch)
    }
    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        INNER.is_reserved_for_identifier(keyword)
    }
    fn prec_value(&self, precedence: Precedence) -> u8 {
        INNER.prec_value(precedence)
    }

    /// A sign binds closer than `^` and COLLATE: `-2 ^ 2` is 4. `interval(p) '...'` keeps its precision, and `(VALUES ...)`
    /// is a subquery.
    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let values = is_word(parser, 1, "values") && parser.peek_nth_token_ref(2).token == Token::LParen;
        if values && parser.peek_token_ref().token == Token::LParen {
            return Some(values_subquery(parser));
        }
        if is_word(parser, 0, "interval") && parser.peek_nth_token_ref(1).token == Token::LParen {
            return Some(interval_with_precision(parser));
        }
        let op = match parser.peek_token_ref().token {
            Token::Minus => UnaryOperator::Minus,
            Token::Plus => UnaryOperator::Plus,
            _ => return None,
        };
        parser.advance_token();
        let operand = parser.parse_subexpr(self.prec_value(Precedence::AtTz) + 10);
        Some(operand.map(|expr| Expr::UnaryOp { op, expr: Box::new(expr) }))
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        if is_word(parser, 0, "isnull") {
            return Some(Ok(self.prec_value(Precedence::Is)));
        }
        if is_match(&parser.peek_token_ref().token) {
            return Some(Ok(self.prec_value(Precedence::PgOther)));
        }
        INNER.get_next_precedence(parser)
    }

    fn parse_infix(&self, parser: &mut Parser<'_>, left: &Expr, _precedence: u8) -> Option<Result<Expr, ParserError>> {
        if is_comparison(left) && is_comparison_token(&parser.peek_token_ref().token) {
            return Some(parser.expected_ref("end of comparison", parser.peek_token_ref()));
        }
        if is_word(parser, 0, "isnull") {
            parser.advance_token();
            return Some(Ok(Expr::IsNull(Box::new(left.clone()))));
        }
        let negated = parser.peek_keyword(Keyword::NOT);
        let words = usize::from(negated);
        if is_word(parser, words, "in") && parser.peek_nth_token_ref(words + 1).token == Token::LParen {
            return Some(in_list(parser, left, negated));
        }
        if parser.parse_keyword(Keyword::COLLATE) {
            let collation = parser.parse_object_name(false);
            return Some(collation.map(|collation| Expr::Collate { expr: Box::new(left.clone()), collation }));
        }
        if parser.parse_keywords(&[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]) {
            return Some(self.operand(parser, Precedence::Is).map(|r| Expr::IsDistinctFrom(Box::new(left.clone()), r)));
        }
        if parser.parse_keywords(&[Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM]) {
            return Some(
                self.operand(parser, Precedence::Is).map(|r| Expr::IsNotDistinctFrom(Box::new(left.clone()), r)),
            );
        }
        self.between_symmetric(parser, left)
    }
}

impl Postgres {
    fn operand(&self, parser: &mut Parser<'_>, precedence: Precedence) -> Result<Box<Expr>, ParserError> {
        parser.parse_subexpr(self.prec_value(precedence)).map(Box::new)
    }

    /// `x BETWEEN SYMMETRIC a AND b` is what PostgreSQL makes of it: BETWEEN one way or the other.
    fn between_symmetric(&self, parser: &mut Parser<'_>, left: &Expr) -> Option<Result<Expr, ParserError>> {
        let negated = parser.peek_keyword(Keyword::NOT);
        let words = usize::from(negated);
        if !is_word(parser, words, "between") || !is_word(parser, words + 1, "symmetric") {
            return None;
        }
        for _ in 0..words + 2 {
            parser.advance_token();
        }
        let bounds = self.operand(parser, Precedence::Between).and_then(|low| {
            parser.expect_keyword_is(Keyword::AND)?;
            Ok((low, self.operand(parser, Precedence::Between)?))
        });
        Some(bounds.map(|(low, high)| {
            let between = |low: &Expr, high: &Expr| {
                Box::new(Expr::Between {
                    expr: Box::new(left.clone()),
                    negated,
                    low: Box::new(low.clone()),
                    high: Box::new(high.clone()),
                })
            };
            let op = if negated { BinaryOperator::And } else { BinaryOperator::Or };
            let either = Expr::BinaryOp { left: between(&low, &high), op, right: between(&high, &low) };
            Expr::Nested(Box::new(either))
        }))
    }
}

fn values_subquery(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let query = parser.parse_query()?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Subquery(query))
}

/// `IN (...)`. A list may begin with a subquery: `IN ((SELECT 1), 2)`.
fn in_list(parser: &mut Parser<'_>, left: &Expr, negated: bool) -> Result<Expr, ParserError> {
    for _ in 0..usize::from(negated) + 2 {
        parser.advance_token();
    }
    let expr = Box::new(left.clone());
    let subquery = parser.maybe_parse(|p| {
        let query = p.parse_query()?;
        p.expect_token(&Token::RParen)?;
        Ok(query)
    })?;
    if let Some(subquery) = subquery {
        return Ok(Expr::InSubquery { expr, subquery, negated });
    }
    let list = parser.parse_comma_separated(Parser::parse_expr)?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::InList { expr, list, negated })
}

fn interval_with_precision(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    parser.advance_token();
    let fractional_seconds_precision = parser.parse_optional_precision()?;
    let value = Expr::Value(parser.parse_value()?);
    Ok(Expr::Interval(Interval {
        value: Box::new(value),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision,
    }))
}

/// Comparisons do not associate: `1 < 2 = true` is an error, `(1 < 2) = true` is not.
fn is_comparison(e: &Expr) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(e, Expr::BinaryOp { op: Eq | NotEq | Lt | LtEq | Gt | GtEq, .. })
}

fn is_comparison_token(token: &Token) -> bool {
    matches!(token, Token::Eq | Token::Neq | Token::Lt | Token::LtEq | Token::Gt | Token::GtEq)
}

/// Matching binds as other operators do, closer than comparisons.
fn is_match(token: &Token) -> bool {
    matches!(
        token,
        Token::Tilde | Token::TildeAsterisk | Token::ExclamationMarkTilde | Token::ExclamationMarkTildeAsterisk
    )
}

/// True if the n-th token ahead is this unquoted word.
fn is_word(parser: &Parser<'_>, n: usize, word: &str) -> bool {
    matches!(&parser.peek_nth_token_ref(n).token,
        Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}
