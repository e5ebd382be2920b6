//! The calls by which AWS gives secrets.

use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_types::SdkConfig;

use super::{Place, Service};

/// What asks AWS.
pub(super) struct Clients {
    secrets: aws_sdk_secretsmanager::Client,
    parameters: aws_sdk_ssm::Client,
}

impl Clients {
    /// Clients that reach AWS like this.
    pub(super) fn new(aws: &SdkConfig) -> Self {
        Self {
            secrets: aws_sdk_secretsmanager::Client::new(aws),
            parameters: aws_sdk_ssm::Client::new(aws),
        }
    }

    /// A secret's value, or why there is none.
    pub(super) async fn fetch(&self, place: &Place) -> Result<Vec<u8>, String> {
        match place.service {
            Service::SecretsManager => {
                let request = self.secrets.get_secret_value().secret_id(&place.id);
                let output = Box::pin(request.send()).await.map_err(told)?;
                let text = output.secret_string.map(String::into_bytes);
                let binary = output.secret_binary.map(|blob| blob.into_inner());
                text.or(binary).ok_or_else(|| "it has no value".to_owned())
            }
            Service::Parameters => {
                let request = self.parameters.get_parameter().name(&place.id).with_decryption(true);
                let output = Box::pin(request.send()).await.map_err(told)?;
                let value = output.parameter.and_then(|parameter| parameter.value);
                value.map(String::into_bytes).ok_or_else(|| "it has no value".to_owned())
            }
        }
    }
}

/// What may be said of a failed call: never the response, which may hold the value.
fn told<E: ProvideErrorMetadata, R>(error: SdkError<E, R>) -> String {
    match error.as_service_error().map(|service| (service.code(), service.message())) {
        Some((Some(code), message)) => format!("{code}: {}", message.unwrap_or("no reason given")),
        _ => "AWS did not answer as it should".to_owned(),
    }
}
