//! The real sources through the publisher: what they say is accounted for, and interruptions leave no trace.

mod common;

use common::*;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use twinline_feed::publisher::{Opened, Place, open, open_without_thread};
use twinline_feed::run::{RunConfig, RunEnd, run, unix_now};
use twinline_feed::source::generator::{Generator, GeneratorConfig, Profile};
use twinline_feed::source::itch::ItchFile;
use twinline_feed::source::pace::Pace;
use twinline_feed::source::{Outcome, Source};

fn roomy(dir: &Path) -> Place {
    let mut place = place(dir, "boot");
    place.journal_config.segment_size = 1 << 20;
    place
}

/// Publishes `source` from where the journal ends, to its end.
fn finish(place: &Place, source: &mut impl Source) -> u64 {
    let opened = open(at_once(), place, Recorded::default(), unix_now()).unwrap();
    let Opened {
        mut publisher,
        reserver,
    } = opened;
    let stop = AtomicBool::new(false);
    let end = run(&mut publisher, reserver, source, &RunConfig::default(), &stop);
    assert_eq!(end.unwrap(), RunEnd::Complete);
    publisher.source_messages()
}

fn interruptions_leave_no_trace<S: Source>(make: impl Fn() -> S) {
    let dir = tempfile::tempdir().unwrap();
    let whole = roomy(&dir.path().join("whole"));
    let cut = roomy(&dir.path().join("cut"));
    for place in [&whole, &cut] {
        std::fs::create_dir_all(place.store.parent().unwrap()).unwrap();
    }
    let mut source = make();
    let published = finish(&whole, &mut source);
    let counts = source.counts();
    let told: u64 = counts
        .iter()
        .filter(|count| count.outcome == Outcome::Published)
        .map(|count| count.messages)
        .sum();
    assert_eq!(
        published, told,
        "every source message that has a template is in the stream"
    );
    assert_eq!(
        counts.iter().map(|count| count.messages).sum::<u64>(),
        source.position()
    );

    for polls in [1, 10, 5000, 20_000] {
        let (mut publisher, _) = open_without_thread(at_once(), &cut, Recorded::default(), 1).unwrap();
        let mut source = make();
        source.resume(publisher.position(source.id())).unwrap();
        for _ in 0..polls {
            publisher.event(1, |sink| source.poll(0, sink)).unwrap().unwrap();
        }
        // Gone without a word: what is in the open packet is lost, and read again.
    }
    assert_eq!(finish(&cut, &mut make()), published);
    let messages = source_messages(&whole.journal, 1);
    assert!(messages.len() as u64 >= published);
    assert!(messages == source_messages(&cut.journal, 1));
}

#[test]
fn the_generator_is_published_whole_whatever_interrupts_it() {
    interruptions_leave_no_trace(|| {
        Generator::new(GeneratorConfig {
            source: SOURCE,
            seed: 7,
            symbols: NonZeroU16::new(20).unwrap(),
            messages: Some(40_000),
            profile: Profile::ORDERS,
            pace: Pace::Max,
        })
    });
}

#[test]
fn an_itch_file_is_published_whole_whatever_interrupts_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("../shared/data/aapl-20120621-0930-1030.itch50.gz");
    if !path.exists() {
        eprintln!("not tested: {} is not here", path.display());
        return;
    }
    interruptions_leave_no_trace(|| ItchFile::open(&path, SOURCE, Pace::Max).unwrap());
}
