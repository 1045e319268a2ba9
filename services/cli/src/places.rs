//! What lies where in a state directory, and who owns it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use nocturne_kit::{StateDir, StateDirError};
use nocturne_lake::Lake;
use nocturne_wire::{Generation, GenerationName};

use crate::{
    address,
    admin::Admin,
    args::Global,
    failure::{Advise, refused},
    server::StoreSettings,
};

/// The folder of the lake.
pub(crate) fn lake_dir(state: &Path) -> PathBuf {
    state.join("lake")
}

/// The folder of the log.
pub(crate) fn log_dir(state: &Path) -> PathBuf {
    state.join("log")
}

/// The folder of what waits for Kafka.
pub(crate) fn spool_dir(state: &Path) -> PathBuf {
    state.join("spool")
}

/// Opens the lake for reading, which needs no lock: its objects are immutable.
///
/// # Errors
/// When there is none; a command that reads must not leave an empty one behind.
pub(crate) fn existing_lake(global: &Global) -> anyhow::Result<Lake> {
    let dir = match &global.store {
        Some(store) if store.contains("://") => return open_location(store, &global.store_options.clone().unwrap_or_default().0),
        Some(store) => PathBuf::from(store),
        None => lake_dir(&global.state),
    };
    if !dir.is_dir() {
        let what = match &global.store {
            Some(_) => format!("opening the lake {}: there is none", dir.display()),
            None => format!("opening the lake of the state directory {}: there is none", global.state.display()),
        };
        return Err(refused(what, "run `nocturne up` first, or name another directory with --state"));
    }
    open_lake(&dir)
}

/// Opens the lake that the settings name, or the one in the state directory.
///
/// # Errors
/// When it can be neither found nor made.
pub(crate) fn configured_lake(state: &Path, store: &StoreSettings) -> anyhow::Result<Lake> {
    if store.url.is_empty() { open_lake(&lake_dir(state)) } else { open_location(&store.url, &store.options) }
}

fn open_location(url: &str, options: &BTreeMap<String, String>) -> anyhow::Result<Lake> {
    Lake::open_with(url, options).advise(
        format!("opening the lake {url}"),
        "give a directory, s3://, gs:// or az://, with endpoint and credentials in the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID …); \
         `nocturne doctor store` finds out what is wrong",
    )
}

/// Opens or makes a lake.
pub(crate) fn open_lake(dir: &Path) -> anyhow::Result<Lake> {
    let text = dir.to_str().ok_or_else(|| refused(format!("opening the lake {}", dir.display()), "use a path that is UTF-8"))?;
    Lake::open(text).advise(format!("opening the lake {}", dir.display()), "check that the directory can be written")
}

/// Takes a state directory for this process.
pub(crate) fn take(state: &Path) -> anyhow::Result<StateDir> {
    let taken = StateDir::take(state);
    let hint = match &taken {
        Err(StateDirError::Io { .. }) => {
            "see to it that the directory can be written and its disk has space, or choose another one with --state"
        }
        _ => {
            "one process owns a state directory: wait for it, use the running server, stop it, or choose another one with --state"
        }
    };
    taken.advise("starting", hint)
}

/// Who may change a state directory.
pub(crate) enum Owner {
    /// A server runs and is asked.
    Server(Admin),
    /// No server runs; the directory is ours until this is dropped.
    Us(StateDir),
}

/// Finds out who owns the state directory, and takes it when nobody does.
///
/// # Errors
/// When a process owns it that does not answer.
pub(crate) async fn owner(state: &Path) -> anyhow::Result<Owner> {
    match address::running(state).await? {
        Some(address) => Ok(Owner::Server(Admin::new(&address)?)),
        None => take(state).map(Owner::Us),
    }
}

/// Finds a generation by its number or name.
///
/// # Errors
/// When the text is neither, or there is no such generation.
pub(crate) async fn generation(lake: &Lake, text: &str) -> anyhow::Result<GenerationName> {
    let hint = "`nocturne generations list` shows which there are";
    let bare = text.strip_prefix("gen-").unwrap_or(text);
    if let Ok(number) = bare.parse::<u64>() {
        let found = lake.generations().find(Generation(number)).await.advise("listing generations", "check the lake")?;
        return found.ok_or_else(|| refused(format!("looking for generation {number}: there is none"), hint));
    }
    let name: GenerationName =
        bare.parse().advise(format!("reading the generation `{text}`"), format!("give its number or name; {hint}"))?;
    let known = lake.generations().list().await.advise("listing generations", "check the lake")?;
    if known.contains(&name) { Ok(name) } else { Err(refused(format!("looking for generation {name}: there is none"), hint)) }
}
