//! The command line of `crema-operator`. Each flag has an environment variable, which the chart sets.

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use clap::{Parser, ValueEnum};
use crema_crds::spec::RespMode;
use crema_operator::{controller::ClusterDefaults, fault::FaultPoint};
use tracing_subscriber::EnvFilter;

/// Turns CremaCluster objects into running clusters.
#[derive(Debug, Parser)]
#[command(name = "crema-operator", version, about, max_term_width = 110)]
pub(crate) struct Args {
    /// The namespaces whose clusters are looked after, separated by commas. Empty: all.
    #[arg(long, value_delimiter = ',', value_parser = namespace, env = "CREMA_OPERATOR_WATCH_NAMESPACES")]
    pub(crate) watch_namespaces: Vec<String>,
    /// The namespace of the lease. Default: the one that the process runs in.
    #[arg(long, value_parser = namespace, env = "POD_NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Who this process is in the lease and in events. Default: a random name.
    #[arg(long, env = "POD_NAME")]
    pub(crate) identity: Option<String>,
    /// The name of the lease that is taken before anything is done.
    #[arg(long, default_value = "crema-operator", env = "CREMA_OPERATOR_LEASE_NAME")]
    pub(crate) lease_name: String,
    /// How long the lease must be left alone before another process takes it.
    #[arg(long, default_value = "15s", value_parser = duration, env = "CREMA_OPERATOR_LEASE_DURATION")]
    pub(crate) lease_duration: Duration,
    /// A process that can't renew the lease for so long ends; less than --lease-duration.
    #[arg(long, default_value = "10s", value_parser = duration, env = "CREMA_OPERATOR_LEASE_RENEW_DEADLINE")]
    pub(crate) lease_renew_deadline: Duration,
    /// The pause between two attempts at the lease; less than --lease-renew-deadline.
    #[arg(long, default_value = "2s", value_parser = duration, env = "CREMA_OPERATOR_LEASE_RETRY")]
    pub(crate) lease_retry: Duration,
    /// How many clusters are worked on at once.
    #[arg(long, default_value = "4", env = "CREMA_OPERATOR_CONCURRENCY")]
    pub(crate) concurrency: NonZeroUsize,
    /// A cluster is looked at that often though nothing seems to have changed.
    #[arg(long, default_value = "60s", value_parser = duration, env = "CREMA_OPERATOR_RESYNC")]
    pub(crate) resync: Duration,
    /// The `spec.respMode` of clusters that name none. Another one rolls their pods.
    #[arg(long, value_enum, env = "CREMA_OPERATOR_DEFAULT_RESP_MODE")]
    pub(crate) default_resp_mode: Option<Mode>,
    /// Where /metrics, /livez and /readyz are.
    #[arg(long, default_value = "0.0.0.0:8080", env = "CREMA_OPERATOR_HTTP_ADDR")]
    pub(crate) http_addr: SocketAddr,
    /// What is logged, as `level` or `target=level,…` (tracing's filter).
    #[arg(long, default_value = "info", value_parser = log_filter, env = "CREMA_OPERATOR_LOG")]
    pub(crate) log: String,
    /// How the log is written.
    #[arg(long, value_enum, default_value_t = LogFormat::Json, env = "CREMA_OPERATOR_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    /// For tests: the process kills itself at the first of these points that it comes to, such as `before-init`,
    /// `after-init:2` for the second time, or `after-init@NAMESPACE` for the clusters of one namespace.
    #[arg(long, hide = true, value_delimiter = ',', value_parser = FaultPoint::parse, env = "CREMA_OPERATOR_FAULTS")]
    pub(crate) faults: Vec<FaultPoint>,
}

/// As `spec.respMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Any node takes any key.
    #[value(name = "Proxy")]
    Proxy,
    /// As Redis Cluster.
    #[value(name = "Cluster")]
    Cluster,
}

/// A form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl Args {
    /// What single flags can't tell: how they go together.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.lease_renew_deadline >= self.lease_duration {
            return Err("--lease-renew-deadline must be less than --lease-duration".to_owned());
        }
        if self.lease_retry >= self.lease_renew_deadline {
            return Err("--lease-retry must be less than --lease-renew-deadline".to_owned());
        }
        // The lease holds whole seconds.
        if self.lease_duration.subsec_nanos() != 0 {
            return Err("--lease-duration must be whole seconds".to_owned());
        }
        Ok(())
    }

    /// What holds for clusters that don't say. What the definition says by itself counts as nothing said, so that naming it
    /// restarts no pod.
    pub(crate) fn defaults(&self) -> ClusterDefaults {
        let resp_mode = match self.default_resp_mode {
            None | Some(Mode::Proxy) => None,
            Some(Mode::Cluster) => Some(RespMode::Cluster),
        };
        ClusterDefaults { resp_mode }
    }

    /// The namespaces that are watched; none: all of them. A variable that is set and empty names none.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let mut names: Vec<_> = self.watch_namespaces.iter().filter(|name| !name.is_empty()).cloned().collect();
        names.sort();
        names.dedup();
        names
    }
}

/// A namespace's name, or nothing.
fn namespace(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = text.starts_with('-') || text.ends_with('-');
    if text.len() > 63 || edge || !text.chars().all(fine) {
        return Err(format!("{text:?} is no name of a namespace: it has a to z, 0 to 9 and - inside, at most 63"));
    }
    Ok(text.to_owned())
}

/// `200ms`, `3s` or `2m`, more than nothing.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time above 0; write a whole number with ms, s or m, as in 200ms or 15s");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (count, unit) = text.split_at(digits);
    let count: u64 = count.parse().map_err(|_| wrong())?;
    let time = match unit {
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        "m" => count.checked_mul(60).map(Duration::from_secs),
        _ => None,
    };
    time.filter(|time| !time.is_zero()).ok_or_else(wrong)
}

fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; write a level or target=level,…")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        let words = std::iter::once("crema-operator").chain(line.split_whitespace());
        let args = Args::try_parse_from(words).map_err(|error| error.to_string())?;
        args.check()?;
        Ok(args)
    }

    #[test]
    fn the_defaults_go_together() {
        let args = parse("").expect("defaults");
        assert_eq!(args.namespaces(), Vec::<String>::new());
        assert_eq!(args.lease_duration, Duration::from_secs(15));
    }

    #[test]
    fn the_default_mode_of_clusters_may_be_set() {
        let mode = |line: &str| parse(line).expect("a mode").defaults().resp_mode;
        assert_eq!(mode("--default-resp-mode Cluster"), Some(RespMode::Cluster));
        assert_eq!((mode("--default-resp-mode Proxy"), mode("")), (None, None));
    }

    #[test]
    fn namespaces_are_a_set() {
        let args = parse("--watch-namespaces shop,bank,shop").expect("a list");
        assert_eq!(args.namespaces(), ["bank", "shop"]);
        let args = parse("--watch-namespaces=").expect("an empty list");
        assert_eq!(args.namespaces(), Vec::<String>::new());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "--lease-duration 10s",
            "--lease-duration 15500ms",
            "--lease-retry 10s",
            "--lease-retry 0s",
            "--resync 1h",
            "--default-resp-mode both",
            "--concurrency 0",
            "--watch-namespaces Shop",
            "--watch-namespaces a_b",
            "--namespace -a",
            "--faults",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
