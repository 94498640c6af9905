//! Keys as bytes whose order is the order of what they stand for.
//!
//! A row's key is `storage_id u32 | owner | primary key | !commit_seq u64`, all big endian. Everything but the last
//! eight bytes is "the key" in this crate; the last eight make it a version, newest first. Encoded values are
//! self-delimiting, so within one storage no key is a prefix of another: that is what lets a version be found by
//! cutting off eight bytes, and lets ranges be given without sequence numbers.

use kalamdb_catalog::{PgType, StorageId};

use crate::types::{Interval, Value, numeric};

/// Length of the version suffix.
pub const SEQ_LEN: usize = 8;
/// Length of the storage id at the head of every key.
pub const STORAGE_LEN: usize = 4;

/// The key of a row: storage, owner (user tables only), primary key columns in key order.
///
/// Values must be of a type that [`is_key_type`] takes and not NULL: DDL and NOT NULL checks come before.
pub fn encode_key(storage: StorageId, owner: Option<&str>, key: &[(PgType, Value<'_>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(STORAGE_LEN + key.len() * 9 + SEQ_LEN + owner.map_or(0, |o| o.len() + 2));
    out.extend_from_slice(&storage.to_be_bytes());
    if let Some(owner) = owner {
        push_bytes(&mut out, owner.as_bytes());
    }
    for (ty, value) in key {
        push_value(&mut out, *ty, value);
    }
    out
}

/// The key of a row in a table without a primary key.
pub fn row_id_key(storage: StorageId, id: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(STORAGE_LEN + 8 + SEQ_LEN);
    out.extend_from_slice(&storage.to_be_bytes());
    out.extend_from_slice(&id.to_be_bytes());
    out
}

/// The storage that a key is in.
pub fn storage_of(key: &[u8]) -> Option<StorageId> {
    key.first_chunk().map(|id| StorageId::from_be_bytes(*id))
}

/// The range of all keys of a storage, end exclusive.
pub fn storage_range(storage: StorageId) -> (Vec<u8>, Vec<u8>) {
    let start = storage.to_be_bytes().to_vec();
    let end = match storage.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![0xFF; STORAGE_LEN + 1],
    };
    (start, end)
}

/// The first key after all keys that begin with `prefix`; use it as an exclusive end.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < 0xFF {
            *last += 1;
            return end;
        }
        end.pop();
    }
    // Only a prefix of 0xFF alone comes here; storage ids never get that far.
    vec![0xFF; prefix.len() + SEQ_LEN + 1]
}

/// A bound just after every version of `key` and before every other key: start of a range that excludes `key`, or end
/// of one that includes it.
pub fn after(key: &[u8]) -> Vec<u8> {
    let mut bound = Vec::with_capacity(key.len() + SEQ_LEN + 1);
    bound.extend_from_slice(key);
    bound.extend_from_slice(&[0xFF; SEQ_LEN]);
    bound.push(0);
    bound
}

/// The key of a range that holds no other: `key` up to `after(key)`.
pub(super) fn point<'a>(start: &'a [u8], end: &[u8]) -> Option<&'a [u8]> {
    let rest = end.strip_prefix(start)?;
    let is_version = start.len() > STORAGE_LEN;
    (is_version && rest.len() == SEQ_LEN + 1 && rest[..SEQ_LEN] == [0xFF; SEQ_LEN] && rest[SEQ_LEN] == 0)
        .then_some(start)
}

/// True for types that a primary key may have: those with a total order and an encoding here.
pub fn is_key_type(ty: PgType) -> bool {
    !(ty.list_element().is_some()
        || matches!(ty, PgType::JSON | PgType::JSONB | PgType::XML | PgType::XID | PgType::CID | PgType::PG_NODE_TREE))
        && ty.info().kind == 'b'
}

/// Appends one value. Order of the bytes = PostgreSQL's order of the values (text in C collation), and values that
/// PostgreSQL calls equal have equal bytes: -0 and 0, `1.0` and `1.00`, `char(n)` with and without trailing blanks,
/// `1 month` and `30 days`.
pub fn push_value(out: &mut Vec<u8>, ty: PgType, value: &Value<'_>) {
    match value {
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::Int2(v) => out.extend_from_slice(&(*v as u16 ^ 0x8000).to_be_bytes()),
        Value::Int4(v) | Value::Date(v) => out.extend_from_slice(&(*v as u32 ^ 0x8000_0000).to_be_bytes()),
        // Unsigned, although its carrier is not.
        Value::Int8(v) if ty == PgType::PG_LSN => out.extend_from_slice(&v.to_be_bytes()),
        Value::Int8(v) | Value::Time(v) | Value::Timestamp(v) => push_i64(out, *v),
        Value::Float4(v) => {
            let bits = if v.is_nan() { f32::NAN.to_bits() & 0x7FFF_FFFF } else { (*v + 0.0).to_bits() };
            let ordered = if bits >> 31 == 0 { bits | 0x8000_0000 } else { !bits };
            out.extend_from_slice(&ordered.to_be_bytes());
        }
        Value::Float8(v) => {
            let bits = if v.is_nan() { f64::NAN.to_bits() & (u64::MAX >> 1) } else { (*v + 0.0).to_bits() };
            let ordered = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
            out.extend_from_slice(&ordered.to_be_bytes());
        }
        Value::Oid(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Text(v) if ty == PgType::BPCHAR => push_bytes(out, v.trim_end_matches(' ').as_bytes()),
        Value::Text(v) => push_bytes(out, v.as_bytes()),
        Value::Bytes(v) if ty == PgType::NUMERIC => {
            out.extend_from_slice(numeric::sort_key(v));
        }
        Value::Bytes(v) => push_bytes(out, v),
        Value::Uuid(v) => out.extend_from_slice(v),
        Value::Interval(v) => {
            let total = (interval_total(v) as u128) ^ (1 << 127);
            out.extend_from_slice(&total.to_be_bytes());
        }
        Value::Null | Value::Array(_) => unreachable!("key columns are NOT NULL and of a key type"),
    }
}

/// Appends a value of an index: a byte that says whether it is NULL, in front or behind as the index has it, then its bytes,
/// turned round if the index descends.
pub fn push_index_value(out: &mut Vec<u8>, ty: PgType, value: &Value<'_>, descending: bool, nulls_first: bool) {
    if value.is_null() {
        out.push(null_mark(nulls_first));
        return;
    }
    out.push(NOT_NULL_MARK);
    let start = out.len();
    push_value(out, ty, value);
    if descending {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// In front of an index's value that is not NULL.
pub const NOT_NULL_MARK: u8 = 1;

/// What stands for NULL in an index.
pub const fn null_mark(nulls_first: bool) -> u8 {
    if nulls_first { 0 } else { 2 }
}

/// The value of an entry whose key ends with the row's key, which begins at `at`.
pub fn entry_with_row_in_key(at: usize) -> Vec<u8> {
    let mut value = vec![1];
    value.extend_from_slice(&(at as u32).to_be_bytes());
    value
}

/// The value of an entry that is the only one of its key; `row` is the row's key behind the storage id.
pub fn entry_with_row(row: &[u8]) -> Vec<u8> {
    let mut value = vec![0];
    value.extend_from_slice(row);
    value
}

/// The row's key, behind the storage id, of an entry. None for what is no entry.
pub fn row_of_entry<'a>(key: &'a [u8], value: &'a [u8]) -> Option<&'a [u8]> {
    match value.split_first()? {
        (0, row) => Some(row),
        (1, at) => key.get(u32::from_be_bytes(at.try_into().ok()?) as usize..),
        _ => None,
    }
}

/// What PostgreSQL compares intervals by: microseconds, with months of 30 days and days of 24 hours.
fn interval_total(v: &Interval) -> i128 {
    (i128::from(v.months) * 30 + i128::from(v.days)) * 86_400_000_000 + i128::from(v.micros)
}

fn push_i64(out: &mut Vec<u8>, v: i64) {
    out.extend_from_slice(&(v as u64 ^ 1 << 63).to_be_bytes());
}

/// Bytes with 0x00 written as 0x00 0xFF, ended by 0x00 0x00.
fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    for &b in bytes {
        out.push(b);
        if b == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

/// Makes a key the key of its version at `seq`.
pub(crate) fn push_seq(key: &mut Vec<u8>, seq: u64) {
    key.extend_from_slice(&(!seq).to_be_bytes());
}

/// Takes a stored key apart into key and sequence number. `None` for what is no row key.
pub(crate) fn split(stored: &[u8]) -> Option<(&[u8], u64)> {
    let (key, seq) = stored.split_last_chunk::<SEQ_LEN>()?;
    Some((key, !u64::from_be_bytes(*seq)))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    fn enc(ty: PgType, v: Value<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        push_value(&mut out, ty, &v);
        out
    }

    fn text(s: &str) -> Value<'_> {
        Value::Text(Cow::Borrowed(s))
    }

    #[test]
    fn ascending() {
        let floats = [f64::NEG_INFINITY, -1.5, -f64::MIN_POSITIVE, 0.0, 1e-300, 2.0, f64::INFINITY, f64::NAN];
        for w in floats.windows(2) {
            assert!(enc(PgType::FLOAT8, Value::Float8(w[0])) < enc(PgType::FLOAT8, Value::Float8(w[1])), "{w:?}");
            let (a, b) = (w[0] as f32, w[1] as f32);
            assert!(enc(PgType::FLOAT4, Value::Float4(a)) <= enc(PgType::FLOAT4, Value::Float4(b)), "{w:?}");
        }
        for w in ["", "\u{1}", "a", "a\u{1}", "ab", "b", "é"].windows(2) {
            assert!(enc(PgType::TEXT, text(w[0])) < enc(PgType::TEXT, text(w[1])), "{w:?}");
        }
        let bytes: [&[u8]; 5] = [b"", b"\0", b"\0\0", b"\0\x01", b"\x01"];
        for w in bytes.windows(2) {
            let [a, b] = [w[0], w[1]].map(|v| enc(PgType::BYTEA, Value::Bytes(Cow::Borrowed(v))));
            assert!(a < b, "{w:?}");
        }
    }

    #[test]
    fn equal_values_have_equal_keys() {
        let interval = |months, days, micros| Value::Interval(Interval { months, days, micros });
        assert_eq!(enc(PgType::FLOAT8, Value::Float8(-0.0)), enc(PgType::FLOAT8, Value::Float8(0.0)));
        assert_eq!(enc(PgType::FLOAT8, Value::Float8(-f64::NAN)), enc(PgType::FLOAT8, Value::Float8(f64::NAN)));
        assert_eq!(enc(PgType::BPCHAR, text("a  ")), enc(PgType::BPCHAR, text("a")));
        assert_ne!(enc(PgType::TEXT, text("a  ")), enc(PgType::TEXT, text("a")));
        assert_eq!(enc(PgType::INTERVAL, interval(1, 0, 0)), enc(PgType::INTERVAL, interval(0, 30, 0)));
        assert!(enc(PgType::INTERVAL, interval(0, 0, -1)) < enc(PgType::INTERVAL, interval(0, 0, 0)));
    }

    #[test]
    fn ranges() {
        let key = encode_key(7, Some("ann"), &[(PgType::INT4, Value::Int4(1))]);
        let (start, end) = storage_range(7);
        assert!(start < key && key < end);
        let mut oldest = key.clone();
        push_seq(&mut oldest, 0);
        assert!(oldest < after(&key));
        assert!(after(&key) < encode_key(7, Some("ann"), &[(PgType::INT4, Value::Int4(2))]));
        assert_eq!(prefix_end(&[1, 0xFF]), [2]);
        assert_eq!(point(&key, &after(&key)), Some(&*key));
        assert_eq!(point(&start, &end), None);
        assert_eq!(point(&start, &after(&key)), None);
    }

    proptest! {
        #[test]
        fn integers_keep_order(a: i64, b: i64) {
            prop_assert_eq!(enc(PgType::INT8, Value::Int8(a)).cmp(&enc(PgType::INT8, Value::Int8(b))), a.cmp(&b));
            let (c, d) = (a as i32, b as i32);
            prop_assert_eq!(enc(PgType::INT4, Value::Int4(c)).cmp(&enc(PgType::INT4, Value::Int4(d))), c.cmp(&d));
            let (e, f) = (a as i16, b as i16);
            prop_assert_eq!(enc(PgType::INT2, Value::Int2(e)).cmp(&enc(PgType::INT2, Value::Int2(f))), e.cmp(&f));
        }

        #[test]
        fn floats_keep_order(a: f64, b: f64) {
            let order = a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
            prop_assert_eq!(enc(PgType::FLOAT8, Value::Float8(a)).cmp(&enc(PgType::FLOAT8, Value::Float8(b))), order);
        }

        #[test]
        fn pairs_keep_order(a: Vec<u8>, b: Vec<u8>, x: i32, y: i32) {
            let key = |s: &[u8], n| encode_key(1, None, &[
                (PgType::BYTEA, Value::Bytes(Cow::Owned(s.to_vec()))), (PgType::INT4, Value::Int4(n))]);
            let (k, l) = (key(&a, x), key(&b, y));
            prop_assert_eq!(k.cmp(&l), a.cmp(&b).then(x.cmp(&y)));
            prop_assert!(k.cmp(&l) == Ordering::Equal || !l.starts_with(&k));
        }
    }
}
