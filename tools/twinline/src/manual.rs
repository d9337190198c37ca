//! `twinline completions` and `twinline man`: made from the definitions that the command line itself is read by.

use crate::cli::Cli;
use crate::exit::{Failure, Finish};
use crate::summary::Summary;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::path::PathBuf;

/// Print what makes a shell complete twinline's commands and flags.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    twinline completions bash > twinline.bash && source ./twinline.bash\n  \
    twinline completions zsh > _twinline")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

/// Write the manual pages: one of twinline, one of each command.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    twinline man man1 && man ./man1/twinline-listen.1")]
pub(crate) struct Man {
    /// The directory to write them into; created if there is none
    dir: PathBuf,
}

/// Runs `twinline completions`.
pub(crate) fn completions(args: &Completions) -> Result<Finish, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "twinline", &mut text);
    let mut summary = Summary::new("completions");
    summary.own_text = String::from_utf8(text)?;
    Ok(Finish::success(summary))
}

/// Runs `twinline man`.
pub(crate) fn man(args: &Man) -> Result<Finish, Failure> {
    let dir = args.dir.display();
    let failed = |cause| Failure::error(format!("cannot write manual pages into {dir}: {cause}"));
    std::fs::create_dir_all(&args.dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &args.dir).map_err(failed)?;
    let mut summary = Summary::new("man");
    summary.own_text = format!("manual pages are in {dir}: man {dir}/twinline.1\n");
    Ok(Finish::success(summary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_flag_is_completed_and_has_its_page() {
        let done = completions(&Completions { shell: Shell::Bash }).unwrap();
        let dir = tempfile::tempdir().unwrap();
        man(&Man {
            dir: dir.path().into(),
        })
        .unwrap();
        let mut cli = Cli::command();
        cli.build();
        for command in cli
            .get_subcommands()
            .filter(|command| command.get_name() != "help")
        {
            let name = command.get_name();
            assert!(
                done.summary.own_text.contains(&format!("twinline__{name}"))
                    || done
                        .summary
                        .own_text
                        .contains(&format!("twinline__subcmd__{name}")),
                "{name}"
            );
            let page = std::fs::read_to_string(dir.path().join(format!("twinline-{name}.1"))).expect(name);
            for long in command
                .get_arguments()
                .filter(|arg| !arg.is_hide_set())
                .filter_map(|arg| arg.get_long())
            {
                assert!(
                    done.summary.own_text.contains(&format!("--{long}")),
                    "{name} --{long}"
                );
                assert!(page.contains(&long.replace('-', "\\-")), "{name} --{long}");
            }
        }
    }
}
