//! Bytes of changes: levels, unknown fields and values, and what travels beside them.

use bytes::Bytes;
use crema_api::v1::log as pb;
use prost::Message;

use super::member;
use crate::{
    cluster::command::{Incoming, MetaCommand, MetaRecord, decode, decode_command, encode, encode_command},
    machine::codec,
    types::{GroupId, MigrationId, NodeId, Timestamp},
};

fn refused(bytes: Vec<u8>, expect: &str) {
    use std::error::Error as _;
    let error = decode(&bytes.into()).expect_err(expect);
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    let said = format!("{error}: {source}");
    assert!(said.contains(expect), "{said:?} does not say {expect:?}");
}

/// A change from its protobuf form, which our own encoder would not write.
fn raw(command: pb::meta_command::Command) -> Vec<u8> {
    let mut out = vec![1; 9];
    pb::MetaCommand { expected_version: 0, command: Some(command) }.encode_raw(&mut out);
    out
}

#[test]
fn a_record_returns_and_its_stamp_can_be_peeked() {
    let command = MetaCommand::Join { node: NodeId(3), member: member(3, 1) };
    let bytes = Bytes::from(encode(Timestamp(77), Some(5), &command));
    assert_eq!(codec::peek_stamp(&bytes), Some(Timestamp(77)));
    assert_eq!(decode(&bytes), Ok(MetaRecord { stamp: Timestamp(77), expected_version: Some(5), command }));
}

#[test]
fn what_is_unknown_is_an_error() {
    use pb::meta_command::Command;
    let good = encode(Timestamp(1), None, &MetaCommand::CancelMigration(MigrationId(1)));
    refused([&[2], &good[1..]].concat(), "feature level 2");
    refused(good[..8].to_vec(), "ends too early");
    refused([&good[..], &[0x98, 0x06, 1]].concat(), "a field is missing or not known");
    refused(good[..9].to_vec(), "the change is missing");
    refused([&good[..9], &[0xff]].concat(), "read a change of the cluster map");
    refused(
        raw(Command::SetState(pb::SetState { state: 9, incarnation: vec![0; 16].into(), node: 1 })),
        "a member's",
    );
    refused(
        raw(Command::SetState(pb::SetState { incarnation: vec![0; 15].into(), ..Default::default() })),
        "incarnation",
    );
    refused(raw(Command::Start(pb::StartMigration { reason: 9, ..Default::default() })), "a reason");
    let two = pb::StartMigration { to_node: Some(1), promote: Some(1), ..Default::default() };
    refused(raw(Command::Start(two)), "brings two");
    refused(raw(Command::Advance(pb::AdvanceMigration { from: 5, ..Default::default() })), "a phase");
    refused(raw(Command::Advance(pb::AdvanceMigration { to: Some(5), ..Default::default() })), "a phase");
    let life = pb::Life { node: 1, incarnation: vec![0; 15].into() };
    refused(raw(Command::ResetShards(pb::ResetShards { dead: vec![life], ..Default::default() })), "incarnation");
    refused(raw(Command::Join(crema_api::v1::Member::default())), "member 0 incarnation");
    refused(raw(Command::Settings(crema_api::v1::SharedSettings::default())), "migration_concurrency: 0");
}

#[test]
fn a_replica_on_node_0_is_not_read_as_none() {
    let command = MetaCommand::StartMigration {
        group: GroupId(1),
        incoming: Incoming::New(NodeId(0)),
        outgoing: None,
        learner: false,
        reason: crate::cluster::map::Reason::Asked,
    };
    assert_eq!(decode_command(&encode_command(&command)), Ok(command));
}

#[test]
fn a_govern_request_has_its_expected_version_elsewhere() {
    let body = &encode(Timestamp(1), Some(4), &MetaCommand::RaiseFeatureLevel(2))[9..];
    assert!(decode_command(body).is_err());
}
