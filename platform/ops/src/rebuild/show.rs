//! How far a rebuild is, on stderr: a bar on a terminal, lines that are only appended elsewhere. No colours.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use skein_core::views::Rebuild;
use tokio::time::Instant;

/// How often numbers are told without a terminal.
const EVERY: Duration = Duration::from_secs(5);

/// What is shown.
pub struct Show {
    bar: Option<ProgressBar>,
    phase: String,
    numbers: String,
    said: Instant,
    /// Whether the bar has a length.
    measured: bool,
}

impl Show {
    /// Nothing yet.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            bar.set_style(style("{spinner} {wide_msg} {prefix} {elapsed}"));
        }
        Show { bar, phase: String::new(), numbers: String::new(), said: Instant::now(), measured: false }
    }

    /// Says what is waited for.
    pub fn phase(&mut self, text: &str) {
        if self.phase != text {
            text.clone_into(&mut self.phase);
            match &self.bar {
                Some(bar) => bar.set_message(self.phase.clone()),
                None => eprintln!("{text}"),
            }
        }
        if let Some(bar) = &self.bar {
            bar.tick();
        }
    }

    /// Says how much has come, of how many aggregates where that is known.
    pub fn filling(&mut self, rebuild: &Rebuild, total: Option<u64>) {
        let aggregates: u64 = rebuild.sources.iter().map(|source| source.aggregates).sum();
        let events: u64 = rebuild.sources.iter().map(|source| source.events).sum();
        // More may have begun since they were counted.
        let total = total.map(|total| total.max(aggregates));
        match (&self.bar, total) {
            (Some(bar), Some(total)) => {
                if !std::mem::replace(&mut self.measured, true) {
                    bar.set_style(style("{msg}\n[{wide_bar}] {pos}/{len} aggregates {percent}% {elapsed}"));
                }
                bar.set_length(total);
                bar.set_position(aggregates);
            }
            (Some(bar), None) => bar.set_prefix(format!("{aggregates} aggregates")),
            (None, total) => {
                let of = total.map_or_else(String::new, |total| format!(" of {total}"));
                let numbers = format!("  {aggregates}{of} aggregates, {events} events");
                if numbers != self.numbers && (self.numbers.is_empty() || self.said.elapsed() >= EVERY) {
                    eprintln!("{numbers}");
                    (self.numbers, self.said) = (numbers, Instant::now());
                }
            }
        }
    }

    /// Says something that stays.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Leaves the terminal to others.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
