//! Mutated samples through every parser; `NOCTURNE_FUZZ_ROUNDS` asks for more of them.

use nocturne_fuzz::{TARGETS, Target};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn rounds(target: &Target) -> usize {
    let asked = std::env::var("NOCTURNE_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if target.slow { 150 } else { 3000 })
}

/// Bytes that parsers treat in a special way.
const SPECIAL: [u8; 10] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'\n', b'/', b'-'];

fn mutated(mut bytes: Vec<u8>, rng: &mut ChaCha8Rng) -> Vec<u8> {
    for _ in 0..rng.random_range(1..5) {
        if bytes.is_empty() {
            bytes.push(rng.random());
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..6) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = SPECIAL[rng.random_range(0..SPECIAL.len())],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, SPECIAL[rng.random_range(0..SPECIAL.len())]),
            4 => {
                let end = (at + rng.random_range(1..16)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let end = (at + rng.random_range(1..16)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

#[test]
fn samples_pass_and_mutated_ones_never_panic() {
    for target in TARGETS {
        let samples = (target.samples)();
        assert!(!samples.is_empty(), "{} has samples", target.name);
        samples.iter().for_each(|sample| (target.run)(sample));
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        for _ in 0..rounds(&target) {
            let sample = samples[rng.random_range(0..samples.len())].clone();
            (target.run)(&mutated(sample, &mut rng));
        }
    }
}

#[test]
fn every_parser_has_a_libfuzzer_target() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/fuzz_targets");
    for target in TARGETS {
        let file = folder.join(format!("{}.rs", target.name));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert!(text.contains("fuzz_target!"), "{}", file.display());
    }
}
