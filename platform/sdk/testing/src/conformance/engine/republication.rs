//! Republication: stored integration events go out again, byte for byte, alone or by the category.

use bytes::Bytes;
use skein_core::Fault;
use skein_core::ports::{Message, rebuild_queue};
use skein_core::republish::{
    Mark, RebuildMessage, RebuildOf, Republish, RepublishCategory, SLICE, republish, republish_category,
};
use skein_core::store::Place;

use super::*;

pub(super) fn of() -> RebuildOf {
    RebuildOf { service: "bank".into(), view: "purses".into(), id: "r1".into() }
}

impl Worker {
    /// Handles a message of the command queue.
    pub(super) async fn handle(&self, message: &Message) -> Result<Receipt, Fault> {
        let delivery = Delivery { message_id: message.id.clone(), count: 1, traceparent: None };
        self.handler.receive(&message.body, &delivery).await
    }
}

/// The bytes of events in messages of a rebuild queue, and the marks.
pub(super) fn unpacked(sent: &[(String, Message)]) -> (Vec<Bytes>, Vec<Mark>) {
    let (mut events, mut marks) = (Vec::new(), Vec::new());
    for (_, message) in sent.iter().filter(|(queue, _)| *queue == rebuild_queue("bank")) {
        match RebuildMessage::from_json(&message.body).expect("a message of a rebuild") {
            RebuildMessage::Events(sent) => {
                events.extend(sent.events.iter().map(|event| Bytes::copy_from_slice(event.get().as_bytes())));
            }
            RebuildMessage::Slice(slice) => marks.extend(slice.marks),
            other => panic!("{other:?}"),
        }
    }
    (events, marks)
}

/// From a sequence on, to the topic or to a rebuild's queue: the same bytes, no outcome, no change.
pub async fn an_aggregate_is_republished_byte_for_byte(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    worker.decide("again", "again-open", &Open { owner: "ann".into() }).await;
    for n in 1..=7 {
        worker.decide("again", &format!("again-{n}"), &deposit(n)).await;
    }
    let first: Vec<Bytes> = worker.bus.take().concat();
    assert_eq!(first.len(), 7, "opening is private");
    worker.calls();
    for from in [1, 5, 7] {
        let command = Republish { from, to: None, once: false };
        let message = republish("republish", purse_id("again"), &command, "bank").expect("a message");
        assert_eq!(message.session, "purse:again");
        let receipt = worker.handle(&message).await.expect("republished");
        let events = 8 - from;
        assert!(matches!(&receipt, Receipt::Republished { events: sent, .. } if *sent == events), "{receipt:?}");
        assert_eq!(worker.bus.take().concat(), first[usize::try_from(from - 1).expect("small")..]);
        assert_eq!(worker.calls(), [Call::Get("E!".into()), Call::Query], "nothing is written");
    }
    let command = Republish { from: 3, to: Some(of()), once: false };
    let message = republish("to-rebuild", purse_id("again"), &command, "bank").expect("a message");
    worker.handle(&message).await.expect("republished");
    assert_eq!(unpacked(&worker.queue.take()).0, first[2..]);
    // Beyond the end, and of an aggregate that nobody knows, there is nothing.
    for (purse, from) in [("again", 8), ("nobody", 1)] {
        let message =
            republish("none", purse_id(purse), &Republish { from, to: None, once: false }, "bank").expect("a message");
        let receipt = worker.handle(&message).await.expect("republished");
        assert!(matches!(receipt, Receipt::Republished { events: 0, .. }), "{receipt:?}");
    }
    assert!(worker.bus.take().is_empty());
    // A topic that is away: not settled.
    worker.bus.fail_next(u32::MAX);
    let mut command = Republish { from: 1, to: None, once: false };
    let message = republish("away", purse_id("again"), &command, "bank").expect("a message");
    assert_eq!(worker.handle(&message).await.expect_err("away").code, "SEND_UNAVAILABLE");
    // Whoever asks again by itself does not hold up the aggregate meanwhile.
    command.once = true;
    let message = republish("away", purse_id("again"), &command, "bank").expect("a message");
    let receipt = worker.handle(&message).await.expect("settled");
    assert!(matches!(receipt, Receipt::Republished { events: 0, .. }), "{receipt:?}");
}

/// A category goes out slice by slice: each ends with marks, then queues the next under an id that a retry repeats.
pub async fn a_category_is_republished_in_slices(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    let count = usize::try_from(SLICE).expect("small") + 30;
    let purses: Vec<String> = (0..count).map(|n| format!("slice-{n:03}")).collect();
    for (n, purse) in purses.iter().enumerate() {
        worker.decide(purse, &format!("{purse}-1"), &deposit(1)).await;
        if n % 10 == 0 {
            worker.decide(purse, &format!("{purse}-2"), &deposit(2)).await;
        }
    }
    let mut expected: Vec<Bytes> = worker.bus.take().concat();
    let mut message = republish_category(
        "purse",
        &RepublishCategory { to: of(), from: Place { shard: 0, after: "purse:slice-".into() }, chain: 0 },
        "bank",
    )
    .expect("a message");
    let (mut sent, mut slices) = (Vec::new(), 0);
    loop {
        // A queue that is away: nothing is settled, and the slice is done again, by a process that remembers nothing.
        let broken = Worker::new(&store);
        broken.queue.fail_next(u32::MAX);
        broken.handle(&message).await.expect_err("not settled");
        let worker = Worker::new(&store);
        worker.handle(&message).await.expect("a slice");
        let out = worker.queue.take();
        slices += 1;
        let next = out.iter().find(|(queue, _)| queue == "bank").map(|(_, message)| message.clone());
        let mine = out
            .iter()
            .any(|(queue, message)| queue != "bank" && String::from_utf8_lossy(&message.body).contains("purse:slice-"));
        sent.extend(out);
        // Done already, by the same process: whoever comes again is settled.
        let receipt = worker.handle(&message).await.expect("known");
        assert!(matches!(receipt, Receipt::Republished { events: 0, .. }), "{receipt:?}");
        assert!(worker.queue.take().is_empty());
        // A repetition by another process sends the same messages.
        let again = Worker::new(&store);
        again.handle(&message).await.expect("a slice");
        assert_eq!(again.queue.take().last().map(|(_, m)| m.id.clone()), sent.last().map(|(_, m)| m.id.clone()));
        match next {
            Some(next) if mine => message = next,
            _ => break,
        }
    }
    assert!(slices >= 2, "{slices}");
    let (mut events, marks) = unpacked(&sent);
    let mine = |event: &Bytes| String::from_utf8_lossy(event).contains("purse:slice-");
    events.retain(mine);
    events.sort();
    expected.sort();
    assert_eq!(events, expected);
    for (n, purse) in purses.iter().enumerate() {
        let mark = marks.iter().find(|mark| mark.aggregate == purse_id(purse)).expect("a mark");
        assert_eq!((mark.epoch, mark.sequence), (0, if n % 10 == 0 { 2 } else { 1 }), "{purse}");
    }
}

/// All shards, one after the other, also those that hold nothing.
pub async fn republication_misses_nothing_across_shards(store: Arc<dyn TableStore>) {
    // The same store four times over: each aggregate is in the account that its key says, and only that one may
    // answer for it. A store of one's own for each shard would be the same to the walk but for the number of rows.
    let events = EventStore::new(vec![store.clone(), store.clone(), store.clone()]);
    let worker = Worker::new(&store);
    for n in 0..5 {
        worker.decide(&format!("shards-{n}"), &format!("shards-{n}"), &deposit(1)).await;
    }
    let mut place = Place { shard: 0, after: "purse:shards-".into() };
    let mut seen = Vec::new();
    loop {
        let walked = events.aggregates("purse", &place, 2).await.expect("walks");
        let mine = walked.found.iter().filter(|(id, _)| id.id().starts_with("shards-"));
        seen.extend(mine.map(|(id, _)| (place.shard, id.id().to_owned())));
        assert!(walked.through > place, "it comes to an end");
        place = walked.through;
        if walked.last {
            break;
        }
        if place.shard > 0 && place.after.is_empty() {
            place.after = "purse:shards-".into();
        }
    }
    let expected: Vec<(u16, String)> =
        (0..3).flat_map(|shard| (0..5).map(move |n| (shard, format!("shards-{n}")))).collect();
    assert_eq!(seen, expected);
}
