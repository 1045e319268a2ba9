//! Damaged objects: each a clear error.

use bytes::Bytes;
use nocturne_wire::{Offset, Topic, batch::BatchFooter};
use proptest::prelude::*;

use super::{decoded, encoded, footer, said};
use crate::{ColumnsError, open_batch, seal, write_metrics};

fn sealed() -> (BatchFooter, Bytes) {
    let records: Vec<_> = (0..20).map(|n| said("anna", n, "The museum opens at nine.")).collect();
    let decoded = decoded(Topic::Interactions, 0, &encoded(&records));
    let footer = footer(Topic::Interactions, 0, 20, &decoded);
    let bytes = seal(&decoded.batch, &footer).expect("sealed");
    (footer, bytes)
}

fn reason(error: &ColumnsError) -> String {
    match error {
        ColumnsError::Damaged { reason, .. } | ColumnsError::Refused { reason, .. } => reason.clone(),
        other => panic!("{other}"),
    }
}

#[test]
fn each_kind_of_damage_is_named() {
    let (footer, whole) = sealed();
    let mut changed = whole.to_vec();
    changed[200] ^= 1;
    let cases = [
        (Bytes::new(), "too short"),
        (whole.slice(..30), "too short"),
        (whole.slice(..whole.len() / 2), "cut off"),
        (Bytes::from(vec![b'{'; 500]), "another kind of file"),
        (Bytes::from(changed), "bytes were changed"),
        (write_metrics(&[]).expect("written"), "another kind of table"),
        (Bytes::from([b"PAR1".as_slice(), &[0; 100], b"PAR1"].concat()), "not sealed by Nocturne"),
    ];
    for (bytes, expected) in cases {
        let error = open_batch(&footer.name, &bytes).map(drop).expect_err(expected);
        assert!(reason(&error).contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_batch_under_another_name_is_refused() {
    let (footer, bytes) = sealed();
    let mut name = footer.name;
    name.first = Offset(20);
    let error = open_batch(&name, &bytes).map(drop).expect_err("another batch");
    assert!(reason(&error).contains("names another batch"), "{error}");
}

#[test]
fn a_footer_that_does_not_describe_its_rows_is_not_sealed() {
    let decoded = decoded(Topic::Interactions, 0, &encoded(&[said("anna", 0, "Hello.")]));
    let mut wrong = footer(Topic::Interactions, 0, 1, &decoded);
    wrong.rows = 2;
    assert!(reason(&seal(&decoded.batch, &wrong).expect_err("refused")).contains("2 rows"));
    let mut wrong = footer(Topic::Interactions, 0, 1, &decoded);
    wrong.name.topic = Topic::Feedback;
    assert!(reason(&seal(&decoded.batch, &wrong).expect_err("refused")).contains("columns"));
}

#[test]
fn a_batch_without_a_column_that_always_was_there_is_refused() {
    let decoded = decoded(Topic::Interactions, 0, &encoded(&[said("anna", 0, "Hello.")]));
    let mut rows = decoded.batch;
    let session = rows.schema().index_of("session").expect("a column");
    rows.remove_column(session);
    assert!(reason(&crate::seal::adapt(Topic::Interactions, &rows).expect_err("refused")).contains("no column `session`"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_changed_byte_goes_unnoticed(at in any::<prop::sample::Index>(), with in 1..=255_u8) {
        let (footer, whole) = sealed();
        let mut bytes = whole.to_vec();
        let index = at.index(bytes.len());
        bytes[index] ^= with;
        prop_assert!(open_batch(&footer.name, &Bytes::from(bytes)).is_err());
    }
}
