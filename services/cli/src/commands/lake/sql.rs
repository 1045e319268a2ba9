//! `nocturne lake sql`

use std::path::PathBuf;

use clap::Args;
use nocturne_columns::{Answer, Objects, Resources, query};
use nocturne_lake::Lake;
use nocturne_wire::Topic;
use serde::{Serialize, Serializer, ser::Error as _};

use crate::{
    args::Global,
    failure::Advise,
    output::{self, Outcome},
};

const EXAMPLES: &str = "\
Tables: interactions, feedback, dead_letters. `select * from interactions limit 1` shows the columns.

Examples:
  nocturne lake sql 'select count(*), min(time), max(time) from interactions'
  nocturne lake sql \"select subject, count(*) n from interactions where time > now() - interval '1 day' group by 1 order by n desc\"
  nocturne lake sql \"select messages[1]['content'], answer from interactions where session = 's-1' order by turn\"
  nocturne lake sql -o json 'select reason, count(*) n from dead_letters group by 1'
  nocturne lake sql 'explain select id from interactions'";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SqlArgs {
    /// The query
    #[arg(value_name = "QUERY")]
    query: String,
    /// Most rows that are shown
    #[arg(long, value_name = "ROWS", default_value_t = 1000)]
    limit: usize,
    /// Memory of the query, MiB; beyond it sorts and aggregations spill to disk
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    memory: usize,
    /// Folder for what is spilled; the system's temporary folder unless given
    #[arg(long, value_name = "DIR")]
    spill: Option<PathBuf>,
}

struct Shown(Answer);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.json().map_err(S::Error::custom)?.serialize(to)
    }
}

pub(super) async fn run(global: &Global, lake: &Lake, args: &SqlArgs) -> anyhow::Result<Outcome> {
    let mut objects = Objects::default();
    for topic in Topic::ALL {
        let listed = lake.batches().paths(topic).await.advise("listing the lake", "check that it can be read")?;
        for (partition, paths) in listed {
            objects.batches.insert((topic, partition), paths.batches);
            objects.dead_letters.insert((topic, partition), paths.dead_letters);
        }
    }
    let resources = Resources { memory_bytes: args.memory << 20, spill: args.spill.clone() };
    let answer = query(lake.store(), &objects, &args.query, args.limit, &resources).await;
    let hint = "`nocturne lake sql --help` names the tables; a batch that was compacted meanwhile is found when you ask again";
    let shown = Shown(answer.advise(format!("asking `{}`", args.query), hint)?);
    let texts = shown.0.texts().advise("writing the rows", "ask for other columns")?;
    output::show(global.format, &shown, |shown| {
        let mut table = output::table(shown.0.columns().iter().map(String::as_str));
        for row in texts {
            table.add_row(row);
        }
        table.to_string()
    })?;
    if shown.0.cut {
        eprintln!("only the first {} rows are shown; --limit N shows more", args.limit);
    }
    Ok(Outcome::Done)
}
