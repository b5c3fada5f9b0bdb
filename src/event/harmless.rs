//! Outside text made harmless before it becomes part of an event (security rows S7 and S12).
//!
//! Every slice passes what a host, a tool or a repository said through here; renderers can then
//! print events without a second thought.

/// Longest line kept, in characters.
const WIDTH: usize = 400;

/// One line without control characters or direction overrides, cut at [`WIDTH`].
pub fn line(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(WIDTH) {
        let direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c == '\t' {
            shown.push(' ');
        } else if c.is_control() || direction {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}
