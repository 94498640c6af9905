//! Two results of a query compared.

use std::collections::HashMap;

use super::query::RowEvent;

type Row = (String, String);

/// What turns one result into the other, deletions first. Rows are told apart by their keys; `whole`: the key is the row,
/// which may be there several times.
pub(super) fn compare(before: &[Row], after: &[Row], seq: u64, whole: bool) -> Vec<RowEvent> {
    let mut old: HashMap<&str, Vec<&str>> = HashMap::with_capacity(before.len());
    for (key, row) in before {
        old.entry(key).or_default().push(row);
    }
    let mut come: Vec<RowEvent> = Vec::new();
    let insert = |key: &str, row: &str| RowEvent {
        seq,
        op: "insert",
        key: key.to_owned(),
        new: Some(row.to_owned()),
        old: None,
    };
    for (key, row) in after {
        match old.get_mut(key.as_str()) {
            Some(rows) if !rows.is_empty() => {
                let same = rows.iter().position(|r| r == row);
                let was = rows.swap_remove(same.unwrap_or(0));
                if same.is_none() && !whole {
                    come.push(RowEvent {
                        seq,
                        op: "update",
                        key: key.clone(),
                        new: Some(row.clone()),
                        old: Some(was.to_owned()),
                    });
                }
            }
            _ => come.push(insert(key, row)),
        }
    }
    let mut events: Vec<RowEvent> = Vec::new();
    for (key, row) in before {
        if let Some(rows) = old.get_mut(key.as_str())
            && let Some(at) = rows.iter().position(|r| r == row)
        {
            rows.swap_remove(at);
            events.push(RowEvent { seq, op: "delete", key: key.clone(), new: None, old: Some(row.clone()) });
        }
    }
    events.append(&mut come);
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(list: &[(&str, &str)]) -> Vec<Row> {
        list.iter().map(|(key, row)| ((*key).to_owned(), (*row).to_owned())).collect()
    }

    fn shown(before: &[(&str, &str)], after: &[(&str, &str)], whole: bool) -> Vec<String> {
        let events = compare(&rows(before), &rows(after), 7, whole);
        events.iter().map(|e| format!("{} {} {:?} {:?}", e.op, e.key, e.old.as_deref(), e.new.as_deref())).collect()
    }

    #[test]
    fn rows_are_told_apart_by_their_keys() {
        assert_eq!(
            shown(&[("1", "a"), ("2", "b"), ("3", "c")], &[("3", "c"), ("2", "B"), ("4", "d")], false),
            [r#"delete 1 Some("a") None"#, r#"update 2 Some("b") Some("B")"#, r#"insert 4 None Some("d")"#]
        );
    }

    #[test]
    fn whole_rows_count_as_often_as_they_are_there() {
        assert_eq!(
            shown(&[("a", "a"), ("a", "a"), ("b", "b")], &[("a", "a"), ("c", "c"), ("c", "c")], true),
            [
                r#"delete a Some("a") None"#,
                r#"delete b Some("b") None"#,
                r#"insert c None Some("c")"#,
                r#"insert c None Some("c")"#
            ]
        );
        assert!(shown(&[("a", "a"), ("b", "b")], &[("b", "b"), ("a", "a")], true).is_empty());
    }
}
