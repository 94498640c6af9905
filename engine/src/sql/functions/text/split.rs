//! split_part, string_to_array and string_to_table.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringBuilder};
use kalamdb_catalog::{Result, SqlError, SqlState};

pub(super) fn split_part(s: &str, delimiter: &str, n: i32) -> Result<String> {
    if n == 0 {
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "field position must not be zero"));
    }
    if delimiter.is_empty() {
        return Ok(if matches!(n, 1 | -1) { s.to_owned() } else { String::new() });
    }
    let nth = n.unsigned_abs() as usize - 1;
    let part = if n > 0 {
        s.split(delimiter).nth(nth)
    } else {
        // Split from the front also here: rsplit would cut overlapping delimiters elsewhere.
        let parts: Vec<&str> = s.split(delimiter).collect();
        parts.len().checked_sub(nth + 1).map(|i| parts[i])
    };
    Ok(part.unwrap_or("").to_owned())
}

/// string_to_array(string, delimiter [, null_string]): a NULL delimiter splits into characters.
pub(super) fn string_to_array(args: &[ArrayRef]) -> Result<ArrayRef> {
    let text = args[0].as_string::<i32>();
    let delimiter = args[1].as_string::<i32>();
    let null_string = args.get(2).map(|a| a.as_string::<i32>());
    let mut out = ListBuilder::new(StringBuilder::new());
    for i in 0..text.len() {
        if text.is_null(i) {
            out.append_null();
            continue;
        }
        let null_string = null_string.filter(|a| a.is_valid(i)).map(|a| a.value(i));
        let mut push = |part: &str| {
            if null_string == Some(part) {
                out.values().append_null();
            } else {
                out.values().append_value(part);
            }
        };
        let s = text.value(i);
        if s.is_empty() {
        } else if delimiter.is_null(i) {
            let mut buffer = [0; 4];
            s.chars().for_each(|c| push(c.encode_utf8(&mut buffer)));
        } else if delimiter.value(i).is_empty() {
            push(s);
        } else {
            s.split(delimiter.value(i)).for_each(push);
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringArray;

    use super::*;

    #[test]
    fn splits() {
        assert_eq!(split_part("abc~@~def~@~ghi", "~@~", 2).unwrap(), "def");
        assert_eq!(split_part("abc,def,ghi", ",", -1).unwrap(), "ghi");
        assert_eq!(split_part("abc", ",", 2).unwrap(), "");
        assert!(split_part("abc", ",", 0).is_err());
        let column = |v: Vec<Option<&str>>| Arc::new(StringArray::from(v)) as ArrayRef;
        let lists = string_to_array(&[
            column(vec![Some("xx~~yy~~zz"), Some("ab"), Some(""), None]),
            column(vec![Some("~~"), None, Some(","), Some(",")]),
            column(vec![Some("yy"), None, None, None]),
        ])
        .unwrap();
        let lists = lists.as_list::<i32>();
        assert_eq!(lists.value(0).as_string::<i32>(), &StringArray::from(vec![Some("xx"), None, Some("zz")]));
        assert_eq!(lists.value(1).as_string::<i32>(), &StringArray::from(vec!["a", "b"]));
        assert_eq!(lists.value(2).len(), 0);
        assert!(lists.is_null(3));
    }
}
