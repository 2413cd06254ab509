//! What is around each datagram of gossip: whose it is, and with a key the seal that nobody else can make.
//!
//! Without a key anybody who reaches the port can speak; the label only keeps clusters apart that meet by accident,
//! as when an address is given to another cluster's pod. Replayed packets are harmless: old records lose against
//! newer ones.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

const MAGIC: &[u8; 3] = b"CG1";
const PLAIN: u8 = 0;
const SEALED: u8 = 1;

/// The longest label.
pub(super) const MAX_LABEL_BYTES: usize = 64;
/// What an envelope adds at most: magic, kind, length of the label, label, nonce and tag.
#[cfg(test)]
const OVERHEAD: usize = 3 + 1 + 1 + MAX_LABEL_BYTES + NONCE_LEN + 16;

/// Wraps and unwraps the datagrams of one cluster.
pub(super) struct Envelope {
    label: String,
    key: Option<LessSafeKey>,
}

/// Why a datagram is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Foreign {
    #[error("it is no gossip of ours")]
    Format,
    #[error("it belongs to another cluster")]
    Label,
    #[error("it is not encrypted, and this node has a key")]
    Plain,
    #[error("it is encrypted, and this node has no key")]
    Sealed,
    #[error("it was made with another key")]
    Key,
}

impl Envelope {
    /// `label` is at most [`MAX_LABEL_BYTES`].
    pub(super) fn new(label: String, key: Option<&[u8; 32]>) -> Self {
        let bound = |key| UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes are a key of this cipher");
        Self { label, key: key.map(|key| LessSafeKey::new(bound(key))) }
    }

    /// The datagram for some bytes. `nonce` must never repeat under one key: draw it from the system.
    pub(super) fn wrap(&self, bytes: &[u8], nonce: [u8; NONCE_LEN]) -> Vec<u8> {
        let mut out = self.header(if self.key.is_some() { SEALED } else { PLAIN });
        let Some(key) = &self.key else {
            out.extend_from_slice(bytes);
            return out;
        };
        let mut sealed = bytes.to_vec();
        let aad = Aad::from(out.clone());
        match key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed) {
            Ok(()) => {
                out.extend_from_slice(&nonce);
                out.extend_from_slice(&sealed);
                out
            }
            // Only bytes beyond 256 GiB can't be sealed; what goes out then is refused by everybody.
            Err(ring::error::Unspecified) => Vec::new(),
        }
    }

    /// The bytes in a datagram of this cluster.
    pub(super) fn unwrap(&self, datagram: &[u8]) -> Result<Vec<u8>, Foreign> {
        let rest = datagram.strip_prefix(MAGIC).ok_or(Foreign::Format)?;
        let (&[kind, length], rest) = rest.split_first_chunk().ok_or(Foreign::Format)?;
        let (label, body) = rest.split_at_checked(usize::from(length)).ok_or(Foreign::Format)?;
        if label != self.label.as_bytes() {
            return Err(Foreign::Label);
        }
        match (kind, &self.key) {
            (PLAIN, None) => Ok(body.to_vec()),
            (PLAIN, Some(_)) => Err(Foreign::Plain),
            (SEALED, None) => Err(Foreign::Sealed),
            (SEALED, Some(key)) => {
                let (nonce, sealed) = body.split_first_chunk::<NONCE_LEN>().ok_or(Foreign::Format)?;
                let mut bytes = sealed.to_vec();
                let nonce = Nonce::assume_unique_for_key(*nonce);
                let opened = key.open_in_place(nonce, Aad::from(self.header(SEALED)), &mut bytes);
                let length = opened.map_err(|_| Foreign::Key)?.len();
                bytes.truncate(length);
                Ok(bytes)
            }
            _ => Err(Foreign::Format),
        }
    }

    fn header(&self, kind: u8) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        header.push(kind);
        // Bounded by MAX_LABEL_BYTES.
        header.push(self.label.len() as u8);
        header.extend_from_slice(self.label.as_bytes());
        header
    }
}

#[cfg(test)]
mod tests {
    use super::{Envelope, Foreign, MAX_LABEL_BYTES, OVERHEAD};

    const NONCE: [u8; 12] = [7; 12];

    fn envelope(label: &str, key: Option<u8>) -> Envelope {
        Envelope::new(label.to_owned(), key.map(|byte| [byte; 32]).as_ref())
    }

    #[test]
    fn what_is_wrapped_is_unwrapped_by_its_own_cluster_only() {
        let all = [envelope("a", None), envelope("b", None), envelope("a", Some(1)), envelope("a", Some(2))];
        let wrong = [
            [None, Some(Foreign::Label), Some(Foreign::Plain), Some(Foreign::Plain)],
            [Some(Foreign::Label), None, Some(Foreign::Label), Some(Foreign::Label)],
            [Some(Foreign::Sealed), Some(Foreign::Label), None, Some(Foreign::Key)],
            [Some(Foreign::Sealed), Some(Foreign::Label), Some(Foreign::Key), None],
        ];
        for (from, expect) in all.iter().zip(wrong) {
            let datagram = from.wrap(b"hello", NONCE);
            for (to, expect) in all.iter().zip(expect) {
                match expect {
                    None => assert_eq!(to.unwrap(&datagram).as_deref(), Ok(&b"hello"[..])),
                    Some(foreign) => assert_eq!(to.unwrap(&datagram), Err(foreign)),
                }
            }
        }
    }

    #[test]
    fn a_changed_byte_is_noticed_everywhere() {
        let envelope = envelope("cluster", Some(1));
        let datagram = envelope.wrap(b"hello", NONCE);
        assert!(!datagram.windows(5).any(|window| window == b"hello"));
        for at in 0..datagram.len() {
            let mut changed = datagram.clone();
            changed[at] ^= 1;
            assert!(envelope.unwrap(&changed).is_err(), "byte {at}");
            assert!(envelope.unwrap(&datagram[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_largest_packet_fits_an_ethernet_frame() {
        let envelope = envelope(&"l".repeat(MAX_LABEL_BYTES), Some(1));
        let packet = [0; super::super::swim::MAX_PACKET_BYTES];
        let datagram = envelope.wrap(&packet, NONCE);
        assert_eq!(datagram.len(), packet.len() + OVERHEAD);
        // 20 or 40 bytes for IP, 8 for UDP.
        assert!(datagram.len() + 48 <= 1_500, "{}", datagram.len());
    }
}
