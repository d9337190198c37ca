//! Sessions that are complete, whose beginning is gone, that another publisher took over, or that stay open.

use super::*;

#[test]
fn a_complete_session_is_only_announced_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path(), "boot");
    let lines = Recorded::default();
    let (mut publisher, store) = open_without_thread(at_once(), &place, lines.clone(), 1).unwrap();
    publisher.publish_batch(&[tick(1); 100], 1).unwrap();
    publisher.end_session(1).unwrap();
    // Killed before the store was told.
    drop((publisher, store));
    lines.take(Line::A);
    let Opened {
        mut publisher,
        reserver,
    } = open(at_once(), &place, lines.clone(), 5).unwrap();
    assert_eq!(publisher.phase(), Phase::Ending);
    assert_eq!(publisher.source_messages(), 100);
    let mut source = TestSource::new(10, 8);
    let stop = AtomicBool::new(false);
    let end = run(
        &mut publisher,
        reserver,
        &mut source,
        &RunConfig::default(),
        &stop,
    );
    assert_eq!(end.unwrap(), RunEnd::Complete);
    assert_eq!(source.position(), 0, "the source is not read");
    let sent = lines.take(Line::A);
    assert!(!sent.is_empty());
    for bytes in sent {
        let header = *Packet::parse(&bytes).unwrap().header();
        assert!(header.is_heartbeat() && header.flags == twinline_wire::flags::END_OF_SESSION);
    }
    drop(publisher);
    let store = EpochStore::open(&place.store).unwrap();
    assert!(store.channel(CHANNEL).unwrap().unwrap().ended);

    let next = twinline_feed::publisher::Place {
        session: Some(2),
        ..place.clone()
    };
    let (mut publisher, _) = open_without_thread(at_once(), &next, lines.clone(), 9).unwrap();
    assert_eq!(
        (
            publisher.session(),
            publisher.next_sequence(),
            publisher.position(0)
        ),
        (2, 1, 0)
    );
    publisher.publish(&tick(1), 9).unwrap();
    assert_eq!(source_messages(&place.journal, 2).len(), 1);
    assert_eq!(source_messages(&place.journal, 1).len(), 100);
}

#[test]
fn a_session_whose_beginning_is_gone_is_resumed_from_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut place = place(dir.path(), "boot");
    place.journal_config.retention.segments = Some(4);
    for run in 1..=8 {
        let (mut publisher, _) = open_without_thread(at_once(), &place, Recorded::default(), 1).unwrap();
        let mut source = TestSource::new(0, 8);
        source.next = publisher.position(SOURCE);
        assert_eq!(source.next, (run - 1) * 750);
        // Each run writes less than retention keeps, all of them together more.
        publish(&mut publisher, &mut source, run * 750);
        let events = (0..run * 750).filter(|&n| messages_of(n) > 0).count() as u64;
        assert_eq!(publisher.source_messages(), events);
    }
    let oldest = twinline_journal::info(&place.journal).unwrap();
    assert!(oldest.sessions[0].oldest > 1, "{oldest:?}");
}

#[test]
fn a_publisher_that_was_taken_over_stops() {
    let dir = tempfile::tempdir().unwrap();
    let first = place(dir.path(), "first");
    let lines = Recorded::default();
    let Opened {
        mut publisher,
        reserver,
    } = open(at_once(), &first, lines.clone(), unix_now()).unwrap();
    publisher.publish(&tick(1), unix_now()).unwrap();
    copy(&first.journal, &dir.path().join("replica"));
    let second = twinline_feed::publisher::Place {
        journal: dir.path().join("replica"),
        holder: holder("second"),
        ..first.clone()
    };
    let (successor, _) = open_without_thread(at_once(), &second, Recorded::default(), 1).unwrap();
    assert!(successor.next_sequence() > publisher.next_sequence());
    let mut source = TestSource::new(u64::MAX, 2);
    let stop = AtomicBool::new(false);
    let end = run(
        &mut publisher,
        reserver,
        &mut source,
        &RunConfig::default(),
        &stop,
    );
    assert!(
        matches!(end, Err(RunError::Publish(PublishError::Deposed { .. }))),
        "{end:?}"
    );
    let used = messages(&lines.take(Line::A)).into_keys().max().unwrap();
    assert!(
        used < successor.next_sequence(),
        "what it sent is below its successor's base"
    );
}

#[test]
fn told_to_stop_it_sends_what_it_has_and_leaves_the_session_open() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path(), "boot");
    /// Says to stop after some events.
    struct Stopping<'s>(TestSource, &'s AtomicBool);
    impl Source for Stopping<'_> {
        fn id(&self) -> u16 {
            self.0.id()
        }
        fn position(&self) -> u64 {
            self.0.position()
        }
        fn resume(&mut self, position: u64) -> Result<(), twinline_feed::source::SourceError> {
            self.0.resume(position)
        }
        fn poll(
            &mut self,
            now: u64,
            sink: &mut impl EventSink,
        ) -> Result<SourceState, twinline_feed::source::SourceError> {
            let state = self.0.poll(now, sink);
            if matches!(state, Ok(SourceState::Ready)) && self.0.next % 900 == 899 {
                self.1.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            state
        }
        fn counts(&self) -> Vec<twinline_feed::source::TypeCount> {
            Vec::new()
        }
    }
    let mut ends = Vec::new();
    for _ in 0..4 {
        let opened = open(at_once(), &place, Recorded::default(), unix_now()).unwrap();
        let Opened {
            mut publisher,
            reserver,
        } = opened;
        let stop = AtomicBool::new(false);
        let mut source = Stopping(TestSource::new(TOTAL, 8), &stop);
        ends.push(
            run(
                &mut publisher,
                reserver,
                &mut source,
                &RunConfig::default(),
                &stop,
            )
            .unwrap(),
        );
    }
    use RunEnd::{Complete, Stopped};
    assert_eq!(ends, [Stopped, Stopped, Stopped, Complete]);
    assert!(source_messages(&place.journal, 1) == uninterrupted());
    let all = messages(&packets(&place.journal, 1));
    let ends = all
        .values()
        .filter(|frame| frame[4..6] == EndOfSession::TEMPLATE.to_le_bytes());
    assert_eq!(ends.count(), 1);
}
