//! Texts as the rules see them, and the functions that give queries that view.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, BooleanArray, Float64Array, ListArray, ListBuilder, StringArray, StringBuilder, UInt64Builder},
    compute::cast,
    datatypes::{DataType, Field, UInt64Type},
};
use datafusion::{
    common::{Result, internal_datafusion_err},
    logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
};

/// Words, lower case, without surrounding punctuation; what is left of a text when only its wording counts.
pub(super) fn normalized(text: &str) -> String {
    let words =
        text.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric())).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// Hashes of the trigrams of a normalized text, ascending, each once; a shorter text is one gram.
pub(super) fn trigrams(text: &str) -> Vec<u64> {
    let words: Vec<_> = text.split(' ').filter(|word| !word.is_empty()).collect();
    if words.len() < 3 {
        return words.first().map(|_| fnv(&words)).into_iter().collect();
    }
    let mut grams: Vec<_> = words.windows(3).map(fnv).collect();
    grams.sort_unstable();
    grams.dedup();
    grams
}

/// FNV-1a over words and their ends: the same on every machine, so that a night can be reproduced.
fn fnv(words: &[&str]) -> u64 {
    let bytes = words.iter().flat_map(|word| word.bytes().chain([b' ']));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Jaccard similarity of two ascending sets.
pub(super) fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut shared, mut left, mut right) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(left), b.get(right)) {
        shared += usize::from(x == y);
        left += usize::from(x <= y);
        right += usize::from(y <= x);
    }
    let all = a.len() + b.len() - shared;
    if all == 0 { 1.0 } else { shared as f64 / all as f64 }
}

/// Whether each of two normalized texts holds a word that the other does not hold.
pub(super) fn exchanged(a: &str, b: &str) -> bool {
    let (ours, theirs): (HashSet<&str>, HashSet<&str>) = (a.split(' ').collect(), b.split(' ').collect());
    !ours.is_subset(&theirs) && !theirs.is_subset(&ours)
}

/// The grams of which any text at least `threshold` similar must have one, too.
pub(super) fn prefix(text: &str, threshold: f64) -> Vec<u64> {
    let mut grams = trigrams(text);
    // The margin keeps a product that should be whole from being rounded up, which would lose a gram.
    let needed = (threshold * grams.len() as f64 - 1e-6).ceil().max(1.0) as usize;
    grams.truncate((grams.len() + 1).saturating_sub(needed));
    grams
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    UserWords,
    Grams,
    Prefix { threshold_bits: u64 },
    Similarity,
    WordsExchanged,
}

/// A function of texts for query plans.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TextFunction {
    kind: Kind,
    signature: Signature,
}

impl TextFunction {
    fn call(kind: Kind, arguments: Vec<Expr>) -> Expr {
        let signature = Signature::any(arguments.len(), Volatility::Immutable);
        ScalarUDF::new_from_impl(Self { kind, signature }).call(arguments)
    }
}

/// The normalized words of a row's user messages.
pub(super) fn user_words(messages: Expr) -> Expr {
    TextFunction::call(Kind::UserWords, vec![messages])
}

/// [`trigrams`] of a text column, as a list.
pub(super) fn grams(text: Expr) -> Expr {
    TextFunction::call(Kind::Grams, vec![text])
}

/// [`prefix`] of a text column, as a list.
pub(super) fn prefix_grams(text: Expr, threshold: f64) -> Expr {
    TextFunction::call(Kind::Prefix { threshold_bits: threshold.to_bits() }, vec![text])
}

/// [`jaccard`] of two columns of [`grams`].
pub(super) fn similarity(a: Expr, b: Expr) -> Expr {
    TextFunction::call(Kind::Similarity, vec![a, b])
}

/// [`exchanged`] of two text columns.
pub(super) fn words_exchanged(a: Expr, b: Expr) -> Expr {
    TextFunction::call(Kind::WordsExchanged, vec![a, b])
}

impl ScalarUDFImpl for TextFunction {
    fn name(&self) -> &str {
        match self.kind {
            Kind::UserWords => "user_words",
            Kind::Grams => "grams",
            Kind::Prefix { .. } => "prefix_grams",
            Kind::Similarity => "similarity",
            Kind::WordsExchanged => "words_exchanged",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::UserWords => DataType::Utf8,
            Kind::Grams | Kind::Prefix { .. } => DataType::List(Arc::new(Field::new_list_field(DataType::UInt64, true))),
            Kind::Similarity => DataType::Float64,
            Kind::WordsExchanged => DataType::Boolean,
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let result: ArrayRef = match (self.kind, columns.as_slice()) {
            (Kind::UserWords, [messages]) => Arc::new(words_of(messages)?),
            (Kind::Grams, [text]) => Arc::new(lists_of(text, trigrams)?),
            (Kind::Prefix { threshold_bits }, [text]) => {
                Arc::new(lists_of(text, |text| prefix(text, f64::from_bits(threshold_bits)))?)
            }
            (Kind::Similarity, [a, b]) => Arc::new(similarities_of(a, b)?),
            (Kind::WordsExchanged, [a, b]) => Arc::new(exchanges_of(&strings(a)?, &strings(b)?)),
            (kind, columns) => return Err(internal_datafusion_err!("{kind:?} was given {} columns", columns.len())),
        };
        Ok(ColumnarValue::Array(result))
    }
}

fn strings(column: &ArrayRef) -> Result<StringArray> {
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn words_of(messages: &ArrayRef) -> Result<StringArray> {
    let wrong = || internal_datafusion_err!("messages are not a list of records with role and content");
    let lists = messages.as_list_opt::<i32>().ok_or_else(wrong)?;
    let items = lists.values().as_struct_opt().ok_or_else(wrong)?;
    let roles = strings(items.column_by_name("role").ok_or_else(wrong)?)?;
    let contents = strings(items.column_by_name("content").ok_or_else(wrong)?)?;
    let mut words = StringBuilder::new();
    for row in lists.value_offsets().windows(2) {
        let said =
            (row[0] as usize..row[1] as usize).filter(|item| roles.value(*item) == "user").map(|item| contents.value(item));
        words.append_value(normalized(&said.collect::<Vec<_>>().join(" ")));
    }
    Ok(words.finish())
}

fn lists_of(text: &ArrayRef, grams: impl Fn(&str) -> Vec<u64>) -> Result<ListArray> {
    let mut lists = ListBuilder::new(UInt64Builder::new());
    for text in &strings(text)? {
        lists.values().append_slice(&text.map(&grams).unwrap_or_default());
        lists.append(true);
    }
    Ok(lists.finish())
}

fn similarities_of(a: &ArrayRef, b: &ArrayRef) -> Result<Float64Array> {
    let wrong = || internal_datafusion_err!("grams are not a list of numbers");
    let (a, b) = (a.as_list_opt::<i32>().ok_or_else(wrong)?, b.as_list_opt::<i32>().ok_or_else(wrong)?);
    let numbers = |lists: &ListArray| lists.values().as_primitive_opt::<UInt64Type>().map(|grams| grams.values().clone());
    let (a_grams, b_grams) = (numbers(a).ok_or_else(wrong)?, numbers(b).ok_or_else(wrong)?);
    let pairs = a.value_offsets().windows(2).zip(b.value_offsets().windows(2));
    let range = |row: &[i32]| row[0] as usize..row[1] as usize;
    Ok(pairs.map(|(a, b)| Some(jaccard(&a_grams[range(a)], &b_grams[range(b)]))).collect())
}

fn exchanges_of(a: &StringArray, b: &StringArray) -> BooleanArray {
    a.iter().zip(b).map(|(a, b)| a.zip(b).map(|(a, b)| exchanged(a, b))).collect()
}
