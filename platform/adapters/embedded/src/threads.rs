//! Threads that own a SQLite connection each, so that no query ever waits for a disk on the caller's thread.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 64;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Who runs jobs.
pub(crate) enum Threads {
    /// A group of threads that take jobs from one line. They end with this value, once their jobs are done.
    Line(Sender<Job>),
    /// The caller itself: what is in memory waits for no disk, and a hop between threads costs more than the job.
    Here(Mutex<Connection>),
}

impl Threads {
    /// Starts a thread for each connection.
    pub fn start(name: &str, connections: Vec<Connection>) -> io::Result<Self> {
        let (jobs, line) = channel::<Job>();
        let line = Arc::new(Mutex::new(line));
        for mut connection in connections {
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            let line = Arc::clone(&line);
            thread::Builder::new().name(name.to_owned()).spawn(move || {
                while let Some(job) = next(&line) {
                    job(&mut connection);
                }
            })?;
        }
        Ok(Threads::Line(jobs))
    }

    /// Runs every job on the thread of its caller, one at a time.
    pub fn here(connection: Connection) -> Self {
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Threads::Here(Mutex::new(connection))
    }

    /// Runs a job; `None` if the threads have ended. A job whose caller went away is done all the same.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce(&mut Connection) -> T + Send + 'static) -> Option<T> {
        match self {
            Threads::Line(jobs) => {
                let (done, result) = oneshot::channel();
                let job: Job = Box::new(move |connection| {
                    let _ = done.send(job(connection));
                });
                jobs.send(job).ok()?;
                result.await.ok()
            }
            Threads::Here(connection) => Some(job(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))),
        }
    }

    /// Runs a job and blocks this thread for it; only before the store is in use.
    pub fn run_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Option<T> {
        match self {
            Threads::Line(jobs) => {
                let (done, result) = channel();
                jobs.send(Box::new(move |connection| {
                    let _ = done.send(job(connection));
                }))
                .ok()?;
                result.recv().ok()
            }
            Threads::Here(connection) => Some(job(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))),
        }
    }
}

fn next(line: &Mutex<Receiver<Job>>) -> Option<Job> {
    line.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
