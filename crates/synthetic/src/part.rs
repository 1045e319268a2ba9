//! Training, validation and test: which stream each is drawn from, and which sequences belong to it.

/// What examples are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Learning.
    Train,
    /// Choosing a learning rate.
    Validation,
    /// One of the task's test sets, an index into [`crate::Task::tests`].
    Test(usize),
}

/// Examples that one part can have, far more than anybody draws.
const STREAMS_A_PART: u64 = 1 << 40;

/// The stream of what belongs to a seed and not to one example.
pub(crate) const SHARED_STREAM: u64 = u64::MAX;

impl Part {
    /// The stream that example `index` is drawn from.
    pub(crate) const fn stream(self, index: u64) -> u64 {
        let part = match self {
            Self::Train => 0,
            Self::Validation => 1,
            Self::Test(set) => 2 + set as u64,
        };
        part * STREAMS_A_PART + index
    }

    /// The side of the sequences that it may use.
    pub const fn side(self) -> Side {
        match self {
            Self::Train => Side::Train,
            Self::Validation => Side::Validation,
            Self::Test(_) => Side::Test,
        }
    }
}

/// Which side of the experiment a sequence belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Six sequences of eight.
    Train,
    /// One of eight.
    Validation,
    /// One of eight.
    Test,
}

/// A number that depends on all ids and their order.
pub(crate) fn hash_of(ids: &[u32]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in ids.iter().flat_map(|id| id.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // FNV mixes the last bytes poorly; a finalizer makes the low bits depend on all of them.
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The side that a sequence belongs to: a function of its ids alone, of no seed.
pub fn side_of(ids: &[u32]) -> Side {
    match hash_of(ids) % 8 {
        0 => Side::Test,
        1 => Side::Validation,
        _ => Side::Train,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_have_their_shares() {
        let sides: Vec<_> = (0..8_000_u32).map(|at| side_of(&[at % 7, at, 3])).collect();
        let count = |side| sides.iter().filter(|of| **of == side).count();
        assert!((900..1_100).contains(&count(Side::Test)), "{}", count(Side::Test));
        assert!((900..1_100).contains(&count(Side::Validation)), "{}", count(Side::Validation));
    }

    #[test]
    fn no_two_parts_share_a_stream() {
        let parts = [Part::Train, Part::Validation, Part::Test(0), Part::Test(1)];
        let streams: Vec<_> = parts.iter().flat_map(|part| [part.stream(0), part.stream(STREAMS_A_PART - 1)]).collect();
        assert!(streams.is_sorted_by(|a, b| a < b));
        assert!(streams.iter().all(|stream| *stream < SHARED_STREAM));
    }
}
