//! Stands in for `cache::disk` in a build without RocksDB: there is no open data directory.

use std::sync::Arc;

use super::storage::DiskOptions;
use crate::{
    cluster::ClusterMap,
    error::Error,
    multiraft::runtime::{Disk, Stores},
    types::{Incarnation, NodeId},
};

/// There is none.
pub(super) enum OpenDisk {}

impl OpenDisk {
    pub(super) fn open(_: &DiskOptions, _: NodeId, _: u32) -> Result<Self, Error> {
        let reason = "this build has no RocksDB; build crema with the feature rocksdb".to_owned();
        Err(Error::Invalid { field: "storage", reason })
    }

    pub(super) fn is_reborn(&self) -> bool {
        match *self {}
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        match *self {}
    }

    pub(super) fn map(&self) -> Result<Option<Arc<ClusterMap>>, Error> {
        match *self {}
    }

    pub(super) fn begin<T: Stores>(
        &mut self,
        _: &Arc<ClusterMap>,
        _: &T,
        _: impl Fn(usize, usize) + Sync,
    ) -> Result<Disk<T::Store>, Error> {
        match *self {}
    }

    pub(super) fn close(self) {
        match self {}
    }

    pub(super) fn retire(self) {
        match self {}
    }
}
