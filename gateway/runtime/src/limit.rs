//! Counters of calls, in this process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many keys are counted at once; those whose time is over make room first.
const MAX_KEYS: usize = 100_000;

/// Calls by counter and key. A window begins with its first call.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<HashMap<(usize, String), Window>>);

#[derive(Debug)]
struct Window {
    /// Seconds since 1970.
    ends: i64,
    calls: u64,
}

impl Counters {
    /// Counts one call.
    ///
    /// # Errors
    /// The limit is reached: the seconds until calls are taken again.
    pub(crate) fn call(&self, id: usize, key: String, calls: u64, period: Duration, now: i64) -> Result<(), u64> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= MAX_KEYS {
            windows.retain(|_, window| window.ends > now);
        }
        let ends = now.saturating_add(i64::try_from(period.as_secs()).unwrap_or(i64::MAX));
        let full = windows.len() >= MAX_KEYS;
        let window = match windows.get_mut(&(id, key.clone())) {
            Some(window) => window,
            // More subjects at once than there is room for: nobody is counted for free.
            None if full => return Err(period.as_secs()),
            None => windows.entry((id, key)).or_insert(Window { ends, calls: 0 }),
        };
        if window.ends <= now {
            *window = Window { ends, calls: 0 };
        }
        if window.calls >= calls {
            return Err(u64::try_from(window.ends - now).unwrap_or(1).max(1));
        }
        window.calls += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_its_keys_own_and_ends() {
        let counters = Counters::default();
        let call = |key: &str, now| counters.call(0, key.to_owned(), 2, Duration::from_secs(60), now);
        assert_eq!([call("a", 0), call("a", 10), call("a", 20), call("b", 20)], [Ok(()), Ok(()), Err(40), Ok(())]);
        assert_eq!([call("a", 59), call("a", 60)], [Err(1), Ok(())]);
        assert_eq!(counters.call(1, "a".to_owned(), 2, Duration::from_secs(60), 61), Ok(()));
    }
}
