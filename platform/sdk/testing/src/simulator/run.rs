//! Runs a plan: processes begin, are polled one at a time, die and begin again, until nothing is left to do.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use skein_core::handler::{CommandHandler, Delivery, Ports};
use skein_core::personal::KeyRing;
use skein_core::ports::{CommandQueue, EventBus, Message, TableStore};
use skein_core::republish::{RebuildMessage, Start as Begin};
use skein_core::submit::{Settled, Submission, SubmitError, Submitted, Submitter};
use skein_core::views::ViewsHandler;
use skein_core::{Aggregate, AggregateId, Command, CommandId, Envelope, Handle, Principal, Trace, encode_key};

use super::domain::{
    Deposit, FollowPurses, Forget, Label, Look, Note, OldPurse, OldPurses, Open, Owners, Pay, Purse, Purses, Receive,
    Rich, SERVICE, Sign, Start, Transfer, Withdraw, secret,
};
use super::history;
use super::plan::{Ask, Client, Era, Plan, Poison};
use super::ports::{ModelBroker, ModelClock, ModelStore, Ready, TaskWaker, Wire};
use super::rows::Rows;
use super::sabotage::{Sabotage, Sabotaged};
use super::world::{Answer, Channel, Effect, Remembered, Request, Said, Told, World};
use super::{Report, checks};
use crate::doubles::MemoryVault;

/// The id of the rebuild that a plan may ask for.
const REBUILD: &str = "rebuild";
/// How long old code stays beside the new one.
const ROLLOUT: Duration = Duration::from_secs(120);
/// How often a client asks again after an error, two seconds later each time: the tables may be away for ten minutes.
const PATIENCE: usize = 1_000;

thread_local! {
    static CURRENT: RefCell<Option<Wire>> = const { RefCell::new(None) };
}

/// The wire of the run that this thread is in: for a runtime that others ask for timers.
pub fn current() -> Option<Wire> {
    CURRENT.with_borrow(Clone::clone)
}

/// The adapters that the processes of a run share.
pub struct Adapters {
    /// The tables.
    pub store: Arc<dyn TableStore>,
    /// The command queue.
    pub queue: Arc<dyn CommandQueue>,
    /// The topic.
    pub bus: Arc<dyn EventBus>,
}

/// What stands between the engine and the world, and what keeps the world's rows.
pub trait Stack: Sync {
    /// The adapters of one run, on its wire.
    fn adapters(&self, wire: &Wire) -> Adapters;

    /// An empty store that keeps the rows of one run. Without one the model keeps them.
    fn rows(&self) -> Option<Arc<dyn TableStore>> {
        None
    }
}

/// Model adapters on a model of the tables.
#[derive(Debug, Clone, Copy, Default)]
pub struct Model;

impl Stack for Model {
    fn adapters(&self, wire: &Wire) -> Adapters {
        let broker = Arc::new(ModelBroker(wire.clone()));
        Adapters { store: Arc::new(ModelStore(wire.clone())), queue: broker.clone(), bus: broker }
    }
}

/// Runs the plan to its end and checks everything.
pub fn run(plan: &Plan, stack: &dyn Stack) -> Report {
    let past = history::of(plan.history);
    let mut world = World::new(plan, Rows::new(past.tables.clone(), stack.rows()));
    world.journal = past.journal.clone();
    let wire = Wire::new(world);
    CURRENT.set(Some(wire.clone()));
    let mut run = Run::new(plan, &wire, stack.adapters(&wire));
    run.go();
    // The tasks hold the wire: they go before it does.
    drop(run);
    CURRENT.set(None);
    report(plan, &past, &wire)
}

fn report(plan: &Plan, past: &history::Past, wire: &Wire) -> Report {
    let mut world = wire.world();
    world.rows.gather();
    checks::all(plan, &past.ledger, &mut world);
    Report {
        seed: plan.seed,
        steps: world.steps,
        digest: world.digest(),
        last_delivery: world.last_delivery,
        longest_wait: world.journal.longest_wait,
        dead_letters: world.commands.dead.len() + world.events.dead.len() + world.rebuild.dead.len(),
        violations: std::mem::take(&mut world.journal.violations),
        struck: std::mem::take(&mut world.struck),
        possible: std::mem::take(&mut world.possible),
        trace: std::mem::take(&mut world.trace),
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Process {
    role: Role,
    alive: bool,
}

#[derive(Clone, Copy)]
enum Role {
    Client(usize),
    Worker(Era),
    Viewer(Era),
}

struct Run<'a> {
    plan: &'a Plan,
    wire: Wire,
    store: Arc<dyn TableStore>,
    queue: Arc<dyn CommandQueue>,
    bus: Arc<dyn EventBus>,
    /// It never fails: what becomes of its keys is decided by the tables.
    vault: Arc<MemoryVault>,
    ready: Arc<Ready>,
    processes: Vec<Process>,
    tasks: Vec<Option<(usize, Task, Waker)>>,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, wire: &Wire, adapters: Adapters) -> Self {
        let Adapters { mut store, mut queue, mut bus } = adapters;
        if let Some(sabotage) = plan.sabotage {
            let sabotaged = Arc::new(Sabotaged::new(sabotage, store, queue, bus, wire.clone()));
            (store, queue, bus) = (sabotaged.clone(), sabotaged.clone(), sabotaged);
        }
        let roles = (0..plan.clients.len())
            .map(Role::Client)
            .chain(plan.workers.iter().copied().map(Role::Worker))
            .chain(plan.viewers.iter().copied().map(Role::Viewer));
        let processes: Vec<Process> = roles.map(|role| Process { role, alive: false }).collect();
        Run {
            plan,
            wire: wire.clone(),
            store,
            queue,
            bus,
            vault: Arc::default(),
            ready: Arc::new(Ready::default()),
            processes,
            tasks: Vec::new(),
        }
    }

    fn go(&mut self) {
        {
            let mut world = self.wire.world();
            world.clients = self.plan.clients.len();
            world.workers = self.plan.workers.len();
            for (n, process) in self.processes.iter().enumerate() {
                let (name, start) = match process.role {
                    Role::Client(client) => (format!("client {n}"), self.plan.clients[client].start),
                    Role::Worker(_) => (format!("worker {n}"), 0),
                    Role::Viewer(_) => (format!("viewer {n}"), 0),
                };
                world.names.push(name);
                world.at(Duration::from_millis(start), n);
                if matches!(process.role, Role::Worker(Era::Old) | Role::Viewer(Era::Old)) {
                    world.upgrade_at(ROLLOUT, n);
                }
            }
            if let Some((view, at)) = &self.plan.rebuild {
                let start = RebuildMessage::Start(Begin { view: view.clone(), id: REBUILD.to_owned(), due: 0 });
                let mut message = start.to_message(REBUILD.to_owned()).expect("plain data");
                message.not_before = Some(world.true_time() + Duration::from_secs(*at));
                world.enqueue(Channel::Rebuild, &message);
            }
            for (n, poison) in self.plan.poison.iter().enumerate() {
                put_poison(&mut world, n, poison, self.plan);
            }
        }
        loop {
            self.poll_all();
            let effect = self.wire.world().step();
            match effect {
                Effect::Went => {}
                Effect::Rest => break,
                Effect::Begin(process) => self.begin(process),
                Effect::Died(process) => self.end(process, true),
                Effect::Upgrade(process) => {
                    let role = &mut self.processes[process].role;
                    *role = match *role {
                        Role::Worker(_) => Role::Worker(Era::New),
                        Role::Viewer(_) => Role::Viewer(Era::New),
                        client @ Role::Client(_) => client,
                    };
                    // Dead already, it begins as the new one.
                    if self.processes[process].alive {
                        self.end(process, true);
                    }
                }
            }
        }
        self.tasks.clear();
    }

    fn poll_all(&mut self) {
        while let Some(n) = self.ready.pop() {
            let Some(Some((process, task, waker))) = self.tasks.get_mut(n) else { continue };
            self.wire.world().current = (*process, n);
            let waker = waker.clone();
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.tasks[n] = None;
            }
        }
    }

    fn spawn(&mut self, process: usize, task: impl Future<Output = ()> + Send + 'static) {
        let n = self.tasks.len();
        let waker = Waker::from(Arc::new(TaskWaker { ready: self.ready.clone(), task: n }));
        self.tasks.push(Some((process, Box::pin(task), waker)));
        self.ready.push(n);
    }

    fn end(&mut self, process: usize, again: bool) {
        self.processes[process].alive = false;
        for task in &mut self.tasks {
            if task.as_ref().is_some_and(|(of, ..)| *of == process) {
                *task = None;
            }
        }
        self.wire.world().forget(process, again);
    }

    fn ports(&self) -> Ports {
        Ports {
            shards: vec![self.store.clone()],
            queue: self.queue.clone(),
            bus: self.bus.clone(),
            clock: Arc::new(ModelClock(self.wire.clone())),
        }
    }

    /// The key ring of one process.
    fn keys(&self) -> KeyRing {
        KeyRing::new(self.store.clone(), self.vault.clone(), Arc::new(ModelClock(self.wire.clone())))
    }

    fn begin(&mut self, process: usize) {
        self.processes[process].alive = true;
        let wire = self.wire.clone();
        match self.processes[process].role {
            Role::Client(n) => {
                let client = self.plan.clients[n].clone();
                let submitter = Submitter::new(SERVICE, self.ports());
                let sabotage = self.plan.sabotage;
                self.spawn(process, ask(wire, submitter, self.keys(), n, client, sabotage));
            }
            Role::Worker(era) => {
                let handler = Arc::new(handler(era, self.ports()).personal(&self.keys()));
                for _ in 0..self.plan.lanes {
                    self.spawn(process, work(wire.clone(), handler.clone(), era, self.plan.sabotage));
                }
            }
            Role::Viewer(era) => {
                let clock = Arc::new(ModelClock(wire.clone()));
                let handler = ViewsHandler::new(SERVICE, self.store.clone(), self.queue.clone(), clock);
                let handler = Arc::new(views(era, handler.sources(sources())));
                for _ in 0..self.plan.viewer_lanes {
                    self.spawn(process, view(wire.clone(), handler.clone(), Channel::Events));
                }
                if self.plan.rebuild.is_some() {
                    self.spawn(process, view(wire.clone(), handler, Channel::Rebuild));
                }
            }
        }
    }
}

/// The command handler of a version of the code.
pub(super) fn handler(era: Era, ports: Ports) -> CommandHandler {
    let handler = CommandHandler::new(SERVICE, ports).handle::<Transfer, Start>().handle::<Transfer, Note>();
    match era {
        Era::New => handler
            .handle::<Purse, Open>()
            .handle::<Purse, Deposit>()
            .handle::<Purse, Withdraw>()
            .handle::<Purse, Look>()
            .handle::<Purse, Label>()
            .handle::<Purse, Sign>()
            .handle::<Purse, Forget>()
            .handle::<Purse, Pay>()
            .handle::<Purse, Receive>(),
        Era::Old => handler
            .handle::<OldPurse, Open>()
            .handle::<OldPurse, Deposit>()
            .handle::<OldPurse, Withdraw>()
            .handle::<OldPurse, Look>()
            .handle::<OldPurse, Pay>()
            .handle::<OldPurse, Receive>(),
    }
}

/// The views of a version of the code.
pub(super) fn views(era: Era, handler: ViewsHandler) -> ViewsHandler {
    let handler = match era {
        Era::New => handler.project::<Purses>(),
        Era::Old => handler.project::<OldPurses>(),
    };
    handler.project::<Owners>().top_list::<Rich>().react::<FollowPurses>()
}

/// A lane of a command worker, as the functions host drives it.
async fn work(wire: Wire, handler: Arc<CommandHandler>, era: Era, sabotage: Option<Sabotage>) {
    loop {
        let Answer::Message(message) = wire.call(Request::Next(Channel::Commands)).await else { continue };
        let delivery = Delivery { message_id: message.id, count: message.count, traceparent: message.traceparent };
        let result = handler.receive(&message.body, &delivery).await;
        wire.world().remark(format_args!("{}: {result:?}", delivery.message_id));
        match &result {
            Ok(_) => {
                let remembered = remembered(&handler, era, &message.body);
                wire.world().journal.remembered.extend(remembered);
            }
            Err(fault) if sabotage == Some(Sabotage::HoldsPoison) && !fault.is_transient() => {
                wire.sleep(Duration::from_secs(3_600)).await;
            }
            Err(_) => {}
        }
        wire.call(match result {
            Err(_) if sabotage == Some(Sabotage::KeepsFailures) => continue,
            Err(_) if sabotage == Some(Sabotage::SwallowsPoison) => Request::Complete(Channel::Commands, message.lock),
            Ok(_) => Request::Complete(Channel::Commands, message.lock),
            Err(_) => Request::Abandon(Channel::Commands, message.lock),
        })
        .await;
    }
}

/// What the handler remembers of the aggregate that a command is for.
fn remembered(handler: &CommandHandler, era: Era, body: &[u8]) -> Option<Remembered> {
    fn of<A: Aggregate>(handler: &CommandHandler, id: &AggregateId) -> Option<Remembered> {
        let (state, version) = handler.remembered::<A>(id)?;
        Some(Remembered { partition: id.key(), version, state: serde_json::to_string(&state).ok()? })
    }
    let id = Envelope::from_json(body).ok()?.aggregate;
    match (id.category(), era) {
        ("transfer", _) => of::<Transfer>(handler, &id),
        (_, Era::New) => of::<Purse>(handler, &id),
        (_, Era::Old) => of::<OldPurse>(handler, &id),
    }
}

/// The service that publishes each category.
fn sources() -> BTreeMap<String, String> {
    ["purse", "transfer"].map(|category| (category.to_owned(), SERVICE.to_owned())).into()
}

/// A lane of the events queue, or of the rebuild queue.
async fn view(wire: Wire, handler: Arc<ViewsHandler>, channel: Channel) {
    loop {
        let Answer::Message(message) = wire.call(Request::Next(channel)).await else { continue };
        let delivery = Delivery { message_id: message.id, count: message.count, traceparent: message.traceparent };
        let result = match channel {
            Channel::Rebuild => handler.rebuild(&message.body, &delivery).await,
            _ => handler.receive(&message.body, &delivery).await,
        };
        if let Err(fault) = &result {
            wire.world().remark(format_args!("{}: {fault}", delivery.message_id));
        }
        wire.call(match result {
            Ok(()) => Request::Complete(channel, message.lock),
            Err(_) => Request::Abandon(channel, message.lock),
        })
        .await;
    }
}

pub(super) fn trace(of: &str) -> Trace {
    Trace { correlation_id: format!("correlation of {of}"), causation_id: None, traceparent: None }
}

pub(super) fn principal() -> Principal {
    Principal::new("ann", ["customer"])
}

/// A client: asks until it has an answer.
async fn ask(wire: Wire, submitter: Submitter, keys: KeyRing, n: usize, client: Client, sabotage: Option<Sabotage>) {
    let mut left = if client.again { 2 } else { 1 };
    for _ in 0..PATIENCE {
        let told = match &client.ask {
            Ask::Open(purse, coins) => {
                let owner = if purse == "p1" { "bob" } else { "ann" };
                submit::<Purse, _>(&submitter, purse, &client, Open { owner: owner.to_owned(), coins: *coins }).await
            }
            Ask::Deposit(purse, coins) => {
                submit::<Purse, _>(&submitter, purse, &client, Deposit { coins: *coins }).await
            }
            Ask::Withdraw(purse, coins) => {
                submit::<Purse, _>(&submitter, purse, &client, Withdraw { coins: *coins }).await
            }
            Ask::Look(purse) => submit::<Purse, _>(&submitter, purse, &client, Look {}).await,
            Ask::Label(purse) => {
                submit::<Purse, _>(&submitter, purse, &client, Label { label: client.key.clone() }).await
            }
            Ask::Sign(purse, person) if sabotage == Some(Sabotage::ForgetsToSeal) => {
                submit::<Purse, _>(&submitter, purse, &client, Label { label: secret(person) }).await
            }
            Ask::Sign(purse, person) => {
                let command = CommandId::of_client(&principal(), &client.key);
                match keys.seal(person, command.as_str(), &secret(person)).await {
                    Ok(contact) => submit::<Purse, _>(&submitter, purse, &client, Sign { contact }).await,
                    Err(fault) => Err(fault.to_string()),
                }
            }
            Ask::Forget(purse, person) => {
                submit::<Purse, _>(&submitter, purse, &client, Forget { person: person.clone() }).await
            }
            Ask::Transfer(transfer, from, to, coins) => {
                let start = Start { from: from.clone(), to: to.clone(), coins: *coins };
                submit::<Transfer, _>(&submitter, transfer, &client, start).await
            }
        };
        match told {
            Ok((command, partition, said)) => {
                wire.world().remark(format_args!("is told {said:?}"));
                let told = Told { client: n, command, partition, said };
                wire.world().journal.told.push(told);
                left -= 1;
                if left == 0 {
                    return;
                }
            }
            Err(error) => wire.world().remark(format_args!("{error}")),
        }
        wire.sleep(Duration::from_secs(2)).await;
    }
    let text = format!("client {n} gave up after {PATIENCE} attempts");
    wire.world().journal.violate("everything_ends", text);
}

async fn submit<A: Handle<C>, C: Command>(
    submitter: &Submitter,
    id: &str,
    client: &Client,
    command: C,
) -> Result<(Option<CommandId>, String, Said), String> {
    let submission = Submission {
        command,
        aggregate: Some(id.to_owned()),
        client_key: Some(client.key.clone()),
        principal: principal(),
        trace: trace(&client.key),
        wait: client.wait.map(Duration::from_millis),
    };
    let partition = AggregateId::new(A::CATEGORY, id).map_err(|error| error.to_string())?.key();
    match submitter.submit::<A, C>(submission).await {
        Ok(Submitted { command_id, outcome, .. }) => {
            let said = match outcome {
                Settled::Pending => Said::Accepted,
                Settled::Committed { version, reply } => Said::Committed {
                    version,
                    reply: serde_json::to_string(&reply).map_err(|error| error.to_string())?,
                },
                Settled::Rejected { version, rejection } => Said::Rejected { version, code: rejection.code },
            };
            Ok((Some(command_id), partition, said))
        }
        Err(SubmitError::CommandIdReused(_)) => Ok((None, partition, Said::Reused)),
        Err(error) => Err(error.to_string()),
    }
}

/// The aggregate and id of a client's command.
fn target(ask: &Ask) -> (&'static str, &str) {
    match ask {
        Ask::Open(purse, _)
        | Ask::Deposit(purse, _)
        | Ask::Withdraw(purse, _)
        | Ask::Look(purse)
        | Ask::Label(purse)
        | Ask::Sign(purse, _)
        | Ask::Forget(purse, _) => ("purse", purse),
        Ask::Transfer(transfer, ..) => ("transfer", transfer),
    }
}

fn put_poison(world: &mut World, n: usize, poison: &Poison, plan: &Plan) {
    let id = format!("poison-{n}");
    let message = |session: String, body: Vec<u8>| Message {
        id: id.clone(),
        session,
        not_before: None,
        traceparent: None,
        body: body.into(),
    };
    let envelope = |aggregate: (&str, &str), command: CommandId, kind: &str, payload: &str| {
        let aggregate = AggregateId::new(aggregate.0, aggregate.1).expect("a name of ours is a valid id");
        Envelope {
            id: command,
            aggregate,
            name: kind.to_owned(),
            version: 1,
            principal: principal(),
            trace: trace("poison"),
            issued_at: time::OffsetDateTime::UNIX_EPOCH,
            payload: serde_json::value::RawValue::from_string(payload.to_owned()).expect("it is JSON"),
        }
    };
    match poison {
        Poison::Garbage(purse) => {
            world.enqueue(Channel::Commands, &message(format!("purse:{}", encode_key(purse)), b"{no envelope".to_vec()))
        }
        Poison::Payload(purse) => {
            let command = CommandId::new(&id).expect("a short id");
            let bad = envelope(("purse", purse), command, Deposit::TYPE, "{\"coins\":\"many\"}");
            world.enqueue(
                Channel::Commands,
                &message(bad.aggregate.key(), serde_json::to_vec(&bad).expect("plain data")),
            );
        }
        Poison::Clash(client) => {
            let client = &plan.clients[*client];
            let command = CommandId::of_client(&principal(), &client.key);
            let target = target(&client.ask);
            let (kind, payload) = match target.0 {
                "purse" => (Look::TYPE, "{\"clash\":1}"),
                _ => (Note::TYPE, "{\"step\":\"received\"}"),
            };
            let twin = envelope(target, command, kind, payload);
            world.enqueue(
                Channel::Commands,
                &message(twin.aggregate.key(), serde_json::to_vec(&twin).expect("plain data")),
            );
        }
        Poison::Event => {
            let spilt = plan.sabotage == Some(Sabotage::SpillsPersonalData);
            let body = if spilt { secret("ann") } else { "no event".to_owned() };
            world.events.push(id, None, body.into(), None);
        }
    }
}
