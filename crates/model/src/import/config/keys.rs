//! Reading a JSON object key by key, where a key that is not there and one that is null mean different things.

use serde_json::{Map, Value};

use crate::import::error::ImportError;

/// An object of a file.
pub(super) struct Keys<'a> {
    file: &'a str,
    json: &'a Map<String, Value>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(file: &'a str, json: &'a Map<String, Value>) -> Self {
        Self { file, json }
    }

    /// Whether the key is there, be it null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.json.contains_key(key)
    }

    pub(super) fn wrong(&self, why: impl Into<String>) -> ImportError {
        ImportError::Inconsistent { file: self.file.to_owned(), why: why.into() }
    }

    fn get<T>(&self, key: &str, kind: &str, of: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>, ImportError> {
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => of(value).map(Some).ok_or_else(|| self.wrong(format!("its `{key}` is not {kind}"))),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, ImportError> {
        self.get(key, "a text", Value::as_str)
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ImportError> {
        self.get(key, "true or false", Value::as_bool)
    }

    pub(super) fn count(&self, key: &str) -> Result<Option<usize>, ImportError> {
        self.get(key, "a whole number", |value| usize::try_from(value.as_u64()?).ok())
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, ImportError> {
        self.get(key, "a number", |value| value.as_f64().filter(|number| number.is_finite()))
    }

    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, ImportError> {
        self.get(key, "a list of texts", |value| value.as_array()?.iter().map(Value::as_str).collect())
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<Keys<'a>>, ImportError> {
        let object = self.get(key, "an object", Value::as_object)?;
        Ok(object.map(|json| Keys { file: self.file, json }))
    }

    /// One id or several.
    pub(super) fn ids(&self, key: &str) -> Result<Option<Vec<u32>>, ImportError> {
        let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
        self.get(key, "an id or a list of ids", |value| match value {
            Value::Array(list) => list.iter().map(id).collect(),
            one => Some(vec![id(one)?]),
        })
    }

    /// The keys whose values are objects.
    pub(super) fn nested(&self) -> impl Iterator<Item = &'a str> {
        self.json.iter().filter(|(_, value)| value.is_object()).map(|(key, _)| &**key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.json.is_empty()
    }
}
