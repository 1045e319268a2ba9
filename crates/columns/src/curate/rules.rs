//! The rules, each a step from a table of verdicts to the next.

use arrow::datatypes::DataType;
use datafusion::{
    common::ScalarValue,
    dataframe::DataFrame,
    error::Result,
    functions_aggregate::{
        expr_fn::{count, max, min},
        first_last::last_value_udaf,
    },
    functions_window::expr_fn::row_number,
    logical_expr::{Expr, ExprFunctionExt as _, JoinType, cast, col, lit, when},
    prelude::{coalesce, not},
};
use nocturne_wire::plan::CurationSettings;

use super::{
    tables::{ROW, Tables},
    text::{grams, prefix_grams, similarity, user_words, words_exchanged},
};

const RANK: &str = "rank";
const PLACE: &str = "place";
const FIRST: &str = "first_rank";
const LAST: &str = "last_time";
const TEXT: &str = "text";
const REASON: &str = "reason";
const UNTIL: &str = "repeated_until";

pub(super) const KEEP: &str = "keep";
pub(super) const DROP: &str = "drop";

/// Applies every rule; gives all planned rows with what curation adds, in the order of time, session and turn.
pub(super) async fn apply(tables: &Tables, settings: &CurationSettings) -> Result<DataFrame> {
    let verdicts = undecided(tables)?;
    let verdicts = permitted(verdicts)?;
    let verdicts = judged(verdicts, tables)?.cache().await?;
    let verdicts = without_repetitions(verdicts)?.cache().await?;
    let verdicts = without_resemblances(verdicts, settings.near_duplicate_similarity.into())?.cache().await?;
    let verdicts = within_subject_cap(verdicts, settings.max_rows_per_subject)?.cache().await?;
    let verdicts = within_model_share(verdicts, settings.max_model_share.into()).await?;
    with_rows(verdicts, tables)
}

/// What the rules look at, and nothing that they do not; ranked in time, so that every order is total.
fn undecided(tables: &Tables) -> Result<DataFrame> {
    let order = ["time", "session", "turn", "id", ROW].map(|name| col(name).sort(true, false)).to_vec();
    let text_of = |name| cast(col(name), DataType::Utf8).alias(name);
    let looked_at = vec![
        col(ROW),
        col("id"),
        col("time"),
        col("tenant"),
        col("subject"),
        col("session"),
        text_of("consent"),
        text_of("origin"),
        col("truncated"),
        user_words(col("messages")).alias(TEXT),
        row_number().order_by(order).build()?.alias(RANK),
        lit(ScalarValue::Utf8(None)).alias(REASON),
    ];
    tables.interactions()?.select(looked_at)
}

fn permitted(verdicts: DataFrame) -> Result<DataFrame> {
    let verdicts = with_first(verdicts, &["id"], lit(true))?;
    let verdicts = drop_when(verdicts, "replayed record", col(RANK).gt(col(FIRST)))?;
    let verdicts = drop_when(verdicts, "no consent", col("consent").not_eq(lit("train")))?;
    drop_when(verdicts, "truncated", col("truncated"))?.drop_columns(&[FIRST, LAST])
}

/// Attaches the latest score and the latest correction that anybody of the same tenant gave, and when the latter came.
fn judged(verdicts: DataFrame, tables: &Tables) -> Result<DataFrame> {
    let in_time = || vec![col("time").sort(true, false), col("id").sort(true, false)];
    let latest = |name: &str| last_value_udaf().call(vec![col(name)]).order_by(in_time()).filter(col(name).is_not_null()).build();
    let keys = vec![col("tenant").alias("of_tenant"), col("interaction")];
    let corrected_at = max(col("time")).filter(col("correction").is_not_null()).build()?.alias("corrected_at");
    let feedback = tables
        .feedback()?
        .aggregate(keys, vec![latest("score")?.alias("score"), latest("correction")?.alias("correction"), corrected_at])?;
    let verdicts = verdicts.join(feedback, JoinType::Left, &["tenant", "id"], &["of_tenant", "interaction"], None)?;
    let usable = coalesce(vec![col("score"), lit(0_f32)]).gt_eq(lit(0_f32));
    verdicts.with_column("answer_usable", usable)
}

/// The same words of the same subject: first within a session, then anywhere. A row whose answer was corrected or called wrong is no
/// repetition: the verdict would go with it.
fn without_repetitions(verdicts: DataFrame) -> Result<DataFrame> {
    let said = || col(REASON).is_null().and(col(TEXT).not_eq(lit("")));
    // Taken before anything is dropped here, so that the first row learns of every repetition.
    let verdicts = with_first(verdicts, &["tenant", "subject", TEXT], said())?;
    let verdicts = verdicts.with_column(UNTIL, coalesce(vec![col(LAST), col("time")]))?;
    let verdicts = verdicts.with_column_renamed(FIRST, "first_anywhere")?.drop_columns(&[LAST])?;
    let verdicts = with_first(verdicts, &["tenant", "subject", "session", TEXT], said())?;
    let verdicts = drop_when(verdicts, "exact duplicate", unjudged().and(col(RANK).gt(col(FIRST))))?;
    let verdicts = drop_when(verdicts, "near duplicate", unjudged().and(col(RANK).gt(col("first_anywhere"))))?;
    verdicts.drop_columns(&[FIRST, LAST, "first_anywhere"])
}

/// Whether nobody corrected the row or called its answer wrong.
fn unjudged() -> Expr {
    col("correction").is_null().and(col("answer_usable"))
}

/// Nearly the same words of the same subject: what was said last stays, because it may take back what was said before. Texts of which each holds a word that
/// the other does not hold are never nearly the same, however long they are: the exchanged word may be all that matters.
fn without_resemblances(verdicts: DataFrame, threshold: f64) -> Result<DataFrame> {
    let texts = verdicts.clone().filter(col(REASON).is_null().and(col(TEXT).not_eq(lit(""))))?;
    let side = |side: &str| {
        let name = |column: &str| format!("{side}_{column}");
        let columns = [RANK, "tenant", "subject", UNTIL, TEXT].map(|column| col(column).alias(name(column))).to_vec();
        let grams = vec![grams(col(TEXT)).alias(name("grams")), prefix_grams(col(TEXT), threshold).alias(name("gram"))];
        texts.clone().select([columns, grams].concat())?.unnest_columns(&[&name("gram")])
    };
    let (gone, stays) = (col(format!("gone_{UNTIL}")), col(format!("stays_{UNTIL}")));
    let said_later = stays.clone().gt(gone.clone()).or(stays.eq(gone).and(col("stays_rank").gt(col("gone_rank"))));
    let resembles = said_later
        .and(similarity(col("stays_grams"), col("gone_grams")).gt_eq(lit(threshold)))
        .and(not(words_exchanged(col("stays_text"), col("gone_text"))));
    let pairs = side("gone")?.join(
        side("stays")?,
        JoinType::Inner,
        &["gone_tenant", "gone_subject", "gone_gram"],
        &["stays_tenant", "stays_subject", "stays_gram"],
        Some(resembles),
    )?;
    let gone = pairs.select(vec![col("gone_rank")])?.distinct()?;
    let verdicts = verdicts.join(gone, JoinType::Left, &[RANK], &["gone_rank"], None)?;
    let verdicts = drop_when(verdicts, "near duplicate", unjudged().and(col("gone_rank").is_not_null()))?;
    verdicts.drop_columns(&["gone_rank"])
}

/// The newest rows of a subject stay: what was said later corrects what was said before.
fn within_subject_cap(verdicts: DataFrame, most: u32) -> Result<DataFrame> {
    let alive = || col(REASON).is_null();
    let sizes = verdicts.clone().filter(alive())?;
    let sizes = sizes.aggregate(
        vec![col("tenant").alias("cap_tenant"), col("subject").alias("cap_subject")],
        vec![count(lit(1)).alias("size")],
    )?;
    let over = sizes.filter(col("size").gt(lit(i64::from(most))))?;
    let verdicts = verdicts.join(over, JoinType::Left, &["tenant", "subject"], &["cap_tenant", "cap_subject"], None)?;
    // Subjects under the cap share one group, whose places nobody looks at: a group for each would cost more than the rule.
    let verdicts = placed(verdicts, vec![alive(), col("cap_tenant"), col("cap_subject")])?;
    let beyond = col("size").is_not_null().and(col(PLACE).gt(lit(u64::from(most))));
    drop_when(verdicts, "subject cap", beyond)?.drop_columns(&["cap_tenant", "cap_subject", "size", PLACE])
}

/// The newest rows written by models stay, as many as keep their share.
async fn within_model_share(verdicts: DataFrame, share: f64) -> Result<DataFrame> {
    let by_model = || col("origin").eq(lit("model"));
    let others = verdicts.clone().filter(col(REASON).is_null().and(col("origin").not_eq(lit("model"))))?.count().await?;
    if share >= 1.0 {
        return Ok(verdicts);
    }
    // m ≤ share · (m + others), solved for m; the margin keeps a whole number from falling to the one below.
    let most = (share / (1.0 - share) * others as f64 + 1e-6).floor() as u64;
    let verdicts = placed(verdicts, vec![col(REASON).is_null(), by_model()])?;
    drop_when(verdicts, "model share", by_model().and(col(PLACE).gt(lit(most))))
}

fn with_rows(verdicts: DataFrame, tables: &Tables) -> Result<DataFrame> {
    let verdict = when(col(REASON).is_null(), lit(KEEP)).otherwise(lit(DROP))?.alias("verdict");
    let decided = ["answer_usable", "score", "correction", "corrected_at", UNTIL, REASON, RANK].map(col).to_vec();
    let decided = verdicts.select([vec![col(ROW).alias("decided_row"), verdict], decided].concat())?;
    let joined = tables.interactions()?.join(decided, JoinType::Inner, &[ROW], &["decided_row"], None)?;
    let ordered = joined.sort(vec![col(RANK).sort(true, false)])?;
    ordered.select(tables.row_columns().chain(super::tables::ADDED).map(col).collect::<Vec<_>>())
}

/// Adds the rank of the first and the time of the last row with the same key, among those that the condition admits; an aggregation
/// and a join, because a window for each of a million keys costs many times as much.
fn with_first(verdicts: DataFrame, key: &[&str], among: Expr) -> Result<DataFrame> {
    let of = |name: &str| format!("same_{name}");
    let keys = key.iter().map(|name| col(*name).alias(of(name))).collect();
    let found = vec![min(col(RANK)).alias(FIRST), max(col("time")).alias(LAST), count(lit(1)).alias("same")];
    let groups = verdicts.clone().filter(among.clone())?.aggregate(keys, found)?;
    let theirs: Vec<_> = key.iter().map(|name| of(name)).collect();
    let theirs: Vec<_> = theirs.iter().map(String::as_str).collect();
    let repeated = groups.filter(col("same").gt(lit(1_i64)))?.drop_columns(&["same"])?;
    verdicts.join(repeated, JoinType::Left, key, &theirs, Some(among))?.drop_columns(&theirs)
}

/// Numbers the rows of each group from its newest on, from 1.
fn placed(verdicts: DataFrame, group: Vec<Expr>) -> Result<DataFrame> {
    let newest_first = vec![col(RANK).sort(false, false)];
    verdicts.window(vec![row_number().partition_by(group).order_by(newest_first).build()?.alias(PLACE)])
}

/// Gives the reason to what the condition meets and no earlier rule dropped.
fn drop_when(verdicts: DataFrame, reason: &str, condition: Expr) -> Result<DataFrame> {
    let reason = when(col(REASON).is_null().and(condition), lit(reason)).otherwise(col(REASON))?;
    verdicts.with_column(REASON, reason)
}
