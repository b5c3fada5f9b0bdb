//! How a host is spoken to: the options of every ssh call, the shared master, remote scripts.
//!
//! A remote command is always the same constant line, `sh -s -- ARGS`, with a complete script on
//! standard input and data as quoted words; nothing is ever pasted into a script (security rows
//! S1 and S2). Two links exist: [`Link::Shared`] goes over our master, which outlives the run by
//! ten minutes and makes a round trip out of a login; [`Link::Fresh`] is a new TCP connection
//! with no multiplexing, the only proof that the host can still be reached (ssh_config(5),
//! ControlMaster and ControlPath).

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::invocation::{Invocation, quote};
use crate::fleet::{Address, Host, SshControl, Sudo, UserName};

/// Options that hold for every connection; `ssh -G` in the tests shows that they win.
const ALWAYS: [&str; 13] = [
    "BatchMode=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "EscapeChar=none",
    "RequestTTY=no",
    "LogLevel=ERROR",
];
/// How long an unused master stays, in seconds.
const PERSIST_S: u32 = 600;
/// A master that does not answer on its own socket by then is left to its keep-alive.
const MASTER_LIMIT: Duration = Duration::from_secs(2);
/// Longest path of a socket (sun_path of unix(7)), less what ssh appends while it makes it.
const SOCKET_LIMIT: usize = 104 - 20;

/// Which connection carries a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Our master, made when it is not there.
    Shared,
    /// A connection of its own, new from the first packet on.
    Fresh,
}

/// A host as ssh sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where.
    pub address: Address,
    /// Login user; `None`: ssh's configuration decides.
    pub user: Option<UserName>,
    /// Whether commands go through `sudo -n`.
    pub sudo: Sudo,
    /// Whose master.
    pub control: SshControl,
    /// Socket of our master; `None` when we have none.
    pub socket: Option<PathBuf>,
}

impl Target {
    /// The host at its first address, with its socket below `sockets`.
    pub fn new(host: &Host, sockets: &Path) -> Self {
        Self::at(host, host.address().clone(), sockets)
    }

    /// The host at one of its addresses.
    pub fn at(host: &Host, address: Address, sockets: &Path) -> Self {
        let who = host.user.as_ref().map_or("", UserName::as_str);
        let name = blake3::hash(format!("{who}@{address}").as_bytes()).to_hex();
        let socket = sockets.join(&name[..16]);
        let fits = socket.as_os_str().len() <= SOCKET_LIMIT;
        let own = host.ssh_control == SshControl::Own && fits;
        Self {
            address,
            user: host.user.clone(),
            sudo: host.sudo,
            control: host.ssh_control,
            socket: own.then_some(socket),
        }
    }

    /// Options of a link, as `-o` values.
    pub fn options(&self, link: Link) -> Vec<String> {
        let mut options: Vec<String> = ALWAYS.iter().map(|o| (*o).to_owned()).collect();
        let own: Vec<String> = match (link, self.control, &self.socket) {
            (Link::Shared, SshControl::Own, Some(socket)) => vec![
                "ControlMaster=auto".to_owned(),
                format!("ControlPath={}", socket.display()),
                format!("ControlPersist={PERSIST_S}"),
            ],
            (Link::Shared, SshControl::User, _) => Vec::new(),
            (Link::Shared | Link::Fresh, _, _) => {
                vec!["ControlMaster=no".to_owned(), "ControlPath=none".to_owned()]
            }
        };
        options.extend(own);
        options
    }

    /// `[USER@]ADDRESS`, for ssh and for store URLs; brackets around IPv6 are the caller's.
    pub fn destination(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.address),
            None => self.address.to_string(),
        }
    }

    /// Whether commands need `sudo -n`: always, never, or when the login user is not root.
    pub fn elevates(&self) -> bool {
        match self.sudo {
            Sudo::Always => true,
            Sudo::Never => false,
            Sudo::Auto => self.user.as_ref().is_some_and(|u| u.as_str() != "root"),
        }
    }

    /// Runs a script on the host, as root.
    pub fn script(&self, link: Link, script: &str, args: &[&str]) -> Invocation {
        let elevate = if self.elevates() { "sudo -n -- " } else { "" };
        let words: Vec<String> = args.iter().map(|a| quote(a)).collect();
        let remote = format!("{elevate}/bin/sh -s -- {}", words.join(" "));
        self.command(link, remote.trim_end()).stdin(script)
    }

    /// Runs a program on the host, as root; each word is quoted.
    pub fn remote(&self, link: Link, words: &[&str]) -> Invocation {
        let elevate = if self.elevates() { "sudo -n -- " } else { "" };
        let words: Vec<String> = words.iter().map(|w| quote(w)).collect();
        self.command(link, &format!("{elevate}{}", words.join(" ")))
    }

    /// Runs a constant command on the host, as the login user.
    pub fn command(&self, link: Link, remote: &str) -> Invocation {
        let mut args = vec!["-T".to_owned()];
        for option in self.options(link) {
            args.extend(["-o".to_owned(), option]);
        }
        if let Some(user) = &self.user {
            args.extend(["-l".to_owned(), user.to_string()]);
        }
        args.extend(["--".to_owned(), self.address.to_string(), remote.to_owned()]);
        Invocation::new("ssh", args).timeout(Duration::from_secs(3600))
    }

    /// `NIX_SSHOPTS` for nix's own ssh; nix splits it at spaces, and no option of ours holds one.
    pub fn nix_sshopts(&self, link: Link) -> String {
        let words: Vec<String> = self.options(link).iter().map(|o| format!("-o {o}")).collect();
        words.join(" ")
    }
}

/// Ends our master of a host: after contact was lost it would hold up whoever comes next until its
/// own keep-alive gives up. A master that is gone already is as good.
pub async fn end_master(target: &Target) {
    let Some(socket) = &target.socket else { return };
    let master = openssh::Session::resume(socket.clone().into_boxed_path(), None);
    match tokio::time::timeout(MASTER_LIMIT, master.close()).await {
        Ok(Ok(())) => tracing::debug!(address = %target.address, "ended the ssh master"),
        Ok(Err(error)) => tracing::debug!(%error, "no ssh master to end"),
        Err(_) => tracing::debug!("the ssh master does not answer"),
    }
}

/// What ssh's own failure (status 255) means, from its last words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No route, refused, timed out, name unknown.
    Unreachable(String),
    /// The host's key is not the recorded one, or none is recorded.
    HostKey(String),
    /// No key of ours is accepted.
    Denied(String),
    /// sudo wants a password or refuses.
    NoElevation(String),
    /// The connection broke.
    Broken(String),
}

/// Reads ssh's and sudo's messages; they are stable enough to choose a hint, never to decide more.
pub fn diagnose(err: &[String]) -> Failure {
    let text = err.join("\n");
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    let last = err.iter().rev().find(|l| !l.trim().is_empty()).cloned().unwrap_or_default();
    if has(&[
        "Host key verification failed",
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "No ED25519 host key",
        "host key is known",
    ]) {
        Failure::HostKey(last)
    } else if has(&[
        "sudo: a password is required",
        "sudo: command not found",
        "is not in the sudoers",
        "not allowed to execute",
    ]) {
        Failure::NoElevation(last)
    } else if has(&["Permission denied"]) {
        Failure::Denied(last)
    } else if has(&[
        "Connection refused",
        "timed out",
        "No route to host",
        "Could not resolve",
        "Network is unreachable",
        "Connection closed",
        "kex_exchange_identification",
    ]) {
        Failure::Unreachable(last)
    } else {
        Failure::Broken(last)
    }
}

impl Failure {
    /// The last words behind it.
    pub fn text(&self) -> &str {
        match self {
            Self::Unreachable(text)
            | Self::HostKey(text)
            | Self::Denied(text)
            | Self::NoElevation(text)
            | Self::Broken(text) => text,
        }
    }
}
