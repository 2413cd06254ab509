//! The log: to standard error, so that what a command prints stays apart from it.

use tracing_subscriber::EnvFilter;

use crate::args::{Log, LogFormat};

/// Starts logging; the filter was checked with the command line.
pub(crate) fn init(settings: &Log) {
    let env_filter = EnvFilter::new(&settings.log);
    let log = tracing_subscriber::fmt().with_env_filter(env_filter).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
