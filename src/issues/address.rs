//! Where issues are asked for, and which addresses are followed from there.

/// The repository whose issues are meant.
pub const REPOSITORY: &str = "NixOS/nixpkgs";
/// Where its issues are named without GitHub telling them so.
pub const REDIRECT: &str = "https://redirect.github.com/NixOS/nixpkgs/issues";
/// GitHub's own API.
pub const GITHUB: &str = "https://api.github.com";

/// The base of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    base: String,
    origin: String,
    /// Who named it: a repository's own file is trusted less.
    pub named: Named,
}

/// A page leads to another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign;

/// Who named the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// Nobody: it is GitHub's.
    Nobody,
    /// The person, in the environment.
    Person,
    /// hosts.toml, which came with a repository.
    Inventory,
}

impl Address {
    /// Reads `http://HOST[:PORT][/PATH]` or `https://...`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str, named: Named) -> Result<Self, String> {
        let base = text.trim().trim_end_matches('/');
        let Some((scheme, rest)) = base.split_once("://") else {
            return Err("is no address: it begins with https:// or http://".to_owned());
        };
        let host = rest.split('/').next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
        let path = |c: char| c.is_ascii_graphic() && !"?#\"<>\\^`{|}".contains(c);
        if !matches!(scheme, "http" | "https") || host.is_empty() || !host.chars().all(plain) {
            return Err("is no address of a web server, without user and password".to_owned());
        }
        if !rest.chars().all(path) {
            return Err("is no base: it has no question mark and no blanks".to_owned());
        }
        let origin = format!("{scheme}://{host}").to_ascii_lowercase();
        Ok(Self { base: base.to_owned(), origin, named })
    }

    /// Without its scheme, for people.
    pub fn host(&self) -> &str {
        self.origin.split_once("://").map_or("", |(_, host)| host)
    }

    /// The address of something below the base.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Whether what is said to it can be heard by nobody else.
    pub fn is_private(&self) -> bool {
        let host = self.host();
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.origin.starts_with("https://") || loopback || host == "localhost"
    }

    /// The next page that a `link` header names: of this server, `Err` of another one.
    ///
    /// # Errors
    /// When it leads elsewhere.
    pub fn next(&self, link: Option<&str>) -> Result<Option<String>, Foreign> {
        let next = |part: &&str| {
            let (_, relation) = part.split_once('>').unwrap_or_default();
            relation.split(';').any(|r| matches!(r.trim(), "rel=\"next\"" | "rel=next"))
        };
        let Some(part) = link.unwrap_or_default().split(',').find(next) else { return Ok(None) };
        let url = part.trim().trim_start_matches('<').split('>').next().unwrap_or_default();
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let ours = format!("{scheme}://{host}").to_ascii_lowercase() == self.origin;
        let plain = url.len() <= 2000 && url.chars().all(|c| c.is_ascii_graphic());
        if ours && plain { Ok(Some(url.to_owned())) } else { Err(Foreign) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text, Named::Person).expect(text)
    }

    #[test]
    fn only_pages_of_the_same_server_are_followed() {
        let api = address("http://127.0.0.1:7/api/");
        assert_eq!(api.at("/repos"), "http://127.0.0.1:7/api/repos");
        let next = |url: &str| api.next(Some(&format!("<{url}>; rel=\"next\", <x>; rel=\"last\"")));
        let ours = "http://127.0.0.1:7/any?page=2";
        assert_eq!(next(ours), Ok(Some(ours.to_owned())));
        for foreign in [
            "http://127.0.0.1:8/any",
            "https://127.0.0.1:7/any",
            "http://127.0.0.1:7@evil.example/",
            "http://evil.example/http://127.0.0.1:7/",
            "//127.0.0.1:7/any",
            "file:///etc/passwd",
            "http://127.0.0.1:7/ \u{1b}",
            "",
        ] {
            assert_eq!(next(foreign), Err(Foreign), "{foreign}");
        }
        assert_eq!(api.next(Some("<x>; rel=\"prev\"")), Ok(None));
        assert_eq!(api.next(None), Ok(None));
    }

    #[test]
    fn addresses_are_plain() {
        for bad in
            ["", "api", "ftp://x", "https://", "https://me:pw@x", "https://x/?q", "http://x y"]
        {
            assert!(Address::parse(bad, Named::Inventory).is_err(), "{bad}");
        }
        for (text, private) in [
            (GITHUB, true),
            ("http://127.0.0.1:80", true),
            ("http://[::1]:80", true),
            ("http://localhost", true),
            ("http://ghe.example", false),
            ("http://127.0.0.1.example", false),
        ] {
            assert_eq!(address(text).is_private(), private, "{text}");
        }
    }
}
