//! The accept loop: a task for each connection, a bound on their number, and an orderly end.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{config::RespConfig, connection::Connection, errors, session::Server, stats, stats::RespStats};
use crate::multiraft::execute::Executor;

/// The pause after a failed accept: without file descriptors it fails again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What connections get beyond `drain_timeout` to write their last replies and close.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Serves Redis clients until `shutdown` is cancelled, then lets every connection finish its pipeline and returns.
///
/// It returns at most `drain_timeout` and two seconds after the cancellation; what still runs then is cut off.
///
/// # Errors
/// When the listener has no address. A failed accept is logged and tried again.
pub async fn serve<E: Executor>(
    listener: TcpListener,
    executor: E,
    config: RespConfig,
    stats: Arc<RespStats>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let patience = config.drain_timeout + CLOSE_GRACE;
    let server = Arc::new(Server::new(config, stats, listener.local_addr()?));
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = tasks.join_next() => note_panic(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => admit(stream, &server, &executor, &shutdown, &mut tasks),
                Err(error) => {
                    tracing::warn!(%error, "accepting a client failed");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let all_ended = async {
        while let Some(ended) = tasks.join_next().await {
            note_panic(ended);
        }
    };
    if timeout(patience, all_ended).await.is_err() {
        tracing::warn!(connections = tasks.len(), "cut off connections that did not end in time");
        tasks.shutdown().await;
    }
    Ok(())
}

fn admit<E: Executor>(
    stream: TcpStream,
    server: &Arc<Server>,
    executor: &E,
    shutdown: &CancellationToken,
    tasks: &mut JoinSet<()>,
) {
    stats::add(&server.stats.connections_accepted, 1);
    if tasks.len() >= server.config.max_clients {
        stats::add(&server.stats.connections_refused, 1);
        // A fresh socket takes so few bytes at once; nobody is waited for.
        let _ = stream.try_write(errors::MAX_CLIENTS);
        return;
    }
    let addresses = stream.set_nodelay(true).and_then(|()| Ok((stream.peer_addr()?, stream.local_addr()?)));
    // A client that is gone already has no addresses.
    let Ok((peer, local)) = addresses else { return };
    let session = server.open(peer, local);
    // A child token, so that connections don't share one waiters' list.
    tasks.spawn(Connection::new(stream, session, executor.clone()).run(shutdown.child_token()));
}

fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}
