//! Errors as people read them: what was being done to what, why it failed, what to do next.

use std::fmt;

use nocturne_lake::LakeError;

/// What was being done, with what to do next.
#[derive(Debug)]
struct Told {
    what: String,
    hint: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Adds to an error what was being done and what to do next.
pub(crate) trait Advise<T> {
    /// `what` is said before the cause, `hint` after it.
    fn advise(self, what: impl Into<String>, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Advise<T> for Result<T, E> {
    fn advise(self, what: impl Into<String>, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| error.into().context(Told { what: what.into(), hint: hint.into() }))
    }
}

/// An error without a deeper cause.
pub(crate) fn refused(what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    // A context needs something to stand on: the root carries the words, `render` says them once.
    anyhow::Error::msg(String::new()).context(Told { what: what.into(), hint: hint.into() })
}

/// The whole chain on one line, then the hint.
pub(crate) fn render(error: &anyhow::Error) -> String {
    match parts(error) {
        (told, hint) if hint.is_empty() => told,
        (told, hint) => format!("{told}; hint: {hint}"),
    }
}

/// The whole chain on one line, and the hint, which may be empty.
pub(crate) fn parts(error: &anyhow::Error) -> (String, String) {
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string).filter(|cause| !cause.is_empty()) {
        // Some libraries repeat their source in their own words.
        if !causes.last().is_some_and(|last| last.ends_with(&cause)) {
            causes.push(cause);
        }
    }
    // Damage in the lake says itself what to do about the object; a second hint would only blur the first.
    let advised = error.chain().filter_map(|cause| cause.downcast_ref::<LakeError>()).any(LakeError::is_damage);
    let hint = error.downcast_ref::<Told>().filter(|_| !advised).map(|told| told.hint.clone()).unwrap_or_default();
    (causes.join(": "), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_done_why_it_failed_and_what_to_do() {
        let failed: Result<(), _> = Err(std::io::Error::other("disk on fire"));
        let error = failed.advise("reading x", "buy a new disk").expect_err("failed");
        assert_eq!(render(&error), "reading x: disk on fire; hint: buy a new disk");
    }

    #[test]
    fn a_refusal_has_no_empty_cause() {
        assert_eq!(render(&refused("no lake in x", "run `nocturne up`")), "no lake in x; hint: run `nocturne up`");
    }

    #[test]
    fn a_hint_survives_more_context() {
        let error = refused("no lake in x", "run `nocturne up`").context("listing nights");
        assert_eq!(render(&error), "listing nights: no lake in x; hint: run `nocturne up`");
    }

    #[test]
    fn a_cause_that_its_parent_repeats_is_said_once() {
        let error = anyhow::Error::msg("refused").context("connecting: refused");
        assert_eq!(render(&error), "connecting: refused");
    }
}
