use bytes::Bytes;
use nocturne_wire::{NightId, Offset, Topic, batch::BatchFooter, path, plan::PlannedBatch};
use proptest::prelude::*;

use super::{decoded, encoded, footer, said};
use crate::{Fault, audit, seal, seal_dead_letters};

struct Sealed {
    footer: BatchFooter,
    batch: Bytes,
    dead: Option<Bytes>,
}

/// Seals offsets from `first` on: one record each, of which the last is poison when asked for.
fn sealed(first: u64, count: u64, poison: bool, change: impl FnOnce(&mut BatchFooter)) -> Sealed {
    let records: Vec<_> = (first..first + count).map(|n| said("anna", n as i64, "Hello.")).collect();
    let mut raw = encoded(&records);
    if poison {
        *raw.last_mut().expect("a record") = b"poison".to_vec();
    }
    let decoded = decoded(Topic::Interactions, first, &raw);
    let mut footer = footer(Topic::Interactions, first, count, &decoded);
    change(&mut footer);
    let dead = poison.then(|| seal_dead_letters(&decoded.dead, &footer).expect("sealed"));
    Sealed { batch: seal(&decoded.batch, &footer).expect("sealed"), dead, footer }
}

fn objects(batches: &[Sealed]) -> Vec<(String, Bytes)> {
    let mut objects = Vec::new();
    for Sealed { footer, batch, dead } in batches {
        objects.push((path::batch(&footer.name), batch.clone()));
        objects.extend(dead.iter().map(|dead| (path::dead_letters(footer), dead.clone())));
    }
    objects
}

fn three() -> Vec<Sealed> {
    let begin = |footer: &mut BatchFooter| footer.begin = Offset(5);
    vec![sealed(5, 10, false, begin), sealed(15, 4, true, begin), sealed(19, 6, false, begin)]
}

fn faults(objects: Vec<(String, Bytes)>) -> Vec<Fault> {
    audit(objects, []).faults
}

#[test]
fn a_batch_that_a_night_was_planned_over_is_missed_when_it_is_gone_or_ends_elsewhere() {
    let night = NightId::parse("20261121T030000Z-production").expect("a name");
    let planned = |n: usize, batches: &[Sealed]| {
        (night.clone(), PlannedBatch { name: batches[n].footer.name, last: batches[n].footer.last })
    };
    let all = three();
    let read: Vec<_> = (0..3).map(|n| planned(n, &all)).collect();
    assert!(audit(objects(&all), read.clone()).clean());

    let path = path::batch(&all[2].footer.name);
    let fault = |found| Fault::ReadBatch { path: path.clone(), night: night.clone(), last: Offset(24), found };
    assert_eq!(audit(objects(&all[..2]), read.clone()).faults, [fault(None)]);
    let mut longer = three();
    longer[2] = sealed(19, 9, false, |footer| footer.begin = Offset(5));
    assert_eq!(audit(objects(&longer), read.clone()).faults, [fault(Some(Offset(27)))]);

    let mut damaged = objects(&all);
    damaged[2].1 = Bytes::from("not Parquet");
    let damaged = audit(damaged, read[1..2].to_vec()).faults;
    assert!(!damaged.iter().any(|fault| matches!(fault, Fault::ReadBatch { .. })), "{damaged:?}");
}

#[test]
fn a_whole_lake_is_clean_and_counted() {
    let mut all = objects(&three());
    all.reverse();
    all.push(("ledger/production/0.json".to_owned(), Bytes::from("{}")));
    let report = audit(all, []);
    assert!(report.clean(), "{:?}", report.faults);
    let partition = &report.partitions[0];
    assert_eq!((partition.batches, partition.first, partition.next), (3, Offset(5), Offset(25)));
    assert_eq!((partition.rows, partition.dead, report.interactions()), (19, 1, 19));
    let json = serde_json::to_string(&report).expect("JSON");
    assert_eq!(serde_json::from_str::<crate::AuditReport>(&json).expect("read back"), report);
}

#[test]
fn a_missing_batch_is_a_gap() {
    let mut all = three();
    let gone = all.remove(1);
    let found = faults(objects(&all));
    assert!(
        matches!(&found[..], [Fault::Gap { from, to, .. }] if (*from, *to) == (gone.footer.name.first, Offset(19))),
        "{found:?}"
    );
}

#[test]
fn a_missing_first_batch_is_a_gap() {
    let found = faults(objects(&three()[1..]));
    assert!(matches!(&found[..], [Fault::Gap { from: Offset(5), to: Offset(15), .. }]), "{found:?}");
}

#[test]
fn offsets_that_were_sealed_twice_are_an_overlap_and_duplicates() {
    let found = faults(objects(&[sealed(0, 10, false, |_| {}), sealed(8, 4, false, |_| {})]));
    assert!(
        found.iter().any(|fault| matches!(fault, Fault::Overlap { from, to, .. } if (*from, *to) == (Offset(8), Offset(10)))),
        "{found:?}"
    );
    assert_eq!(found.iter().filter(|fault| matches!(fault, Fault::DuplicateId { .. })).count(), 2, "{found:?}");
}

#[test]
fn a_damaged_batch_is_named_and_leaves_a_gap() {
    let mut all = objects(&three());
    all[1].1 = all[1].1.slice(..100);
    let found = faults(all);
    assert!(matches!(&found[..], [Fault::Damaged { .. }, Fault::Gap { .. }]), "{found:?}");
}

#[test]
fn a_batch_under_another_name_is_damage() {
    let one = sealed(0, 3, false, |_| {});
    let other = sealed(3, 3, false, |_| {});
    let found = faults(vec![(path::batch(&one.footer.name), other.batch)]);
    assert!(matches!(&found[..], [Fault::Damaged { reason, .. }] if reason.contains("another batch")), "{found:?}");
}

#[test]
fn a_footer_that_does_not_account_for_its_offsets_is_wrong() {
    let uncounted = sealed(0, 3, false, |footer| footer.last = Offset(9));
    let outside = sealed(10, 3, false, |footer| {
        footer.last = Offset(11);
        footer.duplicates = 0;
    });
    let found = faults(objects(&[uncounted, outside]));
    assert_eq!(found.iter().filter(|fault| matches!(fault, Fault::WrongFooter { .. })).count(), 2, "{found:?}");
}

#[test]
fn lost_dead_letters_are_a_fault_and_abandoned_ones_are_not() {
    let mut all = three();
    let abandoned = sealed(15, 3, true, |_| {}).dead.expect("dead letters");
    let name = all[1].footer.name;
    let mut with_leftover = objects(&all);
    with_leftover.push((path::dead_letters_named(&name, Offset(17), None), abandoned));
    let report = audit(with_leftover, []);
    assert!(report.clean(), "{:?}", report.faults);
    assert_eq!(report.leftovers, [path::dead_letters_named(&name, Offset(17), None)]);
    all[1].dead = None;
    let found = faults(objects(&all));
    assert!(matches!(&found[..], [Fault::DeadLetters { expected: 1, found: 0, .. }]), "{found:?}");
}

#[test]
fn a_break_that_a_person_accepted_is_no_fault() {
    let anew = sealed(3, 3, false, |footer| footer.topic_id = "topic-b".to_owned());
    let after_loss = sealed(9, 3, false, |footer| footer.topic_id = "topic-b".to_owned());
    let mut all = objects(&[sealed(0, 3, false, |_| {}), anew, after_loss]);
    for (sequence, begin) in [(0, 3), (1, 9)] {
        let start = format!(r#"{{"0":{{"begin":{begin},"shift":3}}}}"#);
        let epoch = format!(
            r#"{{"topic":"interactions","sequence":{sequence},"topic_id":"topic-b","partitions":{start},"time":"2026-01-01T00:00:00Z","actor":"a","reason":"b"}}"#
        );
        all.push((path::epoch(Topic::Interactions, sequence), epoch.into()));
    }
    let report = audit(all.clone(), []);
    assert!(report.clean(), "{:?}", report.faults);
    all.pop();
    assert!(matches!(&audit(all, []).faults[..], [Fault::Gap { .. }]));
}

#[test]
fn a_recreated_topic_and_foreign_objects_are_found() {
    let recreated = sealed(3, 3, false, |footer| footer.topic_id = "topic-b".to_owned());
    let mut all = objects(&[sealed(0, 3, false, |_| {}), recreated]);
    all.push(("interactions/v1/topic=interactions/partition=0/notes.txt".to_owned(), Bytes::new()));
    let found = faults(all);
    assert!(matches!(&found[..], [Fault::TopicRecreated { .. }, Fault::Foreign { .. }]), "{found:?}");
    assert!(found.iter().all(|fault| fault.to_string().contains("partition=0")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn removing_doubling_or_cutting_any_inner_batch_is_never_clean(
        sizes in prop::collection::vec(1..6_u64, 3..7), at in any::<prop::sample::Index>(), kind in 0..3_u8
    ) {
        let mut first = 0;
        let mut batches = Vec::new();
        for size in sizes {
            batches.push(sealed(first, size, first % 2 == 1, |_| {}));
            first += size;
        }
        prop_assert!(audit(objects(&batches), []).clean());
        let index = 1 + at.index(batches.len() - 2);
        match kind {
            0 => drop(batches.remove(index)),
            1 => {
                let again = sealed(batches[index].footer.name.first.0 - 1, 1, false, |_| {});
                batches.push(again);
            }
            _ => batches[index].batch = batches[index].batch.slice(1..),
        }
        // A batch of one record that is sealed again under its own name replaces it and changes nothing.
        let replaced = kind == 1 && batches[index - 1].footer.name.first == batches[batches.len() - 1].footer.name.first;
        prop_assert!(replaced || !audit(objects(&batches), []).clean());
    }
}
