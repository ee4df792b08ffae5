//! Every accident at every step: of one command, and of two that race.

use super::plan::{Ask, History, Plan, Schedule};
use super::run::{StoreOf, run};
use super::world::{Strike, WEATHER};

/// A script whose steps are all to be struck.
#[derive(Debug, Clone)]
pub struct Script {
    /// What it shows.
    pub name: String,
    plan: Plan,
    /// Accidents at the steps of the command side only.
    commands_only: bool,
}

/// All scripts: each kind of command alone, and pairs at one purse in both orders, with the second beginning after
/// each step of the first.
pub fn scripts() -> Vec<Script> {
    let purse = || "p0".to_owned();
    let open = || Ask::Open(purse(), 3);
    let deposit = || Ask::Deposit(purse(), 5);
    let withdraw = || Ask::Withdraw(purse(), 8);
    let transfer = |id: &str| Ask::Transfer(id.to_owned(), purse(), "p1".to_owned(), 7);
    let one = |name: &str, history, ask| Script {
        name: name.to_owned(),
        plan: Plan::script(history, [ask]),
        commands_only: false,
    };
    let mut all = vec![
        one("a creating command", History::Nothing, open()),
        one("a deposit", History::Opened, deposit()),
        one("a withdrawal", History::Opened, withdraw()),
        one("a rejection", History::Opened, Ask::Withdraw(purse(), 11)),
        one("a no-op", History::Opened, Ask::Look(purse())),
        one("a rejection by nobody", History::Nothing, deposit()),
        one("a transfer", History::Opened, transfer("t0")),
        one("a refused transfer", History::Opened, Ask::Transfer("t0".to_owned(), purse(), "p1".to_owned(), 70)),
        one("a commit before a snapshot", History::BeforeSnapshot, deposit()),
    ];
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
                plan.schedule = Schedule::Script { switch: Some(FIRST_WORK + switch), reversed, strike: None };
                let name = format!("{name}, {} first, then at step {switch} the other", if reversed { 2 } else { 1 });
                all.push(Script { name, plan, commands_only: true });
            }
        }
    }
    all
}

/// Two clients, three timers each for their workers and for themselves: about here the workers begin.
const FIRST_WORK: usize = 9;

impl Script {
    /// The plan without an accident, and one for each accident at each step.
    pub fn plans(&self, store: StoreOf<'_>) -> Vec<Plan> {
        let calm = run(&self.plan, store);
        let mut plans = vec![self.plan.clone()];
        let steps: Vec<(usize, &'static [Strike])> = calm.possible;
        let last = if self.commands_only { 40 } else { usize::MAX };
        for (step, own) in steps.into_iter().take_while(|(step, _)| *step < last) {
            for strike in own.iter().chain(&WEATHER) {
                let mut plan = self.plan.clone();
                if let Schedule::Script { strike: struck, .. } = &mut plan.schedule {
                    *struck = Some((step, *strike));
                }
                plans.push(plan);
            }
        }
        plans
    }
}
