//! Formatting by template: `to_char`, `to_date`, `to_timestamp(text, text)`, `to_number` (PostgreSQL manual, section 9.8).
//!
//! A template is cut into nodes once per batch of equal templates. Names of months and days are English, separators those
//! of the C locale, which is the only one KalamDB has.

mod date_in;
mod date_out;
mod number;
mod number_in;
mod tables;
mod template;

pub(super) use tables::FUNCTIONS;

#[cfg(test)]
mod tests;
