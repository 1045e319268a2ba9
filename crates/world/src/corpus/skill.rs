//! The three skills of a night.

use super::{scene::Scene, session};
use crate::{
    conversation::TurnKind,
    draw::Draw,
    kind::Attribute,
    skills::{self, instruction},
    wording,
};

/// Share of conversations with nothing to ask about.
const NOTHING_TOLD_SHARE: f64 = 0.12;
/// Share of conversations in which a single message is told.
const SINGLE_MESSAGE_SHARE: f64 = 0.35;
/// Share of questions about a core entity.
const CORE_NAME_SHARE: f64 = 0.1;

/// Asks a question about what was told.
pub(super) fn ask(scene: &mut Scene<'_>) {
    if scene.rng.chance(NOTHING_TOLD_SHARE) {
        nothing_told(scene);
    } else if scene.rng.chance(SINGLE_MESSAGE_SHARE) {
        let count = scene.rng.between(1, 2);
        let mut facts = session::plan(scene, count);
        match (facts.pop(), facts.pop()) {
            (Some(second), Some(first)) => scene.tell_two(first, second),
            (Some(only), None) => scene.tell(only),
            _ => {}
        }
    } else {
        if scene.rng.chance(0.12) {
            scene.greeting();
        }
        let count = 1 + scene.rng.weighted(&[0.3, 0.3, 0.25, 0.15]);
        let facts = session::plan(scene, count);
        session::tell_all(scene, facts, true);
        for _ in 0..scene.rng.weighted(&[0.3, 0.35, 0.25, 0.1]) {
            if !scene.full() {
                session::ask_something(scene);
            }
        }
    }
    for round in 0..=scene.rng.weighted(&[0.55, 0.25, 0.2]) {
        if round > 0 && scene.full() {
            break;
        }
        let instruction = instruction(scene.rng, &skills::ASK);
        scene.user(TurnKind::Instruction, instruction.to_owned());
        let text = question_about_told(scene);
        scene.assistant(TurnKind::SelfQuestion, text);
    }
}

fn nothing_told(scene: &mut Scene<'_>) {
    for _ in 0..scene.rng.between(0, 3) {
        match scene.rng.weighted(&[0.5, 0.25, 0.25]) {
            0 => scene.small_talk(),
            1 => {
                let fact = scene.random_core_fact();
                scene.ask(&fact.name, fact.attribute);
            }
            _ => {
                let attribute = scene.random_attribute();
                let name = scene.fresh_name(attribute.kind());
                scene.ask(&name, attribute);
            }
        }
    }
}

fn question_about_told(scene: &mut Scene<'_>) -> String {
    if scene.told.is_empty() {
        return skills::NOTHING_TO_ASK.to_owned();
    }
    let fact = scene.rng.pick(&scene.told);
    let wording = wording::draw_base(scene.rng, fact.attribute);
    wording::ask(wording, &fact.name)
}

/// An entity to ask about: fresh, or a core entity.
fn some_question(scene: &mut Scene<'_>) -> (String, Attribute) {
    if scene.rng.chance(CORE_NAME_SHARE) {
        let fact = scene.random_core_fact();
        (fact.name.clone(), *scene.rng.pick(fact.attribute.kind().attributes()))
    } else {
        let attribute = scene.random_attribute();
        (scene.fresh_name(attribute.kind()), attribute)
    }
}

/// How many instructions follow each other; a night sends one in an empty context, so the first one matters most.
fn rounds(scene: &mut Scene<'_>) -> usize {
    1 + scene.rng.weighted(&[0.3, 0.25, 0.25, 0.2])
}

/// Says questions in other words.
pub(super) fn paraphrase(scene: &mut Scene<'_>) {
    for _ in 0..rounds(scene) {
        let (name, attribute) = some_question(scene);
        let wording = wording::draw_base(scene.rng, attribute);
        let other = wording::draw_other(scene.rng, attribute, &[wording]);
        let instruction = instruction(scene.rng, &skills::PARAPHRASE);
        scene.user(TurnKind::Instruction, format!("{instruction} {}", wording::ask(wording, &name)));
        scene.assistant(TurnKind::Paraphrase, wording::ask(other, &name));
    }
}

/// Asks the same about another name.
pub(super) fn transfer(scene: &mut Scene<'_>) {
    for _ in 0..rounds(scene) {
        let (name, attribute) = some_question(scene);
        let other = scene.fresh_name(attribute.kind());
        let wording = wording::draw_base(scene.rng, attribute);
        let instruction = instruction(scene.rng, &skills::TRANSFER);
        scene.user(TurnKind::Instruction, format!("{instruction} {}", wording::ask(wording, &name)));
        scene.assistant(TurnKind::Transfer, wording::ask(wording, &other));
    }
}
