//! The bytes of map changes: in the meta group's log, and in Govern requests.
//!
//! As in `machine::codec`, what this build does not know is an error and never skipped: a replica that skipped it would
//! have another map from then on (PROTOCOL 5).

use bytes::{Buf, BufMut, Bytes};
use crema_api::v1::log as pb;
use prost::Message;

use super::{Incoming, Life, MetaCommand, MetaRecord, ShardReset};
use crate::{
    cluster::map::{
        Phase, Reason,
        wire::{
            MapError, member_from, member_to, phase_from, phase_to, reason_from, reason_to, settings_from,
            settings_to, state_from, state_to,
        },
    },
    machine::codec::{self, FEATURE_LEVEL},
    types::{GroupId, Incarnation, MigrationId, NodeId, ReplicaId, Timestamp},
};

/// Level and stamp, before the protobuf body, as in every group's log.
const PREFIX_BYTES: usize = 1 + 8;

/// Bytes that this build can't read as a change of the map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They don't have the form.
    #[error(transparent)]
    Form(#[from] codec::DecodeError),
    /// A member or settings that no map can have.
    #[error("read a change of the cluster map")]
    Value(#[from] MapError),
}

fn unknown(what: &'static str) -> DecodeError {
    DecodeError::Form(codec::DecodeError::Unknown { what })
}

/// A change as a log entry's data.
#[must_use]
pub fn encode(stamp: Timestamp, expected_version: Option<u64>, command: &MetaCommand) -> Vec<u8> {
    let body = to_pb(expected_version, command);
    let mut out = Vec::with_capacity(PREFIX_BYTES + body.encoded_len());
    out.put_u8(FEATURE_LEVEL);
    out.put_u64_le(stamp.0);
    body.encode_raw(&mut out);
    out
}

/// Reads [`encode`].
///
/// # Errors
/// On anything that this build would not have written. The replica must stop then.
pub fn decode(bytes: &Bytes) -> Result<MetaRecord, DecodeError> {
    let truncated = |_| codec::DecodeError::Truncated { what: "a change of the cluster map" };
    let mut rest = bytes.clone();
    let level = rest.try_get_u8().map_err(truncated)?;
    if level != FEATURE_LEVEL {
        return Err(codec::DecodeError::Level { found: level }.into());
    }
    let stamp = Timestamp(rest.try_get_u64_le().map_err(truncated)?);
    let (expected_version, command) = from_pb(codec::parse("a change of the cluster map", rest)?)?;
    Ok(MetaRecord { stamp, expected_version, command })
}

/// A change as a Govern request carries it; the expected version has a field of its own there.
#[must_use]
pub fn encode_command(command: &MetaCommand) -> Bytes {
    Bytes::from(to_pb(None, command).encode_to_vec())
}

/// Reads [`encode_command`].
///
/// # Errors
/// On anything that this build would not have written.
pub fn decode_command(bytes: &[u8]) -> Result<MetaCommand, DecodeError> {
    match from_pb(codec::parse("a change of the cluster map", Bytes::copy_from_slice(bytes))?)? {
        (None, command) => Ok(command),
        (Some(_), _) => Err(unknown("an expected version in here")),
    }
}

fn to_pb(expected_version: Option<u64>, command: &MetaCommand) -> pb::MetaCommand {
    use pb::meta_command::Command as Pb;
    let command = match command {
        MetaCommand::Join { node, member } => Pb::Join(member_to(*node, member)),
        MetaCommand::SetState { node, incarnation, state } => {
            Pb::SetState(pb::SetState { node: node.0, incarnation: incarnation.to_bytes(), state: state_to(*state) })
        }
        MetaCommand::StartMigration { group, incoming, outgoing, learner, reason } => {
            let (to_node, promote) = match incoming {
                Incoming::None => (None, None),
                Incoming::New(node) => (Some(node.0), None),
                Incoming::Promote(replica) => (None, Some(replica.0)),
            };
            let (outgoing, reason) = (outgoing.map(|replica| replica.0), reason_to(*reason));
            Pb::Start(pb::StartMigration { group: group.0, to_node, promote, outgoing, learner: *learner, reason })
        }
        MetaCommand::AdvanceMigration { migration, from, to, conf_version } => Pb::Advance(pb::AdvanceMigration {
            migration: migration.0,
            from: phase_to(*from),
            to: to.map(phase_to),
            conf_version: *conf_version,
        }),
        MetaCommand::CancelMigration(migration) => Pb::Cancel(migration.0),
        MetaCommand::Prefer { group, replica } => Pb::Prefer(pb::Prefer { group: group.0, replica: replica.0 }),
        MetaCommand::SetSettings(settings) => Pb::Settings(settings_to(settings)),
        MetaCommand::SetReplicationFactor(factor) => Pb::ReplicationFactor(*factor),
        MetaCommand::RaiseFeatureLevel(level) => Pb::FeatureLevel(*level),
        MetaCommand::ResetShards { shards, dead } => Pb::ResetShards(reset_to(shards, dead)),
    };
    pb::MetaCommand { expected_version: expected_version.unwrap_or(0), command: Some(command) }
}

fn from_pb(wire: pb::MetaCommand) -> Result<(Option<u64>, MetaCommand), DecodeError> {
    use pb::meta_command::Command as Pb;
    let pb::MetaCommand { expected_version, command } = wire;
    let command = match command.ok_or_else(|| unknown("the change"))? {
        Pb::Join(member) => {
            let (node, member) = member_from(member)?;
            MetaCommand::Join { node, member }
        }
        Pb::SetState(pb::SetState { node, incarnation, state }) => MetaCommand::SetState {
            node: NodeId(node),
            incarnation: Incarnation::from_bytes(&incarnation).ok_or_else(|| unknown("an incarnation"))?,
            state: state_from(state).ok_or_else(|| unknown("a member's state"))?,
        },
        Pb::Start(start) => start_from(start)?,
        Pb::Advance(pb::AdvanceMigration { migration, from, to, conf_version }) => MetaCommand::AdvanceMigration {
            migration: MigrationId(migration),
            from: phase(from)?,
            to: to.map(phase).transpose()?,
            conf_version,
        },
        Pb::Cancel(migration) => MetaCommand::CancelMigration(MigrationId(migration)),
        Pb::Prefer(pb::Prefer { group, replica }) => {
            MetaCommand::Prefer { group: GroupId(group), replica: ReplicaId(replica) }
        }
        Pb::Settings(settings) => MetaCommand::SetSettings(settings_from(&settings)?),
        Pb::ReplicationFactor(factor) => MetaCommand::SetReplicationFactor(factor),
        Pb::FeatureLevel(level) => MetaCommand::RaiseFeatureLevel(level),
        Pb::ResetShards(reset) => reset_from(reset)?,
    };
    Ok(((expected_version != 0).then_some(expected_version), command))
}

fn start_from(wire: pb::StartMigration) -> Result<MetaCommand, DecodeError> {
    let pb::StartMigration { group, to_node, promote, outgoing, learner, reason } = wire;
    let incoming = match (to_node, promote) {
        (None, None) => Incoming::None,
        (Some(node), None) => Incoming::New(NodeId(node)),
        (None, Some(replica)) => Incoming::Promote(ReplicaId(replica)),
        (Some(_), Some(_)) => return Err(unknown("a migration that brings two replicas")),
    };
    let reason: Reason = reason_from(reason).ok_or_else(|| unknown("a reason"))?;
    let (group, outgoing) = (GroupId(group), outgoing.map(ReplicaId));
    Ok(MetaCommand::StartMigration { group, incoming, outgoing, learner, reason })
}

fn phase(wire: u32) -> Result<Phase, DecodeError> {
    phase_from(wire).ok_or_else(|| unknown("a phase"))
}

fn reset_to(shards: &[ShardReset], dead: &[Life]) -> pb::ResetShards {
    let shard = |ShardReset { group, generation, nodes }: &ShardReset| pb::ResetShard {
        group: group.0,
        generation: *generation,
        nodes: nodes.iter().map(|node| node.0).collect(),
    };
    let life = |(node, life): &Life| pb::Life { node: node.0, incarnation: life.to_bytes() };
    pb::ResetShards { shards: shards.iter().map(shard).collect(), dead: dead.iter().map(life).collect() }
}

fn reset_from(wire: pb::ResetShards) -> Result<MetaCommand, DecodeError> {
    let pb::ResetShards { shards, dead } = wire;
    let shard = |pb::ResetShard { group, generation, nodes }| ShardReset {
        group: GroupId(group),
        generation,
        nodes: nodes.into_iter().map(NodeId).collect(),
    };
    let life = |pb::Life { node, incarnation }: pb::Life| -> Result<Life, DecodeError> {
        let life = Incarnation::from_bytes(&incarnation).ok_or_else(|| unknown("an incarnation"))?;
        Ok((NodeId(node), life))
    };
    let dead = dead.into_iter().map(life).collect::<Result<_, DecodeError>>()?;
    Ok(MetaCommand::ResetShards { shards: shards.into_iter().map(shard).collect(), dead })
}
