//! PROTOCOL 8: which entries are nominated, and what Moka's listener takes note of.

use super::*;

fn versions(nominated: &[Arc<Entry>]) -> Vec<u64> {
    nominated.iter().map(|entry| entry.version().0).collect()
}

#[test]
fn what_moka_let_go_is_nominated_oldest_first_and_once_per_round() {
    // LRU: Moka may hold 124 and keeps the last of 144.
    let config = StoreConfig { policy: EvictionPolicy::Lru, ..capped(128) };
    let (mut store, _reader) = filled(config, 144);
    let all = Version(144);
    assert_eq!(versions(&store.nominate(5, all)), [1, 2, 3, 4, 5]);
    assert_eq!(versions(&store.nominate(15, all)), (6..=20).collect::<Vec<_>>());
    // Their evictions may have been lost: they come again.
    assert_eq!(versions(&store.nominate(3, all)), [1, 2, 3]);
    // What has left the map or changed does not, and the newcomer pushes k21 out of Moka.
    store.remove(b"k1");
    store.insert(entry("k2", 145));
    assert_eq!(versions(&store.nominate(2, Version(145))), [21]);
    assert_eq!(versions(&store.nominate(2, Version(145))), [3, 4]);
}

#[test]
fn the_newest_come_last() {
    let (mut store, _reader) = filled(capped(50), 60);
    // Only versions 1 to 3 are not among the newest: of these Moka may hold all.
    for _ in 0..10 {
        let nominated = versions(&store.nominate(60, Version(3)));
        assert!(!nominated.is_empty() && nominated.iter().all(|v| *v <= 3), "{nominated:?}");
    }
    for i in 1..=3 {
        store.remove(format!("k{i}").as_bytes());
    }
    assert!(!store.nominate(60, Version(3)).is_empty(), "the newest are last, not exempt");
}

#[test]
fn without_a_tier_a_sample_is_nominated() {
    let (mut store, _reader) = filled(StoreConfig::default(), 30);
    let mut nominated = versions(&store.nominate(4, Version(30)));
    nominated.sort_unstable();
    nominated.dedup();
    assert_eq!(nominated.len(), 4);
    assert!(store.nominate(0, Version(30)).is_empty());
    store.clear();
    assert!(store.nominate(4, Version(30)).is_empty());
}

#[test]
fn samples_wander_over_a_large_map() {
    let (mut store, _reader) = filled(StoreConfig::default(), 2000);
    let mut met: Vec<u64> = (0..40).flat_map(|_| versions(&store.nominate(16, Version(2000)))).collect();
    met.sort_unstable();
    met.dedup();
    assert!(met.len() > 300, "only {} entries ever met", met.len());
}

#[test]
fn only_evictions_for_size_leave_candidates() {
    let (mut store, _reader) = filled(capped(120), 100);
    for i in 1..=50 {
        store.insert(entry(&format!("k{i}"), 100 + i));
    }
    for i in 40..=60 {
        store.remove(format!("k{i}").as_bytes());
    }
    let tier = store.current.tier.as_ref().expect("there is a limit");
    tier.settle();
    assert_eq!(tier.let_go().count(), 0);
}

#[test]
fn a_popular_key_outlives_newcomers() {
    let (mut store, reader) = filled(capped(100), 100);
    for _ in 0..50 {
        let _ = reader.get(b"k1");
        store.touch(b"k2");
    }
    for i in 101..=200 {
        store.insert(entry(&format!("k{i}"), i));
        store.publish(LogIndex(i), Timestamp(i));
        for gone in store.nominate(1, Version(i - 1)) {
            assert!(gone.key() != b"k1" && gone.key() != b"k2", "a popular key was nominated");
            store.remove(gone.key());
        }
    }
    assert_eq!(store.len(), 100);
}

#[test]
fn a_hint_mirrors_the_current_entry() {
    let (mut store, reader) = filled(StoreConfig { policy: EvictionPolicy::Lru, ..capped(10) }, 20);
    let tier = |store: &Store, key: &[u8]| {
        let tier = store.current.tier.as_ref().expect("there is a limit");
        tier.settle();
        version(tier.get(store.shared.hash.of(key), key))
    };
    assert_eq!(tier(&store, b"k1"), None);
    // The reader finds version 1 in the map and leaves a hint; it is overwritten before the writer heeds it.
    assert_eq!(version(reader.get(b"k1")), Some(1));
    assert_eq!(version(reader.get(b"k2")), Some(2));
    store.insert(entry("k1", 21));
    store.remove(b"k2");
    store.publish(LogIndex(21), Timestamp(21));
    assert_eq!(tier(&store, b"k1"), Some(21));
    assert_eq!(tier(&store, b"k2"), None);
}

#[test]
fn a_new_tier_is_filled_from_the_map() {
    let (mut store, reader) = filled(StoreConfig::default(), 1000);
    store.configure(Capacity { max_entries: 5000, max_bytes: 0 }, EvictionPolicy::Lru);
    for i in 0..20 {
        store.publish(LogIndex(1000 + i), Timestamp(1));
    }
    for i in 1..=1000 {
        let key = format!("k{i}");
        let tier = store.current.tier.as_ref().expect("there is a limit");
        assert!(tier.holds(store.shared.hash.of(key.as_bytes())), "{key}");
        assert_eq!(version(reader.get(key.as_bytes())), Some(i));
    }
}

#[test]
fn tiny_lfu_gets_its_tier_at_half_of_a_limit_and_flush_takes_it_away() {
    let (mut store, _reader) = filled(capped(100), 49);
    assert!(store.current.tier.is_none());
    store.insert(entry("k1", 50));
    assert!(store.current.tier.is_none(), "an overwritten key counts once");
    store.insert(entry("k50", 51));
    assert!(store.current.tier.is_some());
    store.publish(LogIndex(51), Timestamp(51));
    assert!(store.nominate(100, Version(100)).len() == 50, "all are mirrored: a sample of the map");
    store.clear();
    assert!(store.current.tier.is_none());
}
