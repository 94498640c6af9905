//! The committed catalog, shared by all sessions.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::catalog::{Catalog, CatalogChange};

/// Holds the newest committed [`Catalog`]. Written only by commit, after the durable write, so never ahead of disk.
#[derive(Default, Debug)]
pub struct SchemaRegistry {
    current: RwLock<Arc<Catalog>>,
}

impl SchemaRegistry {
    pub fn new(catalog: Catalog) -> Self {
        SchemaRegistry { current: RwLock::new(Arc::new(catalog)) }
    }

    /// The newest committed catalog.
    pub fn current(&self) -> Arc<Catalog> {
        self.current.read().clone()
    }

    /// Commit step 4. Cannot fail.
    pub fn apply(&self, changes: &[CatalogChange]) {
        if changes.is_empty() {
            return;
        }
        let mut current = self.current.write();
        let mut next = Catalog::clone(&current);
        for change in changes {
            next.apply(change);
        }
        *current = Arc::new(next);
    }
}
