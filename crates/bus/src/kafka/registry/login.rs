//! Who asks the registry. A password file is read for every request: there are few of them, and one that was changed, by a person or by whoever
//! rotates secrets, then needs no restart.

use std::{env, fs, path::PathBuf};

use super::{RegistryError, RegistrySettings, unreadable};

/// Environment variable that holds the registry's password.
pub const REGISTRY_PASSWORD_VARIABLE: &str = "NOCTURNE_REGISTRY_PASSWORD";

/// What a password's file is called in errors.
pub(super) const PASSWORD: &str = "password";

/// A user name and where its password is.
#[derive(Clone)]
pub(super) struct Login {
    user: String,
    password: Password,
}

#[derive(Clone)]
enum Password {
    Given(String),
    In(PathBuf),
}

impl Login {
    /// What the settings say; `None` when they name nobody.
    pub(super) fn of(settings: &RegistrySettings) -> Result<Option<Self>, RegistryError> {
        if settings.username.is_empty() {
            return Ok(None);
        }
        let password = match &settings.password_file {
            Some(file) => {
                // One that is not there is found at the start, not at the first request.
                fs::read_to_string(file).map_err(|source| unreadable(PASSWORD, file, source))?;
                Password::In(file.clone())
            }
            None => Password::Given(env::var(REGISTRY_PASSWORD_VARIABLE).map_err(|_| missing())?),
        };
        Ok(Some(Self { user: settings.username.clone(), password }))
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    pub(super) async fn password(&self) -> Result<String, RegistryError> {
        let file = match &self.password {
            Password::Given(password) => return Ok(password.clone()),
            Password::In(file) => file,
        };
        let read = tokio::fs::read_to_string(file).await.map_err(|source| unreadable(PASSWORD, file, source))?;
        Ok(read.trim_end_matches(['\r', '\n']).to_owned())
    }
}

fn missing() -> RegistryError {
    let variable = REGISTRY_PASSWORD_VARIABLE;
    RegistryError::Settings(format!("`username` needs a password: set `password_file`, or {variable} in the environment"))
}
