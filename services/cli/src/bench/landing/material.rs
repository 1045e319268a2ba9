//! Records to land: conversations of drawn words, because text that repeats itself compresses as no user's does.

use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use nocturne_wire::{
    Generation, Interaction, InteractionId, SessionId, SubjectId, TenantId, avro,
    record::{Consent, FinishReason, Message, Origin, Role, Surprise},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Different texts; ids are made anew for every record.
const TEXTS: usize = 2_048;
/// Conversations that go on at a time.
const CONVERSATIONS: u64 = 200;
const WORDS: usize = 4_000;

/// Texts of one size.
#[derive(Debug, Clone)]
pub(super) struct Material {
    texts: Arc<Vec<String>>,
    bytes: usize,
    turns: u64,
}

impl Material {
    /// Texts so long that records have about so many bytes, in conversations of so many turns.
    pub(super) fn of(bytes: usize, turns: u64) -> anyhow::Result<Self> {
        let turns = turns.max(1);
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let words: Vec<String> = (0..WORDS)
            .map(|_| (0..random.random_range(2..10)).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect())
            .collect();
        let empty = avro::encode_interaction(&record(0, 0, 0, String::new())?).len();
        // Turn by turn a request carries more, up to the whole text.
        let room = bytes.saturating_sub(empty) * 2 * turns as usize / (turns as usize + 1);
        let texts = (0..TEXTS).map(|_| {
            let mut text = String::with_capacity(room + 12);
            while text.len() < room {
                // Zipf's law, roughly: common words are most of any text.
                let rank = (WORDS as f64).powf(random.random::<f64>()) as usize;
                text.push_str(&words[rank.min(WORDS - 1)]);
                text.push(' ');
            }
            text.truncate(room);
            text
        });
        Ok(Self { texts: Arc::new(texts.collect()), bytes: bytes.max(empty), turns })
    }

    pub(super) const fn mean_bytes(&self) -> usize {
        self.bytes
    }

    /// The n-th record: its key and its bytes.
    pub(super) fn record(&self, n: u64) -> anyhow::Result<(String, Vec<u8>)> {
        let (round, place) = (n / (CONVERSATIONS * self.turns), n % (CONVERSATIONS * self.turns));
        let (session, turn) = (round * CONVERSATIONS + place % CONVERSATIONS, place / CONVERSATIONS);
        let text = &self.texts[session as usize % TEXTS];
        let record = record(n, session, turn, text[..text.len() * (turn as usize + 1) / self.turns as usize].to_owned())?;
        Ok((record.session.to_string(), avro::encode_interaction(&record)))
    }
}

fn record(n: u64, session: u64, turn: u64, text: String) -> anyhow::Result<Interaction> {
    Ok(Interaction {
        id: InteractionId::parse(format!("b-1-{n}"))?,
        time: Timestamp::from_millisecond(1_750_000_000_000 + n as i64).context("a time")?,
        tenant: TenantId::parse("t")?,
        subject: SubjectId::parse(format!("u{}", session % 9973))?,
        session: SessionId::parse(format!("s{}", session % 49999))?,
        turn: turn as u32,
        model: "m".to_owned(),
        generation: Generation::ZERO,
        messages: vec![Message { role: Role::User, content: text }],
        answer: "Yes.".to_owned(),
        prompt_tokens: (n % 900) as u32,
        answer_tokens: 4,
        prompt_surprise: Surprise { mean_nats: (n % 100) as f32 / 31.0, max_nats: (n % 1000) as f32 / 77.0 },
        answer_surprise: Surprise { mean_nats: 0.5, max_nats: 2.0 },
        finish: FinishReason::Stop,
        latency_ms: (n % 5000) as f32 / 3.0,
        consent: Consent::Train,
        redactions: 0,
        origin: Origin::Human,
        truncated: false,
        channel: "production".to_owned(),
    })
}
