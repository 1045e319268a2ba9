//! What batchers, spools and whoever asks a schema registry count, in Prometheus' text format.

use std::fmt::Write as _;

use nocturne_batcher::BatcherStatus;
use nocturne_bus::{RegistryStatus, SpoolStatus};

/// The content type of the page.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes the page; a schema registry has the name of the part that asks it.
pub(super) fn render(
    batcher: Option<&BatcherStatus>,
    spool: Option<&SpoolStatus>,
    registries: &[(&'static str, RegistryStatus)],
) -> String {
    let mut page = String::new();
    if let Some(status) = spool {
        spool_metrics(&mut page, status);
    }
    if let Some(status) = batcher {
        batcher_metrics(&mut page, status);
    }
    registry_metrics(&mut page, registries);
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
    let stages =
        [("read", spent.read), ("decode", spent.decode), ("sort", spent.sort), ("encode", spent.encode), ("put", spent.put)];
    for (stage, seconds) in stages {
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

fn registry_metrics(page: &mut String, registries: &[(&'static str, RegistryStatus)]) {
    let (requests, ids) = ("registry_requests_total", "registry_ids_known");
    if !registries.is_empty() {
        head(page, requests, "counter", "Requests to the schema registry, by how they ended.");
    }
    for (part, status) in registries {
        for (result, count) in [
            ("answered", status.answered),
            ("denied", status.denied),
            ("failed", status.failed),
            ("unreachable", status.unreachable),
        ] {
            let _ = writeln!(page, "nocturne_{requests}{{part=\"{part}\",result=\"{result}\"}} {count}");
        }
    }
    // One part of a process writes.
    if let Some(known) = registries.iter().find_map(|(_, status)| status.ids_known) {
        head(page, ids, "gauge", "Whether the ids of this release's schemas are known; nothing is sent before.");
        let _ = writeln!(page, "nocturne_{ids} {}", u64::from(known));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_counted_by_who_asks_and_ids_are_known_only_where_records_are_written() {
        assert_eq!(render(None, None, &[]), "");
        let reads = RegistryStatus { answered: 3, unreachable: 1, ..RegistryStatus::default() };
        let page = render(None, None, &[("batcher", reads)]);
        assert!(page.contains("\nnocturne_registry_requests_total{part=\"batcher\",result=\"answered\"} 3\n"), "{page}");
        assert!(page.contains("\nnocturne_registry_requests_total{part=\"batcher\",result=\"unreachable\"} 1\n"), "{page}");
        assert!(!page.contains("ids_known"), "{page}");
        let writes = RegistryStatus { denied: 2, ids_known: Some(false), ..RegistryStatus::default() };
        let page = render(None, None, &[("inference", writes), ("batcher", reads)]);
        assert!(page.contains("\nnocturne_registry_requests_total{part=\"inference\",result=\"denied\"} 2\n"), "{page}");
        assert_eq!(page.matches("# TYPE nocturne_registry_requests_total counter\n").count(), 1, "{page}");
        assert!(page.ends_with("# TYPE nocturne_registry_ids_known gauge\nnocturne_registry_ids_known 0\n"), "{page}");
    }
}
