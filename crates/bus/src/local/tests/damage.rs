//! Crashes and rot: what is on disk is cut or changed, then opened again.

use std::{
    fs::{self, OpenOptions},
    path::PathBuf,
};

use proptest::prelude::*;

use super::*;
use crate::local::{frame::HEADER_BYTES, segment};

fn segments(dir: &Path) -> Vec<PathBuf> {
    let folder = dir.join("interactions/0");
    segment::list(&folder).expect("listed").into_iter().map(|first| segment::path(&folder, first)).collect()
}

fn cut(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).expect("there").set_len(length).expect("cut");
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("there");
    bytes[at] ^= 0x40;
    fs::write(path, bytes).expect("written");
}

fn set_aside(dir: &Path) -> usize {
    let names = fs::read_dir(dir.join("interactions/0")).expect("listed");
    names.filter(|entry| entry.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|x| x == "corrupt"))).count()
}

async fn filled(dir: &Path, records: u8) -> Vec<PathBuf> {
    let log = open(dir);
    for n in 0..records {
        append(&log, vec![n; 84]).await;
    }
    log.close().await;
    segments(dir)
}

#[tokio::test]
async fn a_torn_tail_is_cut_counted_and_passed() {
    let dir = tempfile::tempdir().expect("a folder");
    let files = filled(dir.path(), 3).await;
    cut(&files[0], 230);
    let log = open(dir.path());
    assert_eq!((log.recovered().torn_bytes, log.recovered().corrupt_segments), (30, 0));
    assert_eq!(append(&log, "on").await, Offset(2));
    assert_eq!(payloads(&log).await.len(), 3);
}

#[tokio::test]
async fn damage_in_the_middle_of_the_log_is_set_aside_and_later_segments_are_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let files = filled(dir.path(), 25).await;
    assert_eq!(files.len(), 3, "ten records a segment");
    flip(&files[1], 4 * 100 + HEADER_BYTES + 3);
    let log = open(dir.path());
    let recovered = log.recovered();
    assert_eq!((recovered.corrupt_segments, recovered.corrupt_bytes, recovered.torn_bytes), (1, 600, 0));
    let offsets: Vec<_> = read_from(&log, Offset(0)).await.iter().map(|r| r.offset.0).collect();
    assert_eq!(offsets, (0..14).chain(20..25).collect::<Vec<_>>());
    assert_eq!(append(&log, "on").await, Offset(25));
    assert_eq!(set_aside(dir.path()), 1);
}

#[tokio::test]
async fn damage_before_whole_records_in_the_last_segment_never_gives_their_offsets_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let files = filled(dir.path(), 8).await;
    flip(&files[0], 3 * 100 + 1);
    for _ in 0..2 {
        let log = open(dir.path());
        assert_eq!(log.range(TOPIC, P0), Offset(0)..Offset(8));
        assert_eq!(payloads(&log).await.len(), 3);
        log.close().await;
    }
    assert_eq!(set_aside(dir.path()), 1);
    assert_eq!(append(&open(dir.path()), "on").await, Offset(8));
}

#[tokio::test]
async fn damage_while_the_log_is_open_is_an_error_and_opening_again_heals() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    for n in 0..5 {
        append(&log, vec![n; 84]).await;
    }
    flip(&segments(dir.path())[0], 250);
    let mut intake = log.intake(TOPIC, P0, Offset(0)).expect("there");
    let refused = intake.poll(10, 1 << 20).await.expect_err("damaged").to_string();
    assert!(refused.contains("damaged at byte 200"), "{refused}");
    log.close().await;
    assert_eq!(payloads(&open(dir.path())).await.len(), 2);
}

#[derive(Debug, Clone)]
enum Act {
    Append(Vec<u8>),
    Reopen,
    /// Cuts the last segment at a share of its length.
    Tear(prop::sample::Index),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..400).prop_map(Act::Append),
        1 => Just(Act::Reopen),
        1 => any::<prop::sample::Index>().prop_map(Act::Tear),
    ];
    prop::collection::vec(act, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_course_of_appends_restarts_and_tears_gives_a_prefix(acts in acts()) {
        block_on(async {
            let dir = tempfile::tempdir().expect("a folder");
            let mut log = open(dir.path());
            let mut model: Vec<Vec<u8>> = Vec::new();
            for act in acts {
                match act {
                    Act::Append(payload) => {
                        prop_assert_eq!(append(&log, payload.clone()).await.0, model.len() as u64);
                        model.push(payload);
                    }
                    Act::Reopen => {
                        log.close().await;
                        log = open(dir.path());
                        prop_assert_eq!(log.recovered().torn_bytes, 0);
                    }
                    Act::Tear(at) => {
                        log.close().await;
                        let last = segments(dir.path()).pop().expect("never without a segment");
                        let length = fs::metadata(&last).expect("there").len();
                        cut(&last, at.index(length as usize + 1) as u64);
                        log = open(dir.path());
                        let left = payloads(&log).await.len();
                        prop_assert!(left <= model.len());
                        model.truncate(left);
                    }
                }
            }
            prop_assert_eq!(payloads(&log).await, model);
            Ok(())
        })?;
    }

    #[test]
    fn arbitrary_bytes_in_a_segment_never_stop_the_log(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        whole in 0_u8..12,
    ) {
        block_on(async {
            let dir = tempfile::tempdir().expect("a folder");
            let last = filled(dir.path(), whole).await.pop().expect("never without a segment");
            let mut file = fs::read(&last).expect("there");
            file.extend_from_slice(&bytes);
            fs::write(&last, file).expect("written");
            let log = open(dir.path());
            let offset = append(&log, "on").await;
            let records = read_from(&log, Offset(0)).await;
            prop_assert_eq!(records.len(), usize::from(whole) + 1);
            prop_assert_eq!(records.last().map(|r| r.offset), Some(offset));
            Ok(())
        })?;
    }
}
