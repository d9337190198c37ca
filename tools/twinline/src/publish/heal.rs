//! Before a publisher opens its epoch it asks its replicas for what its journal may have lost.

use crate::exit::Failure;
use crate::progress::Progress;
use crate::recover::next_port;
use crate::units;
use clap::Args;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use twinline_feed::publisher::Place;
use twinline_journal::JournalWriter;
use twinline_journal::epoch::EpochStore;
use twinline_recovery::ClientConfig;
use twinline_recovery::replica::{Asked, CatchUp, catch_up};

/// Who is asked, and for how long.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Replicas")]
pub(super) struct HealArgs {
    /// After a power cut, or on another journal than the last publisher's, first take from these replicas what they hold
    /// more of the session; of several channels each address is the first one's, and each next one is at the next port
    #[arg(long, value_name = "ADDRESS:PORT", value_delimiter = ',')]
    replica: Vec<SocketAddr>,
    /// Go on without a replica that brings nothing for so long
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = units::duration)]
    replica_patience: Duration,
}

impl HealArgs {
    /// Completes the journal of the channel of this place, if it may need that.
    pub(super) fn heal(
        &self,
        place: usize,
        home: &Place,
        stop: &AtomicBool,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        if self.replica.is_empty() {
            return Ok(());
        }
        let channel = home.journal_config.channel;
        let Some(record) = EpochStore::open(&home.store)?.channel(channel)? else {
            return Ok(());
        };
        let mut journal = JournalWriter::open(&home.journal, home.journal_config.clone())?;
        if !CatchUp::is_needed(&record, &home.holder, journal.id()) {
            return Ok(());
        }
        let replicas = self.replica.iter();
        let replicas = replicas.map(|first| next_port(*first, u16::try_from(place).ok()?));
        let replicas = replicas
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Failure::usage("a replica's port is too high for so many channels"))?;
        let outcome = catch_up(
            &home.journal,
            &mut journal,
            record,
            &ClientConfig::new("publisher", channel),
            &replicas,
            self.replica_patience,
            stop,
        )?;
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::error(
                "it was stopped while it asked its replicas; nothing was published",
            ));
        }
        for (address, asked) in replicas.iter().zip(&outcome.asked) {
            if let Asked::Failed(why) = asked {
                progress.warn(format!(
                    "replica {address} did not help to complete the journal of channel {channel}: {why}; what only it \
                     holds will be void"
                ));
            }
        }
        if outcome.messages > 0 {
            progress.warn(format!(
                "the journal of channel {channel} had lost its end: {} messages in {} packets were taken back from replicas",
                outcome.messages, outcome.packets
            ));
        }
        Ok(())
    }
}
