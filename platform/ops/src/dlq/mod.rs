//! `dlq`: dead letters listed, shown, replayed and purged; of a service's queues and of the topic.
//!
//! A replay sends before it removes: a crash in between sends twice, which receivers notice, and loses nothing. A purge
//! writes down what it drops before it drops it.

mod audit;
mod letter;
mod queue;
mod topic;

use std::collections::HashSet;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use serde::Serialize;
use time::OffsetDateTime;

use crate::Done;
use crate::flags::{Action, Dlq, Output, Source};
use crate::operator::Operator;

pub use audit::Audit;
pub use letter::{Letter, What};

/// A place that dead letters lie in.
#[async_trait]
pub trait Letters: Send {
    /// The oldest letter that nobody holds; it is ours for some minutes.
    async fn next(&mut self) -> Result<Option<Letter>>;

    /// Sends what is in the letter again, and says under which id. The letter stays.
    async fn send_again(&mut self, letter: &Letter) -> Result<String>;

    /// Removes the letter; false where it is not ours any more.
    async fn remove(&mut self, letter: &Letter) -> Result<bool>;

    /// Leaves the letter where it was.
    async fn give_back(&mut self, letter: &Letter) -> Result<()>;

    /// Why the letter must not be dropped, if so.
    async fn refusal(&self, letter: &Letter) -> Result<Option<String>>;
}

/// Which letters are meant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// With this id.
    pub id: Option<String>,
    /// With this code: a fault's, or what the broker gave as reason.
    pub code: Option<String>,
    /// Enqueued before this time.
    pub before: Option<OffsetDateTime>,
}

impl Filter {
    fn matches(&self, letter: &Letter) -> bool {
        self.id.as_ref().is_none_or(|id| letter.is(id))
            && self.code.as_ref().is_none_or(|code| letter.code() == Some(code))
            && self.before.is_none_or(|before| letter.enqueued.is_some_and(|enqueued| enqueued < before))
    }
}

/// Does what was asked for.
///
/// # Errors
/// A plane that is away or refuses. What was done before stays done.
pub async fn run(operator: &Operator, ask: &Dlq, output: Output) -> Result<Done> {
    let mut letters: Box<dyn Letters> = match ask.source {
        Source::Commands | Source::Events | Source::Rebuild => {
            Box::new(queue::QueueLetters::open(operator, ask.source)?)
        }
        Source::Topic => Box::new(topic::TopicLetters::open(operator)?),
    };
    let letters = &mut *letters;
    match ask.action {
        Action::List | Action::Show => {
            let found = list(letters, &ask.filter, ask.limit).await?;
            if found.is_empty() {
                eprintln!("no dead letters in {} of {}", ask.source.name(), operator.places.service());
            }
            match output {
                Output::Json => println!("{}", serde_json::to_string(&found)?),
                Output::Text => {
                    for letter in &found {
                        print!("{}", letter.text(ask.action == Action::Show));
                    }
                }
            }
            Ok(nothing_if(found.is_empty() && ask.filter != Filter::default()))
        }
        Action::Replay => {
            let replayed = replay(letters, &ask.filter, ask.limit).await?;
            match output {
                Output::Json => println!("{}", serde_json::to_string(&replayed)?),
                Output::Text => {
                    for one in &replayed {
                        println!("{} sent again as {}", one.id, one.new_id);
                    }
                    println!("{} replayed", replayed.len());
                }
            }
            Ok(nothing_if(replayed.is_empty()))
        }
        Action::Purge => {
            let audit = Audit::open(&operator.audit_file(), operator.places.service(), ask.source.name())?;
            let confirm = |found: &[Letter]| ask.yes || confirmed(found, ask.source, operator.places.service());
            let purged = purge(letters, &ask.filter, ask.limit, &audit, confirm).await?;
            match output {
                Output::Json => println!("{}", serde_json::to_string(&purged)?),
                Output::Text => {
                    for one in &purged.refused {
                        println!("{} stays: {}", one.id, one.why);
                    }
                    println!("{} purged, {} refused", purged.purged.len(), purged.refused.len());
                }
            }
            if purged.refused.is_empty() { Ok(nothing_if(purged.purged.is_empty())) } else { Ok(Done::Partly) }
        }
    }
}

fn nothing_if(nothing: bool) -> Done {
    if nothing { Done::Nothing } else { Done::Fully }
}

/// Asks on the terminal. The command line was refused where there is none.
fn confirmed(found: &[Letter], source: Source, service: &str) -> bool {
    let mut err = std::io::stderr();
    for letter in found {
        let _ = write!(err, "{}", letter.text(false));
    }
    let _ = write!(err, "purge these {} dead letters of {} in {service}? [y/N] ", found.len(), source.name());
    let _ = err.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Whether somebody can be asked.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Letters that are held because they are not meant, and those that were seen before.
#[derive(Default)]
struct Held {
    letters: Vec<Letter>,
    seen: HashSet<String>,
}

impl Held {
    /// Whether the letter was seen before: a lock of ours ended.
    fn again(&mut self, letter: &Letter) -> bool {
        !self.seen.insert(letter.handle.key())
    }

    /// Gives all of them back. A failure only delays: locks end by themselves.
    async fn give_back(self, letters: &mut dyn Letters) {
        for letter in &self.letters {
            if let Err(error) = letters.give_back(letter).await {
                eprintln!("{} comes back later: {error:#}", letter.id);
            }
        }
    }
}

/// Looks at the letters and leaves them.
///
/// # Errors
/// A plane that is away.
pub async fn list(letters: &mut dyn Letters, filter: &Filter, limit: usize) -> Result<Vec<Letter>> {
    let mut held = Held::default();
    let looked = look(letters, filter, limit, &mut held).await;
    let found = held.letters.iter().filter(|letter| filter.matches(letter)).take(limit).cloned().collect();
    held.give_back(letters).await;
    looked.map(|()| found)
}

async fn look(letters: &mut dyn Letters, filter: &Filter, limit: usize, held: &mut Held) -> Result<()> {
    let mut matching = 0;
    while matching < limit
        && let Some(letter) = letters.next().await?
    {
        let again = held.again(&letter);
        matching += usize::from(!again && filter.matches(&letter));
        if again {
            // So long a list that the first locks have ended: what follows has been seen.
            letters.give_back(&letter).await?;
            break;
        }
        held.letters.push(letter);
    }
    Ok(())
}

/// A letter that was sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replayed {
    /// What it was called.
    pub id: String,
    /// What it is called now.
    pub new_id: String,
}

/// Sends the letters again, oldest first, and removes each after it was sent.
///
/// # Errors
/// A plane that is away: those before are replayed, the others lie where they lay.
pub async fn replay(letters: &mut dyn Letters, filter: &Filter, limit: usize) -> Result<Vec<Replayed>> {
    let mut held = Held::default();
    let mut replayed = Vec::new();
    let result = replay_all(letters, filter, limit, &mut held, &mut replayed).await;
    held.give_back(letters).await;
    match result {
        Ok(()) => Ok(replayed),
        Err(error) => Err(error.context(format!("{} were replayed before", replayed.len()))),
    }
}

async fn replay_all(
    letters: &mut dyn Letters,
    filter: &Filter,
    limit: usize,
    held: &mut Held,
    replayed: &mut Vec<Replayed>,
) -> Result<()> {
    while replayed.len() < limit
        && let Some(letter) = letters.next().await?
    {
        // One that we sent and that failed again already is not sent once more.
        let ours = replayed.iter().any(|one| one.new_id == letter.id);
        if held.again(&letter) || ours || !filter.matches(&letter) {
            held.letters.push(letter);
            continue;
        }
        let sent = letters.send_again(&letter).await;
        let new_id = match sent {
            Ok(new_id) => new_id,
            Err(error) => {
                let failed = error.context(format!("{} could not be sent again", letter.id));
                held.letters.push(letter);
                return Err(failed);
            }
        };
        replayed.push(Replayed { id: letter.id.clone(), new_id });
        let removed = letters.remove(&letter).await;
        if !removed.with_context(|| format!("{} was sent again, but lies there still", letter.id))? {
            eprintln!("{} was sent again; its dead letter lies there still or was taken by another", letter.id);
        }
    }
    Ok(())
}

/// What a purge did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// The ids of those that are gone.
    pub purged: Vec<String>,
    /// Those that stay.
    pub refused: Vec<Refused>,
}

/// A letter that stays.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its id.
    pub id: String,
    /// Why, and what to do.
    pub why: String,
}

/// Drops the letters, once they are confirmed and written down; refuses those whose events would be lost.
///
/// # Errors
/// A plane that is away, or an audit that cannot be written: those before are gone, the others lie where they lay.
pub async fn purge(
    letters: &mut dyn Letters,
    filter: &Filter,
    limit: usize,
    audit: &Audit,
    confirm: impl FnOnce(&[Letter]) -> bool,
) -> Result<Purged> {
    let mut held = Held::default();
    let looked = look(letters, filter, limit, &mut held).await;
    let all = std::mem::take(&mut held.letters);
    let (found, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|letter| filter.matches(letter));
    held.letters = others;
    let result = match looked {
        Err(error) => Err(error),
        Ok(()) if found.is_empty() => Ok(Purged::default()),
        Ok(()) if !confirm(&found) => Err(anyhow::anyhow!("nothing was purged")),
        Ok(()) => {
            let mut purged = Purged::default();
            match drop_all(letters, &found, audit, &mut purged).await {
                Ok(()) => Ok(purged),
                Err(error) => Err(error.context(format!("{} were purged before", purged.purged.len()))),
            }
        }
    };
    let gone = result.as_ref().map(|purged| purged.purged.clone()).unwrap_or_default();
    held.letters.extend(found.into_iter().filter(|letter| !gone.contains(&letter.id)));
    held.give_back(letters).await;
    result
}

async fn drop_all(letters: &mut dyn Letters, found: &[Letter], audit: &Audit, purged: &mut Purged) -> Result<()> {
    for letter in found {
        if let Some(why) = letters.refusal(letter).await? {
            purged.refused.push(Refused { id: letter.id.clone(), why });
            continue;
        }
        audit.purged(letter)?;
        if !letters.remove(letter).await? {
            bail!("{} is not ours any more: its lock ended; purge again", letter.id);
        }
        purged.purged.push(letter.id.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
