//! From a key to its slot, on the client's side: the same functions as the node's `partitioning`.
//!
//! Only a hint for routing: a node that gets a key of another shard forwards it.

use crate::v1::KeyHash;

/// How many slots there are, as in Redis Cluster.
pub const SLOTS: u16 = 16_384;

const CRC16: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_XMODEM);

/// The slot of a key; `None` when the server's hash is not known to this client.
#[must_use]
pub fn slot_of(hash: KeyHash, key: &[u8]) -> Option<u16> {
    match hash {
        KeyHash::Unspecified => None,
        KeyHash::Crc16 => Some(CRC16.checksum(hash_tag(key)) % SLOTS),
        KeyHash::Xxhash64 => {
            let slot = xxhash_rust::xxh64::xxh64(key, 0) % u64::from(SLOTS);
            u16::try_from(slot).ok()
        }
    }
}

/// What Redis Cluster hashes of a key: what stands between the first `{` and the next `}`, unless that is
/// nothing; else all of it.
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&b| b == b'{') else { return key };
    let rest = &key[open + 1..];
    match rest.iter().position(|&b| b == b'}') {
        Some(0) | None => key,
        Some(close) => &rest[..close],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc16_slots_are_those_of_redis_cluster() {
        // From Redis: CLUSTER KEYSLOT.
        for (key, slot) in [("foo", 12182), ("123456789", 12739), ("{foo}bar", 12182), ("x{foo}{bar}", 12182)] {
            assert_eq!(slot_of(KeyHash::Crc16, key.as_bytes()), Some(slot), "{key}");
        }
        assert_eq!(slot_of(KeyHash::Crc16, b"{}foo"), Some(CRC16.checksum(b"{}foo") % SLOTS), "an empty tag is none");
    }

    #[test]
    fn an_unknown_hash_gives_no_slot() {
        assert_eq!(slot_of(KeyHash::Unspecified, b"foo"), None);
        assert_eq!(slot_of(KeyHash::Xxhash64, b""), Some((0xef46_db37_51d8_e999_u64 % 16_384) as u16));
    }
}
