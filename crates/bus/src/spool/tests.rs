//! The forwarder against a transport that is played, with a clock that is too: an outage of an hour takes a second.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nocturne_wire::{Offset, Topic};
use tokio::sync::watch;

use super::{
    SpoolSettings, SpoolStatus,
    forwarder::{Forwarder, SPOOL_PARTITION},
    wire::{Fate, NotHanded, Report, Wire},
};
use crate::{OnFull, local::log::LocalLog};

/// What a turn of the forwarder takes on the played clock when there is nothing to do.
const TURN: Duration = Duration::from_millis(20);
/// What the transport lets go of when it could not deliver it.
const DELIVERY_TIMEOUT: Duration = Duration::from_mins(2);

#[derive(Default)]
struct Played {
    up: bool,
    now: Duration,
    inside: VecDeque<(Topic, Offset, Vec<u8>, Duration)>,
    reports: Vec<Report>,
    delivered: Vec<(Topic, Offset, Vec<u8>)>,
    went_down: Option<String>,
    probes: u64,
    handed: u64,
    most_inside: usize,
    refuse: Option<Offset>,
}

#[derive(Clone, Default)]
struct PlayedWire(Arc<Mutex<Played>>);

impl PlayedWire {
    fn with<T>(&self, act: impl FnOnce(&mut Played) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_up(&self, up: bool) {
        self.with(|played| {
            played.up = up;
            if !up {
                played.went_down = Some("all brokers are down".to_owned());
            }
        });
    }

    fn delivered(&self) -> Vec<Vec<u8>> {
        self.with(|played| played.delivered.iter().map(|(_, _, payload)| payload.clone()).collect())
    }
}

impl Wire for PlayedWire {
    fn hand(&mut self, topic: Topic, offset: Offset, key: &[u8], payload: &[u8]) -> Result<(), NotHanded> {
        assert_eq!(key, b"key");
        self.with(|played| {
            if played.refuse == Some(offset) {
                return Err(NotHanded::Refused("too large".to_owned()));
            }
            played.inside.push_back((topic, offset, payload.to_vec(), played.now));
            played.handed += 1;
            played.most_inside = played.most_inside.max(played.inside.len());
            Ok(())
        })
    }

    fn reports(&mut self, wait: Duration) -> Vec<Report> {
        self.with(|played| {
            played.now += wait.max(Duration::from_millis(1));
            if played.up {
                while let Some((topic, offset, payload, _)) = played.inside.pop_front() {
                    played.delivered.push((topic, offset, payload));
                    played.reports.push(Report { topic, offset, fate: Fate::Delivered });
                }
            }
            let old = played.now.saturating_sub(DELIVERY_TIMEOUT);
            while played.inside.front().is_some_and(|(.., since)| *since < old) {
                let Some((topic, offset, ..)) = played.inside.pop_front() else { break };
                played.reports.push(Report { topic, offset, fate: Fate::Returned("timed out".to_owned()) });
            }
            std::mem::take(&mut played.reports)
        })
    }

    fn went_down(&mut self) -> Option<String> {
        self.with(|played| played.went_down.take())
    }

    fn probe(&mut self) -> Result<(), String> {
        self.with(|played| {
            played.probes += 1;
            if played.up { Ok(()) } else { Err("refused".to_owned()) }
        })
    }

    fn recall(&mut self) {
        self.with(|played| {
            for (topic, offset, ..) in std::mem::take(&mut played.inside) {
                played.reports.push(Report { topic, offset, fate: Fate::Returned("recalled".to_owned()) });
            }
        });
    }

    fn renew_if_broken(&mut self) -> bool {
        false
    }
}

/// The forwarder blocks its thread, which a runtime's own threads must not.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

struct House {
    log: LocalLog,
    forwarder: Forwarder<PlayedWire>,
    status: watch::Receiver<SpoolStatus>,
    sent: u64,
}

fn settings(max_bytes: u64, on_full: OnFull) -> SpoolSettings {
    SpoolSettings {
        segment_bytes: 4096,
        max_bytes,
        on_full,
        durability: crate::Durability::OperatingSystem,
        ..SpoolSettings::default()
    }
}

impl House {
    fn open(dir: &Path, settings: &SpoolSettings, wire: &PlayedWire) -> Self {
        let log = LocalLog::open_keyed(dir, &settings.log()).expect("opens");
        let (sender, status) = watch::channel(SpoolStatus::default());
        let (begun, clock) = (Instant::now(), wire.clone());
        let time = Arc::new(move || begun + clock.with(|played| played.now));
        let forwarder = Forwarder::new(log.clone(), dir, wire.clone(), 2048, time, sender).expect("opens");
        Self { log, forwarder, status, sent: 0 }
    }

    fn publish(&mut self, records: u64) {
        let publisher = self.log.publisher();
        for _ in 0..records {
            let payload = format!("record {}", self.sent).into_bytes();
            let ack = publisher.publish_acked(Topic::Interactions, b"key", payload.into()).expect("room");
            block_on(ack).expect("kept");
            self.sent += 1;
        }
    }

    fn turn(&mut self, turns: u32) {
        (0..turns).for_each(|_| self.forwarder.turn());
    }

    fn wanted(&self) -> Vec<Vec<u8>> {
        (0..self.sent).map(|n| format!("record {n}").into_bytes()).collect()
    }
}

#[test]
fn an_hour_without_a_broker_under_load_loses_nothing_and_keeps_the_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let wire = PlayedWire::default();
    wire.set_up(true);
    let mut house = House::open(dir.path(), &settings(1 << 20, OnFull::RefuseNew), &wire);
    house.publish(50);
    house.turn(10);
    assert_eq!(wire.delivered().len(), 50);
    house.publish(20);
    wire.set_up(false);
    // Every twenty seconds some records come, for an hour.
    for _ in 0..180 {
        house.publish(10);
        house.turn((20_000 / TURN.as_millis()) as u32);
    }
    assert_eq!(wire.delivered().len(), 50);
    assert!(wire.with(|played| played.most_inside) <= 100, "the transport holds a window only");
    assert!(wire.with(|played| played.handed) <= 50 + 200, "nothing is fed while nobody listens");
    assert!(wire.with(|played| played.probes) > 1000);
    assert!(!house.status.borrow().connected);
    wire.set_up(true);
    house.turn(1000);
    let delivered = wire.delivered();
    assert_eq!(delivered, house.wanted(), "each once, in order");
    assert!(house.status.borrow().connected);
    house.turn(100);
    assert_eq!(house.status.borrow().backlog_records, 0);
    assert!(house.log.stats().bytes < 8192, "delivered segments are deleted");
}

#[test]
fn a_restart_goes_on_where_the_last_process_stopped() {
    let dir = tempfile::tempdir().expect("a folder");
    let wire = PlayedWire::default();
    wire.set_up(true);
    let mut house = House::open(dir.path(), &settings(1 << 20, OnFull::RefuseNew), &wire);
    house.publish(40);
    house.turn(200);
    wire.set_up(false);
    house.publish(25);
    house.turn(20);
    let wanted = house.wanted();
    block_on(house.log.close());
    drop(house);
    let again = PlayedWire::default();
    again.set_up(true);
    let mut house = House::open(dir.path(), &settings(1 << 20, OnFull::RefuseNew), &again);
    house.turn(200);
    assert_eq!([wire.delivered(), again.delivered()].concat(), wanted);
}

#[test]
fn the_oldest_make_room_when_that_is_the_policy_and_every_loss_is_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let wire = PlayedWire::default();
    wire.set_up(false);
    let mut house = House::open(dir.path(), &settings(16 << 10, OnFull::DropOldest), &wire);
    house.publish(2000);
    wire.set_up(true);
    house.turn(1000);
    let delivered = wire.delivered();
    let lost = house.log.stats().dropped_oldest;
    assert!(lost > 0 && !delivered.is_empty());
    assert_eq!(delivered.len() as u64 + lost, 2000);
    assert_eq!(delivered, house.wanted()[lost as usize..], "the newest are there, in order");
}

#[test]
fn a_record_that_is_never_taken_is_set_aside_and_the_others_go_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let wire = PlayedWire::default();
    wire.set_up(true);
    wire.with(|played| played.refuse = Some(Offset(3)));
    let mut house = House::open(dir.path(), &settings(1 << 20, OnFull::RefuseNew), &wire);
    house.publish(10);
    house.turn(100);
    assert_eq!(wire.delivered().len(), 9);
    let aside = std::fs::read(dir.path().join("refused").join("interactions-00000000000000000003.record")).expect("kept");
    assert!(aside.ends_with(b"record 3"));
    assert_eq!(house.status.borrow().refused, 1);
    assert_eq!(house.log.range(Topic::Interactions, SPOOL_PARTITION).end, Offset(10));
}
