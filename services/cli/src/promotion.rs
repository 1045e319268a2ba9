//! Moving a channel: one more entry in its ledger, then a nudge so that the running server follows at once.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use nocturne_lake::{Expect, Lake, LedgerDraft};
use nocturne_wire::{
    Generation, GenerationName,
    ledger::{LedgerAction, LedgerEntry},
};
use serde::Serialize;

use crate::{
    admin::Admin,
    failure::{Advise, refused},
};

/// A channel that moved.
#[derive(Debug, Serialize)]
pub(crate) struct Moved {
    /// The new entry.
    pub(crate) entry: LedgerEntry,
    /// Whether a running server serves it now; `None` when none runs.
    pub(crate) served: Option<bool>,
    /// From the command to the flip.
    pub(crate) seconds: f64,
}

/// A decision about a channel.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    /// The channel.
    pub(crate) channel: String,
    /// The generation that is to serve.
    pub(crate) target: GenerationName,
    /// Why.
    pub(crate) reason: String,
}

/// The newest entry of a channel.
pub(crate) async fn head(lake: &Lake, channel: &str) -> anyhow::Result<LedgerEntry> {
    let head =
        lake.ledger(channel).head().await.advise(format!("reading the ledger of channel `{channel}`"), "check the lake")?;
    head.ok_or_else(|| {
        refused(format!("channel `{channel}` serves nothing yet"), "run `nocturne up` once, which begins it with generation 0")
    })
}

/// What a rollback goes to when nobody says: the generation that served last and is older than the one that serves.
pub(crate) fn before(entries: &[LedgerEntry]) -> Option<&GenerationName> {
    let serving = entries.last()?.generation.number();
    entries.iter().rev().map(|entry| &entry.generation).find(|name| name.number() < serving)
}

/// Appends the decision and waits for the running server to follow.
///
/// # Errors
/// When the generation serves already, is damaged, the ledger moved meanwhile, or the server refused the generation.
pub(crate) async fn carry_out(lake: &Lake, decision: Decision, server: Option<&Admin>) -> anyhow::Result<Moved> {
    let begun = Instant::now();
    let Decision { channel, target, reason } = decision;
    let head = head(lake, &channel).await?;
    if head.generation == target {
        return Err(refused(
            format!("generation {target} serves channel `{channel}` already"),
            "`nocturne history` shows since when",
        ));
    }
    let newer = target.number() > head.generation.number();
    let night = verified(lake, &head.generation, &target).await?;
    let draft = LedgerDraft {
        action: if newer { LedgerAction::Promote } else { LedgerAction::Rollback },
        generation: target,
        time: Timestamp::now(),
        actor: actor(),
        reason,
        night,
    };
    let appended = lake.ledger(&channel).append(&draft, Expect::Head(head.sequence)).await;
    let entry = appended.advise("moving the channel", "look at `nocturne history` and decide again")?;
    let served = match server {
        None => None,
        Some(server) => Some(follow(server, &entry).await?),
    };
    Ok(Moved { entry, served, seconds: begun.elapsed().as_secs_f64() })
}

/// A damaged generation, or one of another base than what serves now, must not get into the ledger: every replica would refuse it. The base is generation 0's
/// to say when what serves is damaged itself: that is when a rollback matters most.
async fn verified(
    lake: &Lake,
    serving: &GenerationName,
    target: &GenerationName,
) -> anyhow::Result<Option<nocturne_wire::NightId>> {
    let doing = format!("verifying generation {target}");
    let hint = "choose another one; `nocturne generations list` shows which there are";
    let manifest = lake.generations().manifest(target).await.advise(&doing, hint)?;
    let doing_base = "finding the base of what serves now";
    let hint_base = "restore the lake's folder generations/ from a copy";
    let lineage = match lake.generations().manifest(serving).await {
        Err(error) if error.is_damage() || error.is_not_found() => {
            let zero = lake.generations().find(Generation::ZERO).await.advise(doing_base, hint_base)?;
            lake.generations().manifest(zero.as_ref().unwrap_or(serving)).await
        }
        manifest => manifest,
    };
    let lineage = lineage.advise(doing_base, hint_base)?.base;
    lake.generations().fetch(target, &lineage).await.advise(&doing, hint)?;
    Ok(manifest.night)
}

/// Nudges the server; false when a later entry has overtaken this one.
async fn follow(server: &Admin, entry: &LedgerEntry) -> anyhow::Result<bool> {
    let status = server.nudge().await?;
    if let Some(refusal) = status.refused.iter().rev().find(|refusal| refusal.sequence == entry.sequence) {
        let what = format!("the server does not serve generation {}: {}", refusal.generation, refusal.reason);
        return Err(refused(what, "it goes on serving what it served; roll back so that the ledger says so too"));
    }
    Ok(status.serving == entry.generation)
}

/// Who decides: the person at the terminal.
fn actor() -> String {
    std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "nocturne".to_owned())
}

/// How a move is told to people.
pub(crate) fn tell(moved: &Moved) -> String {
    let LedgerEntry { channel, sequence, generation, .. } = &moved.entry;
    let took = nocturne_kit::display::Elapsed(Duration::from_secs_f64(moved.seconds));
    match moved.served {
        Some(true) => {
            format!("generation {generation} serves channel `{channel}` since {took} after the command (entry {sequence})")
        }
        Some(false) => format!(
            "entry {sequence} names generation {generation}, and a later entry has replaced it already; see `nocturne history`"
        ),
        None => format!(
            "channel `{channel}` says generation {generation} (entry {sequence}); no server runs here, the next start serves it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use nocturne_wire::{Generation, Sha256Hex};

    use super::*;

    fn ledger(numbers: &[u64]) -> Vec<LedgerEntry> {
        let entry = |(sequence, number): (usize, &u64)| LedgerEntry {
            channel: "production".to_owned(),
            sequence: sequence as u64,
            time: Timestamp::UNIX_EPOCH,
            action: LedgerAction::Promote,
            generation: GenerationName::new(Generation(*number), &Sha256Hex::of(b"")),
            previous: None,
            actor: String::new(),
            reason: String::new(),
            night: None,
        };
        numbers.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn a_rollback_goes_to_what_served_last_among_the_older_ones() {
        let cases: [(&[u64], Option<u64>); 5] =
            [(&[0, 1], Some(0)), (&[0, 1, 2, 1, 3], Some(1)), (&[0, 1, 2, 1], Some(0)), (&[0], None), (&[], None)];
        for (numbers, wanted) in cases {
            assert_eq!(before(&ledger(numbers)).map(|name| name.number().0), wanted, "{numbers:?}");
        }
    }
}
