//! Renderers; they know events and the fold only.

/// Writes a result to standard output.
#[expect(clippy::print_stdout, reason = "stub of the one door to standard output")]
pub fn out(text: &str) {
    print!("{text}");
}
