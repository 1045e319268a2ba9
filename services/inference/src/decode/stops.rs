//! Stop strings: text is held back as long as it may be the beginning of one.

/// Looks for stop strings in an answer that comes in pieces.
pub(super) struct Stops {
    stops: Vec<String>,
    held: String,
}

/// What a piece of text leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Text that may be shown.
    pub(super) show: String,
    /// Whether a stop string was found; what comes from it on is not shown.
    pub(super) hit: bool,
}

impl Stops {
    pub(super) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    pub(super) fn push(&mut self, piece: &str) -> Scanned {
        self.held.push_str(piece);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return Scanned { show: std::mem::take(&mut self.held), hit: true };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let held = self.held.split_off(self.held.len() - keep);
        Scanned { show: std::mem::replace(&mut self.held, held), hit: false }
    }

    /// What was held back when the answer ended by itself.
    pub(super) fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest end of `text` that `stop` begins with.
fn overlap(text: &str, stop: &str) -> usize {
    let ends = stop.char_indices().map(|(at, _)| at).filter(|at| *at > 0);
    ends.filter(|at| text.ends_with(&stop[..*at])).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut scanner = Stops::new(stops.iter().map(|s| (*s).to_owned()).collect());
        let mut shown = String::new();
        for piece in pieces {
            let scanned = scanner.push(piece);
            shown.push_str(&scanned.show);
            if scanned.hit {
                return (shown, true);
            }
        }
        (shown + &scanner.rest(), false)
    }

    #[test]
    fn a_stop_string_over_two_pieces_is_found() {
        assert_eq!(run(&["\n\n"], &["one\n", "\ntwo"]), ("one".to_owned(), true));
    }

    #[test]
    fn the_earliest_stop_string_wins() {
        assert_eq!(run(&["cd", "b"], &["abcd"]), ("a".to_owned(), true));
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_text_gives(pieces in prop::collection::vec("[abé]{0,3}", 0..8), stop in "[abé]{1,3}") {
            let whole = pieces.concat();
            let wanted = whole.find(&stop).map_or((whole.clone(), false), |at| (whole[..at].to_owned(), true));
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(run(&[&stop], &pieces), wanted);
        }
    }
}
