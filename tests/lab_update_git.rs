//! What an update leaves in git, on machines: a commit of flake.lock alone, or a pull request that
//! is merged or closed by what became of the machine.

mod lab {
    use crate::support::rows::{Then, differences, flat};
    use crate::support::updates::Place;

    /// GitHub's own program, as far as it is asked: writes down what it was told.
    const GH: &str = r#"
        cd "/root/desks/$1"; rm -rf gh.calls remote.git; : > gh.does; mkdir -p bin
        cat > bin/gh <<'G'
#!/bin/sh
case "$1 $2" in
  "pr create") body=$(cat); echo OPEN > /root/desks/HOST/gh.state ;;
  "pr merge")
    case "$(cat /root/desks/HOST/gh.does)" in
      hangs) kill -INT $PPID; kill -TERM $PPID; exec sleep 300 ;;
      queues) ;;
      *) echo MERGED > /root/desks/HOST/gh.state ;;
    esac ;;
  "pr close") echo CLOSED > /root/desks/HOST/gh.state ;;
  "pr view") printf '{"state":"%s","url":"https://github.com/me/flake/pull/7"}\n' \
    "$(cat /root/desks/HOST/gh.state)" ;;
  "repo view") echo '{"mergeCommitAllowed":false,"rebaseMergeAllowed":true}' ;;
esac
printf '%s\n' "$*" "$body" >> /root/desks/HOST/gh.calls
[ "$1 $2" != "pr create" ] || echo "https://github.com/me/flake/pull/7"
G
        sed -i "s/HOST/$1/g" bin/gh; chmod +x bin/gh
        git init -q --bare remote.git; cd flake
        git remote remove origin || :; git remote add origin ../remote.git
        git branch --list 'update/*' --format='%(refname:short)' | xargs -r git branch -qD
        git push -q origin HEAD:main"#;

    #[test]
    fn a_lock_is_committed_alone_or_by_a_pull_request_that_tells_the_truth() {
        let Some(place) = Place::new() else { return };
        let (desk, old) = (&place.desk, place.lock());
        let host = desk.host();
        let _ = desk.deployer(GH, &[host]);
        let take = "cd /root/desks/$1; cat gh.calls; : > gh.calls";
        let calls = || desk.deployer(take, &[host]).stdout;
        let git = |script: &str| {
            let script = format!("cd /root/desks/$1/flake; {script}");
            desk.deployer(&script, &[host]).stdout.trim().to_owned()
        };
        let head = git("git rev-parse HEAD");
        let args = ["update", "smart", host, "--no-issue-check", "--issue", "12"];
        let pr = [&args[..], &["--pr"]].concat();
        place.revision("5.0", "1", "lab.brokenService = true;");
        let said = desk.run(&pr);
        assert_eq!((said.code, place.lock()), (6, old.clone()), "{said:?}");
        assert_eq!(differences(Then::Undone, &place.before, &desk.unguarded()), [""; 0]);
        let told = calls();
        assert!(told.contains("--title flake: update tools (#12) --body-file -"), "{told}");
        let url = "https://github.com/me/flake/pull/7";
        let close = format!("pr close {url} --delete-branch --comment Not merged");
        assert!(told.contains(&close) && told.contains("app-broken.service"), "{told}");
        assert!(!told.contains("pr merge"), "{told}");
        // Prepared for a machine that sleeps: only the branch has it.
        place.revision("5.1", "1", "");
        let said = desk.run(&[&pr[..], &["--no-deploy"]].concat());
        assert_eq!((said.code, place.lock()), (0, old.clone()), "{said:?}");
        assert!(!calls().contains("pr merge"), "{said:?}");
        let _ = git(
            "git ls-remote origin 'update/*' | cut -f 2 | xargs -r git push -q --delete origin",
        );
        let said = desk.run(&pr);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(flat(&said).contains("pull request merged"), "{said:?}");
        assert_eq!(place.versions(), "hello 5.1");
        let told = calls();
        assert!(told.contains(&format!("pr merge {url} --rebase --match")), "{told}");
        let branch = git("git ls-remote origin 'update/*' | cut -f 1");
        assert!(
            told.contains(&format!("--match-head-commit {branch}")),
            "what was deployed {told}"
        );
        assert_eq!(git("git diff --name-only HEAD"), "flake.lock");
        assert_eq!(git("git rev-parse HEAD"), head, "the checkout is where it was");
        // A queue took it, which ends well too; then gh does not answer, and nobody waits for it.
        for (does, code, told) in [
            ("queues", 0, "is to be merged, and is still open"),
            ("hangs", 130, "git and gh were left at work"),
        ] {
            let _ = git(&format!("git restore flake.lock; echo {does} > ../gh.does"));
            place.revision(&format!("5.1.{code}"), "1", "");
            let said = desk.run(&pr);
            assert_eq!((said.code, place.versions()), (code, format!("hello 5.1.{code}")));
            assert!(flat(&said).contains(told), "{said:?}");
            assert!(!flat(&said).contains("git restore"), "it would lose the lock {said:?}");
            assert_eq!(git("git diff --name-only HEAD"), "flake.lock");
        }
        // And the same by a commit, with something of the user's staged.
        let _ = git("git restore flake.lock; echo > notes; git add notes");
        let commit = [&args[..], &["--commit"]].concat();
        let said = desk.run(&commit);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(flat(&said).contains("flake.lock committed"), "{said:?}");
        let shown = git("git log -1 --format=%s --name-only");
        assert_eq!(shown, "flake: update tools (#12)\n\nflake.lock");
        assert_eq!(git("git status --porcelain"), "A  notes");
        // Without gh the commands are told, and the branch is here.
        place.revision("5.2", "1", "");
        let _ = git("rm ../bin/gh; git commit -qm notes");
        let said = desk.run(&[&pr[..], &["--no-deploy"]].concat());
        assert_eq!(said.code, 0, "{said:?}");
        let branch = git("git branch --list 'update/*' --format='%(refname:short)'");
        assert!(said.stderr.contains(&format!("git push origin {branch}")), "{said:?}");
        assert_eq!(git(&format!("git diff --name-only HEAD {branch}")), "flake.lock");
        assert!(!said.stderr.contains("gh pr merge"), "none was opened {said:?}");
        let _ =
            git("git branch --list 'update/*' --format='%(refname:short)' | xargs git branch -D");
        let said = desk.run(&pr);
        assert_eq!((said.code, place.versions()), (0, "hello 5.2".into()), "{said:?}");
        let take = format!("git restore flake.lock && git merge --ff-only {branch}");
        for part in ["no pull request was opened", "gh pr create --head", take.as_str()] {
            assert!(flat(&said).contains(part), "{part} {said:?}");
        }
        assert!(!said.stderr.contains("gh pr merge"), "{said:?}");
        let _ = git(&take);
        assert_eq!(git("git status --porcelain"), "");
        assert_eq!(git("git log -1 --format=%s"), "flake: update tools (#12)");
    }
}
