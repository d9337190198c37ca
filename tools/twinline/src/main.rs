//! The `twinline` command: every part of Twinline as a process, and the demo that runs them all.
//!
//! The libraries decide and move data; this package is where flags, signals, progress and exit codes live. Each
//! subcommand has a module with its arguments and a `run` that returns a [`Finish`](exit::Finish): a summary, and how it
//! ended.

mod bench;
mod book;
mod capture;
mod child;
mod cli;
mod config;
mod decode;
mod demo;
mod diff;
mod doctor;
mod exit;
mod io_args;
mod journal;
mod lab;
mod line_args;
mod listen;
mod logs;
mod manual;
mod metrics;
mod parent;
mod progress;
mod publish;
mod recover;
mod replay;
mod replica;
mod served;
mod show;
mod signals;
mod simulate;
mod summary;
mod table;
mod tail;
mod top;
mod units;
mod usage;

use cli::{Command, Global};
use exit::{Failure, Finish};
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;
use summary::Summary;

fn main() -> ExitCode {
    let cli = match config::command_line() {
        Ok(cli) => cli,
        Err(failure) => {
            eprintln!("error: {}", failure.text);
            return ExitCode::from(failure.exit.code());
        }
    };
    logs::start(&cli.global);
    let started = Instant::now();
    let name = cli.command.name();
    let mut finish =
        run(cli.command, &cli.global).unwrap_or_else(|failure| Finish::failed(Summary::new(name), failure));
    let summary = &mut finish.summary;
    summary.exit_code = Some(finish.exit.code());
    summary
        .outcome
        .get_or_insert_with(|| finish.exit.meaning().into());
    summary.error.clone_from(&finish.error);
    if matches!(name, "publish" | "recover" | "listen" | "replica") {
        summary.usage = usage::own();
    }
    if summary.elapsed_ns == 0 {
        summary.elapsed_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    }
    report(&finish, &cli.global);
    ExitCode::from(finish.exit.code())
}

fn run(command: Command, global: &Global) -> Result<Finish, Failure> {
    parent::end_with(global.with_parent)?;
    match command {
        Command::Publish(args) => publish::run(&args, global),
        Command::Recover(args) => recover::run(&args, global),
        Command::Listen(args) => listen::run(&args, global),
        Command::Journal(args) => journal::run(&args),
        Command::Decode(args) => decode::run(&args, global),
        Command::Book(args) => book::run(&args, global),
        Command::Capture(args) => capture::run(&args, global),
        Command::Replay(args) => replay::run(&args, global),
        Command::Tail(args) => tail::run(&args, global),
        Command::Replica(args) => replica::run(&args, global),
        Command::Top(args) => top::run(&args, global),
        Command::Diff(args) => diff::run(&args, global),
        Command::Doctor(args) => doctor::run(&args, global),
        Command::Simulate(args) => simulate::run(&args, global),
        Command::Demo(args) => demo::run(&args, global),
        Command::Lab(args) => lab::run(&args, global),
        Command::Bench(args) => bench::run(&args, global),
        Command::Config(args) => config::run(&args, global),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
    }
}

/// The last words: the summary on stdout (on stderr if stdout is for messages), an error as one line on stderr. A reader that went away is no error.
fn report(finish: &Finish, global: &Global) {
    let mut stdout = std::io::stdout().lock();
    let _ = if global.json {
        match serde_json::to_string(&finish.summary) {
            Ok(text) => writeln!(stdout, "{text}"),
            Err(error) => writeln!(std::io::stderr(), "error: the summary cannot be written: {error}"),
        }
    } else if finish.error.is_none() || finish.summary.messages > 0 {
        let text = finish.summary.text();
        match finish.summary.printed {
            true => write!(std::io::stderr(), "{text}"),
            false => write!(stdout, "{text}"),
        }
    } else {
        Ok(())
    };
    let _ = stdout.flush();
    if let Some(error) = &finish.error {
        let line = error.replace('\n', " ");
        if global.log == logs::LogFormat::Json {
            tracing::error!("{line}");
        } else {
            // As every tool says it: a program that looks for it finds it at the line's beginning.
            let _ = writeln!(std::io::stderr(), "error: {line}");
        }
    }
}
