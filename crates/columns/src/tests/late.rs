use nocturne_wire::{TenantId, Topic, avro};

use super::{decoded, encoded, judged, said};
use crate::{interactions, take_rows, unmatched};

#[test]
fn rows_that_feedback_corrects_are_found_in_batches_that_are_not_at_hand() {
    let rows =
        ["One.", "Two.", "Three.", "Four."].into_iter().zip(0..).map(|(text, n)| said("anna", n, text)).collect::<Vec<_>>();
    let mut foreign = judged(&rows[3], 12, -1.0, Some("No."));
    foreign.tenant = TenantId::parse("rival").expect("an id");
    let verdicts = [
        judged(&rows[0], 9, -1.0, Some("No, one and a half.")),
        judged(&rows[1], 10, 1.0, None),
        judged(&rows[2], 11, -1.0, Some("No.")),
        foreign,
    ];
    let feedback = decoded(Topic::Feedback, 0, &verdicts.each_ref().map(avro::encode_feedback)).batch;
    let at_hand = decoded(Topic::Interactions, 0, &encoded(&rows[2..3])).batch;
    let mut wanted = unmatched(&[at_hand], &[feedback]).expect("read");
    assert_eq!(wanted.len(), 2, "a score alone brings nothing back: {wanted:?}");
    let earlier = decoded(Topic::Interactions, 0, &encoded(&rows)).batch;
    let found = take_rows(&earlier, &mut wanted).expect("read");
    assert_eq!(interactions(&found).expect("rows"), rows[..1], "and nobody corrects another tenant's rows");
    assert_eq!(wanted.len(), 1, "what was found is not wanted again: {wanted:?}");
}
