//! A token for GitHub: from the environment, else from `gh`. It is shown nowhere, and said only to
//! a server that it is meant for.

use std::time::Duration;

use super::address::{Address, Named};
use crate::world::{Invocation, World, environment};

/// Variables that may hold one, the first first; that of our own is for any server.
const VARIABLES: [&str; 3] = ["NIXDEPLOY_GITHUB_TOKEN", "GITHUB_TOKEN", "GH_TOKEN"];
/// How long `gh` may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// Takes a text that can be one.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.~+/=".contains(&b);
        (!text.is_empty() && text.len() <= 1024 && text.bytes().all(plain))
            .then(|| Self(text.to_owned()))
    }

    /// The value of the header that proves it.
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

/// The token for a server. A general one is not told to a server that hosts.toml names, nor any
/// to one that others could listen to.
pub async fn find(world: &World, address: &Address) -> Option<Token> {
    if !address.is_private() {
        return None;
    }
    let general = address.named != Named::Inventory;
    let variables = environment::variables(|name| VARIABLES.contains(&name));
    let wanted = if general { VARIABLES.as_slice() } else { &VARIABLES[..1] };
    for name in wanted {
        let value = variables.get(*name).and_then(|v| v.to_str());
        if let Some(token) = value.and_then(Token::new) {
            return Some(token);
        }
    }
    if !general {
        return None;
    }
    let asked = world.run(Invocation::new("gh", ["auth", "token"]).timeout(PATIENCE)).await.ok()?;
    let line = asked.out.first().filter(|_| asked.ended.ok())?;
    Token::new(line)
}
