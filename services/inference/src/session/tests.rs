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
    assert!(matches!(request(None), Err(Unplannable::Expired)));
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

#[test]
fn a_template_continues_what_it_still_writes_and_ends_the_answer_in_its_own_way() {
    let (engine, digests) = (Fake { by_template: true, ..Fake::default() }, Digests::default());
    for form in [Form::Whole, Form::Continue] {
        let known = spoken(&engine, &digests, false);
        let whole = [user("hi"), message(Role::Assistant, "yes"), user("and?")];
        let messages = if form == Form::Whole { &whole[..] } else { &whole[2..] };
        let plan = plan(&engine, &digests, Some(known), &generation(0), (key("s"), messages, form)).unwrap();
        assert_eq!(plan.reuse, Reuse::Continued);
        let said: Vec<(Role, &str)> = whole.iter().map(|m| (m.role, m.content.as_str())).collect();
        assert_eq!(plan.prompt, engine.conversation(&said, true).unwrap());
        // The new message, and what the template writes after each end.
        assert_eq!(plan.fresh, engine.message(Role::User, "and?").len() + 2);
        assert_eq!(plan.prompt.len() - plan.cached(), 2 + plan.fresh + plan.opening);
    }
}

#[test]
fn a_template_that_writes_an_old_message_differently_has_it_read_again() {
    let (engine, digests) = (Fake { by_template: true, ..Fake::default() }, Digests::default());
    let mut messages = vec![user("one (forget)")];
    let mut known = None;
    for (turn, reuse) in [Reuse::New, Reuse::Continued, Reuse::Recomputed].into_iter().enumerate() {
        let plan = plan(&engine, &digests, known, &generation(0), (key("s"), &messages, Form::Whole)).unwrap();
        // The first message is written without its end once two more answers follow.
        assert_eq!(plan.reuse, reuse, "turn {turn}");
        assert!(plan.fresh <= engine.message(Role::User, "one (forget)").len() + 2, "an old answer is not new: {}", plan.fresh);
        let tokens = engine.encode("yes");
        let said = Said { text: "yes", tokens: &tokens, cut: false };
        let consumed = plan.prompt.len() + 2;
        known = Some(after(&engine, &digests, plan.keep.unwrap().1, &said, (&generation(0), consumed, FakeState::default())));
        messages.extend([message(Role::Assistant, "yes"), user("more")]);
    }
}

#[test]
fn what_a_template_refuses_is_said() {
    let (engine, digests) = (Fake { by_template: true, ..Fake::default() }, Digests::default());
    let refused = plan(&engine, &digests, None, &generation(0), (key("s"), &[message(Role::Assistant, "a")], Form::Whole));
    assert!(matches!(refused, Err(Unplannable::Unwritable(why)) if why.to_string() == "an answer to nothing"));
    let nothing = plan(&engine, &digests, None, &generation(0), (key("s"), &[message(Role::System, "x")], Form::Whole));
    assert!(matches!(nothing, Err(Unplannable::Unwritable(_))), "a prompt without tokens cannot be read");
}

#[test]
fn an_answer_that_a_template_writes_otherwise_or_that_was_cut_is_read_again() {
    let (engine, digests) = (Fake { by_template: true, ..Fake::default() }, Digests::default());
    let messages = [user("hi"), message(Role::Assistant, "yes"), user("and?")];
    let whole = |known| plan(&engine, &digests, Some(known), &generation(0), (key("s"), &messages, Form::Whole)).unwrap();
    let cut = whole(spoken(&engine, &digests, true));
    assert_eq!(cut.reuse, Reuse::Recomputed);
    let mut other = spoken(&engine, &digests, false);
    other.history.tokens.push(u32::from(b'!'));
    let said: Vec<(Role, &str)> = messages.iter().map(|m| (m.role, m.content.as_str())).collect();
    let other = whole(other);
    assert_eq!((other.reuse, other.prompt), (Reuse::Recomputed, engine.conversation(&said, true).unwrap()));
}
