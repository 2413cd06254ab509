//! Sizes, times and bars for people.

/// A number of bytes in the largest unit of which there is one.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A duration, as exact as it is of use.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{:.1} h", ms as f64 / 3_600_000.0),
    }
}

/// A bar of `width` characters.
pub(crate) fn bar(done: u64, total: u64, width: usize) -> String {
    let share = if total == 0 { 1.0 } else { done.min(total) as f64 / total as f64 };
    let full = (share * width as f64).floor() as usize;
    format!("[{}{}] {:>3.0}%", "#".repeat(full), "-".repeat(width - full), (share * 100.0).floor())
}

/// Nodes, in one cell.
pub(crate) fn list(nodes: &[u64]) -> String {
    match nodes {
        [] => "-".to_owned(),
        nodes => nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(","),
    }
}

/// What may be missing.
pub(crate) fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

#[test]
fn people_can_read_it() {
    assert_eq!([bytes(0), bytes(1023), bytes(1536), bytes(u64::MAX)].join(" "), "0 B 1023 B 1.5 KiB 16777216.0 TiB");
    assert_eq!(
        [duration(12), duration(1_500), duration(180_000), duration(9_000_000)].join(" "),
        "12 ms 1.5 s 3 min 2.5 h"
    );
    assert_eq!(bar(0, 4, 4), "[----]   0%");
    assert_eq!(bar(3, 4, 4), "[###-]  75%");
    assert_eq!(bar(999, 1000, 4), "[###-]  99%", "not full before the end");
    assert_eq!(bar(0, 0, 4), "[####] 100%");
    assert_eq!((list(&[]), list(&[1, 2])), ("-".to_owned(), "1,2".to_owned()));
}
