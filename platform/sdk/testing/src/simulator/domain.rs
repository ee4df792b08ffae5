//! A small domain: purses that never go below zero, and transfers between them, a process manager. Its old version
//! knows no labels.

use serde::{Deserialize, Serialize};
use skein_core::{
    Aggregate, Command, Context, Contract, Decision, Handle, IdError, Never, Outgoing, Partitioning, Personal,
    Projection, Publication, Reaction, Rejection, Source, TopList, Touch,
};

/// The service's name.
pub const SERVICE: &str = "bank";
/// The tables of the service.
pub const TABLES: [&str; 8] = ["events", "faults", "persons", "reactions", "generations", "purses", "owners", "rich"];

/// What all that is personal begins with, so that it can be searched for.
pub(crate) const SECRET: &str = "Zenobia";

/// A person's contact.
pub(crate) fn secret(person: &str) -> String {
    format!("{SECRET} alias {person}, {person}@palmyra.example")
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub owner: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Deposited {
    pub coins: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Withdrawn {
    pub coins: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PaymentRefused {
    pub transfer: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Labelled {
    pub label: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Signed {
    pub contact: Personal<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Forgotten {
    pub person: String,
}

skein_core::events! {
    pub(crate) enum PurseEvent {
        Opened(Opened) = ("PurseOpened", 1),
        Deposited(Deposited) = ("CoinsDeposited", 1),
        Withdrawn(Withdrawn) = ("CoinsWithdrawn", 1),
        Refused(PaymentRefused) = ("PaymentRefused", 1),
        Labelled(Labelled) = ("PurseLabelled", 1),
        Signed(Signed) = ("PurseSigned", 1),
        Forgotten(Forgotten) = ("PersonForgotten", 1),
    }
}

skein_core::events! {
    pub(crate) enum OldPurseEvent {
        Opened(Opened) = ("PurseOpened", 1),
        Deposited(Deposited) = ("CoinsDeposited", 1),
        Withdrawn(Withdrawn) = ("CoinsWithdrawn", 1),
        Refused(PaymentRefused) = ("PaymentRefused", 1),
    }
}

/// What a transfer needs to know of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    Paid,
    Refused,
    Received,
}

/// The balance after a change, published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BalanceChanged {
    pub owner: String,
    pub coins: i64,
    pub delta: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<(String, Step)>,
}

impl Contract for BalanceChanged {
    const TYPE: &'static str = "bank.BalanceChanged";
    const CATEGORY: &'static str = "purse";
}

/// The label as new code publishes it, and who signed last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LabelSet {
    pub label: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Personal<String>>,
}

/// The fact that a person's key is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PersonForgotten {
    pub person: String,
}

impl Contract for PersonForgotten {
    const TYPE: &'static str = "bank.PersonForgotten";
    const CATEGORY: &'static str = "purse";
}

impl Contract for LabelSet {
    const TYPE: &'static str = "bank.LabelSet";
    const VERSION: u32 = 2;
    const CATEGORY: &'static str = "purse";
}

/// The label as old code knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OldLabelSet {
    pub label: i64,
}

impl Contract for OldLabelSet {
    const TYPE: &'static str = "bank.LabelSet";
    const CATEGORY: &'static str = "purse";
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TransferEnded {
    pub coins: i64,
}

impl Contract for TransferEnded {
    const TYPE: &'static str = "bank.TransferEnded";
    const CATEGORY: &'static str = "transfer";
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the purse is open already")]
    Open,
    #[error("the purse is not open")]
    NotOpen,
    #[error("there are {0} coins only")]
    TooFew(i64),
    #[error("the transfer was started before")]
    Started,
}

impl Rejection for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Refusal::Open => "ALREADY_OPEN",
            Refusal::NotOpen => "NOT_OPEN",
            Refusal::TooFew(_) => "TOO_FEW_COINS",
            Refusal::Started => "ALREADY_STARTED",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Open {
    pub owner: String,
    pub coins: i64,
}

impl Command for Open {
    const TYPE: &'static str = "OpenPurse";
    const CREATES: bool = true;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Deposit {
    pub coins: i64,
}

impl Command for Deposit {
    const TYPE: &'static str = "Deposit";
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Withdraw {
    pub coins: i64,
}

impl Command for Withdraw {
    const TYPE: &'static str = "Withdraw";
}

/// A no-op that replies with the state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Look {}

impl Command for Look {
    const TYPE: &'static str = "Look";
}

/// Known to new code only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Label {
    pub label: String,
}

impl Command for Label {
    const TYPE: &'static str = "Label";
}

/// Known to new code only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sign {
    pub contact: Personal<String>,
}

impl Command for Sign {
    const TYPE: &'static str = "Sign";
}

/// Known to new code only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Forget {
    pub person: String,
}

impl Command for Forget {
    const TYPE: &'static str = "Forget";
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pay {
    pub transfer: String,
    pub coins: i64,
}

impl Command for Pay {
    const TYPE: &'static str = "Pay";
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Receive {
    pub transfer: String,
    pub coins: i64,
}

impl Command for Receive {
    const TYPE: &'static str = "Receive";
}

macro_rules! purse {
    ($name:ident, $event:ident $(, $labelled:ident, $signed:ident, $forgotten:ident)?) => {
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        pub(crate) struct $name {
            pub owner: String,
            pub coins: i64,
            pub changes: u64,
            #[serde(default)]
            pub label: String,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub contact: Option<Personal<String>>,
        }

        impl Aggregate for $name {
            const CATEGORY: &'static str = "purse";
            type Event = $event;

            fn evolve(&mut self, event: &$event) {
                self.changes += 1;
                match event {
                    $event::Opened(opened) => self.owner.clone_from(&opened.owner),
                    $event::Deposited(deposited) => self.coins += deposited.coins,
                    $event::Withdrawn(withdrawn) => self.coins -= withdrawn.coins,
                    $event::Refused(_) => {}
                    $(
                        $event::$labelled(labelled) => self.label.clone_from(&labelled.label),
                        $event::$signed(signed) => self.contact = Some(signed.contact.clone()),
                        $event::$forgotten(_) => {}
                    )?
                }
            }

            fn publish(&self, event: &$event) -> Option<Publication> {
                let (delta, transfer) = match event {
                    // Opening is private: integration events are numbered on their own.
                    $event::Opened(_) => return None,
                    $event::Deposited(change) => (change.coins, change.transfer.clone().map(|id| (id, Step::Received))),
                    $event::Withdrawn(change) => (-change.coins, change.transfer.clone().map(|id| (id, Step::Paid))),
                    $event::Refused(refused) => (0, Some((refused.transfer.clone(), Step::Refused))),
                    $(
                        $event::$labelled(labelled) => {
                            return Some(Publication::of(&LabelSet { label: labelled.label.clone(), contact: None }));
                        }
                        $event::$signed(signed) => {
                            let contact = Some(signed.contact.clone());
                            return Some(Publication::of(&LabelSet { label: self.label.clone(), contact }));
                        }
                        $event::$forgotten(forgotten) => {
                            return Some(Publication::of(&PersonForgotten { person: forgotten.person.clone() }));
                        }
                    )?
                };
                let owner = if self.owner.is_empty() { "nobody".to_owned() } else { self.owner.clone() };
                Some(Publication::of(&BalanceChanged { owner, coins: self.coins, delta, transfer }))
            }
        }

        impl Handle<Open> for $name {
            type Error = Refusal;
            type Reply = String;

            fn decide(&self, command: &Open, cx: &Context) -> Result<Decision<Self, String>, Refusal> {
                if !self.owner.is_empty() {
                    return Err(Refusal::Open);
                }
                let decision = Decision::reply(cx.new_id(0).to_string()).event(Opened { owner: command.owner.clone() });
                Ok(if command.coins > 0 {
                    decision.event(Deposited { coins: command.coins, transfer: None })
                } else {
                    decision
                })
            }
        }

        impl Handle<Deposit> for $name {
            type Error = Refusal;
            type Reply = i64;

            fn decide(&self, command: &Deposit, _: &Context) -> Result<Decision<Self, i64>, Refusal> {
                if self.owner.is_empty() {
                    return Err(Refusal::NotOpen);
                }
                let decision = Decision::reply(self.coins + command.coins);
                Ok(if command.coins == 0 {
                    decision
                } else {
                    decision.event(Deposited { coins: command.coins, transfer: None })
                })
            }
        }

        impl Handle<Withdraw> for $name {
            type Error = Refusal;
            type Reply = i64;

            fn decide(&self, command: &Withdraw, _: &Context) -> Result<Decision<Self, i64>, Refusal> {
                if self.coins < command.coins {
                    return Err(Refusal::TooFew(self.coins));
                }
                let left = self.coins - command.coins;
                Ok(Decision::reply(left).event(Withdrawn { coins: command.coins, transfer: None }))
            }
        }

        impl Handle<Look> for $name {
            type Error = Never;
            type Reply = Self;

            fn decide(&self, _: &Look, _: &Context) -> Result<Decision<Self, Self>, Never> {
                Ok(Decision::reply(self.clone()))
            }
        }

        impl Handle<Pay> for $name {
            type Error = Never;
            type Reply = ();

            fn decide(&self, command: &Pay, _: &Context) -> Result<Decision<Self, ()>, Never> {
                let transfer = command.transfer.clone();
                Ok(if self.coins < command.coins {
                    Decision::none().event(PaymentRefused { transfer })
                } else {
                    Decision::none().event(Withdrawn { coins: command.coins, transfer: Some(transfer) })
                })
            }
        }

        impl Handle<Receive> for $name {
            type Error = Never;
            type Reply = ();

            fn decide(&self, command: &Receive, _: &Context) -> Result<Decision<Self, ()>, Never> {
                let transfer = Some(command.transfer.clone());
                Ok(Decision::none().event(Deposited { coins: command.coins, transfer }))
            }
        }
    };
}

purse!(Purse, PurseEvent, Labelled, Signed, Forgotten);
purse!(OldPurse, OldPurseEvent);

impl Handle<Label> for Purse {
    type Error = Never;
    type Reply = ();

    fn decide(&self, command: &Label, _: &Context) -> Result<Decision<Self, ()>, Never> {
        Ok(Decision::none().event(Labelled { label: command.label.clone() }))
    }
}

impl Handle<Sign> for Purse {
    type Error = Refusal;
    type Reply = Personal<String>;

    fn decide(&self, command: &Sign, _: &Context) -> Result<Decision<Self, Personal<String>>, Refusal> {
        if self.owner.is_empty() {
            return Err(Refusal::NotOpen);
        }
        let contact = command.contact.clone();
        Ok(Decision::reply(contact.clone()).event(Signed { contact }))
    }
}

impl Handle<Forget> for Purse {
    type Error = Never;
    type Reply = ();

    fn decide(&self, command: &Forget, _: &Context) -> Result<Decision<Self, ()>, Never> {
        let person = command.person.clone();
        Ok(Decision::none().event(Forgotten { person: person.clone() }).erase(person))
    }
}

// The process manager.

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Started {
    pub from: String,
    pub to: String,
    pub coins: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Advanced {
    pub step: Step,
}

skein_core::events! {
    pub(crate) enum TransferEvent {
        Started(Started) = ("TransferStarted", 1),
        Advanced(Advanced) = ("TransferAdvanced", 1),
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub from: String,
    pub to: String,
    pub coins: i64,
    pub step: Option<Step>,
}

impl Aggregate for Transfer {
    const CATEGORY: &'static str = "transfer";
    type Event = TransferEvent;

    fn evolve(&mut self, event: &TransferEvent) {
        match event {
            TransferEvent::Started(started) => {
                self.from.clone_from(&started.from);
                self.to.clone_from(&started.to);
                self.coins = started.coins;
            }
            TransferEvent::Advanced(advanced) => self.step = Some(advanced.step),
        }
    }

    fn publish(&self, _: &TransferEvent) -> Option<Publication> {
        let coins = match self.step {
            Some(Step::Received) => self.coins,
            Some(Step::Refused) => 0,
            _ => return None,
        };
        Some(Publication::of(&TransferEnded { coins }))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Start {
    pub from: String,
    pub to: String,
    pub coins: i64,
}

impl Command for Start {
    const TYPE: &'static str = "StartTransfer";
    const CREATES: bool = true;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Note {
    pub step: Step,
}

impl Command for Note {
    const TYPE: &'static str = "NoteStep";
}

impl Handle<Start> for Transfer {
    type Error = Refusal;
    type Reply = ();

    fn decide(&self, command: &Start, cx: &Context) -> Result<Decision<Self, ()>, Refusal> {
        if !self.from.is_empty() {
            return Err(Refusal::Started);
        }
        let Start { from, to, coins } = command.clone();
        let pay = Pay { transfer: cx.aggregate.id().to_owned(), coins };
        let pay = Outgoing::to::<Purse, _>(&from, &pay).expect("a purse's name is a valid id");
        Ok(Decision::none().event(Started { from, to, coins }).send(pay))
    }
}

impl Handle<Note> for Transfer {
    type Error = Never;
    type Reply = ();

    fn decide(&self, command: &Note, cx: &Context) -> Result<Decision<Self, ()>, Never> {
        let decision = Decision::none();
        let step = command.step;
        Ok(match (self.step, step) {
            (None, Step::Paid) => {
                let receive = Receive { transfer: cx.aggregate.id().to_owned(), coins: self.coins };
                let receive = Outgoing::to::<Purse, _>(&self.to, &receive).expect("a purse's name is a valid id");
                decision.event(Advanced { step }).send(receive)
            }
            (None, Step::Refused) | (Some(Step::Paid), Step::Received) => decision.event(Advanced { step }),
            _ => decision,
        })
    }
}

// The read side.

skein_core::contracts! {
    pub(crate) enum Balances { Balance(BalanceChanged) }
}

skein_core::contracts! {
    pub(crate) enum PurseFacts { Balance(BalanceChanged), Label(LabelSet) }
}

skein_core::contracts! {
    pub(crate) enum OldPurseFacts { Balance(BalanceChanged), Label(OldLabelSet) }
}

skein_core::contracts! {
    pub(crate) enum BankFacts { Balance(BalanceChanged), Ended(TransferEnded) }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PurseRow {
    pub coins: i64,
    pub total: i64,
    pub events: u64,
    pub label: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Personal<String>>,
}

impl PurseRow {
    fn after(self, balance: &BalanceChanged) -> Self {
        PurseRow { coins: balance.coins, total: self.total + balance.delta, events: self.events + 1, ..self }
    }
}

/// A purse by id, one source a partition.
pub(crate) struct Purses;

impl Projection for Purses {
    const NAME: &'static str = "purses";
    const TABLE: &'static str = "purses";
    const PARTITIONING: Partitioning = Partitioning::OneSource;
    type Event = PurseFacts;
    type Row = PurseRow;

    fn touches(_: &PurseFacts, source: &Source) -> Vec<Touch> {
        vec![Touch::new(source.aggregate.id(), "purse")]
    }

    fn apply(row: Option<PurseRow>, event: &PurseFacts, _: &Touch, _: &Source) -> Option<PurseRow> {
        let row = row.unwrap_or_default();
        Some(match event {
            PurseFacts::Balance(balance) => row.after(balance),
            PurseFacts::Label(LabelSet { label, contact }) => PurseRow {
                events: row.events + 1,
                label: label.clone(),
                contact: contact.clone().or(row.contact),
                ..row
            },
        })
    }
}

/// The same view in the old version of the code.
pub(crate) struct OldPurses;

impl Projection for OldPurses {
    const NAME: &'static str = Purses::NAME;
    const TABLE: &'static str = Purses::TABLE;
    const PARTITIONING: Partitioning = Purses::PARTITIONING;
    type Event = OldPurseFacts;
    type Row = PurseRow;

    fn touches(_: &OldPurseFacts, source: &Source) -> Vec<Touch> {
        vec![Touch::new(source.aggregate.id(), "purse")]
    }

    fn apply(row: Option<PurseRow>, event: &OldPurseFacts, _: &Touch, _: &Source) -> Option<PurseRow> {
        let row = row.unwrap_or_default();
        Some(match event {
            OldPurseFacts::Balance(balance) => row.after(balance),
            OldPurseFacts::Label(label) => PurseRow { events: row.events + 1, label: label.label.to_string(), ..row },
        })
    }
}

/// All purses of an owner with a sum, many sources a partition; an empty purse leaves.
pub(crate) struct Owners;

impl Projection for Owners {
    const NAME: &'static str = "owners";
    const TABLE: &'static str = "owners";
    const PARTITIONING: Partitioning = Partitioning::ManySources;
    type Event = BankFacts;
    type Row = PurseRow;

    fn touches(event: &BankFacts, source: &Source) -> Vec<Touch> {
        match event {
            BankFacts::Balance(balance) => vec![
                Touch::new(&balance.owner, format!("purse {}", source.aggregate.id())),
                Touch::new(&balance.owner, "all"),
                Touch::new("everybody", "all"),
            ],
            BankFacts::Ended(_) => vec![Touch::new("transfers", "ended")],
        }
    }

    fn apply(row: Option<PurseRow>, event: &BankFacts, touch: &Touch, _: &Source) -> Option<PurseRow> {
        let row = row.unwrap_or_default();
        match event {
            BankFacts::Balance(balance) if touch.row == "all" => Some(PurseRow { coins: 0, ..row.after(balance) }),
            BankFacts::Balance(balance) if balance.coins == 0 => None,
            // What a row that may leave counted before is forgotten.
            BankFacts::Balance(balance) => Some(PurseRow { events: 0, total: 0, ..row.after(balance) }),
            BankFacts::Ended(ended) => Some(PurseRow { total: row.total + ended.coins, events: row.events + 1, ..row }),
        }
    }
}

/// The richest purses.
pub(crate) struct Rich;

impl TopList for Rich {
    const NAME: &'static str = "rich";
    const TABLE: &'static str = "rich";
    const SHARDS: u16 = 2;
    const SIZE: usize = 2;
    type Event = Balances;

    fn score(Balances::Balance(balance): &Balances, _: &Source) -> Option<i64> {
        Some(balance.coins)
    }
}

/// Tells a transfer what became of its payments.
pub(crate) struct FollowPurses;

impl Reaction for FollowPurses {
    const NAME: &'static str = "follow-purses";
    type Event = Balances;

    fn react(Balances::Balance(balance): &Balances, _: &Source) -> Result<Vec<Outgoing>, IdError> {
        let Some((transfer, step)) = &balance.transfer else { return Ok(Vec::new()) };
        Ok(vec![Outgoing::to::<Transfer, _>(transfer, &Note { step: *step })?])
    }
}
