//! What a run is: processes, what clients ask for, and who decides what happens next.

use std::time::Duration;

use super::chance::Chance;
use super::sabotage::Sabotage;
use super::world::{STRIKES, Strike};

/// Which version of the code a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// The one that knows no labels. It is replaced after two minutes.
    Old,
    /// The current one.
    New,
}

/// What the store holds at the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// Nothing.
    Nothing,
    /// Purses that were opened with ten coins each.
    Opened,
    /// The same, with so many deposits behind them that the next but one takes a snapshot.
    BeforeSnapshot,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Open a purse with coins.
    Open(String, i64),
    /// Deposit coins.
    Deposit(String, i64),
    /// Withdraw coins.
    Withdraw(String, i64),
    /// Look at a purse: a no-op.
    Look(String),
    /// Label a purse, which old code does not know.
    Label(String),
    /// Put a person's contact, sealed, on a purse. Old code does not know it.
    Sign(String, String),
    /// Erase a person, by an event of a purse. Old code does not know it.
    Forget(String, String),
    /// Transfer coins, by the transfer's id, from one purse to another.
    Transfer(String, String, String, i64),
}

/// One client.
#[derive(Debug, Clone)]
pub struct Client {
    /// When it begins, in milliseconds.
    pub start: u64,
    /// Its key for retries.
    pub key: String,
    /// What it asks for.
    pub ask: Ask,
    /// How long it waits for the outcome, in milliseconds.
    pub wait: Option<u64>,
    /// Whether it asks again, with the same key, once it has an answer.
    pub again: bool,
}

/// A message that can never be handled.
#[derive(Debug, Clone)]
pub enum Poison {
    /// No envelope at all, in the session of a purse.
    Garbage(String),
    /// An envelope with a payload of another shape.
    Payload(String),
    /// The id of a client's command with another payload; the first to be decided wins.
    Clash(usize),
    /// No CloudEvent, in the events queue.
    Event,
}

/// Who decides what happens next.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// The seed: any order, with accidents of these kinds, at most so many, one in `odds` steps.
    Random {
        /// The kinds.
        strikes: Vec<Strike>,
        /// How many at most.
        budget: usize,
        /// How rare they are.
        odds: usize,
    },
    /// A script: one process after the other, with one accident at one step.
    Script {
        /// At this step the second command worker comes before the first.
        switch: Option<usize>,
        /// Whether the second worker comes first at the beginning.
        reversed: bool,
        /// Whether the workers take turns: one command each, so that each remembers what the other has changed.
        alternate: bool,
        /// The accident.
        strike: Option<(usize, Strike)>,
    },
}

/// A time in which the topic takes nothing and delivers nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When it begins.
    pub from: Duration,
    /// How long it lasts.
    pub lasts: Duration,
}

impl Outage {
    /// When the topic is there again.
    pub fn end(self) -> Duration {
        self.from + self.lasts
    }

    pub(crate) fn holds(self, now: Duration) -> bool {
        self.from <= now && now < self.end()
    }
}

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Says all that is random.
    pub seed: u64,
    /// The command workers.
    pub workers: Vec<Era>,
    /// How many sessions a worker handles at once.
    pub lanes: usize,
    /// The workers of the events queue.
    pub viewers: Vec<Era>,
    /// How many events each handles at once.
    pub viewer_lanes: usize,
    /// What was before.
    pub history: History,
    /// The clients.
    pub clients: Vec<Client>,
    /// Messages that can never be handled.
    pub poison: Vec<Poison>,
    /// A view that is made anew, and after how many seconds that begins.
    pub rebuild: Option<(String, u64)>,
    /// Whether the lock of a session holds. If not, its messages are handled at once, as after lost locks.
    pub sessions: bool,
    /// Who decides what happens next.
    pub schedule: Schedule,
    /// When the topic is away, beside all accidents.
    pub outage: Option<Outage>,
    /// The planted fault, if any.
    pub sabotage: Option<Sabotage>,
    /// Whether every step is written down as text.
    pub traced: bool,
}

/// The purses that a history knows.
pub(crate) const PURSES: [&str; 3] = ["p0", "p1", "p2"];

impl Plan {
    /// The random plan of a seed: two to six commands, any processes, any accidents.
    pub fn random(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x5EED_0F5C_4ED0_1E50);
        let purses = 1 + chance.below(PURSES.len());
        let purse = |chance: &mut Chance| PURSES[chance.below(purses)].to_owned();
        let history = match chance.below(8) {
            0 => History::BeforeSnapshot,
            1 | 2 => History::Nothing,
            _ => History::Opened,
        };
        let two_versions = chance.one_in(4);
        let mut clients: Vec<Client> = Vec::new();
        if history == History::Nothing {
            clients.push(Client::new("open", Ask::Open(PURSES[0].to_owned(), 5)));
        }
        let count = 2 + chance.below(5);
        while clients.len() < count {
            let n = clients.len();
            let coins = i64::try_from(chance.below(9)).unwrap_or(0);
            let ask = match chance.below(12) {
                0 => Ask::Open(purse(&mut chance), coins),
                1..=3 => Ask::Deposit(purse(&mut chance), coins),
                4..=6 => Ask::Withdraw(purse(&mut chance), coins + 2),
                7 => Ask::Look(purse(&mut chance)),
                8 => Ask::Label(purse(&mut chance)),
                9 if n > 0 => {
                    // The key of another client, with the same or another command.
                    let mut twin = clients[chance.below(n)].clone();
                    if chance.one_in(2) {
                        twin.ask = Ask::Deposit(purse(&mut chance), 100);
                    }
                    twin.start = chance.below(3) as u64 * 400;
                    clients.push(twin);
                    continue;
                }
                _ => Ask::Transfer(format!("t{n}"), purse(&mut chance), purse(&mut chance), coins + 1),
            };
            let mut client = Client::new(&format!("k{n}"), ask);
            client.start = chance.of(&[0, 0, 0, 5, 900]);
            client.wait = chance.of(&[None, Some(120), Some(1_500)]);
            client.again = chance.one_in(4);
            clients.push(client);
        }
        let mut poison = Vec::new();
        if chance.one_in(8) {
            poison.push(match chance.below(4) {
                0 => Poison::Garbage(purse(&mut chance)),
                1 => Poison::Payload(purse(&mut chance)),
                2 => Poison::Clash(chance.below(clients.len())),
                _ => Poison::Event,
            });
        }
        personal_asks(seed, &mut clients);
        let era = |chance: &mut Chance| if two_versions && chance.one_in(2) { Era::Old } else { Era::New };
        let workers = (0..=chance.below(3)).map(|_| era(&mut chance)).collect();
        let viewers = (0..=chance.below(2)).map(|_| era(&mut chance)).collect();
        // A swarm: each run knows half of the accidents.
        let strikes = STRIKES.iter().copied().filter(|_| chance.one_in(2)).collect();
        let (budget, odds) = (chance.below(7), chance.of(&[8, 25, 80]));
        // By chances of their own, so that a seed's other accidents stay what they were.
        let mut rarely = Chance::new(seed ^ 0x00EB_111D_00EB_111D);
        let view = rarely.of(&["purses", "owners", "rich"]).to_owned();
        let rebuild = rarely.one_in(6).then(|| (view, rarely.of(&[0, 1, 5, 60])));
        Plan {
            seed,
            workers,
            lanes: 1 + chance.below(2),
            viewers,
            viewer_lanes: 1 + chance.below(3),
            history,
            clients,
            poison,
            rebuild,
            sessions: !chance.one_in(6),
            schedule: Schedule::Random { strikes, budget, odds },
            outage: None,
            sabotage: None,
            traced: false,
        }
    }

    /// The topic is away for ten minutes while so many clients go on asking, before, meanwhile and afterwards; no other
    /// accident happens.
    pub fn outage(seed: u64, clients: usize) -> Self {
        let mut chance = Chance::new(seed);
        let purse = |chance: &mut Chance| chance.of(&PURSES).to_owned();
        let client = |n: usize| {
            let coins = 1 + i64::try_from(chance.below(5)).unwrap_or(0);
            let ask = match chance.below(6) {
                0 | 1 => Ask::Deposit(purse(&mut chance), coins),
                2 => Ask::Withdraw(purse(&mut chance), coins),
                3 => Ask::Look(purse(&mut chance)),
                _ => Ask::Transfer(format!("t{n}"), purse(&mut chance), purse(&mut chance), coins),
            };
            let start = chance.below(700_000) as u64;
            Client { start, wait: chance.of(&[None, Some(1_500)]), ..Client::new(&format!("k{n}"), ask) }
        };
        Plan {
            seed,
            lanes: 4,
            viewers: vec![Era::New, Era::New],
            viewer_lanes: 4,
            clients: (0..clients).map(client).collect(),
            schedule: Schedule::Random { strikes: Vec::new(), budget: 0, odds: 1 },
            outage: Some(Outage { from: Duration::from_secs(60), lasts: Duration::from_secs(600) }),
            ..Plan::script(History::Opened, [])
        }
    }

    /// A plan without accidents, one step after the other, for the commands.
    pub fn script(history: History, asks: impl IntoIterator<Item = Ask>) -> Self {
        let client = |(n, ask)| Client::new(&format!("k{n}"), ask);
        Plan {
            seed: 0,
            workers: vec![Era::New, Era::New],
            lanes: 1,
            viewers: vec![Era::New],
            viewer_lanes: 1,
            history,
            clients: asks.into_iter().enumerate().map(client).collect(),
            poison: Vec::new(),
            rebuild: None,
            sessions: true,
            schedule: Schedule::Script { switch: None, reversed: false, alternate: false, strike: None },
            outage: None,
            sabotage: None,
            traced: false,
        }
    }
}

/// In one run of five somebody signs a purse and is erased; the signature may come again later, as a retry and anew.
fn personal_asks(seed: u64, clients: &mut Vec<Client>) {
    // By chances of their own, so that all other seeds stay what they were.
    let mut chance = Chance::new(seed ^ 0x0005_EA1E_D000_5EA1);
    if !chance.one_in(5) {
        return;
    }
    let (purse, person) = (chance.of(&PURSES).to_owned(), chance.of(&["ann", "bob"]).to_owned());
    let sign = Ask::Sign(purse.clone(), person.clone());
    let mut add = |key: &str, ask: Ask, start: u64, wait: Option<u64>| {
        clients.push(Client { start, wait, ..Client::new(key, ask) });
    };
    add("signature", sign.clone(), chance.of(&[0, 5, 900]), chance.of(&[None, Some(1_500)]));
    if !chance.one_in(5) {
        add("erasure", Ask::Forget(purse, person), chance.of(&[0, 900, 5_000, 60_000]), None);
    }
    if chance.one_in(2) {
        add("signature", sign.clone(), chance.of(&[1_000, 30_000, 400_000]), Some(1_500));
    }
    if !chance.one_in(3) {
        add("another signature", sign, chance.of(&[1_000, 10_000, 120_000]), None);
    }
}

impl Client {
    pub(crate) fn new(key: &str, ask: Ask) -> Self {
        Client { start: 0, key: key.to_owned(), ask, wait: None, again: false }
    }
}
