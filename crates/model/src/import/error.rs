//! Why a foreign checkpoint cannot be used.

/// What was wrong with a foreign checkpoint, or what of it is not supported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file that must be there is not.
    #[error("the checkpoint has no {file}: {needed}")]
    Absent {
        /// Which file.
        file: String,
        /// What it is needed for.
        needed: &'static str,
    },
    /// A file is not the JSON that it should be.
    #[error("read the checkpoint's {file}")]
    Json {
        /// Which file.
        file: String,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// A file cannot be read.
    #[error("read the checkpoint's {file}")]
    Read {
        /// Which file.
        file: String,
        /// What reading it said.
        #[source]
        source: std::io::Error,
    },
    /// A file contradicts itself or another one.
    #[error("the checkpoint's {file} cannot be used: {why}")]
    Inconsistent {
        /// Which file.
        file: String,
        /// What contradicts what.
        why: String,
    },
    /// A checkpoint of another kind than those that can be imported.
    #[error("{found} is not supported; supported: {supported}")]
    Unsupported {
        /// What the checkpoint asks for.
        found: String,
        /// What it might ask for instead.
        supported: &'static str,
    },
    /// The chat template is not one.
    #[error("parse the chat template of {file}")]
    Template {
        /// Which file.
        file: String,
        /// What the parser said.
        #[source]
        source: minijinja::Error,
    },
    /// The chat template does not take a conversation: often it says so itself.
    #[error("render a conversation of {messages} messages with the chat template")]
    Render {
        /// How many messages it had.
        messages: usize,
        /// What the template or its engine said.
        #[source]
        source: minijinja::Error,
    },
    /// The chat template writes more than a conversation can need.
    #[error("the chat template writes more than {limit} bytes for a conversation of {bytes}")]
    TooLong {
        /// How much it may write.
        limit: usize,
        /// Length of the messages.
        bytes: usize,
    },
}
