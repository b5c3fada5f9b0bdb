//! The one test binary.

mod scripts_facts;
