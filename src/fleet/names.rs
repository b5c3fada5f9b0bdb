//! Newtypes for what comes from outside and goes to ssh, nix and the shell.
//!
//! Each has one constructor, which refuses everything that one of those programs could take for
//! something else (security rows S2, S3 and S4 in `docs/security.md`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Words that mean something on the command line or in hosts.toml, so that no host may carry
/// them: every command (also those still to come, or a fleet would break when they do), and the
/// places and selections that stand where a host's name can stand.
pub const RESERVED: &[&str] = &[
    "abort",
    "all",
    "bench-host",
    "build",
    "build-all-parallel",
    "check",
    "check-syntax",
    "completions",
    "deploy",
    "deploy-all",
    "deploy-all-parallel",
    "deploy-cached",
    "deploy-fast",
    "deploy-local-build",
    "deploy-via",
    "diff",
    "emergency",
    "emergency-deploy",
    "help",
    "history",
    "hooks",
    "init",
    "issues",
    "local",
    "logs",
    "man",
    "metrics",
    "perf-cache",
    "perf-memory",
    "perf-parallel",
    "ping-hosts",
    "quick-all",
    "quick-deploy",
    "quick-test",
    "report",
    "resume",
    "retry",
    "rollback",
    "schema",
    "status",
    "target",
    "test-all",
    "test-all-parallel",
    "test-host",
    "trust",
    "update",
    "validate",
    "validate-quick",
    "watch",
];

/// Why a name was refused; a sentence fragment for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub String);

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and takes the text.
            ///
            /// # Errors
            /// When it does not have the form this type promises.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text))
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

newtype!(
    /// A host's name: letters, digits, `.`, `_`, `-`; no `-` or `.` at either end; at most 64.
    HostName,
    check_host
);
newtype!(
    /// A login name, as strict as a host's name (it is pasted into `USER@HOST`).
    UserName,
    check_host
);
newtype!(
    /// A host name, an IPv4 or an IPv6 literal without brackets.
    Address,
    check_address
);
newtype!(
    /// An attribute name under `nixosConfigurations`; quoted whenever it is used.
    AttrName,
    check_attr
);
newtype!(
    /// `/nix/store/HASH-NAME`: one component, 32 base-32 characters of hash, as in Nix's manual
    /// ("Store path").
    StorePath,
    check_store_path
);

fn check_host(text: &str) -> Result<(), NameError> {
    let plain = |c: char| c.is_ascii_alphanumeric();
    let ok = !text.is_empty()
        && text.len() <= 64
        && text.chars().all(|c| plain(c) || matches!(c, '.' | '_' | '-'))
        && text.starts_with(plain)
        && text.ends_with(plain);
    if ok {
        Ok(())
    } else {
        refuse(
            text,
            "may hold letters, digits, '.', '_' and '-', and begin and end with a letter or digit",
        )
    }
}

fn check_address(text: &str) -> Result<(), NameError> {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    let labels = text.len() <= 253 && text.split('.').all(|l| check_host(l).is_ok());
    if labels { Ok(()) } else { refuse(text, "must be a host name or an IP address") }
}

fn check_attr(text: &str) -> Result<(), NameError> {
    let ok = !text.is_empty()
        && text.len() <= 128
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '\'' | '+'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if ok {
        Ok(())
    } else {
        refuse(text, "is no name of a configuration: letters, digits, '.', '_', '-'")
    }
}

fn check_store_path(text: &str) -> Result<(), NameError> {
    let base32 =
        |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'z') && !matches!(c, b'e' | b'o' | b'u' | b't');
    let name = |c: u8| c.is_ascii_alphanumeric() || b"+-._?=".contains(&c);
    let ok = text.strip_prefix("/nix/store/").is_some_and(|rest| {
        let bytes = rest.as_bytes();
        bytes.len() > 33
            && bytes.len() <= 33 + 211
            && bytes[..32].iter().all(|c| base32(*c))
            && bytes[32] == b'-'
            && bytes[33] != b'.'
            && bytes[33..].iter().all(|c| name(*c))
    });
    if ok { Ok(()) } else { refuse(text, "is no store path") }
}

/// The refused text is shown escaped and cut: it may be hostile.
fn refuse(text: &str, why: &str) -> Result<(), NameError> {
    let shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    Err(NameError(format!("'{shown}' {why}")))
}

impl StorePath {
    /// `NAME` of `/nix/store/HASH-NAME`.
    pub fn name(&self) -> &str {
        &self.0["/nix/store/".len() + 33..]
    }

    /// The 32 characters of hash, which alone tell two paths apart.
    pub fn hash(&self) -> &str {
        &self.0["/nix/store/".len()..][..32]
    }
}

/// Number of a generation of the system profile, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Generation {
    /// From the name of a profile link, `system-N-link`.
    pub fn of_link(link: &str) -> Option<Self> {
        let number = link.rsplit('/').next()?.strip_prefix("system-")?.strip_suffix("-link")?;
        number.parse().ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_options_or_words_are_refused() {
        for bad in
            ["", "-oProxyCommand=x", "a b", "a;b", "a$(b)", "a\nb", "a'", "a\"b", ".a", "a-", "é"]
        {
            assert!(HostName::new(bad).is_err(), "{bad:?}");
            assert!(UserName::new(bad).is_err(), "{bad:?}");
        }
        assert!(HostName::new("p620").is_ok());
        assert!(Address::new("fd7a:115c::1").is_ok());
        assert!(Address::new("p620.tailnet-1.ts.net").is_ok());
        assert!(AttrName::new("a\".b").is_err());
    }

    #[test]
    fn store_paths_are_one_component_of_the_store() {
        let good = "/nix/store/0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v-nixos-system-p620-25.11";
        assert_eq!(StorePath::new(good).expect("good").name(), "nixos-system-p620-25.11");
        for bad in [
            "/nix/store/0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v-a/../b",
            "/nix/store/0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4e-a",
            "/nix/store/short-a",
            "/nix/store/0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v-a b",
            "/nix/store/0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v-.a",
            "/tmp/0c0d1f2g3h4i5j6k7l8m9n0p1q2r3s4v-a",
        ] {
            assert!(StorePath::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_generation_is_read_from_its_link() {
        assert_eq!(Generation::of_link("system-12-link"), Some(Generation(12)));
        assert_eq!(Generation::of_link("/nix/var/nix/profiles/system-3-link"), Some(Generation(3)));
        assert_eq!(Generation::of_link("system-x-link"), None);
    }
}
