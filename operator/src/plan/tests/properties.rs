//! Random lives of clusters: whatever people ask for and whatever fails, one thing at a time, no group loses its majority,
//! nobody takes a healthy pod while another is missing, and in the end all is as it should be.

use proptest::prelude::*;

use super::world::World;
use crate::{
    model::{Group, MemberState, Memory, Ordinal, PodState, PodView, Step, Storage},
    plan::Action,
};

/// Enough for the longest repair, roll and drain in a row.
const PASSES: usize = 3_000;

/// What happens between passes.
#[derive(Clone, Debug)]
enum Event {
    /// So many nodes are wanted.
    Scale(u32),
    /// Another revision is wanted; a broken one never starts.
    Roll { broken: bool },
    /// A person holds the roll, or doesn't.
    Hold(bool),
    /// The status is wiped.
    Forget,
    /// A process ends, if nothing else is missing.
    Crash(u32),
    /// Somebody deletes a pod, if nothing else is missing.
    Evict(u32),
    /// A machine is lost, if nothing else is missing.
    Lose(u32),
    /// All machines are back.
    Return,
    /// Time passes.
    Wait(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (3_u32..7).prop_map(Event::Scale),
        3 => (0_u32..4).prop_map(|draw| Event::Roll { broken: draw == 0 }),
        1 => any::<bool>().prop_map(Event::Hold),
        1 => Just(Event::Forget),
        2 => (0_u32..6).prop_map(Event::Crash),
        2 => (0_u32..6).prop_map(Event::Evict),
        1 => (0_u32..8).prop_map(Event::Lose),
        1 => Just(Event::Return),
        8 => (1_u8..40).prop_map(Event::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cluster_in_memory_lives_through_anything(events in prop::collection::vec(event(), 1..24)) {
        live(World::new(3, 3, 8), &events);
    }

    #[test]
    fn a_cluster_on_disks_lives_through_anything(events in prop::collection::vec(event(), 1..24)) {
        let mut world = World::new(3, 3, 8);
        world.intent.storage = Storage::Disk { bytes: 100, delete_with_object: true, delete_when_scaled: true };
        live(world, &events);
    }
}

fn live(mut world: World, events: &[Event]) {
    for event in events {
        happen(&mut world, event);
        step(&mut world);
    }
    // From here on nothing fails, and what is wanted can be had.
    world.intent.update.paused = false;
    world.seen.k8s_nodes.iter_mut().flatten().for_each(|machine| machine.ready = true);
    if world.broken.contains(&world.intent.revision) {
        world.intent.revision = format!("r{}", world.fresh());
    }
    for _ in 0..PASSES {
        if is_settled(&world) {
            break;
        }
        // A lost machine may have cost a roll its time: a person asks again.
        let roll = world.seen.memory.roll.as_ref();
        if roll.is_some_and(|roll| matches!(roll.step, Step::Failed { .. }) && roll.revision == world.intent.revision)
        {
            world.intent.revision = format!("r{}", world.fresh());
        }
        step(&mut world);
    }
    let (done, end) = world.settle(PASSES);
    let last = &done[done.len().saturating_sub(12)..];
    assert!(end.is_some(), "{last:#?}, {:?}, {:?}", world.pass(), world.map);
    check_end(&world);
}

fn happen(world: &mut World, event: &Event) {
    let whole = is_whole(world) && is_resting(world);
    match event {
        Event::Scale(replicas) => world.intent.replicas = *replicas,
        Event::Roll { broken } => {
            world.intent.revision = format!("r{}", world.fresh());
            if *broken {
                world.broken.insert(world.intent.revision.clone());
            }
        }
        Event::Hold(paused) => world.intent.update.paused = *paused,
        Event::Forget => {
            world.seen.memory = Memory::default();
            world.seen.object.resource_version = world.fresh().to_string();
        }
        Event::Crash(ordinal) if whole => world.crash(Ordinal(*ordinal)),
        Event::Evict(ordinal) if whole => world.end(Ordinal(*ordinal)),
        Event::Lose(machine) if whole => world.lose(&format!("m{machine}"), false),
        Event::Crash(_) | Event::Evict(_) | Event::Lose(_) => {}
        Event::Return => world.seen.k8s_nodes.iter_mut().flatten().for_each(|machine| machine.ready = true),
        Event::Wait(passes) => (0..*passes).for_each(|_| step(world)),
    }
}

/// A pass and a tick, with what must hold around them.
fn step(world: &mut World) {
    let (whole, uid) = (is_whole(world), world.map.as_ref().map(|map| map.uid.clone()));
    let partition = world.seen.sts.as_ref().map_or(0, |sts| sts.partition);
    let ready: Vec<Ordinal> =
        world.seen.pods.iter().filter(|pod| pod.state == PodState::Ready).map(|pod| pod.ordinal).collect();
    let plan = world.pass();
    for action in &plan.actions {
        let taken = match action {
            Action::PatchPartition { partition: to, .. } if *to < partition => Some(Ordinal(*to)),
            Action::DeletePod { pod, .. } => {
                let named = world.seen.pods.iter().find(|live| live.live.name == pod.name);
                named.map(|pod| pod.ordinal)
            }
            _ => None,
        };
        let votes = |ordinal: Ordinal| {
            let mut voters = world.map.iter().flat_map(|map| map.groups.values()).flat_map(|group| &group.voters);
            voters.any(|voter| voter.node == ordinal.node())
        };
        let harm = taken.is_some_and(|ordinal| ready.contains(&ordinal) && votes(ordinal));
        assert!(whole || !harm, "{action}, while something is missing");
    }
    world.tick();
    if let (Some(before), Some(map)) = (uid, &world.map) {
        assert_eq!(before, map.uid, "no cluster takes the place of one that lives");
        for name in map.groups.keys() {
            assert!(world.lives(map, *name), "{name} has lost its majority: {plan:?}");
        }
    }
}

/// Every pod is ready, and every voter lives; before there is a cluster nothing is whole.
fn is_whole(world: &World) -> bool {
    let Some(map) = &world.map else { return false };
    let ready = world.seen.pods.iter().filter(|pod| pod.state == PodState::Ready).count();
    let voters =
        |name: &Group| map.groups[name].voters.iter().all(|voter| world.is_alive(voter.node, &voter.incarnation));
    let full =
        |name: &Group| *name == Group::Meta || map.groups[name].voters.len() >= map.replication_factor as usize;
    let pods = world.seen.sts.as_ref().map_or(0, |sts| sts.replicas as usize);
    ready >= pods && map.groups.keys().all(|name| voters(name) && full(name))
}

/// No pod is about to go.
fn is_resting(world: &World) -> bool {
    let Some(sts) = &world.seen.sts else { return false };
    let going = |pod: &PodView| pod.ordinal.0 >= sts.partition && pod.revision != sts.revision;
    !world.seen.pods.iter().any(|pod| going(pod) || pod.state == PodState::Terminating)
}

fn is_settled(world: &World) -> bool {
    let Some(sts) = &world.seen.sts else { return false };
    is_whole(world) && sts.replicas == world.intent.replicas && sts.partition == sts.replicas && is_resting(world)
}

fn check_end(world: &World) {
    let (sts, map) = (world.seen.sts.as_ref().expect("a StatefulSet"), world.map.as_ref().expect("a cluster"));
    let replicas = world.intent.replicas;
    assert_eq!(
        (sts.replicas, sts.partition, sts.revision.as_str()),
        (replicas, replicas, world.intent.revision.as_str())
    );
    assert!(is_whole(world) && world.seen.pods.iter().all(|pod| pod.revision == sts.revision));
    assert_eq!(world.seen.pods.len(), replicas as usize);
    let up: Vec<u64> =
        map.present().filter(|(_, member)| member.state == MemberState::Up).map(|(node, _)| node.0).collect();
    assert_eq!(up, (1..=u64::from(replicas)).collect::<Vec<_>>(), "the members are those of the pods");
    assert_eq!(map.present().count(), replicas as usize);
    assert_eq!(world.budget, Some(1));
    let kept = match world.intent.storage {
        Storage::Memory => 0,
        Storage::Disk { .. } => replicas as usize,
    };
    assert_eq!(world.seen.claims.len(), kept, "claims of pods that were scaled away go with them");
    assert!(world.seen.memory.roll.is_none() && world.seen.memory.shrink.is_none());
}
