//! Who the node is: its life, its cluster, and the map that it began with there.

use rocksdb::WriteBatch;

use super::{
    RocksLogs, Shared, options,
    record::{self, Identity},
};
use crate::{storage::StoreError, types::ClusterUid};

impl RocksLogs {
    /// Whose directory it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The map that the node entered its cluster with, as it was given to [`enter`](Self::enter).
    #[must_use]
    pub fn birth(&self) -> Option<&[u8]> {
        self.birth.as_deref()
    }

    /// Notes durably which cluster the node has entered, and with which map; nothing changes when it has entered it
    /// already. From now on its incarnation stays.
    ///
    /// # Errors
    /// [`StoreError::OtherCluster`] when it is another one; what [`StoreError`] says of a write that failed.
    pub fn enter(&mut self, cluster: ClusterUid, birth: &[u8]) -> Result<(), StoreError> {
        match self.identity.cluster {
            Some(found) if found == cluster => Ok(()),
            Some(found) => Err(StoreError::OtherCluster { path: self.shared.path.clone(), found, expected: cluster }),
            None => self.write_identity(Identity { cluster: Some(cluster), ..self.identity }, Some(birth)),
        }
    }

    /// Begins the life of a directory that has entered no cluster.
    pub(super) fn begin_life(&mut self, identity: Identity) -> Result<(), StoreError> {
        self.write_identity(identity, None)?;
        // From here on a database that is not there is missing.
        self.shared.sync_mark()
    }

    fn write_identity(&mut self, identity: Identity, birth: Option<&[u8]>) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        let family = self.shared.family(options::IDENTITY);
        batch.put_cf(&family, record::NODE_KEY, record::node_record(&identity));
        if let Some(birth) = birth {
            batch.put_cf(&family, record::BIRTH_KEY, record::birth_record(birth));
        }
        self.control.commit(&self.shared, batch, true)?;
        self.identity = identity;
        self.birth = birth.map(<[u8]>::to_vec);
        Ok(())
    }
}

impl Shared {
    /// Who the node is, and the map that it began with. One that does not know has lost its identity, and with it all
    /// logs.
    pub(super) fn read_identity(&self) -> Result<(Identity, Option<Vec<u8>>), StoreError> {
        let missing = |what: &str| self.damaged(format!("{what} is missing"));
        let what = "the node's identity";
        let found = self.read_own(record::NODE_KEY, what, record::read_node)?;
        let identity = found.ok_or_else(|| missing(what))?;
        let what = "the map that the node began with";
        let birth = self.read_own(record::BIRTH_KEY, what, record::read_birth)?;
        match (identity.cluster, birth) {
            (Some(_), None) => Err(missing(what)),
            (None, Some(_)) => Err(self.damaged(format!("{what} is there, and no cluster"))),
            (_, birth) => Ok((identity, birth)),
        }
    }
}
