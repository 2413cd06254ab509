//! Any sequence of operations gives what a plain ordered map gives, with and without a tier.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{collection::vec, prelude::*};

use super::{super::order::HashOrder, *};
use crate::machine::store::scan_hash;

#[derive(Clone, Debug)]
enum Step {
    Insert(u8),
    Remove(u8),
    Clear,
    Touch(u8),
    Configure { max_entries: u64, max_bytes: u64, lru: bool },
    Scan { key: u8, limit: usize },
    Nominate(usize),
    Publish,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => any::<u8>().prop_map(Step::Insert),
        5 => any::<u8>().prop_map(Step::Remove),
        1 => Just(Step::Clear),
        3 => any::<u8>().prop_map(Step::Touch),
        1 => (0..40_u64, 0..9000_u64, any::<bool>())
            .prop_map(|(max_entries, max_bytes, lru)| Step::Configure { max_entries, max_bytes, lru }),
        2 => (any::<u8>(), 0..300_usize).prop_map(|(key, limit)| Step::Scan { key, limit }),
        1 => (0..20_usize).prop_map(Step::Nominate),
        4 => Just(Step::Publish),
    ]
}

type Model = BTreeMap<(u64, Vec<u8>), Arc<Entry>>;

fn place(key: u8) -> (u64, Vec<u8>) {
    let key = format!("key{key}").into_bytes();
    (scan_hash(&key), key)
}

fn scan(model: &Model, from: u64, limit: usize) -> Vec<Arc<Entry>> {
    let all: Vec<_> =
        model.range((from, Vec::new())..).map(|((hash, _), entry)| (*hash, Arc::clone(entry))).collect();
    let last = limit.checked_sub(1).and_then(|at| all.get(at)).map(|(hash, _)| *hash);
    let taken = all.into_iter().enumerate().take_while(|(i, (hash, _))| *i < limit || Some(*hash) == last);
    taken.map(|(_, (_, entry))| entry).collect()
}

/// One store and its model, in step.
struct Pair {
    store: Store,
    reader: Reader,
    model: Model,
    version: u64,
    index: u64,
}

impl Pair {
    fn run(&mut self, step: &Step) {
        match *step {
            Step::Insert(key) => {
                self.version += 1;
                let (hash, key) = place(key);
                let new = Arc::new(Entry::new(&key, b"value", Version(self.version), Some(Timestamp(9))));
                assert_eq!(self.store.insert(Arc::clone(&new)), self.model.insert((hash, key), new));
            }
            Step::Remove(key) => {
                let place = place(key);
                assert_eq!(self.store.remove(&place.1), self.model.remove(&place));
            }
            Step::Clear => {
                self.store.clear();
                self.model.clear();
            }
            Step::Touch(key) => self.store.touch(&place(key).1),
            Step::Configure { max_entries, max_bytes, lru } => {
                let policy = if lru { EvictionPolicy::Lru } else { EvictionPolicy::TinyLfu };
                self.store.configure(Capacity { max_entries, max_bytes }, policy);
            }
            Step::Scan { key, limit } => {
                let from = place(key).0;
                assert_eq!(self.store.scan(from, limit), scan(&self.model, from, limit));
            }
            Step::Nominate(count) => self.nominate(count),
            Step::Publish => self.publish(),
        }
        assert_eq!(self.store.len(), self.model.len());
    }

    fn nominate(&mut self, count: usize) {
        let nominated = self.store.nominate(count, Version(self.version * 99 / 100));
        assert!(nominated.len() <= count);
        let mut versions: Vec<_> = nominated.iter().map(|entry| entry.version()).collect();
        versions.sort_unstable();
        versions.dedup();
        assert_eq!(versions.len(), nominated.len(), "nobody is nominated twice in one go");
        assert_eq!(nominated.is_empty(), count == 0 || self.model.is_empty());
        for entry in nominated {
            let key = entry.key().to_vec();
            assert_eq!(self.model.get(&(scan_hash(&key), key)), Some(&entry));
        }
    }

    fn publish(&mut self) {
        self.index += 1;
        self.store.publish(LogIndex(self.index), Timestamp(self.index));
        assert_eq!(self.reader.published().0, LogIndex(self.index));
        assert_eq!(self.reader.len(), self.model.len());
        for key in 0..=u8::MAX {
            let place = place(key);
            let expected = self.model.get(&place).cloned();
            assert_eq!(self.store.get(&place.1), expected);
            assert_eq!(self.reader.get(&place.1), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_an_ordered_map(max_entries in 0..60_u64, steps in vec(step(), 1..400)) {
        let (store, reader) = entry_store(capped(max_entries));
        let mut pair = Pair { store, reader, model: Model::new(), version: 0, index: 0 };
        for step in &steps {
            pair.run(step);
        }
        pair.publish();
        prop_assert_eq!(pair.store.scan(0, usize::MAX), scan(&pair.model, 0, usize::MAX));
    }
}

#[test]
fn a_walk_by_cursor_meets_every_key_once_in_order() {
    let mut order = HashOrder::new();
    let entries: Vec<_> = (1..=5000).map(|i| entry(&format!("k{i}"), i)).collect();
    for entry in &entries {
        order.insert(Arc::clone(entry));
    }
    let mut expected: Vec<_> = entries.iter().map(|entry| (scan_hash(entry.key()), entry.version())).collect();
    expected.sort_unstable();
    for limit in [1, 7, 100, 5000] {
        let (mut cursor, mut seen) = (Some(0), Vec::new());
        while let Some(from) = cursor {
            let part = order.scan(from, limit);
            seen.extend(part.iter().map(|entry| (scan_hash(entry.key()), entry.version())));
            cursor = part.last().and_then(|entry| scan_hash(entry.key()).checked_add(1));
        }
        assert_eq!(seen, expected, "in steps of {limit}");
    }
}

#[test]
fn the_order_shrinks_again_and_loses_nothing_on_the_way() {
    let mut order = HashOrder::new();
    let entries: Vec<_> = (1..=3000).map(|i| entry(&format!("k{i}"), i)).collect();
    for entry in &entries {
        order.insert(Arc::clone(entry));
    }
    for (i, entry) in entries.iter().enumerate() {
        assert_eq!(order.scan(0, usize::MAX).len(), if i % 100 == 0 { 3000 - i } else { order.len() });
        order.remove(entry);
    }
    assert_eq!((order.len(), order.scan(0, 10)), (0, Vec::new()));
    assert_eq!(order.buckets(), 1);
}
