//! "Feature Flags" and "Installation": what a `Cargo.toml` may ask of the crate.

use toml::de::{DeTable, DeValue};

const MANIFEST: &str = include_str!("../../Cargo.toml");

/// The features that are asked for by `features` in a table of this text.
fn asked(text: &str, table: &str) -> Vec<String> {
    let text = DeTable::parse(text).expect("TOML");
    let found = text.get_ref().iter().find(|(name, _)| name.get_ref() == table).expect("the table").1.get_ref();
    let DeValue::Table(found) = found else { return Vec::new() };
    found
        .iter()
        .find(|(name, _)| name.get_ref() == "features")
        .map(|(_, list)| names(list.get_ref()))
        .unwrap_or_default()
}

/// What a feature of the crate stands for; `None` when there is none of that name.
fn parts(name: &str) -> Option<Vec<String>> {
    let manifest = DeTable::parse(MANIFEST).expect("a manifest");
    let features = manifest.get_ref().iter().find(|(table, _)| table.get_ref() == "features").expect("features").1;
    let DeValue::Table(features) = features.get_ref() else { panic!("features are a table") };
    features.iter().find(|(feature, _)| feature.get_ref() == name).map(|(_, list)| names(list.get_ref()))
}

fn names(list: &DeValue<'_>) -> Vec<String> {
    let DeValue::Array(list) = list else { panic!("a list") };
    list.iter().filter_map(|part| part.get_ref().as_str().map(str::to_owned)).collect()
}

/// Each feature of the reference's table is one of the crate's, and stands for at least what the table says.
#[test]
fn the_table_of_features() {
    let has = |feature: &str, part: &str| parts(feature).expect(feature).iter().any(|found| found == part);
    // "Memory storage + memberlist gossip": no C++ has to be compiled for it.
    assert!(has("default", "memberlist") && !has("default", "rocksdb"));
    // "All features including RocksDB and memberlist".
    assert!(has("full", "memberlist") && has("full", "rocksdb"));
    assert!(parts("memberlist").is_some() && parts("rocksdb").is_some());
    // "default-features = false, features = ["tokio"]", with minimal dependencies.
    assert_eq!(parts("tokio"), Some(Vec::new()));
}

/// The samples are TOML that asks for features which are there.
#[test]
fn the_samples_of_installation() {
    for (sample, wanted) in [
        ("crema = \"0.1.0\"", &[][..]),
        ("crema = { version = \"0.1.0\", features = [\"rocksdb\"] }", &["rocksdb"]),
        ("crema = { version = \"0.1.0\", default-features = false, features = [\"tokio\"] }", &["tokio"]),
        ("crema = { version = \"0.1.0\", features = [\"full\"] }", &["full"]),
    ] {
        assert_eq!(asked(sample, "crema"), wanted);
        assert!(wanted.iter().all(|feature| parts(feature).is_some()), "{wanted:?}");
    }
}
