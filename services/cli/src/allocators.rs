//! What processes ask of their allocators, which read it once, at the start of the process.

/// What an inference process asks of them: to give memory back at once. What is kept for the next
/// allocation of the same size was a third of its memory, for a few percent of its speed. The C library's is librdkafka's, whose threads would have a heap
/// each.
pub(crate) const SERVING: &[(&str, &str)] = &[
    ("MIMALLOC_PURGE_DELAY", "5"),
    ("MIMALLOC_ARENA_EAGER_COMMIT", "0"),
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
];

/// What a batcher asks of them: the same, but that what librdkafka and zstd take and give back by the megabyte, for every answer of a broker and every page,
/// stays in the C library's one heap. Given back, faulting it in again took a quarter of the process's time.
pub(crate) const SEALING: &[(&str, &str)] = &[
    ("MIMALLOC_PURGE_DELAY", "5"),
    ("MIMALLOC_ARENA_EAGER_COMMIT", "0"),
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_TRIM_THRESHOLD_", "8388608"),
    ("MALLOC_MMAP_THRESHOLD_", "16777216"),
];

/// What training asks of them: to give nothing back. Every step takes and frees the same megabytes; faulting them in again took 6 % of a night, and keeping them
/// takes 3 % more memory.
pub(crate) const TRAINING: &[(&str, &str)] = &[("MIMALLOC_PURGE_DELAY", "-1")];

/// Starts this program anew, as the same process, with these variables in its environment; whatever is set there already is left alone.
pub(crate) fn ask(allocators: &[(&str, &str)]) {
    if allocators.iter().any(|(key, _)| std::env::var_os(key).is_some()) {
        return;
    }
    #[cfg(unix)]
    if let Ok(program) = std::env::current_exe() {
        use std::os::unix::process::CommandExt as _;
        let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).envs(allocators.iter().copied()).exec();
        // It only comes back when it failed; then this process goes on as the allocators are by themselves.
        tracing::debug!(%error, "the allocator keeps its defaults");
    }
}
