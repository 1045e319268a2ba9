//! `nocturne sleep`: one night as a process of its own, given only its plan's location.

use clap::Args;
use nocturne_model::DeviceName;
use nocturne_sleep::{Ended, SleepSettings};

use crate::{
    args::Global,
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
    /// Where slow banks are trained: flex, tch, tch:cuda:0, cuda, cuda:1; all but flex need a build that has them
    #[arg(long, value_name = "NAME", default_value_t)]
    pub(crate) device: DeviceName,
    /// Stop when standard input closes: whoever started the night is gone then
    #[arg(long)]
    pub(crate) supervised: bool,
}

pub(super) async fn run(global: &Global, args: &SleepArgs) -> anyhow::Result<Outcome> {
    if args.supervised {
        nocturne_kit::supervised::exit_when_input_closes(1)?;
    }
    let settings = SleepSettings { device: args.device };
    let ended = nocturne_sleep::run(&args.plan, &global.store_options.clone().unwrap_or_default().0, settings).await;
    match ended
        .advise(format!("running the night of {}", args.plan), "give the location of a plan.json in a lake's nights/ folder")?
    {
        Ended::Published | Ended::Empty => Ok(Outcome::Done),
        Ended::Rejected => Ok(Outcome::NotClean),
        Ended::Failed => Err(refused("the night failed", "report.json beside the plan says why")),
    }
}
