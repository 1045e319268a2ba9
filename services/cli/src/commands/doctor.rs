//! `nocturne doctor`: finds out what is wrong with Kafka or the store, and says what to do.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use nocturne_bus::{Check, Finding, Part, examine_kafka, examine_registry};
use nocturne_lake::Lake;

use crate::{
    args::Global,
    failure::refused,
    output::{self, Outcome},
    places,
    server::Config,
};

/// Days that Kafka must keep records: a night that fails over a weekend, and a day to mend it.
const WINDOW_DAYS: u32 = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum DoctorCommand {
    /// Names, connections, TLS, login, topics, permissions, retention and the schema registry; exit code 3 when something does not work
    #[command(
        after_help = "What may be read and written is what the brokers say; nothing is written to the topics.\n\nExamples:\n  nocturne doctor kafka --config nocturne.toml\n  nocturne doctor kafka --config batcher.toml --part batcher\n  nocturne doctor kafka --brokers localhost:9092"
    )]
    Kafka(KafkaArgs),
    /// Whether the lake's store can be listed, read, and creates a name only once; exit code 3 when not
    #[command(
        after_help = "Examples:\n  nocturne doctor store --store s3://bucket/folder\n  nocturne doctor store --config nocturne.toml"
    )]
    Store(StoreArgs),
}

#[derive(Debug, Args)]
pub(crate) struct KafkaArgs {
    /// Configuration file, TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Brokers, when not those of the configuration
    #[arg(long, value_name = "BROKERS")]
    brokers: Option<String>,
    /// What this user's processes are
    #[arg(long, value_enum, default_value_t = PartName::All, value_name = "PART")]
    part: PartName,
}

/// Names of [`Part`]s.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum PartName {
    /// They write
    Inference,
    /// They read
    Batcher,
    /// They do both
    All,
}

impl From<PartName> for Part {
    fn from(name: PartName) -> Self {
        match name {
            PartName::Inference => Self::Inference,
            PartName::Batcher => Self::Batcher,
            PartName::All => Self::All,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// Configuration file, TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) async fn run(global: &Global, command: DoctorCommand) -> anyhow::Result<Outcome> {
    let checks = match command {
        DoctorCommand::Kafka(args) => kafka(args).await?,
        DoctorCommand::Store(args) => store(global, &args).await?,
    };
    output::show(global.format, &checks, |checks| describe(checks))?;
    Ok(Outcome::of(checks.iter().all(|check| check.finding != Finding::Bad)))
}

async fn kafka(args: KafkaArgs) -> anyhow::Result<Vec<Check>> {
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(brokers) = args.brokers {
        config.kafka.brokers = brokers;
    }
    if !config.kafka.is_set() {
        return Err(refused(
            "examining Kafka: no brokers are named",
            "give --brokers, or a configuration with `brokers` in [kafka]",
        ));
    }
    let of_registry = examine_registry(&config.kafka).await;
    let mut checks = tokio::task::spawn_blocking(move || examine_kafka(&config.kafka, args.part.into(), WINDOW_DAYS)).await?;
    checks.extend(of_registry);
    Ok(checks)
}

async fn store(global: &Global, args: &StoreArgs) -> anyhow::Result<Vec<Check>> {
    let mut config = Config::load(args.config.as_deref())?;
    config.store.override_with(global);
    let lake = places::configured_lake(&global.state, &config.store)?;
    let mut checks = vec![Check::good("location", lake.location())];
    checks.extend(probe(&lake).await);
    Ok(checks)
}

async fn probe(lake: &Lake) -> Vec<Check> {
    let fix_access = "check endpoint, bucket and credentials (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID …) and the rights to list, get, put and delete";
    let fix_create =
        "use a store that honors `If-None-Match: *` on put: two batchers of one partition would overwrite each other here";
    let steps = lake.probe().await;
    steps
        .into_iter()
        .map(|(what, outcome)| match outcome {
            Ok(()) => Check::good(what, "works"),
            Err(error) => {
                let fix = if what.contains("once") { fix_create } else { fix_access };
                Check::bad(what, nocturne_kit::telemetry::chain(&error), fix)
            }
        })
        .collect()
}

fn describe(checks: &[Check]) -> String {
    let mut lines = Vec::new();
    for check in checks {
        let mark = match check.finding {
            Finding::Good => "good",
            Finding::Doubtful => "look",
            Finding::Bad => "BAD ",
        };
        lines.push(format!("{mark}  {}: {}", check.what, check.found));
        if !check.fix.is_empty() {
            lines.push(format!("      {}", check.fix));
        }
    }
    let bad = checks.iter().filter(|check| check.finding == Finding::Bad).count();
    lines.push(if bad == 0 {
        "nothing stands in the way".to_owned()
    } else {
        format!("{} to mend", output::counted(bad, "thing"))
    });
    lines.join("\n")
}
