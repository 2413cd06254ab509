//! The values of single flags: each function reads one, or says what would be right.

use std::{net::SocketAddr, time::Duration};

use crema::types::NodeId;
use tracing_subscriber::EnvFilter;

use super::Discovery;

/// Where `start` listens for other nodes by default.
const DEFAULT_GRPC_PORT: u16 = 7000;

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; write a level or target=level,…")),
    }
}

/// `3`, or the name of a StatefulSet's pod: `cache-2`.
pub(super) fn node_id(text: &str) -> Result<NodeId, String> {
    match text.parse().ok().or_else(|| number_of_pod(text)) {
        Some(0) | None => Err("a member has a whole number from 1 on".to_owned()),
        Some(id) => Ok(NodeId(id)),
    }
}

/// The number of the member in a pod of this name: pods are counted from 0 on.
fn number_of_pod(name: &str) -> Option<u64> {
    let (set, ordinal) = name.rsplit_once('-')?;
    let is_number = !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit());
    if set.is_empty() || !is_number {
        return None;
    }
    ordinal.parse::<u64>().ok()?.checked_add(1)
}

/// `200ms`, `3s`, `2m` or `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write a whole number with ms, s, m or h, as in 200ms, 3s or 1h");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (count, unit) = text.split_at(digits);
    let count: u64 = count.parse().map_err(|_| wrong())?;
    match unit {
        "ms" => Ok(Duration::from_millis(count)),
        "s" => Ok(Duration::from_secs(count)),
        "m" => count.checked_mul(60).map(Duration::from_secs).ok_or_else(wrong),
        "h" => count.checked_mul(3_600).map(Duration::from_secs).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

pub(super) fn member(text: &str) -> Result<(NodeId, String), String> {
    let (id, address) = text.split_once('=').ok_or("a member is written id=host:port")?;
    Ok((node_id(id)?, self::address(address)?))
}

/// `dns:NAME` or `dns:NAME:PORT`.
pub(super) fn discovery(text: &str) -> Result<Discovery, String> {
    let rest = text.strip_prefix("dns:").ok_or("a discovery is written dns:NAME or dns:NAME:PORT")?;
    let (name, port) = match rest.split_once(':') {
        Some((name, port)) => (name, port.parse().ok().filter(|port| *port != 0)),
        None => (rest, Some(DEFAULT_GRPC_PORT)),
    };
    match port {
        Some(_) if name.is_empty() => Err(format!("{text:?} has no name; a discovery is written dns:NAME[:PORT]")),
        Some(port) => Ok(Discovery::Dns { name: name.to_owned(), port }),
        None => Err(format!("{text:?} has no port (1 to 65535) after its name")),
    }
}

/// `host:port`, the host perhaps a name.
pub(super) fn address(text: &str) -> Result<String, String> {
    let (host, port) =
        text.rsplit_once(':').ok_or_else(|| format!("{text:?} has no port; an address is written host:port"))?;
    match port.parse::<u16>() {
        Ok(1..) if !host.is_empty() => Ok(text.to_owned()),
        Ok(1..) => Err(format!("{text:?} has no host; an address is written host:port")),
        Ok(0) | Err(_) => Err(format!("{port:?} is not a port (1 to 65535)")),
    }
}

/// An address of this machine, or the one of a server.
pub(super) fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no address and port; write it as in 127.0.0.1:7000 or [::1]:7000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_or_refused() {
        assert_eq!(address("db-1.svc:7000"), Ok("db-1.svc:7000".to_owned()));
        for wrong in ["", "a", ":1", "a:", "a:0", "a:70000"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn discoveries_are_parsed_or_refused() {
        let dns = |name: &str, port| Ok(Discovery::Dns { name: name.to_owned(), port });
        assert_eq!(discovery("dns:crema.ns.svc"), dns("crema.ns.svc", 7000));
        assert_eq!(discovery("dns:crema.ns.svc.:7001"), dns("crema.ns.svc.", 7001));
        for wrong in ["", "crema", "dns:", "dns::7000", "dns:a:", "dns:a:0", "dns:a:b", "dns:a:1:2", "srv:a"] {
            assert!(discovery(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_parsed_or_refused() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("3s"), Ok(Duration::from_secs(3)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3_600)));
        for wrong in ["", "3", "s", "1.5s", "-1s", "3 s", "99999999999999999999s", "9999999999999999999h", "1d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_may_be_that_of_a_pod() {
        assert_eq!(node_id("7"), Ok(NodeId(7)));
        assert_eq!(node_id("cache-0"), Ok(NodeId(1)));
        assert_eq!(node_id("my-cache-10"), Ok(NodeId(11)));
        for wrong in ["", "0", "cache", "cache-", "-1", "cache-a", "cache-+1", "cache-18446744073709551615"] {
            assert!(node_id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn members_are_parsed_or_refused() {
        assert_eq!(member("2=db-1.svc:7000"), Ok((NodeId(2), "db-1.svc:7000".to_owned())));
        assert_eq!(member("2=[::1]:7000"), Ok((NodeId(2), "[::1]:7000".to_owned())));
        for wrong in ["", "2", "0=a:1", "x=a:1", "2=a", "2=:1", "2=a:0", "2=a:70000"] {
            assert!(member(wrong).is_err(), "{wrong}");
        }
    }
}
