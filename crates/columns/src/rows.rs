//! Arrow rows back into records.

use std::any::type_name;

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, Float32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
        TimestampMicrosecondArray,
    },
    compute::{cast, concat_batches},
    datatypes::DataType,
};
use jiff::Timestamp;
use nocturne_wire::{
    Feedback, Generation, Interaction, InteractionId, SessionId, SubjectId, TenantId, Topic,
    id::IdError,
    record::{Message, Surprise, Symbol},
};
use serde::de::{IntoDeserializer, value::Error as SymbolError};

use crate::{ColumnsError, IdHash, Result, schema};

const WHAT: &str = "table of records";

/// Columns by name, of whatever has them.
pub(crate) struct Columns<'a> {
    what: &'static str,
    find: Find<'a>,
}

/// Where a column is looked for.
type Find<'a> = Box<dyn Fn(&str) -> Option<&'a ArrayRef> + 'a>;

impl<'a> Columns<'a> {
    pub(crate) fn of(what: &'static str, batch: &'a RecordBatch) -> Self {
        Self { what, find: Box::new(|name| batch.column_by_name(name)) }
    }

    fn of_struct(what: &'static str, array: &'a StructArray) -> Self {
        Self { what, find: Box::new(|name| array.column_by_name(name)) }
    }

    fn raw(&self, name: &str) -> Result<&'a ArrayRef> {
        (self.find)(name).ok_or_else(|| ColumnsError::damaged(self.what, format!("it has no column `{name}`")))
    }

    pub(crate) fn get<T: Array + 'static>(&self, name: &str) -> Result<&'a T> {
        let column = self.raw(name)?;
        column.as_any().downcast_ref().ok_or_else(|| {
            let expected = type_name::<T>().rsplit("::").next().unwrap_or_default();
            ColumnsError::damaged(self.what, format!("its column `{name}` is {}, not {expected}", column.data_type()))
        })
    }

    /// A column of symbols, which are dictionaries when decoded from Avro.
    pub(crate) fn symbols(&self, name: &str) -> Result<StringArray> {
        let text = cast(self.raw(name)?, &DataType::Utf8)
            .map_err(|error| ColumnsError::unreadable(self.what, format!("its column `{name}` is not text"), error))?;
        text.as_any()
            .downcast_ref::<StringArray>()
            .cloned()
            .ok_or_else(|| ColumnsError::damaged(self.what, format!("its column `{name}` is not text")))
    }
}

pub(crate) fn timestamp(what: &'static str, micros: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(|error| ColumnsError::unreadable(what, "a time is outside the calendar", error))
}

fn id<T>(column: &StringArray, row: usize, parse: fn(String) -> Result<T, IdError>) -> Result<T> {
    parse(column.value(row).to_owned()).map_err(|error| ColumnsError::unreadable(WHAT, format!("row {row} has a bad id"), error))
}

fn number<T: TryFrom<i64>>(column: &Int64Array, row: usize) -> Result<T> {
    let value = column.value(row);
    T::try_from(value).map_err(|_| ColumnsError::damaged(WHAT, format!("row {row} holds {value} where a count belongs")))
}

/// A symbol; one that a later release has written is read as the Avro schema's default.
fn symbol<T: Symbol>(column: &StringArray, row: usize) -> T {
    let text: serde::de::value::StrDeserializer<'_, SymbolError> = column.value(row).into_deserializer();
    T::deserialize(text).unwrap_or(T::UNKNOWN)
}

struct Surprises<'a> {
    mean: &'a Float32Array,
    max: &'a Float32Array,
}

impl<'a> Surprises<'a> {
    fn of(columns: &Columns<'a>, name: &str) -> Result<Self> {
        let inner = Columns::of_struct(WHAT, columns.get::<StructArray>(name)?);
        Ok(Self { mean: inner.get("mean_nats")?, max: inner.get("max_nats")? })
    }

    fn at(&self, row: usize) -> Surprise {
        Surprise { mean_nats: self.mean.value(row), max_nats: self.max.value(row) }
    }
}

/// The messages of many rows, addressed by the list's offsets.
struct Messages<'a> {
    lists: &'a ListArray,
    roles: StringArray,
    contents: &'a StringArray,
}

impl<'a> Messages<'a> {
    fn of(columns: &Columns<'a>) -> Result<Self> {
        let lists = columns.get::<ListArray>("messages")?;
        let items: &'a ArrayRef = lists.values();
        let items = items.as_any().downcast_ref::<StructArray>();
        let items = items.ok_or_else(|| ColumnsError::damaged(WHAT, "its messages are not records"))?;
        let items = Columns::of_struct(WHAT, items);
        Ok(Self { lists, roles: items.symbols("role")?, contents: items.get("content")? })
    }

    fn at(&self, row: usize) -> Vec<Message> {
        let offsets = self.lists.value_offsets();
        let message = |item| Message { role: symbol(&self.roles, item), content: self.contents.value(item).to_owned() };
        (offsets[row] as usize..offsets[row + 1] as usize).map(message).collect()
    }
}

/// The ids of a batch's rows, in their order.
///
/// # Errors
/// [`ColumnsError::Damaged`] when there is no such column.
pub(crate) fn id_hashes(batch: &RecordBatch) -> Result<Vec<IdHash>> {
    let columns = Columns::of(WHAT, batch);
    Ok(columns.get::<StringArray>("id")?.iter().flatten().map(IdHash::of).collect())
}

/// The interactions of a batch or of a curated table, row by row.
///
/// # Errors
/// [`ColumnsError::Damaged`] when the columns are not those of interactions.
pub fn interactions(batch: &RecordBatch) -> Result<Vec<Interaction>> {
    let columns = Columns::of(WHAT, batch);
    let ids = columns.get::<StringArray>("id")?;
    let times = columns.get::<TimestampMicrosecondArray>("time")?;
    let tenants = columns.get::<StringArray>("tenant")?;
    let subjects = columns.get::<StringArray>("subject")?;
    let sessions = columns.get::<StringArray>("session")?;
    let turns = columns.get::<Int64Array>("turn")?;
    let models = columns.get::<StringArray>("model")?;
    let generations = columns.get::<Int64Array>("generation")?;
    let messages = Messages::of(&columns)?;
    let answers = columns.get::<StringArray>("answer")?;
    let prompt_tokens = columns.get::<Int64Array>("prompt_tokens")?;
    let answer_tokens = columns.get::<Int64Array>("answer_tokens")?;
    let prompt_surprises = Surprises::of(&columns, "prompt_surprise")?;
    let answer_surprises = Surprises::of(&columns, "answer_surprise")?;
    let finishes = columns.symbols("finish")?;
    let latencies = columns.get::<Float32Array>("latency_ms")?;
    let consents = columns.symbols("consent")?;
    let redactions = columns.get::<Int64Array>("redactions")?;
    let origins = columns.symbols("origin")?;
    let truncated = columns.get::<BooleanArray>("truncated")?;
    let channel = columns.get::<StringArray>("channel")?;
    let record = |row| {
        Ok(Interaction {
            id: id(ids, row, InteractionId::parse)?,
            time: timestamp(WHAT, times.value(row))?,
            tenant: id(tenants, row, TenantId::parse)?,
            subject: id(subjects, row, SubjectId::parse)?,
            session: id(sessions, row, SessionId::parse)?,
            turn: number(turns, row)?,
            model: models.value(row).to_owned(),
            generation: Generation(number(generations, row)?),
            messages: messages.at(row),
            answer: answers.value(row).to_owned(),
            prompt_tokens: number(prompt_tokens, row)?,
            answer_tokens: number(answer_tokens, row)?,
            prompt_surprise: prompt_surprises.at(row),
            answer_surprise: answer_surprises.at(row),
            finish: symbol(&finishes, row),
            latency_ms: latencies.value(row),
            consent: symbol(&consents, row),
            redactions: number(redactions, row)?,
            origin: symbol(&origins, row),
            truncated: truncated.value(row),
            channel: channel.value(row).to_owned(),
        })
    };
    (0..batch.num_rows()).map(record).collect()
}

/// The feedback of a batch, row by row.
///
/// # Errors
/// [`ColumnsError::Damaged`] when the columns are not those of feedback.
pub fn feedback(batch: &RecordBatch) -> Result<Vec<Feedback>> {
    let columns = Columns::of(WHAT, batch);
    let ids = columns.get::<StringArray>("id")?;
    let times = columns.get::<TimestampMicrosecondArray>("time")?;
    let tenants = columns.get::<StringArray>("tenant")?;
    let subjects = columns.get::<StringArray>("subject")?;
    let judged = columns.get::<StringArray>("interaction")?;
    let scores = columns.get::<Float32Array>("score")?;
    let corrections = columns.get::<StringArray>("correction")?;
    let record = |row| {
        Ok(Feedback {
            id: id(ids, row, InteractionId::parse)?,
            time: timestamp(WHAT, times.value(row))?,
            tenant: id(tenants, row, TenantId::parse)?,
            subject: id(subjects, row, SubjectId::parse)?,
            interaction: id(judged, row, InteractionId::parse)?,
            score: scores.value(row),
            correction: corrections.is_valid(row).then(|| corrections.value(row).to_owned()),
        })
    };
    (0..batch.num_rows()).map(record).collect()
}

/// Rows of one topic, one batch after the other.
///
/// # Errors
/// [`ColumnsError::Write`] when a batch has other columns.
pub fn concat(topic: Topic, batches: &[RecordBatch]) -> Result<RecordBatch> {
    match batches {
        [one] => Ok(one.clone()),
        several => concat_batches(&schema::of(topic)?, several).map_err(ColumnsError::build("rows of several batches")),
    }
}
