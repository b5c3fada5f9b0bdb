//! The one test binary: every file beside this one is a module of it (tidy sees to that).

mod check;
mod process;
mod report;
mod scripts_facts;
mod scripts_verify;
mod status;
mod support;
mod tidy;
