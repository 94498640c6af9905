//! json and jsonb (manual, section 8.14).
//!
//! Both are carried as text: json as it was written, jsonb in the canonical form that PostgreSQL prints (keys sorted by
//! length, then bytes; of duplicate keys the last; numbers as numeric prints them). So equal jsonb values have equal
//! texts except for the scale of numbers, and reading a member needs no tree: [`raw`] finds it in the text.

mod parse;
pub mod raw;
mod tree;

pub use parse::{canonical, parse, validate};
pub use tree::{Json, jsonb_sort_key, write_string};
