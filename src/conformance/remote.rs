//! Vectors against a running receiver, whose sources are named like the schemes.

use std::collections::BTreeSet;

use everhook_journal::secret::SECRET_BYTES_MIN;

use super::{Collection, Judged, Report, Vector};
use crate::commands::Failure;
use crate::commands::client::Client;

/// Sends those vectors that a running receiver can judge: none that pins the clock,
/// none whose secret is not the one that its source would have.
pub(crate) async fn judge(collection: &Collection, client: &Client) -> Result<Report, Failure> {
    let vectors: Vec<_> = collection.vectors().filter(|vector| vector.now.is_none()).collect();
    let mut judged = Vec::new();
    for vector in vectors.iter().filter(|vector| is_configured(vector, &vectors)) {
        judged.push(sent(vector, client).await?);
    }
    Ok(Report { judged })
}

/// Whether a source with the secrets and the URL of the valid vectors is the one that this vector means.
fn is_configured(vector: &Vector, all: &[Vector]) -> bool {
    let of_source =
        || all.iter().filter(|other| other.preset.name == vector.preset.name && other.valid);
    let secrets: BTreeSet<_> = of_source().flat_map(|other| &other.secrets).collect();
    let url = |vector: &Vector| vector.settings.public_url.clone();
    let has_secrets =
        |secret: &String| secret.len() >= SECRET_BYTES_MIN && secrets.contains(secret);
    vector.method == "POST"
        && !vector.secrets.is_empty()
        && vector.secrets.iter().all(has_secrets)
        && of_source().any(|other| url(other) == url(vector))
}

async fn sent(vector: &Vector, client: &Client) -> Result<Judged, Failure> {
    let query = if vector.query.is_empty() { String::new() } else { format!("?{}", vector.query) };
    let path = format!("/webhook/{}{query}", vector.preset.name);
    let status = client.status_of(&path, &vector.headers, vector.body.clone()).await?;
    let wanted = if vector.valid { 202 } else { 401 };
    let failure =
        (status != wanted).then(|| format!("the status is {status}, not {wanted}: {}", vector.why));
    Ok(Judged { id: vector.id.clone(), scheme: vector.preset.name.to_owned(), failure })
}
