//! The one test binary.

mod report;
