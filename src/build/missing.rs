//! Which of a list of paths a host lacks: one script, asked once, the whole list at once.

use crate::event::harmless;
use crate::fleet::StorePath;
use crate::world::ssh::{Link, Target};
use crate::world::{Stream, World};

/// The script.
const SCRIPT: &str = include_str!("missing.sh");
/// A list of tens of thousands of paths takes a second.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);

/// Asks. The paths are sent when the host says that it is ready: its shell may read ahead of the
/// script.
///
/// # Errors
/// With how it ended, when the answer breaks off.
pub async fn missing(
    world: &World,
    target: &Target,
    link: Link,
    paths: &[StorePath],
) -> Result<Vec<StorePath>, String> {
    let invocation = target.script(link, SCRIPT, &[]).conversing().timeout(LIMIT);
    let mut talk = world.start(invocation).await.map_err(|e| harmless::line(&e.to_string()))?;
    let (mut lacks, mut complete, mut last) = (Vec::new(), false, String::new());
    while let Some(line) = talk.line().await {
        match (line.stream, line.text.split_once('=')) {
            (Stream::Err, _) => last = line.text,
            (Stream::Out, Some(("ready", _))) => {
                let list: String = paths.iter().map(|p| format!("{p}\n")).collect();
                talk.say(&list).await;
                talk.hush();
            }
            (Stream::Out, Some(("missing", path))) if lacks.len() < paths.len() => {
                lacks.extend(StorePath::new(path));
            }
            (Stream::Out, Some(("end", "0"))) => complete = true,
            (Stream::Out, _) => {}
        }
    }
    let ended = talk.end().await;
    if complete { Ok(lacks) } else { Err(harmless::line(&format!("{ended}: {last}"))) }
}
