//! Man pages and shell completions, made from the same description as the flags.

use std::io::{self, Write};

use clap::builder::Resettable;
use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

/// A section of a man page beyond those that clap's description gives.
///
/// The text is blocks with an empty line between them. A block whose lines all begin with four spaces is printed as it
/// stands; one whose second line begins with two spaces is a term and its explanation; any other is a paragraph.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its title, in capitals.
    pub title: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// What the exit codes mean, for programs that have nothing to add.
pub const EXIT_STATUS: Section = Section {
    title: "EXIT STATUS",
    text: "\
0
  It was done.

1
  The answer is no: findings, denied, differs, over a threshold.

2
  Wrong usage or bad input.

3
  A privilege or something in the kernel is lacking.

4
  It failed and changed nothing.

5
  It was done in part; the output names what.",
};

/// What `--generate` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generate {
    /// The man page, in roff.
    Man,
    /// Completion for bash.
    CompleteBash,
    /// Completion for zsh.
    CompleteZsh,
    /// Completion for fish.
    CompleteFish,
}

/// Writes the man page or completion of `command`; the same command always gives the same bytes.
pub(crate) fn generate(
    kind: Generate,
    command: Command,
    name: &str,
    sections: &[Section],
    out: &mut impl Write,
) -> io::Result<()> {
    let shell = match kind {
        Generate::Man => return man(command, name, sections, out),
        Generate::CompleteBash => Shell::Bash,
        Generate::CompleteZsh => Shell::Zsh,
        Generate::CompleteFish => Shell::Fish,
    };
    let mut command = visible(&command);
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    out.write_all(&text)
}

/// The command without hidden flags, which completions would offer.
fn visible(command: &Command) -> Command {
    let flags = command.get_arguments().filter(|flag| !flag.is_hide_set()).cloned();
    // What a flag excludes or requires may be hidden, and is nothing that a completion tells.
    let flags = flags.map(|flag| flag.conflicts_with(Resettable::Reset).requires(Resettable::Reset));
    let subcommands = command.get_subcommands().filter(|command| !command.is_hide_set()).map(visible);
    let shown = Command::new(command.get_name().to_owned()).args(flags).subcommands(subcommands);
    let shown = match command.get_version() {
        Some(version) => shown.version(version.to_owned()),
        None => shown,
    };
    match command.get_about() {
        Some(about) => shown.about(about.clone()),
        None => shown,
    }
}

fn man(command: Command, name: &str, sections: &[Section], out: &mut impl Write) -> io::Result<()> {
    // The width of the terminal and its environment have no say in what is committed.
    let mut shown = command.clone();
    // So that each subcommand knows its own usage, and the flags that all of them have.
    shown.build();
    let page = Man::new(command.term_width(100)).title(name.to_uppercase()).section("1").manual("chainkit");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    let mut extra = Roff::new();
    write_commands(&mut extra, &shown, name);
    for section in sections {
        extra.control("SH", [section.title]);
        for block in section.text.split("\n\n").map(|block| block.trim_matches('\n')) {
            write_block(&mut extra, block);
        }
    }
    extra.to_writer(out)
}

/// A subsection for each subcommand: what it does, how it is called, its own flags. Flags of all of them are told once, with
/// the program's.
fn write_commands(page: &mut Roff, command: &Command, name: &str) {
    let subcommands: Vec<&Command> =
        command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help").collect();
    if subcommands.is_empty() {
        return;
    }
    page.control("SH", ["COMMANDS"]);
    for subcommand in subcommands {
        page.control("SS", [format!("{name} {}", subcommand.get_name()).as_str()]);
        if let Some(about) = subcommand.get_long_about().or_else(|| subcommand.get_about()) {
            page.text([roman(format!("{}.", about.to_string().trim_end_matches('.')))]);
        }
        for flag in subcommand.get_arguments() {
            if flag.is_hide_set() || flag.is_global_set() || matches!(flag.get_id().as_str(), "help" | "version") {
                continue;
            }
            page.control("TP", []).text([bold(term(flag))]);
            let mut text =
                flag.get_long_help().or_else(|| flag.get_help()).map(ToString::to_string).unwrap_or_default();
            let defaults: Vec<_> = flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            if !defaults.is_empty() && flag.get_action().takes_values() {
                text = format!("{text} [default: {}]", defaults.join(", "));
            }
            let values: Vec<_> = flag.get_possible_values();
            page.text([roman(text)]);
            for value in values.iter().filter(|value| !value.is_hide_set() && flag.get_action().takes_values()) {
                let help = value.get_help().map(ToString::to_string).unwrap_or_default();
                page.control("br", []).text([bold(value.get_name()), roman(format!(": {help}"))]);
            }
        }
    }
}

/// How a flag is written.
fn term(flag: &clap::Arg) -> String {
    let mut words = Vec::new();
    if let Some(short) = flag.get_short() {
        words.push(format!("-{short}"));
    }
    if let Some(long) = flag.get_long() {
        words.push(format!("--{long}"));
    }
    let mut text = words.join(", ");
    if flag.get_action().takes_values() {
        let names: Vec<&str> = flag.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect();
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&names.join(" "));
    }
    text
}

fn write_block(page: &mut Roff, block: &str) {
    let lines: Vec<&str> = block.lines().collect();
    if !lines.is_empty() && lines.iter().all(|line| line.starts_with("    ")) {
        page.control("PP", []).control("RS", ["4"]).control("nf", []);
        for line in &lines {
            page.text([roman(line.trim_start_matches("    "))]);
        }
        page.control("fi", []).control("RE", []);
        return;
    }
    match lines.split_first() {
        Some((term, rest)) if rest.first().is_some_and(|line| line.starts_with("  ")) => {
            page.control("TP", []).text([bold(*term)]);
            page.text(joined(rest));
        }
        _ => {
            page.control("PP", []).text(joined(&lines));
        }
    }
}

/// Lines of a paragraph as one line, so that no line of prose is taken for a request.
fn joined(lines: &[&str]) -> Vec<Inline> {
    vec![roman(lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &'static str) -> String {
        let command = Command::new("demo").about("Shows").version("1.2.3");
        let mut out = Vec::new();
        generate(Generate::Man, command, "demo", &[Section { title: "EXAMPLES", text }], &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_section_holds_paragraphs_terms_and_examples() {
        let page = page("All of it:\nin one.\n\n    demo --all\n    demo -j\n\nrtt_ns\n  Round trip,\n  nanoseconds.");
        let section = page.split(".SH EXAMPLES\n").nth(1).unwrap();
        assert_eq!(
            section,
            ".PP\nAll of it: in one.\n.PP\n.RS 4\n.nf\ndemo \\-\\-all\ndemo \\-j\n.fi\n.RE\n.TP\n\\fBrtt_ns\\fR\nRound trip, nanoseconds.\n"
        );
    }

    #[test]
    fn each_subcommand_is_told_with_its_own_flags() {
        let adopt = Command::new("adopt")
            .about("Attach")
            .arg(clap::Arg::new("pod").long("pod").value_name("NAME").help("Which"));
        let root = clap::Arg::new("root").long("root").global(true).help("Where");
        let command = Command::new("demo").version("1.2.3").about("Shows").arg(root).subcommand(adopt);
        let mut out = Vec::new();
        generate(Generate::Man, command, "demo", &[], &mut out).unwrap();
        let page = String::from_utf8(out).unwrap();
        let section = page.split(".SH COMMANDS\n").nth(1).unwrap();
        assert_eq!(section, ".SS \"demo adopt\"\nAttach.\n.TP\n\\fB\\-\\-pod NAME\\fR\nWhich\n");
    }

    #[test]
    fn text_is_never_taken_for_a_request() {
        let page = page(".SH is how roff begins a section \\n");
        assert!(page.ends_with("\n\\&.SH is how roff begins a section \\\\n\n"), "{page}");
    }

    #[test]
    fn the_usual_sections_come_first() {
        let page = page("x");
        let places: Vec<usize> = [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH OPTIONS", ".SH EXAMPLES"]
            .iter()
            .map(|title| page.find(title).unwrap_or_else(|| panic!("{title} is missing in {page}")))
            .collect();
        assert!(places.is_sorted(), "{places:?}");
    }
}
