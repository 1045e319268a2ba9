//! A job that must not outlive the process that started it.

use std::{
    io::{self, Read},
    thread,
};

/// Ends this process with `code` when its standard input closes.
///
/// Whoever starts a job holds the other end of that pipe and never writes to it; the system closes it when the starter ends,
/// however it ends. Objects in the lake appear whole or not at all, so that ending at any moment is safe.
///
/// # Errors
/// When the watching thread cannot be started.
pub fn exit_when_input_closes(code: i32) -> io::Result<()> {
    thread::Builder::new().name("supervisor-watch".to_owned()).spawn(move || {
        let mut byte = [0];
        // Bytes mean nothing; the end and an error both mean that nobody is there.
        while io::stdin().read(&mut byte).is_ok_and(|read| read > 0) {}
        tracing::error!("the process that started this job is gone; stopping");
        std::process::exit(code);
    })?;
    Ok(())
}
