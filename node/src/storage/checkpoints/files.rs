//! What checkpoints need of a file system: small enough that a test can stand in for it and let each step fail.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
    time::UNIX_EPOCH,
};

/// A file system. Every step says nothing of durability but the two syncs.
pub trait Files: fmt::Debug + Send + Sync {
    /// Makes a directory and those above it, durably; one that is there is no error.
    ///
    /// # Errors
    /// When the system refuses.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The files of a directory.
    ///
    /// # Errors
    /// When the system refuses.
    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>>;

    /// A new file; one of that name must not be there.
    ///
    /// # Errors
    /// When the system refuses.
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutFile>>;

    /// Gives a file its name, at once; what had that name is gone.
    ///
    /// # Errors
    /// When the system refuses.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Returns when the names in a directory would outlive a crash.
    ///
    /// # Errors
    /// When the system refuses; what is on the disk is then not known.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// The bytes of a file, from the first.
    ///
    /// # Errors
    /// When the system refuses.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;

    /// Removes a file.
    ///
    /// # Errors
    /// When the system refuses.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// A file being written.
pub trait OutFile: fmt::Debug + Send {
    /// Appends all the bytes.
    ///
    /// # Errors
    /// When the system refuses; some of them may have been written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns when all that was written would outlive a crash.
    ///
    /// # Errors
    /// When the system refuses; what is on the disk is then not known.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name in the directory.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// When it was written, in milliseconds since the Unix epoch, where that is known.
    pub modified_ms: Option<u64>,
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !directory(dir).exists()).collect();
        fs::create_dir_all(dir)?;
        // A directory's name is in the one above it.
        missing.iter().filter_map(|dir| dir.parent()).try_for_each(|above| self.sync_dir(above))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory(dir))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if meta.is_file() {
                let age = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                let modified_ms = age.and_then(|age| u64::try_from(age.as_millis()).ok());
                files.push(Listed { name, bytes: meta.len(), modified_ms });
            }
        }
        Ok(files)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn OutFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(DiskFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(directory(dir))?.sync_all()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

#[derive(Debug)]
struct DiskFile(File);

impl OutFile for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// The empty path, which is what lies above a relative name, is the current directory.
fn directory(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}
