//! Prometheus, its exporter of text files, its Pushgateway and its own checks, on the loopback.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::machines::Said;
use super::{program, variable, wait_until};

/// Where a program is: on PATH, by Debian's name or by its own, or where `tests/lab/install` puts
/// it.
fn tool(name: &str) -> PathBuf {
    let cache = variable("LAB_CACHE").unwrap_or_else(|| "/tmp/nixdeploy-lab-cache".to_owned());
    let path = variable("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push(Path::new(&cache).join("prometheus/usr/bin"));
    let own = name.trim_start_matches("prometheus-").replace('-', "_");
    let names = |place: PathBuf| [place.join(name), place.join(&own)];
    let found = places.into_iter().flat_map(names).find(|p| p.is_file());
    found.unwrap_or_else(|| panic!("no {name} here: tests/lab/install brings it"))
}

/// What promtool says, given a text.
pub(crate) fn promtool(args: &[&str], text: &str) -> Said {
    let mut command = program(tool("promtool").to_str().expect("a path"));
    let command = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("promtool starts");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(text.as_bytes()).expect("written");
    drop(input);
    Said::of(&child.wait_with_output().expect("promtool ends"))
}

/// A server on the loopback, ended with the test.
pub(crate) struct Server {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a program that takes `--web.listen-address`, and waits until it answers at `ready`.
    pub(crate) fn start(name: &str, args: &[String], folder: &Path, ready: &str) -> Self {
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
            let address = port.expect("a free port").to_string();
            let log = std::fs::File::create(folder.join(format!("{name}.log"))).expect("a log");
            let child = program(tool(name).to_str().expect("a path"))
                .args(args)
                .arg(format!("--web.listen-address={address}"))
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("it starts");
            let mut server = Self { child, address };
            // Somebody else may have taken the port meanwhile: then it ends by itself.
            let up = wait_until(name, Duration::from_secs(60), || {
                if server.child.try_wait().expect("its state").is_some() {
                    return Some(false);
                }
                server.get(ready).ok().map(|_| true)
            });
            if up {
                return server;
            }
        }
        let log = std::fs::read_to_string(folder.join(format!("{name}.log")));
        panic!("{name} does not start: {}", log.unwrap_or_default());
    }

    /// What it answers at a path.
    pub(crate) fn get(&self, path: &str) -> Result<String, String> {
        let config = ureq::Agent::config_builder().proxy(None);
        let agent: ureq::Agent =
            config.timeout_global(Some(Duration::from_secs(20))).build().into();
        let url = format!("http://{}{path}", self.address);
        let mut answer = agent.get(&url).call().map_err(|e| e.to_string())?;
        answer.body_mut().read_to_string().map_err(|e| e.to_string())
    }

    /// Asks Prometheus; the result's series.
    pub(crate) fn query(&self, query: &str) -> Result<Vec<serde_json::Value>, String> {
        let letters = query.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
        let answer = self.get(&format!("/api/v1/query?query={letters}"))?;
        let answer: serde_json::Value = serde_json::from_str(&answer).map_err(|e| e.to_string())?;
        match answer["data"]["result"].as_array() {
            Some(series) if answer["status"] == "success" => Ok(series.clone()),
            _ => Err(answer.to_string()),
        }
    }
}
