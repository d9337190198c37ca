//! Logs, on stderr: through `tracing`, for people or as JSON. The libraries do not log; what they tell, commands say.

use crate::cli::Global;
use crate::progress::Mode;
use clap::ValueEnum;
use std::fmt;
use std::io::IsTerminal;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line each: `warning: text`; with the time in front where stderr is no terminal.
    #[default]
    Human,
    /// A JSON object each, with time, level and text.
    Json,
}

/// From what level on logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// What an operator should know.
    Warn,
    /// And what a process is doing.
    Info,
}

/// Sets logging up for the process.
pub(crate) fn start(global: &Global) {
    let terminal = std::io::stderr().is_terminal();
    let people = terminal && global.progress == Mode::Auto || global.progress == Mode::Human;
    let level = match global.log_level {
        Some(LogLevel::Info) => Level::INFO,
        Some(LogLevel::Warn) => Level::WARN,
        None if people || global.log == LogFormat::Json => Level::INFO,
        None => Level::WARN,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr);
    match global.log {
        LogFormat::Human => builder.event_format(Human { timed: !terminal }).init(),
        LogFormat::Json => {
            let json = builder
                .json()
                .with_target(false)
                .flatten_event(true)
                .fmt_fields(JsonFields::new());
            json.init();
        }
    }
}

/// Lines for people.
struct Human {
    timed: bool,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'a> FormatFields<'a> + 'static> FormatEvent<S, N>
    for Human
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.timed {
            SystemTime.format_time(&mut out)?;
            out.write_char(' ')?;
        }
        let level = *event.metadata().level();
        if level == Level::ERROR {
            out.write_str("error: ")?;
        } else if level == Level::WARN {
            out.write_str("warning: ")?;
        }
        context.field_format().format_fields(out.by_ref(), event)?;
        writeln!(out)
    }
}
