//! The parser: any text is statements or an error that is the text's fault.
#![no_main]

use kalamdb_catalog::SqlState;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|sql: &str| {
    if let Err(error) = kalamdb_engine::sql::parse(sql, &mut Vec::new()) {
        assert_ne!(error.code(), SqlState::INTERNAL_ERROR, "{error:?}");
    }
});
