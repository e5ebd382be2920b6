//! Nobody who asks AWS for secrets, in a build without the feature `aws-secrets`.

use aws_types::SdkConfig;

use super::Place;

/// What asks AWS.
pub(super) struct Clients;

impl Clients {
    /// Nobody.
    pub(super) fn new(_aws: &SdkConfig) -> Self {
        Self
    }

    /// Why there is no value.
    pub(super) async fn fetch(&self, _place: &Place) -> Result<Vec<u8>, String> {
        Err("this build cannot ask AWS: it lacks the feature `aws-secrets`".to_owned())
    }
}
