//! The version of the stored catalog: what this server can read, and the steps from older ones.
//!
//! A data directory stores one number, the version its system tables were written with. A step is a file
//! `v1_to_v2.rs` that turns the rows of one version into those of the next, with types frozen as they were; steps run
//! in order before the catalog is loaded, and the new number is written in the same batch as the new rows.

use crate::error::{Result, SqlError};
use crate::sqlstate::SqlState;

/// The version this server writes.
pub const CATALOG_VERSION: u32 = 1;
/// The oldest version it can upgrade from.
pub const MIN_VERSION: u32 = 1;

/// Refuses a catalog that cannot be read, before anything of it is.
pub fn check(stored: u32) -> Result<()> {
    let refuse = |message: String, hint: String| {
        Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message).hint(hint))
    };
    if stored < MIN_VERSION {
        return refuse(
            format!("data directory has catalog version {stored}, the oldest this server can upgrade is {MIN_VERSION}"),
            "Upgrade it with an older release first.".to_owned(),
        );
    }
    if stored > CATALOG_VERSION {
        return refuse(
            format!("data directory has catalog version {stored}, this server knows only up to {CATALOG_VERSION}"),
            "It was written by a newer release; run that release.".to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_old_and_future_are_refused() {
        assert!(check(CATALOG_VERSION).is_ok());
        for stored in [MIN_VERSION - 1, CATALOG_VERSION + 1] {
            assert_eq!(check(stored).unwrap_err().code().0, "55000");
        }
    }
}
