//! Sizes and durations as people read them.

use std::{fmt, time::Duration};

/// A number of bytes, shown as `17 B`, `4.0 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = UNITS[0];
        for larger in &UNITS[1..] {
            if value < 1023.95 {
                break;
            }
            value /= 1024.0;
            unit = larger;
        }
        write!(f, "{value:.1} {unit}")
    }
}

/// A duration, shown as `850 µs`, `12 ms`, `3.4 s`, `4 min 05 s`, `2 h 10 min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Elapsed(pub Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        let seconds = self.0.as_secs();
        match (micros, seconds) {
            (0..1_000, _) => write!(f, "{micros} µs"),
            (1_000..1_000_000, _) => write!(f, "{} ms", micros / 1_000),
            (_, 0..60) => write!(f, "{seconds}.{} s", self.0.subsec_millis() / 100),
            (_, 60..3_600) => write!(f, "{} min {:02} s", seconds / 60, seconds % 60),
            _ => write!(f, "{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_the_largest_unit_that_keeps_them_above_one() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (4 << 20, "4.0 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (3 << 29, "1.5 GiB"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
    }

    #[test]
    fn durations_take_the_unit_that_a_reader_expects() {
        let cases = [
            (Duration::from_micros(850), "850 µs"),
            (Duration::from_millis(12), "12 ms"),
            (Duration::from_millis(3_450), "3.4 s"),
            (Duration::from_secs(245), "4 min 05 s"),
            (Duration::from_secs(7_830), "2 h 10 min"),
        ];
        for (duration, shown) in cases {
            assert_eq!(Elapsed(duration).to_string(), shown);
        }
    }
}
