//! Renderers: they read the stream and its fold, and nothing else.

/// Writes to standard output (stub of this branch; the renderers bring the real one).
#[expect(clippy::disallowed_methods, reason = "the one door to standard output")]
pub fn out(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}
