//! Asking a web server for one thing, or giving it one: the only place that speaks HTTP.
//!
//! What it answers may come from anybody: it is cut at a size and at a time, redirects are
//! answers and not followed, and no status is an error here.

use std::io::Read;
use std::time::Duration;

/// An answer larger than this is refused, unpacked.
const LARGEST: u64 = 32 << 20;
/// From the first packet to the last byte.
const PATIENCE: Duration = Duration::from_secs(20);
/// Until the connection stands.
const CONNECT: Duration = Duration::from_secs(6);

/// Asks web servers.
#[derive(Debug, Clone)]
pub struct Http {
    agent: ureq::Agent,
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct Get {
    /// The whole address.
    pub url: String,
    /// Names and values of headers; a value may be secret.
    pub headers: Vec<(&'static str, String)>,
}

impl std::fmt::Debug for Get {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        f.debug_struct("Get").field("url", &self.url).field("headers", &names).finish()
    }
}

/// What is put in the place of what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The whole address.
    pub url: String,
    /// Names and values of headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// From the first packet to the last byte of the answer.
    pub patience: Duration,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers, names in lower case; what is no text is left out.
    pub headers: Vec<(String, String)>,
    /// The body, unpacked.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Nobody is there.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It took longer than [`PATIENCE`].
    #[error("took too long")]
    TooSlow,
    /// It is larger than [`LARGEST`].
    #[error("answered more than 32 MiB")]
    TooLarge,
    /// It ended in the middle, or is no HTTP.
    #[error("broke off: {0}")]
    Cut(String),
}

impl Answer {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl Default for Http {
    fn default() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(PATIENCE))
            .timeout_connect(Some(CONNECT))
            .user_agent(concat!("nixdeploy/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into() }
    }
}

impl Http {
    /// Asks, beside everything else.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub async fn get(&self, get: Get) -> Result<Answer, HttpError> {
        let agent = self.agent.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&agent, &get)).await;
        asked.unwrap_or_else(|e| Err(HttpError::Cut(e.to_string())))
    }

    /// Puts, beside everything else.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub async fn put(&self, put: Put) -> Result<Answer, HttpError> {
        let agent = self.agent.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut request = agent.put(&put.url);
            for (name, value) in &put.headers {
                request = request.header(*name, value);
            }
            let patience = Some(put.patience);
            let request = request.config().timeout_global(patience).build();
            answer(request.send(&put.body[..]))
        });
        done.await.unwrap_or_else(|e| Err(HttpError::Cut(e.to_string())))
    }
}

fn ask(agent: &ureq::Agent, get: &Get) -> Result<Answer, HttpError> {
    let mut request = agent.get(&get.url);
    for (name, value) in &get.headers {
        request = request.header(*name, value);
    }
    answer(request.call())
}

fn answer(
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Answer, HttpError> {
    let response = response.map_err(|e| before(&e))?;
    let (parts, body) = response.into_parts();
    let mut bytes = Vec::new();
    let mut reader = body.into_reader().take(LARGEST + 1);
    reader.read_to_end(&mut bytes).map_err(|e| within(&e))?;
    if u64::try_from(bytes.len()).is_ok_and(|n| n > LARGEST) {
        return Err(HttpError::TooLarge);
    }
    let text = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    let headers = parts.headers.iter().filter_map(text).collect();
    Ok(Answer { status: parts.status.as_u16(), headers, body: bytes })
}

/// Why there is not even a status.
fn before(error: &ureq::Error) -> HttpError {
    match error {
        ureq::Error::Timeout(_) => HttpError::TooSlow,
        ureq::Error::Io(e) => match e.kind() {
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => {
                HttpError::Cut(e.to_string())
            }
            _ => HttpError::Unreachable(e.to_string()),
        },
        ureq::Error::Protocol(e) => HttpError::Cut(e.to_string()),
        other => HttpError::Unreachable(other.to_string()),
    }
}

/// Why the body did not come to its end.
fn within(error: &std::io::Error) -> HttpError {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<ureq::Error>());
    match inner {
        Some(ureq::Error::Timeout(_)) => HttpError::TooSlow,
        _ if error.kind() == std::io::ErrorKind::TimedOut => HttpError::TooSlow,
        _ => HttpError::Cut(error.to_string()),
    }
}
