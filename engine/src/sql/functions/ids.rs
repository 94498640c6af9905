//! Generated identifiers: gen_random_uuid as in PostgreSQL, and uuid_v7, snowflake_id and ulid, which sort by time.

use std::sync::atomic::{AtomicU64, Ordering};

use kalamdb_catalog::PgType;

use super::FnDef;
use super::adapt::{Uuid, map0};

/// First of the OIDs of functions that PostgreSQL does not have: above its builtins, below user objects.
const FIRST_OID: u32 = 15_010;

/// 2024-01-01, the epoch of snowflake ids, in milliseconds since 1970.
const SNOWFLAKE_EPOCH_MS: u64 = 1_704_067_200_000;
/// Bits of a snowflake id below its time: ten of the node, twelve of the sequence.
const SNOWFLAKE_SEQUENCE_BITS: u32 = 12;
const SNOWFLAKE_NODE_BITS: u32 = 10;

pub(super) static FUNCTIONS: &[FnDef] = &[
    FnDef::new(3432, "gen_random_uuid", &[], PgType::UUID, |call, _| {
        map0(call.rows, || Ok(Uuid(uuid::Uuid::new_v4().into_bytes())))
    })
    .volatile(),
    FnDef::new(FIRST_OID, "uuid_v7", &[], PgType::UUID, |call, _| {
        map0(call.rows, || Ok(Uuid(uuid::Uuid::now_v7().into_bytes())))
    })
    .volatile(),
    FnDef::new(FIRST_OID + 1, "snowflake_id", &[], PgType::INT8, |call, _| map0(call.rows, || Ok(snowflake_id())))
        .volatile(),
    FnDef::new(FIRST_OID + 2, "ulid", &[], PgType::TEXT, |call, _| map0(call.rows, || Ok(ulid()))).volatile(),
];

fn now_ms() -> u64 {
    (crate::clock::now_micros() / 1000).max(0) as u64
}

/// A 63-bit id: milliseconds since 2024, node, sequence. Ids of one process ascend strictly: if a millisecond's
/// sequence runs out, or the clock steps back, the time part goes on ahead of the clock.
pub(super) fn snowflake_id() -> i64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let elapsed = now_ms().saturating_sub(SNOWFLAKE_EPOCH_MS);
    let floor = elapsed << SNOWFLAKE_SEQUENCE_BITS;
    let step = |last: u64| Some(floor.max(last + 1));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or_else(|last| last);
    let ticket = floor.max(last + 1);
    let (ms, sequence) = (ticket >> SNOWFLAKE_SEQUENCE_BITS, ticket & ((1 << SNOWFLAKE_SEQUENCE_BITS) - 1));
    let id = (ms << (SNOWFLAKE_NODE_BITS + SNOWFLAKE_SEQUENCE_BITS)) | (node() << SNOWFLAKE_SEQUENCE_BITS) | sequence;
    (id & i64::MAX as u64) as i64
}

/// The node part: drawn once per process, since the engine's functions do not see the configured node id.
fn node() -> u64 {
    static NODE: AtomicU64 = AtomicU64::new(u64::MAX);
    let known = NODE.load(Ordering::Relaxed);
    if known != u64::MAX {
        return known;
    }
    let drawn =
        u64::from(uuid::Uuid::new_v4().as_bytes()[0]) | (u64::from(uuid::Uuid::new_v4().as_bytes()[1]) & 3) << 8;
    NODE.compare_exchange(u64::MAX, drawn, Ordering::Relaxed, Ordering::Relaxed).map_or_else(|set| set, |_| drawn)
}

/// A ULID: 48 bits of milliseconds and 80 random bits in Crockford's base 32.
pub(super) fn ulid() -> String {
    let random = u128::from_be_bytes(uuid::Uuid::new_v4().into_bytes());
    // The version and variant bits of the UUID are fixed: leave out the halves they are in.
    let (high, low) = (random >> 80, random & ((1 << 62) - 1));
    let entropy = ((high << 62) ^ low) & ((1 << 80) - 1);
    base32((u128::from(now_ms()) << 80) | entropy)
}

fn base32(value: u128) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    (0..26).rev().map(|i| char::from(DIGITS[(value >> (5 * i)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend() {
        let ids: Vec<i64> = (0..10_000).map(|_| snowflake_id()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]) && ids[0] > 0);
        assert_eq!(ulid().len(), 26);
        assert_ne!(ulid(), ulid());
        // The example of the ULID specification.
        assert_eq!(&base32(1_469_918_176_385u128 << 80)[..10], "01ARYZ6S41");
    }
}
