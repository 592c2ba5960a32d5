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
    let page = Man::new(command.term_width(100)).title(name.to_uppercase()).section("1").manual("chainkit");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    let mut extra = Roff::new();
    for section in sections {
        extra.control("SH", [section.title]);
        for block in section.text.split("\n\n").map(|block| block.trim_matches('\n')) {
            write_block(&mut extra, block);
        }
    }
    extra.to_writer(out)
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
