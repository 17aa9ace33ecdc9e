//! Signatures of published configurations: keys, what is signed, and how it is written.
//!
//! *What* is signed: a name of this form, the bucket, the serial and every byte of the configuration,
//! so none of them can be exchanged, and an entry of another fleet is none of this one. It is written
//! before the configuration, in a line that is a comment in TOML.
//!
//! *By which key*: an nkey (ed25519) of the type that NATS calls an account's. In NATS these sign what
//! others may do. One of a user will not do: it signs whatever a server sends to a client that
//! connects, so a server could have it sign a configuration.
//!
//! *The serial* is a time in microseconds, and larger than that of the newest one that can be read:
//! publishers on several machines need no memory, as long as their clocks are about right.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use nkeys::{KeyPair, KeyPairType};

use crate::net::files;

/// What a line with a signature begins with.
const MARK: &str = "# fleetcall-signed ";

/// The form of what is signed, and of that line.
const FORM: &str = "v1";

/// The longest file of a key, in bytes.
const MAX_FILE_LEN: u64 = 4096;

/// Why a key cannot be used. No seed stands in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A seed where everybody sees it.
    #[error(
        "this is a seed, which is secret, and whoever sees this command line has it: make another \
         key, and give its public one, which begins with \"A\""
    )]
    Seed,
    /// No public key.
    #[error(
        "this is no public nkey of an account: 56 letters and digits that begin with \"A\"; \
         `fleetcall publish --new-key FILE` makes a key and prints its public one"
    )]
    NotPublic,
    /// A file that holds no key, or cannot be read.
    #[error("cannot use the key in {}: {why}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A key cannot be written.
    #[error("cannot write a key to {}: {error}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
}

/// Whose signatures a process takes.
#[derive(Clone)]
pub struct PublicKey {
    text: String,
    key: KeyPair,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl PublicKey {
    /// Reads one as nkeys write them.
    ///
    /// # Errors
    /// [`KeyError::Seed`], [`KeyError::NotPublic`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.starts_with('S') {
            return Err(KeyError::Seed);
        }
        let key = KeyPair::from_public_key(text).map_err(|_| KeyError::NotPublic)?;
        if key.key_pair_type() != KeyPairType::Account {
            return Err(KeyError::NotPublic);
        }
        let text = text.to_owned();
        Ok(Self { text, key })
    }
}

/// A key to sign with. It cannot print itself.
pub struct SigningKey(KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.0.public_key())
    }
}

impl SigningKey {
    /// Makes one, and writes it to a file that there is not yet and that its owner alone may read.
    ///
    /// # Errors
    /// [`KeyError::Write`].
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let cannot = |error| KeyError::Write {
            path: path.to_owned(),
            error,
        };
        let key = KeyPair::new_account();
        let seed = key.seed();
        let seed = seed.map_err(|error| cannot(std::io::Error::other(error.to_string())))?;
        let mut options = std::fs::File::options();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(path).map_err(cannot)?;
        let written = file
            .write_all(format!("{seed}\n").as_bytes())
            .and_then(|()| file.sync_all());
        written.map_err(cannot)?;
        Ok(Self(key))
    }

    /// Reads one; the log warns if others than its owner may, too. Blocks for some seconds at most.
    ///
    /// # Errors
    /// [`KeyError::File`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let cannot = |why: String| KeyError::File {
            path: path.to_owned(),
            why,
        };
        let read = files::begin_read(path, MAX_FILE_LEN).wait();
        let bytes = read.map_err(|error| cannot(error.to_string()))?;
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let key = KeyPair::from_seed(text.trim()).ok();
        let key = key.filter(|key| key.key_pair_type() == KeyPairType::Account);
        let key = key.ok_or_else(|| {
            cannot(
                "it holds no seed of an account's nkey, which begins with \"SA\"; `fleetcall publish \
                 --new-key FILE` makes one"
                    .to_owned(),
            )
        })?;
        let is_open = files::is_open_to_others(path);
        if is_open.map_err(|error| cannot(error.to_string()))? {
            log::warn!(path:% = path.display(); "others than its owner may read the key that signs configurations");
        }
        Ok(Self(key))
    }

    /// What others know it by.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let text = self.0.public_key();
        let key = self.0.clone();
        PublicKey { text, key }
    }

    /// An entry of a bucket.
    pub(super) fn sign(&self, bucket: &str, serial: u64, text: &str) -> Result<String, String> {
        let signature = self.0.sign(&signed(bucket, serial, text));
        let signature = BASE64URL_NOPAD.encode(&signature.map_err(|error| error.to_string())?);
        let public = self.0.public_key();
        Ok(format!(
            "{MARK}{FORM} {serial} {public} {signature}\n{text}"
        ))
    }
}

/// What is signed.
fn signed(bucket: &str, serial: u64, text: &str) -> Vec<u8> {
    format!("fleetcall-configuration {FORM}\n{bucket}\n{serial}\n{text}").into_bytes()
}

/// Why an entry is not taken for signed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    #[error("it is not signed; sign it by `fleetcall publish --sign-key`")]
    Missing,
    #[error("its signature cannot be read; perhaps it is one of a later release")]
    Unreadable,
    #[error("it is signed by {0}, which is none of --published-key")]
    UnknownKey(String),
    #[error(
        "its signature by {key} is not right: it was changed, or is that of another bucket than {bucket}"
    )]
    Wrong { key: String, bucket: String },
}

/// A signature as it stands in an entry, right or wrong.
#[derive(Debug)]
pub(super) struct Signature {
    key: PublicKey,
    serial: u64,
    bytes: Vec<u8>,
    /// Where the configuration begins.
    pub(super) text_at: usize,
}

impl Signature {
    pub(super) fn parse(entry: &str) -> Result<Self, SignatureError> {
        let rest = entry.strip_prefix(MARK).ok_or(SignatureError::Missing)?;
        let (line, text) = rest.split_once('\n').ok_or(SignatureError::Unreadable)?;
        let words: Vec<&str> = line.split(' ').collect();
        let [FORM, serial, key, bytes] = words[..] else {
            return Err(SignatureError::Unreadable);
        };
        let serial = serial.parse().ok();
        let key = PublicKey::parse(key).ok();
        let bytes = BASE64URL_NOPAD.decode(bytes.as_bytes()).ok();
        let (Some(serial), Some(key), Some(bytes)) = (serial, key, bytes) else {
            return Err(SignatureError::Unreadable);
        };
        Ok(Self {
            key,
            serial,
            bytes,
            text_at: entry.len() - text.len(),
        })
    }

    /// The serial, if one of these keys signed this entry of this bucket.
    pub(super) fn verify(
        &self,
        keys: &[PublicKey],
        bucket: &str,
        entry: &str,
    ) -> Result<u64, SignatureError> {
        let Self {
            key,
            serial,
            bytes,
            text_at,
        } = self;
        if !keys.contains(key) {
            return Err(SignatureError::UnknownKey(key.text.clone()));
        }
        let text = entry.get(*text_at..).unwrap_or_default();
        let verified = key.key.verify(&signed(bucket, *serial, text), bytes);
        verified.map_err(|_| SignatureError::Wrong {
            key: key.text.clone(),
            bucket: bucket.to_owned(),
        })?;
        Ok(*serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKET: &str = "fleetcall_config";
    const TEXT: &str = "[[clusters]]\nid = 1\nnodes = \"1-3\"\n";

    fn key() -> SigningKey {
        SigningKey(KeyPair::new_account())
    }

    fn check(keys: &[PublicKey], bucket: &str, entry: &str) -> Result<u64, SignatureError> {
        Signature::parse(entry)?.verify(keys, bucket, entry)
    }

    #[test]
    fn what_is_signed_is_taken_and_nothing_else() {
        let (own, other) = (key(), key());
        let keys = [other.public(), own.public()];
        let entry = own.sign(BUCKET, 7, TEXT).unwrap();
        assert_eq!(check(&keys, BUCKET, &entry), Ok(7));
        let signature = Signature::parse(&entry).unwrap();
        assert_eq!(&entry[signature.text_at..], TEXT);
        let wrong = |bucket: &str| {
            Err(SignatureError::Wrong {
                key: own.public().text,
                bucket: bucket.to_owned(),
            })
        };
        // Every part of it counts.
        assert_eq!(check(&keys, "other_config", &entry), wrong("other_config"));
        for (part, instead) in [
            (" 7 ", " 8 "),
            ("1-3", "1-4"),
            ("\n[[", "\n\n[["),
            ("\"\n", "\""),
        ] {
            let changed = entry.replace(part, instead);
            assert_ne!(changed, entry);
            assert_eq!(check(&keys, BUCKET, &changed), wrong(BUCKET), "{changed}");
        }
        let as_other = entry.replace(&own.public().text, &other.public().text);
        assert!(matches!(
            check(&keys, BUCKET, &as_other),
            Err(SignatureError::Wrong { .. })
        ));
        let unknown = check(&keys[..1], BUCKET, &entry);
        assert_eq!(unknown, Err(SignatureError::UnknownKey(own.public().text)));
        assert_eq!(check(&keys, BUCKET, TEXT), Err(SignatureError::Missing));
    }

    #[test]
    fn what_is_no_signature_is_said_so() {
        let key = key();
        let entry = key.sign(BUCKET, 7, TEXT).unwrap();
        let (line, _) = entry.split_once('\n').unwrap();
        let user = KeyPair::new_user();
        for entry in [
            line.to_owned(),
            "# fleetcall-signed \n".to_owned(),
            entry.replace(" v1 ", " v2 "),
            entry.replace(" 7 ", " -7 "),
            entry.replace(" 7 ", " 99999999999999999999 "),
            entry.replace(" 7 ", "  7 "),
            entry.replace(&key.public().text, &user.public_key()),
            entry.replace('\n', "=\n"),
            entry.replace('\n', " x\n"),
        ] {
            let parsed = Signature::parse(&entry).map(|_| ());
            assert_eq!(parsed, Err(SignatureError::Unreadable), "{entry}");
        }
        // Of the wrong length.
        let short = entry.replace('\n', "AAAA\n");
        let checked = check(&[key.public()], BUCKET, &short);
        assert!(matches!(checked, Err(SignatureError::Wrong { .. })));
    }

    #[test]
    fn only_keys_of_accounts_do_and_seeds_stand_in_no_error() {
        let account = KeyPair::new_account();
        assert!(PublicKey::parse(&account.public_key()).is_ok());
        let seed = account.seed().unwrap();
        assert!(matches!(PublicKey::parse(&seed), Err(KeyError::Seed)));
        for wrong in ["", "A", "Ä", &KeyPair::new_user().public_key()] {
            let parsed = PublicKey::parse(wrong);
            assert!(matches!(parsed, Err(KeyError::NotPublic)), "{wrong}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for wrong in [
            KeyPair::new_user().seed().unwrap(),
            account.public_key(),
            format!("{seed}A"),
            "x".repeat(5000),
        ] {
            std::fs::write(&path, &wrong).unwrap();
            let error = SigningKey::read(&path).unwrap_err().to_string();
            assert!(!error.contains(&wrong) && error.contains("key"), "{error}");
        }
        std::fs::write(&path, format!("\n{seed}\r\n")).unwrap();
        let key = SigningKey::read(&path).unwrap();
        assert_eq!(key.public().text, account.public_key());
        assert!(!format!("{key:?} {:?}", key.public()).contains(&seed));
    }
}
