//! One connection: reads, runs what it read, writes the replies, in turn.
//!
//! While replies are written nothing is read, so a client that doesn't read its replies is held back by TCP; if it
//! takes no byte for `write_timeout` it is cut off. The memory of a connection is bounded by one request, one batch
//! and one reply.

use std::{io, mem, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    batch::{Answer, Batch},
    commands, errors,
    framing::{Decoder, Frame, Limits, ProtocolError},
    reply::Reply,
    session::Session,
    slowlog, stats,
};
use crate::{multiraft::execute::Executor, types::MAX_VALUE_BYTES};

/// How much is read at once: grows while reads fill it, so that idle connections cost little.
const MIN_READ_BYTES: usize = 4 * 1024;
const MAX_READ_BYTES: usize = 64 * 1024;
/// Replies are sent when there are so many, and at the end of a batch.
const FLUSH_BYTES: usize = 256 * 1024;
/// A larger buffer is given back after use.
const MAX_KEPT_BYTES: usize = 128 * 1024;
/// While the node stops, a connection that sent nothing for so long has no request under way.
const QUIET: Duration = Duration::from_millis(20);
/// How long a closed connection waits for the client's end, discarding what it still sends: a socket closed with
/// unread input is reset, and the reset could overtake the last replies.
const LINGER: Duration = Duration::from_secs(1);

/// Why a connection ends.
enum End {
    /// The client closed it.
    Gone,
    /// `QUIT`, a protocol error or the node's stop: all replies are written.
    Finished,
    /// The client doesn't read its replies.
    CutOff,
    /// The socket failed.
    Broken(io::Error),
}

/// One connection's task.
pub(super) struct Connection<E> {
    stream: TcpStream,
    session: Session,
    executor: E,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    read_bytes: usize,
    /// Since the node began to stop: until when the pipeline may go on.
    drain_until: Option<Instant>,
}

impl<E: Executor> Connection<E> {
    pub(super) fn new(stream: TcpStream, session: Session, executor: E) -> Self {
        let config = &session.server.config;
        let limits = Limits {
            bulk_bytes: MAX_VALUE_BYTES,
            request_bytes: config.max_request_bytes,
            words: config.max_request_words,
        };
        Self {
            stream,
            session,
            executor,
            decoder: Decoder::new(limits),
            input: BytesMut::new(),
            output: BytesMut::new(),
            read_bytes: MIN_READ_BYTES,
            drain_until: None,
        }
    }

    /// Serves the client until it goes, misbehaves, or the node stops.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let end = loop {
            if let Err(end) = self.turn(&stop).await {
                break end;
            }
        };
        let Self { mut stream, session, .. } = self;
        match end {
            End::Gone => {}
            End::Finished => {
                // It is no client any more, whatever it does with its side.
                drop(session);
                linger(&mut stream).await;
            }
            End::CutOff => {
                stats::add(&session.server.stats.connections_cut_off, 1);
                tracing::warn!(client = session.client.id, "cut off a client that doesn't read its replies");
            }
            End::Broken(error) => tracing::debug!(client = session.client.id, %error, "connection failed"),
        }
    }

    /// Runs what is in the input, or reads more.
    async fn turn(&mut self, stop: &CancellationToken) -> Result<(), End> {
        let (batch, broken) = self.parse();
        if batch.len() == 0 && broken.is_none() {
            return self.read(stop).await;
        }
        let commands = batch.len();
        self.answer(batch).await?;
        if let Some(error) = broken {
            stats::add(&self.session.server.stats.protocol_errors, 1);
            let reply = Reply::error_from(format!("ERR Protocol error: {error}"));
            reply.encode(self.session.proto, &mut self.output);
            self.session.closing = true;
        }
        self.flush().await?;
        if self.session.client.killed.is_cancelled() {
            return Err(End::Gone);
        }
        let done = self.session.closing || (stop.is_cancelled() && self.may_close_behind(commands));
        if done { Err(End::Finished) } else { Ok(()) }
    }

    /// Whether this is the moment to close, while the node stops: all that has come is answered, and nothing more seems
    /// to be on its way. Right behind a lone reply is the best one: a client that waits for each reply finds the end
    /// before it sends its next request. A pipeline may have more to come, so it gets its time.
    fn may_close_behind(&mut self, commands: usize) -> bool {
        let overdue = self.drain_until.is_some_and(|moment| moment <= Instant::now());
        if !self.input.is_empty() || (commands > 1 && !overdue) {
            return false;
        }
        self.make_room();
        match self.stream.try_read_buf(&mut self.input) {
            // The end of the client's side, or a failure, is noticed by the next read.
            Ok(bytes) => {
                stats::add(&self.session.server.stats.bytes_in, bytes as u64);
                false
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Plans the commands that are in the input, up to the bounds of a batch.
    fn parse(&mut self) -> (Batch, Option<ProtocolError>) {
        let mut batch = Batch::default();
        let mut map = None;
        self.session.waits = false;
        let (max_commands, mut room) =
            (self.session.server.config.batch_commands.max(1), self.session.server.config.batch_bytes);
        while batch.len() < max_commands && room > 0 && !self.session.closing && !self.session.waits {
            match self.decoder.next(&mut self.input) {
                Ok(None) => break,
                Err(error) => return (batch, Some(error)),
                Ok(Some(Frame::TooLarge(what))) => batch.refuse(what, &mut self.session),
                Ok(Some(Frame::Command(args))) => {
                    let map = map.get_or_insert_with(|| self.executor.shard_map());
                    room = room.saturating_sub(args.wire_bytes());
                    batch.plan(args, &mut self.session, map, &self.executor);
                }
            }
        }
        (batch, None)
    }

    /// Runs a batch and encodes its replies, in order.
    async fn answer(&mut self, batch: Batch) -> Result<(), End> {
        let began = std::time::Instant::now();
        let answers = batch.run(&self.executor, self.session.server.config.request_timeout).await;
        let mut run = CommandRun::default();
        let elapsed = began.elapsed();
        if elapsed >= slowlog::SLOWER_THAN {
            self.note_slow(&answers, elapsed);
        }
        for Answer { command, proto, silent, words: _, reply } in answers {
            let reply = self.bounded(reply);
            if let Reply::Error(text) = &reply {
                self.session.server.stats.count_error(text);
            }
            if let Some(index) = command {
                if run.index != index {
                    self.count(mem::replace(&mut run, CommandRun { index, calls: 0, errors: 0 }), elapsed);
                }
                run.calls += 1;
                run.errors += u64::from(reply.is_error());
            }
            if !silent {
                reply.encode(proto, &mut self.output);
            }
            if self.output.len() >= FLUSH_BYTES {
                self.flush().await?;
            }
        }
        if run.calls > 0 {
            self.session.client.touch(run.index);
        }
        self.count(run, elapsed);
        Ok(())
    }

    /// Notes a batch that took long.
    fn note_slow(&self, answers: &[Answer], elapsed: Duration) {
        let Some(words) = answers.iter().find_map(|answer| answer.words.as_ref()) else { return };
        let client = &self.session.client;
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let name = client.labels.lock().name.clone();
        self.session.server.slow_log.note(words, elapsed, since_epoch.as_secs(), client.peer, name);
    }

    /// The reply, or an error when it is too large to send.
    fn bounded(&self, reply: Reply) -> Reply {
        let limit = self.session.server.config.max_reply_bytes;
        match reply.wire_bytes() {
            bytes if bytes > limit => errors::reply_too_large(bytes, limit),
            _ => reply,
        }
    }

    fn count(&self, run: CommandRun, elapsed: Duration) {
        let CommandRun { index, calls, errors } = run;
        if calls == 0 {
            return;
        }
        let server = &self.session.server;
        server.stats.count_commands(index, calls, errors, elapsed);
        if let Some(observer) = &server.config.observer {
            observer.observe(commands::all()[index].name, calls, elapsed);
        }
    }

    /// Waits for input. While the node stops, only for what is already on its way.
    async fn read(&mut self, stop: &CancellationToken) -> Result<(), End> {
        self.make_room();
        let killed = self.session.client.killed.clone();
        let drain_until = match self.drain_until {
            Some(moment) => moment,
            None => tokio::select! {
                biased;
                () = killed.cancelled() => return Err(End::Gone),
                read = self.stream.read_buf(&mut self.input) => return self.note_read(read),
                () = stop.cancelled() => {
                    let moment = Instant::now() + self.session.server.config.drain_timeout;
                    self.drain_until = Some(moment);
                    moment
                }
            },
        };
        let left = drain_until.saturating_duration_since(Instant::now());
        let wait = if self.decoder.is_amid_request(&self.input) { left } else { left.min(QUIET) };
        match timeout(wait, self.stream.read_buf(&mut self.input)).await {
            Ok(read) if !left.is_zero() => self.note_read(read),
            Ok(_) | Err(_) => Err(End::Finished),
        }
    }

    fn note_read(&mut self, read: io::Result<usize>) -> Result<(), End> {
        let bytes = read.map_err(End::Broken)?;
        if bytes == 0 {
            return Err(End::Gone);
        }
        stats::add(&self.session.server.stats.bytes_in, bytes as u64);
        self.read_bytes = match bytes {
            bytes if bytes >= self.read_bytes => (self.read_bytes * 2).min(MAX_READ_BYTES),
            bytes if bytes < self.read_bytes / 4 => (self.read_bytes / 2).max(MIN_READ_BYTES),
            _ => self.read_bytes,
        };
        Ok(())
    }

    /// Gives a large empty buffer back and sees to it that there is room to read into.
    fn make_room(&mut self) {
        if self.input.is_empty() && self.input.capacity() > MAX_KEPT_BYTES {
            self.input = BytesMut::new();
        }
        if self.input.capacity() - self.input.len() < MIN_READ_BYTES / 2 {
            self.input.reserve(self.read_bytes);
        }
    }

    /// Writes all replies out. Every byte that the client takes gives it more time.
    async fn flush(&mut self) -> Result<(), End> {
        let patience = self.session.server.config.write_timeout;
        let mut output: Bytes = self.output.split().freeze();
        stats::add(&self.session.server.stats.bytes_out, output.len() as u64);
        while !output.is_empty() {
            match self.stream.try_write(&output) {
                Ok(0) => return Err(End::Broken(io::ErrorKind::WriteZero.into())),
                Ok(written) => output.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let killed = self.session.client.killed.clone();
                    let writable = tokio::select! {
                        () = killed.cancelled() => return Err(End::Gone),
                        writable = timeout(patience, self.stream.writable()) => writable,
                    };
                    writable.map_err(|_| End::CutOff)?.map_err(End::Broken)?;
                }
                Err(error) => return Err(End::Broken(error)),
            }
        }
        drop(output);
        if self.output.capacity() > MAX_KEPT_BYTES {
            self.output = BytesMut::new();
        }
        Ok(())
    }
}

/// Equal commands in a row, counted together.
struct CommandRun {
    index: usize,
    calls: u64,
    errors: u64,
}

impl Default for CommandRun {
    fn default() -> Self {
        Self { index: usize::MAX, calls: 0, errors: 0 }
    }
}

/// Ends our side and discards what comes until the client ends its own, for a bounded time.
async fn linger(stream: &mut TcpStream) {
    let discard = async {
        stream.shutdown().await?;
        let mut scratch = [0; 4096];
        while stream.read(&mut scratch).await? > 0 {}
        io::Result::Ok(())
    };
    // Either way the socket is closed now, and there is no one left to tell.
    let _ = timeout(LINGER, discard).await;
}
