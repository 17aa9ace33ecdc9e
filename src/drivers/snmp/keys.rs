//! The cryptography of the user-based security model: keys of passwords, digests, encryption.
//!
//! Pure: it does not know messages. RFC 3414 (SHA-1), RFC 7860 (SHA-2), RFC 3826 (AES-128),
//! draft-blumenthal-aes-usm-04 (longer AES keys).

use aes::cipher::KeyIvInit;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::domain::{SnmpCipher, SnmpDigest};

/// A password is repeated to as many bytes before it is digested (RFC 3414, A.2).
const REPEATED_LEN: usize = 1 << 20;

/// The key of a password, the same at every engine. Takes milliseconds, on purpose.
pub(super) fn master(digest: SnmpDigest, password: &str) -> Vec<u8> {
    let repeated = password.bytes().cycle().take(REPEATED_LEN);
    hash(digest, &repeated.collect::<Vec<u8>>())
}

/// The key of a password at one engine.
pub(super) fn localized(digest: SnmpDigest, master: &[u8], engine: &[u8]) -> Vec<u8> {
    hash(digest, &[master, engine, master].concat())
}

/// How many bytes of the digest stand in a message.
pub(super) const fn tag_len(digest: SnmpDigest) -> usize {
    match digest {
        SnmpDigest::Sha1 => 12,
        SnmpDigest::Sha224 => 16,
        SnmpDigest::Sha256 => 24,
        SnmpDigest::Sha384 => 32,
        SnmpDigest::Sha512 => 48,
    }
}

/// The digest of a message, as it stands in it.
pub(super) fn tag(digest: SnmpDigest, key: &[u8], message: &[u8]) -> Vec<u8> {
    fn tag<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
        keyed::<M>(key, message).finalize().into_bytes().to_vec()
    }
    let mut whole = match digest {
        SnmpDigest::Sha1 => tag::<Hmac<Sha1>>(key, message),
        SnmpDigest::Sha224 => tag::<Hmac<Sha224>>(key, message),
        SnmpDigest::Sha256 => tag::<Hmac<Sha256>>(key, message),
        SnmpDigest::Sha384 => tag::<Hmac<Sha384>>(key, message),
        SnmpDigest::Sha512 => tag::<Hmac<Sha512>>(key, message),
    };
    whole.truncate(tag_len(digest));
    whole
}

/// Whether this is the message's digest, in a time that does not tell where it differs.
pub(super) fn is_tag(digest: SnmpDigest, key: &[u8], message: &[u8], tag: &[u8]) -> bool {
    fn is_tag<M: Mac + KeyInit>(key: &[u8], message: &[u8], tag: &[u8]) -> bool {
        keyed::<M>(key, message).verify_truncated_left(tag).is_ok()
    }
    tag.len() == tag_len(digest)
        && match digest {
            SnmpDigest::Sha1 => is_tag::<Hmac<Sha1>>(key, message, tag),
            SnmpDigest::Sha224 => is_tag::<Hmac<Sha224>>(key, message, tag),
            SnmpDigest::Sha256 => is_tag::<Hmac<Sha256>>(key, message, tag),
            SnmpDigest::Sha384 => is_tag::<Hmac<Sha384>>(key, message, tag),
            SnmpDigest::Sha512 => is_tag::<Hmac<Sha512>>(key, message, tag),
        }
}

#[expect(clippy::expect_used, reason = "an HMAC's key has no wrong length")]
fn keyed<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> M {
    let mac = <M as KeyInit>::new_from_slice(key).expect("an HMAC takes keys of any length");
    mac.chain_update(message)
}

fn hash(digest: SnmpDigest, bytes: &[u8]) -> Vec<u8> {
    match digest {
        SnmpDigest::Sha1 => Sha1::digest(bytes).to_vec(),
        SnmpDigest::Sha224 => Sha224::digest(bytes).to_vec(),
        SnmpDigest::Sha256 => Sha256::digest(bytes).to_vec(),
        SnmpDigest::Sha384 => Sha384::digest(bytes).to_vec(),
        SnmpDigest::Sha512 => Sha512::digest(bytes).to_vec(),
    }
}

/// The key of a cipher, from the password's key at the engine.
pub(super) fn cipher_key(digest: SnmpDigest, cipher: SnmpCipher, mut key: Vec<u8>) -> Vec<u8> {
    let len = match cipher {
        SnmpCipher::Aes128 => 16,
        SnmpCipher::Aes192 => 24,
        SnmpCipher::Aes256 => 32,
    };
    while key.len() < len {
        let more = hash(digest, &key);
        key.extend(more);
    }
    key.truncate(len);
    key
}

/// What is not the same for two messages of an engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vector {
    pub(super) boots: u32,
    pub(super) time: u32,
    pub(super) salt: [u8; 8],
}

impl Vector {
    fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.boots.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.time.to_be_bytes());
        bytes[8..].copy_from_slice(&self.salt);
        bytes
    }
}

pub(super) fn encrypt(cipher: SnmpCipher, key: &[u8], vector: Vector, bytes: &mut [u8]) {
    let vector = vector.bytes();
    match cipher {
        SnmpCipher::Aes128 => {
            start::<cfb_mode::Encryptor<aes::Aes128>>(key, &vector).encrypt(bytes)
        }
        SnmpCipher::Aes192 => {
            start::<cfb_mode::Encryptor<aes::Aes192>>(key, &vector).encrypt(bytes)
        }
        SnmpCipher::Aes256 => {
            start::<cfb_mode::Encryptor<aes::Aes256>>(key, &vector).encrypt(bytes)
        }
    }
}

pub(super) fn decrypt(cipher: SnmpCipher, key: &[u8], vector: Vector, bytes: &mut [u8]) {
    let vector = vector.bytes();
    match cipher {
        SnmpCipher::Aes128 => {
            start::<cfb_mode::Decryptor<aes::Aes128>>(key, &vector).decrypt(bytes)
        }
        SnmpCipher::Aes192 => {
            start::<cfb_mode::Decryptor<aes::Aes192>>(key, &vector).decrypt(bytes)
        }
        SnmpCipher::Aes256 => {
            start::<cfb_mode::Decryptor<aes::Aes256>>(key, &vector).decrypt(bytes)
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "`cipher_key` gives the length that is needed"
)]
fn start<C: KeyIvInit>(key: &[u8], vector: &[u8; 16]) -> C {
    C::new_from_slices(key, vector).expect("the key has the cipher's length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn keys_are_those_of_rfc_3414() {
        let master = master(SnmpDigest::Sha1, "maplesyrup");
        assert_eq!(hex(&master), "9fb5cc0381497b3793528939ff788d5d79145211");
        let engine = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
        let key = localized(SnmpDigest::Sha1, &master, &engine);
        assert_eq!(hex(&key), "6695febc9288e36282235fc7151f128497b38f3f");
    }

    #[test]
    fn what_is_encrypted_decrypts() {
        let vector = Vector {
            boots: 1,
            time: 2,
            salt: [3; 8],
        };
        for cipher in SnmpCipher::ALL {
            let key = cipher_key(SnmpDigest::Sha1, cipher, vec![7; 20]);
            let mut bytes = b"seventeen letters".to_vec();
            encrypt(cipher, &key, vector, &mut bytes);
            assert_ne!(bytes, b"seventeen letters");
            decrypt(cipher, &key, vector, &mut bytes);
            assert_eq!(bytes, b"seventeen letters");
        }
    }

    #[test]
    fn a_cut_or_changed_tag_is_none() {
        for digest in SnmpDigest::ALL {
            let mut right = tag(digest, b"key", b"message");
            assert_eq!(right.len(), tag_len(digest));
            assert!(is_tag(digest, b"key", b"message", &right));
            assert!(!is_tag(digest, b"key", b"message", &right[1..]));
            assert!(!is_tag(digest, b"key", b"message", &[]));
            right[0] ^= 1;
            assert!(!is_tag(digest, b"key", b"message", &right));
        }
    }
}
