//! A pipeline's commands, run together: planned in order, executed in one call, answered in order.
//!
//! What changes the connection (`HELLO`, `READONLY`, …) happens while planning, so it holds for the commands behind
//! it and for none before. A command whose outcome asks for more work (`SCAN`) gets further rounds; everything else
//! is done in the first.

use std::{mem, time::Duration};

use super::{
    args::Args,
    commands::{self, Finish, Step},
    errors,
    framing::TooLarge,
    reply::{Proto, Reply},
    session::{Reads, Replies, Session},
    stats,
};
use crate::{
    error::Error,
    machine::command::{Op, Outcome},
    multiraft::execute::{Executor, Request},
    partitioning::ShardMap,
};

/// Commands on their way.
#[derive(Default)]
pub(super) struct Batch {
    slots: Vec<Slot>,
    requests: Vec<Request>,
    /// A write is among the requests: a local read behind it would seem to overtake it.
    has_write: bool,
}

/// One command's place in the order of replies.
struct Slot {
    /// Its place in the command table; `None` for what isn't a command.
    command: Option<usize>,
    /// The protocol in force behind it.
    proto: Proto,
    /// It is not answered (`CLIENT REPLY`).
    silent: bool,
    /// Its words, if it asks a shard.
    words: Option<Args>,
    state: State,
}

enum State {
    Ready(Reply),
    /// Waits for one result.
    One(fn(Outcome) -> Reply),
    /// Waits for so many results.
    Many(usize, Finish),
}

/// One answered command.
pub(super) struct Answer {
    pub(super) command: Option<usize>,
    pub(super) proto: Proto,
    pub(super) silent: bool,
    /// Its words, if it asked a shard.
    pub(super) words: Option<Args>,
    pub(super) reply: Reply,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Plans a command.
    pub(super) fn plan<E: Executor>(&mut self, args: Args, session: &mut Session, map: &ShardMap, executor: &E) {
        if session.replies == Replies::SkipNext {
            session.replies = Replies::SkipThis;
        }
        let command = commands::find(args.word(0));
        let step = match command {
            Some(index) => commands::plan(index, session, map, &args),
            None => unknown(&args, session),
        };
        let watches = command.is_some_and(|index| commands::all()[index].name == "watch");
        let step = match session.reads {
            // Who watches keys depends on what is read.
            Reads::Local if !self.has_write && !watches && session.transaction.watched().is_empty() => {
                locally(step, executor)
            }
            Reads::Local | Reads::Linearizable => step,
        };
        let state = self.enqueue(step);
        let words = if matches!(state, State::Ready(_)) { None } else { Some(args) };
        self.slots.push(Slot { command, proto: session.proto, silent: is_silent(session), words, state });
    }

    /// Answers a request that was too large to be read.
    pub(super) fn refuse(&mut self, what: TooLarge, session: &mut Session) {
        if session.replies == Replies::SkipNext {
            session.replies = Replies::SkipThis;
        }
        session.transaction.spoil();
        let reply = errors::too_large(what, session.server.config.max_request_bytes);
        self.slots.push(Slot {
            command: None,
            proto: session.proto,
            silent: is_silent(session),
            words: None,
            state: State::Ready(reply),
        });
    }

    /// Executes what was planned. Afterwards every command has its reply.
    pub(super) async fn run<E: Executor>(mut self, executor: &E, timeout: Duration) -> Vec<Answer> {
        while !self.requests.is_empty() {
            let results = executor.execute(mem::take(&mut self.requests), timeout).await;
            self.distribute(results);
        }
        let answers = self.slots.into_iter().map(|Slot { command, proto, silent, words, state }| {
            let reply = match state {
                State::Ready(reply) => reply,
                State::One(_) | State::Many(..) => errors::unexpected_outcome(),
            };
            Answer { command, proto, silent, words, reply }
        });
        answers.collect()
    }

    /// Hands the results of a round to the commands that wait for them, in order.
    fn distribute(&mut self, results: Vec<Result<Outcome, Error>>) {
        let mut results = results.into_iter();
        for index in 0..self.slots.len() {
            let state = match mem::replace(&mut self.slots[index].state, State::Ready(Reply::Null)) {
                State::Ready(reply) => State::Ready(reply),
                State::One(reply) => State::Ready(match results.next() {
                    Some(Ok(outcome)) => reply(outcome),
                    Some(Err(error)) => errors::of_error(&error),
                    None => errors::unexpected_outcome(),
                }),
                State::Many(count, finish) => {
                    let step = finish(results.by_ref().take(count).collect());
                    self.enqueue(step)
                }
            };
            self.slots[index].state = state;
        }
    }

    fn enqueue(&mut self, mut step: Step) -> State {
        loop {
            step = match step {
                Step::Done(reply) => return State::Ready(reply),
                Step::One(request, reply) => {
                    self.has_write |= is_write(&request);
                    self.requests.push(request);
                    return State::One(reply);
                }
                Step::Many(requests, finish) if requests.is_empty() => finish(Vec::new()),
                Step::Many(requests, finish) => {
                    self.has_write |= requests.iter().any(is_write);
                    let count = requests.len();
                    self.requests.extend(requests);
                    return State::Many(count, finish);
                }
            };
        }
    }
}

/// Whether the command that was just planned is not answered.
fn is_silent(session: &mut Session) -> bool {
    let silent = session.replies != Replies::On;
    if session.replies == Replies::SkipThis {
        session.replies = Replies::On;
    }
    silent
}

fn is_write(request: &Request) -> bool {
    matches!(request.op, Op::Write(_))
}

/// Answers the reads of a step from this node's own state, as far as it has all of the shards.
fn locally<E: Executor>(mut step: Step, executor: &E) -> Step {
    let read = |request: &Request| match &request.op {
        Op::Read(query) => executor.local(request.shard, query),
        Op::Write(_) => None,
    };
    loop {
        step = match step {
            Step::Done(reply) => return Step::Done(reply),
            Step::One(request, reply) => {
                return match read(&request) {
                    Some(outcome) => Step::Done(reply(outcome)),
                    None => Step::One(request, reply),
                };
            }
            Step::Many(requests, finish) => match requests.iter().map(read).collect::<Option<Vec<_>>>() {
                Some(outcomes) => finish(outcomes.into_iter().map(Ok).collect()),
                None => return Step::Many(requests, finish),
            },
        };
    }
}

/// A command that doesn't exist. A browser's first line is one too: the connection ends there, so that what a web
/// page makes a browser send never reaches the commands (as in Redis).
fn unknown(args: &Args, session: &mut Session) -> Step {
    stats::add(&session.server.stats.unknown_commands, 1);
    session.transaction.spoil();
    if args.is(0, "post") || args.is(0, "host:") {
        session.closing = true;
    }
    Step::Done(commands::unknown(args))
}
