//! The calls of [`CremaClient`]: one method for each operation, the request built and the answer unpacked.
//!
//! The simple ones take keys and values; those with options take the protobuf request as it is.

use bytes::Bytes;

use super::{ClientError, CremaClient, Plan};
use crate::v1::{
    BatchOp, BatchRequest, BatchResult, CacheEntry, CompareAndSetRequest, CompareAndSetResponse, DeleteRequest,
    ExistsRequest, ExpireRequest, GetRequest, IncrementRequest, KeyMeta, PutRequest, PutResponse, ReadLevel,
    ScanRequest, ScanResponse, batch_op, increment_request, increment_response,
};

type Result<T> = std::result::Result<T, ClientError>;

/// Every call: `Unavailable` and `Busy` when the deadline passed without an answer and nothing was applied,
/// `OutcomeUnknown` (writes only) when something may have been, `Invalid` and `Refused` at once.
impl CremaClient {
    /// The value of a key, linearizable.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<CacheEntry>> {
        self.get_at(key, ReadLevel::Linearizable).await
    }

    /// The value of a key as one node has it: perhaps old.
    pub async fn get_local(&self, key: impl Into<Bytes>) -> Result<Option<CacheEntry>> {
        self.get_at(key, ReadLevel::Local).await
    }

    async fn get_at(&self, key: impl Into<Bytes>, level: ReadLevel) -> Result<Option<CacheEntry>> {
        let request = GetRequest { key: key.into(), read_level: level.into() };
        // Any node has an old value: local reads spread over all of them.
        let plan = match level {
            ReadLevel::Local => Plan { shard: None, writes: false },
            ReadLevel::Linearizable | ReadLevel::Unspecified => self.plan(&request.key, false),
        };
        Ok(self.call(plan, request, |mut c, r| async move { c.get(r).await }).await?.entry)
    }

    /// Version and deadline of a key, linearizable; `None` when it is absent.
    pub async fn exists(&self, key: impl Into<Bytes>) -> Result<Option<KeyMeta>> {
        let request = ExistsRequest { key: key.into(), read_level: ReadLevel::Linearizable.into() };
        let plan = self.plan(&request.key, false);
        Ok(self.call(plan, request, |mut c, r| async move { c.exists(r).await }).await?.meta)
    }

    /// Sets a value with the cluster's default time to live; answers with the version of the change.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<u64> {
        let request = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
        Ok(self.put_with(request).await?.version)
    }

    /// Sets a value with a deadline, a condition, or the old value in return.
    pub async fn put_with(&self, request: PutRequest) -> Result<PutResponse> {
        let plan = self.plan(&request.key, true);
        self.call(plan, request, |mut c, r| async move { c.put(r).await }).await
    }

    /// Removes a key; answers whether it was there.
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<bool> {
        let request = DeleteRequest { key: key.into(), condition: None };
        let plan = self.plan(&request.key, true);
        Ok(self.call(plan, request, |mut c, r| async move { c.delete(r).await }).await?.deleted)
    }

    /// Sets a value if the present one is as expected.
    pub async fn compare_and_set(&self, request: CompareAndSetRequest) -> Result<CompareAndSetResponse> {
        let plan = self.plan(&request.key, true);
        self.call(plan, request, |mut c, r| async move { c.compare_and_set(r).await }).await
    }

    /// Adds to an integer; answers with the sum.
    pub async fn increment(&self, key: impl Into<Bytes>, delta: i64) -> Result<i64> {
        let by = Some(increment_request::By::Integer(delta));
        let request = IncrementRequest { key: key.into(), by };
        let plan = self.plan(&request.key, true);
        let answer = self.call(plan, request, |mut c, r| async move { c.increment(r).await }).await?;
        match answer.sum {
            Some(increment_response::Sum::Integer(sum)) => Ok(sum),
            Some(increment_response::Sum::Decimal(_)) | None => Err(ClientError::OutcomeUnknown {
                reason: "the server answered an integer increment without an integer".into(),
            }),
        }
    }

    /// Changes the deadline of a key; answers whether it changed.
    pub async fn expire(&self, request: ExpireRequest) -> Result<bool> {
        let plan = self.plan(&request.key, true);
        Ok(self.call(plan, request, |mut c, r| async move { c.expire(r).await }).await?.changed)
    }

    /// Runs several operations on keys of one shard at one moment; answers with one result for each.
    pub async fn batch(&self, ops: Vec<BatchOp>) -> Result<Vec<BatchResult>> {
        let writes = ops.iter().any(|op| !matches!(op.op, Some(batch_op::Op::Get(_) | batch_op::Op::Exists(_))));
        let plan = self.plan(ops.first().map(key_of).unwrap_or_default(), writes);
        let request = BatchRequest { ops };
        Ok(self.call(plan, request, |mut c, r| async move { c.batch(r).await }).await?.results)
    }

    /// One page of keys. Begin with an empty cursor, go on with the one of the answer until it is empty.
    pub async fn scan(&self, request: ScanRequest) -> Result<ScanResponse> {
        let plan = Plan { shard: None, writes: false };
        self.call(plan, request, |mut c, r| async move { c.scan(r).await }).await
    }
}

fn key_of(op: &BatchOp) -> &[u8] {
    match &op.op {
        Some(batch_op::Op::Get(r)) => &r.key,
        Some(batch_op::Op::Exists(r)) => &r.key,
        Some(batch_op::Op::Put(r)) => &r.key,
        Some(batch_op::Op::Delete(r)) => &r.key,
        Some(batch_op::Op::CompareAndSet(r)) => &r.key,
        Some(batch_op::Op::Increment(r)) => &r.key,
        Some(batch_op::Op::Expire(r)) => &r.key,
        None => &[],
    }
}
