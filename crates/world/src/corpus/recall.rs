//! Conversations without anything told: core facts, unknown names, untaught attributes, small talk.
//!
//! Known and unknown stand in the same conversations, so that neither the place nor the neighborhood of a question says whether its
//! answer is known.

use super::scene::Scene;
use crate::{draw::Draw, kind::Attribute};

/// Core facts, with something unknown in between.
pub(super) fn core(scene: &mut Scene<'_>) {
    let count = 2 + scene.rng.weighted(&[0.25, 0.3, 0.25, 0.2]);
    play(scene, count, [0.84, 0.08, 0.08]);
}

/// Unknown names and untaught attributes, with core facts in between.
pub(super) fn unknown(scene: &mut Scene<'_>) {
    let count = 2 + scene.rng.weighted(&[0.25, 0.3, 0.25, 0.2]);
    play(scene, count, [0.16, 0.54, 0.3]);
}

/// Asks `count` questions: core facts, fresh names and untaught attributes of core entities by these weights.
fn play(scene: &mut Scene<'_>, count: usize, weights: [f64; 3]) {
    if scene.rng.chance(0.12) {
        scene.greeting();
    }
    for _ in 0..count {
        let (name, attribute) = subject(scene, &weights);
        scene.ask(&name, attribute);
        if scene.rng.chance(0.15) {
            // The same entity again: the same or another attribute.
            let again = if scene.rng.chance(0.4) { attribute } else { *scene.rng.pick(attribute.kind().attributes()) };
            scene.ask(&name, again);
        }
        if scene.rng.chance(0.15) {
            scene.small_talk();
        }
        if scene.full() {
            break;
        }
    }
}

fn subject(scene: &mut Scene<'_>, weights: &[f64; 3]) -> (String, Attribute) {
    match scene.rng.weighted(weights) {
        0 => {
            let fact = scene.random_core_fact();
            (fact.name.clone(), fact.attribute)
        }
        1 => {
            let attribute = scene.random_attribute();
            (scene.fresh_name(attribute.kind()), attribute)
        }
        _ => scene.untaught_core_question(),
    }
}

/// Small talk alone.
pub(super) fn small_talk(scene: &mut Scene<'_>) {
    for _ in 0..scene.rng.between(3, 7) {
        scene.small_talk();
    }
}
