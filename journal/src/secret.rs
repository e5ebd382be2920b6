//! Secrets and where they are: named in the configuration, shown nowhere.

mod vault;

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_types::SdkConfig;

use crate::failpoint;
use vault::{Place, Vault};

/// The shortest secret that is accepted, in bytes.
pub const SECRET_BYTES_MIN: usize = 8;

/// How many random bytes a generated secret has.
const GENERATED_BYTES: usize = 32;

/// A secret's value, with the reference it came from. Only the reference can be printed.
#[derive(Clone)]
pub struct Secret {
    reference: String,
    value: Vec<u8>,
    is_pretended: bool,
}

impl Secret {
    /// This value under this reference.
    pub fn new(reference: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { reference: reference.into(), value: value.into(), is_pretended: false }
    }

    /// Whether its value was not read: its form says nothing.
    pub fn is_pretended(&self) -> bool {
        self.is_pretended
    }

    /// Where it came from: `env:GITHUB_WEBHOOK_SECRET`.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The value.
    pub fn expose(&self) -> &[u8] {
        &self.value
    }

    /// Whether it begins or ends with a blank or a line break: few senders' secrets do.
    pub fn is_padded(&self) -> bool {
        let is_blank = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
        is_blank(self.value.first()) || is_blank(self.value.last())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.reference)
    }
}

/// Reads secrets by reference:
///
/// | reference | is |
/// |---|---|
/// | `env:NAME` | the environment variable `NAME` |
/// | `file:PATH` | the file's content without the line break at its end |
/// | `generated:NAME` | made at the first start, in the data folder of the local server; in AWS, by the stack |
/// | `secretsmanager:NAME`, `secretsmanager:NAME#KEY` | in Secrets Manager: the whole value, or a text in its JSON |
/// | `ssm:/PATH` | a parameter of Systems Manager |
///
/// The last two have to be fetched before they can be read.
#[derive(Debug, Clone)]
pub struct Secrets {
    folder: PathBuf,
    generated: Generated,
    vault: Arc<Vault>,
}

/// What becomes of `generated:` references.
#[derive(Debug, Clone)]
enum Generated {
    /// They are refused.
    Refused,
    /// They are files in this folder, made when they are missing.
    In(PathBuf),
    /// They are references that begin like this.
    Under(String),
    /// They are taken to be there, and so is everything that AWS keeps.
    Pretended,
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The reference is none.
    #[error(
        "`{0}` is no reference to a secret: write env:NAME, file:PATH, generated:NAME, \
         secretsmanager:NAME, secretsmanager:NAME#KEY or ssm:/PATH"
    )]
    Reference(String),
    /// The environment variable is not set.
    #[error("the environment variable {0} is not set; set it to the secret")]
    Unset(String),
    /// The file cannot be read.
    #[error("the secret's file {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The value is empty or too short to protect anything.
    #[error("{reference} has {bytes} bytes; a secret needs at least {SECRET_BYTES_MIN}")]
    TooShort {
        /// The reference.
        reference: String,
        /// The length.
        bytes: usize,
    },
    /// There is no place for generated secrets.
    #[error(
        "{0}: no secrets are generated here; write env:NAME, file:PATH, secretsmanager:NAME or ssm:/PATH"
    )]
    NotLocal(String),
    /// AWS did not give it.
    #[error("{reference} cannot be read: {reason}")]
    NotGiven {
        /// The reference.
        reference: String,
        /// Why.
        reason: String,
    },
}

/// Relative paths start at the working folder, and nothing is generated.
impl Default for Secrets {
    fn default() -> Self {
        Self::new(PathBuf::new(), None)
    }
}

impl Secrets {
    /// Relative paths start at `folder`; generated secrets stand in `generated`, if they may be made.
    pub fn new(folder: PathBuf, generated: Option<PathBuf>) -> Self {
        Self::of(folder, generated.map_or(Generated::Refused, Generated::In))
    }

    /// Secrets as a function in AWS finds them: `EVERHOOK_GENERATED_SECRETS` says
    /// under which reference those stand that the stack has generated.
    pub fn from_env(folder: PathBuf) -> Self {
        let under = std::env::var("EVERHOOK_GENERATED_SECRETS").ok();
        Self::of(folder, under.map_or(Generated::Refused, Generated::Under))
    }

    /// Like [`Secrets::new`], but takes to be there what is generated or kept by AWS.
    pub fn pretending(folder: PathBuf) -> Self {
        Self::of(folder, Generated::Pretended)
    }

    /// The same, with AWS reached like this instead of as Lambda's environment says.
    pub fn reaching(self, aws: SdkConfig) -> Self {
        Self { vault: Arc::new(Vault::reached_by(aws)), ..self }
    }

    fn of(folder: PathBuf, generated: Generated) -> Self {
        Self { folder, generated, vault: Arc::default() }
    }

    /// Fetches those of these secrets that AWS keeps, anew. A value that was fetched before
    /// stays if it cannot be fetched now.
    pub async fn fetch(&self, references: impl IntoIterator<Item = &str>) {
        if let Generated::Pretended = self.generated {
            return;
        }
        let places: Vec<_> =
            references.into_iter().filter_map(|reference| self.place(reference)).collect();
        self.vault.fetch(places).await;
    }

    /// Whether AWS keeps this secret, so that it may change while we run.
    pub fn is_remote(&self, reference: &str) -> bool {
        self.place(reference).is_some()
    }

    fn place(&self, reference: &str) -> Option<Place> {
        match (&self.generated, reference.split_once(':')) {
            (Generated::Under(prefix), Some(("generated", name))) if is_plain(name) => {
                Place::parse(&format!("{prefix}/{name}"))
            }
            _ => Place::parse(reference),
        }
    }

    /// The secret that a reference names.
    pub fn read(&self, reference: &str) -> Result<Secret, SecretError> {
        let value = self.value(reference)?;
        if value.len() < SECRET_BYTES_MIN {
            let bytes = value.len();
            return Err(SecretError::TooShort { reference: reference.to_owned(), bytes });
        }
        let is_pretended = match self.generated {
            Generated::Pretended => self.is_elsewhere(reference),
            Generated::Refused | Generated::In(_) | Generated::Under(_) => false,
        };
        Ok(Secret { is_pretended, ..Secret::new(reference, value) })
    }

    /// Whether a secret is generated or kept by AWS.
    fn is_elsewhere(&self, reference: &str) -> bool {
        self.is_remote(reference) || reference.starts_with("generated:")
    }

    fn value(&self, reference: &str) -> Result<Vec<u8>, SecretError> {
        if let Some(place) = self.place(reference) {
            if let Generated::Pretended = self.generated {
                return Ok(vec![b'p'; GENERATED_BYTES]);
            }
            let not_given =
                |reason| SecretError::NotGiven { reference: reference.to_owned(), reason };
            return self.vault.read(&place).map(trimmed).map_err(not_given);
        }
        match reference.split_once(':') {
            Some(("env", name)) => std::env::var(name)
                .map(String::into_bytes)
                .map_err(|_| SecretError::Unset(name.to_owned())),
            Some(("file", path)) => read_file(&self.folder.join(path)).map(trimmed),
            Some(("generated", name)) if is_plain(name) => match &self.generated {
                Generated::In(folder) => generated(&folder.join(name)).map(trimmed),
                Generated::Pretended => Ok(vec![b'p'; GENERATED_BYTES]),
                _ => Err(SecretError::NotLocal(reference.to_owned())),
            },
            _ => Err(SecretError::Reference(reference.to_owned())),
        }
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn read_file(path: &Path) -> Result<Vec<u8>, SecretError> {
    std::fs::read(path).map_err(|source| SecretError::Unreadable { path: path.to_owned(), source })
}

/// The secret in this file; made now if there is no such file.
fn generated(path: &Path) -> Result<Vec<u8>, SecretError> {
    if !path.exists() {
        make(path).map_err(|source| SecretError::Unreadable { path: path.to_owned(), source })?;
    }
    read_file(path)
}

fn make(path: &Path) -> std::io::Result<()> {
    let mut random = [0u8; GENERATED_BYTES];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)?;
    // It gets its name only once it is whole: whoever dies before leaves none, and nobody reads half of one.
    let draft = folder.join(format!(".{}", crate::id::fresh()));
    let made = write(&draft, &random).and_then(|()| {
        failpoint::reached("secret.written");
        match std::fs::hard_link(&draft, path) {
            // Somebody else was first, and theirs counts.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    });
    std::fs::remove_file(&draft).ok();
    made
}

fn write(path: &Path, random: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn trimmed(mut value: Vec<u8>) -> Vec<u8> {
    while value.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        value.pop();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(folder: &Path) -> Secrets {
        Secrets::new(folder.to_owned(), Some(folder.join("secrets")))
    }

    #[test]
    fn a_file_is_read_without_its_line_break() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "correct horse\n").unwrap();

        let secret = secrets(folder.path()).read("file:key").unwrap();

        assert_eq!(secret.expose(), b"correct horse");
        assert_eq!(format!("{secret:?}"), "Secret(file:key)");
    }

    #[test]
    fn a_blank_at_an_end_of_a_secret_is_noticed() {
        for padded in [" a secret", "a secret ", "a secret\n", "a secret\r\n", "\ta secret"] {
            assert!(Secret::new("env:TEST", padded).is_padded(), "{padded:?}");
        }
        assert!(!Secret::new("env:TEST", "a secret").is_padded());
        assert!(!Secret::new("env:TEST", "").is_padded());
    }

    #[test]
    fn a_generated_secret_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let first = secrets(folder.path()).read("generated:default").unwrap();
        let second = secrets(folder.path()).read("generated:default").unwrap();
        assert_eq!(first.expose(), second.expose());
        assert_eq!(first.expose().len(), 64);
    }

    #[test]
    fn a_secret_that_several_make_at_once_is_one_and_whole() {
        for _ in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let read =
                || secrets(folder.path()).read("generated:default").unwrap().expose().to_vec();
            let all: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(read)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(all[0].len(), 64);
            assert!(all.iter().all(|secret| *secret == all[0]));
            assert_eq!(std::fs::read_dir(folder.path().join("secrets")).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_is_missing_empty_or_short_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        std::fs::write(folder.path().join("short"), "1234567").unwrap();
        let message = |reference| secrets(folder.path()).read(reference).unwrap_err().to_string();

        assert!(message("env:EVERHOOK_NOT_SET").contains("EVERHOOK_NOT_SET is not set"));
        assert!(message("file:nowhere").contains("cannot be read"));
        assert_eq!(message("file:empty"), "file:empty has 0 bytes; a secret needs at least 8");
        assert_eq!(message("file:short"), "file:short has 7 bytes; a secret needs at least 8");
        assert!(message("plain-text-secret").contains("is no reference"));
        assert!(message("generated:../../etc/passwd").contains("is no reference"));
    }

    #[test]
    fn no_secret_is_generated_where_nobody_could_read_it() {
        let error = Secrets::new(PathBuf::new(), None).read("generated:default").unwrap_err();
        assert!(matches!(error, SecretError::NotLocal(_)));
    }
}
