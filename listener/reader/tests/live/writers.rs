//! Listeners that end, are killed, say nothing, or are of another make.

use super::*;

#[test]
fn a_listener_that_ends_and_comes_again_is_told_of_and_nothing_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), config(None), 5);
    feed.begin_session();
    let mut readers: Vec<_> = [Overrun::Fill, Overrun::Skip]
        .map(|overrun| (attach(&feed, options(Start::Oldest, overrun)), Got::default()))
        .into();
    for _ in 0..3 {
        (0..100).for_each(|_| feed.anything());
        readers.iter_mut().for_each(|(reader, got)| got.drain(reader));
        // The last of it is read only when the listener is gone.
        (0..20).for_each(|_| feed.anything());
        feed.stop();
        for (reader, got) in &mut readers {
            wait_for(got, reader, |got, _| {
                got.writer.last() == Some(&WriterState::Closed)
            });
            assert!(reader.stale().writer);
            assert!(reader.books().all(|book| book.is_stale()));
        }
        feed.start();
        // Before readers come: they have it from the journal, or the ring.
        (0..20).for_each(|_| feed.anything());
        for (reader, got) in &mut readers {
            wait_for(got, reader, |got, _| {
                got.writer.last() == Some(&WriterState::Alive)
            });
            assert!(!reader.stale().writer);
        }
    }
    let written = feed.items();
    for (reader, got) in &mut readers {
        wait_for(got, reader, |got, _| got.items.len() >= written.len());
        assert_eq!(got.items, written);
        assert_eq!(got.writer, [WriterState::Closed, WriterState::Alive].repeat(3));
        assert!(got.missed.is_empty());
        assert_eq!(reader.all_books().unwrap().checksum(), feed.checksum());
    }
}

#[test]
fn a_writer_that_does_not_turn_is_silent_and_alive_again_when_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), config(None), 6);
    feed.begin_session();
    let mut reader = attach(&feed, options(Start::Oldest, Overrun::Fill));
    let mut got = Got::default();
    wait_for(&mut got, &mut reader, |got, _| {
        got.writer == [WriterState::Silent]
    });
    assert!(reader.stale().writer && reader.writer() == WriterState::Silent);
    feed.beat();
    wait_for(&mut got, &mut reader, |got, _| got.writer.len() == 2);
    assert_eq!(got.writer[1], WriterState::Alive);
    wait_for(&mut got, &mut reader, |got, _| got.writer.len() == 3);
    feed.events(1);
    wait_for(&mut got, &mut reader, |got, _| got.writer.len() == 4);
    assert!(!reader.stale().is_stale());
    got.drain(&mut reader);
    assert_eq!(got.items, feed.items());
}

#[test]
fn a_ring_of_another_layout_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let feed = Feed::new(dir.path(), config(None), 7);
    let path = feed.ring_dir.join(format!("channel-{CHANNEL}.ring"));
    let mut bytes = std::fs::read(&path).unwrap();
    let known = twinline_ring::LAYOUT_VERSION;
    let version = bytes
        .chunks(8)
        .position(|word| word == known.to_ne_bytes())
        .unwrap();
    bytes[8 * version..8 * version + 8].copy_from_slice(&(known + 1).to_ne_bytes());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let error = Reader::attach(&feed.ring_dir, CHANNEL, Options::default()).unwrap_err();
    assert!(error.to_string().contains("layout"), "{error}");
}

#[test]
fn readers_go_on_behind_listeners_that_are_killed() {
    let dir = tempfile::tempdir().unwrap();
    let ring = dir.path().join("ring");
    let mut dice = Dice::new(77);
    let mut readers: Vec<(Reader, Got)> = Vec::new();
    for round in 0..25 {
        let mut writer = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_writer_that_is_to_be_killed"])
            .env(WRITER, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let alive = |readers: &[(Reader, Got)]| {
            let states = readers.iter().flat_map(|(_, got)| &got.writer);
            states.filter(|state| **state == WriterState::Alive).count()
        };
        let (start, before) = (Instant::now(), alive(&readers));
        // Killed at some time after both readers have found it.
        let mut until = None;
        while until.is_none_or(|until| Instant::now() < until) {
            assert!(start.elapsed() < PATIENCE, "no listener in round {round}");
            let found = match round {
                0 => readers.len() == 2,
                _ => alive(&readers) >= before + 2,
            };
            if found {
                until.get_or_insert(Instant::now() + Duration::from_millis(dice.below(40)));
            }
            if readers.is_empty()
                && let Ok(reader) = Reader::attach(&ring, CHANNEL, options(Start::Oldest, Overrun::Fill))
            {
                let other = Reader::attach(&ring, CHANNEL, options(Start::Oldest, Overrun::Skip)).unwrap();
                readers.extend([reader, other].map(|reader| (reader, Got::default())));
            }
            for (reader, got) in &mut readers {
                if dice.below(50) > 0 {
                    got.drain(reader);
                }
            }
            if dice.below(20) == 0 {
                thread::sleep(Duration::from_millis(dice.below(8)));
            }
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        if round % 4 == 0 {
            for (reader, got) in &mut readers {
                wait_for(got, reader, |got, _| {
                    got.writer.last() == Some(&WriterState::Dead)
                });
            }
            if round % 8 == 0 {
                // Somebody tidies up: nothing of the old ring can say that there is a new one.
                std::fs::remove_dir_all(&ring).unwrap();
            }
        }
    }
    let written = journal_items(&dir.path().join("journal"));
    assert!(written.len() > 1000);
    for (reader, got) in &mut readers {
        wait_for(got, reader, |got, _| {
            got.writer.last() == Some(&WriterState::Dead)
        });
        // The last one may have been killed before it put into the ring what is in its journal: that comes behind the notice.
        got.drain(reader);
        let end = reader.position();
        got.drain(reader);
        assert_eq!(reader.position(), end, "the journal was read to its end");
        let ends = |state| got.writer.iter().filter(|one| **one == state).count();
        assert!(
            ends(WriterState::Dead) >= 6 && ends(WriterState::Replaced) >= 6,
            "{:?}",
            got.writer
        );
    }
    assert_complement(&written, &readers[1].1);
    assert_once_in_order(&written, &readers[0].1.items, false);
}
