//! `tokenizer_config.json` and its kin: what a tokenizer's special tokens are called, and where the chat template stands.
//!
//! Sources and their order are those of transformers 5 (`tokenization_utils_base.py`): a `chat_template.jinja` comes before the template in
//! `tokenizer_config.json`; `special_tokens_map.json` counts only beside a `tokenizer_config.json` that does not list the added tokens, and then comes first.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::{Files, error::ImportError, template::TemplateSource};

pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
const JINJA: &str = "chat_template.jinja";
const TEMPLATE_JSON: &str = "chat_template.json";

/// The special tokens that have a name in every template.
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Reads a file of JSON, if it is there.
pub(crate) fn read<T: DeserializeOwned>(files: &Files, file: &str) -> Result<Option<T>, ImportError> {
    let parse = |bytes: &Vec<u8>| serde_json::from_slice(bytes);
    files.get(file).map(parse).transpose().map_err(|source| ImportError::Json { file: file.to_owned(), source })
}

/// What a `tokenizer_config.json` says.
#[derive(Debug, Default, Clone)]
pub struct Settings {
    /// The class of transformers that reads this tokenizer, without its ending `Fast`.
    pub class: Option<String>,
    /// Whether a space is put before every piece of text between special tokens, not only before the first.
    pub legacy: bool,
    /// Whether one is put before the first piece.
    pub prefix_space: bool,
    /// Texts of special tokens by name.
    pub tokens: BTreeMap<String, String>,
    /// Added tokens by id, as they are to be matched.
    pub added: BTreeMap<u32, AddedToken>,
    template: Option<Value>,
}

impl Settings {
    /// Reads what of these files is there.
    ///
    /// # Errors
    /// When one is not JSON, or a value has another type than it should.
    pub fn read(files: &Files) -> Result<Self, ImportError> {
        let mut json: Map<String, Value> = read(files, TOKENIZER_CONFIG)?.unwrap_or_default();
        let map: Map<String, Value> = read(files, SPECIAL_TOKENS_MAP)?.unwrap_or_default();
        if !json.contains_key("added_tokens_decoder") {
            json.extend(map.into_iter().filter(|(name, _)| NAMED.contains(&&**name)));
        }
        let class = json.get("tokenizer_class").and_then(Value::as_str);
        let class = class.map(|class| class.strip_suffix("Fast").unwrap_or(class).to_owned());
        let flag = |name: &str| json.get(name).and_then(Value::as_bool);
        let mut tokens = defaults(class.as_deref());
        for name in NAMED {
            match json.get(name) {
                None => {}
                Some(Value::Null) => drop(tokens.remove(name)),
                Some(token) => drop(tokens.insert(name.to_owned(), text_of(name, token)?)),
            }
        }
        Ok(Self {
            legacy: flag("legacy").unwrap_or(false),
            prefix_space: flag("add_prefix_space").unwrap_or(true),
            added: added(json.get("added_tokens_decoder"))?,
            template: json.remove("chat_template").filter(|template| !template.is_null()),
            class,
            tokens,
        })
    }

    /// The chat template with its tokens, and the file that it was found in.
    ///
    /// # Errors
    /// When there is none, or none for conversations among several.
    pub fn template(&self, files: &Files) -> Result<(String, TemplateSource), ImportError> {
        let found = |file: &str, template: String| (file.to_owned(), TemplateSource { template, tokens: self.tokens.clone() });
        if let Some(bytes) = files.get(JINJA) {
            let text = String::from_utf8(bytes.clone()).map_err(|_| inconsistent(JINJA, "it is not UTF-8"))?;
            return Ok(found(JINJA, text));
        }
        if let Some(template) = &self.template {
            return Ok(found(TOKENIZER_CONFIG, chosen(TOKENIZER_CONFIG, template)?));
        }
        let json: Option<Map<String, Value>> = read(files, TEMPLATE_JSON)?;
        match json.as_ref().and_then(|json| json.get("chat_template")) {
            Some(template) => Ok(found(TEMPLATE_JSON, chosen(TEMPLATE_JSON, template)?)),
            None => {
                let needed = "a base that has not learned to converse cannot be served; one that has says here how (put its template beside it)";
                Err(ImportError::Absent { file: JINJA.to_owned(), needed })
            }
        }
    }
}

fn inconsistent(file: &str, why: impl Into<String>) -> ImportError {
    ImportError::Inconsistent { file: file.to_owned(), why: why.into() }
}

/// What classes of transformers call special tokens when nobody says otherwise.
fn defaults(class: Option<&str>) -> BTreeMap<String, String> {
    let tokens: &[(&str, &str)] = match class {
        Some("LlamaTokenizer") => &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")],
        Some("Qwen2Tokenizer") => {
            &[("unk_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")]
        }
        _ => &[],
    };
    tokens.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// A special token is a text, or an object around one.
fn text_of(name: &str, token: &Value) -> Result<String, ImportError> {
    let text = token.as_str().or_else(|| token.get("content")?.as_str());
    text.map(str::to_owned).ok_or_else(|| inconsistent(TOKENIZER_CONFIG, format!("`{name}` is neither a text nor a token")))
}

fn added(json: Option<&Value>) -> Result<BTreeMap<u32, AddedToken>, ImportError> {
    /// A token in a `tokenizer_config.json` may leave out what is false.
    #[derive(Deserialize)]
    #[expect(clippy::struct_excessive_bools, reason = "so is the format")]
    struct Written {
        content: String,
        #[serde(default)]
        single_word: bool,
        #[serde(default)]
        lstrip: bool,
        #[serde(default)]
        rstrip: bool,
        normalized: Option<bool>,
        #[serde(default)]
        special: bool,
    }
    let Some(json) = json else { return Ok(BTreeMap::new()) };
    let by_id = BTreeMap::<u32, Written>::deserialize(json);
    let by_id = by_id.map_err(|source| ImportError::Json { file: TOKENIZER_CONFIG.to_owned(), source })?;
    let token = |w: Written| {
        let token = AddedToken::from(w.content, w.special).single_word(w.single_word).lstrip(w.lstrip).rstrip(w.rstrip);
        let normalized = w.normalized.unwrap_or(!w.special);
        token.normalized(normalized)
    };
    Ok(by_id.into_iter().map(|(id, written)| (id, token(written))).collect())
}

/// The template for conversations: the only one, or the one called `default`.
fn chosen(file: &str, json: &Value) -> Result<String, ImportError> {
    let names: BTreeMap<&str, &str> = match json {
        Value::String(template) => return Ok(template.clone()),
        Value::Object(named) => named.iter().filter_map(|(name, template)| Some((&**name, template.as_str()?))).collect(),
        Value::Array(list) => {
            list.iter().filter_map(|one| Some((one.get("name")?.as_str()?, one.get("template")?.as_str()?))).collect()
        }
        _ => return Err(inconsistent(file, "`chat_template` is neither a text nor a list of named ones")),
    };
    let template = names.get("default").map(|template| (*template).to_owned());
    template.ok_or_else(|| {
        let names = names.keys().copied().collect::<Vec<_>>().join(", ");
        inconsistent(file, format!("of its chat templates ({names}) none is called default"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(named: &[(&str, &str)]) -> Files {
        named.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
    }

    fn template(named: &[(&str, &str)]) -> Result<(String, String), ImportError> {
        let files = files(named);
        Settings::read(&files)?.template(&files).map(|(file, source)| (file, source.template))
    }

    #[test]
    fn a_template_is_found_in_the_order_of_transformers() {
        let config = (TOKENIZER_CONFIG, r#"{"chat_template": "c"}"#);
        let named = (
            TOKENIZER_CONFIG,
            r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#,
        );
        let by_name = (TOKENIZER_CONFIG, r#"{"chat_template": {"rag": "r"}}"#);
        let jinja = (JINJA, "j");
        let json = (TEMPLATE_JSON, r#"{"chat_template": "p"}"#);
        let at = |file: &str, text: &str| Some((file.to_owned(), text.to_owned()));
        assert_eq!(template(&[config, jinja, json]).ok(), at(JINJA, "j"));
        assert_eq!(template(&[config, json]).ok(), at(TOKENIZER_CONFIG, "c"));
        assert_eq!(template(&[named]).ok(), at(TOKENIZER_CONFIG, "d"));
        assert_eq!(template(&[json]).ok(), at(TEMPLATE_JSON, "p"));
        assert!(template(&[by_name]).unwrap_err().to_string().contains("(rag) none is called default"));
        assert!(template(&[]).unwrap_err().to_string().contains("no chat_template.jinja"));
        assert!(template(&[(TOKENIZER_CONFIG, r#"{"chat_template": 3}"#)]).is_err());
    }

    #[test]
    fn tokens_are_texts_or_objects_and_null_takes_a_default_away() {
        let config = r#"{"tokenizer_class": "LlamaTokenizerFast", "bos_token": {"content": "<b>", "lstrip": true}, "unk_token": null, "legacy": true}"#;
        let read = Settings::read(&files(&[(TOKENIZER_CONFIG, config)])).unwrap();
        let tokens: Vec<(&str, &str)> = read.tokens.iter().map(|(name, text)| (&**name, &**text)).collect();
        assert_eq!(tokens, [("bos_token", "<b>"), ("eos_token", "</s>")]);
        assert!(read.legacy && read.prefix_space);
        assert_eq!(read.class.as_deref(), Some("LlamaTokenizer"));
        assert!(Settings::read(&files(&[(TOKENIZER_CONFIG, r#"{"eos_token": 2}"#)])).is_err());
    }

    #[test]
    fn a_map_of_special_tokens_counts_beside_a_config_without_added_tokens() {
        let map = (SPECIAL_TOKENS_MAP, r#"{"eos_token": "<e>", "additional_special_tokens": ["x"]}"#);
        let eos = |config| Settings::read(&files(&[(TOKENIZER_CONFIG, config), map])).unwrap().tokens.remove("eos_token");
        assert_eq!(eos(r#"{"eos_token": "<f>"}"#).as_deref(), Some("<e>"));
        assert_eq!(eos(r#"{"eos_token": "<f>", "added_tokens_decoder": {}}"#).as_deref(), Some("<f>"));
    }

    #[test]
    fn added_tokens_say_how_they_are_matched() {
        let config =
            r#"{"added_tokens_decoder": {"7": {"content": "<a>", "special": true, "rstrip": true}, "8": {"content": "b"}}}"#;
        let read = Settings::read(&files(&[(TOKENIZER_CONFIG, config)])).unwrap();
        assert_eq!(read.added[&7], AddedToken::from("<a>", true).rstrip(true));
        assert_eq!(read.added[&8], AddedToken::from("b", false));
        assert!(Settings::read(&files(&[(TOKENIZER_CONFIG, r#"{"added_tokens_decoder": {"x": {}}}"#)])).is_err());
    }
}
