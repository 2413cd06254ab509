//! Who answers what needs the health of the cluster: the leader of the meta group. Every other node passes the call on
//! with the caller's token, once: two nodes that believe each other to lead must not play with it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crema_api::{MAX_MESSAGE_BYTES, failure as wire, v1::admin_client::AdminClient};
use parking_lot::Mutex;
use tonic::{Request, Response, Status, metadata::MetadataMap, transport::Channel};

use super::Administer;
use crate::{
    error::Error,
    grpc::failure::{self, Failure},
    multiraft::introspect::{Governing, Introspect},
    network,
};

/// Set on a call that was passed on already.
pub(in crate::grpc) const HOP: &str = "crema-admin-hop";

/// What a call that is passed on takes along.
const KEPT: [&str; 2] = ["authorization", "grpc-timeout"];

/// How long a connect to the leader may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Channels kept: the meta group has few leaders in a cluster's life, and their addresses change seldom.
const MAX_CHANNELS: usize = 16;

/// Who answers a call.
pub(super) enum Seat {
    /// This node, which leads the meta group.
    Here(Arc<Governing>),
    /// The leader.
    There(AdminClient<Channel>),
}

/// Channels to the nodes that led the meta group, by address. They connect when they are used.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaders(Arc<Mutex<BTreeMap<String, Channel>>>);

impl Leaders {
    pub(super) fn seat(&self, node: &impl Administer, metadata: &MetadataMap) -> Result<Seat, Failure> {
        if let Some(governing) = node.governing() {
            return Ok(Seat::Here(governing));
        }
        let unavailable = |reason: String| Failure::Error(Error::Unavailable { reason });
        let map = node.map().ok_or_else(|| unavailable("this node belongs to no cluster yet".into()))?;
        if metadata.contains_key(HOP) {
            let reason =
                format!("node {} was asked as the leader of the meta group, which it is not now", node.node());
            return Err(unavailable(reason));
        }
        let leader = node.meta_leader().ok_or_else(|| unavailable("no leader of the meta group is known".into()))?;
        if leader == node.node() {
            return Err(unavailable("this node leads the meta group only since now".into()));
        }
        let member = map.members.get(&leader);
        let member = member.ok_or_else(|| unavailable(format!("node {leader}, the meta leader, has no address")))?;
        let channel = self.channel(&member.address).map_err(unavailable)?;
        Ok(Seat::There(AdminClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)))
    }

    fn channel(&self, address: &str) -> Result<Channel, String> {
        let mut channels = self.0.lock();
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = network::endpoint(address, CONNECT_TIMEOUT);
        let endpoint = endpoint.map_err(|error| format!("the meta leader's address {address:?}: {error}"))?;
        if channels.len() >= MAX_CHANNELS {
            channels.clear();
        }
        Ok(channels.entry(address.to_owned()).or_insert_with(|| endpoint.connect_lazy()).clone())
    }
}

/// The call as the leader gets it.
pub(super) fn pass_on<T>(request: Request<T>) -> Request<T> {
    let (metadata, _, message) = request.into_parts();
    let mut onward = Request::new(message);
    for name in KEPT {
        if let Some(value) = metadata.get(name) {
            onward.metadata_mut().insert(name, value.clone());
        }
    }
    onward.metadata_mut().insert(HOP, tonic::metadata::MetadataValue::from_static("1"));
    onward
}

/// The leader's answer to a call that changes nothing.
pub(super) fn read<T>(answer: Result<Response<T>, Status>, node: &impl Introspect) -> Result<Response<T>, Status> {
    answered(answer, node, |reason| Error::Unavailable { reason })
}

/// The leader's answer to a call that may have changed something before the answer was lost.
pub(super) fn changed<T>(answer: Result<Response<T>, Status>, node: &impl Introspect) -> Result<Response<T>, Status> {
    answered(answer, node, |reason| Error::OutcomeUnknown { reason, index: None })
}

/// What the leader says goes to the caller as it is; what was said by something on the way gets our form.
fn answered<T>(
    answer: Result<Response<T>, Status>,
    node: &impl Introspect,
    lost: impl FnOnce(String) -> Error,
) -> Result<Response<T>, Status> {
    answer.map(|answer| Response::new(answer.into_inner())).map_err(|status| match wire::detail_of(&status) {
        Some(detail) => wire::to_status(status.message(), &detail),
        None => {
            let reason = format!("the meta leader was asked and has not answered: {}", status.message());
            failure::to_status(Failure::Error(lost(reason)), None, node)
        }
    })
}
