//! What can be typed: clap types and help, no logic.
