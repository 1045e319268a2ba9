//! `nocturne lake epoch`: a person accepts a break in a topic's offsets.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use nocturne_bus::{LocalLog, TopicState, inspect_topic};
use nocturne_lake::Lake;
use nocturne_wire::{
    Offset, Partition, Topic,
    batch::BatchFooter,
    epoch::{Epoch, EpochStart},
};
use serde::Serialize;

use crate::{
    args::Global,
    failure::{Advise, refused},
    output::{self, Outcome},
    places,
    server::Config,
};

const EXAMPLES: &str = "\
Examples:
  nocturne lake epoch interactions --config nocturne.toml
  nocturne lake epoch interactions --config nocturne.toml --accept --reason 'the topic was deleted by mistake'

Without brokers in the configuration the log of the state directory is looked at; no server may run on it then.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EpochArgs {
    /// The topic
    #[arg(value_enum)]
    topic: Named,
    /// Configuration file, TOML, with [kafka] and [store]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do it
    #[arg(long, requires = "reason")]
    accept: bool,
    /// Why, for whoever audits the lake
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Named {
    Interactions,
    Feedback,
}

/// What accepting means for a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Line {
    partition: Partition,
    /// Where the lake's batches end.
    sealed_to: Offset,
    /// Where sealing goes on.
    begin: Offset,
    shift: u64,
    /// Offsets in between, which never will be sealed.
    lost: u64,
    /// Records that can be sealed then.
    waiting: u64,
}

#[derive(Serialize)]
struct Shown {
    topic: Topic,
    was: Option<String>,
    is: String,
    partitions: Vec<Line>,
    accepted: bool,
}

pub(super) async fn run(global: &Global, args: &EpochArgs) -> anyhow::Result<Outcome> {
    let topic = match args.topic {
        Named::Interactions => Topic::Interactions,
        Named::Feedback => Topic::Feedback,
    };
    let mut config = Config::load(args.config.as_deref())?;
    config.store.override_with(global);
    let lake = places::configured_lake(&global.state, &config.store)?;
    let sealed = sealed(&lake, topic).await?;
    of_this_transport(&config, topic, &sealed)?;
    let state = look(global, &config, topic).await?;
    let newest =
        lake.epochs().newest(topic).await.advise("reading the lake's epochs", "restore the folder epochs/ from a copy")?;
    let lines = plan(&state, &sealed, newest.as_ref()).ok_or_else(|| {
        let doing = if args.accept { "accepting" } else { "looking for" };
        let what = format!("{doing} a break of {topic}: there is none; the topic continues where its batches end");
        refused(what, "`nocturne lake audit` says what else is wrong")
    })?;
    if args.accept {
        let partitions = lines.iter().map(|line| (line.partition, EpochStart { begin: line.begin, shift: line.shift })).collect();
        let epoch = Epoch {
            topic,
            sequence: newest.as_ref().map_or(0, |epoch| epoch.sequence + 1),
            topic_id: state.id.clone(),
            partitions,
            time: Timestamp::now(),
            actor: std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned()),
            reason: args.reason.clone().unwrap_or_default(),
        };
        lake.epochs().begin(&epoch).await.advise("beginning an epoch", "somebody else may have been first: look again")?;
    }
    let was = sealed.values().next().map(|footer| footer.topic_id.clone());
    let shown = Shown { topic, was, is: state.id, partitions: lines, accepted: args.accept };
    output::show(global.format, &shown, describe)?;
    Ok(Outcome::Done)
}

/// Refuses to hold batches that came from Kafka against a log of this machine: what differs then is not the topic, but the configuration. The other way round
/// is how a lake moves to Kafka.
fn of_this_transport(config: &Config, topic: Topic, sealed: &BTreeMap<Partition, BatchFooter>) -> anyhow::Result<()> {
    match sealed.values().next() {
        Some(newest) if !config.kafka.is_set() && !LocalLog::is_topic_id(&newest.topic_id) => Err(refused(
            format!("looking for a break of {topic}: the lake's batches come from Kafka, and no brokers are configured"),
            "give --config with `brokers` in [kafka]",
        )),
        _ => Ok(()),
    }
}

/// The topic as the brokers, or this machine's log, have it.
async fn look(global: &Global, config: &Config, topic: Topic) -> anyhow::Result<TopicState> {
    let hint = "check [kafka] in the configuration";
    if config.kafka.is_set() {
        let kafka = config.kafka.clone();
        return tokio::task::spawn_blocking(move || inspect_topic(&kafka, topic)).await?.advise("looking at the topic", hint);
    }
    let state = places::take(&global.state)?;
    let (dir, settings) = (places::log_dir(state.path()), config.log.clone());
    let log = tokio::task::spawn_blocking(move || LocalLog::open(&dir, &settings)).await.context("opening the log")??;
    let range = |partition| {
        let range = log.range(topic, partition);
        range.start.0..range.end.0
    };
    let partitions = log.partitions().filter(|(t, _)| *t == topic).map(|(_, partition)| (partition, range(partition)));
    let found = TopicState { id: log.topic_id(topic).to_owned(), partitions: partitions.collect() };
    log.close().await;
    Ok(found)
}

/// The newest batch of each partition.
async fn sealed(lake: &Lake, topic: Topic) -> anyhow::Result<BTreeMap<Partition, BatchFooter>> {
    let (doing, hint) = ("reading where the lake's batches end", "`nocturne lake audit` says what is wrong with them");
    let mut sealed = BTreeMap::new();
    for (partition, names) in lake.batches().list(topic).await.advise(doing, hint)? {
        let Some(newest) = names.last() else { continue };
        let bytes = lake.batches().get(newest).await.advise(doing, hint)?;
        sealed.insert(partition, nocturne_columns::read_footer(&bytes).advise(doing, hint)?);
    }
    Ok(sealed)
}

/// Where each partition would go on; `None` when nothing is broken. Offsets of a topic that was made anew go on after those that were sealed.
fn plan(state: &TopicState, sealed: &BTreeMap<Partition, BatchFooter>, newest: Option<&Epoch>) -> Option<Vec<Line>> {
    let known = newest.filter(|epoch| epoch.topic_id == state.id);
    let mut broken = false;
    let mut lines = Vec::new();
    for (&partition, range) in &state.partitions {
        let footer = sealed.get(&partition);
        let sealed_to = footer.map_or(Offset(0), |footer| footer.last.next());
        let same = known.is_some() || footer.is_none_or(|footer| footer.topic_id == state.id);
        let (shift, least) = if same {
            known.map_or((0, Offset(0)), |epoch| (epoch.start(partition).shift, epoch.start(partition).begin))
        } else {
            (sealed_to.0, sealed_to)
        };
        let start = Offset(range.start + shift);
        let gap = footer.is_some() && start > sealed_to.max(least);
        broken |= !same || gap;
        let begin = if !same || gap { start } else { least };
        let goes_on = begin.max(sealed_to);
        lines.push(Line {
            partition,
            sealed_to,
            begin,
            shift,
            lost: goes_on.0 - sealed_to.0.min(goes_on.0),
            waiting: (range.end + shift).saturating_sub(goes_on.0),
        });
    }
    broken.then_some(lines)
}

fn describe(shown: &Shown) -> String {
    let mut table = output::table(["partition", "sealed to", "goes on at", "ahead of the topic by", "never sealed", "waiting"]);
    for line in &shown.partitions {
        table.add_row([
            line.partition.to_string(),
            line.sealed_to.to_string(),
            line.begin.max(line.sealed_to).to_string(),
            line.shift.to_string(),
            line.lost.to_string(),
            line.waiting.to_string(),
        ]);
    }
    let ids = match &shown.was {
        Some(was) if *was != shown.is => format!("{} was topic {was}, and is topic {} now", shown.topic, shown.is),
        _ => format!("{} is topic {}", shown.topic, shown.is),
    };
    let end = if shown.accepted {
        "accepted; sealing goes on by itself"
    } else {
        "nothing was changed; --accept --reason TEXT does it"
    };
    format!("{ids}\n{table}\n{end}")
}

#[cfg(test)]
mod tests {
    use nocturne_wire::BatchName;

    use super::*;

    fn footer(last: u64, topic_id: &str) -> BTreeMap<Partition, BatchFooter> {
        let name = BatchName::new(Topic::Interactions, Partition(0), Offset(0));
        let footer = BatchFooter {
            name,
            last: Offset(last),
            begin: Offset(0),
            topic_id: topic_id.to_owned(),
            schema_fingerprint: String::new(),
            writer: String::new(),
            rows: 0,
            dead: 0,
            duplicates: 0,
            letters: None,
            erased: 0,
        };
        [(Partition(0), footer)].into()
    }

    fn state(id: &str, range: std::ops::Range<u64>) -> TopicState {
        TopicState { id: id.to_owned(), partitions: [(Partition(0), range)].into() }
    }

    fn planned(
        state: &TopicState,
        sealed: &BTreeMap<Partition, BatchFooter>,
        newest: Option<&Epoch>,
    ) -> Option<(u64, u64, u64, u64)> {
        plan(state, sealed, newest).map(|lines| (lines[0].begin.0, lines[0].shift, lines[0].lost, lines[0].waiting))
    }

    #[test]
    fn batches_of_kafka_are_not_held_against_a_log_of_this_machine() {
        let (log, mut kafka) = (Config::default(), Config::default());
        kafka.kafka.brokers = "broker:9092".to_owned();
        let uuid = "01a2282e-7f4c-7000-8000-0123456789ab";
        for (config, id, fits) in [
            (&log, uuid, true),
            (&kafka, uuid, true),
            (&kafka, "06pta/6xTEeOnOTpnYp64A", true),
            (&log, "06pta/6xTEeOnOTpnYp64A", false),
        ] {
            assert_eq!(of_this_transport(config, Topic::Feedback, &footer(9, id)).is_ok(), fits, "{id}");
        }
    }

    #[test]
    fn a_topic_that_goes_on_needs_no_epoch() {
        assert_eq!(planned(&state("a", 0..30), &footer(9, "a"), None), None);
        assert_eq!(planned(&state("a", 10..30), &footer(9, "a"), None), None);
        assert_eq!(planned(&state("a", 500..600), &BTreeMap::new(), None), None);
    }

    #[test]
    fn offsets_of_a_topic_that_was_made_anew_follow_those_that_were_sealed() {
        assert_eq!(planned(&state("b", 0..30), &footer(9, "a"), None), Some((10, 10, 0, 30)));
        assert_eq!(planned(&state("b", 5..30), &footer(9, "a"), None), Some((15, 10, 5, 25)));
    }

    #[test]
    fn records_that_are_gone_are_skipped_and_counted_and_a_shift_stays() {
        assert_eq!(planned(&state("a", 15..30), &footer(9, "a"), None), Some((15, 0, 5, 15)));
        let start = EpochStart { begin: Offset(10), shift: 10 };
        let epoch = Epoch {
            topic: Topic::Interactions,
            sequence: 0,
            topic_id: "b".to_owned(),
            partitions: [(Partition(0), start)].into(),
            time: Timestamp::UNIX_EPOCH,
            actor: String::new(),
            reason: String::new(),
        };
        assert_eq!(planned(&state("b", 0..30), &footer(19, "b"), Some(&epoch)), None);
        assert_eq!(planned(&state("b", 25..30), &footer(19, "b"), Some(&epoch)), Some((35, 10, 15, 5)));
    }
}
