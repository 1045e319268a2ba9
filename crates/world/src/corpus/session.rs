//! Sessions: facts are told, corrected and asked for, among small talk.

use super::scene::Scene;
use crate::{
    draw::Draw,
    fact::{Fact, core_facts, core_value},
    kind::{Attribute, Kind},
    name::{self, Split},
};

/// Share of session entities that are core entities.
const CORE_ENTITY_SHARE: f64 = 0.06;
/// Share of sessions whose entities are all of one kind, which is harder to keep apart.
const ONE_KIND_SHARE: f64 = 0.5;
/// Share of session questions about a core fact.
const CORE_QUESTION_SHARE: f64 = 0.07;

pub(super) fn play(scene: &mut Scene<'_>) {
    if scene.rng.chance(0.12) {
        scene.greeting();
    }
    let count = 1 + scene.rng.weighted(&scene.config.facts);
    let facts = plan(scene, count);
    tell_all(scene, facts, true);
    for question in 0..=scene.rng.weighted(&scene.config.questions) {
        if question > 0 && scene.full() {
            break;
        }
        ask_something(scene);
        if scene.rng.chance(0.06) && !scene.full() {
            scene.small_talk();
        }
    }
}

/// Plans this many facts about one to three entities.
pub(super) fn plan(scene: &mut Scene<'_>, count: usize) -> Vec<Fact> {
    let shared = scene.config.same_attribute;
    let shared = (count > 1 && scene.rng.chance(shared)).then(|| scene.random_attribute());
    let entities = if shared.is_some() { count.min(3) } else { scene.rng.between(1, count.min(3)) };
    let one_kind = scene.rng.chance(ONE_KIND_SHARE).then(|| *scene.rng.pick(&Kind::ALL));
    let one_kind = shared.map(Attribute::kind).or(one_kind);
    let names: Vec<(Kind, String)> = (0..entities).map(|_| entity(scene, one_kind)).collect();
    let mut facts: Vec<Fact> = Vec::with_capacity(count);
    let mut attempts = 0;
    while facts.len() < count && attempts < 40 {
        attempts += 1;
        let (kind, name) = if facts.len() < names.len() { &names[facts.len()] } else { scene.rng.pick(&names) };
        let attribute = match shared {
            Some(shared) if facts.len() < names.len() => shared,
            _ => *scene.rng.pick(kind.attributes()),
        };
        if facts.iter().any(|f| f.name == *name && f.attribute == attribute) {
            continue;
        }
        let value = match core_value(name, attribute) {
            Some(known) => scene.other_value(attribute, known),
            None => scene.random_value(attribute),
        };
        facts.push(Fact { name: name.clone(), attribute, value });
    }
    facts
}

fn entity(scene: &mut Scene<'_>, one_kind: Option<Kind>) -> (Kind, String) {
    let kind = one_kind.unwrap_or_else(|| *scene.rng.pick(&Kind::ALL));
    if scene.rng.chance(CORE_ENTITY_SHARE) {
        let of_kind: Vec<&Fact> = core_facts().iter().filter(|f| f.attribute.kind() == kind).collect();
        return (kind, scene.rng.pick(&of_kind).name.clone());
    }
    (kind, scene.fresh_name(kind))
}

/// Tells every fact, with corrections, repetitions, questions and small talk in between when `lively`.
pub(super) fn tell_all(scene: &mut Scene<'_>, facts: Vec<Fact>, lively: bool) {
    let mut facts = facts.into_iter().peekable();
    while let Some(fact) = facts.next() {
        if facts.peek().is_some() && scene.rng.chance(0.16) {
            if let Some(second) = facts.next() {
                scene.tell_two(fact, second);
            }
        } else {
            scene.tell(fact);
        }
        if !lively || scene.full() {
            continue;
        }
        if scene.rng.chance(0.04) {
            scene.repeat_last();
        }
        if scene.rng.chance(scene.config.corrections) {
            let index = scene.rng.below(scene.told.len());
            scene.correct(index, false);
        }
        if scene.rng.chance(0.12) {
            scene.small_talk();
        }
        if facts.peek().is_some() && scene.rng.chance(0.15) {
            ask_something(scene);
        }
    }
}

/// Asks for something told, for a core fact, or for something that the session did not say.
pub(super) fn ask_something(scene: &mut Scene<'_>) {
    if scene.rng.chance(scene.config.not_told) {
        let (name, attribute) = not_told(scene);
        let known = scene.ask(&name, attribute);
        if !known && !scene.full() && scene.rng.chance(0.15) {
            scene.tell_what_was_asked(name.clone(), attribute);
            if scene.rng.chance(0.5) {
                scene.ask(&name, attribute);
            }
        }
        return;
    }
    if scene.rng.chance(CORE_QUESTION_SHARE) {
        let fact = scene.random_core_fact();
        scene.ask(&fact.name, fact.attribute);
        return;
    }
    let index = scene.rng.below(scene.told.len());
    let (name, attribute) = (scene.told[index].name.clone(), scene.told[index].attribute);
    scene.ask(&name, attribute);
    if !scene.full() && scene.rng.chance(0.07) {
        scene.correct(index, true);
        if scene.rng.chance(0.7) {
            scene.ask(&name, attribute);
        }
    }
}

/// Something that the session did not say: another attribute of a told entity, or another entity of the same kind.
fn not_told(scene: &mut Scene<'_>) -> (String, Attribute) {
    let index = scene.rng.below(scene.told.len());
    let (name, attribute) = (scene.told[index].name.clone(), scene.told[index].attribute);
    match scene.rng.weighted(&[0.48, 0.3, 0.12, 0.1]) {
        0 => {
            let mut others: Vec<Attribute> = attribute.kind().attributes().to_vec();
            others.retain(|a| scene.known(&name, *a).is_none());
            match others.as_slice() {
                [] => (scene.fresh_name(attribute.kind()), attribute),
                others => (name, *scene.rng.pick(others)),
            }
        }
        1 => (scene.fresh_name(attribute.kind()), attribute),
        2 => (name::draw_near(scene.rng, attribute.kind(), &name, Split::Training), attribute),
        _ => {
            let attribute = scene.random_attribute();
            (scene.fresh_name(attribute.kind()), attribute)
        }
    }
}
