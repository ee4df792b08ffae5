//! Two hundred processes are killed under load, the local runtime among them. Afterwards the file's totals, the event
//! stores and the dead-letter queues are looked at from the outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skein_tests::planes::{Planes, Row};
use skein_tests::system::{Load, SITES, System};
use skein_tests::totals::{self, Totals};

use crate::orders::{STOCK, check_summary, check_totals};

/// How many processes are killed.
const KILLS: u32 = 200;
/// One kill in so many is the runtime's, with all that it holds: queues, topic, tables, gateway, functions host.
const RUNTIME_ONE_IN: u64 = 12;
/// The longest pause between two kills, in milliseconds; half of it on average.
const LONGEST_PAUSE: u64 = 1_400;
/// The orders of one file. As long as processes are being killed, one file follows the other.
const ORDERS: u64 = 120;

/// The container of events that the topic could not deliver.
const UNDELIVERED: &str = "eventgrid-deadletters";

/// SplitMix64: the seed says which process is killed, and when.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[test]
fn two_hundred_killed_processes_lose_and_double_nothing() {
    let seed = std::env::var("SKEIN_KILL_SEED")
        .ok()
        .map_or_else(clock, |seed| seed.parse().expect("SKEIN_KILL_SEED is a number"));
    println!("SKEIN_KILL_SEED={seed}");
    let mut chance = Chance(seed);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut system = System::up(&state, &["--fresh"]).unwrap();

    let begun = Instant::now();
    let mut files = Files { folder: folder.path().to_owned(), chance: Chance(seed ^ 0xF11E), expected: Vec::new() };
    let mut load = files.start(&system).unwrap();
    let mut killed: BTreeMap<&str, u32> = BTreeMap::new();
    for kill in 0..KILLS {
        // Random moments are what is tested: nothing is waited for here.
        std::thread::sleep(Duration::from_millis(chance.below(LONGEST_PAUSE)));
        if load.has_ended().unwrap() {
            files.finish(load).unwrap();
            load = files.start(&system).unwrap();
        }
        let target = if chance.below(RUNTIME_ONE_IN) == 0 {
            system.crash().unwrap();
            "the runtime"
        } else {
            let site = SITES[usize::try_from(chance.below(SITES.len() as u64)).unwrap()];
            system.kill(site).unwrap();
            site
        };
        *killed.entry(target).or_default() += 1;
        if (kill + 1) % 20 == 0 {
            println!("{} kills, {} files, {:.0} s", kill + 1, files.expected.len(), begun.elapsed().as_secs_f64());
        }
    }
    system.ready().unwrap();
    files.finish(load).unwrap();
    println!("{killed:?} in {:.0} s, {} files", begun.elapsed().as_secs_f64(), files.expected.len());
    assert_eq!(killed.values().sum::<u32>(), KILLS);
    assert!(killed["the runtime"] > 0 && killed.len() == 1 + SITES.len(), "{killed:?}");

    let expected = files.totals();
    check_totals(&system, &expected);
    check_hosts(&system, &killed);
    for (service, accepted) in [("orders", files.commands("orders")), ("inventory", files.commands("inventory"))] {
        check_service(&system, service, accepted).unwrap_or_else(|error| panic!("{service}: {error:#}"));
    }
    let accounts = fs::read_dir(system.state().join("blobs")).unwrap().map(|entry| entry.unwrap().path());
    let aside: Vec<_> = accounts.map(|account| account.join(UNDELIVERED)).filter(|folder| folder.is_dir()).collect();
    assert_eq!(aside.len(), 1, "there is one place for what the topic gives up: {aside:?}");
    let undelivered = walk(&aside[0]);
    assert!(undelivered.is_empty(), "the topic gave events up: {undelivered:?}");
    println!("all checked after {:.0} s", begun.elapsed().as_secs_f64());
    assert_eq!(system.stop("TERM").unwrap().code(), Some(0));
}

fn clock() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

/// The files that are loaded, one after the other, each with SKUs of its own and the same customers.
struct Files {
    folder: PathBuf,
    chance: Chance,
    expected: Vec<Totals>,
}

impl Files {
    fn start(&mut self, system: &System) -> Result<Load> {
        let n = self.expected.len() as u64;
        let path = self.folder.join(format!("orders-{n}.csv"));
        fs::write(&path, file(n, &mut self.chance))?;
        self.expected.push(totals::of(&path, STOCK)?);
        system.load(&path)
    }

    /// Waits for the load and compares what the loader was told with the file.
    fn finish(&self, load: Load) -> Result<()> {
        let (summary, _) = load.finish()?;
        check_summary(&summary, self.expected.last().context("a file was loaded")?);
        Ok(())
    }

    /// What all files together come to.
    fn totals(&self) -> Totals {
        let mut all = Totals::default();
        for file in &self.expected {
            all.orders.extend(file.orders.clone());
            all.backordered.extend(file.backordered.iter().cloned());
            all.returns += file.returns;
            all.adjustments += file.adjustments;
            all.stock.extend(file.stock.iter().map(|(sku, stock)| (sku.clone(), stock.clone())));
            for (id, customer) in &file.customers {
                let sum = all.customers.entry(id.clone()).or_default();
                sum.orders += customer.orders;
                sum.returns += customer.returns;
                sum.revenue += customer.revenue;
            }
        }
        all
    }

    /// How many commands the loader had accepted by a service.
    fn commands(&self, service: &str) -> usize {
        let of = |file: &Totals| match service {
            "orders" => file.orders.len() + file.returns,
            // What is received of each SKU, and what is adjusted.
            _ => file.stock.len() + file.adjustments,
        };
        self.expected.iter().map(of).sum()
    }
}

/// The `n`th file: orders of one to four lines, one that is too large, returns, adjustments.
fn file(n: u64, chance: &mut Chance) -> String {
    let mut csv = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n".to_owned();
    let mut line = |invoice: String, sku: u64, units: i64, price: u64, customer: &str| {
        let (whole, cents) = (price / 100, price % 100);
        writeln!(
            csv,
            "{invoice},F{n}S{sku},thing {sku},{units},2024-03-04T08:00:00Z,{whole}.{cents:02},{customer},Spain"
        )
        .expect("a String takes everything");
    };
    for order in 0..ORDERS {
        let invoice = 100_000 * (n + 1) + order;
        let customer = match chance.below(8) {
            0 => String::new(),
            _ => format!("3{:04}", chance.below(20)),
        };
        let first = chance.below(12);
        for k in 0..=chance.below(4) {
            // Every file has one order that never fits.
            let units = if order == 7 && k == 0 { 50_000 } else { 1 + chance.below(5) as i64 };
            line(invoice.to_string(), (first + k) % 12, units, 1 + chance.below(3_000), &customer);
        }
    }
    for back in 0..4 {
        let (sku, units) = (chance.below(12), 1 + chance.below(3) as i64);
        let invoice = format!("C{}", 100_000 * (n + 1) + 90_000 + back);
        line(invoice, sku, -units, 1 + chance.below(3_000), &format!("3{:04}", chance.below(20)));
    }
    for adjustment in 0..4 {
        let (sku, units) = (chance.below(12), 1 + chance.below(20) as i64);
        let invoice = (100_000 * (n + 1) + 95_000 + adjustment).to_string();
        line(invoice, sku, if adjustment % 2 == 0 { units } else { -units }, 0, "");
    }
    csv
}

/// Every host that stopped after its third strike was started again, and at least one did.
fn check_hosts(system: &System, killed: &BTreeMap<&str, u32>) {
    let mut stopped = 0;
    for site in SITES {
        let log = system.log(site).unwrap();
        let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
        let (strikes, third) = (count("the worker ended: signal: 9"), count("(error 3 of 3)"));
        let restarts = count("the host application has stopped; it is started again");
        println!("{site}: {} kills, {strikes} strikes, {third} times the third, {restarts} restarts", killed[site]);
        assert!(strikes > 0 && third == restarts, "{site}: {third} hosts had three strikes, {restarts} were restarted");
        stopped += third;
    }
    assert!(stopped > 0, "no host had three strikes");
}

/// What has to hold in a service's storage and queues at rest.
fn check_service(system: &System, service: &str, accepted: usize) -> Result<()> {
    let command = Planes::of(system, &format!("func-{service}-command"))?;
    let query = Planes::of(system, &format!("func-{service}-query"))?;
    let account = command.setting("SKEIN_EVENT_STORE")?.to_owned();
    let rows = command.rows(&account, "events")?;
    let (commits, registered) = check_events(&rows)?;
    ensure!(registered == accepted, "{registered} client commands are registered, {accepted} were accepted");
    let faults = command.rows(&account, "faults")?;
    let lasting: Vec<_> =
        faults.iter().filter(|row| row.text("Code").is_some() && !row.is("Transient")).map(|row| &row.key).collect();
    ensure!(lasting.is_empty(), "there are faults that stay: {lasting:?}");

    let commands = command
        .setting("SKEIN_COMMAND_QUEUES")?
        .split(',')
        .find_map(|pair| pair.strip_prefix(&format!("{service}=")))
        .context("a service knows its own queue")?
        .to_owned();
    let events = commands.replace("/commands", "/events");
    for (queue, planes) in [(&commands, &command), (&events, &query)] {
        let dead = planes.dead_letter(queue)?;
        ensure!(dead.is_none(), "{queue} has a dead letter: {dead:?}");
    }
    println!("{service}: {commits} commits, {registered} client commands, {} faults that passed", faults.len());
    Ok(())
}

/// Goes through an event store: versions and sequences without gaps, each command once, outcomes and commits together.
/// Returns the number of commits and of registered client commands.
fn check_events(rows: &[Row]) -> Result<(usize, usize)> {
    let mut partitions: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        partitions.entry(&row.partition).or_default().push(row);
    }
    let (mut commands, mut registered, mut commits) = (BTreeSet::new(), BTreeSet::new(), 0);
    for (partition, rows) in &partitions {
        if let Some(id) = partition.strip_prefix("K~") {
            registered.insert(id.to_owned());
            continue;
        }
        commits += check_partition(rows, &mut commands).with_context(|| (*partition).to_owned())?;
    }
    // Each command that a client was promised has its one outcome.
    let undecided: Vec<_> = registered.difference(&commands).collect();
    ensure!(undecided.is_empty(), "accepted and never decided: {undecided:?}");
    Ok((commits, registered.len()))
}

fn check_partition(rows: &[&Row], commands: &mut BTreeSet<String>) -> Result<usize> {
    let tip = rows.iter().find(|row| row.key == "E!").context("there is no tip")?;
    let number = |row: &Row, name: &str| row.number(name).with_context(|| format!("{} has no {name}", row.key));
    let (mut version, mut sequence, mut decided) = (0, 0, BTreeMap::new());
    // Newest first in the table.
    let commits: Vec<_> = rows.iter().rev().filter(|row| row.key.starts_with("E~")).collect();
    for commit in &commits {
        let (first, last) = (number(commit, "First")?, number(commit, "Last")?);
        ensure!(first == version + 1 && last >= first, "versions {first} to {last} follow {version}");
        let events = commit.json("Events")?.as_array().map_or(0, Vec::len) as u64;
        ensure!(events == last - first + 1, "{events} events for the versions {first} to {last}");
        version = last;
        for line in commit.long_text("Publications").iter().flat_map(|lines| lines.split('\n')) {
            let event: serde_json::Value = serde_json::from_str(line).context("a publication")?;
            let number: u64 = event["sequence"].as_str().context("an event has no sequence")?.parse()?;
            ensure!(number == sequence + 1, "the sequence {number} follows {sequence}");
            sequence = number;
        }
        let command = commit.json("Meta")?["command"].as_str().context("a commit names no command")?.to_owned();
        ensure!(decided.insert(command.clone(), first).is_none(), "{command} committed twice");
    }
    let (tip_version, tip_sequence) = (number(tip, "Version")?, number(tip, "Sequence")?);
    ensure!((tip_version, tip_sequence) == (version, sequence), "the tip says {tip_version} and {tip_sequence}");
    for outcome in rows.iter().filter_map(|row| Some((row.key.strip_prefix("C~")?, row))) {
        let (id, row) = outcome;
        let said = row.json("Outcome")?;
        let command = decoded(id);
        ensure!(said["first"].as_u64() == decided.remove(&command), "{command} has the outcome {said}");
        ensure!(commands.insert(id.to_owned()), "{command} was decided by two aggregates");
    }
    ensure!(decided.is_empty(), "commits without an outcome: {decided:?}");
    Ok(commits.len())
}

/// A key as it was before it was encoded: `=` and two digits stand for a byte.
fn decoded(key: &str) -> String {
    let mut parts = key.split('=');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.extend(part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()));
        bytes.extend(part.get(2..).unwrap_or_default().as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All files below a folder; none where it is missing.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
