//! A topic's identity: a random id in a file that is written once.
//!
//! Batches carry the id. A log that was deleted and made again starts at offset 0 under a new id, and whoever continues the old
//! batches can tell that these are other records with the same offsets.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use nocturne_wire::Topic;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::disk::sync_folder;

/// What `topic.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopicFile {
    /// The topic.
    pub(crate) topic: Topic,
    /// Its identity.
    pub(crate) id: String,
    /// Its partitions.
    pub(crate) partitions: u32,
}

/// Reads a topic's file, or makes it: a whole file appears under its name, or none.
pub(crate) fn open(folder: &Path, topic: Topic, partitions: u32) -> io::Result<TopicFile> {
    let path = folder.join("topic.json");
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = TopicFile { topic, id: Uuid::now_v7().to_string(), partitions };
            let draft = folder.join("topic.json.draft");
            let mut file = File::create(&draft)?;
            file.write_all(&serde_json::to_vec_pretty(&made)?)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            sync_folder(folder)?;
            Ok(made)
        }
        Err(error) => Err(error),
    }
}
