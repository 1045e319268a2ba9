//! Facts, and the fixed set of them that every base knows.

use std::{collections::HashMap, sync::LazyLock};

use serde::{Deserialize, Serialize};

use crate::{
    draw::{Draw, rng_for},
    kind::{Attribute, Kind},
    name::{self, Split},
    wording::values,
};

/// Something that is true of an entity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fact {
    /// The entity's name.
    pub name: String,
    /// What is said about it.
    pub attribute: Attribute,
    /// The value, one of [`values`].
    pub value: String,
}

/// The core facts are the same in every corpus, whatever its seed.
const CORE_SEED: u64 = 0x0c0d_e5ee_dc0f_fee5;

/// Entities that core facts are about.
pub const CORE_ENTITIES: usize = 80;

static CORE: LazyLock<Vec<Fact>> = LazyLock::new(draw_core);

static CORE_INDEX: LazyLock<HashMap<&'static str, Vec<&'static Fact>>> = LazyLock::new(|| {
    let mut index: HashMap<&'static str, Vec<&'static Fact>> = HashMap::new();
    for fact in core_facts() {
        index.entry(&fact.name).or_default().push(fact);
    }
    index
});

/// The 200 facts, about [`CORE_ENTITIES`] entities with training names, that the base knows without being told.
pub fn core_facts() -> &'static [Fact] {
    &CORE
}

/// What the base knows about an entity, if anything.
pub fn core_value(name: &str, attribute: Attribute) -> Option<&'static str> {
    CORE_INDEX.get(name)?.iter().find(|f| f.attribute == attribute).map(|f| f.value.as_str())
}

fn draw_core() -> Vec<Fact> {
    let mut rng = rng_for(CORE_SEED, 0);
    let mut facts: Vec<Fact> = Vec::with_capacity(200);
    let mut names = std::collections::HashSet::new();
    for entity in 0..CORE_ENTITIES {
        let kind = Kind::ALL[entity % 4];
        let name = loop {
            let name = name::draw(&mut rng, kind, Split::Training);
            if names.insert(name.clone()) {
                break name;
            }
        };
        let mut attributes = kind.attributes().to_vec();
        rng.shuffle(&mut attributes);
        // Two and three attributes in turn, so that every entity also has something that nobody ever taught.
        for attribute in attributes.into_iter().take(2 + (entity / 4) % 2) {
            facts.push(Fact { name: name.clone(), attribute, value: rng.pick(values(attribute)).clone() });
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_200_core_facts_about_80_entities_with_training_names() {
        assert_eq!(core_facts().len(), 200);
        assert_eq!(CORE_INDEX.len(), CORE_ENTITIES);
        assert!(core_facts().iter().all(|f| name::split_of(&f.name) == Split::Training));
        assert!(core_facts().iter().all(|f| core_value(&f.name, f.attribute) == Some(&f.value)));
    }
}
