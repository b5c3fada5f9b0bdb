//! Findings of a file as bytes: a tree can have 100,000, and most are only counted. Pure.
//!
//! What is rare (lines to be drawn, a second place, what no rule says) is kept as it is.

use super::found::Found;
use super::identity::Identity;
use super::rules::RULES;
use super::syntax::{Edit, Fault, Position};
use crate::event::Severity;

/// Findings of one file, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packed {
    Bytes(Box<[u8]>),
    Whole(Box<[Found]>),
}

/// What is counted of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its rule.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// It was not there before, or is of a kind that always counts.
    pub new: bool,
    /// A comment lets it pass.
    pub allowed: bool,
    /// `--fix` can put it right.
    pub fixable: bool,
}

const NEW: u8 = 1;
const ALLOWED: u8 = 1 << 1;
const FIXABLE: u8 = 1 << 2;
const HINT: u8 = 1 << 3;
const SECRET: u8 = 1 << 4;
const NAMED: u8 = 1 << 5;
const SEVERITIES: [Severity; 3] = [Severity::Info, Severity::Warn, Severity::Block];

impl Packed {
    pub(super) fn of(found: Vec<Found>) -> Self {
        let mut bytes = Vec::new();
        for each in &found {
            let mut record = Vec::with_capacity(128);
            if put(&mut record, each).is_none() {
                return Self::Whole(found.into_boxed_slice());
            }
            put_number(&mut bytes, record.len());
            bytes.extend(record);
        }
        Self::Bytes(bytes.into_boxed_slice())
    }

    /// The findings themselves, one after the other.
    pub(super) fn found(&self) -> impl Iterator<Item = Found> + '_ {
        let (records, whole) = self.parts();
        let unpacked = records.filter_map(|mut record| take(&mut record));
        unpacked.chain(whole.iter().cloned())
    }

    /// What counts of each.
    pub(super) fn marks(&self) -> impl Iterator<Item = Mark> + '_ {
        let (records, whole) = self.parts();
        records.filter_map(mark).chain(whole.iter().map(Found::mark))
    }

    fn parts(&self) -> (Records<'_>, &[Found]) {
        match self {
            Self::Bytes(bytes) => (Records { rest: bytes }, &[]),
            Self::Whole(found) => (Records { rest: &[] }, found),
        }
    }
}

impl Found {
    /// What counts of it.
    pub fn mark(&self) -> Mark {
        let Fault { code, severity, fix, .. } = &self.fault;
        let (allowed, fixable) = (self.allowed.is_some(), fix.is_some());
        Mark { code, severity: *severity, new: self.new, allowed, fixable }
    }
}

/// Records, each behind its length.
struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = take_number(&mut self.rest)?;
        let (record, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(record)
    }
}

/// Three bytes: the rule, the severity and what there is.
fn mark(record: &[u8]) -> Option<Mark> {
    let [rule, severity, flags, ..] = record else { return None };
    Some(Mark {
        code: RULES.get(usize::from(*rule))?.id,
        severity: *SEVERITIES.get(usize::from(*severity))?,
        new: flags & NEW != 0,
        allowed: flags & ALLOWED != 0,
        fixable: flags & FIXABLE != 0,
    })
}

fn put(record: &mut Vec<u8>, found: &Found) -> Option<()> {
    let Found { fault, from, upto, new, allowed, identity, excerpt } = found;
    let rule = RULES.iter().position(|rule| rule.id == fault.code)?;
    if fault.other.is_some() || excerpt.is_some() {
        return None;
    }
    let flag = |there: bool, flag: u8| if there { flag } else { 0 };
    let flags = flag(*new, NEW)
        | flag(allowed.is_some(), ALLOWED)
        | flag(fault.fix.is_some(), FIXABLE)
        | flag(fault.hint.is_some(), HINT)
        | flag(fault.secret.is_some(), SECRET)
        | flag(identity.is_some(), NAMED);
    let severity = SEVERITIES.iter().position(|s| *s == fault.severity)?;
    record.extend([u8::try_from(rule).ok()?, u8::try_from(severity).ok()?, flags]);
    let numbers = [fault.range.start, fault.range.end, from.line, from.column];
    numbers.into_iter().chain([upto.line, upto.column]).for_each(|n| put_number(record, n));
    if let Some(identity) = identity {
        record.extend(identity.bytes());
    }
    put_text(record, &fault.message);
    let texts = [allowed.as_deref(), fault.hint.as_deref()];
    texts.into_iter().flatten().for_each(|text| put_text(record, text));
    if let Some(Edit { range, text }) = &fault.fix {
        put_number(record, range.start);
        put_number(record, range.end);
        put_text(record, text);
    }
    if let Some(secret) = &fault.secret {
        put_number(record, secret.start);
        put_number(record, secret.end);
    }
    fault.keys.iter().for_each(|key| put_text(record, key));
    Some(())
}

fn take(record: &mut &[u8]) -> Option<Found> {
    let Mark { code, severity, new, .. } = mark(record)?;
    let flags = record[2];
    *record = &record[3..];
    let has = |flag: u8| flags & flag != 0;
    let range = take_number(record)?..take_number(record)?;
    let from = Position { line: take_number(record)?, column: take_number(record)? };
    let upto = Position { line: take_number(record)?, column: take_number(record)? };
    let mut identity = None;
    if has(NAMED) {
        let (bytes, rest) = record.split_first_chunk()?;
        (identity, *record) = (Some(Identity::from_bytes(*bytes)), rest);
    }
    let mut fault = Fault::at(code, severity, range, take_text(record)?);
    let allowed = if has(ALLOWED) { Some(take_text(record)?) } else { None };
    if has(HINT) {
        fault.hint = Some(take_text(record)?);
    }
    if has(FIXABLE) {
        let range = take_number(record)?..take_number(record)?;
        fault.fix = Some(Edit { range, text: take_text(record)? });
    }
    if has(SECRET) {
        fault.secret = Some(take_number(record)?..take_number(record)?);
    }
    while !record.is_empty() {
        fault.keys.push(take_text(record)?);
    }
    Some(Found { fault, from, upto, new, allowed, identity, excerpt: None })
}

/// Seven bits a byte, the lowest first; the highest bit says that more come.
fn put_number(record: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        record.push(number as u8 | 0x80);
        number >>= 7;
    }
    record.push(number as u8);
}

fn take_number(record: &mut &[u8]) -> Option<usize> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = record.split_first()?;
        *record = rest;
        number |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

fn put_text(record: &mut Vec<u8>, text: &str) {
    put_number(record, text.len());
    record.extend(text.as_bytes());
}

fn take_text(record: &mut &[u8]) -> Option<String> {
    let length = take_number(record)?;
    let (text, rest) = record.split_at_checked(length)?;
    *record = rest;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One with all that a finding may have, as the number says.
    fn found(n: usize) -> Found {
        let code = RULES[n % RULES.len()].id;
        let severity = SEVERITIES[n % 3];
        let mut fault = Fault::at(code, severity, n..n * 300, format!("ä {n}"));
        fault.hint = n.is_multiple_of(2).then(|| "do".repeat(n * 90));
        fault.fix = n.is_multiple_of(3).then(|| Edit { range: n..n + 1, text: String::new() });
        fault.secret = n.is_multiple_of(5).then_some(n..usize::MAX);
        fault.keys = (0..n % 4).map(|key| format!("key {key}")).collect();
        let (from, upto) = (Position { line: n, column: 1 }, Position { line: n << 20, column: n });
        let identity = n.is_multiple_of(7).then(|| Identity::from_bytes([n as u8; 8]));
        let allowed = n.is_multiple_of(11).then(String::new);
        Found { fault, from, upto, new: n % 2 == 1, allowed, identity, excerpt: None }
    }

    #[test]
    fn what_is_packed_comes_out_as_it_was_and_counts_as_it_did() {
        let all: Vec<Found> = (0..400).map(found).collect();
        let packed = Packed::of(all.clone());
        assert!(matches!(packed, Packed::Bytes(_)));
        assert_eq!(packed.found().collect::<Vec<_>>(), all);
        assert!(packed.marks().eq(all.iter().map(Found::mark)));
    }

    #[test]
    fn what_is_rare_is_kept_too() {
        let mut all: Vec<Found> = (0..9).map(found).collect();
        all[5].fault.other = Some((1..2, "there"));
        let packed = Packed::of(all.clone());
        assert!(matches!(packed, Packed::Whole(_)));
        assert_eq!(packed.found().collect::<Vec<_>>(), all);
        assert!(packed.marks().eq(all.iter().map(Found::mark)));
    }
}
