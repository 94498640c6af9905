//! The roles a session sees. There are none stored yet: a role is a name that connects or owns something.
//!
//! Its OID is made from its name, so that it is the same in every session and after every restart.

use std::collections::BTreeMap;

use kalamdb_catalog::Oid;
use kalamdb_catalog::builtin::{BOOTSTRAP_ROLE, BOOTSTRAP_ROLE_OID};

use crate::session::SessionContext;

/// The OID of the role of this name (FNV-1a, in a range of its own).
pub(crate) fn oid(name: &str) -> Oid {
    if name == BOOTSTRAP_ROLE {
        return BOOTSTRAP_ROLE_OID;
    }
    let hash = name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    0x7000_0000 | (hash & 0x0FFF_FFFF)
}

/// Every role by OID: the bootstrap role, the session's user, the owners of what is in the catalog.
pub(crate) fn all(session: &SessionContext) -> BTreeMap<Oid, String> {
    let catalog = session.catalog();
    let mut roles = BTreeMap::new();
    let mut add = |name: &str| {
        roles.entry(oid(name)).or_insert_with(|| name.to_owned());
    };
    add(BOOTSTRAP_ROLE);
    add(&session.user);
    catalog.databases().for_each(|d| add(&d.owner));
    catalog.schemas(session.database).for_each(|s| add(&s.owner));
    catalog.tables().for_each(|t| add(&t.definition.owner));
    roles
}
