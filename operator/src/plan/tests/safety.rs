//! The rules whose breaking loses data, each in the sight that tempts to it.

use crema_crds::spec::UpdateKind;

use super::world::{Process, World, claim};
use crate::{
    model::{
        Answer, ClusterUid, Control, Formation, Incarnation, MapVersion, MemberState, Memory, NodeId, Ordinal,
        PodState, Storage, Update,
    },
    plan::{Action, ConditionKind, Plan, decide},
};

/// A cluster that was formed and has come to rest.
fn formed(replicas: u32) -> World {
    let mut world = World::new(replicas, 4, replicas + 1);
    let (_, end) = world.settle(200);
    assert!(end.is_some(), "it comes to rest");
    world
}

fn planned(world: &mut World) -> Plan {
    let intent = world.intent.clone();
    decide(&intent, world.observe())
}

fn acts(plan: &Plan) -> Vec<&Action> {
    plan.actions.iter().filter(|action| !matches!(action, Action::ApplyObjects { .. })).collect()
}

fn texts(plan: &Plan) -> Vec<String> {
    acts(plan).into_iter().map(Action::to_string).collect()
}

#[test]
fn an_unchanged_cluster_is_left_alone() {
    let mut world = formed(3);
    let plan = planned(&mut world);
    assert_eq!((texts(&plan), plan.waiting_on.len()), (Vec::<String>::new(), 0));
    let said: Vec<bool> = plan.conditions.iter().map(|condition| condition.status).collect();
    assert_eq!(said, [true, false, false], "available, not progressing, not degraded");
}

#[test]
fn init_is_sent_only_with_an_id_that_was_written_before() {
    let mut world = World::new(3, 4, 4);
    let mut written = false;
    for _ in 0..20 {
        let plan = world.pass();
        for action in &plan.actions {
            match action {
                Action::Init { uid, members } => {
                    assert!(written && members.len() == 3, "{uid}");
                    return;
                }
                Action::Remember { memory, .. } => written = matches!(memory.formation, Formation::Forming { .. }),
                _ => assert!(!written || !action.is_disruptive()),
            }
        }
        world.tick();
    }
    panic!("no cluster was formed");
}

#[test]
fn nothing_is_formed_while_a_pod_is_silent() {
    let mut world = formed(3);
    // The whole cluster restarted empty, and the status was wiped; one might still belong to it.
    world.seen.memory = Memory::default();
    world.map = None;
    for ordinal in [0, 1, 2].map(Ordinal) {
        world.start(ordinal);
    }
    world.silent.insert(NodeId(2));
    let plan = planned(&mut world);
    assert_eq!(texts(&plan), Vec::<String>::new());
    assert!(plan.waiting_on.iter().any(|why| why.contains("pod 1 to answer")), "{:?}", plan.waiting_on);
}

#[test]
fn two_clusters_stop_everything() {
    let mut world = formed(3);
    world.intent.revision = "r2".to_owned();
    world.pass();
    for formation in [world.seen.memory.formation.clone(), Formation::Unknown] {
        world.seen.memory.formation = formation;
        let uid = ClusterUid("another".to_owned());
        let answer =
            Answer::Member { cluster_uid: uid, incarnation: Incarnation("x".into()), map_version: MapVersion(1) };
        world.says.insert(NodeId(3), answer);
        let plan = planned(&mut world);
        assert_eq!(texts(&plan), Vec::<String>::new());
        let degraded = plan.conditions.iter().find(|condition| condition.kind == ConditionKind::Degraded);
        assert_eq!(degraded.map(|condition| condition.reason.to_string()), Some("TwoClusters".to_owned()));
    }
}

#[test]
fn silence_resets_nothing() {
    let mut world = formed(5);
    for node in 1..=5 {
        world.silent.insert(NodeId(node));
        assert!(acts(&planned(&mut world)).is_empty(), "{node} are silent");
    }
    let mut world = formed(5);
    for machine in ["m0", "m1", "m2", "m3"] {
        world.lose(machine, false);
    }
    (0..200).for_each(|_| world.tick());
    let given_up = |action: &&Action| {
        matches!(action, Action::ResetShards { .. } | Action::Remember { .. } | Action::MarkDown { .. })
    };
    let plan = planned(&mut world);
    assert!(
        !plan.actions.iter().any(|action| given_up(&action)),
        "a machine that is not ready may be alive: {plan:?}"
    );
}

#[test]
fn a_lost_life_is_condemned_before_its_pod_goes() {
    let mut world = formed(3);
    world.lose("m2", false);
    (0..70).for_each(|_| world.tick());
    let life =
        world.map.as_ref().and_then(|map| map.members.get(&NodeId(3))).map(|member| member.incarnation.clone());
    match acts(&world.pass()).as_slice() {
        [Action::MarkDown { node: NodeId(3), incarnation, .. }] => assert_eq!(Some(incarnation), life.as_ref()),
        other => panic!("{other:?}"),
    }
    match acts(&world.pass()).as_slice() {
        [Action::DeletePod { pod, at_once: true }] => assert_eq!(pod.name, "cart-2"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_that_answers_is_not_condemned() {
    let mut world = formed(3);
    for machine in world.seen.k8s_nodes.iter_mut().flatten().filter(|machine| machine.name == "m2") {
        (machine.ready, machine.since_ms) = (false, 0);
    }
    let plan = planned(&mut world);
    assert_eq!(texts(&plan), Vec::<String>::new());
    assert!(plan.waiting_on.iter().any(|why| why.contains("answers")), "{:?}", plan.waiting_on);
}

#[test]
fn what_is_bound_to_the_map_names_its_version() {
    let mut world = formed(5);
    world.intent.replicas = 3;
    let version = world.map.as_ref().expect("a map").version;
    match acts(&planned(&mut world)).as_slice() {
        [Action::Drain { nodes, expected }] => {
            assert_eq!((nodes.as_slice(), *expected), ([NodeId(4), NodeId(5)].as_slice(), version));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_removal_is_written_before_it_is_made() {
    let mut world = formed(4);
    world.intent.replicas = 3;
    for _ in 0..100 {
        let plan = world.pass();
        if let [Action::Remember { memory, .. }, Action::Remove { node, .. }] = acts(&plan).as_slice() {
            assert_eq!((memory.shrink, *node), (Some(Ordinal(3)), NodeId(4)));
            // Wanted again too late: the pod goes first.
            world.intent.replicas = 4;
            world.tick();
            match acts(&world.pass()).as_slice() {
                [Action::PatchReplicas { replicas: 3, partition: 3, .. }] => return,
                other => panic!("{other:?}"),
            }
        }
        world.tick();
    }
    panic!("nobody was removed");
}

#[test]
fn a_template_changes_no_pod_by_itself() {
    let mut world = formed(3);
    world.intent.revision = "r2".to_owned();
    match acts(&planned(&mut world)).as_slice() {
        [Action::ApplyTemplate { replicas: 3, partition: 3, revision, .. }] => assert_eq!(revision, "r2"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refused_template_keeps_nothing_from_being_repaired() {
    let mut world = formed(3);
    world.lose("m2", false);
    (0..70).for_each(|_| world.tick());
    world.intent.revision = "refused".to_owned();
    let plan = planned(&mut world);
    let kinds: Vec<bool> = acts(&plan).iter().map(|action| matches!(action, Action::ApplyTemplate { .. })).collect();
    assert_eq!(kinds, [true, false], "{plan:?}");
    assert!(matches!(acts(&plan)[1], Action::MarkDown { .. }));
}

#[test]
fn no_pod_may_be_evicted_while_a_voter_is_behind() {
    let mut world = formed(3);
    let budget = |world: &mut World| match planned(world).actions.first() {
        Some(Action::ApplyObjects { max_unavailable }) => *max_unavailable,
        other => panic!("{other:?}"),
    };
    assert_eq!(budget(&mut world), 1);
    world.lags.insert(NodeId(2), 10_000);
    assert_eq!(budget(&mut world), 0);
    world.seen.memory = Memory::default();
    assert_eq!(budget(&mut world), 0, "also when the status was wiped");
    world.lags.clear();
    assert_eq!(budget(&mut world), 1);
}

#[test]
fn a_silent_node_that_makes_a_majority_is_not_spare() {
    let mut world = formed(3);
    world.intent.revision = "r2".to_owned();
    world.pass();
    // Pod 2 can't be heard and is not ready; it votes all the same, and pod 1 has just lost its memory.
    world.silent.insert(NodeId(3));
    world.set_state(Ordinal(2), PodState::Starting);
    world.crash(Ordinal(1));
    let plan = planned(&mut world);
    assert!(!plan.actions.iter().any(Action::is_disruptive), "{plan:?}");
    // Without that loss it may go: no majority rests on it.
    world.set_state(Ordinal(1), PodState::Starting);
    let life =
        world.map.as_ref().and_then(|map| map.members.get(&NodeId(2))).map(|member| member.incarnation.clone());
    let (cluster, life) = (world.map.as_ref().map(|map| map.uid.clone()), life.expect("a member"));
    world.processes.insert(NodeId(2), Process { life, cluster });
    world.set_state(Ordinal(1), PodState::Ready);
    let plan = planned(&mut world);
    let lowered = plan.actions.iter().any(|action| matches!(action, Action::PatchPartition { partition: 2, .. }));
    assert!(lowered, "{plan:?}");
}

#[test]
fn the_only_replica_is_elsewhere_when_its_pod_goes() {
    let mut world = World::new(2, 2, 3);
    world.intent.replication_factor = 1;
    let (_, end) = world.settle(200);
    assert!(end.is_some(), "it comes to rest");
    world.intent.revision = "r2".to_owned();
    let (done, end) = world.settle(200);
    assert!(end.is_some() && done.iter().any(|step| step.starts_with("undrain")), "{done:#?}");
    assert!(!done.iter().any(|step| step.starts_with("reset")), "nothing is lost by a roll: {done:#?}");
}

#[test]
fn an_object_that_is_deleted_is_left_alone() {
    let mut world = formed(3);
    world.seen.object.deleting = true;
    world.intent.replicas = 5;
    assert_eq!(planned(&mut world), Plan::default());
}

#[test]
fn what_somebody_else_owns_is_never_touched() {
    let mut world = formed(3);
    world.intent.storage = Storage::Disk { bytes: 100, delete_with_object: true, delete_when_scaled: true };
    let made = claim(&mut world, Ordinal(0), 100);
    world.seen.claims.push(made);
    world.intent.revision = "r2".to_owned();
    if let Some(sts) = &mut world.seen.sts {
        sts.control = Control::Other("somebody".to_owned());
    }
    assert_eq!(texts(&planned(&mut world)), Vec::<String>::new());
}

#[test]
fn by_hand_nothing_is_taken() {
    let mut world = formed(3);
    world.intent.update = Update { kind: UpdateKind::Manual, ..world.intent.update };
    world.intent.revision = "r2".to_owned();
    for _ in 0..10 {
        let plan = world.pass();
        assert!(!plan.actions.iter().any(Action::is_disruptive), "{plan:?}");
        world.tick();
    }
}

#[test]
fn a_volume_is_given_up_only_if_all_is_whole_without_it() {
    let mut world = World::new(3, 2, 4);
    world.intent.storage = Storage::Disk { bytes: 100, delete_with_object: false, delete_when_scaled: false };
    world.intent.repair.replace_volumes = true;
    let (_, end) = world.settle(200);
    assert!(end.is_some(), "it comes to rest");
    world.lose("m2", true);
    world.lags.insert(NodeId(1), 10_000);
    let gives_up = |plan: &Plan| plan.actions.iter().any(|action| matches!(action, Action::DeleteClaim { .. }));
    for _ in 0..200 {
        let plan = world.pass();
        assert!(!gives_up(&plan), "{plan:?}");
        world.tick();
    }
    world.lags.clear();
    for _ in 0..200 {
        let down = world.map.as_ref().and_then(|map| map.state_of(NodeId(3))) == Some(MemberState::Down);
        if gives_up(&world.pass()) {
            assert!(down, "its life is dead before");
            return;
        }
        world.tick();
    }
    panic!("the volume was never given up");
}

#[test]
fn the_nodes_give_a_member_up_when_the_spec_says_so() {
    let mut world = formed(3);
    for (after_ms, set) in [(Some(60_000), 60_000), (None, 0)] {
        world.intent.repair.after_ms = after_ms;
        let plan = planned(&mut world);
        match acts(&plan).as_slice() {
            [Action::UpdateSettings { change, .. }] => assert_eq!(change.repair_after_ms, Some(set)),
            other => panic!("{other:?}"),
        }
        assert!(texts(&plan)[0].ends_with(&format!(": repair_after_ms={set}")), "{plan:?}");
        world.pass();
        world.tick();
        assert_eq!(texts(&planned(&mut world)), Vec::<String>::new(), "once is enough");
    }
}
