//! `nocturne history`

use clap::Args;
use nocturne_wire::ledger::{LedgerAction, LedgerEntry, PRODUCTION};

use crate::{
    args::Global,
    failure::{Advise, refused},
    output::{self, Outcome},
    places,
};

const EXAMPLES: &str = "\
Examples:
  nocturne history
  nocturne history -o json | jq -r '.[-1].generation'";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HistoryArgs {
    /// Channel whose ledger is shown
    #[arg(long, default_value = PRODUCTION, value_name = "CHANNEL")]
    channel: String,
}

pub(super) async fn run(global: &Global, args: &HistoryArgs) -> anyhow::Result<Outcome> {
    let lake = places::existing_lake(global)?;
    let entries = lake.ledger(&args.channel).read().await;
    let entries = entries
        .advise(format!("reading the ledger of channel `{}`", args.channel), "restore the ledger from a copy of the lake")?;
    if entries.is_empty() {
        let what = format!("reading the ledger of channel `{}`: there is none", args.channel);
        return Err(refused(what, format!("leave --channel out for `{PRODUCTION}`")));
    }
    output::show(global.format, &entries, |entries| table(entries))?;
    Ok(Outcome::Done)
}

fn table(entries: &[LedgerEntry]) -> String {
    let mut table = output::table(["entry", "time", "action", "generation", "by", "why"]);
    for entry in entries {
        table.add_row([
            entry.sequence.to_string(),
            format!("{:.0}", entry.time),
            action(entry.action).to_owned(),
            entry.generation.to_string(),
            entry.actor.clone(),
            entry.reason.clone(),
        ]);
    }
    table.to_string()
}

const fn action(action: LedgerAction) -> &'static str {
    match action {
        LedgerAction::Begin => "begin",
        LedgerAction::Promote => "promote",
        LedgerAction::Rollback => "rollback",
    }
}
