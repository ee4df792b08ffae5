//! The command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;
use skein_core::store::Place;
use skein_core::{AggregateId, decode_key};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::dlq::{Filter, can_ask};
use crate::places::PARTS;
use crate::republish;

/// What `--help` prints.
pub const HELP: &str = "\
skein-ops events SERVICE CATEGORY:ID   show an aggregate's commits
    --from N             the first version [1]
    --limit N            the most commits [100]

skein-ops rebuild SERVICE VIEW   make a view anew beside the live one and follow that until it is read
    --timeout SECONDS    stop following once nothing has moved for this long [600]
  A second call follows the rebuild that is under way. It goes on without a follower, also after Ctrl-C.

skein-ops republish SERVICE CATEGORY:ID   have an aggregate's integration events published again, byte for byte
    --from SEQUENCE      the first one [1]
skein-ops republish SERVICE CATEGORY      those of all aggregates of a category, a hundred aggregates after the other
    --after PLACE        go on behind this place, as a run that broke off told it
  The service sends them in the order of its commands; receivers discard what they have seen.

skein-ops dlq list SERVICE [commands|events|topic|rebuild]     look at dead letters [commands]
skein-ops dlq show SERVICE [commands|events|topic|rebuild]     the same with their bodies
skein-ops dlq replay SERVICE [commands|events|topic|rebuild]   send them again, oldest first, and then remove them
skein-ops dlq purge SERVICE [commands|events|topic|rebuild]    drop them; commands whose events may not be out stay
    --id ID              only the message, command or event with this id
    --code CODE          only those with this fault's code, or the broker's reason
    --before TIME        only those enqueued before (RFC 3339)
    --limit N            the most [1000]
    --yes                purge without asking; needed where there is no terminal
  What another dlq command holds is not seen for up to five minutes. Purges are written to DIR/audit.jsonl.

skein-ops export SERVICE   add new commits to the backup, in append blobs; goes on where the last run ended
skein-ops restore SERVICE  make an empty event store from the backup, in the next epoch; goes on with one that broke off
  Rejections, snapshots and the keys of persons are not in a backup. Start the command app again after a restore.

of every command:
    --state DIR          the local system [.skein]
    --resources FILE     the list of deployed resources [DIR/resources.json]
    --at PART=URL        where a part of the service is, if the list does not say it; PART is event-store (an address
                         for each shard, with commas), query-store, commands, events, rebuild, topic, dead-letters or
                         backups
    --output text|json   [text]

Locally the operator's tokens come from skein-local, on Azure from the Azure CLI (`az login`).
Results go to stdout, everything else to stderr. Exit status: 0 done, 1 failed, 2 the command line is wrong,
3 what was asked for is not there, 4 something was refused and left as it is, 130 Ctrl-C: what was begun goes on.";

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The command line.
#[derive(Debug, PartialEq)]
pub struct Flags {
    /// Which system and service.
    pub target: Target,
    /// How results are printed.
    pub output: Output,
    /// What to do.
    pub command: Command,
}

/// Which system and service.
#[derive(Debug, PartialEq)]
pub struct Target {
    /// The service.
    pub service: String,
    /// The folder of the local system.
    pub state: PathBuf,
    /// The list of resources, where it is not the local system's.
    pub resources: Option<PathBuf>,
    /// Places that the command line names, by part.
    pub given: BTreeMap<&'static str, Vec<String>>,
}

impl Target {
    /// The list of resources.
    pub fn list(&self) -> PathBuf {
        self.resources.clone().unwrap_or_else(|| self.state.join("resources.json"))
    }
}

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Show an aggregate's commits.
    Events(Events),
    /// Look after dead letters.
    Dlq(Dlq),
    /// Make a view anew.
    Rebuild(Rebuild),
    /// Have integration events published again.
    Republish(Republish),
    /// Add new commits to the backup.
    Export,
    /// Make an empty store from the backup.
    Restore,
}

/// `rebuild`.
#[derive(Debug, PartialEq)]
pub struct Rebuild {
    /// The view, in any of its spellings.
    pub view: String,
    /// How long nothing may move while it is followed.
    pub timeout: Duration,
}

/// `republish`.
#[derive(Debug, PartialEq)]
pub enum Republish {
    /// One aggregate's events.
    Aggregate {
        /// Whose.
        aggregate: AggregateId,
        /// The first sequence.
        from: u64,
    },
    /// Those of all aggregates of a category.
    Category {
        /// The category.
        category: String,
        /// Behind which place.
        after: Place,
    },
}

/// `dlq`.
#[derive(Debug, PartialEq)]
pub struct Dlq {
    /// What to do.
    pub action: Action,
    /// Where they lie.
    pub source: Source,
    /// Which are meant.
    pub filter: Filter,
    /// The most of them.
    pub limit: usize,
    /// Whether nobody is asked.
    pub yes: bool,
}

/// What to do with dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Look at them.
    List,
    /// Look at them and their bodies.
    Show,
    /// Send them again.
    Replay,
    /// Drop them.
    Purge,
}

/// Where dead letters lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The dead-letter queue of the command queue.
    Commands,
    /// The dead-letter queue of the events queue.
    Events,
    /// The container of what the topic could not deliver.
    Topic,
    /// The dead-letter queue of the rebuild queue.
    Rebuild,
}

impl Source {
    /// As the command line and the faults call it.
    pub fn name(self) -> &'static str {
        match self {
            Source::Commands => "commands",
            Source::Events => "events",
            Source::Topic => "topic",
            Source::Rebuild => "rebuild",
        }
    }
}

/// `events`.
#[derive(Debug, PartialEq)]
pub struct Events {
    /// Whose.
    pub aggregate: AggregateId,
    /// The first version.
    pub from: u64,
    /// The most commits.
    pub limit: usize,
}

/// Everything that was given, by name.
#[derive(Default)]
struct Given {
    values: Vec<String>,
    from: Option<u64>,
    limit: Option<usize>,
    filter: Filter,
    yes: bool,
    timeout: Option<u64>,
    after: Option<Place>,
}

/// Reads the command line; `None` asks for the help.
///
/// # Errors
/// What is wrong with it.
pub fn parse(mut args: lexopt::Parser) -> Result<Option<Flags>> {
    let name = match args.next()? {
        None | Some(Short('h') | Long("help")) => return Ok(None),
        Some(Value(name)) => name.string()?,
        Some(arg) => return Err(arg.unexpected().into()),
    };
    if name == "help" {
        return Ok(None);
    }
    let mut target = Target { service: String::new(), state: ".skein".into(), resources: None, given: BTreeMap::new() };
    let mut output = Output::Text;
    let mut given = Given::default();
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("state") => target.state = args.value()?.into(),
            Long("resources") => target.resources = Some(args.value()?.into()),
            Long("at") => {
                let (part, urls) = place(&args.value()?.string()?)?;
                target.given.insert(part, urls);
            }
            Long("output") => {
                output = match args.value()?.string()?.as_str() {
                    "text" => Output::Text,
                    "json" => Output::Json,
                    other => bail!("the output is text or json, not {other:?}"),
                }
            }
            Long("timeout") if name == "rebuild" => given.timeout = Some(args.value()?.parse()?),
            Long("after") if name == "republish" => {
                let text = args.value()?.string()?;
                let place = republish::place_of(&text);
                given.after =
                    Some(place.with_context(|| format!("--after is {text:?}; a place as 0/order:1 is expected"))?);
            }
            Long("from") if ["events", "republish"].contains(&name.as_str()) => {
                given.from = Some(args.value()?.parse()?)
            }
            Long("id") if name == "dlq" => given.filter.id = Some(args.value()?.string()?),
            Long("code") if name == "dlq" => given.filter.code = Some(args.value()?.string()?),
            Long("before") if name == "dlq" => {
                let time = args.value()?.string()?;
                let before = OffsetDateTime::parse(&time, &Rfc3339);
                let told = || format!("--before is {time:?}; a time as 2026-01-31T12:00:00Z is expected");
                given.filter.before = Some(before.with_context(told)?);
            }
            Long("yes") if name == "dlq" => given.yes = true,
            Long("limit") if ["events", "dlq"].contains(&name.as_str()) => given.limit = Some(args.value()?.parse()?),
            Value(value) => given.values.push(value.string()?),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let mut values = std::mem::take(&mut given.values).into_iter();
    let mut next = |what: &str| values.next().with_context(|| format!("{name} needs {what}"));
    if given.limit == Some(0) {
        bail!("--limit is 0; it is at least 1");
    }
    let command = match name.as_str() {
        "dlq" => {
            let action = match next("list, show, replay or purge")?.as_str() {
                "list" => Action::List,
                "show" => Action::Show,
                "replay" => Action::Replay,
                "purge" => Action::Purge,
                other => bail!("dlq knows list, show, replay and purge, not {other:?}"),
            };
            target.service = next("the SERVICE")?;
            let source = match values.next().as_deref() {
                None | Some("commands") => Source::Commands,
                Some("events") => Source::Events,
                Some("topic") => Source::Topic,
                Some("rebuild") => Source::Rebuild,
                Some(other) => bail!("dead letters are of commands, events, topic or rebuild, not of {other:?}"),
            };
            if given.yes && action != Action::Purge {
                bail!("--yes is for dlq purge");
            }
            if action == Action::Purge && !given.yes && !can_ask() {
                bail!("there is no terminal to ask on: give --yes to purge");
            }
            let limit = given.limit.unwrap_or(1000);
            Command::Dlq(Dlq { action, source, filter: given.filter, limit, yes: given.yes })
        }
        "rebuild" => {
            target.service = next("the SERVICE")?;
            let view = next("the VIEW")?;
            if given.timeout == Some(0) {
                bail!("--timeout is 0; it is at least 1 second");
            }
            Command::Rebuild(Rebuild { view, timeout: Duration::from_secs(given.timeout.unwrap_or(600)) })
        }
        "republish" => {
            target.service = next("the SERVICE")?;
            let what = next("the aggregate, CATEGORY:ID, or a CATEGORY")?;
            if given.from == Some(0) {
                bail!("--from is 0; the first sequence is 1");
            }
            Command::Republish(if what.contains(':') {
                if given.after.is_some() {
                    bail!("--after is for a category");
                }
                Republish::Aggregate { aggregate: aggregate(&what)?, from: given.from.unwrap_or(1) }
            } else {
                if given.from.is_some() {
                    bail!("--from is for one aggregate, CATEGORY:ID");
                }
                AggregateId::new(&what, "any")?;
                Republish::Category { category: what, after: given.after.unwrap_or_default() }
            })
        }
        "export" | "restore" => {
            target.service = next("the SERVICE")?;
            if name == "export" { Command::Export } else { Command::Restore }
        }
        "events" => {
            target.service = next("the SERVICE")?;
            let aggregate = aggregate(&next("the aggregate, CATEGORY:ID")?)?;
            let limit = given.limit.unwrap_or(100);
            Command::Events(Events { aggregate, from: given.from.unwrap_or(1), limit })
        }
        other => bail!("there is no command {other:?}"),
    };
    if let Some(more) = values.next() {
        bail!("{more:?} is one word too many");
    }
    Ok(Some(Flags { target, output, command }))
}

/// An aggregate as a key writes it, or as the business does.
fn aggregate(text: &str) -> Result<AggregateId> {
    let (category, id) = text.split_once(':').with_context(|| format!("{text:?} is not CATEGORY:ID"))?;
    let id = decode_key(id).unwrap_or_else(|| id.to_owned());
    Ok(AggregateId::new(category, &id)?)
}

/// `PART=URL,URL`.
fn place(text: &str) -> Result<(&'static str, Vec<String>)> {
    let (part, urls) = text.split_once('=').with_context(|| format!("{text:?} is not PART=URL"))?;
    let known = PARTS.into_iter().find(|known| *known == part);
    let part = known.with_context(|| format!("there is no part {part:?}; there are {}", PARTS.join(", ")))?;
    let urls: Vec<_> = urls.split(',').map(|url| url.trim().trim_end_matches('/').to_owned()).collect();
    if urls.iter().any(String::is_empty) || (urls.len() > 1 && part != "event-store") {
        bail!("--at {part} needs one address, of the event store one for each shard");
    }
    Ok((part, urls))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Flags, String> {
        match parse(lexopt::Parser::from_args(line.split_whitespace())) {
            Ok(flags) => flags.ok_or_else(|| "help".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn commands_are_read() {
        let flags = parsed("events orders order:a=2Fb --from 3 --limit 7 --output json --state s").unwrap();
        assert_eq!((flags.target.service.as_str(), flags.output), ("orders", Output::Json));
        assert_eq!(flags.target.list(), PathBuf::from("s/resources.json"));
        let aggregate = AggregateId::new("order", "a/b").unwrap();
        assert_eq!(flags.command, Command::Events(Events { aggregate, from: 3, limit: 7 }));
        let flags = parsed("events orders order:a/b --at event-store=https://a/,https://b --resources f").unwrap();
        assert_eq!(flags.target.given["event-store"], ["https://a", "https://b"]);
        assert_eq!(flags.target.list(), PathBuf::from("f"));
        let flags = parsed("dlq purge orders events --yes --code PANIC --before 2026-01-31T12:00:00Z").unwrap();
        let before = Some(time::macros::datetime!(2026-01-31 12:00 UTC));
        let filter = Filter { id: None, code: Some("PANIC".into()), before };
        let dlq = Dlq { action: Action::Purge, source: Source::Events, filter, limit: 1000, yes: true };
        assert_eq!(flags.command, Command::Dlq(dlq));
        assert_eq!(parsed("export orders").unwrap().command, Command::Export);
        assert_eq!(parsed("restore orders --at backups=https://b/c").unwrap().command, Command::Restore);
        let rebuild = Rebuild { view: "customerTotals".into(), timeout: Duration::from_secs(5) };
        assert_eq!(parsed("rebuild orders customerTotals --timeout 5").unwrap().command, Command::Rebuild(rebuild));
        let republish = |line: &str| match parsed(line).unwrap().command {
            Command::Republish(republish) => republish,
            other => panic!("{other:?}"),
        };
        let aggregate = AggregateId::new("order", "1").unwrap();
        assert_eq!(republish("republish orders order:1 --from 2"), Republish::Aggregate { aggregate, from: 2 });
        let after = Place { shard: 1, after: "order:7/".into() };
        let category = "order".to_owned();
        assert_eq!(republish("republish orders order --after 1/order:7/"), Republish::Category { category, after });
        assert_eq!(parsed("help"), Err("help".into()));
    }

    #[test]
    fn a_wrong_line_is_told_by_name() {
        for (line, told) in [
            ("evens", r#"there is no command "evens""#),
            ("events", "events needs the SERVICE"),
            ("events orders", "events needs the aggregate, CATEGORY:ID"),
            ("events orders order", r#""order" is not CATEGORY:ID"#),
            ("events orders Order:1", r#"the category "Order" must match [a-z][a-z0-9-]*"#),
            ("events orders order:1 more", r#""more" is one word too many"#),
            ("events orders order:1 --limit 0", "--limit is 0; it is at least 1"),
            (
                "events orders order:1 --at topic=a,b",
                "--at topic needs one address, of the event store one for each shard",
            ),
            ("events orders order:1 --output xml", r#"the output is text or json, not "xml""#),
            ("dlq drop orders", r#"dlq knows list, show, replay and purge, not "drop""#),
            ("dlq list orders queue", r#"dead letters are of commands, events, topic or rebuild, not of "queue""#),
            ("dlq list orders --yes", "--yes is for dlq purge"),
            ("dlq list orders --before noon", r#"--before is "noon"; a time as 2026-01-31T12:00:00Z is expected"#),
            ("events orders order:1 --yes", "invalid option '--yes'"),
            ("rebuild orders", "rebuild needs the VIEW"),
            ("rebuild orders orders --timeout 0", "--timeout is 0; it is at least 1 second"),
            ("republish orders", "republish needs the aggregate, CATEGORY:ID, or a CATEGORY"),
            ("republish orders order:1 --from 0", "--from is 0; the first sequence is 1"),
            ("republish orders order:1 --after 0/x", "--after is for a category"),
            ("republish orders order --from 2", "--from is for one aggregate, CATEGORY:ID"),
            ("republish orders Order", r#"the category "Order" must match [a-z][a-z0-9-]*"#),
            ("republish orders order --after x", r#"--after is "x"; a place as 0/order:1 is expected"#),
        ] {
            assert_eq!(parsed(line).unwrap_err(), told, "{line}");
        }
        assert!(parsed("events orders order:1 --at tropic=a").unwrap_err().starts_with("there is no part \"tropic\""));
    }
}
