//! The one test binary.

mod scripts_verify;
