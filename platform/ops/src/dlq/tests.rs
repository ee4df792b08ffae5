//! The commands over letters in memory.

use std::collections::VecDeque;

use bytes::Bytes;

use super::letter::{Body, Handle};
use super::*;

/// Letters in memory; those that were handed out are held.
#[derive(Default)]
struct Pile {
    waiting: VecDeque<Letter>,
    held: Vec<usize>,
    sent: Vec<String>,
    /// What happened, in order.
    log: Vec<String>,
    /// A letter whose sending, and one whose removal fails.
    broken: (Option<usize>, Option<usize>),
    refused: Vec<usize>,
    /// Whether what is sent again comes back as a dead letter at once.
    poison: bool,
}

fn letter(n: usize, code: &str) -> Letter {
    Letter {
        id: format!("m{n}"),
        session: None,
        enqueued: Some(OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(n as i64)),
        traceparent: None,
        given_up: Some(code.to_owned()),
        fault: None,
        what: What::Unreadable { why: "a test".to_owned() },
        body: Body(Bytes::from_static(b"{}")),
        handle: Handle::Test(n),
    }
}

fn number(letter: &Letter) -> usize {
    let Handle::Test(n) = letter.handle else { panic!("{:?}", letter.handle) };
    n
}

impl Pile {
    fn of(codes: &[&str]) -> Self {
        Pile { waiting: codes.iter().enumerate().map(|(n, code)| letter(n, code)).collect(), ..Pile::default() }
    }

    fn left(&self) -> Vec<String> {
        assert!(self.held.is_empty(), "{:?} are held still", self.held);
        self.waiting.iter().map(|letter| letter.id.clone()).collect()
    }
}

#[async_trait]
impl Letters for Pile {
    async fn next(&mut self) -> Result<Option<Letter>> {
        let next = self.waiting.pop_front();
        self.held.extend(next.iter().map(number));
        Ok(next)
    }

    async fn send_again(&mut self, letter: &Letter) -> Result<String> {
        if self.broken.0 == Some(number(letter)) {
            bail!("the queue is away");
        }
        let id = format!("{}-again", letter.id);
        self.log.push(format!("send {}", letter.id));
        self.sent.push(id.clone());
        if self.poison {
            let again = Letter { id: id.clone(), handle: Handle::Test(100 + number(letter)), ..letter.clone() };
            self.waiting.push_back(again);
        }
        Ok(id)
    }

    async fn remove(&mut self, letter: &Letter) -> Result<bool> {
        if self.broken.1 == Some(number(letter)) {
            self.held.retain(|n| *n != number(letter));
            self.waiting.push_front(letter.clone());
            bail!("the queue is away");
        }
        self.log.push(format!("remove {}", letter.id));
        self.held.retain(|n| *n != number(letter));
        Ok(true)
    }

    async fn give_back(&mut self, letter: &Letter) -> Result<()> {
        if self.held.contains(&number(letter)) {
            self.held.retain(|n| *n != number(letter));
            self.waiting.push_back(letter.clone());
        }
        Ok(())
    }

    async fn refusal(&self, letter: &Letter) -> Result<Option<String>> {
        Ok(self.refused.contains(&number(letter)).then(|| "replay it instead".to_owned()))
    }
}

fn with_code(code: &str) -> Filter {
    Filter { code: Some(code.to_owned()), ..Filter::default() }
}

#[tokio::test]
async fn a_list_leaves_everything_where_it_was() {
    let mut letters = Pile::of(&["A", "B", "A", "A"]);
    let found = list(&mut letters, &with_code("A"), 2).await.unwrap();
    assert_eq!(found.iter().map(number).collect::<Vec<_>>(), [0, 2]);
    let mut left = letters.left();
    left.sort();
    assert_eq!(left, ["m0", "m1", "m2", "m3"]);
    let before = Filter { before: found[1].enqueued, ..Filter::default() };
    assert_eq!(list(&mut letters, &before, 100).await.unwrap().len(), 2);
    let id = Filter { id: Some("m3".into()), ..Filter::default() };
    assert_eq!(list(&mut letters, &id, 100).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_replay_goes_oldest_first_and_sends_before_it_removes() {
    let mut letters = Pile::of(&["A", "B", "A"]);
    let replayed = replay(&mut letters, &with_code("A"), 100).await.unwrap();
    assert_eq!(replayed.len(), 2);
    assert_eq!(letters.log, ["send m0", "remove m0", "send m2", "remove m2"]);
    assert_eq!(letters.left(), ["m1"]);
}

#[tokio::test]
async fn what_fails_again_is_replayed_once() {
    let mut letters = Pile { poison: true, ..Pile::of(&["A", "A"]) };
    assert_eq!(replay(&mut letters, &Filter::default(), 100).await.unwrap().len(), 2);
    assert_eq!(letters.left(), ["m0-again", "m1-again"]);
}

#[tokio::test]
async fn a_replay_that_breaks_off_loses_nothing() {
    let mut letters = Pile { broken: (Some(1), None), ..Pile::of(&["A", "A", "A"]) };
    let error = replay(&mut letters, &Filter::default(), 100).await.unwrap_err();
    assert_eq!(format!("{error:#}"), "1 were replayed before: m1 could not be sent again: the queue is away");
    let mut left = letters.left();
    left.sort();
    assert_eq!(left, ["m1", "m2"]);

    let mut letters = Pile { broken: (None, Some(0)), ..Pile::of(&["A", "A"]) };
    replay(&mut letters, &Filter::default(), 100).await.unwrap_err();
    assert_eq!((letters.sent.len(), letters.left().len()), (1, 2), "it was sent, and lies there still");
}

#[tokio::test]
async fn a_purge_asks_writes_down_and_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state/audit.jsonl");
    let audit = Audit::open(&file, "orders", "commands").unwrap();
    let mut letters = Pile { refused: vec![1], ..Pile::of(&["A", "A", "B"]) };
    let error = purge(&mut letters, &with_code("A"), 100, &audit, |_| false).await.unwrap_err();
    assert_eq!((error.to_string().as_str(), letters.left().len()), ("nothing was purged", 3));

    let purged = purge(&mut letters, &with_code("A"), 100, &audit, |found| found.len() == 2).await.unwrap();
    assert_eq!(purged.purged, ["m0"]);
    assert_eq!(purged.refused, [Refused { id: "m1".into(), why: "replay it instead".into() }]);
    let mut left = letters.left();
    left.sort();
    assert_eq!(left, ["m1", "m2"]);
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written.lines().count(), 1);
    let line: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(
        (&line["service"], &line["letter"]["id"], &line["letter"]["body"]),
        (&"orders".into(), &"m0".into(), &serde_json::json!({}))
    );
}
