//! `nocturne up`: everything in one process.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
};

use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use nocturne_kit::{Shutdown, telemetry};
use nocturne_scheduler::{Schedule, ScheduleSettings};
use serde::Serialize;

use crate::{
    address::url,
    args::Global,
    failure::{Advise, refused},
    output::{self, Outcome},
    places,
    server::{Config, Server},
};

const EXAMPLES: &str = "\
Examples:
  nocturne up
  nocturne up --listen 127.0.0.1:9000 --state ~/nocturne
  nocturne up --schedule 03:00 --time-zone Europe/Berlin
  nocturne up --no-schedule                nights only by `nocturne nights run`
  nocturne up --print-config > nocturne.toml
  nocturne up --config nocturne.toml

The configuration file has the tables [telemetry], [store], [log], [kafka], [spool], [batcher], [inference], [nights], [sleep] and [control]; every key has a default, unknown keys are errors.
Ctrl-C drains: requests in flight are answered and logged. A second Ctrl-C ends at once.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpArgs {
    /// Address of the OpenAI-compatible API, HOST:PORT [default: 127.0.0.1:8321]
    #[arg(long, value_name = "ADDRESS", value_parser = socket_address)]
    listen: Option<SocketAddr>,
    /// Configuration file, TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Time of day at which nights run
    #[arg(long, value_name = "HH:MM", value_parser = time_of_day)]
    schedule: Option<String>,
    /// Time zone of --schedule
    #[arg(long, value_name = "NAME", value_parser = time_zone)]
    time_zone: Option<String>,
    /// Run nights only when asked to
    #[arg(long, conflicts_with = "schedule")]
    no_schedule: bool,
    /// Base that a new lake begins with; the shipped one unless given
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Print the settings that would be in force, as a configuration file, and start nothing
    #[arg(long)]
    print_config: bool,
}

fn time_of_day(text: &str) -> Result<String, String> {
    sound(ScheduleSettings { time: text.to_owned(), ..ScheduleSettings::default() }).map(|settings| settings.time)
}

fn time_zone(text: &str) -> Result<String, String> {
    sound(ScheduleSettings { time_zone: text.to_owned(), ..ScheduleSettings::default() }).map(|settings| settings.time_zone)
}

fn sound(settings: ScheduleSettings) -> Result<ScheduleSettings, String> {
    Schedule::parse(&settings).map(|_| settings).map_err(|error| error.to_string())
}

/// The first address of a host and port; a name such as localhost is looked up.
fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|error| format!("give HOST:PORT, such as 127.0.0.1:8321: {error}"))?;
    let found: Vec<SocketAddr> = found.collect();
    // A name with both kinds of addresses means the one that every client tries.
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied().ok_or_else(|| "it has no address".to_owned())
}

#[derive(Serialize)]
struct Started {
    state: PathBuf,
    lake: String,
    serving: String,
    api: String,
    admin: String,
    next_night: Option<Timestamp>,
}

pub(super) async fn run(global: &Global, args: &UpArgs) -> anyhow::Result<Outcome> {
    let mut config = settings(args)?;
    config.store.override_with(global);
    if args.print_config {
        let text = config.to_file().advise("writing the configuration", "print it with -o json")?;
        output::show(global.format, &config, |_| text)?;
        return Ok(Outcome::Done);
    }
    telemetry::install(&config.telemetry).advise("setting up the log", "correct the [telemetry] table")?;
    let zone = TimeZone::get(&config.nights.schedule.time_zone).unwrap_or(TimeZone::UTC);
    let shutdown = Shutdown::new();
    shutdown.on_signals(|_| output::tell("draining; press Ctrl-C again to end at once"))?;
    output::tell(&format!("starting on {}", global.state.display()));
    let server = Server::start(&global.state, config, args.base.as_deref(), shutdown.clone()).await?;
    let mut progress = server.scheduler.progress();
    // The scheduler looks at its schedule as soon as it runs.
    tokio::time::timeout(std::time::Duration::from_secs(1), progress.wait_for(|progress| progress.next_run.is_some())).await.ok();
    let started = Started {
        state: std::path::absolute(&global.state)?,
        lake: server.lake.location().to_owned(),
        serving: server.serving.to_string(),
        api: url(server.api, "/v1"),
        admin: server.address.admin.map(|admin| url(admin, "/admin")).unwrap_or_default(),
        next_night: progress.borrow().next_run,
    };
    output::show(global.format, &started, |started| describe(started, &zone))?;
    shutdown.requested().await;
    server.finished().await?;
    output::tell("stopped; what was acknowledged is in the log");
    Ok(Outcome::Done)
}

fn describe(started: &Started, zone: &TimeZone) -> String {
    let nights = started.next_night.map_or_else(
        || "only on demand: `nocturne nights run`".to_owned(),
        |next| format!("next at {}; now: `nocturne nights run`", next.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z")),
    );
    let rows = output::properties([
        ("API", started.api.clone()),
        ("serving", format!("generation {}", started.serving)),
        ("nights", nights),
        ("log", places::log_dir(&started.state).display().to_string()),
        ("lake", started.lake.clone()),
        ("admin", started.admin.clone()),
    ]);
    format!("Nocturne is up. Talk to it with `nocturne chat` or any OpenAI client; Ctrl-C drains and stops.\n{rows}")
}

fn settings(args: &UpArgs) -> anyhow::Result<Config> {
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(listen) = args.listen {
        config.inference.listen = listen;
    }
    let schedule = &mut config.nights.schedule;
    if let Some(time) = &args.schedule {
        (schedule.enabled, schedule.time) = (true, time.clone());
    }
    if let Some(zone) = &args.time_zone {
        schedule.time_zone.clone_from(zone);
    }
    if args.no_schedule {
        schedule.enabled = false;
    }
    if config.nights.channel != config.inference.channel {
        let what =
            format!("nights are set to channel `{}`, inference to channel `{}`", config.nights.channel, config.inference.channel);
        return Err(refused(what, "give [nights] and [inference] the same channel"));
    }
    // Before anything is written: a new state directory is not begun for a mistake.
    Schedule::parse(&config.nights.schedule)
        .advise("reading the schedule of nights", "correct --schedule, --time-zone or the table [nights.schedule]")?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: UpArgs,
    }

    fn settings_of(line: &[&str]) -> Config {
        settings(&Line::parse_from(line).args).expect("valid")
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_the_default() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("nocturne.toml");
        std::fs::write(&file, "[inference]\nlisten = \"127.0.0.1:1\"\n[nights.schedule]\ntime = \"04:00\"\n").expect("written");
        let path = file.to_str().expect("UTF-8");
        assert_eq!(settings_of(&["up"]).inference.listen.port(), 8321);
        assert_eq!(settings_of(&["up", "--config", path]).inference.listen.port(), 1);
        let both = settings_of(&["up", "--config", path, "--listen", "127.0.0.1:2", "--schedule", "05:00", "--time-zone", "UTC"]);
        assert_eq!((both.inference.listen.port(), both.nights.schedule.time.as_str()), (2, "05:00"));
    }

    #[test]
    fn a_host_may_have_a_name_and_a_mistake_is_refused_before_anything_starts() {
        assert_eq!(settings_of(&["up", "--listen", "localhost:2"]).inference.listen, SocketAddr::from(([127, 0, 0, 1], 2)));
        assert!(Line::try_parse_from(["up", "--listen", "8321"]).is_err());
        for wrong in [["up", "--schedule", "25:00"], ["up", "--time-zone", "Mars/Olympus"]] {
            let refused = Line::try_parse_from(wrong).err().expect("refused").to_string();
            assert!(refused.contains(wrong[2]) && refused.contains("such as"), "{refused}");
        }
    }

    #[test]
    fn nights_may_be_left_to_the_command_line() {
        assert!(!settings_of(&["up", "--no-schedule"]).nights.schedule.enabled);
        assert!(Line::try_parse_from(["up", "--no-schedule", "--schedule", "03:00"]).is_err());
    }
}
