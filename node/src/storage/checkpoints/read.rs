//! Reads a checkpoint file part by part. It changes nothing, so it serves `cremactl` on a node's live files too.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{Files, ReadError};
use crate::checkpoint::{DecodeError, Decoder, FORMAT_VERSION, Head, MAGIC, Part};

/// Large enough that the disk is read in a row, and that every real head is in the first.
const CHUNK_BYTES: usize = 1 << 20;

/// A file being read: [`part`](Self::part) until there is none. Only then was all of it sound.
pub struct CheckpointReader {
    path: PathBuf,
    file: Box<dyn Read + Send>,
    decoder: Option<Decoder>,
    chunk: Vec<u8>,
    first: bool,
}

impl CheckpointReader {
    /// Opens a file.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open(files: &dyn Files, path: &Path) -> Result<Self, ReadError> {
        let path = path.to_owned();
        match files.open(&path) {
            Ok(file) => {
                Ok(Self { path, file, decoder: Some(Decoder::new()), chunk: vec![0; CHUNK_BYTES], first: true })
            }
            Err(source) => Err(ReadError::Open { path, source }),
        }
    }

    /// The head alone.
    ///
    /// # Errors
    /// When the file can't be read, or its head is not sound.
    pub fn head(files: &dyn Files, path: &Path) -> Result<Head, ReadError> {
        let mut reader = Self::open(files, path)?;
        match reader.part()? {
            Some(Part::Head(head)) => Ok(*head),
            // The decoder gives the head first, or an error.
            Some(Part::Entries(_) | Part::End) | None => Err(reader.failed(DecodeError::Truncated)),
        }
    }

    /// The next part; `None` behind the end of a sound file. After an error it is of no more use.
    ///
    /// # Errors
    /// When the file can't be read, or is not sound.
    pub fn part(&mut self) -> Result<Option<Part>, ReadError> {
        loop {
            let Some(decoder) = &mut self.decoder else { return Ok(None) };
            match decoder.part() {
                Ok(Some(part)) => return Ok(Some(part)),
                Ok(None) => {}
                Err(error) => return Err(self.failed(error)),
            }
            if self.fill()? == 0 {
                let finished = self.decoder.take().map_or(Ok(()), Decoder::finish);
                return finished.map(|()| None).map_err(|error| self.failed(error));
            }
        }
    }

    /// Reads the next chunk; 0 at the end of the file.
    fn fill(&mut self) -> Result<usize, ReadError> {
        let mut len = 0;
        while len < self.chunk.len() {
            match self.file.read(&mut self.chunk[len..]) {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Io { path: self.path.clone(), source }),
            }
        }
        if std::mem::take(&mut self.first) {
            self.refuse_changed_version(len)?;
        }
        if let Some(decoder) = &mut self.decoder {
            decoder.feed(&self.chunk[..len]);
        }
        Ok(len)
    }

    /// A decoder can't check a header of another format. One that is sound as this format's is damaged, not newer: a
    /// node must not refuse to start because of it while an older checkpoint would do.
    fn refuse_changed_version(&mut self, len: usize) -> Result<(), ReadError> {
        let (from, to) = (MAGIC.len(), MAGIC.len() + 2);
        let Some(version) = self.chunk[..len].get(from..to) else { return Ok(()) };
        let found = u16::from_le_bytes([version[0], version[1]]);
        if found == FORMAT_VERSION {
            return Ok(());
        }
        let mut ours = self.chunk[..len].to_vec();
        ours[from..to].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        let mut decoder = Decoder::new();
        decoder.feed(&ours);
        match decoder.part() {
            Ok(Some(_)) => Err(ReadError::DamagedVersion { path: self.path.clone(), found }),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    fn failed(&self, source: DecodeError) -> ReadError {
        let path = self.path.clone();
        match source.is_of_newer_release() {
            true => ReadError::Newer { path, source },
            false => ReadError::Damaged { path, source },
        }
    }
}
