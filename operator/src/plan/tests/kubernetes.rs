//! What Kubernetes does in the [`World`]: the controller of the StatefulSet, and the machines that run pods.

use crema_crds::spec::UpdateKind;

use super::world::{World, claim};
use crate::model::{Control, Live, Ordinal, PodState, PodView, StatefulSetView, Storage};

impl World {
    /// The controller of the StatefulSet, and the collectors of what is gone.
    pub(super) fn controller(&mut self) {
        self.collect();
        let Some(sts) = self.seen.sts.clone() else { return };
        if sts.deleting {
            self.seen.sts = None;
            self.seen.pods.iter_mut().for_each(|pod| pod.control = Control::Nobody);
            return;
        }
        self.seen.pods.iter_mut().for_each(|pod| pod.control = Control::Ours);
        let beyond: Vec<Ordinal> =
            self.seen.pods.iter().map(|pod| pod.ordinal).filter(|ordinal| ordinal.0 >= sts.replicas).collect();
        beyond.into_iter().for_each(|ordinal| self.end(ordinal));
        for ordinal in (0..sts.replicas).map(Ordinal) {
            if self.pod(ordinal).is_none() {
                self.create(&sts, ordinal);
            }
        }
        self.update(&sts);
    }

    fn collect(&mut self) {
        let ended: Vec<Ordinal> = self
            .seen
            .pods
            .iter()
            .filter(|pod| match pod.machine.as_deref() {
                None => pod.state == PodState::Terminating,
                Some(machine) => {
                    let known = self.seen.k8s_nodes.iter().flatten().any(|known| known.name == machine);
                    !known || (pod.state == PodState::Terminating && self.is_ready(machine))
                }
            })
            .map(|pod| pod.ordinal)
            .collect();
        ended.into_iter().for_each(|ordinal| self.remove_pod(ordinal));
        let used: Vec<Ordinal> =
            self.seen.pods.iter().filter(|pod| pod.machine.is_some()).map(|pod| pod.ordinal).collect();
        for claim in &mut self.seen.claims {
            claim.capacity_bytes = claim.requested_bytes;
            if claim.terminating && !used.contains(&claim.ordinal) {
                self.disks.remove(&claim.ordinal);
            }
        }
        self.seen.claims.retain(|claim| !claim.terminating || used.contains(&claim.ordinal));
    }

    /// A pod is gone, and its process with it.
    pub(super) fn remove_pod(&mut self, ordinal: Ordinal) {
        self.seen.pods.retain(|pod| pod.ordinal != ordinal);
        self.processes.remove(&ordinal.node());
    }

    /// A pod is to go, if it isn't going.
    pub(super) fn end(&mut self, ordinal: Ordinal) {
        if self.pod(ordinal).is_some_and(|pod| pod.state != PodState::Terminating) {
            self.set_state(ordinal, PodState::Terminating);
        }
    }

    fn create(&mut self, sts: &StatefulSetView, ordinal: Ordinal) {
        let (uid, version) = (self.fresh(), self.fresh());
        let below = sts.update == UpdateKind::Rolling && ordinal.0 < sts.partition;
        let pod = PodView {
            live: Live {
                name: format!("cart-{ordinal}"),
                uid: format!("u{uid}"),
                resource_version: version.to_string(),
            },
            control: Control::Ours,
            ordinal,
            state: PodState::Pending("it was just created".to_owned()),
            since_ms: self.seen.now_ms,
            machine: None,
            revision: if below { self.current.clone() } else { sts.revision.clone() },
            config: None,
        };
        self.seen.pods.push(pod);
        self.seen.pods.sort_by_key(|pod| pod.ordinal);
        let claimed = self.seen.claims.iter().any(|claim| claim.ordinal == ordinal);
        if let (Storage::Disk { .. }, false) = (self.intent.storage, claimed) {
            let made = claim(self, ordinal, sts.claim_bytes.unwrap_or_default());
            self.seen.claims.push(made);
        }
    }

    /// `RollingUpdate` with a partition, as Kubernetes does it.
    fn update(&mut self, sts: &StatefulSetView) {
        match sts.update {
            UpdateKind::Manual => return,
            UpdateKind::Rolling => {}
        }
        for ordinal in (sts.partition..sts.replicas).rev().map(Ordinal) {
            let Some(pod) = self.pod(ordinal) else { return };
            if pod.revision != sts.revision && pod.state != PodState::Terminating {
                return self.end(ordinal);
            }
            if pod.state != PodState::Ready {
                return;
            }
        }
        let done = |pod: &PodView| pod.revision == sts.revision && pod.state == PodState::Ready;
        if self.seen.pods.iter().all(done) {
            self.current = sts.revision.clone();
        }
    }

    /// Pods find machines, their processes start, and become ready.
    pub(super) fn machines(&mut self) {
        let ordinals: Vec<Ordinal> = self.seen.pods.iter().map(|pod| pod.ordinal).collect();
        for ordinal in ordinals {
            let Some(pod) = self.pod(ordinal) else { continue };
            let broken = pod.revision.clone();
            let (state, machine) = (pod.state.clone(), pod.machine.clone());
            let runs = machine.as_deref().is_none_or(|machine| self.is_ready(machine));
            match state {
                PodState::Pending(_) if machine.is_none() => self.schedule(ordinal),
                PodState::Pending(_) | PodState::Stopped(_) if runs && self.broken.contains(&broken) => {
                    self.set_state(ordinal, PodState::Stopped("exit code 1 (Error)".to_owned()));
                }
                PodState::Pending(_) | PodState::Stopped(_) if runs => {
                    self.set_state(ordinal, PodState::Starting);
                    self.start(ordinal);
                }
                PodState::Starting | PodState::Ready if runs && !self.processes.contains_key(&ordinal.node()) => {
                    self.set_state(ordinal, PodState::Stopped("its machine restarted".to_owned()));
                }
                PodState::Starting if runs && self.is_served(ordinal) => self.set_state(ordinal, PodState::Ready),
                PodState::Pending(_)
                | PodState::Stopped(_)
                | PodState::Starting
                | PodState::Ready
                | PodState::Terminating => {}
            }
        }
    }

    fn schedule(&mut self, ordinal: Ordinal) {
        let bound = self.seen.claims.iter().find(|claim| claim.ordinal == ordinal);
        let waits = bound.map_or(matches!(self.intent.storage, Storage::Disk { .. }), |claim| claim.terminating);
        if waits {
            return;
        }
        let taken: Vec<&str> = self.seen.pods.iter().filter_map(|pod| pod.machine.as_deref()).collect();
        let ready = || self.seen.k8s_nodes.iter().flatten().filter(|machine| machine.ready);
        let chosen = match bound.and_then(|claim| claim.pinned_to.as_deref()) {
            Some(pinned) => ready().find(|machine| machine.name == pinned),
            None => ready().find(|machine| !taken.contains(&machine.name.as_str())),
        };
        let Some(machine) = chosen.map(|machine| machine.name.clone()) else { return };
        for claim in self.seen.claims.iter_mut().filter(|claim| claim.ordinal == ordinal) {
            claim.pinned_to = Some(machine.clone());
        }
        let Some(pod) = self.pod(ordinal) else { return };
        pod.machine = Some(machine);
    }

    /// Whether a node is a member that has all that it is owed.
    fn is_served(&self, ordinal: Ordinal) -> bool {
        let node = ordinal.node();
        let (Some(process), Some(map)) = (self.processes.get(&node), &self.map) else { return false };
        let known = map.members.get(&node).is_some_and(|member| member.incarnation == process.life);
        let voters = || map.groups.values().flat_map(|group| &group.voters);
        known && voters().filter(|voter| voter.node == node).all(|voter| voter.incarnation == process.life)
    }
}
