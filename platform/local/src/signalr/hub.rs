//! One hub: who is connected, who is in which group, and messages to them.
//!
//! A message is made once and shared by all who get it. It is put into every queue before the call that sends it
//! returns, under one lock, so that messages are in the same order in each. A client that does not keep up loses its
//! connection, and nobody else notices.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// The most messages that wait for one client.
const MAX_QUEUED: usize = 1000;
/// The most bytes that wait for one client, beyond a first message.
const MAX_QUEUED_BYTES: usize = 16 * 1024 * 1024;
/// How long a user stays in a group for which no time was said.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// From how many memberships of users on those that ended are looked for.
const SWEEP_AT: usize = 1024;

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client took too long to take its messages.
    Overflow,
    /// Somebody asked for it.
    Closed(Option<String>),
    /// The service ends.
    Stopped,
}

/// Where messages for one client go.
#[derive(Clone)]
pub(super) struct Outlet {
    queue: mpsc::Sender<Utf8Bytes>,
    queued: Arc<AtomicUsize>,
    ending: watch::Sender<Option<Ending>>,
}

/// Where the client's connection finds them.
pub(super) struct Inlet {
    pub(super) queue: mpsc::Receiver<Utf8Bytes>,
    queued: Arc<AtomicUsize>,
    pub(super) ending: watch::Receiver<Option<Ending>>,
}

/// The two ends of a client's queue.
pub(super) fn queue() -> (Outlet, Inlet) {
    let (sender, receiver) = mpsc::channel(MAX_QUEUED);
    let (ending, ended) = watch::channel(None);
    let queued = Arc::new(AtomicUsize::new(0));
    let outlet = Outlet { queue: sender, queued: queued.clone(), ending };
    (outlet, Inlet { queue: receiver, queued, ending: ended })
}

impl Outlet {
    /// Puts a message into the queue. Where it does not fit the connection ends.
    pub(super) fn send(&self, message: Utf8Bytes) -> bool {
        let size = message.len();
        let before = self.queued.fetch_add(size, Ordering::Relaxed);
        if (before > 0 && before + size > MAX_QUEUED_BYTES) || self.queue.try_send(message).is_err() {
            self.queued.fetch_sub(size, Ordering::Relaxed);
            self.end(Ending::Overflow);
            return false;
        }
        true
    }

    /// Ends the connection, if it does not end already.
    pub(super) fn end(&self, ending: Ending) {
        self.ending.send_if_modified(|now| {
            let first = now.is_none();
            if first {
                *now = Some(ending);
            }
            first
        });
    }
}

impl Inlet {
    /// Says that bytes wait no longer.
    pub(super) fn gone(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// To whom something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience<'a> {
    All,
    Connection(&'a str),
    User(&'a str),
    Group(&'a str),
}

type Id = Arc<str>;

struct Connection {
    user: Option<String>,
    outlet: Outlet,
    /// The groups that it is in by itself.
    groups: HashSet<String>,
}

#[derive(Default)]
struct Group {
    connections: HashSet<Id>,
    /// Users with the time at which each leaves.
    users: HashMap<String, Instant>,
}

#[derive(Default)]
struct State {
    connections: HashMap<Id, Connection>,
    /// The connections of each user.
    users: HashMap<String, HashSet<Id>>,
    groups: HashMap<String, Group>,
    /// The groups of each user, some of which may have ended.
    joined: HashMap<String, HashSet<String>>,
    memberships: usize,
    sweep_at: usize,
}

/// One hub of a service.
#[derive(Default)]
pub(super) struct Hub(Mutex<State>);

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client is there.
    pub(super) fn connect(&self, id: &str, user: Option<&str>, outlet: Outlet) {
        let mut state = self.state();
        let id: Id = id.into();
        if let Some(user) = user {
            state.users.entry(user.to_owned()).or_default().insert(id.clone());
        }
        state.connections.insert(id, Connection { user: user.map(str::to_owned), outlet, groups: HashSet::new() });
    }

    /// A client is gone.
    pub(super) fn disconnect(&self, id: &str) {
        self.state().disconnect(id);
    }

    /// Sends to everybody who is there, apart from some.
    pub(super) fn send(&self, audience: Audience<'_>, excluded: &[String], message: &Utf8Bytes) {
        let mut state = self.state();
        let mut slow: Vec<Id> = Vec::new();
        state.each(audience, excluded, |id, connection| {
            if !connection.outlet.send(message.clone()) {
                slow.push(id.clone());
            }
        });
        for id in slow {
            state.disconnect(&id);
        }
    }

    /// Ends connections.
    pub(super) fn close(&self, audience: Audience<'_>, excluded: &[String], ending: &Ending) {
        let mut state = self.state();
        let mut closed: Vec<Id> = Vec::new();
        state.each(audience, excluded, |id, connection| {
            connection.outlet.end(ending.clone());
            closed.push(id.clone());
        });
        for id in closed {
            state.disconnect(&id);
        }
    }

    /// Whether anybody is there.
    pub(super) fn reaches(&self, audience: Audience<'_>) -> bool {
        let mut found = false;
        self.state().each(audience, &[], |_, _| found = true);
        found
    }

    /// Puts a connection into a group; `false` where it is gone.
    pub(super) fn join(&self, group: &str, connection: &str) -> bool {
        self.state().join(group, connection)
    }

    /// Takes a connection out of a group, or out of all that it joined by itself; `false` where it is gone.
    pub(super) fn leave(&self, group: Option<&str>, connection: &str) -> bool {
        let mut state = self.state();
        let Some((id, found)) = state.connections.get_key_value(connection) else { return false };
        let id = id.clone();
        let groups: Vec<String> = match group {
            Some(group) => found.groups.get(group).cloned().into_iter().collect(),
            None => found.groups.iter().cloned().collect(),
        };
        for group in groups {
            state.leave(&group, &id);
        }
        true
    }

    /// Puts a user into a group, whose later connections are in it, too; with a time of zero only those that are there.
    pub(super) fn join_user(&self, group: &str, user: &str, lifetime: Option<Duration>) {
        let mut state = self.state();
        if lifetime == Some(Duration::ZERO) {
            let connections: Vec<Id> = state.users.get(user).into_iter().flatten().cloned().collect();
            for id in connections {
                state.join(group, &id);
            }
            return;
        }
        let now = Instant::now();
        if state.memberships >= state.sweep_at.max(SWEEP_AT) {
            state.sweep(now);
            state.sweep_at = 2 * state.memberships;
        }
        let until = now + lifetime.unwrap_or(LONGEST).min(LONGEST);
        let entry = state.groups.entry(group.to_owned()).or_default();
        if entry.users.insert(user.to_owned(), until).is_none() {
            state.memberships += 1;
        }
        state.joined.entry(user.to_owned()).or_default().insert(group.to_owned());
    }

    /// Takes a user, with all connections, out of a group or of all.
    pub(super) fn leave_user(&self, group: Option<&str>, user: &str) {
        let mut state = self.state();
        let groups: Vec<String> = match group {
            Some(group) => vec![group.to_owned()],
            None => state.joined.get(user).into_iter().flatten().cloned().collect(),
        };
        for group in &groups {
            state.leave_user(group, user);
        }
        // Those that joined by themselves leave, too.
        let connections: Vec<Id> = state.users.get(user).into_iter().flatten().cloned().collect();
        for id in connections {
            let own: Vec<String> = match (group, state.connections.get(&id)) {
                (Some(group), _) => vec![group.to_owned()],
                (None, Some(connection)) => connection.groups.iter().cloned().collect(),
                (None, None) => Vec::new(),
            };
            for group in own {
                state.leave(&group, &id);
            }
        }
    }

    /// Whether a user is in a group, connected or not.
    pub(super) fn is_member(&self, group: &str, user: &str) -> bool {
        let state = self.state();
        let until = state.groups.get(group).and_then(|group| group.users.get(user));
        until.is_some_and(|until| *until > Instant::now())
    }
}

impl State {
    fn each(&self, audience: Audience<'_>, excluded: &[String], mut then: impl FnMut(&Id, &Connection)) {
        let mut visit = |id: &Id| {
            if let Some(connection) = self.connections.get(id)
                && !excluded.iter().any(|one| **one == **id)
            {
                then(id, connection);
            }
        };
        match audience {
            Audience::All => self.connections.keys().for_each(visit),
            Audience::Connection(id) => {
                self.connections.get_key_value(id).into_iter().for_each(|(id, _)| visit(id));
            }
            Audience::User(user) => self.users.get(user).into_iter().flatten().for_each(visit),
            Audience::Group(group) => {
                let Some(group) = self.groups.get(group) else { return };
                group.connections.iter().for_each(&mut visit);
                let now = Instant::now();
                for (user, _) in group.users.iter().filter(|(_, until)| **until > now) {
                    let own = self.users.get(user).into_iter().flatten();
                    own.filter(|id| !group.connections.contains(*id)).for_each(&mut visit);
                }
            }
        }
    }

    fn disconnect(&mut self, id: &str) {
        let Some((id, connection)) = self.connections.remove_entry(id) else { return };
        if let Some(user) = connection.user
            && let Some(own) = self.users.get_mut(&user)
        {
            own.remove(&id);
            if own.is_empty() {
                self.users.remove(&user);
            }
        }
        for name in connection.groups {
            if let Some(group) = self.groups.get_mut(&name) {
                group.connections.remove(&id);
                self.forget_empty(&name);
            }
        }
    }

    fn join(&mut self, group: &str, id: &str) -> bool {
        let Some((id, _)) = self.connections.get_key_value(id) else { return false };
        let id = id.clone();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.groups.insert(group.to_owned());
        }
        self.groups.entry(group.to_owned()).or_default().connections.insert(id);
        true
    }

    fn leave(&mut self, group: &str, id: &str) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.groups.remove(group);
        }
        if let Some(found) = self.groups.get_mut(group) {
            found.connections.remove(id);
            self.forget_empty(group);
        }
    }

    fn leave_user(&mut self, group: &str, user: &str) {
        if let Some(found) = self.groups.get_mut(group)
            && found.users.remove(user).is_some()
        {
            self.memberships -= 1;
            self.forget_empty(group);
        }
        if let Some(joined) = self.joined.get_mut(user) {
            joined.remove(group);
            if joined.is_empty() {
                self.joined.remove(user);
            }
        }
    }

    fn forget_empty(&mut self, group: &str) {
        if self.groups.get(group).is_some_and(|group| group.connections.is_empty() && group.users.is_empty()) {
            self.groups.remove(group);
        }
    }

    /// Forgets the memberships that ended.
    fn sweep(&mut self, now: Instant) {
        let ended: Vec<(String, String)> = self
            .groups
            .iter()
            .flat_map(|(name, group)| {
                let ended = group.users.iter().filter(|(_, until)| **until <= now);
                ended.map(move |(user, _)| (name.clone(), user.clone()))
            })
            .collect();
        for (group, user) in ended {
            self.leave_user(&group, &user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn connect(hub: &Hub, id: &str, user: Option<&str>) -> Inlet {
        let (outlet, inlet) = queue();
        hub.connect(id, user, outlet);
        inlet
    }

    /// What waits for a client; taken.
    fn waiting(inlet: &mut Inlet) -> String {
        let mut all = String::new();
        while let Ok(message) = inlet.queue.try_recv() {
            inlet.gone(message.len());
            all.push_str(&message);
        }
        all
    }

    fn send(hub: &Hub, audience: Audience<'_>, text: &'static str) {
        hub.send(audience, &[], &Utf8Bytes::from_static(text));
    }

    #[tokio::test(start_paused = true)]
    async fn messages_reach_whom_they_are_for() {
        let hub = Hub::default();
        let (mut a1, mut a2) = (connect(&hub, "a1", Some("alice")), connect(&hub, "a2", Some("alice")));
        let (mut b, mut n) = (connect(&hub, "b", Some("bob")), connect(&hub, "n", None));
        hub.join_user("g", "alice", Some(60 * SECOND));
        // In the group in two ways, and yet once.
        assert!(hub.join("g", "a1"));
        assert!(hub.join("g", "n"));
        assert!(!hub.join("g", "gone"));
        send(&hub, Audience::Group("g"), "1");
        send(&hub, Audience::User("alice"), "2");
        send(&hub, Audience::Connection("b"), "3");
        hub.send(Audience::All, &["n".to_owned(), "a2".to_owned()], &Utf8Bytes::from_static("4"));
        send(&hub, Audience::Group("nobody"), "5");
        send(&hub, Audience::User("nobody"), "6");
        let all = [&mut a1, &mut a2, &mut b, &mut n].map(waiting);
        assert_eq!(all, ["124", "12", "34", "1"]);

        assert!(hub.leave(Some("g"), "a1") && !hub.leave(None, "gone"));
        send(&hub, Audience::Group("g"), "1");
        hub.leave_user(Some("g"), "alice");
        send(&hub, Audience::Group("g"), "2");
        let all = [&mut a1, &mut a2, &mut b, &mut n].map(waiting);
        assert_eq!(all, ["1", "1", "", "12"]);
        hub.disconnect("n");
        assert!(!hub.reaches(Audience::Group("g")) && !hub.reaches(Audience::Connection("n")));
        assert!(hub.state().groups.is_empty() && hub.state().joined.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_is_in_a_group_for_a_time_with_all_connections() {
        let hub = Hub::default();
        hub.join_user("g", "alice", Some(10 * SECOND));
        hub.join_user("g", "bob", Some(Duration::ZERO));
        assert!(hub.is_member("g", "alice") && !hub.is_member("g", "bob") && !hub.reaches(Audience::Group("g")));
        // A connection that comes later is in it, and so is its successor.
        let mut first = connect(&hub, "1", Some("alice"));
        assert!(hub.reaches(Audience::Group("g")));
        send(&hub, Audience::Group("g"), "a");
        hub.disconnect("1");
        let mut second = connect(&hub, "2", Some("alice"));
        send(&hub, Audience::Group("g"), "b");
        tokio::time::advance(5 * SECOND).await;
        hub.join_user("g", "alice", Some(10 * SECOND));
        tokio::time::advance(6 * SECOND).await;
        send(&hub, Audience::Group("g"), "c");
        tokio::time::advance(5 * SECOND).await;
        send(&hub, Audience::Group("g"), "d");
        assert_eq!((waiting(&mut first), waiting(&mut second)), ("a".to_owned(), "bc".to_owned()));
        assert!(!hub.is_member("g", "alice") && !hub.reaches(Audience::Group("g")));
        // Zero means those that are there.
        hub.join_user("h", "alice", Some(Duration::ZERO));
        let mut third = connect(&hub, "3", Some("alice"));
        send(&hub, Audience::Group("h"), "e");
        hub.leave_user(None, "alice");
        send(&hub, Audience::Group("h"), "f");
        assert_eq!((waiting(&mut second), waiting(&mut third)), ("e".to_owned(), String::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn memberships_that_ended_are_forgotten() {
        let hub = Hub::default();
        for n in 0..3 * SWEEP_AT {
            hub.join_user(&format!("g{n}"), "alice", Some(SECOND));
            if n % SWEEP_AT == SWEEP_AT - 1 {
                tokio::time::advance(SECOND).await;
            }
        }
        let state = hub.state();
        assert!(state.memberships <= SWEEP_AT, "{}", state.memberships);
        assert_eq!((state.groups.len(), state.joined["alice"].len()), (state.memberships, state.memberships));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_keep_up_loses_its_connection_and_nobody_else() {
        let hub = Hub::default();
        let (slow, mut quick) = (connect(&hub, "slow", Some("s")), connect(&hub, "quick", Some("q")));
        let mut got = 0;
        for _ in 0..=MAX_QUEUED {
            send(&hub, Audience::All, "x");
            got += waiting(&mut quick).len();
        }
        assert_eq!(*slow.ending.borrow(), Some(Ending::Overflow));
        assert_eq!((got, quick.ending.borrow().clone()), (MAX_QUEUED + 1, None));
        assert!(!hub.reaches(Audience::User("s")) && hub.reaches(Audience::User("q")));

        // By bytes, too; one message always fits.
        let large = Utf8Bytes::from("x".repeat(MAX_QUEUED_BYTES + 1));
        hub.send(Audience::All, &[], &large);
        assert_eq!(*quick.ending.borrow(), None);
        hub.send(Audience::All, &[], &Utf8Bytes::from_static("x"));
        assert_eq!(*quick.ending.borrow(), Some(Ending::Overflow));
        hub.close(Audience::All, &[], &Ending::Stopped);
        assert!(!hub.reaches(Audience::All));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_shared_by_all_who_get_it() {
        let hub = Hub::default();
        let mut inlets: Vec<Inlet> = (0..1000).map(|n| connect(&hub, &n.to_string(), Some(&format!("u{n}")))).collect();
        for n in 0..1000 {
            hub.join_user("g", &format!("u{n}"), None);
        }
        let message = Utf8Bytes::from("x".repeat(1000));
        hub.send(Audience::Group("g"), &[], &message);
        for inlet in &mut inlets {
            assert_eq!(inlet.queue.try_recv().unwrap().as_ptr(), message.as_ptr());
        }
    }
}
