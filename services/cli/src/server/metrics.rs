//! What batchers and spools count, in Prometheus' text format.

use std::fmt::Write as _;

use nocturne_batcher::BatcherStatus;
use nocturne_bus::SpoolStatus;

/// The content type of the page.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes the page.
pub(super) fn render(batcher: Option<&BatcherStatus>, spool: Option<&SpoolStatus>) -> String {
    let mut page = String::new();
    if let Some(status) = spool {
        spool_metrics(&mut page, status);
    }
    if let Some(status) = batcher {
        batcher_metrics(&mut page, status);
    }
    page
}

fn head(page: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "# HELP nocturne_{name} {help}\n# TYPE nocturne_{name} {kind}");
}

fn spool_metrics(page: &mut String, status: &SpoolStatus) {
    for (name, kind, help, value) in [
        ("spool_connected", "gauge", "Whether a Kafka broker answers.", u64::from(status.connected)),
        ("spool_backlog_records", "gauge", "Records that Kafka has not acknowledged.", status.backlog_records),
        ("spool_bytes", "gauge", "Bytes of the spool on disk.", status.backlog_bytes),
        ("spool_handed_records", "gauge", "Records inside librdkafka.", status.handed),
        ("spool_delivered_total", "counter", "Records that Kafka acknowledged.", status.delivered),
        ("spool_returned_total", "counter", "Records that came back and are sent again.", status.returned),
        ("spool_refused_total", "counter", "Records that Kafka will never take, set aside.", status.refused),
        ("spool_dropped_total", "counter", "Records that were lost.", status.dropped),
    ] {
        head(page, name, kind, help);
        let _ = writeln!(page, "nocturne_{name} {value}");
    }
}

fn batcher_metrics(page: &mut String, status: &BatcherStatus) {
    type Read = fn(&nocturne_batcher::PartitionStatus) -> u64;
    let families: [(&str, &str, &str, Read); 8] = [
        ("batcher_position", "gauge", "Offset after the last sealed one.", |p| p.position.0),
        ("batcher_lag_records", "gauge", "Records that are not sealed.", |p| p.end.0.saturating_sub(p.position.0)),
        ("batcher_batches_total", "counter", "Batches sealed.", |p| p.batches),
        ("batcher_rows_total", "counter", "Rows sealed.", |p| p.rows),
        ("batcher_dead_letters_total", "counter", "Records that could not be read.", |p| p.dead),
        ("batcher_duplicates_total", "counter", "Records that were sealed before and dropped.", |p| p.duplicates),
        ("batcher_batch_bytes_total", "counter", "Bytes of sealed batches.", |p| p.batch_bytes),
        ("batcher_failing", "gauge", "Whether the last attempt failed.", |p| u64::from(p.error.is_some())),
    ];
    head(page, "batcher_ended", "gauge", "Whether nothing is sealed any more, although nobody asked to stop.");
    let _ = writeln!(page, "nocturne_batcher_ended {}", u64::from(status.ended.is_some()));
    let spent = status.spent();
    for (stage, seconds) in [("read", spent.read), ("decode", spent.decode), ("encode", spent.encode), ("put", spent.put)] {
        let name = format!("batcher_{stage}_seconds_total");
        head(page, &name, "counter", "Time spent on sealed batches.");
        let _ = writeln!(page, "nocturne_{name} {}", seconds.as_secs_f64());
    }
    for (name, kind, help, read) in families {
        head(page, name, kind, help);
        for ((topic, partition), one) in &status.partitions {
            let _ = writeln!(page, "nocturne_{name}{{topic=\"{topic}\",partition=\"{partition}\"}} {}", read(one));
        }
    }
}
