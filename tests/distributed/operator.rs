//! A NATS operator: accounts and users that a server knows by signatures (JWT) and not by a list.

use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::access::PERMISSIONS;

/// Signs accounts; a server trusts its signature.
pub struct Operator {
    key: KeyPair,
    jwt: String,
    /// The account that the server keeps for itself.
    system: Account,
}

/// Signs users, who share subjects and buckets with each other only.
pub struct Account {
    key: KeyPair,
    jwt: String,
}

/// What a user's file of credentials has in it.
pub struct User {
    pub jwt: String,
    pub seed: String,
}

/// What one key says of another, signed.
fn sign(by: &KeyPair, name: &str, subject: &str, claims: &Value) -> String {
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let body = json!({
        "jti": name, "iat": 1_700_000_000, "iss": by.public_key(),
        "name": name, "sub": subject, "nats": claims,
    });
    let [header, body] = [header, body].map(|it| BASE64URL_NOPAD.encode(it.to_string().as_bytes()));
    let text = format!("{header}.{body}");
    let signature = BASE64URL_NOPAD.encode(&by.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}

impl Operator {
    pub fn new() -> Self {
        let key = KeyPair::new_operator();
        let claims = json!({"type": "operator", "version": 2});
        Self {
            jwt: sign(&key, "operator", &key.public_key(), &claims),
            system: Account::by(&key, "system", 0),
            key,
        }
    }

    /// With buckets.
    pub fn account(&self, name: &str) -> Account {
        Account::by(&self.key, name, -1)
    }

    /// What a server has to know of it and of these accounts.
    pub fn config(&self, accounts: &[&Account]) -> String {
        let system = self.system.key.public_key();
        let mut config = format!(
            "operator: {}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {{\n",
            self.jwt
        );
        for account in [&[&self.system][..], accounts].concat() {
            config += &format!("{}: {}\n", account.key.public_key(), account.jwt);
        }
        config + "}"
    }
}

impl Account {
    fn by(operator: &KeyPair, name: &str, storage: i64) -> Self {
        let key = KeyPair::new_account();
        let claims = json!({
            "type": "account", "version": 2,
            "limits": {
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
                "wildcards": true, "conn": -1, "leaf": -1,
                "mem_storage": storage, "disk_storage": storage, "streams": -1, "consumer": -1,
            },
        });
        let jwt = sign(operator, name, &key.public_key(), &claims);
        Self { key, jwt }
    }

    /// A user with the permissions that `docs/distributed.md` gives a role.
    pub fn user(&self, role: &str) -> User {
        let (_, rest) = PERMISSIONS
            .split_once(&format!("user: \"{role}\""))
            .unwrap();
        let list = |name: &str| {
            let (_, rest) = rest.split_once(&format!("{name}: [")).unwrap();
            let (list, _) = rest.split_once(']').unwrap();
            let quoted: Vec<_> = list.split('"').skip(1).step_by(2).collect();
            assert!(!quoted.is_empty(), "{list}");
            quoted.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let key = KeyPair::new_user();
        let mut claims = json!({
            "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1,
            "pub": {"allow": list("publish")}, "sub": {"allow": list("subscribe")},
        });
        let (permissions, _) = rest.split_once("\n      }\n").unwrap();
        if permissions.contains("allow_responses: { max: 1, expires: \"1m\" }") {
            claims["resp"] = json!({"max": 1, "ttl": 60_000_000_000_u64});
        }
        User {
            jwt: sign(&self.key, role, &key.public_key(), &claims),
            seed: key.seed().unwrap(),
        }
    }
}

impl User {
    /// A file as `nsc` writes it.
    pub fn file(&self, dir: &Path, name: &str) -> PathBuf {
        let path = dir.join(name);
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             NKEY Seed printed below can be used to sign and prove identity.\n\
             NKEYs are sensitive and should be treated as secrets.\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n\n\
             *************************************************************\n",
            self.jwt, self.seed
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}
