//! Scripts (`crate::golden`) in `plan/testdata` of what people ask for and what goes wrong, and what was planned.
//!
//! A script has one world. The words are in [`Script::line`].

use std::fmt::Write as _;

use crema_crds::spec::{QuorumLoss, UpdateKind};

use super::world::World;
use crate::{
    golden,
    model::{
        Answer, ClusterUid, Control, Formation, Incarnation, MapVersion, Memory, NodeId, Ordinal, PodState, Storage,
    },
    plan::{Action, Plan, decide},
};

#[test]
fn scripts() {
    golden::check("src/plan/testdata", || {
        let mut script = Script { world: World::new(3, 2, 4) };
        move |line: &str| script.line(line)
    });
}

struct Script {
    world: World,
}

impl Script {
    /// | words | what |
    /// |---|---|
    /// | `new REPLICAS SHARDS MACHINES` | a new object and nothing else |
    /// | `replicas N`, `factor N`, `revision R`, `broken R`, `disk BYTES [delete-object] [delete-scaled]`, `capacity B...` | what is wanted |
    /// | `manual`, `rolling`, `hold`, `unhold`, `quorum-loss wait`, `replace-volumes`, `no-repair`, `paused`, `unpaused` | how |
    /// | `crash POD`, `end POD`, `starting POD`, `lose MACHINE [gone]`, `back MACHINE`, `lag NODE N` | what goes wrong |
    /// | `silent NODE`, `heard NODE`, `says NODE CLUSTER LIFE` | what the operator hears |
    /// | `forget`, `no-sts`, `foreign-sts`, `no-nodes`, `fixed-claims`, `deleting` | what else is odd |
    /// | `plan` | answers, nothing is done |
    /// | `pass`, `tick [N]`, `settle [N]` | plans are carried out, and time passes |
    fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (word, rest) = words.split_first().expect("a word");
        let number = |at: usize| rest[at].parse::<u64>().unwrap_or_else(|_| panic!("a number in {line}"));
        match *word {
            "new" => self.world = World::new(number(0) as u32, number(1) as u32, number(2) as u32),
            "plan" => {
                let intent = self.world.intent.clone();
                return shown(&decide(&intent, self.world.observe()));
            }
            "pass" => return shown(&self.world.pass()),
            "tick" => (0..rest.first().map_or(1, |_| number(0))).for_each(|_| self.world.tick()),
            "settle" => return self.settle(rest.first().map_or(200, |_| number(0) as usize)),
            _ => {
                let known = self.wish(word, rest) || self.mishap(word, rest) || self.oddity(word);
                assert!(known, "no such word in {line}");
            }
        }
        String::new()
    }

    /// What people want.
    fn wish(&mut self, word: &str, rest: &[&str]) -> bool {
        let intent = &mut self.world.intent;
        let number = |at: usize| rest[at].parse::<u64>().expect("a number");
        match word {
            "replicas" => intent.replicas = number(0) as u32,
            "factor" => intent.replication_factor = number(0) as u32,
            "capacity" => intent.settings.max_bytes_per_shard = (0..rest.len()).map(number).collect(),
            "revision" => intent.revision = rest[0].to_owned(),
            "broken" => _ = self.world.broken.insert(rest[0].to_owned()),
            "disk" => {
                intent.storage = Storage::Disk {
                    bytes: number(0),
                    delete_with_object: rest.contains(&"delete-object"),
                    delete_when_scaled: rest.contains(&"delete-scaled"),
                };
            }
            "manual" => intent.update.kind = UpdateKind::Manual,
            "rolling" => intent.update.kind = UpdateKind::Rolling,
            "hold" => intent.update.paused = true,
            "unhold" => intent.update.paused = false,
            "quorum-loss" => {
                intent.quorum_loss = if rest[0] == "wait" { QuorumLoss::Wait } else { QuorumLoss::Reset };
            }
            "replace-volumes" => intent.repair.replace_volumes = true,
            "no-repair" => intent.repair.after_ms = None,
            "paused" => intent.paused = true,
            "unpaused" => intent.paused = false,
            _ => return false,
        }
        true
    }

    /// What goes wrong.
    fn mishap(&mut self, word: &str, rest: &[&str]) -> bool {
        let world = &mut self.world;
        let number = |at: usize| rest[at].parse::<u64>().expect("a number");
        let pod = || Ordinal(number(0) as u32);
        match word {
            "crash" => world.crash(pod()),
            "end" => world.set_state(pod(), PodState::Terminating),
            "starting" => world.set_state(pod(), PodState::Starting),
            "lose" => world.lose(rest[0], rest.contains(&"gone")),
            "back" => {
                for machine in world.seen.k8s_nodes.iter_mut().flatten().filter(|machine| machine.name == rest[0]) {
                    machine.ready = true;
                }
            }
            "lag" => _ = world.lags.insert(NodeId(number(0)), number(1)),
            "silent" => _ = world.silent.insert(NodeId(number(0))),
            "heard" => _ = (world.silent.remove(&NodeId(number(0))), world.says.remove(&NodeId(number(0)))),
            "says" => {
                let answer = Answer::Member {
                    cluster_uid: ClusterUid(rest[1].to_owned()),
                    incarnation: Incarnation(rest[2].to_owned()),
                    map_version: MapVersion(1),
                };
                world.says.insert(NodeId(number(0)), answer);
            }
            _ => return false,
        }
        true
    }

    /// What else is odd.
    fn oddity(&mut self, word: &str) -> bool {
        let seen = &mut self.world.seen;
        match word {
            "forget" => seen.memory = Memory::default(),
            "gave-up" => {
                let id = ClusterUid("another".to_owned());
                let Formation::Formed { id: old } = seen.memory.formation.clone() else { return false };
                seen.memory.formation = Formation::Forming { id, replaces: Some(old) };
            }
            "no-sts" => {
                seen.sts = None;
                seen.pods.iter_mut().for_each(|pod| pod.control = Control::Nobody);
            }
            "foreign-sts" => {
                seen.sts.iter_mut().for_each(|sts| sts.control = Control::Other("somebody".to_owned()));
            }
            "no-nodes" => seen.k8s_nodes = None,
            "fixed-claims" => seen.claims.iter_mut().for_each(|claim| claim.growable = false),
            "deleting" => seen.object.deleting = true,
            _ => return false,
        }
        true
    }

    fn settle(&mut self, most: usize) -> String {
        let (done, end) = self.world.settle(most);
        let mut text = done.iter().fold(String::new(), |text, line| text + line + "\n");
        match end {
            Some(plan) => text += &shown(&plan),
            None => {
                let intent = self.world.intent.clone();
                text += "not settled\n";
                text += &shown(&decide(&intent, self.world.observe()));
            }
        }
        text
    }
}

/// A plan, a line for each thing that it says. Objects are applied in every pass: only their budget is told.
fn shown(plan: &Plan) -> String {
    let Plan { actions, waiting_on, conditions, events } = plan;
    let mut text = String::new();
    for action in actions {
        let mark = if action.is_disruptive() { "!" } else { "-" };
        match action {
            Action::ApplyObjects { max_unavailable } => _ = writeln!(text, "budget {max_unavailable}"),
            other => _ = writeln!(text, "{mark} {other}"),
        }
    }
    waiting_on.iter().for_each(|why| _ = writeln!(text, "waits for {why}"));
    conditions.iter().for_each(|condition| _ = writeln!(text, "{condition}"));
    events.iter().for_each(|event| _ = writeln!(text, "event {event}"));
    text
}
