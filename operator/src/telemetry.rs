//! The log: to standard error, one object a line unless people read it.

use tracing_subscriber::EnvFilter;

use crate::args::{Args, LogFormat};

/// Starts logging; the filter was checked with the command line.
pub(crate) fn init(args: &Args) {
    let env_filter = EnvFilter::new(&args.log);
    let log = tracing_subscriber::fmt().with_env_filter(env_filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
