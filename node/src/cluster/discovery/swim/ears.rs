//! What the members say besides their addresses (pure): the newest word of each, passed on once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use foca::{BroadcastHandler, Invalidates};
use parking_lot::Mutex;

use super::{
    identity::Id,
    wire::{Said, WireError},
};
use crate::types::NodeId;

/// What was heard; shared between the protocol, which owns the ears, and who asks.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Of whom anything is taken; set before each packet.
    pub(super) members: BTreeSet<NodeId>,
    /// The newest word of each.
    pub(super) words: BTreeMap<NodeId, Said>,
    /// This node, what it said last, and the newest word that others take for its own.
    pub(super) own: NodeId,
    pub(super) said: (u64, u64),
    pub(super) foreign: Option<(u64, u64)>,
    pub(super) changed: bool,
}

/// The protocol's handle.
#[derive(Debug, Default)]
pub(super) struct Ears(pub(super) Arc<Mutex<Heard>>);

/// Of two, the newer word of a node is passed on.
#[derive(Debug)]
pub(super) struct Key {
    node: NodeId,
    version: (u64, u64),
}

impl Invalidates for Key {
    fn invalidates(&self, other: &Self) -> bool {
        self.node == other.node && self.version >= other.version
    }
}

impl BroadcastHandler<Id> for Ears {
    type Key = Key;
    type Error = WireError;

    fn receive_item(&mut self, data: &[u8], sender: Option<&Id>) -> Result<Option<Key>, WireError> {
        let said = Said::decode(data)?;
        let key = Key { node: said.node, version: said.version() };
        let mut heard = self.0.lock();
        if said.node == heard.own {
            if sender.is_none() {
                heard.said = said.version();
                return Ok(Some(key));
            }
            // Newer than what it said: an earlier life's, or a lie.
            if said.version() > heard.said {
                heard.foreign = heard.foreign.max(Some(said.version()));
            }
            return Ok(None);
        }
        let newer = heard.words.get(&said.node).is_none_or(|known| known.version() < said.version());
        if !newer || !heard.members.contains(&said.node) {
            return Ok(None);
        }
        heard.words.insert(said.node, said);
        heard.changed = true;
        Ok(Some(key))
    }
}
