//! The configuration file: TOML whose sections are commands and whose keys are their long flags.
//!
//! What keys there are, the command line's own definitions say, so a flag can never be missing here.

use crate::exit::Failure;
use clap::{Arg, Command};
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The section whose keys hold for every command that has such a flag.
pub(super) const COMMON: &str = "common";
/// Flags that make no sense in a file.
const NOT_IN_FILES: [&str; 5] = ["help", "version", "config", "instance", "with-parent"];
/// How alike a known name must be to be suggested.
const ALIKE: f64 = 0.75;

/// A configuration file.
#[derive(Debug)]
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    text: String,
    pub(super) sections: Vec<Section>,
}

/// `[command]`, `[command.instance]` or `[common]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) command: String,
    pub(super) instance: Option<String>,
    pub(super) keys: Vec<Key>,
}

/// A key and what it is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) value: Value,
    /// Line in the file, from 1.
    pub(super) line: usize,
}

/// What a key is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// true or false.
    Switch(bool),
    /// A value, or several of a flag that may be given several times.
    Texts(Vec<String>),
}

impl Key {
    /// It as arguments; a value that begins with a dash is still a value.
    pub(super) fn arguments(&self, arg: &Arg) -> Vec<String> {
        let takes_value = arg.get_action().takes_values();
        match &self.value {
            Value::Switch(on) if !takes_value => on.then(|| format!("--{}", self.name)).into_iter().collect(),
            Value::Switch(on) => vec![format!("--{}={on}", self.name)],
            Value::Texts(texts) => texts
                .iter()
                .map(|text| format!("--{}={text}", self.name))
                .collect(),
        }
    }
}

/// The commands that have a section: those that do something themselves.
pub(super) fn commands(cli: &Command) -> impl Iterator<Item = &Command> {
    cli.get_subcommands()
        .filter(|command| !command.has_subcommands() && flags(command).next().is_some())
        .filter(|command| !matches!(command.get_name(), "help" | "completions" | "man"))
}

/// A command's flags that may stand in a file.
pub(super) fn flags(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    command
        .get_arguments()
        .filter_map(|arg| arg.get_long().map(|long| (long, arg)))
        .filter(|(long, _)| !NOT_IN_FILES.contains(long))
}

impl ConfigFile {
    /// Reads a file and checks sections and keys against `cli`, which is built.
    ///
    /// # Errors
    /// If it cannot be read or is no TOML, or for a section or key that there is not, with its place.
    pub(super) fn read(path: &Path, cli: &Command) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|cause| {
            Failure::error(format!(
                "cannot read the configuration {}: {cause}",
                path.display()
            ))
        })?;
        let mut file = Self {
            path: path.to_owned(),
            text,
            sections: Vec::new(),
        };
        file.sections = file.parse(cli)?;
        Ok(file)
    }

    fn parse(&self, cli: &Command) -> Result<Vec<Section>, Failure> {
        let root = DeTable::parse(&self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.wrong(at, error.message())
        })?;
        let mut sections = Vec::new();
        for (name, value) in root.get_ref() {
            let known: Vec<&str> = commands(cli).map(Command::get_name).chain([COMMON]).collect();
            if !known.contains(&name.get_ref().as_ref()) {
                return Err(self.unknown(name.span().start, "section", name.get_ref(), &known));
            }
            let DeValue::Table(table) = value.get_ref() else {
                let text = format!(
                    "{0} stands alone: keys belong into a section, as in [{0}]",
                    name.get_ref()
                );
                return Err(self.wrong(name.span().start, &text));
            };
            self.section(cli, name.get_ref(), None, table, &mut sections)?;
        }
        Ok(sections)
    }

    fn section(
        &self,
        cli: &Command,
        command: &str,
        instance: Option<&str>,
        table: &DeTable<'_>,
        sections: &mut Vec<Section>,
    ) -> Result<(), Failure> {
        let of_section = commands(cli).filter(|known| command == COMMON || known.get_name() == command);
        let known: Vec<&str> = of_section
            .flat_map(|command| flags(command).map(|(name, _)| name))
            .collect();
        let mut keys = Vec::new();
        let mut instances = Vec::new();
        for (name, value) in table {
            let text = name.get_ref().as_ref();
            if known.contains(&text) {
                keys.push(Key {
                    name: text.into(),
                    value: self.value(value)?,
                    line: self.place(name.span().start).0,
                });
                continue;
            }
            match value.get_ref() {
                DeValue::Table(table) if instance.is_none() && command != COMMON => {
                    instances.push((text, table))
                }
                _ => return Err(self.unknown(name.span().start, "key", text, &known)),
            }
        }
        sections.push(Section {
            command: command.into(),
            instance: instance.map(Into::into),
            keys,
        });
        for (name, table) in instances {
            self.section(cli, command, Some(name), table, sections)?;
        }
        Ok(())
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Result<Value, Failure> {
        match value.get_ref() {
            DeValue::Boolean(on) => Ok(Value::Switch(*on)),
            DeValue::Array(all) => all
                .iter()
                .map(|one| self.text(one))
                .collect::<Result<_, _>>()
                .map(Value::Texts),
            _ => Ok(Value::Texts(vec![self.text(value)?])),
        }
    }

    /// A single value as it would stand on the command line; a table as `key=value,key=value`.
    fn text(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Failure> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().replace('_', "")),
            DeValue::Float(number) => Ok(number.as_str().replace('_', "")),
            DeValue::Boolean(on) => Ok(on.to_string()),
            DeValue::Datetime(time) => Ok(time.to_string()),
            DeValue::Table(table) => {
                let parts = table
                    .iter()
                    .map(|(key, value)| Ok(format!("{}={}", key.get_ref(), self.text(value)?)));
                Ok(parts.collect::<Result<Vec<_>, Failure>>()?.join(","))
            }
            DeValue::Integer(_) => Err(self.wrong(value.span().start, "write numbers in decimal")),
            DeValue::Array(_) => Err(self.wrong(value.span().start, "a list cannot hold a list")),
        }
    }

    /// Line and column of a byte, from 1.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        (line, column)
    }

    fn wrong(&self, at: usize, what: &str) -> Failure {
        let (line, column) = self.place(at);
        Failure::usage(format!("{}:{line}:{column}: {what}", self.path.display()))
    }

    fn unknown(&self, at: usize, what: &str, name: &str, known: &[&str]) -> Failure {
        let alike = |known: &&str| strsim::jaro_winkler(name, known);
        let nearest = known
            .iter()
            .copied()
            .max_by(|one, other| alike(one).total_cmp(&alike(other)));
        let hint = match nearest.filter(|nearest| alike(nearest) >= ALIKE) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => "`twinline config example` lists what there is".into(),
        };
        self.wrong(at, &format!("there is no {what} {name:?}: {hint}"))
    }
}
