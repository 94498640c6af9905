//! Names, types, ids, definitions and the schema registry of KalamDB.

mod cached;
pub mod catalog;
mod error;
mod registry;
mod sqlstate;
pub mod table;
pub mod types;

pub use cached::CachedTableData;
pub use catalog::{Catalog, CatalogChange};
pub use error::{ErrorFields, Result, SqlError};
pub use registry::SchemaRegistry;
pub use sqlstate::SqlState;
pub use table::{ColumnDefinition, DatabaseDefinition, Oid, PrimaryKey, SchemaDefinition, StorageId, TableDefinition, TableKind};
pub use types::PgType;
