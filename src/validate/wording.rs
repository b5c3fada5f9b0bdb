//! Words within names: which ones say that something is a secret. Pure.

/// Words that stand for a secret by themselves.
const SECRETS: [&str; 14] = [
    "password",
    "passwords",
    "passwd",
    "secret",
    "secrets",
    "token",
    "credential",
    "credentials",
    "apikey",
    "passphrase",
    "privatekey",
    "idrsa",
    "ided25519",
    "idecdsa",
];

/// The words of a name, in lower case: parted at signs and where small letters turn to capitals.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        let parts = !c.is_alphanumeric();
        if (parts || (small && c.is_uppercase())) && words.last().is_some_and(|w| !w.is_empty()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| !parts) {
            word.extend(c.to_lowercase());
        }
        small = c.is_lowercase() || c.is_ascii_digit();
    }
    words.retain(|w| !w.is_empty());
    words
}

/// Whether a file of that name holds a secret: one of its words, or two in a row, say so.
pub(super) fn names_a_secret(name: &str) -> bool {
    let words = words(name);
    let pairs = words.windows(2).map(|w| w.concat());
    words.iter().any(|w| SECRETS.contains(&w.as_str()))
        || pairs.into_iter().any(|w| SECRETS.contains(&w.as_str()))
}

/// Whether a file of that name is a program or a page, which talks about secrets at most.
pub(super) fn is_code(name: &str) -> bool {
    const ENDINGS: [&str; 25] = [
        "sh", "bash", "zsh", "fish", "py", "lua", "js", "ts", "css", "scss", "html", "rs", "go",
        "pl", "rb", "el", "vim", "svg", "png", "patch", "diff", "rules", "c", "h", "nu",
    ];
    name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parted_into_words() {
        assert_eq!(words("wifiPassword.txt"), ["wifi", "password", "txt"]);
        assert_eq!(words("id_ed25519"), ["id", "ed25519"]);
        assert_eq!(words("API-key"), ["api", "key"]);
    }

    #[test]
    fn only_whole_words_name_a_secret() {
        for name in ["wifiPassword", "api-key", "a.token", "id_rsa", "privateKey.pem", "secret"] {
            assert!(names_a_secret(name), "{name}");
        }
        for name in ["secretary", "tokenizer", "keyboard", "private", "key", "design-tokens.json"] {
            assert!(!names_a_secret(name), "{name}");
        }
    }
}
