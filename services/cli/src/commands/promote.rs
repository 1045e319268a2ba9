//! `nocturne promote` and `nocturne rollback`

use clap::Args;
use nocturne_wire::ledger::PRODUCTION;

use crate::{
    args::Global,
    failure::{Advise, refused},
    output::{self, Outcome},
    places::{self, Owner},
    promotion::{self, Decision},
};

const PROMOTE_EXAMPLES: &str = "\
Examples:
  nocturne promote 3
  nocturne promote 000000000003-1f0c9a2b --reason 'looked at the gates'";

const ROLLBACK_EXAMPLES: &str = "\
Examples:
  nocturne rollback                what served before, again
  nocturne rollback --to 0         the base, before its first night";

#[derive(Debug, Args)]
#[command(after_help = PROMOTE_EXAMPLES)]
pub(crate) struct PromoteArgs {
    /// Number or name of the generation
    #[arg(value_name = "GENERATION")]
    generation: String,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Args)]
#[command(after_help = ROLLBACK_EXAMPLES)]
pub(crate) struct RollbackArgs {
    /// Number or name of the generation; the one that served before unless given
    #[arg(long, value_name = "GENERATION")]
    to: Option<String>,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Args)]
struct Why {
    /// Channel that moves
    #[arg(long, default_value = PRODUCTION, value_name = "CHANNEL")]
    channel: String,
    /// Why, for the ledger
    #[arg(long, default_value = "from the command line", value_name = "TEXT")]
    reason: String,
}

pub(super) async fn promote(global: &Global, args: PromoteArgs) -> anyhow::Result<Outcome> {
    let lake = places::existing_lake(global)?;
    let target = places::generation(&lake, &args.generation).await?;
    let head = promotion::head(&lake, &args.why.channel).await?;
    if target.number() < head.generation.number() {
        let what = format!("promoting generation {target}: it is older than {}, which serves", head.generation);
        return Err(refused(what, format!("`nocturne rollback --to {}` serves an older one", target.number())));
    }
    carry_out(global, Decision { channel: args.why.channel, target, reason: args.why.reason }).await
}

pub(super) async fn rollback(global: &Global, args: RollbackArgs) -> anyhow::Result<Outcome> {
    let lake = places::existing_lake(global)?;
    let channel = args.why.channel;
    let entries = lake.ledger(&channel).read().await.advise("reading the ledger", "restore it from a copy of the lake")?;
    let target = match args.to {
        Some(text) => places::generation(&lake, &text).await?,
        None => promotion::before(&entries).cloned().ok_or_else(|| {
            refused(format!("rolling channel `{channel}` back: nothing older has served"), "`nocturne history` shows what has")
        })?,
    };
    if let Some(head) = entries.last().filter(|head| head.generation.number() < target.number()) {
        let what = format!("rolling back to generation {target}: it is newer than {}, which serves", head.generation);
        return Err(refused(what, format!("`nocturne promote {}` serves a newer one", target.number())));
    }
    carry_out(global, Decision { channel, target, reason: args.why.reason }).await
}

async fn carry_out(global: &Global, decision: Decision) -> anyhow::Result<Outcome> {
    // Replicas of a shared lake follow its ledger by themselves; the owner of a state directory is told.
    let owner = if global.store.is_none() { Some(places::owner(&global.state).await?) } else { None };
    let lake = places::existing_lake(global)?;
    let server = match &owner {
        Some(Owner::Server(admin)) => Some(admin),
        Some(Owner::Us(_)) | None => None,
    };
    let moved = promotion::carry_out(&lake, decision, server).await?;
    output::show(global.format, &moved, promotion::tell)?;
    Ok(Outcome::Done)
}
