//! What is wrong with the way to the schema registry. Nothing is registered here.

use nocturne_kit::telemetry::chain;
use nocturne_wire::{Topic, avro};

use super::Check;
use crate::kafka::{
    KafkaSettings,
    registrar::subject,
    registry::{Lookup, Registry, RegistryError, advice},
};

/// Examines the way to the schema registry, when one is configured.
pub async fn examine_registry(settings: &KafkaSettings) -> Vec<Check> {
    let registry = match Registry::open(&settings.registry) {
        Ok(None) => return Vec::new(),
        Ok(Some(registry)) => registry,
        Err(error) => return vec![Check::bad("schema registry", chain(&error), "correct the table [kafka.registry]")],
    };
    let what = format!("schema registry {}", registry.url());
    match registry.subjects().await {
        Ok(subjects) => {
            let mut checks = vec![Check::good(what, format!("answers, {subjects} subjects"))];
            for topic in Topic::ALL {
                checks.push(check_subject(&registry, &subject(settings, topic), avro::schema(topic)).await);
            }
            checks
        }
        Err(error) => vec![Check::bad(what, chain(&error), fix(&error))],
    }
}

async fn check_subject(registry: &Registry, subject: &str, schema: &str) -> Check {
    let what = format!("schema of {subject}");
    match state(registry, subject, schema).await {
        Ok(State::Registered(id)) => Check::good(what, format!("registered, id {id}")),
        Ok(State::Free) => Check::good(what, "nothing is registered yet; the first inference process to start does it"),
        Ok(State::MayFollow) => {
            Check::good(what, "may follow what is registered; the first inference process of this release to start registers it")
        }
        Ok(State::Incompatible) => {
            let fix = format!(
                "somebody else's schema: choose another name in [kafka.topics]; a compatibility that is stricter than BACKWARD: change it with `PUT /config/{subject}`"
            );
            Check::bad(what, "may not follow what is registered there", fix)
        }
        Err(error) => Check::bad(what, chain(&error), fix(&error)),
    }
}

enum State {
    Registered(u32),
    Free,
    MayFollow,
    Incompatible,
}

async fn state(registry: &Registry, subject: &str, schema: &str) -> Result<State, RegistryError> {
    Ok(match registry.look_up(subject, schema).await? {
        Lookup::Registered(id) => State::Registered(id),
        Lookup::Nothing => State::Free,
        Lookup::Others if registry.is_compatible(subject, schema).await? => State::MayFollow,
        Lookup::Others => State::Incompatible,
    })
}

fn fix(error: &RegistryError) -> &'static str {
    match error {
        RegistryError::Refused { status, .. } => advice(*status),
        RegistryError::Unreachable { .. } => {
            "is it running at `url` in [kafka.registry], do network policies let this machine in, and does `ca_file` hold the authority that signed its certificate?"
        }
        RegistryError::Settings(_) | RegistryError::File { .. } | RegistryError::Client { .. } => {
            "correct the table [kafka.registry]"
        }
        RegistryError::Incompatible { .. } => "choose another name in [kafka.topics]",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Finding, RegistrySettings};

    async fn examined(url: &str) -> Vec<Check> {
        let registry = RegistrySettings { url: url.to_owned(), ..RegistrySettings::default() };
        examine_registry(&KafkaSettings { registry, ..KafkaSettings::default() }).await
    }

    #[tokio::test]
    async fn what_is_not_configured_is_not_examined_and_nobody_at_home_is_said() {
        assert_eq!(examined("").await, []);
        for url in ["http://127.0.0.1:9/root", "registry:8081"] {
            let checks = examined(url).await;
            assert_eq!((checks.len(), checks[0].finding), (1, Finding::Bad), "{checks:?}");
            assert!(checks[0].fix.contains("[kafka.registry]"), "{checks:?}");
        }
    }
}
