//! A BIND of our own: one zone, one port on loopback, no control channel.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crema_tests::{
    process::{Process, Signal},
    wait_for,
};

/// The name server of the zone `crema.test`; `broken.test` is a zone of which it has no records.
pub(crate) struct Server {
    process: Option<Process>,
    folder: PathBuf,
    port: u16,
    serial: u64,
}

impl Server {
    /// Starts it with these records and waits until it answers.
    pub(crate) fn start(records: &str) -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("crema-dns-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let mut server = Self { process: None, folder, port, serial: 0 };
        fs::write(server.folder.join("named.conf"), server.configuration()).expect("the configuration");
        server.restart(records);
        server
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Changes the records of the zone.
    pub(crate) fn change(&mut self, records: &str) {
        self.write_zone(records);
        self.signal(Signal::Hup);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it (again) with these records and waits until it answers.
    pub(crate) fn restart(&mut self, records: &str) {
        self.write_zone(records);
        let args = ["-g", "-c", &self.folder.join("named.conf").display().to_string()].map(str::to_owned);
        let process = Process::start_system("named", &args, &self.folder.join("output"));
        wait_for("the name server", || process.output().contains("running\n").then_some(()));
        self.process = Some(process);
    }

    fn write_zone(&mut self, records: &str) {
        self.serial += 1;
        let zone = format!(
            "$ORIGIN crema.test.\n$TTL 0\n@ SOA ns root {} 60 60 600 0\n@ NS ns\nns A 127.0.0.1\n{records}",
            self.serial
        );
        let path = self.folder.join("crema.zone");
        fs::write(&path, zone).expect("the zone");
        // BIND reads a file again only when its time is later than that of the last reading.
        let later = SystemTime::now() + Duration::from_secs(10 * self.serial);
        let file = fs::File::options().write(true).open(&path).expect("the zone");
        file.set_modified(later).expect("a time for the zone");
    }

    fn configuration(&self) -> String {
        let folder = shown(&self.folder);
        let port = self.port;
        format!(
            "options {{\n  directory {folder};\n  listen-on port {port} {{ 127.0.0.1; }};\n  listen-on-v6 {{ none; }};\n  \
             pid-file none;\n  session-keyfile none;\n  recursion no;\n  dnssec-validation no;\n  allow-query {{ any; }};\n}};\n\
             controls {{ }};\n\
             zone \"crema.test\" {{ type primary; file \"crema.zone\"; }};\n\
             zone \"broken.test\" {{ type primary; file \"missing.zone\"; }};\n"
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process = None;
        // Left behind, it costs a few bytes in the folder for such things.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn shown(folder: &Path) -> String {
    format!("\"{}\"", folder.display())
}

/// A port that is free for both, a moment ago.
fn free_port() -> u16 {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = tcp.local_addr().expect("an address").port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port that is free for UDP and TCP");
}
