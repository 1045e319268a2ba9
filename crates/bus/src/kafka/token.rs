//! The token of `OAUTHBEARER`: from a file that somebody else renews.

use std::{error::Error, fs, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rdkafka::client::OAuthToken;
use serde::Deserialize;

/// How long a token is taken to last that does not say so; the file is read again then.
const UNKNOWN_LIFETIME_MILLISECONDS: i64 = 10 * 60 * 1000;

/// The claims that matter here (RFC 7519).
#[derive(Debug, Default, Deserialize)]
struct Claims {
    exp: Option<i64>,
    sub: Option<String>,
}

/// Reads the file.
pub(crate) fn read(file: &Path) -> Result<OAuthToken, Box<dyn Error>> {
    let text = fs::read_to_string(file).map_err(|error| format!("reading the token in {}: {error}", file.display()))?;
    Ok(parse(text.trim(), Timestamp::now()))
}

fn parse(token: &str, now: Timestamp) -> OAuthToken {
    let claims = claims(token).unwrap_or_default();
    OAuthToken {
        token: token.to_owned(),
        principal_name: claims.sub.unwrap_or_else(|| "nocturne".to_owned()),
        lifetime_ms: claims
            .exp
            .map_or(now.as_millisecond() + UNKNOWN_LIFETIME_MILLISECONDS, |seconds| seconds.saturating_mul(1000)),
    }
}

/// What a JSON web token says; nothing is verified here, the broker does that.
fn claims(token: &str) -> Option<Claims> {
    let body = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(body.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_token_says_whose_it_is_and_when_it_ends() {
        // {"alg":"none"}.{"sub":"ada","exp":2000000000}
        let token = parse("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEiLCJleHAiOjIwMDAwMDAwMDB9.", Timestamp::UNIX_EPOCH);
        assert_eq!((token.principal_name.as_str(), token.lifetime_ms), ("ada", 2_000_000_000_000));
    }

    #[test]
    fn any_other_token_is_read_again_after_a_while() {
        for text in ["opaque", "a.b.c", "a.e30.c", ""] {
            let token = parse(text, Timestamp::UNIX_EPOCH);
            assert_eq!((token.token.as_str(), token.lifetime_ms), (text, UNKNOWN_LIFETIME_MILLISECONDS));
        }
    }
}
