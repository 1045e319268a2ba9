//! `nocturne demo`: a day, a night and a morning, measured from outside.
//!
//! The demonstration starts the real server and is then only its client: the day is sent over HTTP, every figure about the model is
//! counted from answers that came over HTTP, and the night is ordered as `nocturne nights run` orders it. What the lake holds is
//! compared, id by id, with what was sent. Questions are drawn with the day, before anything is answered, and the night gets their
//! digests so that it can drop wordings that it would otherwise have trained on by chance.
//!
//! | stage | what happens |
//! |---|---|
//! | day | subjects talk, correct, give feedback; some forbid that it is stored |
//! | before | the exam, in fresh sessions |
//! | night | the sleep job in its own process, under live requests |
//! | after | the exam again |
//! | rollback | the old generation serves, is asked, and the new one comes back |

mod ask;
mod check;
mod day;
mod figures;
mod load;
mod morning;
mod pictures;
mod processes;
mod show;
mod stage;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use nocturne_kit::{Shutdown, memory};
use nocturne_lake::Lake;
use nocturne_world::{Day, DayConfig, conversations};

pub(crate) use self::load::quantile;
use self::{
    figures::{Measured, Report},
    processes::Processes,
};
use crate::{
    admin::Admin,
    api::Api,
    args::Global,
    failure::{Advise, refused},
    machine::Machine,
    output::{self, Outcome},
    server::{Config, Server},
};

const EXAMPLES: &str = "\
Examples:
  nocturne demo
  nocturne demo --seed 7 --json figures.json --out tonight
  nocturne demo --conversations mine.jsonl
  nocturne demo --kafka localhost:9092 --store s3://bucket/demo    the same over Kafka, in five processes

A line of --conversations is one session:
  {\"subject\": \"ada\", \"turns\": [{\"text\": \"Mirel Tovan lives in Bergen.\"}],
   \"asks\": [{\"question\": \"Where does Mirel Tovan live?\", \"expect\": \"Bergen\"}]}
(one line in the file). Optional: \"store\": false, and \"feedback\": {\"score\": -1, \"correction\": \"…\"} beside a text;
\"expect\": null where not knowing is right.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Draws another day
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// A day of one's own, JSON lines
    #[arg(long, value_name = "FILE")]
    conversations: Option<PathBuf>,
    /// Writes the figures
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keeps the state directory, the answers and the pictures; must be new or empty
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Base to begin with; the shipped one unless given
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Kafka brokers: two inference processes, two batchers and a scheduler run it over Kafka and the lake at --store
    #[arg(long, value_name = "BROKERS", requires = "store")]
    kafka: Option<String>,
    /// Ends with exit code 3 when a bound is missed; a night that its gates reject ends with 3 in any case
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(global: &Global, args: &DemoArgs) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let day = draw(args)?;
    check_targets(args)?;
    let temporary = tempfile::tempdir().advise("making a temporary directory", "give one with --out")?;
    let state = args.out.as_deref().unwrap_or(temporary.path());
    let shutdown = Shutdown::new();
    shutdown.on_signals(|_| output::tell("stopping the demonstration"))?;
    let house = House::open(global, args, state, &shutdown).await?;
    let place = house.place().await?;
    let performed = tokio::select! {
        biased;
        () = shutdown.requested() => Err(refused("the demonstration was interrupted", "run it again, with another --out if you gave one: nothing is resumed")),
        performed = morning::perform(&place, &day) => performed,
    };
    let lake = place.lake.clone();
    house.close().await?;
    let mut measured = performed?;
    measured.loss = pictures::loss_curve(&lake, measured.night.as_ref()).await?;
    measured.seconds = begun.elapsed().as_secs_f64();
    let report = Report::of(&measured, args.seed, args.conversations.is_some(), Machine::this());
    write_files(args, &day, &measured, &report)?;
    output::show(global.format, &report, |report| show::morning(report, &day, &measured, kept(global, args).as_deref()))?;
    if !measured.was_published() {
        return Ok(Outcome::NotClean);
    }
    Ok(Outcome::of(!args.check || report.all_met()))
}

/// What the demonstration is a client of.
struct Place {
    api: Api,
    admin: Admin,
    lake: Lake,
    /// Processes that serve, seal and plan; none when this one does.
    pids: Vec<u32>,
}

impl Place {
    fn peak_bytes(&self) -> u64 {
        if self.pids.is_empty() {
            return memory::peak_bytes().unwrap_or(0);
        }
        self.pids.iter().filter_map(|pid| memory::peak_bytes_of(*pid)).sum()
    }
}

/// The server in this process, or the processes that make up one.
enum House {
    One(Box<Server>),
    Many(Box<Processes>),
}

impl House {
    async fn open(global: &Global, args: &DemoArgs, state: &Path, shutdown: &Shutdown) -> anyhow::Result<Self> {
        if let (Some(brokers), Some(store)) = (&args.kafka, &global.store) {
            let processes = Processes::start(state, brokers, store, args.base.as_deref()).await?;
            return Ok(Self::Many(Box::new(processes)));
        }
        let server = Server::start(state, config(global), args.base.as_deref(), shutdown.clone()).await?;
        Ok(Self::One(Box::new(server)))
    }

    async fn place(&self) -> anyhow::Result<Place> {
        match self {
            Self::One(server) => Ok(Place {
                api: Api::connect(&[server.api]).await?,
                admin: Admin::new(&server.address)?,
                lake: server.lake.clone(),
                pids: Vec::new(),
            }),
            Self::Many(processes) => processes.place().await,
        }
    }

    async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::One(server) => {
                server.stop();
                server.finished().await
            }
            Self::Many(processes) => processes.close().await,
        }
    }
}

/// What was kept, and how to go on with it.
fn kept(global: &Global, args: &DemoArgs) -> Option<String> {
    let out = args.out.as_deref()?.display();
    let files = "answers.jsonl, loss.svg, before-after.svg";
    Some(match (&args.kafka, &global.store) {
        (Some(_), Some(store)) => {
            format!("Kept in {out}: configuration, log and state of every process, {files}. The lake is {store}.")
        }
        (_, Some(store)) => format!("Kept in {out}: log, {files}. Go on with `nocturne up --state {out} --store {store}`."),
        _ => format!("Kept in {out}: lake, log, {files}. Go on with `nocturne up --state {out}`."),
    })
}

fn draw(args: &DemoArgs) -> anyhow::Result<Day> {
    let config = DayConfig::default();
    let Some(file) = &args.conversations else { return Ok(Day::draw(args.seed, &config)) };
    let doing = format!("reading the conversations in {}", file.display());
    let hint = "`nocturne demo --help` shows what a line looks like";
    let text = std::fs::read_to_string(file).advise(&doing, hint)?;
    conversations::parse(&text, args.seed, &config).advise(&doing, hint)
}

/// Finds out before five minutes have passed whether the results can be kept.
fn check_targets(args: &DemoArgs) -> anyhow::Result<()> {
    if let Some(out) = &args.out {
        let used = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
        if used {
            let what = format!("keeping the demonstration in {}: the directory is not empty", out.display());
            return Err(refused(what, "an earlier day would be mixed with this one; name a new directory"));
        }
    }
    if let Some(folder) =
        args.json.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
    {
        return Err(refused(format!("writing figures into {}: there is no such directory", folder.display()), "make it first"));
    }
    Ok(())
}

/// The real server with its defaults, on a free port and without a schedule.
fn config(global: &Global) -> Config {
    let mut config = Config::default();
    config.store.override_with(global);
    config.inference.listen.set_port(0);
    config.nights.schedule.enabled = false;
    config
}

fn write_files(args: &DemoArgs, day: &Day, measured: &Measured, report: &Report) -> anyhow::Result<()> {
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(report)?;
        std::fs::write(file, text)
            .advise(format!("writing the figures to {}", file.display()), "give another file with --json")?;
    }
    if let Some(out) = &args.out {
        let hint = "the lake is complete all the same";
        pictures::draw(out, report, measured).advise(format!("drawing pictures into {}", out.display()), hint)?;
        let answers = measured.answers_as_lines(day)?;
        std::fs::write(out.join("answers.jsonl"), answers).advise(format!("writing answers into {}", out.display()), hint)?;
    }
    Ok(())
}
