//! From the command line to the exit code.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::manual::{Generate, Section, generate};
use crate::{Exit, Failure, Log, LogFormat};

/// A program, as it describes itself.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Its flags and subcommands, without those that all programs share.
    pub command: fn() -> Command,
    /// Sections of its man page after the options.
    pub manual: &'static [Section],
}

impl Program {
    /// The whole command: its own flags and the shared ones that are shown.
    fn command(&self) -> Command {
        (self.command)().arg(
            Arg::new("log")
                .long("log")
                .value_name("FORMAT")
                .value_parser(value_parser!(LogFormat))
                .default_value("text")
                .global(true)
                .help("Form of messages on stderr"),
        )
    }

    /// Writes the man page or completion that `--generate` asked for.
    fn generate(&self, kind: Generate, out: &mut impl Write) -> io::Result<()> {
        generate(kind, self.command(), self.name, self.manual, out)
    }
}

/// Runs a program: parses its arguments, calls `main` with them, and turns what comes back into an exit code.
///
/// Help and version end with 0, usage errors with 2, an error with the code of the [`Failure`] in its chain, or 4. A
/// reader of stdout that has gone ends the program quietly with 0, as in any pipe.
pub fn run(program: &Program, main: impl FnOnce(&ArgMatches, &Log) -> anyhow::Result<Exit>) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    end(program, &arguments, main).into()
}

fn end(
    program: &Program,
    arguments: &[OsString],
    main: impl FnOnce(&ArgMatches, &Log) -> anyhow::Result<Exit>,
) -> Exit {
    let generates = arguments.get(1).is_some_and(|first| first.to_string_lossy().starts_with("--generate"));
    let command = if generates { generate_command(program.name) } else { program.command() };
    let matches = match command.try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return parse_failed(program, arguments, &error),
    };
    let log = Log::new(program.name, matches.try_get_one("log").ok().flatten().copied().unwrap_or_default());
    let outcome = match matches.try_get_one::<Generate>("generate") {
        Ok(Some(kind)) => generated(program, *kind),
        _ => main(&matches, &log),
    };
    outcome.unwrap_or_else(|error| failed(&error, &log))
}

/// `NAME --generate WHAT`, hidden: it is for the build alone, and no other flag has a say in what it makes.
fn generate_command(name: &'static str) -> Command {
    let what = Arg::new("generate").long("generate").value_name("WHAT").value_parser(value_parser!(Generate));
    Command::new(name).arg(what.required(true))
}

fn generated(program: &Program, kind: Generate) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    program.generate(kind, &mut out)?;
    out.flush()?;
    Ok(Exit::Fine)
}

/// Help, version, or a usage error.
fn parse_failed(program: &Program, arguments: &[OsString], error: &clap::Error) -> Exit {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !asked && wants_json(arguments) {
        let text = error.to_string();
        let message = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
        Log::new(program.name, LogFormat::Json).error(message, None);
    } else {
        // Nothing can be told to a terminal that does not take it.
        let _ = error.print();
    }
    if asked { Exit::Fine } else { Exit::Usage }
}

/// Whether `--log json` stands among arguments that could not be parsed.
pub(crate) fn wants_json(arguments: &[OsString]) -> bool {
    arguments.iter().any(|argument| argument == "--log=json")
        || arguments.windows(2).any(|pair| matches!(pair, [flag, value] if flag == "--log" && value == "json"))
}

fn failed(error: &anyhow::Error, log: &Log) -> Exit {
    if is_broken_pipe(error) {
        return Exit::Fine;
    }
    let failure = error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
    log.error(format!("{error:#}"), failure.and_then(Failure::remedy_text));
    failure.map_or(Exit::Failed, Failure::exit)
}

/// Whether the reader of our output has gone.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    const DEMO: Program = Program { name: "demo", command: || Command::new("demo").version("1.2.3"), manual: &[] };

    fn exit(arguments: &[&str], outcome: fn() -> anyhow::Result<Exit>) -> Exit {
        let arguments: Vec<OsString> = arguments.iter().map(Into::into).collect();
        end(&DEMO, &arguments, |_, _| outcome())
    }

    #[test]
    fn usage_errors_end_with_2_and_help_with_0() {
        assert_eq!(exit(&["demo", "--nonsense"], || panic!("not called")), Exit::Usage);
        assert_eq!(exit(&["demo", "--log", "json", "extra"], || panic!("not called")), Exit::Usage);
        assert_eq!(exit(&["demo", "--help"], || panic!("not called")), Exit::Fine);
        assert_eq!(exit(&["demo", "--version"], || panic!("not called")), Exit::Fine);
    }

    #[test]
    fn an_error_ends_with_the_code_that_its_chain_asks_for() {
        assert_eq!(exit(&["demo"], || Ok(Exit::No)), Exit::No);
        assert_eq!(exit(&["demo"], || anyhow::bail!("gone wrong")), Exit::Failed);
        let denied = || Err(Failure::new(Exit::Unsupported, "no CAP_BPF").remedy("run it as root")).context("attach");
        assert_eq!(exit(&["demo"], denied), Exit::Unsupported);
    }

    #[test]
    fn a_closed_pipe_is_a_quiet_end() {
        let closed = || Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("write").context("print flows");
        assert_eq!(exit(&["demo"], closed), Exit::Fine);
    }

    #[test]
    fn what_to_generate_is_one_of_four() {
        assert_eq!(exit(&["demo", "--generate", "html"], || panic!("not called")), Exit::Usage);
        assert_eq!(exit(&["demo", "--generate", "man", "--log", "json"], || panic!("not called")), Exit::Usage);
        assert_eq!(exit(&["demo", "--log", "json", "--generate", "man"], || panic!("not called")), Exit::Usage);
    }

    #[test]
    fn the_hidden_flag_is_in_no_man_page_or_completion() {
        for kind in [Generate::Man, Generate::CompleteBash, Generate::CompleteZsh, Generate::CompleteFish] {
            let mut out = Vec::new();
            DEMO.generate(kind, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(!text.contains("generate"), "{kind:?}: {text}");
            assert!(text.contains("log"), "{kind:?}: {text}");
        }
    }
}
