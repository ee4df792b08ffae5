//! Every accident at every step: of one command, and of two that race.

use super::plan::{Ask, Era, History, Plan, Schedule};
use super::run::{Stack, run};
use super::world::{Strike, WEATHER};

/// A script whose steps are all to be struck.
#[derive(Debug, Clone)]
pub struct Script {
    /// What it shows.
    pub name: String,
    plan: Plan,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Every accident at every step.
    All,
    /// Every accident at every step of the command side.
    Commands,
    /// The lock is lost at one step, and the other worker goes first from each later one.
    Locks,
}

/// After so many steps the command side of two racing commands is done.
const RACE: usize = 40;
/// For so many steps after a lost lock the other worker waits before it goes first.
const OVERTAKING: usize = 12;

/// All scripts: each kind of command alone, on a stale cache, beside older code and with two workers at once; and pairs
/// at one purse in both orders, with the second beginning after each step of the first.
pub fn scripts() -> Vec<Script> {
    let purse = || "p0".to_owned();
    let open = || Ask::Open(purse(), 3);
    let deposit = || Ask::Deposit(purse(), 5);
    let withdraw = || Ask::Withdraw(purse(), 8);
    let transfer = |id: &str| Ask::Transfer(id.to_owned(), purse(), "p1".to_owned(), 7);
    let of = |name: &str, kind, plan| Script { name: name.to_owned(), plan, kind };
    let alone = [
        ("a creating command", History::Nothing, open()),
        ("a deposit", History::Opened, deposit()),
        ("a withdrawal", History::Opened, withdraw()),
        ("a rejection", History::Opened, Ask::Withdraw(purse(), 11)),
        ("a no-op", History::Opened, Ask::Look(purse())),
        ("a rejection by nobody", History::Nothing, deposit()),
        ("a transfer", History::Opened, transfer("t0")),
        ("a refused transfer", History::Opened, Ask::Transfer("t0".to_owned(), purse(), "p1".to_owned(), 70)),
        ("a commit before a snapshot", History::BeforeSnapshot, deposit()),
    ];
    let mut all = Vec::new();
    for (name, history, ask) in alone {
        let plan = Plan::script(history, [ask]);
        all.push(of(name, Kind::All, plan.clone()));
        all.push(of(&format!("{name} by two workers at once"), Kind::Locks, plan));
    }
    // The first worker remembers what the second has changed since.
    let stale = [
        ("a deposit", deposit()),
        ("a withdrawal of what is not there any more", Ask::Withdraw(purse(), 8)),
        ("a no-op", Ask::Look(purse())),
        ("a rejection", Ask::Withdraw(purse(), 100)),
    ];
    for (name, ask) in stale {
        let mut plan = Plan::script(History::Opened, [Ask::Look(purse()), Ask::Withdraw(purse(), 4), ask]);
        for (n, client) in plan.clients.iter_mut().enumerate() {
            client.start = n as u64 * 10_000;
        }
        plan.schedule = Schedule::Script { switch: None, reversed: false, alternate: true, strike: None };
        all.push(of(&format!("{name} on a stale cache"), Kind::All, plan));
    }
    // A contact, its erasure, the retry of the first that comes too late, and a new contact.
    let person = || "ann".to_owned();
    let (sign, forget) = (Ask::Sign(purse(), person()), Ask::Forget(purse(), person()));
    let mut erasure = Plan::script(History::Opened, [sign.clone(), forget, sign.clone(), sign]);
    for (n, client) in erasure.clients.iter_mut().enumerate() {
        client.start = n as u64 * 10_000;
    }
    erasure.clients[2].key = erasure.clients[0].key.clone();
    all.push(of("an erasure, and a retry that comes after it", Kind::All, erasure.clone()));
    all.push(of("an erasure by two workers at once", Kind::Locks, erasure));
    // Old code does not know labels; it is replaced after two minutes.
    let versions = [
        ("a label, received by old code first", [Era::Old, Era::New], Era::New, vec![Ask::Label(purse())]),
        (
            "a deposit on a labelled purse, received by old code first",
            [Era::Old, Era::New],
            Era::New,
            vec![Ask::Label(purse()), deposit()],
        ),
        ("a label, shown by old code first", [Era::New, Era::New], Era::Old, vec![Ask::Label(purse()), deposit()]),
        ("a deposit by old code", [Era::Old, Era::New], Era::Old, vec![deposit()]),
    ];
    for (name, workers, viewer, asks) in versions {
        let mut plan = Plan::script(History::Opened, asks);
        (plan.workers, plan.viewers) = (workers.to_vec(), vec![viewer, Era::New]);
        all.push(of(name, Kind::All, plan));
    }
    let pairs = [
        ("two openings", History::Nothing, [open(), open()]),
        ("two withdrawals of too much together", History::Opened, [withdraw(), withdraw()]),
        ("a deposit and a withdrawal", History::Opened, [deposit(), Ask::Withdraw(purse(), 12)]),
        ("a deposit and a no-op", History::Opened, [deposit(), Ask::Look(purse())]),
        ("two deposits at a snapshot", History::BeforeSnapshot, [deposit(), Ask::Deposit(purse(), 6)]),
    ];
    for (name, history, asks) in pairs {
        for reversed in [false, true] {
            for switch in 0..16 {
                let mut plan = Plan::script(history, asks.clone());
                plan.sessions = false;
                let switched = Some(FIRST_WORK + switch);
                plan.schedule = Schedule::Script { switch: switched, reversed, alternate: false, strike: None };
                let first = if reversed { 2 } else { 1 };
                all.push(of(&format!("{name}, {first} first, then at step {switch} the other"), Kind::Commands, plan));
            }
        }
    }
    all
}

/// Two clients, three timers each for their workers and for themselves: about here the workers begin.
const FIRST_WORK: usize = 9;

impl Script {
    /// Whether two commands race.
    pub fn is_race(&self) -> bool {
        self.kind == Kind::Commands
    }

    /// The plan without an accident, and one for each accident at each step.
    pub fn plans(&self, stack: &dyn Stack) -> Vec<Plan> {
        let calm = run(&self.plan, stack);
        let mut plans = vec![self.plan.clone()];
        let last = if self.kind == Kind::All { usize::MAX } else { RACE };
        for (step, own) in calm.possible.into_iter().take_while(|(step, _)| *step < last) {
            if self.kind == Kind::Locks {
                plans.extend((0..OVERTAKING).map(|after| self.with(Some(step + after), step, Strike::LockLost)));
                continue;
            }
            plans.extend(own.iter().chain(&WEATHER).map(|strike| self.with(None, step, *strike)));
        }
        plans
    }

    fn with(&self, switched: Option<usize>, step: usize, accident: Strike) -> Plan {
        let mut plan = self.plan.clone();
        if let Schedule::Script { switch, strike, .. } = &mut plan.schedule {
            *strike = Some((step, accident));
            *switch = switched.or(*switch);
        }
        plan
    }
}
