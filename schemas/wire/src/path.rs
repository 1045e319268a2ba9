//! Names of objects in the lake; the only place that spells them.

use crate::{
    batch::{BatchFooter, BatchName, Offset, Partition, Rewritten, Topic},
    generation::{Generation, GenerationName},
    hash::Sha256Hex,
    id::NightId,
};

/// `<topic>/v1/topic=T/partition=P/<first offset, 20 digits>.parquet`, and for a batch that takes the place of others
/// `…/<first offset>-<last offset>.r<revision>.parquet`.
pub fn batch(name: &BatchName) -> String {
    let folder = partition(name.topic, name.partition);
    match name.rewritten {
        None => format!("{folder}/{:020}.parquet", name.first.0),
        Some(Rewritten { last, revision }) => format!("{folder}/{:020}-{:020}.r{revision}.parquet", name.first.0, last.0),
    }
}

/// The folder of one partition's batches.
pub fn partition(topic: Topic, partition: Partition) -> String {
    format!("{}/partition={partition}", topic_root(topic))
}

/// The folder of one topic's batches.
pub fn topic_root(topic: Topic) -> String {
    format!("{topic}/v1/topic={topic}")
}

/// Where a batch's dead letters are.
pub fn dead_letters(footer: &BatchFooter) -> String {
    dead_letters_named(&footer.name, footer.last, footer.letters.as_ref())
}

/// `dead-letters/v1/topic=T/partition=P/<first offset>-<last offset>.<digest>.parquet`, 20 digits each and 8 hexadecimal ones; with `.r<revision>` before the
/// digest as the batch has it.
///
/// Dead letters are written before the batch that commits them. Their name holds what determines their content: an attempt that died before its commit can
/// neither stop nor be mistaken for the next one, whose range may differ, or who may read a record by then that the first one could not.
pub fn dead_letters_named(name: &BatchName, last: Offset, letters: Option<&Sha256Hex>) -> String {
    let revision = name.rewritten.map_or_else(String::new, |rewritten| format!(".r{}", rewritten.revision));
    let digest = letters.map_or_else(String::new, |letters| format!(".{}", letters.short()));
    format!("{}/{:020}-{:020}{revision}{digest}.parquet", dead_letters_of(name.topic, name.partition), name.first.0, last.0)
}

/// The folder of one partition's dead letters.
pub fn dead_letters_of(topic: Topic, partition: Partition) -> String {
    format!("{DEAD_LETTERS}/topic={topic}/partition={partition}")
}

/// The folder of all dead letters.
pub const DEAD_LETTERS: &str = "dead-letters/v1";

/// Reads the range of dead letters back from their path: the batch's name and its last offset.
pub fn parse_dead_letters(path: &str) -> Option<(BatchName, Offset)> {
    let (named, rest) = path.strip_prefix(DEAD_LETTERS)?.strip_prefix("/topic=")?.split_once('/')?;
    let topic = Topic::ALL.into_iter().find(|topic| topic.as_str() == named)?;
    let (number, file) = rest.strip_prefix("partition=")?.split_once('/')?;
    let stem = file.strip_suffix(".parquet")?;
    let stem = stem.rsplit_once('.').filter(|(_, end)| is_short_digest(end)).map_or(stem, |(before, _)| before);
    let (first, last, revision) = range(stem)?;
    let rewritten = revision.map(|revision| Rewritten { last, revision });
    let name = BatchName { topic, partition: parse_partition(number)?, first, rewritten };
    Some((name, last))
}

fn is_short_digest(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Reads `<first>-<last>[.r<revision>]`.
fn range(stem: &str) -> Option<(Offset, Offset, Option<u32>)> {
    let (offsets, revision) = match stem.split_once(".r") {
        None => (stem, None),
        Some((offsets, digits)) => (offsets, Some(digits.parse().ok().filter(|revision| *revision > 0 && canonical(digits))?)),
    };
    let (first, last) = offsets.split_once('-')?;
    let (first, last) = (Offset(twenty_digits(first)?), Offset(twenty_digits(last)?));
    (first <= last).then_some((first, last, revision))
}

/// Whether digits are how a number above 0 is written: a name has one spelling.
fn canonical(digits: &str) -> bool {
    !digits.starts_with(['0', '+'])
}

fn parse_partition(digits: &str) -> Option<Partition> {
    let number = digits.parse().ok()?;
    (number == 0 && digits == "0" || canonical(digits)).then_some(Partition(number))
}

fn twenty_digits(text: &str) -> Option<u64> {
    if text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Reads a batch's name back from its path.
pub fn parse_batch(path: &str) -> Option<BatchName> {
    let mut parts = path.split('/');
    let topic = Topic::ALL.into_iter().find(|t| Some(t.as_str()) == parts.clone().next())?;
    let (_, version, named, partition, file) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != "v1" || named.strip_prefix("topic=")? != topic.as_str() || parts.next().is_some() {
        return None;
    }
    let partition = parse_partition(partition.strip_prefix("partition=")?)?;
    if let Some(first) = twenty_digits(file.strip_suffix(".parquet")?) {
        return Some(BatchName::new(topic, partition, Offset(first)));
    }
    match range(file.strip_suffix(".parquet")?)? {
        (first, last, Some(revision)) => {
            Some(BatchName { topic, partition, first, rewritten: Some(Rewritten { last, revision }) })
        }
        _ => None,
    }
}

/// A file of a base: `config.json`, `tokenizer.json`, `model.safetensors`, `rehearsal.jsonl`.
pub fn base_file(fingerprint: &Sha256Hex, file: &str) -> String {
    format!("bases/{fingerprint}/{file}")
}

/// The folder of all generations.
pub const GENERATIONS: &str = "generations";

/// The folder of one generation.
pub fn generation(name: &GenerationName) -> String {
    format!("{GENERATIONS}/{name}")
}

/// The claim on a generation's number: whoever creates it may publish that number, so that two writers never publish one number with two contents.
pub fn generation_claim(number: Generation) -> String {
    format!("{GENERATION_CLAIMS}/{:012}", number.0)
}

/// The folder of all claims on numbers of generations.
pub const GENERATION_CLAIMS: &str = "generations/claims";

/// The slow banks' file in a generation's folder.
pub const SLOW_FILE: &str = "banks/slow.safetensors";

/// What the optimizer of the slow banks remembered, in a generation's folder.
pub const OPTIMIZER_FILE: &str = "optimizer/slow.safetensors";

/// A generation's manifest; written last.
pub fn manifest(name: &GenerationName) -> String {
    format!("{}/manifest.json", generation(name))
}

/// The folder of all nights.
pub const NIGHTS: &str = "nights";

/// A file of a night: `plan.json`, `curated.parquet`, `lessons.jsonl`, `untaught.json`, `metrics.parquet`, `gates.json`, `report.json`.
pub fn night_file(night: &NightId, file: &str) -> String {
    format!("{NIGHTS}/{night}/{file}")
}

/// An event of a night.
pub fn night_event(night: &NightId, sequence: u64) -> String {
    format!("{NIGHTS}/{night}/events/{sequence:012}.json")
}

/// The folder of all epochs.
pub const EPOCHS: &str = "epochs";

/// The folder of a topic's epochs.
pub fn epochs(topic: Topic) -> String {
    format!("{EPOCHS}/topic={topic}")
}

/// One epoch of a topic.
pub fn epoch(topic: Topic, sequence: u64) -> String {
    format!("{}/{sequence:020}.json", epochs(topic))
}

/// The folder of all records of rewriting.
pub const REWRITES: &str = "rewrites";

/// The folder of a partition's records of rewriting.
pub fn rewrites(topic: Topic, partition: Partition) -> String {
    format!("{REWRITES}/topic={topic}/partition={partition}")
}

/// One record of rewriting.
pub fn rewrite(topic: Topic, partition: Partition, sequence: u64) -> String {
    format!("{}/{sequence:020}.json", rewrites(topic, partition))
}

/// The folder of all erasures.
pub const ERASURES: &str = "erasures";

/// One erasure.
pub fn erasure(sequence: u64) -> String {
    format!("{ERASURES}/{sequence:020}.json")
}

/// The folder of what erasures took.
pub const TOMBSTONES: &str = "tombstones";

/// The interactions that one claim on a partition of them took out.
pub fn tombstones(partition: Partition, claim: u64) -> String {
    format!("{TOMBSTONES}/partition={partition}/{claim:020}.json")
}

/// The folder of sweeps.
pub const SWEEPS: &str = "sweeps";

/// The folder of the sweeps of one partition of interactions.
pub fn sweeps(partition: Partition) -> String {
    format!("{SWEEPS}/partition={partition}")
}

/// One sweep, under the number of erasures that it knows and a digest of what it says.
pub fn sweep(partition: Partition, erasures: u64, digest: &Sha256Hex) -> String {
    format!("{}/{erasures:020}-{}.json", sweeps(partition), digest.short())
}

/// The folder of the schemas that writers write with.
pub const SCHEMAS: &str = "schemas";

/// An Avro schema, under its fingerprint.
pub fn schema(fingerprint: u64) -> String {
    format!("{SCHEMAS}/{fingerprint:016x}.avsc")
}

/// The folder of all ledgers.
pub const LEDGERS: &str = "ledger";

/// The folder of a channel's ledger.
pub fn ledger(channel: &str) -> String {
    format!("{LEDGERS}/{channel}")
}

/// One entry of a channel's ledger.
pub fn ledger_entry(channel: &str, sequence: u64) -> String {
    format!("{LEDGERS}/{channel}/{sequence:020}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_and_dead_letter_paths_are_read_back() {
        let sealed = BatchName::new(Topic::Feedback, Partition(3), Offset(70));
        let rewritten = BatchName { rewritten: Some(Rewritten { last: Offset(99), revision: 2 }), ..sealed };
        for name in [sealed, rewritten] {
            assert_eq!(parse_batch(&batch(&name)), Some(name));
            for letters in [None, Some(Sha256Hex::of(b"letters"))] {
                let path = dead_letters_named(&name, Offset(99), letters.as_ref());
                assert_eq!(parse_dead_letters(&path), Some((name, Offset(99))));
                assert_eq!(parse_batch(&path), None);
            }
            assert_eq!(parse_dead_letters(&batch(&name)), None);
        }
        assert!(batch(&rewritten).ends_with("/00000000000000000070-00000000000000000099.r2.parquet"), "{}", batch(&rewritten));
    }

    #[test]
    fn foreign_names_are_not_batches() {
        for path in [
            "interactions/v1/topic=feedback/partition=0/00000000000000000000.parquet",
            "interactions/v1/topic=interactions/partition=0/0.parquet",
            "interactions/v1/topic=interactions/partition=x/00000000000000000000.parquet",
            "interactions/v1/topic=interactions/partition=+3/00000000000000000000.parquet",
            "interactions/v1/topic=interactions/partition=03/00000000000000000000.parquet",
            "interactions/v2/topic=interactions/partition=0/00000000000000000000.parquet",
            "interactions/v1/topic=interactions/partition=0/99999999999999999999.parquet",
            "interactions/v1/topic=interactions/partition=0/00000000000000000000-00000000000000000009.parquet",
            "interactions/v1/topic=interactions/partition=0/00000000000000000000-00000000000000000009.r0.parquet",
            "interactions/v1/topic=interactions/partition=0/00000000000000000000-00000000000000000009.r01.parquet",
            "interactions/v1/topic=interactions/partition=0/00000000000000000009-00000000000000000000.r1.parquet",
        ] {
            assert_eq!(parse_batch(path), None, "{path}");
        }
    }
}
