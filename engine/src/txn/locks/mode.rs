//! The modes of a lock and which of them exclude each other (PostgreSQL manual, tables 13.2 and 13.3).

/// Eight modes for tables; row and advisory locks use four and two of them, as in PostgreSQL's lock manager.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum LockMode {
    AccessShare = 1,
    RowShare,
    RowExclusive,
    ShareUpdateExclusive,
    Share,
    ShareRowExclusive,
    Exclusive,
    AccessExclusive,
}

impl LockMode {
    pub const ALL: [LockMode; 8] = [
        LockMode::AccessShare,
        LockMode::RowShare,
        LockMode::RowExclusive,
        LockMode::ShareUpdateExclusive,
        LockMode::Share,
        LockMode::ShareRowExclusive,
        LockMode::Exclusive,
        LockMode::AccessExclusive,
    ];

    /// Row lock of FOR KEY SHARE: what a foreign key needs of the row it points to.
    pub const KEY_SHARE: LockMode = LockMode::AccessShare;
    /// Row lock of FOR SHARE.
    pub const SHARE: LockMode = LockMode::RowShare;
    /// Row lock of FOR NO KEY UPDATE, and of an UPDATE that leaves the key alone.
    pub const NO_KEY_UPDATE: LockMode = LockMode::Exclusive;
    /// Row lock of FOR UPDATE, of DELETE, and of an UPDATE of the key.
    pub const UPDATE: LockMode = LockMode::AccessExclusive;

    fn bit(self) -> u16 {
        1 << self as u8
    }

    /// The modes that another owner may not hold at the same time, as bits.
    fn conflict_bits(self) -> u16 {
        const UP_FROM_ROW_EXCLUSIVE: u16 = 0b1_1111_1000;
        const UP_FROM_UPDATE_EXCLUSIVE: u16 = 0b1_1111_0000;
        match self {
            LockMode::AccessShare => 0b1_0000_0000,
            LockMode::RowShare => 0b1_1000_0000,
            LockMode::RowExclusive => 0b1_1110_0000,
            LockMode::ShareUpdateExclusive => UP_FROM_UPDATE_EXCLUSIVE,
            LockMode::Share => UP_FROM_ROW_EXCLUSIVE & !LockMode::Share.bit(),
            LockMode::ShareRowExclusive => UP_FROM_ROW_EXCLUSIVE,
            LockMode::Exclusive => UP_FROM_ROW_EXCLUSIVE | LockMode::RowShare.bit(),
            LockMode::AccessExclusive => UP_FROM_ROW_EXCLUSIVE | LockMode::RowShare.bit() | LockMode::AccessShare.bit(),
        }
    }

    pub fn conflicts(self, other: LockMode) -> bool {
        self.conflict_bits() & other.bit() != 0
    }

    /// True if who holds this mode needs no lock of mode `other` besides.
    pub fn covers(self, other: LockMode) -> bool {
        other.conflict_bits() & !self.conflict_bits() == 0
    }

    /// As pg_locks shows it.
    pub fn name(self) -> &'static str {
        match self {
            LockMode::AccessShare => "AccessShareLock",
            LockMode::RowShare => "RowShareLock",
            LockMode::RowExclusive => "RowExclusiveLock",
            LockMode::ShareUpdateExclusive => "ShareUpdateExclusiveLock",
            LockMode::Share => "ShareLock",
            LockMode::ShareRowExclusive => "ShareRowExclusiveLock",
            LockMode::Exclusive => "ExclusiveLock",
            LockMode::AccessExclusive => "AccessExclusiveLock",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The manual's tables, a row for each mode: X where two modes conflict.
    #[test]
    fn modes_conflict_as_in_the_manual() {
        let tables = [".......X", "......XX", "....XXXX", "...XXXXX", "..XX.XXX", "..XXXXXX", ".XXXXXXX", "XXXXXXXX"];
        for (mode, row) in LockMode::ALL.iter().zip(tables) {
            let shown: String = LockMode::ALL.iter().map(|o| if mode.conflicts(*o) { 'X' } else { '.' }).collect();
            assert_eq!(shown, row, "{mode:?}");
        }
        let rows = [LockMode::KEY_SHARE, LockMode::SHARE, LockMode::NO_KEY_UPDATE, LockMode::UPDATE];
        for (mode, row) in rows.iter().zip(["...X", "..XX", ".XXX", "XXXX"]) {
            let shown: String = rows.iter().map(|o| if mode.conflicts(*o) { 'X' } else { '.' }).collect();
            assert_eq!(shown, row, "{mode:?}");
        }
    }

    #[test]
    fn a_stronger_mode_covers_a_weaker_one() {
        assert!(LockMode::UPDATE.covers(LockMode::KEY_SHARE));
        assert!(LockMode::AccessExclusive.covers(LockMode::Share));
        assert!(!LockMode::Share.covers(LockMode::RowExclusive));
        assert!(!LockMode::RowShare.covers(LockMode::RowExclusive));
    }
}
