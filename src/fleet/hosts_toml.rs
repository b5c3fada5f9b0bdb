//! hosts.toml: text to [`super::Fleet`].
