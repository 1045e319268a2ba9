//! Records that tests are about: whole ones, of which a test says only what it is about.

use jiff::Timestamp;
use nocturne_wire::{
    Feedback, Generation, Interaction, InteractionId, SessionId, SubjectId, TenantId,
    record::{Consent, FinishReason, Message, Origin, Role, Surprise},
};

/// What a subject of tenant `acme` said, and that it was noted. Whatever else a test is about it sets itself.
///
/// # Panics
/// When a text is no identifier.
pub fn said(id: impl Into<String>, time: Timestamp, subject: &str, session: &str, text: impl Into<String>) -> Interaction {
    Interaction {
        id: InteractionId::parse(id).expect("an id"),
        time,
        tenant: TenantId::parse("acme").expect("an id"),
        subject: SubjectId::parse(subject).expect("an id"),
        session: SessionId::parse(session).expect("an id"),
        turn: 0,
        model: "nocturne".to_owned(),
        generation: Generation(1),
        messages: vec![Message { role: Role::User, content: text.into() }],
        answer: "Noted.".to_owned(),
        prompt_tokens: 9,
        answer_tokens: 2,
        prompt_surprise: Surprise { mean_nats: 2.5, max_nats: 9.0 },
        answer_surprise: Surprise { mean_nats: 0.5, max_nats: 1.0 },
        finish: FinishReason::Stop,
        latency_ms: 12.5,
        consent: Consent::Train,
        redactions: 0,
        origin: Origin::Human,
        truncated: false,
        channel: "production".to_owned(),
    }
}

/// What the subject of an interaction thinks of it.
///
/// # Panics
/// When `id` is no identifier.
pub fn judged(id: impl Into<String>, time: Timestamp, about: &Interaction, score: f32, correction: Option<&str>) -> Feedback {
    Feedback {
        id: InteractionId::parse(id).expect("an id"),
        time,
        tenant: about.tenant.clone(),
        subject: about.subject.clone(),
        interaction: about.id.clone(),
        score,
        correction: correction.map(str::to_owned),
    }
}
