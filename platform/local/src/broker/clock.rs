//! Time as the broker sees it: the wall clock, or one that a test moves.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

/// A wait that a clock hands out.
pub type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The clock of the queue and topic engines. All locks, schedules and lifetimes are measured by it.
pub trait BrokerClock: Send + Sync + 'static {
    /// The current time, UTC.
    fn now(&self) -> OffsetDateTime;

    /// Ends once [`BrokerClock::now`] has reached `at`.
    fn wait_until(&self, at: OffsetDateTime) -> Waiting;
}

/// The wall clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl SystemClock {
    /// The wall clock, as the engines take it.
    pub fn shared() -> Arc<dyn BrokerClock> {
        Arc::new(SystemClock)
    }
}

impl BrokerClock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn wait_until(&self, at: OffsetDateTime) -> Waiting {
        Box::pin(async move {
            // Wakes at least hourly, so that a wall clock that was set forwards is noticed.
            while let Ok(left) = Duration::try_from(at - OffsetDateTime::now_utc()) {
                if left.is_zero() {
                    break;
                }
                tokio::time::sleep(left.min(Duration::from_secs(3600))).await;
            }
        })
    }
}

/// A clock that stands still until a test moves it.
#[cfg(test)]
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<tokio::sync::watch::Sender<OffsetDateTime>>);

#[cfg(test)]
impl ManualClock {
    /// Starts on 1 May 2024 at 10:00.
    #[allow(clippy::new_without_default, reason = "a clock's start is better seen")]
    pub fn new() -> ManualClock {
        let start = time::macros::datetime!(2024-05-01 10:00:00 UTC);
        ManualClock(Arc::new(tokio::sync::watch::Sender::new(start)))
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by);
    }
}

#[cfg(test)]
impl BrokerClock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        *self.0.borrow()
    }

    fn wait_until(&self, at: OffsetDateTime) -> Waiting {
        let mut time = self.0.subscribe();
        Box::pin(async move {
            if time.wait_for(|now| *now >= at).await.is_err() {
                // The clock is gone, so its time never comes.
                std::future::pending::<()>().await;
            }
        })
    }
}
