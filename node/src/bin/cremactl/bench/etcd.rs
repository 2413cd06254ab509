//! Calls of etcd's `KV`.

use tonic::transport::Channel;

use super::{
    door::{Op, Reply, Words, failed},
    grpc::name,
};

#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
mod proto {
    tonic::include_proto!("etcdserverpb");
}

/// One lane of a connection.
pub(super) struct Etcd(proto::kv_client::KvClient<Channel>);

impl Etcd {
    pub(super) fn new(channel: Channel) -> Self {
        Self(proto::kv_client::KvClient::new(channel))
    }

    /// One call; a read is linearizable.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) async fn call(&mut self, op: &Op, words: &Words) -> Result<Reply, String> {
        let key = name(words, op.key);
        let answer = match op.is_read {
            true => {
                let ask = proto::RangeRequest { key, serializable: false };
                self.0.range(ask).await.map(|answer| !answer.into_inner().kvs.is_empty())
            }
            false => {
                let ask = proto::PutRequest { key, value: words.value.clone() };
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
