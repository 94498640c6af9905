//! Opening, refusing, bulk files: what scripts cannot show.

use std::collections::BTreeSet;
use std::sync::Arc;

use kalamdb_catalog::SqlState;

use super::{BulkOutcome, BulkWriter, Storage, keys, row_id_key};
use crate::txn::tests::{TempDir, small_options};

/// Names and contents of the files of a directory, to see that nothing was touched.
fn contents(dir: &std::path::Path) -> BTreeSet<(String, Vec<u8>)> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_file())
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&p).unwrap()))
        .collect()
}

#[test]
fn a_second_opener_is_refused() {
    let dir = TempDir::new("second");
    let first = Storage::open(&dir.0, small_options()).unwrap();
    assert!(first.is_fresh());
    let error = Storage::open(&dir.0, small_options()).unwrap_err();
    assert_eq!(error.code(), SqlState::OBJECT_IN_USE);
    assert!(error.message().ends_with("is in use by another kalamdb-server"), "{error}");
    drop(first);
    Storage::open(&dir.0, small_options()).unwrap();
}

#[test]
fn another_format_is_refused_untouched() {
    let dir = TempDir::new("format");
    drop(Storage::open(&dir.0, small_options()).unwrap());
    std::fs::write(dir.0.join("FORMAT_VERSION"), "2\n").unwrap();
    let before = (contents(&dir.0), contents(&dir.0.join("rocksdb")));
    let error = Storage::open(&dir.0, small_options()).unwrap_err();
    assert_eq!(error.code(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert!(error.message().ends_with("has format version 2, this server needs 1"), "{error}");
    assert_eq!(before, (contents(&dir.0), contents(&dir.0.join("rocksdb"))));
}

#[test]
fn bulk_files_are_read_back_in_order() {
    let dir = TempDir::new("bulk-files");
    let storage = Arc::new(Storage::open(&dir.0, small_options()).unwrap());
    let mut bulk = BulkWriter::new(Arc::clone(&storage), 5, 0);
    // More than a small write, in no order.
    let rows = 20_000u64;
    for i in 0..rows {
        bulk.put(&row_id_key(5, i * 7919 % rows), &[1; 100]).unwrap();
    }
    assert_eq!(bulk.finish().unwrap(), BulkOutcome::Done(rows));
    let (start, end) = keys::storage_range(5);
    let mut scan = storage.scan(start, end, 0, false);
    let mut found = 0;
    while let Some(row) = scan.next().unwrap() {
        assert_eq!(row.key, row_id_key(5, found));
        found += 1;
    }
    assert_eq!(found, rows);
    drop(scan);
    storage.drop_storage(5).unwrap();
    assert!(storage.is_storage_empty(5).unwrap());
}

#[test]
fn bulk_writes_of_several_files_find_equal_keys() {
    let dir = TempDir::new("bulk-chunks");
    let storage = Arc::new(Storage::open(&dir.0, small_options()).unwrap());
    for (id, repeated) in [(5, None), (6, Some(17)), (7, Some(999))] {
        let mut bulk = BulkWriter::new(Arc::clone(&storage), id, 0);
        bulk.chunk_bytes = 10_000;
        let ids = (0..1000u64).map(|i| i * 389 % 1000).chain(repeated);
        for i in ids {
            bulk.put(&row_id_key(id, i), format!("row {i}").as_bytes()).unwrap();
        }
        let expected = match repeated {
            None => BulkOutcome::Done(1000),
            Some(i) => BulkOutcome::Duplicate(format!("row {i}").into_bytes()),
        };
        assert_eq!(bulk.finish().unwrap(), expected);
    }
    for i in 0..1000 {
        let row = storage.get(&row_id_key(5, i), 0).unwrap().unwrap();
        assert_eq!(*row.1, *format!("row {i}").as_bytes());
    }
    let referenced = [5].into_iter().collect();
    assert_eq!(storage.drop_unreferenced(&referenced).unwrap(), [6, 7]);
    assert!(storage.is_storage_empty(6).unwrap() && !storage.is_storage_empty(5).unwrap());
}

#[test]
fn absent_and_neighbouring_keys() {
    let dir = TempDir::new("neighbours");
    let storage = Arc::new(Storage::open(&dir.0, small_options()).unwrap());
    let mut batch = super::Batch::default();
    for id in [1, 3] {
        batch.put_row(&storage, &row_id_key(1, id), 5, b"\0\0row");
    }
    storage.write(batch, false).unwrap();
    // In the memtable, then in a file.
    for _ in 0..2 {
        for (id, snapshot, there) in [(1, 5, true), (1, 4, false), (2, 9, false), (3, u64::MAX, true), (4, 9, false)] {
            assert_eq!(storage.get(&row_id_key(1, id), snapshot).unwrap().is_some(), there, "{id} at {snapshot}");
        }
        storage.compact().unwrap();
    }
}

/// Versions of keys in memtable and files, read every way at every snapshot, against a model.
#[test]
fn reads_agree_with_a_model() {
    let dir = TempDir::new("model");
    let storage = Arc::new(Storage::open(&dir.0, small_options()).unwrap());
    let names = ["", "a", "a\0", "a\0\0", "ab", "b", "b\u{1}", "zz"];
    let key = |name: &str| {
        let value = crate::types::Value::Text(name.into());
        super::encode_key(3, None, &[(kalamdb_catalog::PgType::TEXT, value)])
    };
    let mut model: std::collections::BTreeMap<Vec<u8>, Vec<(u64, Vec<u8>)>> = Default::default();
    let mut random = 1u64;
    let last = 120u64;
    for seq in 1..=last {
        let mut batch = super::Batch::default();
        for _ in 0..2 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = key(names[(random >> 60) as usize % names.len()]);
            let row = if random >> 32 & 3 == 0 { Vec::new() } else { format!("row {seq}").into_bytes() };
            batch.put_row(&storage, &key, seq, &row);
            let versions = model.entry(key).or_default();
            versions.retain(|(s, _)| *s != seq);
            versions.push((seq, row));
        }
        storage.write(batch, false).unwrap();
        if seq % 25 == 0 {
            // The horizon is 0: nothing may be dropped.
            storage.compact().unwrap();
        }
    }
    let (start, end) = keys::storage_range(3);
    for snapshot in (0..=last + 1).chain([u64::MAX]) {
        let visible = |versions: &[(u64, Vec<u8>)]| {
            versions.iter().rev().find(|(s, _)| *s <= snapshot).filter(|(_, row)| !row.is_empty()).cloned()
        };
        let mut expected: Vec<_> =
            model.iter().filter_map(|(k, v)| visible(v).map(|(s, row)| (k.clone(), s, row))).collect();
        for reverse in [false, true] {
            let mut found = Vec::new();
            let mut scan = storage.scan(start.clone(), end.clone(), snapshot, reverse);
            while let Some(row) = scan.next().unwrap() {
                found.push((row.key.to_vec(), row.seq, row.row.to_vec()));
            }
            assert_eq!(found, expected, "at {snapshot}, reverse {reverse}");
            expected.reverse();
        }
        for name in names {
            let key = key(name);
            let wanted = model.get(&key).and_then(|v| visible(v));
            let got = storage.get(&key, snapshot).unwrap().map(|(s, row)| (s, row.to_vec()));
            assert_eq!(got, wanted, "{name:?} at {snapshot}");
            let mut scan = storage.scan(key.clone(), keys::after(&key), snapshot, true);
            let got = scan.next().unwrap().map(|row| (row.seq, row.row.to_vec()));
            assert_eq!(got, wanted, "{name:?} at {snapshot} as a range");
            assert!(scan.next().unwrap().is_none());
        }
    }
}
