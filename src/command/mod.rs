//! One verb per file: arguments to a request, a plan, the pipeline, an exit code.

pub mod trust;
