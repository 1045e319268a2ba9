//! `nocturne sleep`: one night as a process of its own, given only its plan's location.

use std::collections::BTreeMap;

use clap::Args;
use nocturne_sleep::Ended;

use crate::{
    failure::{Advise, refused},
    output::Outcome,
};

const EXAMPLES: &str = "Example: nocturne sleep --plan .nocturne/lake/nights/20261121T030000Z-production/plan.json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SleepArgs {
    /// Where the night's plan is; the lake is what holds it
    #[arg(long, value_name = "LOCATION")]
    pub(crate) plan: String,
    /// Options of the store that holds the lake, as JSON
    #[arg(long, value_name = "JSON", value_parser = options, default_value = "{}")]
    store_options: Options,
    /// Stop when standard input closes: whoever started the night is gone then
    #[arg(long)]
    pub(crate) supervised: bool,
}

/// Options of a store.
#[derive(Debug, Clone)]
struct Options(BTreeMap<String, String>);

fn options(text: &str) -> Result<Options, String> {
    serde_json::from_str(text).map(Options).map_err(|error| error.to_string())
}

pub(super) async fn run(args: &SleepArgs) -> anyhow::Result<Outcome> {
    if args.supervised {
        nocturne_kit::supervised::exit_when_input_closes(1)?;
    }
    let ended = nocturne_sleep::run(&args.plan, &args.store_options.0).await;
    match ended
        .advise(format!("running the night of {}", args.plan), "give the location of a plan.json in a lake's nights/ folder")?
    {
        Ended::Published | Ended::Empty => Ok(Outcome::Done),
        Ended::Rejected => Ok(Outcome::NotClean),
        Ended::Failed => Err(refused("the night failed", "report.json beside the plan says why")),
    }
}
