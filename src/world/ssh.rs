//! How a host is spoken to: the options of every ssh call, the shared master, remote scripts.
//!
//! A remote command is always the same constant line, `sh -s -- ARGS`, with a complete script on
//! standard input and data as quoted words; nothing is ever pasted into a script (security rows
//! S1 and S2). Two links exist: [`Link::Shared`] goes over our master, which outlives the run by
//! ten minutes and makes a round trip out of a login; [`Link::Fresh`] is a new TCP connection
//! with no multiplexing, the only proof that the host can still be reached (ssh_config(5),
//! ControlMaster and ControlPath). A host behind others is reached through the same hops on both
//! links, never through a master of theirs ([`super::jump`]). The machine that we run on is no
//! other host: its commands are started here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::elevate::{Password, elevated};
use super::environment::Environment;
use super::invocation::{Invocation, quote};
use super::{here, jump};
use crate::fleet::{Address, Hop, Host, SshControl, Sudo, UserName};

/// Options that hold on every hop; `ssh -G` in the tests shows that they win.
pub(super) const EVERYWHERE: [&str; 8] = [
    "BatchMode=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "ForwardAgent=no",
    "PermitLocalCommand=no",
];
/// Those of the connection to the host itself.
const ALWAYS: [&str; 5] = [
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "EscapeChar=none",
    "RequestTTY=no",
    "LogLevel=ERROR",
];
/// No command of ours takes longer.
const LONGEST: Duration = Duration::from_secs(3600);
/// What ssh reads behind the person's own configuration, unless it is given a file (ssh(1), -F).
const SYSTEM_CONFIG: &str = "/etc/ssh/ssh_config";
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
    /// Hosts on the way, the nearest to us first.
    pub jumps: Vec<Hop>,
    /// Whether commands go through sudo.
    pub sudo: Sudo,
    /// What sudo is told; `None`: it wants no password, or nobody knows it.
    pub password: Option<Password>,
    /// Whose master.
    pub control: SshControl,
    /// Socket of our master; `None` when we have none.
    pub socket: Option<PathBuf>,
    /// It is the machine that we run on.
    pub here: bool,
}

impl Target {
    /// An address as ssh's own configuration has it: no hops, no master, no sudo but for a user
    /// who is not root.
    pub fn plain(address: Address) -> Self {
        Self {
            address,
            user: None,
            jumps: Vec::new(),
            sudo: Sudo::Auto,
            password: None,
            control: SshControl::None,
            socket: None,
            here: false,
        }
    }

    /// The host at its first address.
    pub fn new(host: &Host, environment: &Environment) -> Self {
        Self::at(host, host.address().clone(), environment)
    }

    /// The host at one of its addresses.
    pub fn at(host: &Host, address: Address, environment: &Environment) -> Self {
        let jumps = host.jumps.clone();
        let here = jumps.is_empty() && here::is_here(address.as_str(), &environment.machine);
        let who = host.user.as_ref().map_or("", UserName::as_str);
        let way: String = jumps.iter().map(|hop| format!(" {hop}")).collect();
        let name = blake3::hash(format!("{who}@{address}{way}").as_bytes()).to_hex();
        let socket = environment.sockets.join(&name[..16]);
        let fits = socket.as_os_str().len() <= SOCKET_LIMIT;
        let own = host.ssh_control == SshControl::Own && fits && !here;
        Self {
            address,
            user: host.user.clone(),
            jumps,
            sudo: if here { here::sudo(host.sudo) } else { host.sudo },
            password: None,
            control: host.ssh_control,
            socket: own.then_some(socket),
            here,
        }
    }

    /// Options of a link, as `-o` values.
    pub fn options(&self, link: Link) -> Vec<String> {
        let always = EVERYWHERE.iter().chain(&ALWAYS);
        let mut options: Vec<String> = always.map(|o| (*o).to_owned()).collect();
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
        options.extend(jump::proxy_command(&self.jumps).map(|way| format!("ProxyCommand={way}")));
        options
    }

    /// `[USER@]ADDRESS`, for ssh and for store URLs; brackets around IPv6 are the caller's.
    pub fn destination(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.address),
            None => self.address.to_string(),
        }
    }

    /// Whether commands need sudo: always, never, or when the login user is not root.
    pub fn elevates(&self) -> bool {
        match self.sudo {
            Sudo::Always => true,
            Sudo::Never => false,
            Sudo::Auto => self.user.as_ref().is_some_and(|u| u.as_str() != "root"),
        }
    }

    /// Runs a script on the host, as root.
    pub fn script(&self, link: Link, script: &str, args: &[&str]) -> Invocation {
        let words = [&["/bin/sh", "-s", "--"], args].concat();
        self.remote(link, &words).stdin(script)
    }

    /// Runs a program on the host, as root; each word is quoted.
    pub fn remote(&self, link: Link, words: &[&str]) -> Invocation {
        let words: Vec<String> = words.iter().map(|w| quote(w)).collect();
        let words = words.join(" ");
        if !self.elevates() {
            return self.command(link, &words);
        }
        let line = elevated(&words, self.password.is_some());
        self.command(link, &line).secret(self.password.clone())
    }

    /// Runs a constant command on the host, as the login user.
    pub fn command(&self, link: Link, remote: &str) -> Invocation {
        if self.here {
            let args = ["-c".to_owned(), remote.to_owned()];
            return Invocation::new("/bin/sh", args).timeout(LONGEST);
        }
        let mut args = vec!["-T".to_owned()];
        for option in self.options(link) {
            args.extend(["-o".to_owned(), option]);
        }
        if let Some(user) = &self.user {
            args.extend(["-l".to_owned(), user.to_string()]);
        }
        args.extend(["--".to_owned(), self.address.to_string(), remote.to_owned()]);
        Invocation::new("ssh", args).timeout(LONGEST)
    }

    /// `NIX_SSHOPTS` for Nix's own ssh. Nix before 2.28 splits it at spaces whatever the quotes
    /// (`ssh.cc`), and a `ProxyCommand` is full of them: that goes into a file, with its text,
    /// which has to be there first and then reads the configuration that ssh would have read.
    pub fn nix_sshopts(&self, link: Link, folder: &Path) -> (String, Option<(PathBuf, String)>) {
        let (proxy, plain): (Vec<String>, Vec<String>) =
            self.options(link).into_iter().partition(|o| o.starts_with("ProxyCommand="));
        let mut words: Vec<String> = plain.iter().map(|o| format!("-o {o}")).collect();
        let file = proxy.first().and_then(|o| o.split_once('=')).map(|(_, way)| {
            let text = format!(
                "Host *\n  ProxyCommand {way}\nInclude ~/.ssh/config\nInclude {SYSTEM_CONFIG}\n"
            );
            let name = blake3::hash(text.as_bytes()).to_hex();
            let path = folder.join(format!("{}.conf", &name[..16]));
            words.push(format!("-F {}", path.display()));
            (path, text)
        });
        (words.join(" "), file)
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
    let last = last_words(err);
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
        "incorrect password attempt",
        "no password was provided",
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

/// The last line that says why. Behind a hop that failed comes what the ssh around it makes of
/// that, which says nothing; but for a host key, what it says of the key is before its last line.
fn last_words(err: &[String]) -> String {
    const ECHOES: [&str; 5] = [
        "Connection closed by UNKNOWN port",
        "kex_exchange_identification",
        "stdio forwarding failed",
        "Host key verification failed.",
        "Connection to UNKNOWN port",
    ];
    let said = || err.iter().rev().filter(|l| !l.trim().is_empty());
    let telling = said().find(|l| !ECHOES.iter().any(|e| l.contains(e)));
    telling.or_else(|| said().next()).cloned().unwrap_or_default()
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
