//! From a command's name to its place in the table, without allocation: a hash table built by the compiler.

use super::table::TABLE;

/// At least twice the commands, so that probes are short.
const SLOTS: usize = 256;
const EMPTY: u8 = u8::MAX;
/// Longer than any name.
const MAX_NAME_BYTES: usize = 16;

static INDEX: [u8; SLOTS] = build();

/// The place of a command in the table; its case doesn't matter.
pub(in crate::resp) fn find(name: &[u8]) -> Option<usize> {
    let mut lower = [0; MAX_NAME_BYTES];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let mut slot = hash(lower);
    loop {
        let index = INDEX[slot];
        if index == EMPTY {
            return None;
        }
        if TABLE[usize::from(index)].name.as_bytes() == lower {
            return Some(usize::from(index));
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// FNV-1a, folded to a slot.
const fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ name[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    ((hash >> 16) ^ hash) as usize % SLOTS
}

const fn build() -> [u8; SLOTS] {
    assert!(TABLE.len() * 2 <= SLOTS, "the lookup needs more slots");
    let mut slots = [EMPTY; SLOTS];
    let mut index = 0;
    while index < TABLE.len() {
        let name = TABLE[index].name.as_bytes();
        assert!(name.len() <= MAX_NAME_BYTES, "a command's name is too long for the lookup");
        let mut slot = hash(name);
        while slots[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = index as u8;
        index += 1;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_command_in_any_case() {
        for (index, spec) in TABLE.iter().enumerate() {
            assert_eq!(find(spec.name.as_bytes()), Some(index));
            assert_eq!(find(spec.name.to_ascii_uppercase().as_bytes()), Some(index));
        }
        for name in ["", "g", "gett", "a name that is much too long for the table", "\u{e9}"] {
            assert_eq!(find(name.as_bytes()), None);
        }
    }
}
