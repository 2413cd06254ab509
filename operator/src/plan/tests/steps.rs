//! What the steps of a plan do in the [`World`]. Whatever a step is bound to must hold, as on a real API server and a real map.

use super::{
    cluster::update,
    world::{World, stateful_set},
};
use crate::{
    model::{ClaimView, Group, Live, MapVersion, MapView, MemberState, NodeId, PodState, StatefulSetView},
    plan::Action,
};

impl World {
    /// Does a step.
    ///
    /// # Errors
    /// Which precondition does not hold, or what the cluster refuses.
    pub(super) fn apply(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::ApplyObjects { max_unavailable } => {
                self.budget = Some(*max_unavailable);
                Ok(())
            }
            Action::CreateStatefulSet { replicas } => self.create_stateful_set(*replicas),
            Action::ApplyTemplate { sts, revision, replicas, partition } => {
                let update = self.intent.update.kind;
                self.patch(sts, |live| {
                    assert_eq!((live.replicas, *partition), (*replicas, *replicas), "a template changes no pod");
                    (live.revision, live.partition, live.update) = (revision.clone(), *partition, update);
                })
            }
            Action::PatchReplicas { sts, replicas, partition } => {
                self.patch(sts, |live| (live.replicas, live.partition) = (*replicas, *partition))
            }
            Action::PatchPartition { sts, partition } => self.patch(sts, |live| live.partition = *partition),
            Action::OrphanStatefulSet { sts } => self.patch(sts, |live| live.deleting = true),
            Action::Remember { resource_version, memory } => {
                if *resource_version != self.seen.object.resource_version {
                    return Err("the object has another version".to_owned());
                }
                self.seen.memory = memory.clone();
                self.seen.object.resource_version = self.fresh().to_string();
                Ok(())
            }
            Action::Init { uid, members } => {
                let fresh = members.iter().all(|(node, life)| {
                    self.processes.get(node).is_some_and(|process| process.life == *life && process.cluster.is_none())
                });
                if !fresh {
                    return Err("a member is in another life, or belongs to a cluster".to_owned());
                }
                self.form(uid, members);
                Ok(())
            }
            Action::OwnClaim { claim, owned } => self.change_claim(claim, |view| view.owned = *owned),
            Action::GrowClaim { claim, bytes } => self.change_claim(claim, |view| view.requested_bytes = *bytes),
            Action::DeleteClaim { claim } => self.change_claim(claim, |view| view.terminating = true),
            Action::DeletePod { pod, at_once } => self.delete_pod(pod, *at_once),
            Action::DeleteConfig { config } => {
                self.seen.owned.retain(|owned| owned.live != *config);
                Ok(())
            }
            Action::Drain { .. }
            | Action::Undrain { .. }
            | Action::Remove { .. }
            | Action::MarkDown { .. }
            | Action::TransferLeaders { .. }
            | Action::ResetShards { .. }
            | Action::UpdateSettings { .. }
            | Action::PauseMigrations
            | Action::ResumeMigrations => self.govern(action),
        }
    }

    fn create_stateful_set(&mut self, replicas: u32) -> Result<(), String> {
        if self.seen.sts.is_some() {
            return Err("it exists".to_owned());
        }
        let sts = stateful_set(self, replicas);
        self.current = sts.revision.clone();
        self.seen.sts = Some(sts);
        Ok(())
    }

    fn patch(&mut self, bound: &Live, change: impl FnOnce(&mut StatefulSetView)) -> Result<(), String> {
        let version = self.fresh().to_string();
        let live = self.seen.sts.as_mut().filter(|sts| sts.live == *bound).ok_or("the StatefulSet has changed")?;
        change(live);
        live.live.resource_version = version;
        Ok(())
    }

    fn change_claim(&mut self, bound: &Live, change: impl FnOnce(&mut ClaimView)) -> Result<(), String> {
        let version = self.fresh().to_string();
        let claim = self.seen.claims.iter_mut().find(|claim| claim.live == *bound).ok_or("the claim has changed")?;
        change(claim);
        claim.live.resource_version = version;
        Ok(())
    }

    fn delete_pod(&mut self, bound: &Live, at_once: bool) -> Result<(), String> {
        let pod = self.seen.pods.iter().find(|pod| pod.live == *bound).ok_or("the pod has changed")?;
        let (ordinal, going) = (pod.ordinal, pod.state == PodState::Terminating);
        if at_once {
            self.remove_pod(ordinal);
        } else if !going {
            self.set_state(ordinal, PodState::Terminating);
        }
        Ok(())
    }

    /// A change of the map.
    fn govern(&mut self, action: &Action) -> Result<(), String> {
        let mut map = self.map.clone().ok_or("there is no cluster")?;
        match action {
            Action::Drain { nodes, expected } => {
                check(&map, *expected)?;
                let stay = |node: &NodeId| !nodes.contains(node);
                let left = map.present().filter(|(node, member)| stay(node) && member.state == MemberState::Up);
                if left.count() < map.replication_factor as usize {
                    return Err("too few nodes would be left".to_owned());
                }
                for node in nodes {
                    set(&mut map, *node, &[MemberState::Up], MemberState::Draining)?;
                }
            }
            Action::Undrain { node, expected } => {
                check(&map, *expected)?;
                set(&mut map, *node, &[MemberState::Draining], MemberState::Up)?;
            }
            Action::Remove { node, expected } => {
                check(&map, *expected)?;
                if map.members.get(node).is_some_and(|member| member.replicas > 0) {
                    return Err("it has replicas".to_owned());
                }
                set(&mut map, *node, &[MemberState::Draining, MemberState::Down], MemberState::Removed)?;
            }
            Action::MarkDown { node, incarnation, expected } => {
                check(&map, *expected)?;
                if map.members.get(node).is_none_or(|member| member.incarnation != *incarnation) {
                    return Err("it is in another life".to_owned());
                }
                let living = [MemberState::Joining, MemberState::Up, MemberState::Draining];
                set(&mut map, *node, &living, MemberState::Down)?;
            }
            Action::TransferLeaders { moves } => {
                for (shard, node) in moves {
                    let group = map.groups.get_mut(&Group::Shard(*shard)).ok_or("no such shard")?;
                    group.leader = Some(*node);
                }
            }
            Action::ResetShards { shards, expected, .. } => {
                check(&map, *expected)?;
                self.reset(&mut map, shards);
            }
            Action::UpdateSettings { change, expected } => {
                check(&map, *expected)?;
                update(&mut map, change);
            }
            Action::PauseMigrations => map.migrations_paused = true,
            Action::ResumeMigrations => map.migrations_paused = false,
            other => return Err(format!("no change of the map: {other}")),
        }
        map.version.0 += 1;
        self.map = Some(map);
        Ok(())
    }
}

fn check(map: &MapView, expected: MapVersion) -> Result<(), String> {
    if map.version == expected { Ok(()) } else { Err(format!("the map has version {}", map.version)) }
}

fn set(map: &mut MapView, node: NodeId, from: &[MemberState], to: MemberState) -> Result<(), String> {
    let member = map.members.get_mut(&node).ok_or("no such member")?;
    if !from.contains(&member.state) {
        return Err(format!("node {node} is {:?}", member.state));
    }
    member.state = to;
    Ok(())
}
