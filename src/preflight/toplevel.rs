//! A closure that is on the host and not here, described by the host: after a build there, and
//! for a generation that it keeps.

use super::admission::{BootPart, NewClosure};
use super::read::lean;
use super::refused::Refused;
use crate::event::harmless;
use crate::fleet::StorePath;
use crate::world::World;
use crate::world::ssh::{Link, Target};

/// The script.
const SCRIPT: &str = include_str!("toplevel.sh");
/// Five small files.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// Asks the host; nothing of the closure is missing there.
///
/// # Errors
/// When the answer breaks off, or there is no such system.
pub async fn describe(
    world: &World,
    target: &Target,
    link: Link,
    toplevel: &StorePath,
) -> Result<NewClosure, Refused> {
    let invocation = target.script(link, &lean(SCRIPT), &[toplevel.as_str()]).timeout(LIMIT);
    let broken = |said: String| Refused::Unreadable { said: vec![harmless::line(&said)] };
    let output = world.run(invocation).await.map_err(|e| broken(e.to_string()))?;
    match parse(&output.out) {
        Some(closure) => Ok(NewClosure { toplevel: Some(toplevel.clone()), ..closure }),
        None => Err(broken(format!("{}: {}", output.ended, output.err_tail(1)))),
    }
}

/// Reads a complete answer.
fn parse(lines: &[String]) -> Option<NewClosure> {
    if lines.last().map(String::as_str) != Some("end=0") {
        return None;
    }
    let value = |key: &str| lines.iter().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
    let text = |key: &str| value(key).unwrap_or_default().to_owned();
    let part = |key: &str, size: &str| BootPart {
        path: text(key),
        size: value(size).and_then(|v| v.parse().ok()).unwrap_or(0),
    };
    Some(NewClosure {
        toplevel: None,
        paths: Vec::new(),
        missing: Some(Vec::new()),
        kernel: part("kernel", "kernel_size"),
        initrd: part("initrd", "initrd_size"),
        modules: text("modules"),
        params: text("params"),
        init: text("init"),
        inhibitors: value("inhibitors").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_answer_counts() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let whole =
            "nixdeploy-toplevel=1\nkernel=/nix/store/k/bzImage\nkernel_size=12\nparams=a=b\nend=0";
        let closure = parse(&lines(whole)).expect("whole");
        assert_eq!((closure.kernel.size, closure.params.as_str()), (12, "a=b"));
        assert_eq!(closure.inhibitors, None);
        assert_eq!(parse(&lines("nixdeploy-toplevel=1\nkernel=/k")), None);
    }
}
