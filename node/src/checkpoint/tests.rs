use std::sync::Arc;

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{
    machine::{
        Settings,
        capture::MachineHead,
        codec::FEATURE_LEVEL,
        hash::StateHash,
        store::{Capacity, Entry, EvictionPolicy, weight},
    },
    types::{ClusterUid, GroupId, Incarnation, LogIndex, NodeId, ReplicaId, Term, Timestamp, Version},
};

fn entry(key: Vec<u8>, value: Vec<u8>, version: u64, expires_at: Option<u64>) -> Arc<Entry> {
    Arc::new(Entry::new(&key, &value, Version(version), expires_at.map(Timestamp)))
}

/// A head that agrees with the entries, with something in each field.
fn head_of(entries: &[Arc<Entry>]) -> Head {
    let mut hash = StateHash::default();
    entries.iter().for_each(|entry| hash.add(entry));
    Head {
        term: Term(7),
        cluster: ClusterUid(0x0102),
        group: GroupId(3),
        generation: 2,
        feature_level: FEATURE_LEVEL,
        conf: ConfState {
            voters: vec![ReplicaId(1), ReplicaId(2)],
            learners: vec![ReplicaId(3)],
            voters_outgoing: vec![ReplicaId(4)],
            learners_next: vec![ReplicaId(4)],
            auto_leave: false,
        },
        conf_version: 9,
        peers: vec![Peer {
            replica: ReplicaId(1),
            node: NodeId(1),
            incarnation: Incarnation(0xabc),
            address: "node-0:7000".to_owned(),
        }],
        machine: MachineHead {
            applied: LogIndex(1_000),
            log_time: Timestamp(5_000),
            last_version: Version(400),
            entries: entries.len() as u64,
            weight_bytes: entries.iter().map(|entry| weight(entry)).sum(),
            hash: hash.0,
            settings: Settings {
                capacity: Capacity { max_entries: 10, max_bytes: 20 },
                policy: EvictionPolicy::Lru,
                default_ttl_ms: Some(30),
            },
        },
        map: None,
    }
}

fn encode(head: &Head, pieces: &[&[Arc<Entry>]]) -> Vec<u8> {
    encode_with(head, pieces, Compression::Lz4)
}

fn encode_with(head: &Head, pieces: &[&[Arc<Entry>]], compression: Compression) -> Vec<u8> {
    let (mut encoder, header) = Encoder::with_compression(head, compression);
    let mut bytes = header.to_vec();
    for piece in pieces {
        bytes.extend_from_slice(&encoder.block(piece));
    }
    bytes.extend_from_slice(&encoder.finish().expect("the entries of the head"));
    bytes
}

fn small() -> (Head, Vec<u8>) {
    small_with(Compression::Lz4)
}

fn small_with(compression: Compression) -> (Head, Vec<u8>) {
    let entries = [entry(b"a".to_vec(), b"1".to_vec(), 1, None), entry(b"b".to_vec(), vec![0; 40], 2, Some(9_000))];
    let head = head_of(&entries);
    let bytes = encode_with(&head, &[&entries], compression);
    (head, bytes)
}

fn plain(entries: &[Arc<Entry>]) -> Vec<Entry> {
    entries.iter().map(|entry| Entry::clone(entry)).collect()
}

/// Reads chunk by chunk, as a file or a stream is read.
fn decode_in_chunks(bytes: &[u8], size: usize) -> Result<(Head, Vec<Entry>), DecodeError> {
    let mut decoder = Decoder::new();
    let (mut head, mut all) = (None, Vec::new());
    for chunk in bytes.chunks(size.max(1)) {
        decoder.feed(chunk);
        while let Some(part) = decoder.part()? {
            match part {
                Part::Head(found) => head = Some(*found),
                Part::Entries(entries) => all.extend(entries),
                Part::End => (),
            }
        }
    }
    decoder.finish()?;
    Ok((head.expect("a finished checkpoint has a head"), all))
}

fn entries() -> impl Strategy<Value = Vec<Arc<Entry>>> {
    let one = (vec(any::<u8>(), 1..20), vec(any::<u8>(), 0..200), 0_u64..400, option::of(any::<u64>()));
    vec(one.prop_map(|(key, value, version, at)| entry(key, value, version, at)), 0..40)
}

proptest! {
    #[test]
    fn what_was_written_is_read(entries in entries(), cut in any::<prop::sample::Index>(), size in 1_usize..500) {
        let head = head_of(&entries);
        let (first, second) = entries.split_at(cut.index(entries.len() + 1));
        let want = (head, plain(&entries));
        for compression in [Compression::Lz4, Compression::Off] {
            let bytes = encode_with(&want.0, &[first, &[], second], compression);
            prop_assert_eq!(decode_all(&bytes), Ok(want.clone()));
            prop_assert_eq!(decode_in_chunks(&bytes, size), Ok(want.clone()));
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..300), size in 1_usize..50) {
        let _ = decode_in_chunks(&bytes, size);
        let mut begun = small().1;
        begun.truncate(begun.len() / 2);
        begun.extend(&bytes);
        prop_assert!(decode_in_chunks(&begun, size).is_err());
    }
}

#[test]
fn every_flipped_bit_is_detected() {
    for compression in [Compression::Lz4, Compression::Off] {
        let (_, bytes) = small_with(compression);
        assert!(decode_all(&bytes).is_ok());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(decode_all(&damaged).is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}

#[test]
fn uncompressed_means_that_the_values_are_there_to_see() {
    let value = vec![b'v'; 2_000];
    let entries = [entry(b"key".to_vec(), value.clone(), 1, None)];
    let head = head_of(&entries);
    let holds_value = |compression| {
        let bytes = encode_with(&head, &[&entries], compression);
        bytes.windows(value.len()).any(|window| window == value)
    };
    assert!(holds_value(Compression::Off) && !holds_value(Compression::Lz4));
    // A packed length that is not the raw one can't be an uncompressed block.
    let mut bytes = encode_with(&head, &[&entries], Compression::Off);
    let block = Encoder::with_compression(&head, Compression::Off).1.len();
    let packed = block + 9;
    bytes[packed..packed + 4].copy_from_slice(&1_u32.to_le_bytes());
    let cut = resealed(&bytes[block..], BLOCK_HEADER_BYTES + 1, |_| {});
    bytes.truncate(block);
    bytes.extend(cut);
    assert_eq!(decode_all(&bytes), Err(DecodeError::Malformed { part: "a packed block" }));
}

#[test]
fn every_cut_and_every_addition_is_detected() {
    let (_, bytes) = small();
    for len in 0..bytes.len() {
        assert_eq!(decode_all(&bytes[..len]), Err(DecodeError::Truncated), "cut at {len}");
    }
    for more in [0, TAG_BLOCK, TAG_FOOTER] {
        let longer = [&bytes[..], &[more]].concat();
        assert_eq!(decode_all(&longer), Err(DecodeError::Trailing));
    }
}

#[test]
fn lost_and_doubled_blocks_are_detected() {
    let entries: Vec<_> = (0..4_u8).map(|n| entry(vec![n], vec![n], 1, None)).collect();
    let head = head_of(&entries);
    let (mut encoder, header) = Encoder::new(&head);
    let blocks: Vec<_> = entries.chunks(1).map(|chunk| encoder.block(chunk)).collect();
    let footer = encoder.finish().expect("all entries");
    let with = |order: &[usize]| {
        let mut bytes = header.to_vec();
        order.iter().for_each(|&n| bytes.extend_from_slice(&blocks[n]));
        bytes.extend_from_slice(&footer);
        decode_all(&bytes).map(|(_, entries)| entries.len())
    };
    assert_eq!(with(&[0, 1, 2, 3]), Ok(4));
    assert_eq!(with(&[0, 1, 2]), Err(DecodeError::Disagrees { what: "count" }));
    assert_eq!(with(&[0, 1, 2, 2]), Err(DecodeError::Disagrees { what: "state hash" }));
}

/// The checksum is right in all of these, so it is not what refuses.
fn resealed(bytes: &[u8], len: usize, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes[..len]);
    let crc = crc32fast::hash(&bytes[..len]);
    bytes[len..len + CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn what_another_release_wrote_is_refused_clearly() {
    let (head, bytes) = small();
    let (_, header) = Encoder::new(&head);
    let len = header.len() - CRC_BYTES;
    let refused = |bytes: &[u8]| decode_all(bytes).map_err(|error| error.to_string());

    let newer = resealed(&bytes, len, |header| header[4] = 2);
    let text =
        "checkpoint format 2 is not the one this build reads (1); use the release that wrote it, or a newer one";
    assert_eq!(refused(&newer), Err(text.to_owned()));
    assert_eq!(refused(&newer[..6]), Err(text.to_owned()), "at once");
    let flags = resealed(&bytes, len, |header| header[6] |= 2);
    assert_eq!(refused(&flags), Err("checkpoint flags 0x0003 are not known to this build".to_owned()));
    assert_eq!(refused(b"MCRX"), Err("not a checkpoint: it does not begin with MCRS".to_owned()));

    let level = encode(&Head { feature_level: FEATURE_LEVEL + 1, ..head_of(&[]) }, &[]);
    assert_eq!(decode_all(&level), Err(DecodeError::Level { found: 2 }));
}

#[test]
fn lengths_are_not_believed() {
    let (head, bytes) = small();
    let (_, header) = Encoder::new(&head);
    let huge = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        decode_all(&bytes).map(|_| ())
    };
    let bytes_of = |part| Err(DecodeError::Length { part, bytes: u64::from(u32::MAX) });
    assert_eq!(huge(HEADER_BYTES - 4), bytes_of("its head"));
    assert_eq!(huge(header.len() + 5), bytes_of("a block"));
    assert_eq!(huge(header.len() + 9), bytes_of("a packed block"));
    // The count of entries: found by its checksum, before anything is made for them.
    assert_eq!(huge(header.len() + 1), Err(DecodeError::Checksum { part: "a block" }));
}

#[test]
fn large_entries_and_many_blocks_come_back() {
    let large = vec![7; crate::types::MAX_VALUE_BYTES];
    let mut entries = vec![entry(vec![b'k'; crate::types::MAX_KEY_BYTES], large, 1, None)];
    entries.extend((0..3_000_u64).map(|n| entry(n.to_le_bytes().to_vec(), vec![n as u8; 300], n, Some(n))));
    let head = head_of(&entries);
    let (mut encoder, _) = Encoder::new(&head);
    let all = encoder.block(&entries);
    let footer = encoder.finish().expect("all entries");
    assert!(footer[1] > 3, "{} blocks", footer[1]);
    assert!(all.len() < 1 << 20, "it is compressed: {} bytes", all.len());
    assert_eq!(decode_in_chunks(&encode(&head, &[&entries]), 64 << 10), Ok((head, plain(&entries))));
}

#[test]
fn a_writer_that_wrote_something_else_does_not_finish() {
    let entries = [entry(b"a".to_vec(), b"1".to_vec(), 1, None), entry(b"b".to_vec(), b"2".to_vec(), 2, None)];
    let head = head_of(&entries);
    for written in [&entries[..1], &[entries[0].clone(), entries[0].clone()], &[]] {
        let (mut encoder, _) = Encoder::new(&head);
        encoder.block(written);
        let error = encoder.finish().expect_err("not the head's entries");
        assert_eq!((error.expected, error.entries), (head.machine.hash, written.len() as u64));
    }
}

// A checkpoint of one entry, in hexadecimal. A change of these is a change of the format and needs a new version.
const HEADER: &str = concat!(
    "4d43525301000100e8030000000000000700000000000000770000000a100000000000000000000000000000010210031802",
    "20012a0d0a0201021201031a010422010430093a23080110011a1000000000000000000000000000000abc220b6e6f64652d",
    "303a37303030422708882710900318012088012a105e5baf696f9da7da15edfcf74e5d9ca63208080a10141801201eefd43c",
    "86",
);
const BLOCK: &str =
    "0101000000210000001f0000008003000000050000000800000200300128230700a000006b657976616c756542344855";
const FOOTER: &str = "020100000000000000010000000000000021000000000000005e5baf696f9da7da15edfcf74e5d9ca6d44d83dc";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}

#[test]
fn the_bytes_are_pinned() {
    let entries = [entry(b"key".to_vec(), b"value".to_vec(), 3, Some(9_000))];
    let head = head_of(&entries);
    let (mut encoder, header) = Encoder::new(&head);
    encoder.block(&entries);
    assert_eq!(hex(&header), HEADER);
    assert_eq!(hex(&encoder.finish().expect("the entry")), FOOTER);
    // Another release of the compressor may pack otherwise; what it packed before must stay readable.
    let bytes = unhex(&[HEADER, BLOCK, FOOTER].concat());
    assert_eq!(decode_all(&bytes), Ok((head, plain(&entries))));
}
