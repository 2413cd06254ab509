//! Random commands from the table of templates, the same for the same seed.

use crate::templates::{FLOATS, INTEGERS, PATTERNS, Reach, TEMPLATES, TTLS, Template, VALUES};

/// The words of one command.
pub(crate) type Command = Vec<Vec<u8>>;

/// A pipeline is one command or up to so many.
const LONGEST_PIPELINE: u64 = 24;

pub(crate) struct Generator {
    state: u64,
    /// Connections that may be amid a transaction: their keys are of one shard.
    tied: [bool; 64],
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0xd1b5_4a32_d192_ed03), tied: [false; 64] }
    }

    pub(crate) fn connection(&mut self, count: usize) -> usize {
        self.below(count as u64) as usize
    }

    /// What a connection sends next.
    pub(crate) fn pipeline(&mut self, place: usize) -> Vec<Command> {
        let count = if self.below(4) == 0 { 1 } else { 1 + self.below(LONGEST_PIPELINE) };
        let mut pipeline = Vec::new();
        for _ in 0..count {
            let command = self.command(place);
            // A key that was absent, came and went again has changed for Redis, not for us: so none is watched.
            if command[0].eq_ignore_ascii_case(b"watch") {
                let set = |key: &Vec<u8>| vec![b"SETNX".to_vec(), key.clone(), b"watched".to_vec()];
                pipeline.extend(command[1..].iter().map(set));
            }
            pipeline.push(command);
        }
        pipeline
    }

    /// Notes whether the connection may be amid a transaction now.
    fn note(&mut self, place: usize, command: &Command) {
        match command[0].to_ascii_uppercase().as_slice() {
            b"MULTI" | b"WATCH" => self.tied[place] = true,
            b"EXEC" | b"DISCARD" if command.len() == 1 => self.tied[place] = false,
            b"RESET" if command.len() == 1 => self.tied[place] = false,
            _ => {}
        }
    }

    fn command(&mut self, place: usize) -> Command {
        let template = loop {
            let template = self.template();
            if !(self.tied[place] && template.reach == Reach::Everything) {
                break template;
            }
        };
        // Outside of transactions most commands take keys of any shard.
        let tagged = self.tied[place] || template.reach == Reach::OneShard;
        let mut command: Command = Vec::new();
        for word in template.words.split(' ') {
            let repeat = if word.ends_with('+') { 1 + self.below(3) } else { 1 };
            for _ in 0..repeat {
                for part in word.trim_end_matches('+').split('&') {
                    let filled = self.fill(part, tagged);
                    command.push(filled);
                }
            }
        }
        if self.below(40) == 0 {
            self.spoil(&mut command);
        }
        self.note(place, &command);
        command
    }

    fn template(&mut self) -> &'static Template {
        let mut draw = self.below(TEMPLATES.iter().map(|template| template.weight).sum());
        for template in TEMPLATES {
            match draw.checked_sub(template.weight) {
                Some(left) => draw = left,
                None => return template,
            }
        }
        unreachable!("a draw is below the sum of the weights")
    }

    fn fill(&mut self, word: &str, tagged: bool) -> Vec<u8> {
        match word {
            "KEY" => self.key(tagged),
            "DECIMAL" => format!("{{t}}f{}", self.below(3)).into_bytes(),
            "VALUE" => self.value(),
            "INT" => self.pick(INTEGERS).to_vec(),
            "PATTERN" => self.pick(PATTERNS).to_vec(),
            "FLOAT" => self.pick(FLOATS).to_vec(),
            "TTL" => self.pick(TTLS).to_vec(),
            "AT" => self.pick(&[b"1", b"0", b"-5", b"99999999999", b"4102444800", b"4102444801", b"x"]).to_vec(),
            "MODE" => self.pick(&[b"NX", b"XX", b"GT", b"LT", b"nx", b"no"]).to_vec(),
            _ => {
                let text = word.as_bytes().to_vec();
                if self.below(4) == 0 { text.to_ascii_lowercase() } else { text }
            }
        }
    }

    fn key(&mut self, tagged: bool) -> Vec<u8> {
        let number = self.below(6);
        let name = match tagged || self.below(2) == 0 {
            true => format!("{{t}}{number}"),
            false => format!("k{number}"),
        };
        name.into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.below(12) {
            0 => vec![b'x'; self.below(3_000) as usize],
            1 => (0..self.below(40)).map(|_| self.below(256) as u8).collect(),
            2..=4 => self.pick(INTEGERS).to_vec(),
            5 => self.pick(FLOATS).to_vec(),
            _ => self.pick(VALUES).to_vec(),
        }
    }

    /// One word too few, too many, or another one.
    fn spoil(&mut self, command: &mut Command) {
        // Without its bound WAIT waits for ever; a wrong HELLO has taken what stands before the error, in Redis only.
        if [&b"wait"[..], b"hello"].iter().any(|name| command[0].eq_ignore_ascii_case(name)) {
            return;
        }
        match self.below(3) {
            0 if command.len() > 1 => {
                command.pop();
            }
            1 => command.push(b"{t}more".to_vec()),
            _ => {
                let place = self.below(command.len() as u64) as usize;
                // Not the key: the empty one and those of other shards are other errors here.
                let is_key = command[place].starts_with(b"{t}") || command[place].starts_with(b"k");
                if place != 1 && !is_key {
                    command[place] = self.pick(&[b"nonsense", b"0", b"", b"EX"]).to_vec();
                }
            }
        }
    }

    fn pick<'a>(&mut self, words: &[&'a [u8]]) -> &'a [u8] {
        words[self.below(words.len() as u64) as usize]
    }

    /// SplitMix64, below a bound.
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
