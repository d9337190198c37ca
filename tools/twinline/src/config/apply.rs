//! A configuration file as arguments of one command. They come before the user's own, and what the user gives replaces
//! what the file says: the flag itself, all of it if it may be given several times, and flags that exclude it.

use super::file::{COMMON, ConfigFile, Key, flags};
use crate::exit::Failure;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use std::collections::HashSet;

impl ConfigFile {
    /// What the file says for `command`: of `[common]`, `[command]` and `[command.instance]` the last one that has a key.
    ///
    /// # Errors
    /// If the file has no such instance.
    pub(super) fn keys(&self, command: &Command, instance: Option<&str>) -> Result<Vec<&Key>, Failure> {
        let name = command.get_name();
        if let Some(instance) = instance
            && !self
                .sections
                .iter()
                .any(|section| section.command == name && section.instance.as_deref() == Some(instance))
        {
            return Err(Failure::usage(format!(
                "{} has no section [{name}.{instance}]: write it, or leave --instance out",
                self.path.display()
            )));
        }
        let known: HashSet<&str> = flags(command).map(|(name, _)| name).collect();
        let mut keys: Vec<&Key> = Vec::new();
        let order = [(COMMON, None), (name, None), (name, instance)];
        let order = &order[..2 + usize::from(instance.is_some())];
        for (command, instance) in order {
            let of = |section: &&super::file::Section| {
                section.command == *command && section.instance.as_deref() == *instance
            };
            for key in self.sections.iter().filter(of).flat_map(|section| &section.keys) {
                if known.contains(key.name.as_str()) {
                    keys.retain(|before| before.name != key.name);
                    keys.push(key);
                }
            }
        }
        Ok(keys)
    }

    /// The keys of the file that hold beside what the user gave, as `given`.
    pub(super) fn holding(
        &self,
        command: &Command,
        instance: Option<&str>,
        given: Option<&ArgMatches>,
    ) -> Result<Vec<&Key>, Failure> {
        let mut keys = self.keys(command, instance)?;
        if let Some(given) = given {
            let replaced = replaced(command, given);
            keys.retain(|key| !replaced.contains(&key.name));
        }
        Ok(keys)
    }
}

/// Keys as arguments.
pub(super) fn arguments(command: &Command, keys: &[&Key]) -> Vec<String> {
    let arg = |key: &Key| {
        flags(command)
            .find(|(name, _)| *name == key.name)
            .map(|(_, arg)| arg)
    };
    keys.iter()
        .filter_map(|key| arg(key).map(|arg| key.arguments(arg)))
        .flatten()
        .collect()
}

/// Names of the flags that what the user gave stands in place of.
fn replaced(command: &Command, given: &ArgMatches) -> HashSet<String> {
    let is_given = |id: &str| {
        let known = given.try_contains_id(id).is_ok();
        known && given.value_source(id) == Some(ValueSource::CommandLine)
    };
    let mut replaced = HashSet::new();
    for arg in command
        .get_arguments()
        .filter(|arg| is_given(arg.get_id().as_str()))
    {
        replaced.extend(arg.get_long().map(String::from));
        let excluded = command.get_arg_conflicts_with(arg).into_iter();
        replaced.extend(excluded.filter_map(|other| other.get_long()).map(String::from));
    }
    for group in command.get_groups() {
        let alone = !group.clone().is_multiple();
        if alone && group.get_args().any(|id| is_given(id.as_str())) {
            let others = command
                .get_arguments()
                .filter(|arg| group.get_args().any(|id| id == arg.get_id()));
            replaced.extend(others.filter_map(|other| other.get_long()).map(String::from));
        }
    }
    // What excludes a given flag from its own side.
    for arg in command.get_arguments() {
        let excludes = command
            .get_arg_conflicts_with(arg)
            .into_iter()
            .any(|other| is_given(other.get_id().as_str()));
        if excludes {
            replaced.extend(arg.get_long().map(String::from));
        }
    }
    replaced
}
