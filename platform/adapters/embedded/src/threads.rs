//! Threads that own a SQLite connection each, so that no query ever blocks the caller's runtime.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A group of threads that take jobs from one line. They end with this value, once their jobs are done.
pub(crate) struct Threads {
    jobs: Sender<Job>,
}

impl Threads {
    /// Starts a thread for each connection.
    pub fn start(name: &str, connections: Vec<Connection>) -> io::Result<Self> {
        let (jobs, line) = channel::<Job>();
        let line = Arc::new(Mutex::new(line));
        for mut connection in connections {
            connection.set_prepared_statement_cache_capacity(64);
            let line = Arc::clone(&line);
            thread::Builder::new().name(name.to_owned()).spawn(move || {
                while let Some(job) = next(&line) {
                    job(&mut connection);
                }
            })?;
        }
        Ok(Threads { jobs })
    }

    /// Runs a job; `None` if the threads have ended. A job whose caller went away is done all the same.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce(&mut Connection) -> T + Send + 'static) -> Option<T> {
        self.submit(job)?.await.ok()
    }

    /// Runs a job and blocks this thread for it; only before the store is in use.
    pub fn run_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = channel();
        self.jobs
            .send(Box::new(move |connection| {
                let _ = done.send(job(connection));
            }))
            .ok()?;
        result.recv().ok()
    }

    fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Option<oneshot::Receiver<T>> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ = done.send(job(connection));
        });
        self.jobs.send(job).ok().map(|()| result)
    }
}

fn next(line: &Mutex<Receiver<Job>>) -> Option<Job> {
    line.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
