//! Buckets: S3 and what speaks like it, Google Cloud Storage, Azure.

use std::{collections::BTreeMap, env, str::FromStr as _, sync::Arc};

use object_store::{
    ObjectStore, ObjectStoreScheme, aws::AmazonS3ConfigKey, azure::AzureConfigKey, gcp::GoogleConfigKey, parse_url_opts,
};
use url::Url;

use crate::{LakeError, Result, folder::Folder};

/// Variables of the environment that are options of a store.
const VARIABLES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// Opens a bucket's folder.
pub(crate) fn open(location: &str, options: &BTreeMap<String, String>) -> Result<Arc<dyn ObjectStore>> {
    let refused = |reason: String| LakeError::refused(format!("lake location `{location}`"), reason);
    let url = Url::parse(location).map_err(|error| refused(error.to_string()))?;
    let (scheme, _) = ObjectStoreScheme::parse(&url).map_err(|error| refused(error.to_string()))?;
    let known: fn(&str) -> bool = match scheme {
        ObjectStoreScheme::AmazonS3 => |key| AmazonS3ConfigKey::from_str(key).is_ok(),
        ObjectStoreScheme::GoogleCloudStorage => |key| GoogleConfigKey::from_str(key).is_ok(),
        ObjectStoreScheme::MicrosoftAzure => |key| AzureConfigKey::from_str(key).is_ok(),
        _ => return Err(refused("it is not a directory, a file://, s3://, gs:// or az:// URL, or memory://".to_owned())),
    };
    if let Some(key) = options.keys().find(|key| !known(key)) {
        return Err(refused(format!("`{key}` is no option of such a store")));
    }
    let mut all: BTreeMap<String, String> = env::vars()
        .filter(|(key, _)| VARIABLES.iter().any(|prefix| key.starts_with(prefix)))
        .map(|(key, value)| (key.to_ascii_lowercase(), value))
        .collect();
    // An endpoint without TLS is a person's decision, made by its URL.
    let is_endpoint = |key: &str| ["endpoint_url", "endpoint", "base_url"].iter().any(|end| key.ends_with(end));
    let endpoint = options.iter().chain(&all).find(|(key, _)| is_endpoint(key));
    if endpoint.is_some_and(|(_, url)| url.starts_with("http://")) {
        all.insert("allow_http".to_owned(), "true".to_owned());
    }
    all.extend(options.clone());
    let (store, folder) = parse_url_opts(&url, all).map_err(|error| LakeError::Unavailable {
        action: "opening",
        path: location.to_owned(),
        source: error.into(),
    })?;
    Ok(if folder.as_ref().is_empty() { Arc::from(store) } else { Arc::new(Folder::new(store, folder)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(location: &str, options: &[(&str, &str)]) -> String {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        open(location, &options).expect_err("refused").to_string()
    }

    #[test]
    fn what_cannot_be_a_lake_is_refused_with_the_reason() {
        assert!(reason("ftp://host/x", &[]).contains("ftp://host/x"));
        assert!(reason("https://example.org/x", &[]).contains("not a directory"));
        assert!(reason("s3://bucket", &[("aws_endpiont", "x")]).contains("`aws_endpiont` is no option"));
    }

    #[test]
    fn a_bucket_is_opened_without_asking_it() {
        let options = [("aws_endpoint_url", "http://127.0.0.1:1"), ("aws_access_key_id", "a"), ("aws_secret_access_key", "b")];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        open("s3://bucket/deep/folder", &options).expect("opens");
    }
}
