//! The relations of schema `system`: KalamDB's own catalog, stored like shared tables and read-only to DML.
//!
//! The stored ones have storage ids 1 to [`RESERVED_STORAGE`]; their rows are made by [`crate::row`].

use super::{BuiltinTable, Source::*, VirtualId, col, opt, table};
use crate::table::StorageId;
use crate::types::PgType;

/// Storage ids up to this one are the system tables'; users' begin above.
pub const RESERVED_STORAGE: StorageId = 15;

pub const DATABASES_STORAGE: StorageId = 1;
pub const NAMESPACES_STORAGE: StorageId = 2;
pub const TABLES_STORAGE: StorageId = 3;

#[rustfmt::skip]
pub(super) static TABLES: &[BuiltinTable] = &[
    table(13300, 13301, "databases", 'r', Stored(DATABASES_STORAGE), &[
        col("oid", PgType::OID), col("name", PgType::TEXT), col("owner", PgType::TEXT),
    ]),
    table(13310, 13311, "namespaces", 'r', Stored(NAMESPACES_STORAGE), &[
        col("namespace_id", PgType::OID), col("name", PgType::TEXT), col("database", PgType::OID),
        col("owner", PgType::TEXT), col("created_at", PgType::TIMESTAMPTZ), opt("options", PgType::JSONB),
        col("table_count", PgType::INT8),
    ]),
    table(13320, 13321, "tables", 'r', Stored(TABLES_STORAGE), &[
        col("table_id", PgType::OID), col("table_name", PgType::TEXT), col("namespace", PgType::TEXT),
        col("table_type", PgType::TEXT), col("created_at", PgType::TIMESTAMPTZ), opt("storage_id", PgType::INT8),
        opt("flush_policy", PgType::JSONB), col("schema_version", PgType::INT4), col("definition", PgType::JSONB),
    ]),
    table(13330, 13331, "stats", 'v', Virtual(VirtualId::SystemStats), &[
        col("metric_name", PgType::TEXT), col("metric_value", PgType::TEXT),
    ]),
    table(13340, 13341, "live_queries", 'v', Virtual(VirtualId::SystemLiveQueries), &[
        col("id", PgType::INT8), col("pid", PgType::INT4), col("user_name", PgType::TEXT), col("query", PgType::TEXT),
        opt("since", PgType::INT8), col("delivered_seq", PgType::INT8), col("lag", PgType::INT8),
        col("waiting_changes", PgType::INT8), col("waiting_bytes", PgType::INT8), col("resets", PgType::INT8),
        col("created_at", PgType::TIMESTAMPTZ),
    ]),
];
