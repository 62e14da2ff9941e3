//! The command line.

use std::str::FromStr;

use crate::crowd;
use crate::load::soak::Plan;
use crate::scenario::ALL;

/// Not part of `--quick`, unless asked for by name.
const LONG: [&str; 2] = ["idle", "telemetry"];

/// The parsed options.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Only show the help.
    pub(crate) help: bool,
    /// Shorter windows: about a minute in all.
    pub(crate) quick: bool,
    /// The scenarios to run.
    pub(crate) scenarios: Vec<&'static str>,
    /// Load for a system that runs already, in place of scenarios.
    pub(crate) soak: Plan,
    /// People for a system that runs already, in place of all other.
    pub(crate) crowd: Option<crowd::Plan>,
}

const SOAK: &str = "\
rollcall-bench --at HOST:PORT… [--connections 1000] [--room 4] [--period-ms 10000] [--patch-every 10] [--seconds 30]

Puts that load on a system which runs already: so many clients in rooms of so many, a heartbeat each so often, each so
many-th of one client a patch (0: none). One --at for each address; clients take them in turn. CPU and memory are to be
read where it runs.

rollcall-bench --at HOST:PORT… --crowd PEOPLE

Fills it with people who join, type, count, take locks, leave and are cut off, until Ctrl-C. Nothing is measured.";

/// Reads the arguments. An error is the text to show.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let soak = Plan { at: vec![], connections: 1000, room: 4, period_ms: 10_000, patch_every: 10, seconds: 30 };
    let mut options = Options { help: false, quick: false, scenarios: Vec::new(), soak, crowd: None };
    let (mut arguments, mut people) = (arguments, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--only" => {
                let name = arguments.next().unwrap_or_default();
                let known = ALL.iter().find(|(known, _)| *known == name);
                options.scenarios.push(known.ok_or_else(|| format!("there is no scenario `{name}`\n\n{}", usage()))?.0);
            }
            "--at" => options.soak.at.push(arguments.next().unwrap_or_default()),
            "--crowd" => people = Some(number(&argument, arguments.next(), 1)?),
            "--connections" => options.soak.connections = number(&argument, arguments.next(), 1)?,
            "--room" => options.soak.room = number(&argument, arguments.next(), 1)?,
            "--period-ms" => options.soak.period_ms = number(&argument, arguments.next(), 1)?,
            "--patch-every" => options.soak.patch_every = number(&argument, arguments.next(), 0)?,
            "--seconds" => options.soak.seconds = number(&argument, arguments.next(), 1)?,
            "--help" | "-h" => options.help = true,
            other => return Err(format!("`{other}` is not understood\n\n{}", usage())),
        }
    }
    if let Some(people) = people {
        let at = options.soak.at.clone();
        if at.is_empty() {
            return Err(format!("`--crowd` needs `--at HOST:PORT`, where the people go\n\n{}", usage()));
        }
        options.crowd = Some(crowd::Plan { at, people });
    }
    if options.scenarios.is_empty() {
        let all = ALL.iter().map(|(name, _)| *name);
        options.scenarios = all.filter(|name| !(options.quick && LONG.contains(name))).collect();
    }
    Ok(options)
}

/// The number after `name`.
fn number<T: FromStr + PartialOrd>(name: &str, text: Option<String>, least: T) -> Result<T, String> {
    let text = text.unwrap_or_default();
    let number = text.parse().ok().filter(|number| *number >= least);
    number.ok_or_else(|| format!("`{name} {text}` is not a number that makes sense\n\n{}", usage()))
}

/// The help text.
pub(crate) fn usage() -> String {
    let scenarios = ALL.iter().map(|(name, what)| format!("\n  {name:12} {what}")).collect::<String>();
    format!(
        "rollcall-bench [--quick] [--only SCENARIO]…\n\nStarts everything that it measures. Scenarios:{scenarios}\n\n{SOAK}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn everything_is_the_default() {
        assert_eq!(parsed("").unwrap().scenarios.len(), ALL.len());
        assert_eq!(parsed("--quick").unwrap().scenarios.len(), ALL.len() - LONG.len());
    }

    #[test]
    fn scenarios_are_chosen_by_name() {
        let options = parsed("--only patches --quick --only telemetry").unwrap();
        assert_eq!((options.quick, options.scenarios), (true, vec!["patches", "telemetry"]));
        assert_eq!(options.soak.at, Vec::<String>::new());
    }

    #[test]
    fn a_soak_is_described() {
        let soak = parsed("--at a:1 --at b:2 --connections 20 --period-ms 500 --patch-every 0").unwrap().soak;
        assert_eq!((soak.at, soak.connections, soak.room), (vec!["a:1".to_owned(), "b:2".to_owned()], 20, 4));
        assert_eq!((soak.period_ms, soak.patch_every, soak.seconds), (500, 0, 30));
        for wrong in ["--connections 0", "--room", "--seconds -1", "--period-ms soon"] {
            assert!(parsed(wrong).unwrap_err().contains(wrong.split(' ').next().unwrap()), "{wrong}");
        }
    }

    #[test]
    fn a_crowd_goes_somewhere() {
        let crowd = parsed("--crowd 20 --at a:1").unwrap().crowd.unwrap();
        assert_eq!((crowd.people, crowd.at), (20, vec!["a:1".to_owned()]));
        assert_eq!(parsed("--at a:1").unwrap().crowd, None);
        assert!(parsed("--crowd 20").unwrap_err().contains("`--at HOST:PORT`"));
        assert!(parsed("--at a:1 --crowd 0").unwrap_err().contains("`--crowd 0`"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(parsed("--fast").unwrap_err().contains("`--fast`"));
        assert!(parsed("--only nothing").unwrap_err().contains("`nothing`"));
    }
}
