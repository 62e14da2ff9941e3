//! The command line.

use crate::scenario::ALL;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Only to show what can be asked for.
    pub(crate) help: bool,
    /// Shorter windows: about a minute in all.
    pub(crate) quick: bool,
    /// The scenarios to run.
    pub(crate) scenarios: Vec<&'static str>,
}

/// Reads the arguments. An error is the text to show.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { help: false, quick: false, scenarios: Vec::new() };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--only" => {
                let name = arguments.next().unwrap_or_default();
                let known = ALL.iter().find(|(known, _)| *known == name);
                options.scenarios.push(known.ok_or_else(|| format!("there is no scenario `{name}`\n\n{}", usage()))?.0);
            }
            "--help" | "-h" => options.help = true,
            other => return Err(format!("`{other}` is not understood\n\n{}", usage())),
        }
    }
    if options.scenarios.is_empty() {
        let all = ALL.iter().map(|(name, _)| *name);
        options.scenarios = all.filter(|name| !(options.quick && *name == "telemetry")).collect();
    }
    Ok(options)
}

/// What can be asked for.
pub(crate) fn usage() -> String {
    let scenarios = ALL.iter().map(|(name, what)| format!("\n  {name:12} {what}")).collect::<String>();
    format!("rollcall-bench [--quick] [--only SCENARIO]…\n\nStarts everything that it measures. Scenarios:{scenarios}")
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
        assert_eq!(parsed("--quick").unwrap().scenarios.len(), ALL.len() - 1);
    }

    #[test]
    fn scenarios_are_chosen_by_name() {
        let options = parsed("--only patches --quick --only telemetry").unwrap();
        assert_eq!(options, Options { help: false, quick: true, scenarios: vec!["patches", "telemetry"] });
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(parsed("--fast").unwrap_err().contains("`--fast`"));
        assert!(parsed("--only nothing").unwrap_err().contains("`nothing`"));
    }
}
