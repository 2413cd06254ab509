//! The log: to standard error, so that what a command prints stays apart from it.

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// Starts logging. A filter that can't be read is replaced by `info`, and said.
pub(crate) fn init(format: LogFormat, filter: &str) {
    let (env_filter, wrong) = match EnvFilter::try_new(filter) {
        Ok(env_filter) => (env_filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let log = tracing_subscriber::fmt().with_env_filter(env_filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    if let Some(error) = wrong {
        tracing::warn!(%filter, %error, "the log filter can't be read; `info` is used");
    }
}
