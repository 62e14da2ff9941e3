//! The sources of the scripts. The first lines of a file list the files that it needs (`-- needs: clock, room`) and the flags
//! under which Redis runs it (`-- flags: allow-oom`). A script is its own file, preceded by all files that it needs.

use std::sync::OnceLock;

use rollcall_bus::script::Script;

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../scripts/", $name, ".lua")))),+]
    };
}

const FILES: &[(&str, &str)] = files!(
    "call",
    "channel",
    "channel_write",
    "clock",
    "departure",
    "history",
    "lives",
    "lock_acquire",
    "lock_drop",
    "lock_expire",
    "lock_get",
    "lock_release",
    "lock_renew",
    "lock_withdraw",
    "locks",
    "metadata",
    "metadata_get",
    "metadata_remove",
    "metadata_renew",
    "metadata_set",
    "metadata_update",
    "partition",
    "partition_audit",
    "partition_reap",
    "presence_evict",
    "presence_heartbeat",
    "presence_join",
    "presence_leave",
    "presence_restore",
    "presence_snapshot",
    "room",
    "stored_lock",
);

/// Replaces `clock.lua` in tests.
static CLOCK: OnceLock<&str> = OnceLock::new();

/// Replaces `clock.lua` in all scripts, for tests that move the clock. To be called before any script runs.
#[doc(hidden)]
pub fn replace_clock(text: &'static str) {
    let _ = CLOCK.set(text);
}

/// The script of the file `name`, under the flags that the file lists. Without flags, Redis rejects the script before its first
/// write when memory is full. `allow-oom` is for scripts that free memory or keep members, `no-writes` for those that only read.
pub(super) fn script(name: &'static str) -> Script {
    script_with(name, line(text_of(name), "-- flags: ").unwrap_or_default())
}

/// The script of the file `name` under other flags.
pub(super) fn script_with(name: &'static str, flags: &str) -> Script {
    let mut parts = Vec::new();
    add(name, &mut parts);
    let header = if flags.is_empty() { "#!lua".to_owned() } else { format!("#!lua flags={flags}") };
    Script::new(name, format!("{header}\n{}", parts.into_iter().map(text_of).collect::<String>()))
}

/// Adds a file after the files that it needs.
fn add(name: &'static str, parts: &mut Vec<&'static str>) {
    for needed in needs(name) {
        add(needed, parts);
    }
    if !parts.contains(&name) {
        parts.push(name);
    }
}

fn needs(name: &str) -> impl Iterator<Item = &'static str> {
    line(text_of(name), "-- needs: ").into_iter().flat_map(|names| names.split(", "))
}

/// The rest of the line that begins with `start`.
fn line(text: &'static str, start: &str) -> Option<&'static str> {
    text.lines().find_map(|line| line.strip_prefix(start))
}

/// The text of a file; empty if there is no such file, which a test rules out.
fn text_of(name: &str) -> &'static str {
    if let Some(clock) = CLOCK.get().filter(|_| name == "clock") {
        return clock;
    }
    FILES.iter().find(|(file, _)| *file == name).map_or("", |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_is_listed_and_says_what_it_needs() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/scripts")).unwrap();
        let on_disk: BTreeSet<_> = folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        let listed: BTreeSet<_> = FILES.iter().map(|(name, _)| format!("{name}.lua")).collect();
        assert_eq!(on_disk, listed);
        for (name, _) in FILES {
            for needed in needs(name) {
                assert!(!text_of(needed).is_empty(), "{name} needs {needed}, which is no file");
            }
        }
    }

    /// Else it would be carried out after its caller has given up.
    #[test]
    fn every_script_that_writes_looks_at_its_deadline_first() {
        let is_script = |name: &str| !FILES.iter().any(|(other, _)| needs(other).any(|needed| needed == name));
        for (name, text) in FILES.iter().filter(|(name, _)| is_script(name)) {
            let flags = line(text, "-- flags: ").unwrap_or_default();
            assert_eq!(needs(name).any(|needed| needed == "call"), flags != "no-writes", "{name}");
        }
    }

    /// A function that a file calls is its own, Lua's, or that of a file that stands before it.
    #[test]
    fn no_file_calls_what_it_does_not_need() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let functions = |text: &'static str| -> BTreeSet<&'static str> {
            let heads = text.lines().filter_map(|line| line.strip_prefix("local function "));
            heads.filter_map(|head| head.split('(').next()).collect()
        };
        let shared: BTreeSet<_> = FILES.iter().flat_map(|(name, _)| needs(name)).collect();
        let all: BTreeSet<_> = shared.iter().flat_map(|name| functions(text_of(name))).collect();
        for (name, text) in FILES {
            let mut parts = Vec::new();
            add(name, &mut parts);
            let known: BTreeSet<_> = parts.iter().flat_map(|part| functions(text_of(part))).collect();
            for line in text.lines().map(|line| line.split("--").next().unwrap_or_default()) {
                for (at, _) in line.match_indices('(') {
                    let before = &line[..at];
                    let called = &before[before.rfind(|c| !is_word(c)).map_or(0, |at| at + 1)..];
                    assert!(
                        !all.contains(called) || known.contains(called),
                        "{name} calls {called} and does not need it"
                    );
                }
            }
        }
    }
}
