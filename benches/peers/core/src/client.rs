//! The client's work for peers with an async interface: a peer gives three verbs, this module the workload.
use crate::{Args, Error, Role, result, say};
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::spawn_local;

/// A client of the bench's protocol.
pub trait Client: 'static {
    type Conn: Clone + 'static;
    /// A new connection; `fresh` ones must not resume a session.
    fn connect(&self, fresh: bool) -> impl Future<Output = Result<Self::Conn, Error>>;
    /// One stream: sends `up` bytes and gets `down` bytes back, counted.
    fn exchange(conn: &Self::Conn, up: u64, down: u64) -> impl Future<Output = Result<(), Error>>;
    fn close(conn: Self::Conn);
    /// Sessions that were resumed so far, `None` when the peer does not tell.
    fn resumed(&self) -> Option<u64> {
        None
    }
}

/// Does what the command line asks for, between `ready` and the end of the input. Runs inside a `LocalSet`.
pub async fn drive<C: Client>(client: C, args: &Args) -> Result<(), Error> {
    let client = Rc::new(client);
    match args.role.clone() {
        Role::Server => unreachable!("the server is started elsewhere"),
        Role::Move { up, down, streams, conns } => {
            let all = connect_many(&client, conns, true).await?;
            turn("ready").await;
            let start = Instant::now();
            let parts = streams * conns;
            let mut tasks = Vec::new();
            for conn in &all {
                for _ in 0..streams {
                    let conn = conn.clone();
                    tasks.push(spawn_local(async move { C::exchange(&conn, up / parts, down / parts).await }));
                }
            }
            for one in tasks {
                one.await??;
            }
            turn(&result(start.elapsed(), Vec::new(), "")).await;
        }
        Role::Requests { count, size, concurrent } => {
            let conn = client.connect(true).await?;
            turn("ready").await;
            let start = Instant::now();
            let lane = move || {
                let conn = conn.clone();
                async move { C::exchange(&conn, 0, size).await }
            };
            let times = lanes(count, concurrent, lane).await?;
            turn(&result(start.elapsed(), times, "")).await;
        }
        Role::Handshakes { count, kind, concurrent } => {
            let resume = kind == "resumed";
            // A first connection warms up and, when resuming, brings tickets.
            let first = client.connect(!resume).await?;
            C::exchange(&first, 0, 1).await?;
            let before = client.resumed();
            turn("ready").await;
            let start = Instant::now();
            let lanes_client = client.clone();
            let lane = move || {
                let client = lanes_client.clone();
                async move {
                    let conn = client.connect(!resume).await?;
                    if resume {
                        // Its answer comes with or after the tickets that the next handshake needs.
                        C::exchange(&conn, 0, 1).await?;
                    }
                    C::close(conn);
                    Ok(())
                }
            };
            let times = lanes(count, concurrent, lane).await?;
            let more = match (before, client.resumed()) {
                (Some(a), Some(b)) => format!(", \"resumed\": {}", b - a),
                _ => String::new(),
            };
            turn(&result(start.elapsed(), times, &more)).await;
            C::close(first);
        }
        Role::Grow { steps } => {
            let mut all = Vec::new();
            turn("ready").await;
            for step in steps {
                let start = Instant::now();
                all.extend(connect_many(&client, step - all.len() as u64, true).await?);
                turn(&result(start.elapsed(), Vec::new(), "")).await;
            }
        }
    }
    Ok(())
}

/// Prints a line and waits for one, without holding up the connections.
async fn turn(line: &str) {
    say(line);
    let mut answer = String::new();
    let _ = BufReader::new(tokio::io::stdin()).read_line(&mut answer).await;
}

/// `count` turns of `work`, `concurrent` at a time; how long each took.
async fn lanes<F, W>(count: u64, concurrent: u64, work: W) -> Result<Vec<std::time::Duration>, Error>
where
    W: Fn() -> F + Clone + 'static,
    F: Future<Output = Result<(), Error>> + 'static,
{
    let left = Rc::new(Cell::new(count));
    let mut tasks = Vec::new();
    for _ in 0..concurrent {
        let (left, work) = (left.clone(), work.clone());
        tasks.push(spawn_local(async move {
            let mut times = Vec::new();
            while left.get() > 0 {
                left.set(left.get() - 1);
                let start = Instant::now();
                work().await?;
                times.push(start.elapsed());
            }
            Ok::<_, Error>(times)
        }));
    }
    let mut times = Vec::with_capacity(count as usize);
    for one in tasks {
        times.extend(one.await??);
    }
    Ok(times)
}

/// Opens connections, at most 50 handshakes at a time.
async fn connect_many<C: Client>(client: &Rc<C>, count: u64, fresh: bool) -> Result<Vec<C::Conn>, Error> {
    let left = Rc::new(Cell::new(count));
    let mut tasks = Vec::new();
    for _ in 0..count.min(50) {
        let (left, client) = (left.clone(), client.clone());
        tasks.push(spawn_local(async move {
            let mut all = Vec::new();
            while left.get() > 0 {
                left.set(left.get() - 1);
                all.push(client.connect(fresh).await?);
            }
            Ok::<_, Error>(all)
        }));
    }
    let mut all = Vec::new();
    for one in tasks {
        all.extend(one.await??);
    }
    Ok(all)
}
