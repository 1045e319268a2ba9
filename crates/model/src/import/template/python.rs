//! What templates expect of Python: methods of strings, white space, and JSON as `json.dumps` writes it.

use std::{
    collections::{BTreeMap, HashSet},
    io,
};

use minijinja::{
    Environment, Error, ErrorKind, State, Value,
    value::{Kwargs, ValueKind, from_args},
};
use serde::Serialize;
use serde_json::ser::Formatter;

/// Gives an environment what Jinja has of Python and the engine has not, or has otherwise.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(method);
    environment.add_filter("trim", |text: &str, chars: Option<&str>| strip(text, chars, Side::BOTH).to_owned());
    environment.add_filter("tojson", to_json);
}

/// What `str.isspace` says of a character: Unicode's white space and the four separators of ASCII.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The ends that are cut.
#[derive(Clone, Copy)]
struct Side {
    left: bool,
    right: bool,
}

impl Side {
    const LEFT: Self = Self { left: true, right: false };
    const RIGHT: Self = Self { left: false, right: true };
    const BOTH: Self = Self { left: true, right: true };
}

/// A set, because a template may name as many characters as it likes: nobody counts the comparisons.
fn strip<'a>(text: &'a str, chars: Option<&str>, side: Side) -> &'a str {
    let chars: Option<HashSet<char>> = chars.map(|chars| chars.chars().collect());
    let cut = |c: char| chars.as_ref().map_or_else(|| is_space(c), |chars| chars.contains(&c));
    let text = if side.left { text.trim_start_matches(cut) } else { text };
    if side.right { text.trim_end_matches(cut) } else { text }
}

/// Methods that the engine's own table lacks, or does by Unicode's white space only.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args);
    };
    let one = || from_args::<(&str,)>(args).map(|(text,)| text);
    let parts = |parts: [&str; 3]| parts.into_iter().map(Value::from).collect::<Value>();
    let cut = |side| from_args::<(Option<&str>,)>(args).map(|(chars,)| Value::from(strip(text, chars, side)));
    match name {
        "strip" => cut(Side::BOTH),
        "lstrip" => cut(Side::LEFT),
        "rstrip" => cut(Side::RIGHT),
        "isspace" => Ok(Value::from(!text.is_empty() && text.chars().all(is_space))),
        "removeprefix" => one().map(|prefix| Value::from(text.strip_prefix(prefix).unwrap_or(text))),
        "removesuffix" => one().map(|suffix| Value::from(text.strip_suffix(suffix).unwrap_or(text))),
        "partition" => one().map(|by| match text.split_once(by) {
            Some((before, after)) => parts([before, by, after]),
            None => parts([text, "", ""]),
        }),
        "rpartition" => one().map(|by| match text.rsplit_once(by) {
            Some((before, after)) => parts([before, by, after]),
            None => parts(["", "", text]),
        }),
        "split" | "rsplit" => split(text, name == "rsplit", args),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// `str.split` and `str.rsplit`: by a text, or by runs of white space, at most so many times.
fn split(text: &str, from_right: bool, args: &[Value]) -> Result<Value, Error> {
    let (by, times, named): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let by = by.or(named.get::<Option<&str>>("sep")?);
    let times = times.or(named.get::<Option<i64>>("maxsplit")?).and_then(|n| usize::try_from(n).ok());
    named.assert_all_used()?;
    let parts = times.map_or(usize::MAX, |n| n.saturating_add(1));
    match by {
        Some("") => Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        Some(by) if from_right => Ok(text.rsplitn(parts, by).map(Value::from).collect::<Vec<_>>().into_iter().rev().collect()),
        Some(by) => Ok(text.splitn(parts, by).map(Value::from).collect()),
        None => Ok(words(text, from_right, parts).into_iter().map(Value::from).collect()),
    }
}

/// The words of a text; the last one of `parts` keeps what is left.
fn words(text: &str, from_right: bool, parts: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = strip(text, None, Side::BOTH);
    while !rest.is_empty() {
        let border = if from_right { rest.rfind(is_space) } else { rest.find(is_space) };
        let Some(at) = border.filter(|_| words.len() + 1 < parts) else {
            words.push(rest);
            break;
        };
        if from_right {
            let width = rest[at..].chars().next().map_or(0, char::len_utf8);
            words.push(&rest[at + width..]);
            rest = strip(&rest[..at], None, Side::RIGHT);
        } else {
            words.push(&rest[..at]);
            rest = strip(&rest[at..], None, Side::LEFT);
        }
    }
    if from_right {
        words.reverse();
    }
    words
}

/// `json.dumps` with the arguments that transformers passes on; the engine's own filter escapes for HTML.
#[expect(clippy::needless_pass_by_value, reason = "the engine takes filters that own what they are called with")]
fn to_json(value: &Value, named: Kwargs) -> Result<String, Error> {
    let ascii = named.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let indent = named.get::<Option<usize>>("indent")?;
    let separators = named.get::<Option<Vec<String>>>("separators")?;
    let sorted = named.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    named.assert_all_used()?;
    if indent.is_some_and(|spaces| spaces > 64) {
        return Err(Error::new(ErrorKind::InvalidOperation, "an indentation of more than 64 spaces"));
    }
    let [item, key] = match separators.as_deref() {
        Some([item, key]) => [item.clone(), key.clone()],
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "separators are two texts")),
        None if indent.is_some() => [",".to_owned(), ": ".to_owned()],
        None => [", ".to_owned(), ": ".to_owned()],
    };
    let mut out = Vec::new();
    let python = Python { indent, item, key, ascii, depth: 0, filled: false };
    let value = if sorted { sort_keys(value, 0)? } else { value.clone() };
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut out, python))
        .map_err(|error| Error::new(ErrorKind::BadSerialization, "a value that JSON cannot hold").with_source(error))?;
    // The serializer writes strings only.
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn sort_keys(value: &Value, depth: usize) -> Result<Value, Error> {
    if depth > 100 {
        return Err(Error::new(ErrorKind::InvalidOperation, "a value within a hundred others"));
    }
    match value.kind() {
        ValueKind::Map => {
            let mut sorted = BTreeMap::new();
            for key in value.try_iter()? {
                sorted.insert(key.to_string(), sort_keys(&value.get_item(&key)?, depth + 1)?);
            }
            Ok(Value::from_pairs(sorted))
        }
        ValueKind::Seq => {
            value.try_iter()?.map(|item| sort_keys(&item, depth + 1)).collect::<Result<Vec<_>, _>>().map(Value::from)
        }
        _ => Ok(value.clone()),
    }
}

/// JSON as Python lays it out.
struct Python {
    indent: Option<usize>,
    item: String,
    key: String,
    ascii: bool,
    depth: usize,
    /// Whether the innermost list or map has something in it.
    filled: bool,
}

impl Python {
    fn line<W: io::Write + ?Sized>(&self, out: &mut W) -> io::Result<()> {
        match self.indent {
            Some(spaces) => write!(out, "\n{:width$}", "", width = spaces * self.depth),
            None => Ok(()),
        }
    }

    fn open<W: io::Write + ?Sized>(&mut self, out: &mut W, mark: &str) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        out.write_all(mark.as_bytes())
    }

    fn close<W: io::Write + ?Sized>(&mut self, out: &mut W, mark: &str) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.line(out)?;
        }
        self.filled = true;
        out.write_all(mark.as_bytes())
    }

    fn next<W: io::Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(self.item.as_bytes())?;
        }
        self.filled = true;
        self.line(out)
    }
}

impl Formatter for Python {
    fn begin_array<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, "[")
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, "]")
    }

    fn begin_array_value<W: io::Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, "{")
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, "}")
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(self.key.as_bytes())
    }

    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if !self.ascii {
            return out.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if c.is_ascii() && c != '\x7f' {
                write!(out, "{c}")?;
            } else {
                c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))?;
            }
        }
        Ok(())
    }
}
