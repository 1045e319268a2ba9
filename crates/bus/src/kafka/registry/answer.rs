//! What a registry's answers mean: bytes in, meaning out. `None` is an answer to another question.

use serde::Deserialize;

use super::Registered;

/// There is no such schema, not even under the subject.
const NO_SUBJECT: u64 = 40401;
const NO_VERSION: u64 = 40402;
const NO_SCHEMA: u64 = 40403;

/// As much of an answer as an error message holds.
const SAID_CHARACTERS: usize = 300;

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Whether a schema is registered with a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Under this id.
    Registered(u32),
    /// It is not, but others are.
    Others,
    /// Nothing is.
    Nothing,
}

#[derive(Deserialize)]
struct Failure {
    error_code: u64,
    message: Option<String>,
}

/// Apicurio's answer to whom it does not know, before Confluent's API has a say.
#[derive(Deserialize)]
struct Wrapped {
    error: Failure,
}

#[derive(Deserialize)]
struct Id {
    id: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Schema {
    schema: String,
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
struct Compatible {
    is_compatible: bool,
}

impl Answer {
    fn good<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        if self.status == 200 { serde_json::from_slice(&self.body).ok() } else { None }
    }

    /// The registry's own code of a 404. A proxy, or an address that is not a registry's, answers 404 without one.
    fn missing(&self) -> Option<u64> {
        let failure: Failure = serde_json::from_slice(&self.body).ok().filter(|_| self.status == 404)?;
        Some(failure.error_code)
    }

    pub(crate) fn schema(&self) -> Option<Registered> {
        if self.missing() == Some(NO_SCHEMA) {
            return Some(Registered::Unknown);
        }
        let Schema { schema, schema_type, references } = self.good()?;
        Some(match schema_type.as_deref() {
            Some(other) if other != "AVRO" => Registered::Unusable(format!("it is of the type {other}, not AVRO")),
            _ if references.is_some_and(|references| !references.is_empty()) => {
                Registered::Unusable("it refers to schemas of other subjects, which are not looked for".to_owned())
            }
            _ => Registered::Avro(schema),
        })
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.good().map(|Id { id }| id)
    }

    pub(crate) fn lookup(&self) -> Option<Lookup> {
        match self.missing() {
            Some(NO_SUBJECT) => Some(Lookup::Nothing),
            Some(NO_VERSION | NO_SCHEMA) => Some(Lookup::Others),
            _ => self.id().map(Lookup::Registered),
        }
    }

    pub(crate) fn is_compatible(&self) -> Option<bool> {
        self.good().map(|Compatible { is_compatible }| is_compatible)
    }

    pub(crate) fn subjects(&self) -> Option<usize> {
        self.good::<Vec<String>>().map(|subjects| subjects.len())
    }

    /// The registry's own words.
    pub(crate) fn said(&self) -> String {
        let wrapped = || serde_json::from_slice(&self.body).map(|Wrapped { error }| error);
        let failure: Option<Failure> = serde_json::from_slice(&self.body).or_else(|_| wrapped()).ok();
        let text =
            failure.and_then(|failure| failure.message).unwrap_or_else(|| String::from_utf8_lossy(&self.body).into_owned());
        let text: String = text.chars().take(SAID_CHARACTERS).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if text.trim().is_empty() { "without a word".to_owned() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn only_the_registrys_own_word_says_that_there_is_no_such_schema() {
        let denied = answer(404, r#"{"error_code":40403,"message":"Schema not found"}"#);
        assert_eq!(denied.schema(), Some(Registered::Unknown));
        for (status, body) in [
            (404, r#"{"error_code":0,"message":"no such path"}"#),
            (404, r#"{"error_code":40401,"message":"Subject not found"}"#),
            (404, "<html>not found</html>"),
            (404, ""),
            (500, r#"{"error_code":40403}"#),
            (200, r#"{"error_code":40403}"#),
            (200, "{}"),
            (401, r#"{"schema":"\"string\""}"#),
        ] {
            assert_eq!(answer(status, body).schema(), None, "{status} {body}");
        }
    }

    #[test]
    fn schemas_that_are_not_whole_avro_ones_are_told_apart() {
        assert_eq!(answer(200, r#"{"schema":"\"long\""}"#).schema(), Some(Registered::Avro("\"long\"".to_owned())));
        let named = r#"{"schema":"\"long\"","schemaType":"AVRO","references":[],"more":1}"#;
        assert_eq!(answer(200, named).schema(), Some(Registered::Avro("\"long\"".to_owned())));
        for body in [
            r#"{"schema":"{}","schemaType":"JSON"}"#,
            r#"{"schema":"\"a.B\"","references":[{"name":"a.B","subject":"b","version":1}]}"#,
        ] {
            assert!(matches!(answer(200, body).schema(), Some(Registered::Unusable(_))), "{body}");
        }
    }

    #[test]
    fn a_subject_without_versions_is_told_from_one_with_others() {
        assert_eq!(answer(200, r#"{"subject":"a","id":7,"version":1}"#).lookup(), Some(Lookup::Registered(7)));
        assert_eq!(answer(404, r#"{"error_code":40401}"#).lookup(), Some(Lookup::Nothing));
        assert_eq!(answer(404, r#"{"error_code":40403}"#).lookup(), Some(Lookup::Others));
        assert_eq!(answer(404, "").lookup(), None);
        assert_eq!(answer(200, r#"{"id":-1}"#).id(), None);
        assert_eq!(answer(200, r#"{"is_compatible":false}"#).is_compatible(), Some(false));
        assert_eq!(answer(200, r#"["a","b"]"#).subjects(), Some(2));
    }

    #[test]
    fn its_words_are_short_and_on_one_line() {
        assert_eq!(answer(409, r#"{"error_code":409,"message":"not\nso"}"#).said(), "not so");
        assert_eq!(answer(401, r#"{"status":401,"error":{"error_code":401,"message":"who?"}}"#).said(), "who?");
        assert_eq!(answer(502, "").said(), "without a word");
        assert_eq!(answer(502, &"x".repeat(1000)).said().len(), SAID_CHARACTERS);
    }
}
