//! Statements that nobody wrote: those of the scripts with parts changed. Shared with the fuzz targets of ci/fuzz.
//!
//! Most changes keep it SQL: a value for another, an operator, a function, a query inside another. A seed gives the same
//! statements on every machine.

use std::borrow::Cow;

use crate::files::scripts;
use crate::script;

/// Values at the edges of types.
const EDGES: &[&str] = &[
    "NULL",
    "''",
    "0",
    "-1",
    "32767",
    "2147483647",
    "(-2147483648)",
    "9223372036854775807",
    "1e400",
    "1e-400",
    "0.5",
    "'NaN'",
    "'NaN'::numeric",
    "'infinity'::float8",
    "'-infinity'::timestamp",
    "'{}'",
    "'{NULL}'",
    "'{}'::int[]",
    "'[]'",
    "'{}'::jsonb",
    "'\u{e9}\u{1F600}'",
    "'2000-01-01'",
    "'1 day'::interval",
    "$1",
    "$2::int",
    "true",
    "now()",
    "ARRAY[1, NULL]",
    "(SELECT 1)",
    "(SELECT NULL)",
    "ROW(1, 2)",
    "'4714-11-24 BC'::date",
    "'x'::bytea",
    "'a'::char(3)",
    "1.50",
    "'0'::oid",
];

/// Types to cast to.
const TYPES: &[&str] = &[
    "int",
    "text",
    "numeric",
    "date",
    "timestamptz",
    "interval",
    "jsonb",
    "int[]",
    "bool",
    "name",
    "\"char\"",
    "regclass",
    "uuid",
    "bytea",
    "float4",
    "oid",
    "time",
    "timestamp",
    "varchar(2)",
    "char(3)",
    "numeric(5,2)",
    "text[]",
    "int2",
    "json",
];

const OPERATORS: &[&str] = &[
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "||",
    "=",
    "<>",
    "<",
    ">=",
    "->",
    "->>",
    "@>",
    "<@",
    "~",
    "!~*",
    "&",
    "#",
    "<<",
    "AND",
    "OR",
    "IN",
    "LIKE",
    "IS DISTINCT FROM",
    "= ANY",
    "AT TIME ZONE",
];

/// What may be around a query, which stands for `Q`; `R` is another one.
const AROUND: &[&str] = &[
    "SELECT * FROM ( Q ) AS x",
    "( Q ) UNION ALL ( R )",
    "( Q ) EXCEPT ( R )",
    "( Q ) INTERSECT ( R )",
    "EXPLAIN Q",
    "CREATE TABLE zz AS Q",
    "CREATE VIEW zz AS Q",
    "SELECT ( Q )",
    "SELECT ARRAY ( Q )",
    "SELECT EXISTS ( Q )",
    "WITH z AS ( Q ) SELECT * FROM z",
    "WITH z AS ( Q ) , y AS ( R ) SELECT * FROM z , y",
    "INSERT INTO t Q",
    "SELECT count ( * ) FROM ( Q ) x",
    "SELECT DISTINCT * FROM ( Q ) x ORDER BY 1 DESC LIMIT 2",
    "SELECT 1 IN ( Q )",
    "SELECT * FROM ( Q ) x JOIN ( R ) y ON true",
    "SELECT * FROM ( Q ) x LEFT JOIN LATERAL ( R ) y ON true",
    "SELECT x FROM ( Q ) x",
    "DELETE FROM t WHERE EXISTS ( Q )",
    "SELECT row_number ( ) OVER ( ) , * FROM ( Q ) x",
    "SELECT * FROM ( Q ) x NATURAL JOIN ( R ) y",
    "PREPARE p AS Q",
    "SELECT * FROM ( Q ) x WHERE ( Q ) IS NULL",
];

/// What takes a second or a gigabyte by design, which says nothing about bugs, or waits for a connection.
const LEFT_OUT: &[&str] = &["pg_sleep", "repeat", "pad(", "pad (", "series", "pg_terminate", "pg_cancel"];

/// Tokens of a statement that is made here, at most.
const TOKENS_MAX: usize = 400;

/// A source of numbers: splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    fn text(&mut self, list: &[&'static str]) -> &'static str {
        list[self.below(list.len())]
    }
}

/// The statements of the scripts, and what they are made of.
#[derive(Default)]
pub(crate) struct Corpus {
    /// Those of each file.
    pub(crate) files: Vec<Vec<String>>,
    /// Tokens of every kind.
    tokens: Vec<String>,
    values: Vec<String>,
    functions: Vec<String>,
    /// What stands in select lists.
    expressions: Vec<String>,
    queries: Vec<String>,
}

/// The parts of a text, to be replaced.
type Tokens<'a> = Vec<Cow<'a, str>>;

impl Corpus {
    pub(crate) fn load() -> Corpus {
        let mut corpus = Corpus::default();
        for file in scripts("sql", ".slt") {
            let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            corpus.files.push(script::parse(&text).cases.into_iter().map(|case| case.sql).collect());
        }
        for text in corpus.files.clone().iter().flatten() {
            corpus.take_apart(text);
        }
        for list in [&mut corpus.tokens, &mut corpus.values, &mut corpus.functions, &mut corpus.expressions] {
            list.sort();
            list.dedup();
        }
        corpus
    }

    fn take_apart(&mut self, text: &str) {
        let list = tokens(text);
        self.tokens.extend(list.iter().map(|t| (*t).to_owned()));
        self.values.extend(list.iter().filter(|t| is_value(t)).map(|t| (*t).to_owned()));
        let called = list.windows(2).filter(|w| w[1] == "(" && is_name(w[0]));
        self.functions.extend(called.map(|w| w[0].to_owned()));
        if list.first() != Some(&"SELECT") {
            return;
        }
        let body = list.strip_suffix(&[";"]).unwrap_or(&list);
        self.queries.push(join(body));
        let (mut depth, mut item) = (0, Vec::new());
        for token in body[1..].iter().chain(&[";"]) {
            match *token {
                "(" | "[" => depth += 1,
                ")" | "]" => depth -= 1,
                _ => {}
            }
            let last = ["FROM", "WHERE", "ORDER", "LIMIT", "UNION", "AS", "GROUP", ";"].contains(token);
            if depth == 0 && (last || *token == ",") {
                if !item.is_empty() {
                    self.expressions.push(join(&item));
                }
                if last {
                    return;
                }
                item.clear();
            } else if *token != "DISTINCT" {
                item.push(*token);
            }
        }
    }

    /// What makes the relations that the statements of a file are about.
    pub(crate) fn setup(&self, file: usize) -> impl Iterator<Item = &str> {
        let makes = ["CREATE TABLE", "CREATE VIEW", "INSERT INTO"];
        self.files[file].iter().map(String::as_str).filter(move |s| makes.iter().any(|m| s.starts_with(m)))
    }

    /// A statement near one of a file's.
    pub(crate) fn statement(&self, file: usize, random: &mut Random) -> String {
        loop {
            let text = self.mutated(random.pick(&self.files[file]).as_str(), random);
            if !is_left_out(&text) {
                return text;
            }
        }
    }

    /// The text with some of its parts changed.
    pub(crate) fn mutated(&self, text: &str, random: &mut Random) -> String {
        let mut list: Tokens<'_> = tokens(text).into_iter().map(Cow::Borrowed).collect();
        for _ in 0..=random.below(3) {
            self.mutate(&mut list, random);
            list.truncate(TOKENS_MAX);
        }
        let list: Vec<&str> = list.iter().map(Cow::as_ref).collect();
        let mut text = join(&list);
        // Now and then a character inside a token.
        if random.below(32) == 0 && !text.is_empty() {
            let at = text.char_indices().nth(random.below(text.chars().count())).map_or(0, |c| c.0);
            let odd = ['\'', '"', '\\', '$', '\u{e9}', '\0', '-', '/', '*', '.', '9', 'e', ':', '{'];
            text.insert(at, *random.pick(&odd));
        }
        text
    }

    fn mutate<'a>(&'a self, list: &mut Tokens<'a>, random: &mut Random) {
        let wanted = random.below(18);
        let called = |at: usize| list.get(at + 1).is_some_and(|t| t == "(");
        // Where a change of this kind can be.
        let fits = |at: &usize| match wanted {
            0..8 => is_value(&list[*at]),
            8 => is_name(&list[*at]) && called(*at),
            9 => list[*at].starts_with(is_sign) && list[*at] != "*",
            10..12 => is_name(&list[*at]) && !called(*at),
            12 => *at > 0 && list[*at - 1] == "::",
            13..16 => *at == 0 && ["SELECT", "VALUES", "WITH"].contains(&list[0].as_ref()),
            _ => true,
        };
        let places: Vec<usize> = (0..list.len()).filter(fits).collect();
        if places.is_empty() {
            return;
        }
        let at = *random.pick(&places);
        list[at] = match wanted {
            0..3 => random.pick(&self.values).as_str().into(),
            3..5 => random.text(EDGES).into(),
            6 => format!("{}({})", random.pick(&self.functions), list[at]).into(),
            7 => format!("({})::{}", list[at], random.text(TYPES)).into(),
            8 => random.pick(&self.functions).as_str().into(),
            9 => random.text(OPERATORS).into(),
            10 => list[*random.pick(&places)].clone(),
            5 | 11 => format!("({})", random.pick(&self.expressions)).into(),
            12 => random.text(TYPES).into(),
            13..16 => return self.surround(list, random),
            16 => random.pick(&self.tokens).as_str().into(),
            _ => return self.break_up(list, random),
        };
    }

    /// Puts a query into another statement.
    fn surround<'a>(&'a self, list: &mut Tokens<'a>, random: &mut Random) {
        let end = list.iter().position(|t| t == ";").unwrap_or(list.len());
        let query: Vec<&str> = list[..end].iter().map(Cow::as_ref).collect();
        let query = join(&query);
        let mut made: Tokens<'a> = Vec::new();
        for token in tokens(random.text(AROUND)) {
            let text = match token {
                "Q" => query.as_str(),
                "R" => random.pick(&self.queries),
                token => token,
            };
            made.extend(tokens(text).into_iter().map(|t| Cow::Owned(t.to_owned())));
        }
        *list = made;
    }

    /// What mostly leaves something that is no SQL any more.
    fn break_up<'a>(&'a self, list: &mut Tokens<'a>, random: &mut Random) {
        let (from, other) = (random.below(list.len()), random.below(list.len()));
        let to = (from + 1 + random.below(6)).min(list.len());
        match random.below(4) {
            0 => drop(list.drain(from..to)),
            1 => {
                let copy = list[from..to].to_vec();
                list.splice(other..other, copy);
            }
            2 => list.swap(from, other),
            _ => {
                let donor = tokens(random.pick(&self.queries).as_str());
                let start = random.below(donor.len());
                list.truncate(from);
                list.extend(donor[start..].iter().map(|t| Cow::Borrowed(*t)));
            }
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_lowercase())
}

fn is_value(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_digit() || c == '\'') || ["NULL", "true", "false"].contains(&token)
}

fn is_sign(c: char) -> bool {
    "<>=!~@#%^&|?-+*/".contains(c)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

pub(crate) fn is_left_out(text: &str) -> bool {
    let text = text.to_lowercase();
    LEFT_OUT.iter().any(|word| text.contains(word))
}

/// Rough tokens: words, numbers, quoted texts, runs of signs. White space is not kept.
pub(crate) fn tokens(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '\'' | '"' => rest[1..].find(first).map_or(rest.len(), |at| at + 2),
            c if c.is_ascii_digit() => rest.find(|c| !is_word(c) && c != '.').unwrap_or(rest.len()),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c if is_sign(c) => rest.find(|c| !is_sign(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        found.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    found
}

/// The tokens with spaces between them, except around dots.
pub(crate) fn join(list: &[&str]) -> String {
    let mut out = String::new();
    for (i, token) in list.iter().enumerate() {
        if i > 0 && *token != "." && list[i - 1] != "." {
            out.push(' ');
        }
        out.push_str(token);
    }
    out
}

/// A shorter text of which `fails` still holds: ranges of tokens are taken out as long as it does.
pub(crate) async fn minimised(text: &str, mut fails: impl AsyncFnMut(&str) -> bool) -> String {
    let mut list = tokens(text);
    if !fails(&join(&list)).await {
        return text.to_owned();
    }
    let mut size = (list.len() / 2).max(1);
    loop {
        let mut at = 0;
        let mut shorter = false;
        while at < list.len() {
            let mut rest = list.clone();
            rest.drain(at..(at + size).min(list.len()));
            if fails(&join(&rest)).await {
                list = rest;
                shorter = true;
            } else {
                at += 1;
            }
        }
        if size == 1 && !shorter {
            return join(&list);
        }
        size = (size / 2).max(1);
    }
}
