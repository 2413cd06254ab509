//! A Redis on loopback that keeps nothing.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use crema_tests::{cluster::free_port, process::Process, wait_for};

/// Its process; killed when dropped.
pub(crate) struct Redis {
    pub(crate) address: SocketAddr,
    _process: Process,
}

impl Redis {
    /// Starts Debian's `redis-server`, with our bound on values.
    pub(crate) fn start() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let flags = format!(
            "--port {} --bind 127.0.0.1 --appendonly no --daemonize no --databases 1 --proto-max-bulk-len 8388608",
            address.port()
        );
        let mut flags: Vec<String> = flags.split(' ').map(str::to_owned).collect();
        flags.extend(["--save".to_owned(), String::new()]);
        let folder = std::env::temp_dir().join(format!("crema-differential-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the logs");
        let process = Process::start_system("redis-server", &flags, &folder.join("redis.log"));
        wait_for("a Redis that listens", || TcpStream::connect(address).ok());
        Self { address, _process: process }
    }
}
