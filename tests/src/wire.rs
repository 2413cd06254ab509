//! Raw bytes to and from the RESP door, for input that no client library would send.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::PATIENCE;

/// A socket.
#[derive(Debug)]
pub struct Raw(TcpStream);

impl Raw {
    /// Connects.
    ///
    /// # Panics
    /// Nobody listens.
    #[must_use]
    pub fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        Self(stream)
    }

    /// A second handle of the same connection, for another thread.
    ///
    /// # Panics
    /// The system has no further handle.
    #[must_use]
    pub fn another(&self) -> Self {
        Self(self.0.try_clone().expect("a second handle"))
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// The node has closed the connection, or takes nothing for too long.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Reads until the answer ends in `tail`, and returns all of it.
    ///
    /// # Panics
    /// The connection ends or stays silent before.
    pub fn read_until(&mut self, tail: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        let mut chunk = [0; 64 * 1024];
        while !answer.ends_with(tail) {
            let seen = || String::from_utf8_lossy(tail).into_owned();
            match self.0.read(&mut chunk) {
                Ok(0) => panic!("closed before {:?}, after {:?}", seen(), String::from_utf8_lossy(&answer)),
                Ok(read) => answer.extend_from_slice(&chunk[..read]),
                Err(error) => panic!("{error} before {:?}, after {:?}", seen(), String::from_utf8_lossy(&answer)),
            }
        }
        answer
    }

    /// Reads what comes next, at least one byte.
    ///
    /// # Panics
    /// The connection ends or stays silent.
    pub fn read_more(&mut self, answer: &mut Vec<u8>) {
        let mut chunk = [0; 64 * 1024];
        match self.0.read(&mut chunk) {
            Ok(0) => panic!("closed after {:?}", String::from_utf8_lossy(answer)),
            Ok(read) => answer.extend_from_slice(&chunk[..read]),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(answer)),
        }
    }

    /// Reads to the end of the connection. A reset is an end too.
    ///
    /// # Panics
    /// The connection stays open.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        match self.0.read_to_end(&mut answer) {
            Ok(_) => answer,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => answer,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&answer)),
        }
    }
}

/// A command as clients send it.
#[must_use]
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
