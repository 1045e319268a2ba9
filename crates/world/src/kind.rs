//! What the world consists of: four kinds of entity with four attributes each.

use serde::{Deserialize, Serialize};

/// A kind of entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Somebody, "Mirel Tovan".
    Person,
    /// Something that is sold, "the Zanlora kettle".
    Product,
    /// A town, "Port Almora".
    Place,
    /// Something that is done, "the Koral check".
    Procedure,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Person, Self::Product, Self::Place, Self::Procedure];

    /// The attributes of this kind.
    pub fn attributes(self) -> &'static [Attribute] {
        let first = self as usize * 4;
        &Attribute::ALL[first..first + 4]
    }
}

/// Something that can be known about an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// The city where a person lives.
    Home,
    /// A person's job.
    Job,
    /// A person's favorite drink.
    Drink,
    /// A person's pet.
    Pet,
    /// A product's color.
    Color,
    /// A product's price.
    Price,
    /// The company that makes a product.
    Maker,
    /// What a product is made of.
    Material,
    /// What a place is known for.
    KnownFor,
    /// The river at a place.
    River,
    /// The mayor of a place.
    Mayor,
    /// The year in which a place was founded.
    Founded,
    /// The tool that a procedure needs.
    Tool,
    /// How long a procedure takes.
    Duration,
    /// The team that owns a procedure.
    Owner,
    /// A procedure's first step.
    FirstStep,
}

impl Attribute {
    /// Every attribute, in the order of [`Kind::ALL`], four a kind.
    pub const ALL: [Self; 16] = [
        Self::Home,
        Self::Job,
        Self::Drink,
        Self::Pet,
        Self::Color,
        Self::Price,
        Self::Maker,
        Self::Material,
        Self::KnownFor,
        Self::River,
        Self::Mayor,
        Self::Founded,
        Self::Tool,
        Self::Duration,
        Self::Owner,
        Self::FirstStep,
    ];

    /// The kind of entity that has this attribute.
    pub fn kind(self) -> Kind {
        Kind::ALL[self as usize / 4]
    }
}
