//! Getting the issues: a few lists by their labels, each page once, and what is kept between runs.
//!
//! Never a request per package: the lists are asked for whole and matched here. What could not
//! be asked is said, for a list with a gap proves nothing.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use super::address::{Address, Foreign};
use super::cache::{self, Found, Kept};
use super::feeds::{self, Feed};
use super::inventory::Inventory;
use super::issue::{self, Issue};
use super::phase::DAY_MS;
use super::token::{self, Token};
use crate::event::harmless;
use crate::world::World;
use crate::world::http::{Answer, Get, Http};

/// What is younger is not asked for again.
const FRESH_MS: i64 = 60 * 60 * 1000;
/// What is older is no help.
const USELESS_MS: i64 = 7 * DAY_MS;
/// How far back issues are asked for at most.
const HORIZON_MS: i64 = 180 * DAY_MS;
/// How long before the installed revision an issue that is about it may have been touched last.
const BEFORE_MS: i64 = 30 * DAY_MS;
/// Requests of a run without a token, of which GitHub gives sixty an hour; and with one.
const BUDGETS: (u32, u32) = (12, 80);
/// Packages that are searched for by name, at most.
const SEARCHES: usize = 8;
/// No request is begun later than this.
const PATIENCE: Duration = Duration::from_secs(90);
/// Before a server that broke down is asked once more.
const PAUSE: Duration = Duration::from_secs(1);
/// Labels of the lists, the most urgent first.
const LABELS: [&str; 4] =
    ["1.severity: security", "0.kind: regression", "0.kind: build failure", "0.kind: bug"];

/// How whole a list is; only of a complete one may anybody say that nothing is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Everything was asked and answered, within the hour.
    Complete,
    /// From an earlier run; what happened since is not known.
    Stale,
    /// Something is missing.
    Partial,
    /// There is nothing.
    Unavailable,
}

/// The issues, and how whole they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The issues.
    pub issues: Vec<Issue>,
    /// How whole the list is.
    pub state: State,
    /// From when on it knows what happened, milliseconds since the epoch.
    pub covered_since_ms: Option<i64>,
    /// When the oldest part of it was asked for.
    pub fetched_ms: Option<i64>,
    /// Sentences about what did not go as it should.
    pub notes: Vec<String>,
    /// When the server's limit ends.
    pub resets_ms: Option<i64>,
    /// Whether a token was used to the end.
    pub with_token: bool,
    /// Whether the server would have said more to one.
    pub token_helps: bool,
    /// Requests that were made.
    pub requests: u32,
}

impl Listing {
    /// Whether it still holds: one that was whole is asked for again after an hour, or where it
    /// does not go back far enough.
    fn holds(&self, now_ms: i64, since_ms: i64) -> bool {
        let young = self.fetched_ms.is_some_and(|at| now_ms.saturating_sub(at) < FRESH_MS);
        let covers = self.covered_since_ms.is_some_and(|from| from <= since_ms);
        self.state != State::Complete || young && covers
    }

    /// Whether the server wanted no more, or we were to ask no more.
    fn is_halted(&self) -> bool {
        self.resets_ms.is_some() || self.token_helps
    }
}

/// How to ask.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Whom.
    pub address: Address,
    /// Whether what is kept is asked for again all the same.
    pub anew: bool,
}

/// A list's answer.
struct Fed {
    issues: Vec<Issue>,
    state: State,
    covered_since_ms: Option<i64>,
    fetched_ms: Option<i64>,
}

struct Fetcher<'a> {
    world: &'a World,
    http: Http,
    address: &'a Address,
    token: RefCell<Option<Token>>,
    now_ms: i64,
    since_ms: i64,
    began: Duration,
    anew: bool,
    /// What this run was told of the lists already; they are not asked for a second time.
    earlier: Option<&'a Listing>,
    requests: Cell<u32>,
    budget: Cell<u32>,
    /// Set when nothing more is to be asked.
    halted: Cell<bool>,
    resets_ms: Cell<Option<i64>>,
    token_helps: Cell<bool>,
    notes: RefCell<Vec<String>>,
}

/// The issues that can concern an inventory. Of what was asked for `earlier` in the same run only
/// the titles are searched for, and what went wrong then is told again.
pub async fn fetch(
    world: &World,
    asking: &Asking,
    inventory: &Inventory,
    earlier: Option<&Listing>,
) -> Listing {
    let token = token::find(world, &asking.address).await;
    let before = |ms: Option<i64>| ms.map_or(i64::MIN, |ms| ms.saturating_sub(BEFORE_MS));
    let since_ms = inventory.now_ms.saturating_sub(HORIZON_MS);
    let since_ms = since_ms.max(before(inventory.installed.modified_ms).min(inventory.now_ms));
    let earlier = earlier.filter(|told| told.holds(inventory.now_ms, since_ms));
    let fetcher = Fetcher {
        world,
        http: Http::default(),
        address: &asking.address,
        budget: Cell::new(if token.is_some() { BUDGETS.1 } else { BUDGETS.0 }),
        token: RefCell::new(token),
        now_ms: inventory.now_ms,
        since_ms,
        began: world.clock.elapsed(),
        anew: asking.anew,
        earlier,
        requests: Cell::new(0),
        halted: Cell::new(earlier.is_some_and(Listing::is_halted)),
        resets_ms: Cell::new(earlier.and_then(|e| e.resets_ms)),
        token_helps: Cell::new(earlier.is_some_and(|e| e.token_helps)),
        notes: RefCell::new(earlier.map(|e| e.notes.clone()).unwrap_or_default()),
    };
    let mut fed = match fetcher.earlier {
        Some(told) => vec![Fed::told(told)],
        None => join_all(LABELS.iter().map(|label| fetcher.feed(feeds::labelled(label)))).await,
    };
    let names = unheard(inventory, &fed);
    if fed.iter().any(|f| f.state < State::Unavailable) && !names.is_empty() {
        fed.extend(join_all(names.iter().map(|name| fetcher.feed(feeds::search(name)))).await);
    }
    fetcher.listing(fed)
}

/// Packages whose fault would keep a machine from coming back, which move, and of which no list
/// tells.
fn unheard(inventory: &Inventory, fed: &[Fed]) -> Vec<String> {
    let titles: Vec<String> =
        fed.iter().flat_map(|f| &f.issues).map(|i| i.title.to_lowercase()).collect();
    let plain = |n: &&str| n.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let mut names: Vec<&str> = inventory
        .packages
        .iter()
        .filter(|p| p.is_boot_critical() && p.moves() && !p.dependency)
        .map(|p| p.pname.as_str())
        .filter(plain)
        .filter(|name| !titles.iter().any(|t| t.contains(&name.to_lowercase())))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().take(SEARCHES).map(str::to_owned).collect()
}

/// Why a list ended before its end.
enum Broken {
    /// The server has no such list.
    Absent(u16),
    /// Everything else; it is said already.
    Said,
}

impl Fetcher<'_> {
    async fn feed(&self, feed: Feed) -> Fed {
        let file = cache::file(&self.world.environment.cache, &self.address.at(""), &feed.name);
        let kept = self.kept(&file, &feed.name);
        if let Some(kept) = kept.as_ref().filter(|k| self.is_fresh(k) && k.whole) {
            let state = if self.covers(kept) { State::Complete } else { State::Partial };
            return Fed::of(kept, state);
        }
        let usable = kept.filter(|k| self.covers(k) && self.now_ms - k.whole_ms < USELESS_MS);
        // A whole list is added to; else it is begun anew.
        let from = usable.as_ref().and_then(Kept::newest_ms).unwrap_or(self.since_ms);
        let mut pages = Pages { issues: Vec::new(), etag: None };
        let old_etag = usable.as_ref().and_then(|k| k.etag.clone());
        let broken = self.pages(&(feed.path)(from), old_etag, &mut pages).await.err();
        let mut list = usable.clone().unwrap_or_else(|| Kept::new(self.now_ms, self.since_ms));
        let reached = pages.issues.iter().map(|i| i.updated_ms).min();
        let any = !pages.issues.is_empty();
        list.merge(std::mem::take(&mut pages.issues));
        match broken {
            None => {
                list.fetched_ms = self.now_ms;
                list.whole = true;
                list.etag = pages.etag.or(list.etag);
                self.keep(&file, &list);
                Fed::of(&list, State::Complete)
            }
            Some(Broken::Absent(status)) if feed.extra => {
                self.note(format!("the server has no search ({status}); titles were not searched"));
                Fed { state: State::Complete, fetched_ms: None, ..Fed::of(&list, State::Complete) }
            }
            Some(broken) => {
                if let Broken::Absent(status) = broken {
                    self.note(format!("{}: the server answered {status}", feed.name));
                }
                match (usable, any) {
                    (Some(_), true) => Fed::of(&list, State::Partial),
                    (Some(_), false) => Fed::of(&list, State::Stale),
                    (None, true) => {
                        list.covered_since_ms = reached.unwrap_or(self.now_ms);
                        self.keep(&file, &list);
                        Fed::of(&list, State::Partial)
                    }
                    (None, false) => Fed::nothing(),
                }
            }
        }
    }

    fn kept(&self, file: &Path, name: &str) -> Option<Kept> {
        match cache::read(file) {
            Found::Kept(kept) => Some(*kept),
            Found::Nothing => None,
            Found::Broken => {
                self.note(format!("{name}: what was kept could not be read; it is asked for anew"));
                None
            }
        }
    }

    fn keep(&self, file: &Path, list: &Kept) {
        if let Err(error) = cache::write(file, list) {
            tracing::debug!(%error, "the list is not kept");
        }
    }

    fn is_fresh(&self, kept: &Kept) -> bool {
        !self.anew && (0..FRESH_MS).contains(&self.now_ms.saturating_sub(kept.fetched_ms))
    }

    fn covers(&self, kept: &Kept) -> bool {
        kept.whole
            && kept.covered_since_ms <= self.since_ms
            && self.now_ms.saturating_sub(kept.fetched_ms) < USELESS_MS
    }

    /// Follows a list to its end.
    async fn pages(
        &self,
        first: &str,
        etag: Option<String>,
        pages: &mut Pages,
    ) -> Result<(), Broken> {
        let mut url = self.address.at(first);
        let mut etag = etag;
        loop {
            let answer = self.ask(&url, etag.as_deref()).await?;
            match answer.status {
                200 => {}
                304 if etag.is_some() => return Ok(()),
                status @ (404 | 410 | 422) => return Err(Broken::Absent(status)),
                status => return Err(self.said(format!("the server answered {status}"))),
            }
            if pages.etag.is_none() && pages.issues.is_empty() {
                let mark = answer.header("etag").filter(|e| e.len() <= 200);
                pages.etag = mark.map(str::to_owned);
            }
            etag = None;
            let Some(items) = items(&answer.body) else {
                return Err(self.said("the answer is no list of issues".to_owned()));
            };
            pages.issues.extend(items.iter().filter_map(issue::read));
            match self.address.next(answer.header("link")) {
                Ok(None) => return Ok(()),
                Ok(Some(next)) => url = next,
                Err(Foreign) => {
                    return Err(self.said("a page leads to another server; not followed".into()));
                }
            }
        }
    }

    /// One answer that is neither a limit nor a breakdown.
    async fn ask(&self, url: &str, etag: Option<&str>) -> Result<Answer, Broken> {
        let mut again = true;
        loop {
            let (answer, proven) = self.once(url, etag).await?;
            match answer.status {
                401 if proven => {
                    self.token.replace(None);
                    self.budget.set(self.budget.get().min(BUDGETS.0));
                    self.note("the token is refused (401); going on without one".to_owned());
                }
                403 | 429 => return Err(self.limit(&answer)),
                300..=399 if answer.status != 304 => {
                    return Err(self.said(format!(
                        "the server leads elsewhere ({}); not followed",
                        answer.status
                    )));
                }
                500..=599 if again => {
                    again = false;
                    self.world.clock.sleep(PAUSE).await;
                }
                _ => return Ok(answer),
            }
        }
    }

    /// One request, and whether it proved who we are.
    async fn once(&self, url: &str, etag: Option<&str>) -> Result<(Answer, bool), Broken> {
        if self.halted.get() {
            return Err(Broken::Said);
        }
        let late = self.world.clock.elapsed().saturating_sub(self.began) > PATIENCE;
        if self.budget.get() == 0 || late {
            self.halted.set(true);
            self.token_helps.set(!late && self.token.borrow().is_none());
            let why = if late { "it took too long" } else { "the requests of a run were used up" };
            return Err(self.said(format!("not everything was asked: {why}")));
        }
        self.budget.set(self.budget.get() - 1);
        self.requests.set(self.requests.get() + 1);
        let token = self.token.borrow().as_ref().map(Token::header);
        let proven = token.is_some();
        let mut headers = vec![
            ("accept", "application/vnd.github+json".to_owned()),
            ("x-github-api-version", "2022-11-28".to_owned()),
        ];
        headers.extend(token.map(|t| ("authorization", t)));
        headers.extend(etag.map(|e| ("if-none-match", e.to_owned())));
        let answer = self.http.get(Get { url: url.to_owned(), headers }).await;
        answer.map(|answer| (answer, proven)).map_err(|error| {
            let host = self.address.host();
            self.said(format!("{host} {}", harmless::line(&error.to_string())))
        })
    }

    /// The server wants no more requests for a while.
    fn limit(&self, answer: &Answer) -> Broken {
        self.halted.set(true);
        self.token_helps.set(self.token.borrow().is_none());
        let number = |name: &str| answer.header(name).and_then(|v| v.trim().parse::<i64>().ok());
        let waits = number("retry-after").and_then(|s| s.checked_mul(1000));
        let wait = waits.and_then(|ms| self.now_ms.checked_add(ms));
        let reset = number("x-ratelimit-reset").and_then(|s| s.checked_mul(1000));
        self.resets_ms.set(wait.or(reset).or(self.resets_ms.get()));
        let limit = number("x-ratelimit-remaining") == Some(0) || wait.is_some();
        let proven = self.token.borrow().is_some();
        self.said(match (limit, proven) {
            (true, false) => "the server's limit is reached (60 an hour without a token)".into(),
            (true, true) => "the server's limit is reached".to_owned(),
            (false, _) => format!("the server refuses to answer ({})", answer.status),
        })
    }

    fn said(&self, note: String) -> Broken {
        self.note(note);
        Broken::Said
    }

    fn note(&self, note: String) {
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&note) && notes.len() < 20 {
            notes.push(note);
        }
    }

    fn listing(self, fed: Vec<Fed>) -> Listing {
        let all = |state: State| fed.iter().all(|f| f.state == state);
        let any = |state: State| fed.iter().any(|f| f.state == state);
        let state = if all(State::Unavailable) {
            State::Unavailable
        } else if any(State::Unavailable) || any(State::Partial) {
            State::Partial
        } else if any(State::Stale) {
            State::Stale
        } else {
            State::Complete
        };
        let mut issues: std::collections::BTreeMap<u64, Issue> = Default::default();
        let covered = fed.iter().filter_map(|f| f.covered_since_ms).max();
        let fetched = fed.iter().filter_map(|f| f.fetched_ms).min();
        for issue in fed.into_iter().flat_map(|f| f.issues) {
            match issues.get(&issue.number) {
                Some(known) if known.updated_ms >= issue.updated_ms => {}
                _ => drop(issues.insert(issue.number, issue)),
            }
        }
        Listing {
            issues: issues.into_values().collect(),
            state,
            covered_since_ms: covered,
            fetched_ms: fetched,
            notes: self.notes.into_inner(),
            resets_ms: self.resets_ms.get(),
            token_helps: self.token_helps.get(),
            with_token: self.token.into_inner().is_some(),
            requests: self.requests.get() + self.earlier.map_or(0, |e| e.requests),
        }
    }
}

/// What was read so far.
struct Pages {
    issues: Vec<Issue>,
    etag: Option<String>,
}

impl Fed {
    fn told(listing: &Listing) -> Self {
        Self {
            issues: listing.issues.clone(),
            state: listing.state,
            covered_since_ms: listing.covered_since_ms,
            fetched_ms: listing.fetched_ms,
        }
    }

    fn of(kept: &Kept, state: State) -> Self {
        Self {
            issues: kept.issues.clone(),
            state,
            covered_since_ms: Some(kept.covered_since_ms),
            fetched_ms: Some(kept.fetched_ms),
        }
    }

    fn nothing() -> Self {
        let (covered_since_ms, fetched_ms) = (None, None);
        Self { issues: Vec::new(), state: State::Unavailable, covered_since_ms, fetched_ms }
    }
}

/// The items of a list, or of a search's answer; `None`: it is neither.
pub fn items(body: &[u8]) -> Option<Vec<Value>> {
    match serde_json::from_slice::<Value>(body).ok()? {
        Value::Array(items) => Some(items),
        Value::Object(mut answer) => match answer.remove("items")? {
            Value::Array(items) => Some(items),
            _ => None,
        },
        _ => None,
    }
}
