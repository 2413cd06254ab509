//! Changes of the cluster map: proposed here when this worker leads the meta group.

use crema_api::v1;

use super::{Node, batch::Ticket};
use crate::{
    cluster::command::MetaCommand, machine::store::EntryStore, multiraft::govern::GovernError, types::NodeId,
};

impl<S: EntryStore> Node<S> {
    pub(super) fn on_govern(&mut self, ticket: Ticket, _: MetaCommand, _: Option<u64>, _: u64) {
        self.out.governed(ticket, Err(GovernError::NotLeader(None)));
    }

    pub(super) fn on_report(&mut self, _from: NodeId, _report: v1::NodeReport) {}
}
