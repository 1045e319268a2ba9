use std::str::FromStr;

use proptest::prelude::*;

use super::*;
use crate::engine::fake::{Fake, FakeState};

fn generation(number: u64) -> GenerationName {
    GenerationName::from_str(&format!("{number:012}-0123abcd")).unwrap()
}

fn key(name: &str) -> SessionKey {
    SessionKey {
        tenant: TenantId::parse("t").unwrap(),
        subject: SubjectId::parse("s").unwrap(),
        session: SessionId::parse(name).unwrap(),
    }
}

fn message(role: Role, text: &str) -> Message {
    Message { role, content: text.to_owned() }
}

fn user(text: &str) -> Message {
    message(Role::User, text)
}

/// The session after one turn: "hi" was asked, "yes" was said.
fn spoken(engine: &Fake, digests: &Digests, cut: bool) -> Session<FakeState> {
    let plan = plan(engine, digests, None, &generation(0), (key("s"), &[user("hi")], Form::Whole)).unwrap();
    let (_, history) = plan.keep.unwrap();
    let tokens = engine.encode("yes");
    let consumed = plan.prompt.len() + tokens.len() - 1;
    let said = Said { text: "yes", tokens: &tokens, cut };
    after(engine, digests, history, &said, (&generation(0), consumed, FakeState::default()))
}

#[test]
fn a_list_that_extends_the_history_continues_the_state() {
    let (engine, digests) = (Fake::default(), Digests::default());
    let known = spoken(&engine, &digests, false);
    let messages = [user("hi"), message(Role::Assistant, " yes\n"), user("and?")];
    let plan = plan(&engine, &digests, Some(known), &generation(0), (key("s"), &messages, Form::Whole)).unwrap();
    assert_eq!(plan.reuse, Reuse::Continued);
    assert_eq!((plan.first_new, plan.turn), (2, 1));
    assert_eq!(plan.fresh, engine.message(Role::User, "and?").len());
    let whole: Vec<u32> = messages.iter().flat_map(|m| engine.message(m.role, m.content.trim())).collect();
    assert_eq!(plan.prompt, [whole, engine.open_answer()].concat());
    // Unread: the answer's last token, the end of its turn, the new message and the opening.
    assert_eq!(plan.prompt.len() - plan.cached(), 2 + plan.fresh + plan.opening);
}

#[test]
fn the_short_form_continues_what_is_kept_and_nothing_else() {
    let (engine, digests) = (Fake::default(), Digests::default());
    let known = spoken(&engine, &digests, false);
    let request = |known| plan(&engine, &digests, known, &generation(0), (key("s"), &[user("and?")], Form::Continue));
    let plan = request(Some(known)).unwrap();
    assert_eq!((plan.reuse, plan.first_new, plan.turn), (Reuse::Continued, 0, 1));
    assert!(matches!(request(None), Err(Expired)));
}

#[test]
fn another_generation_reads_the_history_again() {
    let (engine, digests) = (Fake::default(), Digests::default());
    let known = spoken(&engine, &digests, false);
    let plan = plan(&engine, &digests, Some(known), &generation(1), (key("s"), &[user("and?")], Form::Continue)).unwrap();
    assert_eq!((plan.reuse, plan.cached()), (Reuse::Recomputed, 0));
    assert!(plan.fresh < plan.prompt.len());
}

#[test]
fn an_edited_list_keeps_only_the_shared_messages() {
    let (engine, digests) = (Fake::default(), Digests::default());
    let known = spoken(&engine, &digests, false);
    let messages = [user("hi"), message(Role::Assistant, "no"), user("and?")];
    let plan = plan(&engine, &digests, Some(known), &generation(0), (key("s"), &messages, Form::Whole)).unwrap();
    assert_eq!(
        (plan.reuse, plan.cached(), plan.first_new),
        (Reuse::Recomputed, 0, 2),
        "an answer that the client rewrote is nobody's message"
    );
    let whole: Vec<u32> = messages.iter().flat_map(|m| engine.message(m.role, &m.content)).collect();
    assert_eq!(plan.prompt, [whole, engine.open_answer()].concat());
}

#[test]
fn what_a_stop_string_cut_is_not_remembered() {
    let (engine, digests) = (Fake::default(), Digests::default());
    let known = spoken(&engine, &digests, true);
    assert!(known.held.is_none());
    let wanted = [engine.message(Role::User, "hi"), engine.message(Role::Assistant, "yes")].concat();
    assert_eq!(known.history.tokens, wanted);
}

#[test]
fn the_session_used_longest_ago_leaves_first() {
    let (engine, digests) = (Fake::default(), Digests::default());
    let mut store = SessionStore::new(1 << 20, 2);
    for name in ["a", "b"] {
        assert!(store.put(key(name), spoken(&engine, &digests, false), 10).is_empty());
    }
    assert!(store.get(&key("a")).is_some());
    assert_eq!(store.put(key("c"), spoken(&engine, &digests, false), 10).len(), 1);
    assert!(store.get(&key("b")).is_none());
    assert!(store.get(&key("a")).is_some() && store.get(&key("c")).is_some());
}

#[test]
fn a_state_over_the_limit_leaves_its_history() {
    let (engine, digests) = (Fake::default(), Digests::default());
    let mut store = SessionStore::new(4096, 8);
    drop(store.put(key("a"), spoken(&engine, &digests, false), 100_000));
    let kept = store.get(&key("a")).unwrap();
    assert!(kept.held.is_none() && !kept.history.tokens.is_empty());
}

proptest! {
    #[test]
    fn the_store_never_holds_more_than_its_limits(sizes in prop::collection::vec((0_u8..12, 0_usize..3000), 1..80)) {
        let (engine, digests) = (Fake::default(), Digests::default());
        let mut store = SessionStore::new(8192, 5);
        for (name, bytes) in sizes {
            drop(store.put(key(&format!("s{name}")), spoken(&engine, &digests, false), bytes));
            let fill = store.fill();
            prop_assert!(fill.bytes <= 8192 && fill.sessions <= 5, "{:?}", fill);
        }
    }
}
