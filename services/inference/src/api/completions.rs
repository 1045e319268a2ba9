//! `POST /v1/chat/completions` and `POST /v1/completions`, at once or as a stream.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use futures::{Stream, StreamExt, stream};
use nocturne_wire::id::SessionId;
use serde_json::Value;

use super::{
    App,
    error::ApiError,
    exchange::{self, Exchange, Outgoing, was_stopped},
    identity::SESSION_HEADER,
    request::{Delivery, Request},
    shape::{Endpoint, Envelope, Usage},
};
use crate::{decode::Answer, engine::Engine};

const GENERATION_HEADER: &str = "x-nocturne-generation";
const INTERACTION_HEADER: &str = "x-nocturne-interaction";

/// A body, or why there is none.
type Body = Result<Bytes, BytesRejection>;

/// `POST /v1/chat/completions`
pub(super) async fn chat<E: Engine>(
    State(app): State<Arc<App<E>>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body.map_err(|rejection| ApiError::body(&rejection, app.settings.max_body_bytes))?;
    let request = Request::chat(&app, &headers, &body)?;
    answer(&app, Endpoint::Chat, request).await
}

/// `POST /v1/completions`
pub(super) async fn text<E: Engine>(
    State(app): State<Arc<App<E>>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body.map_err(|rejection| ApiError::body(&rejection, app.settings.max_body_bytes))?;
    let request = Request::text(&app, &headers, &body)?;
    answer(&app, Endpoint::Text, request).await
}

async fn answer<E: Engine>(app: &Arc<App<E>>, endpoint: Endpoint, request: Request) -> Result<Response, ApiError> {
    let delivery = request.delivery;
    let session = request.identity.session.clone();
    let exchange = exchange::open(app, endpoint, request).await?;
    let envelope = Envelope {
        endpoint,
        id: exchange.id.clone(),
        created: exchange.created,
        model: app.settings.model.clone(),
        generation: exchange.generation.clone(),
        include_usage: delivery == Delivery::Stream { include_usage: true },
    };
    let mut response = match delivery {
        Delivery::Stream { .. } => Sse::new(chunks(envelope.clone(), exchange)).into_response(),
        Delivery::Whole => Json(whole(&envelope, exchange).await?).into_response(),
    };
    name(&mut response, &envelope, &session);
    Ok(response)
}

/// Every response names its generation, its interaction and its session.
fn name(response: &mut Response, envelope: &Envelope, session: &SessionId) {
    let headers = response.headers_mut();
    headers.insert(GENERATION_HEADER, HeaderValue::from(envelope.generation.number().0));
    for (header, text) in [(INTERACTION_HEADER, envelope.id.as_str()), (SESSION_HEADER, session.as_str())] {
        // Ids hold no control characters; one with characters beyond Latin-1 goes out as UTF-8 bytes, as it came in by the body.
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            headers.insert(header, value);
        }
    }
}

const fn usage(prompt_tokens: u32, answer: &Answer) -> Usage {
    Usage { prompt: prompt_tokens, cached: answer.cached_tokens, answer: answer.tokens }
}

async fn whole(envelope: &Envelope, mut exchange: Exchange) -> Result<Value, ApiError> {
    while let Some(event) = exchange.events.recv().await {
        match event {
            Outgoing::Text(_) => {}
            Outgoing::Done(answer) if was_stopped(&answer) => return Err(ApiError::shutting_down()),
            Outgoing::Done(answer) => {
                return Ok(envelope.whole(&answer.text, answer.finish, usage(exchange.prompt_tokens, &answer)));
            }
            Outgoing::Broken => return Err(ApiError::internal()),
        }
    }
    Err(ApiError::internal())
}

/// The chunks of a stream. An error after the first byte can only be told in the stream itself.
fn chunks(envelope: Envelope, exchange: Exchange) -> impl Stream<Item = Result<Event, Infallible>> {
    let opening = stream::iter(envelope.opening().map(|value| data(&value)));
    let rest = stream::unfold(Some((envelope, exchange)), |under_way| async {
        let (envelope, mut exchange) = under_way?;
        let (events, more) = match exchange.events.recv().await.unwrap_or(Outgoing::Broken) {
            Outgoing::Text(text) => (vec![data(&envelope.piece(&text))], true),
            Outgoing::Done(answer) if was_stopped(&answer) => (vec![data(&ApiError::shutting_down().body_json())], false),
            Outgoing::Done(answer) => {
                let usage = envelope.usage(usage(exchange.prompt_tokens, &answer));
                let mut events = vec![data(&envelope.closing(answer.finish))];
                events.extend(usage.map(|value| data(&value)));
                events.push(Event::default().data("[DONE]"));
                (events, false)
            }
            Outgoing::Broken => (vec![data(&ApiError::internal().body_json())], false),
        };
        Some((stream::iter(events), more.then_some((envelope, exchange))))
    });
    opening.chain(rest.flatten()).map(Ok)
}

fn data(value: &Value) -> Event {
    Event::default().data(value.to_string())
}
