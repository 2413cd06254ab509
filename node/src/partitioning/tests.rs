use proptest::prelude::*;

use super::*;

#[test]
fn crc16_slots_are_those_of_redis_cluster() {
    // The check value of the CRC itself, then slots as `CLUSTER KEYSLOT` of Redis gives them.
    assert_eq!(XMODEM.checksum(b"123456789"), 0x31c3);
    for (key, slot) in [("123456789", 12_739), ("foo", 12_182), ("bar", 5_061), ("hello", 866), ("", 0)] {
        assert_eq!(SlotHash::Crc16.slot(key.as_bytes()), slot, "{key}");
    }
}

#[test]
fn the_first_non_empty_tag_decides() {
    for (key, tag) in [
        ("{user1000}.following", "user1000"),
        ("foo{}{bar}", "foo{}{bar}"),
        ("foo{{bar}}zap", "{bar"),
        ("foo{bar}{zap}", "bar"),
        ("foo}bar{baz}", "baz"),
        ("foo{bar", "foo{bar"),
        ("{}", "{}"),
        ("", ""),
    ] {
        assert_eq!(hash_tag(key.as_bytes()), tag.as_bytes(), "{key}");
    }
    assert_eq!(SlotHash::Crc16.slot(b"{user1000}.a"), SlotHash::Crc16.slot(b"{user1000}.b"));
}

#[test]
fn numbers_of_shards_are_checked() {
    for hash in [SlotHash::Crc16, SlotHash::XxHash64] {
        for good in [1, 16, 1_000, MAX_SHARDS] {
            assert_eq!(ShardMap::try_new(hash, good), Ok(ShardMap::new(hash, good)));
        }
        for bad in [0, MAX_SHARDS + 1, u32::MAX] {
            let error = ShardMap::try_new(hash, bad).map_err(|error| error.to_string());
            let want = format!("invalid num_shards: {bad} is not between 1 and 16384 (the number of slots)");
            assert_eq!(error, Err(want));
        }
    }
}

#[test]
fn three_shards_of_contiguous_slots() {
    let map = ShardMap::new(SlotHash::Crc16, 3);
    let ranges: Vec<_> = (0..4).map(|shard| map.ranges(shard)).collect();
    assert_eq!(ranges, [vec![0..=5_460], vec![5_461..=10_921], vec![10_922..=16_383], vec![]]);
}

proptest! {
    #[test]
    fn every_slot_has_one_owner(num_shards in 1..=MAX_SHARDS, crc in any::<bool>()) {
        let map = ShardMap::new(if crc { SlotHash::Crc16 } else { SlotHash::XxHash64 }, num_shards);
        let mut slots = 0_u32;
        for shard in 0..num_shards {
            let ranges = map.ranges(shard);
            prop_assert!(!ranges.is_empty());
            for slot in ranges.into_iter().flatten() {
                prop_assert_eq!(map.owner(slot), shard);
                slots += 1;
            }
        }
        prop_assert_eq!(slots, MAX_SHARDS);
    }

    #[test]
    fn powers_of_two_are_the_hash_modulo_the_shards(key: Vec<u8>, power in 0_u32..=14) {
        let map = ShardMap::new(SlotHash::XxHash64, 1 << power);
        prop_assert_eq!(u64::from(map.shard_of(&key)), xxh64(&key, 0) % (1 << power));
    }
}
