//! Reading a JSON body by hand, so that a wrong type is refused with the name of its parameter, as OpenAI does.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::ApiError;

/// The parameters of one request; unknown ones are ignored, `null` counts as absent.
#[derive(Debug)]
pub(super) struct Params(Map<String, Value>);

impl Params {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(other) => Err(ApiError::invalid("body", format!("The request body must be a JSON object, not {}.", kind(&other)))),
            Err(error) => Err(ApiError::bad_json(&error)),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<&str>, ApiError> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| wrong_type(name, "a string", value))).transpose()
    }

    pub(super) fn bool(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.get(name).map(|value| value.as_bool().ok_or_else(|| wrong_type(name, "a boolean", value))).transpose()
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name).map(|value| value.as_i64().ok_or_else(|| wrong_type(name, "an integer", value))).transpose()
    }

    /// A count of at least 1.
    pub(super) fn count(&self, name: &str) -> Result<Option<u32>, ApiError> {
        let Some(value) = self.integer(name)? else { return Ok(None) };
        match u32::try_from(value) {
            Ok(count @ 1..) => Ok(Some(count)),
            _ => Err(ApiError::invalid(name, format!("`{name}` must be between 1 and {}, not {value}.", u32::MAX))),
        }
    }

    pub(super) fn number(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().ok_or_else(|| wrong_type(name, "a number", value))?;
        if range.contains(&number) {
            return Ok(Some(number));
        }
        let message = format!("`{name}` must be between {} and {}, not {number}.", range.start(), range.end());
        Err(ApiError::invalid(name, message))
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<&Map<String, Value>>, ApiError> {
        self.get(name).map(|value| value.as_object().ok_or_else(|| wrong_type(name, "an object", value))).transpose()
    }

    pub(super) fn array(&self, name: &str) -> Result<Option<&Vec<Value>>, ApiError> {
        self.get(name).map(|value| value.as_array().ok_or_else(|| wrong_type(name, "an array", value))).transpose()
    }
}

/// A value of the wrong type.
pub(super) fn wrong_type(param: &str, wanted: &str, found: &Value) -> ApiError {
    let wrong = ApiError::invalid(param, format!("`{param}` must be {wanted}, not {}.", kind(found)));
    ApiError { code: "invalid_type", ..wrong }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
