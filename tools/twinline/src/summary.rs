//! The one summary that every command ends with, and that progress lines carry while it runs: the same field names
//! everywhere, so that what reads one command's figures reads all of them.

mod text;

pub(crate) use text::show_counts;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts by name, in the order of their names.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What a command did. What does not concern it is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Summary {
    /// The command: `publish`, `listen` and so on; in a demo's children also which one, as `listener 2`.
    pub(crate) command: String,
    /// The exit code, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exit_code: Option<u8>,
    /// The exit code in words: its own, where the command has none that say it better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<String>,
    /// The error that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// How long it ran, in nanoseconds.
    pub(crate) elapsed_ns: u64,
    /// Where it stands in the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<Position>,
    /// Messages published, delivered, served or compared.
    pub(crate) messages: u64,
    /// Packets that held them.
    pub(crate) packets: u64,
    /// Bytes of those packets.
    pub(crate) bytes: u64,
    /// What the source said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<SourceSummary>,
    /// The two lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lines: Option<LinesSummary>,
    /// Gaps that both lines left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gaps: Option<GapsSummary>,
    /// Messages delivered, by origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delivered: Option<DeliveredSummary>,
    /// Messages that the stream declared lost, void, or that came after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) loss: Option<LossSummary>,
    /// Notices in the stream, by kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notices: Option<Counts>,
    /// Sending time to delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_ns: Option<LatencySummary>,
    /// Fair release: what was released at its moment, and what was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fair: Option<FairSummary>,
    /// What the impairer did, by line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) impairer: Option<ImpairerSummary>,
    /// The recovery service's or its client's own counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recovery: Option<Counts>,
    /// What the process cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<UsageSummary>,
    /// What an operator should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
    /// What people are shown in place of the figures.
    #[serde(skip)]
    pub(crate) own_text: String,
    /// True if people are shown nothing: stdout is for what the command shows itself.
    #[serde(skip)]
    pub(crate) silent: bool,
    /// True if stdout has an object a message: people are shown the figures on stderr.
    #[serde(skip)]
    pub(crate) printed: bool,
    /// What is particular to the command.
    #[serde(flatten)]
    pub(crate) detail: serde_json::Map<String, serde_json::Value>,
}

/// A place in the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Position {
    /// The channel.
    pub(crate) channel: u16,
    /// The session; 0 before the first packet.
    pub(crate) session: u32,
    /// The epoch.
    pub(crate) epoch: u32,
    /// The next sequence.
    pub(crate) next: u64,
    /// True if the session is complete.
    pub(crate) ended: bool,
}

/// Messages of a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SourceSummary {
    /// Messages consumed in this run.
    pub(crate) messages: u64,
    /// Where this run took up the source: the messages before were consumed by earlier runs.
    pub(crate) resumed_at: u64,
    /// Of this run's, those that were published.
    pub(crate) published: u64,
    /// Of this run's, those that were counted only.
    pub(crate) counted: u64,
    /// Source messages published in the session, by earlier runs and other sources too.
    pub(crate) published_in_session: u64,
    /// This run's, by type.
    pub(crate) by_type: Counts,
    /// Types that were counted only, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) not_published: BTreeMap<String, NotPublished>,
}

/// A type of source message of which no template of ours could be made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NotPublished {
    /// How many.
    pub(crate) messages: u64,
    /// Why.
    pub(crate) why: String,
    /// Position of the first of them in the source.
    pub(crate) first: u64,
}

/// Lines A and B.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LinesSummary {
    /// Line A.
    pub(crate) a: LineSummary,
    /// Line B.
    pub(crate) b: LineSummary,
}

/// What a process cost from its start to its end, by the kernel's count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UsageSummary {
    /// Processor time in its own code, in nanoseconds.
    pub(crate) cpu_user_ns: u64,
    /// Processor time in the kernel for it, in nanoseconds.
    pub(crate) cpu_system_ns: u64,
    /// Most memory that was resident, in bytes, mapped journals included.
    pub(crate) memory_peak: u64,
    /// Memory of its own at the end, in bytes, without mapped files.
    pub(crate) memory_anonymous: u64,
}

/// One line: sent on it or received from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LineSummary {
    /// Group, port and interface.
    pub(crate) address: String,
    /// What it goes through: `socket` or `xdp`.
    pub(crate) io: String,
    /// Datagrams sent or taken from it, good or bad.
    pub(crate) packets: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// The sender's part.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) sent: Option<SentSummary>,
    /// The receiver's part.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) heard: Option<HeardSummary>,
}

/// The sending end of a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SentSummary {
    /// Packets that the line did not take; recovery has them.
    pub(crate) send_failures: u64,
    /// Times that the kernel had no room at once.
    pub(crate) would_block: u64,
    /// Sends that carried several packets.
    pub(crate) bursts: u64,
}

/// The receiving end of a line. In messages, but for what says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeardSummary {
    /// Heartbeats among the packets.
    pub(crate) heartbeats: u64,
    /// Messages that the line brought, each once.
    pub(crate) received: u64,
    /// Messages that it brought more than once.
    pub(crate) duplicate: u64,
    /// Messages that it never brought.
    pub(crate) lost: u64,
    /// Messages that came after later ones.
    pub(crate) late: u64,
    /// Packets dropped, by reason.
    pub(crate) dropped: Counts,
    /// Datagrams that the kernel itself dropped.
    pub(crate) kernel_drops: u64,
}

/// Gaps that neither line closed in time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct GapsSummary {
    /// Opened.
    pub(crate) opened: u64,
    /// Closed by a late packet of a line.
    pub(crate) closed_by_lines: u64,
    /// Filled by recovery.
    pub(crate) filled: u64,
    /// Declared lost.
    pub(crate) lost: u64,
    /// Known only from a heartbeat and published nowhere.
    pub(crate) withdrawn: u64,
    /// Requests sent for them.
    pub(crate) requests: u64,
}

/// Messages delivered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DeliveredSummary {
    /// First brought by line A.
    pub(crate) line_a: u64,
    /// First brought by line B.
    pub(crate) line_b: u64,
    /// Brought by recovery.
    pub(crate) recovery: u64,
}

/// What was not delivered, in messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LossSummary {
    /// Declared lost.
    pub(crate) lost: u64,
    /// Delivered and void afterwards.
    pub(crate) void: u64,
    /// Came after they were declared lost.
    pub(crate) after_loss: u64,
}

/// Percentiles, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LatencySummary {
    /// Messages or packets measured.
    pub(crate) count: u64,
    /// Half are not above this.
    pub(crate) p50: u64,
    /// 90 of 100.
    pub(crate) p90: u64,
    /// 99 of 100.
    pub(crate) p99: u64,
    /// 999 of 1,000.
    pub(crate) p99_9: u64,
    /// 9,999 of 10,000.
    pub(crate) p99_99: u64,
    /// The largest.
    pub(crate) max: u64,
}

impl LatencySummary {
    /// Those of a histogram.
    pub(crate) fn of(all: &Histogram<u64>) -> Self {
        Self {
            count: all.len(),
            p50: all.value_at_quantile(0.5),
            p90: all.value_at_quantile(0.9),
            p99: all.value_at_quantile(0.99),
            p99_9: all.value_at_quantile(0.999),
            p99_99: all.value_at_quantile(0.9999),
            max: all.max(),
        }
    }
}

/// What a listener held until its moment, in messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FairSummary {
    /// From sending to release, in nanoseconds.
    pub(crate) hold_ns: u64,
    /// Came in time.
    pub(crate) on_time: u64,
    /// Came past their moment.
    pub(crate) late: u64,
    /// Released before their moment.
    pub(crate) early: u64,
    /// How long past their moment the late ones came.
    pub(crate) lateness_ns: LatencySummary,
    /// How long after their moment those that came in time were released.
    pub(crate) overshoot_ns: LatencySummary,
    /// Packets held now.
    pub(crate) held_packets: u64,
    /// Their bytes.
    pub(crate) held_bytes: u64,
    /// The clock that they are released by.
    pub(crate) clock: ClockSummary,
}

/// A host's clock, as far as it shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ClockSummary {
    /// As in the notice `ClockEvent`.
    pub(crate) state: String,
    /// Lowest receive time minus sending time of the last ten seconds.
    pub(crate) offset_ns: Option<i64>,
    /// What the kernel says of it.
    pub(crate) kernel_synchronised: Option<bool>,
    /// How far it may be off by the kernel's word.
    pub(crate) kernel_max_error_ns: Option<u64>,
}

/// What an impairer did to both lines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ImpairerSummary {
    /// What it was told to do.
    pub(crate) spec: String,
    /// To line A.
    pub(crate) a: FatesSummary,
    /// To line B.
    pub(crate) b: FatesSummary,
}

/// What became of one line's packets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FatesSummary {
    /// Messages kept from arriving on this line.
    pub(crate) missing: u64,
    /// Lost on this line.
    pub(crate) lost: TallySummary,
    /// Lost on both.
    pub(crate) lost_both: TallySummary,
    /// Delivered with a bit flipped.
    pub(crate) corrupted: TallySummary,
    /// Delivered twice.
    pub(crate) duplicated: TallySummary,
    /// Held back, then delivered.
    pub(crate) reordered: TallySummary,
    /// Delivered as they came.
    pub(crate) passed: TallySummary,
    /// No whole packet of ours: delivered as it came.
    pub(crate) foreign: u64,
}

/// Packets, and what was in them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TallySummary {
    /// Packets with messages.
    pub(crate) packets: u64,
    /// Their messages.
    pub(crate) messages: u64,
    /// Packets without.
    pub(crate) heartbeats: u64,
}

impl Summary {
    /// An empty summary of `command`.
    pub(crate) fn new(command: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            ..Self::default()
        }
    }

    /// Adds a field that is particular to the command.
    pub(crate) fn set(&mut self, name: &str, value: impl Serialize) {
        if let Ok(value) = serde_json::to_value(value) {
            self.detail.insert(name.into(), value);
        }
    }

    /// The sequence that comes next; 0 before anything came.
    pub(crate) fn next(&self) -> u64 {
        self.position.as_ref().map_or(0, |position| position.next)
    }

    /// The share of the source that is published, and at the pace so far how long the rest will take, in nanoseconds.
    pub(crate) fn source_share(&self) -> Option<(f64, u64)> {
        let share = self.detail.get("source_share")?.as_f64()?;
        let left = self.elapsed_ns as f64 * (1.0 - share) / share.max(1e-9);
        Some((share, left as u64))
    }

    /// The receiving ends of both lines.
    pub(crate) fn heard(&self) -> Option<[&HeardSummary; 2]> {
        let lines = self.lines.as_ref()?;
        Some([lines.a.heard.as_ref()?, lines.b.heard.as_ref()?])
    }

    /// Datagrams that the kernel dropped on both lines.
    pub(crate) fn kernel_drops(&self) -> u64 {
        self.heard()
            .map_or(0, |lines| lines.iter().map(|line| line.kernel_drops).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_reads_back_as_it_was_written() {
        let mut summary = Summary::new("listen");
        summary.exit_code = Some(0);
        summary.messages = 7;
        summary.lines = Some(LinesSummary {
            a: LineSummary {
                heard: Some(HeardSummary {
                    received: 5,
                    dropped: [("checksum".to_string(), 2)].into(),
                    ..HeardSummary::default()
                }),
                ..LineSummary::default()
            },
            b: LineSummary {
                sent: Some(SentSummary::default()),
                ..LineSummary::default()
            },
        });
        summary.set("equal", true);
        let text = serde_json::to_string(&summary).unwrap();
        assert!(!text.contains('\n') && text.contains("\"equal\":true"), "{text}");
        let back: Summary = serde_json::from_str(&text).unwrap();
        assert_eq!(back, summary);
    }
}
