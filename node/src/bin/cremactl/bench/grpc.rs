//! Calls of `crema.v1.Cache`, each sent to the node it is given: as the other targets' clients do, who know no leaders.

use bytes::Bytes;
use crema_api::{
    MAX_MESSAGE_BYTES,
    v1::{GetRequest, PutRequest, ReadLevel, cache_client::CacheClient},
};
use tonic::transport::Channel;

use super::{
    door::{Op, Reply, Words, failed},
    keys::push_name,
};

/// One lane of a connection.
pub(super) struct Grpc(CacheClient<Channel>);

impl Grpc {
    pub(super) fn new(channel: Channel) -> Self {
        Self(CacheClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// One call.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) async fn call(&mut self, op: &Op, words: &Words) -> Result<Reply, String> {
        let key = name(words, op.key);
        let answer = match op.is_read {
            true => {
                let ask = GetRequest { key, read_level: ReadLevel::Linearizable.into() };
                self.0.get(ask).await.map(|answer| answer.into_inner().entry.is_some())
            }
            false => {
                let ask = PutRequest { key, value: words.value.clone(), ..PutRequest::default() };
                self.0.put(ask).await.map(|_| true)
            }
        };
        match answer {
            Ok(true) => Ok(Reply::Done),
            Ok(false) => Ok(Reply::Missing),
            Err(status) => failed(&status),
        }
    }
}

/// A key's name.
pub(super) fn name(words: &Words, key: u64) -> Bytes {
    let mut name = Vec::with_capacity(words.prefix.len() + super::keys::DIGITS);
    push_name(&mut name, &words.prefix, key);
    name.into()
}
