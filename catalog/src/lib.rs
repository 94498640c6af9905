//! Names, types, ids, definitions and the schema registry of KalamDB.

pub mod builtin;
mod cached;
pub mod catalog;
pub mod constraint;
mod error;
pub mod index;
pub mod name;
mod registry;
pub mod row;
pub mod sequence;
mod sqlstate;
pub mod table;
pub mod types;
pub mod upgrade;

pub use builtin::{VirtualId, bootstrap, initial_changes};
pub use cached::CachedTableData;
pub use catalog::{Catalog, CatalogChange};
pub use error::{ErrorFields, Result, SqlError};
pub use registry::SchemaRegistry;
pub use sqlstate::SqlState;
pub use table::{
    ColumnDefinition, DatabaseDefinition, Oid, PrimaryKey, SchemaDefinition, StorageId, TableDefinition, TableKind,
};
pub use types::PgType;
