//! A new ssh connection to the machine that we run on: no login proves there that others still get
//! in, so sshd is asked over the loopback for its keys, which takes a whole key exchange.

use crate::plan::{Finding, Severity};
use crate::world::{Invocation, World};

/// sshd answers at once, or is not there.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(15);

/// The keys that sshd offers on the loopback, in order; none: it does not answer.
pub async fn keys(world: &World) -> Vec<String> {
    let scan = Invocation::new("ssh-keyscan", ["-T", "5", "--", "127.0.0.1"]).timeout(LIMIT);
    let said = world.run(scan).await.map(|output| output.out).unwrap_or_default();
    let mut keys: Vec<String> = said.into_iter().filter(|l| !l.starts_with('#')).collect();
    keys.sort();
    keys
}

/// What is wrong: sshd answered before and does not now, or as somebody else.
pub fn judge(before: &[String], after: &[String]) -> Option<Finding> {
    let same = before.iter().any(|key| after.contains(key));
    let message = match (before.is_empty() || same, after.is_empty()) {
        (true, _) => return None,
        (false, true) => "no new ssh connection over the loopback",
        (false, false) => "sshd offers other host keys than before",
    };
    Some(Finding {
        code: "ssh".to_owned(),
        severity: Severity::Block,
        subject: "sshd".to_owned(),
        message: message.to_owned(),
        suggestion: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answered_before_must_answer_again() {
        let keys = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert!(judge(&[], &[]).is_none() && judge(&[], &keys(&["a"])).is_none());
        assert!(judge(&keys(&["a", "b"]), &keys(&["b"])).is_none());
        assert!(judge(&keys(&["a"]), &[]).is_some_and(|f| f.message.contains("no new ssh")));
        assert!(judge(&keys(&["a"]), &keys(&["b"])).is_some());
    }
}
