//! A file system in memory that fails at a chosen step and knows what a crash would leave.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use super::super::{Files, Listed, OutFile};

/// What goes wrong at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An I/O error; nothing of the step was done (of a write: half).
    Fails,
    /// The machine dies before the step: it and all later ones fail.
    Crash,
}

/// What a crash leaves of that which was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survives {
    Nothing,
    /// All names, and no byte that was not synced.
    Names,
    /// All names, and half of the bytes that were not synced.
    NamesAndHalf,
    Everything,
}

pub(super) const SURVIVALS: [Survives; 4] =
    [Survives::Nothing, Survives::Names, Survives::NamesAndHalf, Survives::Everything];

#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    synced: usize,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Steps so far, those that changed or synced something.
    steps: usize,
    planned: Option<(usize, Fault)>,
    crashed: bool,
    free_bytes: Option<usize>,
    syncs: usize,
}

/// The file system; clones of the `Arc` are the same one.
#[derive(Debug, Default)]
pub(super) struct FaultyFiles {
    state: Arc<Mutex<State>>,
}

impl FaultyFiles {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics in here")
    }

    /// How many steps there were.
    pub(super) fn steps(&self) -> usize {
        self.state().steps
    }

    /// How many syncs of files there were.
    pub(super) fn syncs(&self) -> usize {
        self.state().syncs
    }

    /// Lets the step with this number, counted from 0 over all, go wrong.
    pub(super) fn plan(&self, step: usize, fault: Fault) {
        self.state().planned = Some((step, fault));
    }

    /// How many bytes fit yet.
    pub(super) fn set_free(&self, bytes: Option<usize>) {
        self.state().free_bytes = bytes;
    }

    pub(super) fn names(&self) -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
        self.state().names.keys().map(name).collect()
    }

    pub(super) fn bytes_of(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        let (_, inode) = state.names.iter().find(|(path, _)| path.ends_with(name)).expect("the file");
        state.inodes[*inode].bytes.clone()
    }

    /// Puts a file there, synced, as if it had always been.
    pub(super) fn put(&self, path: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.inodes.len();
        state.inodes.push(Inode { bytes: bytes.to_vec(), synced: bytes.len() });
        state.names.insert(path.into(), inode);
        state.durable_names.insert(path.into(), inode);
    }

    /// The process was killed, not the machine: the next one sees all that was done, durable or not.
    pub(super) fn restart_process(&self) {
        let mut state = self.state();
        (state.crashed, state.planned) = (false, None);
    }

    /// What the next start finds after a crash of the machine now.
    pub(super) fn after_crash(&self, survives: Survives) -> Arc<Self> {
        let state = self.state();
        let names = match survives {
            Survives::Nothing => &state.durable_names,
            Survives::Names | Survives::NamesAndHalf | Survives::Everything => &state.names,
        };
        let keep = |inode: &Inode| match survives {
            Survives::Nothing | Survives::Names => inode.synced,
            Survives::NamesAndHalf => (inode.synced + inode.bytes.len()) / 2,
            Survives::Everything => inode.bytes.len(),
        };
        let after = Arc::new(Self::default());
        for (path, inode) in names {
            let inode = &state.inodes[*inode];
            after.put(&path.to_string_lossy(), &inode.bytes[..keep(inode)]);
        }
        after
    }
}

impl State {
    /// Counts a step; an error if it goes wrong.
    fn step(&mut self) -> io::Result<()> {
        let planned = self.planned.filter(|(at, _)| *at == self.steps).map(|(_, fault)| fault);
        self.steps += 1;
        self.crashed |= planned == Some(Fault::Crash);
        match (self.crashed, planned) {
            (true, _) => Err(io::Error::other("the machine is dead")),
            (false, Some(_)) => Err(io::Error::other("planted")),
            (false, None) => Ok(()),
        }
    }
}

impl Files for FaultyFiles {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        self.state().step()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>> {
        let state = self.state();
        let here = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let listed = |(path, inode): (&PathBuf, &usize)| Listed {
            name: path.file_name().expect("a name").to_string_lossy().into_owned(),
            bytes: state.inodes[*inode].bytes.len() as u64,
            modified_ms: None,
        };
        Ok(here.map(listed).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn OutFile>> {
        let mut state = self.state();
        state.step()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(path.to_owned(), inode);
        Ok(Box::new(FaultyFile { inode, state: Arc::clone(&self.state) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let state = self.state();
        let inode = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(state.inodes[*inode].bytes.clone())))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let inode = state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        let freed = state.inodes[inode].bytes.len();
        state.free_bytes = state.free_bytes.map(|free| free + freed);
        Ok(())
    }
}

#[derive(Debug)]
struct FaultyFile {
    inode: usize,
    state: Arc<Mutex<State>>,
}

impl OutFile for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().expect("no test panics in here");
        let fits = state.free_bytes.unwrap_or(usize::MAX).min(bytes.len());
        let went = state.step();
        let written = if went.is_ok() { fits } else { fits / 2 };
        state.inodes[self.inode].bytes.extend_from_slice(&bytes[..written]);
        state.free_bytes = state.free_bytes.map(|free| free - written);
        went?;
        if written < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state.lock().expect("no test panics in here");
        state.step()?;
        state.syncs += 1;
        let inode = &mut state.inodes[self.inode];
        inode.synced = inode.bytes.len();
        Ok(())
    }
}
