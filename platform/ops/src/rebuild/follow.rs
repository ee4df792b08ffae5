//! What the row of a view says of the rebuild that is followed.

use skein_core::Fault;
use skein_core::views::{Phase, Rebuild, ViewState};

/// The rebuild that is followed.
#[derive(Debug, PartialEq)]
pub struct Following {
    /// Its id.
    pub id: String,
    /// Whether somebody else began it.
    pub joined: bool,
    /// As it was seen last.
    seen: Option<Rebuild>,
}

/// What was seen.
#[derive(Debug)]
pub enum Look {
    /// The message that begins it was not taken yet.
    NotTaken,
    /// Another one has to end first.
    Before(Rebuild),
    /// It is under way.
    Under(Rebuild),
    /// The new generation is read.
    Swapped(Rebuild),
    /// It failed.
    Failed(Rebuild),
    /// It is over, nobody saw how, and another one has begun.
    Overtaken,
    /// The row cannot be read for now.
    Away(Fault),
}

impl Look {
    /// Changes whenever something has moved; `None` where that cannot be seen.
    pub fn mark(&self) -> Option<String> {
        match self {
            Look::Away(_) => None,
            Look::NotTaken => Some("asked".to_owned()),
            Look::Before(rebuild) => Some(format!("{:?} {}", rebuild.phase, rebuild.deleted)),
            Look::Under(rebuild) => {
                let done = rebuild.sources.iter().filter(|source| source.done).count();
                Some(format!("{} {:?} {} {done}", rebuild.id, rebuild.phase, rebuild.changed))
            }
            Look::Swapped(_) | Look::Failed(_) | Look::Overtaken => Some("over".to_owned()),
        }
    }
}

impl Following {
    /// Follows one that this command has asked for.
    pub fn asked(id: &str) -> Self {
        Following { id: id.to_owned(), joined: false, seen: None }
    }

    /// Follows one that is under way.
    pub fn joining(rebuild: &Rebuild) -> Self {
        Following { id: rebuild.id.clone(), joined: true, seen: Some(rebuild.clone()) }
    }

    /// Looks at the view's state. One that is under way when ours is not begun takes ours in.
    pub fn look(&mut self, state: Option<ViewState>) -> Look {
        let Some(ViewState { live, rebuild: Some(rebuild), .. }) = state else { return Look::NotTaken };
        if rebuild.id != self.id {
            match &self.seen {
                Some(ours) if live >= ours.generation => return Look::Swapped(ours.clone()),
                Some(_) => return Look::Overtaken,
                None if rebuild.phase.is_over() => return Look::NotTaken,
                None if !rebuild.phase.is_building() => return Look::Before(rebuild),
                None => *self = Following::joining(&rebuild),
            }
        }
        self.seen = Some(rebuild.clone());
        match rebuild.phase {
            Phase::Waiting | Phase::Filling => Look::Under(rebuild),
            Phase::Swapped | Phase::Deleting | Phase::Done => Look::Swapped(rebuild),
            Phase::Failing | Phase::Failed => Look::Failed(rebuild),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(id: &str, phase: &str, live: u32, generation: u32) -> Option<ViewState> {
        let state = json!({"live": live, "last": generation, "rebuild": {
            "id": id, "generation": generation, "replaces": generation - 1, "phase": phase, "tick": 0, "deleted": 0,
            "started": "2026-01-01T00:00:00Z", "changed": "2026-01-01T00:00:00Z", "sources": [],
        }});
        Some(serde_json::from_value(state).unwrap())
    }

    /// What is seen, one look after the other.
    fn looks(following: &mut Following, states: impl IntoIterator<Item = Option<ViewState>>) -> String {
        let look = |state| match following.look(state) {
            Look::NotTaken => "not taken".to_owned(),
            Look::Before(rebuild) => format!("before: {}", rebuild.id),
            Look::Under(rebuild) => format!("under: {} {:?}", rebuild.id, rebuild.phase),
            Look::Swapped(rebuild) => format!("swapped: {}", rebuild.id),
            Look::Failed(rebuild) => format!("failed: {}", rebuild.id),
            Look::Overtaken => "overtaken".to_owned(),
            Look::Away(fault) => format!("away: {fault}"),
        };
        states.into_iter().map(look).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn one_that_was_asked_for_is_followed_until_it_is_read() {
        let mut ours = Following::asked("a");
        let states = [
            None,
            state("z", "done", 1, 1),
            state("a", "waiting", 1, 2),
            state("a", "filling", 1, 2),
            state("a", "swapped", 2, 2),
            state("a", "done", 2, 2),
        ];
        let seen = "not taken, not taken, under: a Waiting, under: a Filling, swapped: a, swapped: a";
        assert_eq!(looks(&mut ours, states), seen);
        assert!(!ours.joined);
    }

    #[test]
    fn the_one_before_is_waited_for_and_one_under_way_is_joined() {
        let mut ours = Following::asked("b");
        let states = [state("a", "deleting", 2, 2), state("a", "done", 2, 2), state("b", "waiting", 2, 3)];
        assert_eq!(looks(&mut ours, states), "before: a, not taken, under: b Waiting");
        let mut ours = Following::asked("b");
        let states = [state("c", "filling", 2, 3), state("c", "swapped", 3, 3)];
        assert_eq!(looks(&mut ours, states), "under: c Filling, swapped: c");
        assert!(ours.joined);
    }

    #[test]
    fn an_end_that_was_not_seen_is_concluded_or_told() {
        let mut ours = Following::asked("a");
        assert_eq!(
            looks(&mut ours, [state("a", "filling", 1, 2), state("b", "waiting", 2, 3)]),
            "under: a Filling, swapped: a"
        );
        let mut ours = Following::asked("a");
        assert_eq!(
            looks(&mut ours, [state("a", "filling", 1, 2), state("b", "waiting", 1, 3)]),
            "under: a Filling, overtaken"
        );
        let mut ours = Following::asked("a");
        assert_eq!(looks(&mut ours, [state("a", "failing", 1, 2)]), "failed: a");
    }
}
