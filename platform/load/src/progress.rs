//! Progress on stderr: a bar on a terminal, lines that are only appended elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// How often a line is appended without a terminal.
const EVERY: Duration = Duration::from_secs(5);

/// The progress of one phase.
pub struct Progress {
    phase: &'static str,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Progress {
    /// Begins a phase of so many steps.
    pub fn begin(phase: &'static str, total: usize) -> Self {
        let total = total as u64;
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template("{msg:>22} {wide_bar} {pos}/{len} {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(phase);
            bar
        });
        if bar.is_none() {
            eprintln!("{phase}: 0/{total}");
        }
        Progress { phase, total, done: 0, bar, said: Instant::now() }
    }

    /// Says how many steps are done.
    pub fn at(&mut self, done: usize) {
        self.done = done as u64;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.said.elapsed() >= EVERY => {
                self.said = Instant::now();
                eprintln!("{}: {}/{}", self.phase, self.done, self.total);
            }
            None => (),
        }
    }

    /// Says that one more step is done.
    pub fn step(&mut self) {
        self.at(usize::try_from(self.done).unwrap_or(usize::MAX).saturating_add(1));
    }

    /// Ends the phase.
    pub fn end(self) {
        match self.bar {
            Some(bar) => bar.finish(),
            None => eprintln!("{}: {}/{}", self.phase, self.done, self.total),
        }
    }
}
