//! Who hands out partitions: a log of this machine all of its own, a consumer group those that are this process's.

use std::sync::{Arc, Weak, mpsc};

use nocturne_kit::Shutdown;
use nocturne_wire::{Partition, Topic};
use rdkafka::consumer::Consumer as _;
use tokio::sync::mpsc as channel;

use crate::{
    intake::Intake,
    kafka::{
        KafkaError, KafkaSettings,
        buffer::Buffer,
        consumer::{self, Consumer},
        group::{self, Command, Member, Moved},
        intake::KafkaIntake,
        registry::Registry,
    },
    local::log::LocalLog,
};

/// What a group tells.
#[derive(Debug)]
pub enum Change {
    /// These partitions are to be read from now on.
    Assigned(Vec<Intake>),
    /// These are not.
    Revoked(Revoked),
}

/// Partitions that go; the group waits, for a bounded time, until this is dropped.
#[derive(Debug)]
pub struct Revoked {
    /// The partitions.
    pub partitions: Vec<(Topic, Partition)>,
    _held: mpsc::Sender<()>,
}

#[derive(Debug)]
enum Members {
    /// All partitions of a log are this process's.
    Local {
        assigned: Option<Vec<Intake>>,
    },
    Kafka(KafkaMember),
}

/// Who hands out partitions.
#[derive(Debug)]
pub struct Group(Members);

struct KafkaMember {
    settings: Arc<KafkaSettings>,
    registry: Option<Registry>,
    consumer: Weak<Consumer>,
    commands: mpsc::Sender<Command>,
    moved: channel::UnboundedReceiver<Moved>,
    stop: Shutdown,
}

impl std::fmt::Debug for KafkaMember {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaMember").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Group {
    /// Every partition of a log.
    pub fn local(log: &LocalLog) -> Self {
        let intakes = log.partitions().filter_map(|(topic, partition)| Intake::local(log, topic, partition));
        Self(Members::Local { assigned: Some(intakes.collect()) })
    }

    /// Joins a consumer group.
    ///
    /// # Errors
    /// When the settings make no sense; brokers need not be there.
    pub fn join(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let registry = Registry::open(&settings.registry)?;
        let consumer = Arc::new(consumer::make(settings)?);
        let names = Topic::ALL.map(|topic| settings.topics.of(topic));
        consumer.subscribe(&names).map_err(|error| settings.failed("subscribing to topics", error))?;
        let (commands, receiver) = mpsc::channel();
        let (sender, moved) = channel::unbounded_channel();
        let stop = Shutdown::new();
        // Only the poll thread owns the consumer: it is the one that may wait while it is closed.
        let asked = Arc::downgrade(&consumer);
        group::spawn(Member::new(settings.clone(), consumer, receiver, sender, stop.clone()))?;
        let settings = Arc::new(settings.clone());
        Ok(Self(Members::Kafka(KafkaMember { settings, registry, consumer: asked, commands, moved, stop })))
    }

    /// Whether its partitions are those of a log of this process.
    pub const fn is_local(&self) -> bool {
        matches!(self.0, Members::Local { .. })
    }

    /// The registry that knows the schemas of framed records, when one is configured.
    pub fn registry(&self) -> Option<Registry> {
        match &self.0 {
            Members::Local { .. } => None,
            Members::Kafka(member) => member.registry.clone(),
        }
    }

    /// Waits for the next change; `None` when there will be none any more, as was asked for. Cancel safe.
    ///
    /// # Errors
    /// When the group was left although nobody asked for it: its partitions are not read any more.
    pub async fn next(&mut self) -> Result<Option<Change>, KafkaError> {
        match &mut self.0 {
            Members::Local { assigned } => Ok(assigned.take().map(Change::Assigned)),
            Members::Kafka(member) => member.next().await,
        }
    }

    /// Asks to leave: partitions are revoked, and then there are no changes any more.
    pub fn leave(&self) {
        match &self.0 {
            Members::Local { .. } => {}
            Members::Kafka(member) => member.stop.request(),
        }
    }
}

impl KafkaMember {
    async fn next(&mut self) -> Result<Option<Change>, KafkaError> {
        match self.moved.recv().await {
            Some(Moved::Assigned(buffers)) => {
                Ok(Some(Change::Assigned(buffers.into_iter().map(|buffer| self.intake(buffer)).collect())))
            }
            Some(Moved::Revoked(partitions, held)) => Ok(Some(Change::Revoked(Revoked { partitions, _held: held }))),
            Some(Moved::Left) => Ok(None),
            Some(Moved::Failed(error)) => Err(error),
            None => Err(KafkaError::Ended {
                brokers: self.settings.brokers.clone(),
                why: "the thread that polls has gone without a word".to_owned(),
            }),
        }
    }

    fn intake(&self, buffer: Arc<Buffer>) -> Intake {
        Intake::kafka(KafkaIntake::new(self.settings.clone(), self.consumer.clone(), self.commands.clone(), buffer))
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        // The thread ends within its patience for readers, who are gone.
        self.stop.request();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// One whose brokers nobody has.
    fn nowhere() -> Group {
        Group::join(&KafkaSettings { brokers: "127.0.0.1:9".to_owned(), ..KafkaSettings::default() })
            .expect("brokers may be away")
    }

    async fn last(group: &mut Group) -> Result<(), KafkaError> {
        let left = async {
            while group.next().await?.is_some() {}
            Ok(())
        };
        tokio::time::timeout(Duration::from_secs(30), left).await.expect("in time")
    }

    #[tokio::test]
    async fn whoever_leaves_is_told_when_the_consumer_is_closed() {
        let mut group = nowhere();
        let Members::Kafka(member) = &group.0 else { panic!("a member") };
        // A question under way keeps the consumer, and does not close it where it ends.
        let (consumer, asking) = (member.consumer.clone(), member.consumer.upgrade().expect("open"));
        group.leave();
        let asked = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            let last = Arc::strong_count(&asking) == 1;
            drop(asking);
            last
        });
        last(&mut group).await.expect("as asked for");
        assert!(consumer.upgrade().is_none(), "closed before the last word");
        assert!(!asked.join().expect("no panic"), "the poll thread waits");
    }

    #[tokio::test]
    async fn an_end_without_a_word_is_an_error() {
        let mut group = nowhere();
        let Members::Kafka(member) = &mut group.0 else { panic!("a member") };
        member.moved = channel::unbounded_channel().1;
        assert!(matches!(last(&mut group).await, Err(KafkaError::Ended { .. })));
    }

    #[tokio::test]
    async fn a_reader_that_outlives_the_group_is_told_so() {
        let mut group = nowhere();
        let Members::Kafka(member) = &group.0 else { panic!("a member") };
        let intake = member.intake(Arc::new(Buffer::new((Topic::Interactions, Partition(0)), Arc::default())));
        group.leave();
        last(&mut group).await.expect("as asked for");
        let refused = intake.topic_id().await.expect_err("nobody is there to ask");
        assert!(refused.to_string().contains("has left the consumer group"), "{refused}");
    }
}
