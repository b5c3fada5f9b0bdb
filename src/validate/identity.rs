//! What makes two findings the same one, however far the lines have moved. Pure.

use std::collections::{HashMap, HashSet};

use super::syntax::Fault;

/// A finding's name within a file: its rule, and the text it is about without its blanks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity([u8; 8]);

impl Identity {
    /// Of a fault of a text.
    pub(super) fn of(text: &str, fault: &Fault) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(fault.code.as_bytes());
        let about = text.get(fault.range.clone()).unwrap_or_default();
        let keys = fault.keys.iter().map(String::as_str);
        let words: Box<dyn Iterator<Item = &str>> = match fault.keys.is_empty() {
            true => Box::new(about.split_whitespace()),
            false => Box::new(keys),
        };
        for word in words {
            hasher.update(b"\0");
            hasher.update(word.as_bytes());
        }
        let mut short = [0; 8];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(short)
    }

    pub(super) fn bytes(self) -> [u8; 8] {
        self.0
    }

    pub(super) fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Sixteen hexadecimal digits.
    pub fn hex(self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Reads what [`Identity::hex`] wrote.
    pub fn parse(hex: &str) -> Option<Self> {
        let digits = hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        let number = digits.then(|| u64::from_str_radix(hex, 16).ok())??;
        Some(Self(number.to_be_bytes()))
    }
}

/// What was there before: each finding as often as it was, and every key.
#[derive(Debug, Default)]
pub(super) struct Before {
    counts: HashMap<Identity, usize>,
    keys: HashSet<(&'static str, String)>,
}

impl Before {
    pub(super) fn of(text: &str, faults: &[Fault]) -> Self {
        let mut before = Self::default();
        for fault in faults {
            *before.counts.entry(Identity::of(text, fault)).or_default() += 1;
            before.keys.extend(fault.keys.iter().map(|key| (fault.code, key.clone())));
        }
        before
    }

    /// Whether a fault was there; each counts once.
    pub(super) fn had(&mut self, identity: Identity, fault: &Fault) -> bool {
        if !fault.keys.is_empty() {
            return fault.keys.iter().all(|key| self.keys.contains(&(fault.code, key.clone())));
        }
        match self.counts.get_mut(&identity) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }

    /// What it had in keys of a rule.
    pub(super) fn keys_of(&self, rule: &str) -> impl Iterator<Item = &String> {
        self.keys.iter().filter(move |(code, _)| *code == rule).map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Severity;

    #[test]
    fn blanks_and_places_do_not_matter_but_words_do() {
        let of = |text: &str| {
            let fault = Fault::at("mkif-true", Severity::Block, 0..text.len(), String::new());
            Identity::of(text, &fault)
        };
        assert_eq!(of("mkIf a true"), of("mkIf\n  a   true"));
        assert_ne!(of("mkIf a true"), of("mkIf b true"));
        assert_eq!(Identity::parse(&of("x").hex()), Some(of("x")));
        assert_eq!(Identity::parse("xyz"), None);
    }
}
