//! The one test binary: every file beside this one is a module of it (tidy sees to that).

mod bad_input;
mod check;
mod exit_codes;
mod flags;
mod hostile;
mod journeys;
mod lab_activate;
mod lab_back;
mod lab_commit;
mod lab_good;
mod lab_operators;
mod lab_person;
mod lab_refused;
mod lab_verify;
mod person;
mod process;
mod readme;
mod report;
mod scripts_bare;
mod scripts_facts;
mod scripts_network;
mod scripts_units;
mod scripts_verify;
mod status;
mod support;
mod tidy;
