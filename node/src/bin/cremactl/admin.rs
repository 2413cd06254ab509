//! How the verbs that look at the cluster as a whole, or change it, reach `crema.v1.Admin`.

use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use crema_api::{
    client::{AdminClient, AdminError},
    v1::{Effect, ErrorKind},
};
use serde::Serialize;

use crate::{Answer, CommonArgs, Output, address};

/// How to reach the Admin service.
#[derive(Args)]
pub(crate) struct AdminArgs {
    /// gRPC address of any node; of several, the first that answers is asked
    #[arg(long, default_value = "127.0.0.1:7000", env = "CREMA_GRPC", value_delimiter = ',', value_name = "HOST:PORT",
          value_parser = address)]
    pub(crate) grpc: Vec<String>,
    /// The cluster token
    #[arg(long, env = "CREMA_CLUSTER_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

impl AdminArgs {
    pub(crate) async fn connect(&self) -> anyhow::Result<AdminClient> {
        self.connect_to(&self.grpc, self.common.timeout()).await
    }

    /// A connection to certain nodes, with the same token.
    pub(crate) async fn connect_to(&self, addresses: &[String], timeout: Duration) -> anyhow::Result<AdminClient> {
        Ok(AdminClient::connect(addresses, self.token.as_deref(), timeout).await?)
    }

    /// What a verb has come to: the JSON of `value`, or `table`.
    pub(crate) fn print<T: Serialize>(&self, value: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<Answer> {
        self.print_as(true, value, table)
    }

    /// As [`Self::print`], with the exit code of a failure unless `done`.
    pub(crate) fn print_as<T: Serialize>(
        &self,
        done: bool,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<Answer> {
        let text = match self.common.output {
            Output::Table => table(value),
            Output::Json => format!("{}\n", serde_json::to_string_pretty(value).context("write JSON")?),
        };
        Ok(Answer { text: text.into(), found: done })
    }
}

/// The failure of a call, with what to do about it where that is not plain.
pub(crate) fn failed(error: AdminError) -> anyhow::Error {
    let kind = match &error {
        AdminError::Node { kind, .. } => *kind,
        AdminError::Connect { .. } | AdminError::Token | AdminError::Lost(_) => ErrorKind::Unspecified,
    };
    let advice = match (kind, error.effect()) {
        (ErrorKind::Unauthenticated, _) => "; give it with --token or CREMA_CLUSTER_TOKEN",
        (_, Effect::Unknown) => "; the change may have been made: look before you ask again",
        (_, Effect::Unspecified | Effect::None) => "",
    };
    anyhow!("{error}{advice}")
}

/// A change that was committed.
#[derive(Serialize)]
pub(crate) struct Changed {
    pub(crate) map_version: u64,
}

impl Changed {
    pub(crate) fn line(&self, what: &str) -> String {
        format!("{what} (map version {})\n", self.map_version)
    }
}
