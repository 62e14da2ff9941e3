//! One child process, killed when dropped, and the folder that its output goes to. It must not know which program it is.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

/// A running program whose output goes to a file.
pub(crate) struct Process {
    /// Its name in the report.
    pub(crate) name: &'static str,
    child: Child,
    log: PathBuf,
}

/// A temporary folder.
pub(crate) struct Folder(PathBuf);

impl Process {
    /// Starts a program with these variables and no others but `PATH`, so that a developer's environment changes no number.
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[&str],
        variables: &[(&'static str, String)],
        folder: &Folder,
    ) -> io::Result<Self> {
        let log = folder.0.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|error| io::Error::other(format!("{} does not start: {error}", program.display())))?;
        Ok(Self { name, child, log })
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error that says why, if it has ended.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            Some(status) => Err(self.trouble(&format!("ended with {status}"))),
            None => Ok(()),
        }
    }

    /// Waits for the line with the address it listens on.
    pub(crate) async fn listening(&mut self, within: Duration) -> io::Result<SocketAddr> {
        let end = Instant::now() + within;
        while Instant::now() < end {
            if let Some(address) = fs::read_to_string(&self.log)?.lines().find_map(listening_address) {
                return Ok(address);
            }
            self.check()?;
            sleep(Duration::from_millis(10)).await;
        }
        Err(self.trouble("does not say where it listens"))
    }

    /// Polls until `ready` holds.
    pub(crate) async fn until(
        &mut self,
        complaint: &str,
        within: Duration,
        ready: impl AsyncFn() -> bool,
    ) -> io::Result<()> {
        let end = Instant::now() + within;
        while !ready().await {
            self.check()?;
            if Instant::now() > end {
                return Err(self.trouble(complaint));
            }
        }
        Ok(())
    }

    fn trouble(&self, complaint: &str) -> io::Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().rev().take(5).collect::<Vec<_>>();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
        io::Error::other(format!("{} {complaint}; its last words:\n  {last}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Folder {
    /// An empty folder of its own.
    pub(crate) fn new() -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rollcall-bench-{}-{number}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The address in a line that says `listening`, be it JSON or text.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let address = match serde_json::from_str::<Value>(line) {
        Ok(line) if line["message"] == "listening" => line["address"].as_str()?.to_owned(),
        Ok(_) => return None,
        Err(_) => line.split_once("listening address=")?.1.split(' ').next()?.to_owned(),
    };
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_address_in_both_formats() {
        let address = Some(SocketAddr::from(([127, 0, 0, 1], 43210)));
        let json = r#"{"level":"INFO","message":"listening","address":"127.0.0.1:43210","service":"presence-gateway"}"#;
        assert_eq!(listening_address(json), address);
        assert_eq!(listening_address("21:03:12.123  INFO gateway listening address=127.0.0.1:43210 x=1"), address);
        assert_eq!(listening_address("listening address=127.0.0.1:43210"), address);
        assert_eq!(listening_address(r#"{"message":"ready","address":"127.0.0.1:43210"}"#), None);
        assert_eq!(listening_address("starting"), None);
    }

    #[tokio::test]
    async fn a_program_that_ends_is_named_with_its_last_words() {
        let folder = Folder::new().unwrap();
        let arguments = ["-c", "echo no such thing; exit 3"];
        let mut process = Process::start("sh", Path::new("/bin/sh"), &arguments, &[], &folder).unwrap();
        let error = process.listening(Duration::from_secs(5)).await.unwrap_err().to_string();
        assert!(error.contains("sh ended") && error.contains("no such thing"), "{error}");
    }
}
