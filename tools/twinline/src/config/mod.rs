//! `--config FILE` for every command, and `twinline config`, which checks, explains and makes up such files.

mod apply;
mod file;
#[cfg(test)]
mod tests;

use crate::cli::{Cli, Global};
use crate::exit::{Failure, Finish};
use crate::summary::Summary;
use apply::arguments;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Command, CommandFactory, Parser, Subcommand};
use file::{ConfigFile, Key, Value, commands, flags};
use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Check, explain or make up a configuration file.
///
/// A file can hold every flag of every command, so that one file configures all that runs on a host:
///
///   [common]                        # for every command that has the flag
///   line-a = "239.1.1.1:5001@eth0"
///   line-b = "239.1.1.2:5001@eth1"
///
///   [listen]                        # twinline listen --config FILE
///   recovery = ["10.0.0.5:17010", "10.0.0.6:17010"]
///
///   [listen.desk1]                  # twinline listen --config FILE --instance desk1: all of [listen], and this
///   journal = "/var/lib/twinline/desk1"
///
/// Keys are the long flags. A list gives a flag several times, true and false switch one on or off, a table stands for
/// key=value,key=value. What is given on the command line replaces what the file says. Paths in it are relative to where
/// the command runs.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:\n  \
    twinline config example > twinline.toml\n  \
    twinline config check twinline.toml\n  \
    twinline config explain listen --config twinline.toml\n  \
    twinline config explain publish pace"
)]
pub(crate) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check a file: its keys, and every value as the command itself would
    Check {
        /// The file
        file: PathBuf,
    },
    /// What each key means, what it is set to, and where that is said
    Explain {
        /// The command
        command: String,
        /// The key [default: all]
        key: Option<String>,
    },
    /// Print a file with every key, its meaning and its default
    Example,
}

/// The command line, with what a configuration file adds. Ends the process for help and wrong arguments, as clap does.
pub(crate) fn command_line() -> Result<Cli, Failure> {
    let given: Vec<OsString> = std::env::args_os().collect();
    let mut cli = Cli::command();
    cli.build();
    // Required flags may stand in the file: what is not right yet is no error yet.
    let Ok(matches) = cli.clone().ignore_errors(true).try_get_matches_from(&given) else {
        return Ok(Cli::parse());
    };
    let Some((name, of_command)) = matches.subcommand() else {
        return Ok(Cli::parse());
    };
    let path = of_command.try_get_one::<PathBuf>("config").ok().flatten();
    let instance = of_command.try_get_one::<String>("instance").ok().flatten();
    let (Some(path), Some(command)) = (path, commands(&cli).find(|known| known.get_name() == name)) else {
        return Ok(Cli::parse());
    };
    let file = ConfigFile::read(path, &cli)?;
    let keys = file.holding(command, instance.map(String::as_str), Some(of_command))?;
    let place = given
        .iter()
        .skip(1)
        .position(|arg| arg == name)
        .map_or(1, |at| at + 1);
    let (before, after) = given.split_at((place + 1).min(given.len()));
    let of_file = arguments(command, &keys).into_iter().map(OsString::from);
    let all = before.iter().cloned().chain(of_file).chain(after.iter().cloned());
    Cli::try_parse_from(all).or_else(|error| {
        let _ = error.print();
        if let Some(key) = culprit(&error, &keys) {
            eprintln!("\n{}:{} says so", file.path.display(), key.line);
        }
        std::process::exit(error.exit_code())
    })
}

/// The key that clap's error is about.
fn culprit<'a>(error: &clap::Error, keys: &[&'a Key]) -> Option<&'a Key> {
    let Some(ContextValue::String(named)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let named = named.trim_start_matches('-');
    let name = named.split([' ', '=']).next()?;
    keys.iter().copied().find(|key| key.name == name)
}

/// Runs `twinline config`.
pub(crate) fn run(args: &Config, global: &Global) -> Result<Finish, Failure> {
    let mut cli = Cli::command();
    cli.build();
    match &args.action {
        Action::Check { file } => check(file, &cli),
        Action::Explain { command, key } => explain(&cli, command, key.as_deref(), global),
        Action::Example => Ok(finish(example(&cli))),
    }
}

fn finish(text: String) -> Finish {
    let mut summary = Summary::new("config");
    summary.own_text = text;
    Finish::success(summary)
}

/// Every section, through the command's own parser.
fn check(path: &Path, cli: &Command) -> Result<Finish, Failure> {
    let file = ConfigFile::read(path, cli)?;
    let mut text = String::new();
    let mut checked = Vec::new();
    for section in file
        .sections
        .iter()
        .filter(|section| section.command != file::COMMON)
    {
        let Some(command) = commands(cli).find(|known| known.get_name() == section.command) else {
            continue;
        };
        let instance = section.instance.as_deref();
        let keys = file.keys(command, instance)?;
        let name = instance.map_or(section.command.clone(), |instance| {
            format!("{}.{instance}", section.command)
        });
        let lacking = parse(command, &keys, &file)?;
        let note = match &lacking {
            Some(lacking) => format!(", still to be given on the command line: {lacking}"),
            None => String::new(),
        };
        let _ = writeln!(text, "[{name}] is right: {} keys{note}", keys.len());
        checked.push(serde_json::json!({ "section": name, "keys": keys.len(), "lacking": lacking }));
    }
    // Keys for all commands: those that have no section judge them too, one by one, as what they are combined with is
    // not known.
    let has_section = |name| file.sections.iter().any(|section| section.command == name);
    for command in commands(cli).filter(|command| !has_section(command.get_name())) {
        for key in file.keys(command, None)? {
            parse(command, &[key], &file)?;
        }
    }
    if checked.is_empty() {
        let _ = writeln!(text, "{} is right", path.display());
    }
    let mut finish = finish(text);
    finish.summary.set("sections", checked);
    Ok(finish)
}

/// Has the command read the keys; returns what it needs beside them.
fn parse(command: &Command, keys: &[&Key], file: &ConfigFile) -> Result<Option<String>, Failure> {
    let all = [
        vec!["twinline".into(), command.get_name().into()],
        arguments(command, keys),
    ]
    .concat();
    let Err(error) = Cli::command().try_get_matches_from(all) else {
        return Ok(None);
    };
    if error.kind() == ErrorKind::MissingRequiredArgument {
        let lacking = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::Strings(names)) => names.join(", "),
            _ => "required arguments".into(),
        };
        return Ok(Some(lacking));
    }
    let text = error.to_string();
    let first = text
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ");
    let first = first.trim_start_matches("error: ");
    let place = culprit(&error, keys).map_or(String::new(), |key| format!(":{}", key.line));
    Err(Failure::usage(format!("{}{place}: {first}", file.path.display())))
}

fn explain(cli: &Command, name: &str, key: Option<&str>, global: &Global) -> Result<Finish, Failure> {
    let Some(command) = commands(cli).find(|known| known.get_name() == name) else {
        let known: Vec<_> = commands(cli).map(Command::get_name).collect();
        return Err(Failure::usage(format!(
            "there is no command {name:?} with keys: take one of {}",
            known.join(", ")
        )));
    };
    let file = global
        .config
        .as_deref()
        .map(|path| ConfigFile::read(path, cli))
        .transpose()?;
    let keys = match &file {
        Some(file) => file.keys(command, global.instance.as_deref())?,
        None => Vec::new(),
    };
    let mut text = String::new();
    let mut listed = Vec::new();
    for (name, arg) in flags(command).filter(|(name, _)| key.is_none_or(|key| key == *name)) {
        let set = keys.iter().find(|key| key.name == name);
        let (value, source) = match (set, &file) {
            (Some(key), Some(file)) => (shown(&key.value), format!("{}:{}", file.path.display(), key.line)),
            _ => match default(arg) {
                Some(default) => (default, "default".into()),
                None => ("-".into(), "not set".into()),
            },
        };
        let help = arg
            .get_long_help()
            .or(arg.get_help())
            .map(ToString::to_string)
            .unwrap_or_default();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "{name} = {value}   ({source})\n    {help}");
        listed.push(serde_json::json!({ "key": name, "value": value, "source": source, "help": help }));
    }
    if listed.is_empty() {
        return Err(Failure::usage(format!(
            "{name} has no key {:?}: `twinline config explain {name}` lists them",
            key.unwrap_or_default()
        )));
    }
    let mut finish = finish(text);
    finish.summary.set("keys", listed);
    Ok(finish)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Switch(on) => on.to_string(),
        Value::Texts(texts) => texts.join(", "),
    }
}

fn default(arg: &clap::Arg) -> Option<String> {
    if !arg.get_action().takes_values() {
        return Some("false".into());
    }
    let values = arg.get_default_values();
    let values: Vec<_> = values.iter().map(|value| value.to_string_lossy()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// A file with every key of every command, each switched off by a `#`.
fn example(cli: &Command) -> String {
    let mut text = String::from(
        "# Twinline's configuration: take the # away from what you set. `twinline config check FILE` checks it.\n\
         # Keys in [common] hold for every command that has them; [listen.NAME] is for --instance NAME.\n\n[common]\n",
    );
    for command in commands(cli) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "\n# {about}\n[{}]", command.get_name());
        for (name, arg) in flags(command) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "# {help}");
            let value = match (default(arg), arg.get_value_names()) {
                (Some(default), _) if !arg.get_action().takes_values() => default,
                (Some(default), _) => format!("{default:?}"),
                (None, names) => format!(
                    "{:?}",
                    names
                        .and_then(|names| names.first())
                        .map_or("", |name| name.as_str())
                ),
            };
            let _ = writeln!(text, "#{name} = {value}");
        }
    }
    text
}
