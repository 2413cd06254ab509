//! Scripts (`crate::golden`) in `machine/testdata` of commands and what the machine answered.
//!
//! Every line is one log entry or one read; a script has one machine. The words are in [`Script::line`] and [`command`].

use std::fmt::Write as _;

use crate::{
    golden,
    machine::{
        LogRecord, Machine, Settings,
        command::{Command, Condition, ExpireCondition, Expiry, Found, Meta, Outcome, Put, Query, Refusal},
        model::ModelStore,
        store::{Capacity, EvictionPolicy},
    },
    types::{Timestamp, Value, Version},
};

#[test]
fn scripts() {
    golden::check("src/machine/testdata", || {
        let mut script = Script::new();
        move |line: &str| {
            let answer = script.line(line);
            if answer.is_empty() { answer } else { answer + "\n" }
        }
    });
}

struct Script {
    machine: Machine<ModelStore>,
    /// The stamp of the next entries.
    stamp: Timestamp,
    /// The leader's clock for reads; log time when not ahead of it.
    now: Timestamp,
}

impl Script {
    fn new() -> Self {
        Self { machine: Machine::new(ModelStore::new()), stamp: Timestamp(0), now: Timestamp(0) }
    }

    fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["stamp", ms] => self.stamp = Timestamp(number(ms)),
            ["clock", ms] => self.now = Timestamp(number(ms)),
            ["entry"] => return self.entry(LogRecord::default()),
            ["empty"] => self.machine.apply_empty(self.machine.applied().next()),
            ["evict", key, version] => {
                let evictions = vec![(bytes(key), Version(number(version)))];
                return self.entry(LogRecord { evictions, ..Default::default() });
            }
            ["settings", ref words @ ..] => {
                return self.entry(LogRecord { settings: Some(settings(words)), ..Default::default() });
            }
            ["together", ref words @ ..] => {
                let commands = words.split(|w| *w == ";").map(command).collect();
                return self.entry(LogRecord { commands, ..Default::default() });
            }
            ["state"] => return self.state(),
            _ => {
                if let Some(query) = query(&words) {
                    return match self.machine.read(&query, self.now) {
                        Ok(outcome) => show(&outcome),
                        Err(needs) => format!("needs stamp {}", needs.at),
                    };
                }
                return self.entry(LogRecord { commands: vec![command(&words)], ..Default::default() });
            }
        }
        String::new()
    }

    fn entry(&mut self, record: LogRecord) -> String {
        let outcomes = self.machine.apply(self.machine.applied().next(), LogRecord { stamp: self.stamp, ..record });
        outcomes.iter().map(show).collect::<Vec<_>>().join(" | ")
    }

    fn state(&self) -> String {
        let m = &self.machine;
        let excess = m.excess();
        let mut out = format!(
            "applied {} time {} version {} entries {} bytes {}",
            m.applied(),
            m.log_time(),
            m.last_version(),
            m.len(),
            m.weight_bytes()
        );
        if let Some(at) = m.next_deadline() {
            let _ = write!(out, " deadline {at}");
        }
        if !excess.is_none() {
            let _ = write!(out, " excess {}/{}", excess.entries, excess.bytes);
        }
        out
    }
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

/// A word as bytes: `''` is empty, `\s` a blank, `*N` after a text repeats it.
fn bytes(word: &str) -> Value {
    if let Some((unit, times)) = word.split_once('*') {
        return Value::from(unit.repeat(number(times)));
    }
    Value::from(if word == "''" { String::new() } else { word.replace("\\s", " ") })
}

fn settings(words: &[&str]) -> Settings {
    let mut settings = Settings::default();
    for word in words {
        match word.split_once('=') {
            Some(("entries", n)) => settings.capacity = Capacity { max_entries: number(n), ..settings.capacity },
            Some(("bytes", n)) => settings.capacity = Capacity { max_bytes: number(n), ..settings.capacity },
            Some(("ttl", n)) => settings.default_ttl_ms = Some(number(n)),
            _ if *word == "lru" => settings.policy = EvictionPolicy::Lru,
            _ => panic!("unknown setting {word}"),
        }
    }
    settings
}

fn command(words: &[&str]) -> Command {
    let key = || bytes(words.get(1).expect("a key"));
    match *words {
        ["put", _, value, ref options @ ..] => put(key(), bytes(value), options),
        ["del", _] => Command::Delete { key: key(), condition: Condition::Always },
        ["del", _, when] => Command::Delete { key: key(), condition: condition(when).expect("a condition") },
        ["take", _] => Command::Take { key: key() },
        ["expire", _, when, ref options @ ..] => expire(key(), when, options),
        ["touch", _] => Command::Touch { key: key() },
        ["incr", _, delta] => Command::Increment { key: key(), delta: number(delta) },
        ["incrfloat", _, delta] => Command::IncrementFloat { key: key(), delta: bytes(delta) },
        ["append", _, suffix] => Command::Append { key: key(), suffix: bytes(suffix) },
        ["setrange", _, offset, patch] => {
            Command::SetRange { key: key(), offset: number(offset), patch: bytes(patch) }
        }
        ["copy", _, to, ref options @ ..] => Command::Copy {
            from: key(),
            to: bytes(to),
            replace: options.contains(&"replace"),
            remove_source: options.contains(&"move"),
        },
        ["guarded", ref rest @ ..] => guarded(rest),
        ["flush"] => Command::Flush,
        ["batch"] => Command::Batch(vec![]),
        ["batch", ref parts @ ..] => Command::Batch(parts.split(|w| *w == ",").map(command).collect()),
        ["read", ref rest @ ..] => Command::Read(query(rest).expect("a query")),
        _ => panic!("unknown command {words:?}"),
    }
}

/// `KEY=VERSION` or `KEY=absent` for each watch, then `:` and commands with `,` between them.
fn guarded(words: &[&str]) -> Command {
    let colon = words.iter().position(|word| *word == ":").expect("a colon behind the watches");
    let watch = |word: &&str| match word.split_once('=').expect("KEY=VERSION") {
        (key, "absent") => (bytes(key), None),
        (key, version) => (bytes(key), Some(Version(number(version)))),
    };
    let commands = words[colon + 1..].split(|word| *word == ",").filter(|part| !part.is_empty()).map(command);
    Command::Guarded { watches: words[..colon].iter().map(watch).collect(), commands: commands.collect() }
}

fn query(words: &[&str]) -> Option<Query> {
    let key = || bytes(words[1]);
    Some(match *words {
        ["get", _] => Query::Get { key: key() },
        ["getrange", _, start, end] => Query::GetRange { key: key(), start: number(start), end: number(end) },
        ["strlen", _] => Query::Strlen { key: key() },
        ["exists", _] => Query::Exists { key: key() },
        ["meta", _] => Query::Meta { key: key() },
        ["scan", cursor, count] => Query::Scan { cursor: number(cursor), count: number(count) },
        ["size"] => Query::Size,
        ["expiring"] => Query::Expiring,
        ["random", seed] => Query::RandomKey { seed: number(seed) },
        ["multi", ref parts @ ..] => {
            Query::Multi(parts.split(|w| *w == ",").map(|part| query(part).expect("a query")).collect())
        }
        _ => return None,
    })
}

fn put(key: Value, value: Value, options: &[&str]) -> Command {
    let mut put = Put { key, value, expiry: Expiry::Default, condition: Condition::Always, return_old: false };
    for option in options {
        match (expiry(option), condition(option)) {
            (Some(expiry), _) => put.expiry = expiry,
            (_, Some(condition)) => put.condition = condition,
            _ if *option == "old" => put.return_old = true,
            _ => panic!("unknown option {option}"),
        }
    }
    Command::Put(put)
}

fn expire(key: Value, when: &str, options: &[&str]) -> Command {
    let expiry = expiry(when).expect("an expiry");
    let (mut condition, mut return_value) = (ExpireCondition::Always, false);
    for option in options {
        match *option {
            "nx" => condition = ExpireCondition::IfNone,
            "xx" => condition = ExpireCondition::IfSome,
            "gt" => condition = ExpireCondition::IfLater,
            "lt" => condition = ExpireCondition::IfEarlier,
            "xxlt" => condition = ExpireCondition::IfSomeEarlier,
            "value" => return_value = true,
            _ => panic!("unknown option {option}"),
        }
    }
    Command::Expire { key, expiry, condition, return_value }
}

fn expiry(word: &str) -> Option<Expiry> {
    Some(match word {
        "default" => Expiry::Default,
        "never" => Expiry::Never,
        "keep" => Expiry::Keep,
        _ => match word.split_once('=')? {
            ("px", ms) => Expiry::AfterMs(number(ms)),
            ("at", ms) => Expiry::At(Timestamp(number(ms))),
            _ => return None,
        },
    })
}

fn condition(word: &str) -> Option<Condition> {
    Some(match word {
        "nx" => Condition::IfAbsent,
        "xx" => Condition::IfPresent,
        _ => match word.split_once('=')? {
            ("value", value) => Condition::IfValue(bytes(value)),
            ("version", version) => Condition::IfVersion(Version(number(version))),
            _ => return None,
        },
    })
}

fn show(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Stored { version, old } => format!("stored v{version}{}", show_old(old.as_ref())),
        Outcome::NotMet { current: Some(version), old } => format!("not met, v{version}{}", show_old(old.as_ref())),
        Outcome::NotMet { current: None, old } => format!("not met, absent{}", show_old(old.as_ref())),
        Outcome::Deleted(deleted) => format!("deleted {deleted}"),
        Outcome::Value(found) => found.as_ref().map_or("absent".to_owned(), show_found),
        Outcome::Expiry(changed) => format!("expiry {changed}"),
        Outcome::Present(present) => format!("present {present}"),
        Outcome::Integer { value, version } => format!("integer {value} v{version}"),
        Outcome::Decimal { value, version } => format!("decimal {} v{version}", value.escape_ascii()),
        Outcome::Length(length) => format!("length {length}"),
        Outcome::Meta(meta) => meta.map_or("absent".to_owned(), |meta| format!("meta{}", show_meta(meta))),
        Outcome::Keys { cursor, keys } => {
            let keys: Vec<_> = keys.iter().map(|key| key.escape_ascii().to_string()).collect();
            format!("keys [{}] next {cursor}", keys.join(" "))
        }
        Outcome::Count(count) => format!("count {count}"),
        Outcome::RandomKey(key) => {
            format!("key {}", key.as_ref().map_or("none".to_owned(), |key| key.escape_ascii().to_string()))
        }
        Outcome::Many(outcomes) => format!("({})", outcomes.iter().map(show).collect::<Vec<_>>().join(", ")),
        Outcome::Refused(refusal) => format!("refused: {}", show_refusal(*refusal)),
    }
}

fn show_old(old: Option<&Found>) -> String {
    old.map_or(String::new(), |found| format!(", was {}", show_found(found)))
}

fn show_found(found: &Found) -> String {
    format!("'{}'{}", found.value.escape_ascii(), show_meta(found.meta))
}

fn show_meta(meta: Meta) -> String {
    match (meta.expires_at, meta.ttl_ms) {
        (Some(at), Some(ttl)) => format!(" v{} until {at} ttl {ttl}", meta.version),
        (None, None) => format!(" v{}", meta.version),
        (at, ttl) => panic!("a deadline and a time to live come together: {at:?} {ttl:?}"),
    }
}

fn show_refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotAnInteger => "not an integer",
        Refusal::Overflow => "overflow",
        Refusal::NotANumber => "not a number",
        Refusal::NotFinite => "not finite",
        Refusal::TooLong => "too long",
        Refusal::NoSuchKey => "no such key",
        Refusal::Invalid => "invalid",
    }
}
