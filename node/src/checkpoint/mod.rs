//! stub
use crate::{
    machine::{capture::MachineHead, store::Entry},
    types::*,
};
use bytes::Bytes;
use std::sync::Arc;
#[derive(Clone, Debug)]
pub struct Peer {
    pub replica: ReplicaId,
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub address: String,
}
#[derive(Clone, Debug)]
pub struct Conf {
    pub voters: Vec<ReplicaId>,
    pub learners: Vec<ReplicaId>,
    pub voters_outgoing: Vec<ReplicaId>,
    pub learners_next: Vec<ReplicaId>,
    pub auto_leave: bool,
}
#[derive(Clone, Debug)]
pub struct Head {
    pub cluster: ClusterUid,
    pub group: GroupId,
    pub generation: u64,
    pub feature_level: u32,
    pub term: Term,
    pub conf: Conf,
    pub conf_version: u64,
    pub peers: Vec<Peer>,
    pub machine: MachineHead,
}
pub struct Encoder;
impl Encoder {
    pub fn new(_h: Head) -> (Self, Bytes) {
        (Self, Bytes::new())
    }
    pub fn block(&mut self, _e: &[Arc<Entry>]) -> Bytes {
        Bytes::new()
    }
    pub fn finish(self) -> Result<Bytes, String> {
        Ok(Bytes::new())
    }
}
