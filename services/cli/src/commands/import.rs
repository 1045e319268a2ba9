//! `nocturne model import`

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::Args;
use nocturne_model::{
    Chat, ChatLayout, ModelConfig, Tokenizer,
    decode::CHAT_FILE,
    import::{FILES, Files, Imported, SlowBanks, Source, convert},
    tensors,
};
use serde::Serialize;

use crate::{
    args::Global,
    bases,
    failure::{Advise, refused},
    output::{self, Outcome},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Families: Llama 2 and 3, SmolLM 1 and 2, Qwen 2, 2.5 and 3, Mistral; bf16, f16 and f32. The logits are those of the original until the first night.

Examples:
  nocturne model import SmolLM2-135M-Instruct --slow-banks stack=last:8 --out base
  nocturne model import Qwen2.5-0.5B-Instruct --slow-banks add=512 --out base      a zero-output perceptron in every layer
  nocturne model import Llama-3.2-1B-Instruct --slow-banks add=1024@8-15 --out base    in layers 8 to 15 only
  nocturne model show --base base")]
pub(crate) struct ImportArgs {
    /// Folder of the checkpoint: config.json, tokenizer.json, safetensors, a chat template
    #[arg(value_name = "DIR")]
    checkpoint: PathBuf,
    /// What nights change: `stack=LAYERS` has those layers' perceptrons become the slow bank, `add=HIDDEN[@LAYERS]` adds perceptrons that say
    /// nothing at first; LAYERS is `all`, `last:4` or `0,5,10-15`
    #[arg(long, value_name = "BANKS")]
    slow_banks: SlowBanks,
    /// Folder for the base
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the base in `model show` and in its files; that of the checkpoint's folder unless given. Clients use `[inference] model`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Conversations that nights rehearse, so that they do not forget them: JSON lines, as `rehearsal.jsonl` of a base
    #[arg(long, value_name = "FILE")]
    rehearsal: Option<PathBuf>,
}

/// A folder whose files are read part by part.
struct Folder<'a>(&'a Path);

impl Source for Folder<'_> {
    fn size(&self, file: &str) -> io::Result<Option<u64>> {
        match fs::metadata(self.0.join(file)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, file: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.0.join(file))?;
        file.seek(SeekFrom::Start(range.start))?;
        let length = range.end.saturating_sub(range.start);
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}

const MODEL_FILE: &str = "model.safetensors";

#[derive(Serialize)]
struct Summary {
    name: String,
    blocks: usize,
    parameters: u64,
    slow_parameters: u64,
    /// Whether nights have something to rehearse.
    rehearses: bool,
    out: PathBuf,
}

pub(super) fn run(global: &Global, args: &ImportArgs) -> anyhow::Result<Outcome> {
    let dir = &args.checkpoint;
    let doing = format!("importing {}", dir.display());
    if args.out.join("config.json").exists() {
        return Err(refused(format!("{} already holds a base", args.out.display()), "name another folder with --out"));
    }
    let hint = "a checkpoint is a folder as `save_pretrained` of transformers or a download from the hub leaves it";
    let files = small_files(dir).advise(doing.clone(), hint)?;
    let name = args.name.clone().or_else(|| Some(dir.canonicalize().ok()?.file_name()?.to_string_lossy().into_owned()));
    let name = name.unwrap_or_else(|| "imported".to_owned());
    let imported = convert(&name, &files, Folder(dir), &args.slow_banks).advise(doing.clone(), hint)?;
    let tokenizer = Tokenizer::import(&files).advise(doing.clone(), hint)?;
    let chat = ChatLayout::import(&files, &tokenizer)
        .advise(doing.clone(), "a base needs a chat template: an instruction-tuned checkpoint has one")?;
    Chat::imported(chat.clone(), &tokenizer).advise(format!("trying the chat template of {}", dir.display()), hint)?;
    let rehearsal =
        args.rehearsal.as_ref().map(fs::read).transpose().advise("reading the rehearsal set", "name a file of JSON lines")?;
    check_rehearsal(rehearsal.as_deref().unwrap_or_default()).map_err(anyhow::Error::msg).advise(
        "reading the rehearsal set",
        "it is JSON lines, each with a task and turns, as `rehearsal.jsonl` of the shipped base",
    )?;
    if tokenizer.vocab() > imported.config.vocab {
        let found = format!("its tokenizer has {} entries, its model {}", tokenizer.vocab(), imported.config.vocab);
        return Err(refused(format!("{doing}: {found}"), hint));
    }
    let small = [
        ("config.json", serde_json::to_vec_pretty(&imported.config)?),
        ("tokenizer.json", tokenizer.to_json()?),
        (CHAT_FILE, chat.to_json()?),
        ("rehearsal.jsonl", rehearsal.unwrap_or_default()),
    ];
    let summary = summary(&imported.config, args);
    write(&args.out, small, imported)?;
    output::show(global.format, &summary, text)?;
    Ok(Outcome::Done)
}

/// Every line must be a conversation: a night would fail at the first that is not.
fn check_rehearsal(lines: &[u8]) -> Result<(), String> {
    for (n, line) in lines.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let parsed: serde_json::Value = serde_json::from_slice(line).map_err(|error| format!("line {}: {error}", n + 1))?;
        let turns = parsed["turns"].as_array().filter(|turns| !turns.is_empty());
        let whole = |turn: &serde_json::Value| ["speaker", "text", "kind"].iter().all(|key| turn[*key].is_string());
        if !parsed["task"].is_string() || !turns.is_some_and(|turns| turns.iter().all(whole)) {
            return Err(format!("line {}: no task, or no turns with speaker, text and kind", n + 1));
        }
    }
    Ok(())
}

/// The files besides tensors; those that are absent are left out.
fn small_files(dir: &Path) -> io::Result<Files> {
    fs::read_dir(dir)?;
    let mut files = Files::new();
    for name in FILES {
        match fs::read(dir.join(name)) {
            Ok(bytes) => drop(files.insert(name.to_owned(), bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// The configuration last, and only when the base could be loaded: a folder without one is no base. Tensors are gone before, so that the base that is tried has
/// their place in memory.
fn write<const N: usize>(out: &Path, small: [(&str, Vec<u8>); N], imported: Imported) -> anyhow::Result<()> {
    let put = |name: &str, save: &dyn Fn(&Path) -> anyhow::Result<()>| {
        let partial = out.join(format!("{name}.partial"));
        let saved = save(&partial).and_then(|()| Ok(fs::rename(&partial, out.join(name))?));
        saved.advise(format!("writing {}", out.join(name).display()), "free some space, or name another folder")
    };
    fs::create_dir_all(out).advise(format!("making {}", out.display()), "name another folder")?;
    put(MODEL_FILE, &|path| Ok(tensors::write_file(path, &imported.tensors, imported.precision)?))?;
    drop(imported);
    let mut files: BTreeMap<String, Bytes> = small.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.into())).collect();
    let model = out.join(MODEL_FILE);
    let bytes = fs::read(&model)
        .advise(format!("reading {} again", model.display()), "see whether the disk is sound, and import again")?;
    files.insert(MODEL_FILE.to_owned(), bytes.into());
    if let Err(error) = bases::load(&files) {
        // What cannot be loaded is nobody's base, and may be gigabytes.
        fs::remove_file(&model).ok();
        let why = format!("{}: the base that was made of it cannot be loaded", out.display());
        return Err(error.context(why));
    }
    files.remove(MODEL_FILE);
    let configuration = files.remove_entry("config.json");
    files.into_iter().chain(configuration).try_for_each(|(name, bytes)| put(&name, &|path| Ok(fs::write(path, &bytes)?)))
}

fn summary(config: &ModelConfig, args: &ImportArgs) -> Summary {
    let count = |slow: bool| -> u64 {
        let layout = nocturne_model::params::layout(config).into_iter();
        let wanted = layout.filter(|(name, _)| !slow || name.contains(tensors::SLOW));
        wanted.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
    };
    Summary {
        name: config.name.clone(),
        blocks: config.blocks.len(),
        parameters: count(false),
        slow_parameters: count(true),
        rehearses: args.rehearsal.is_some(),
        out: args.out.clone(),
    }
}

fn text(summary: &Summary) -> String {
    let rows = output::properties([
        ("name", summary.name.clone()),
        ("blocks", summary.blocks.to_string()),
        ("parameters", summary.parameters.to_string()),
        ("of these in slow banks", summary.slow_parameters.to_string()),
    ]);
    let warning = if summary.rehearses {
        ""
    } else {
        "It can be served. Its nights will reject every candidate: without --rehearsal nothing shows that nothing was lost.\n"
    };
    format!(
        "{warning}The base is in {out}; look at it with `nocturne model show --base {out}`.\n{rows}",
        out = summary.out.display()
    )
}
