//! An executor over plain machines: four shards, a clock that tests set, faults that tests choose.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{
    error::Error,
    machine::{
        LogRecord, Machine,
        command::{Op, Outcome, Query},
        model::ModelStore,
    },
    multiraft::execute::{Executor, Request},
    partitioning::{ShardMap, SlotHash},
    types::{ShardId, Timestamp},
};

pub(super) const SHARDS: u32 = 4;
/// The first stamp: 2023-11-14 22:13:20 UTC.
pub(super) const START_MS: u64 = 1_700_000_000_000;

#[derive(Clone)]
pub(super) struct MachineExecutor {
    map: Arc<ShardMap>,
    state: Arc<Mutex<State>>,
    /// `execute` takes a permit for each call, so that a test can hold it up.
    pub(super) gate: Arc<Semaphore>,
}

struct State {
    machines: Vec<Machine<ModelStore>>,
    clock: Timestamp,
    faults: HashMap<ShardId, Error>,
    not_here: Option<ShardId>,
    local_reads: usize,
    calls: usize,
}

impl MachineExecutor {
    pub(super) fn new() -> Self {
        let state = State {
            machines: (0..SHARDS).map(|_| Machine::new(ModelStore::new())).collect(),
            clock: Timestamp(START_MS),
            faults: HashMap::new(),
            not_here: None,
            local_reads: 0,
            calls: 0,
        };
        Self {
            map: Arc::new(ShardMap::new(SlotHash::Crc16, SHARDS)),
            state: Arc::new(Mutex::new(state)),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        }
    }

    pub(super) fn advance_ms(&self, ms: u64) {
        let mut state = self.state.lock();
        state.clock = state.clock.plus_ms(ms);
    }

    /// Every request to the shard is answered with the error from now on.
    pub(super) fn fail(&self, shard: ShardId, error: Error) {
        self.state.lock().faults.insert(shard, error);
    }

    /// This node has no replica of the shard.
    pub(super) fn move_away(&self, shard: ShardId) {
        self.state.lock().not_here = Some(shard);
    }

    pub(super) fn local_reads(&self) -> usize {
        self.state.lock().local_reads
    }

    pub(super) fn calls(&self) -> usize {
        self.state.lock().calls
    }

    pub(super) fn shard_of(&self, key: &str) -> ShardId {
        self.map.shard_of(key.as_bytes())
    }
}

impl State {
    fn run(&mut self, Request { shard, op }: Request) -> Result<Outcome, Error> {
        if let Some(error) = self.faults.get(&shard) {
            return Err(error.clone());
        }
        let commands = match &op {
            Op::Read(_) => Vec::new(),
            Op::Write(command) => vec![command.clone()],
        };
        let machine = &mut self.machines[shard as usize];
        let record = LogRecord { stamp: self.clock, commands, ..LogRecord::default() };
        let index = machine.applied().next();
        let outcome = machine.apply(index, record).pop();
        match op {
            // The empty entry has just brought log time to the clock, so no deadline is undecided.
            Op::Read(query) => Ok(machine.read(&query, self.clock).ok().unwrap()),
            Op::Write(_) => Ok(outcome.unwrap()),
        }
    }
}

impl Executor for MachineExecutor {
    fn shard_map(&self) -> Arc<ShardMap> {
        Arc::clone(&self.map)
    }

    fn local(&self, shard: ShardId, query: &Query) -> Option<Outcome> {
        let mut state = self.state.lock();
        if state.not_here == Some(shard) {
            return None;
        }
        state.local_reads += 1;
        state.machines[shard as usize].read(query, Timestamp(0)).ok()
    }

    async fn execute(&self, requests: Vec<Request>, _: Duration) -> Vec<Result<Outcome, Error>> {
        self.gate.acquire().await.unwrap().forget();
        let mut state = self.state.lock();
        state.calls += 1;
        requests.into_iter().map(|request| state.run(request)).collect()
    }
}
