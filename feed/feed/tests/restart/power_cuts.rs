//! What a power cut leaves, and how a publisher goes on from that.

use super::*;

/// What a power cut leaves of `live`, of which `synced` is durable: pages in between are kept, lost, zeroed or garbled.
fn power_cut(synced: &Path, live: &Path, to: &Path, seed: u64) {
    copy(live, to);
    let mut random = seed;
    let mut next = || {
        random = mix(random);
        random
    };
    for entry in fs::read_dir(live.join("journal")).unwrap() {
        let entry = entry.unwrap();
        let durable = synced.join("journal").join(entry.file_name());
        let cut = to.join("journal").join(entry.file_name());
        if entry
            .path()
            .extension()
            .is_none_or(|extension| extension != "seg")
        {
            if durable.exists() && entry.file_name() != "resume.json" {
                fs::copy(durable, cut).unwrap();
            }
            continue;
        }
        let mut bytes = fs::read(entry.path()).unwrap();
        let old = fs::read(&durable).unwrap_or_else(|_| vec![0; bytes.len()]);
        if !durable.exists() && next() % 2 == 0 {
            fs::remove_file(cut).unwrap();
            continue;
        }
        let mode = next() % 4;
        for (page, old) in bytes.chunks_mut(512).zip(old.chunks(512)) {
            if page == old || next() % 8 != 0 && mode != 0 {
                continue;
            }
            match mode {
                0 => page.copy_from_slice(old),
                1 => page.iter_mut().zip(old).for_each(|(new, old)| {
                    if *new != *old {
                        *new = 0;
                    }
                }),
                2 => {
                    let at = (0..page.len())
                        .filter(|&at| page[at] != old[at])
                        .nth(next() as usize % 3);
                    if let Some(at) = at {
                        page[at] ^= 1 << (next() % 8);
                    }
                }
                _ => page[256..].copy_from_slice(&old[256..]),
            }
        }
        fs::write(cut, bytes).unwrap();
    }
}

#[test]
fn after_a_power_cut_the_source_messages_are_those_of_an_uninterrupted_run() {
    let expected = uninterrupted();
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..12 {
        let root = tempfile::tempdir().unwrap();
        let mut dir = root.path().join("0");
        fs::create_dir(&dir).unwrap();
        let lines = Recorded::default();
        let mut everything = Vec::new();
        let (mut durable, mut published) = (0, 0);
        for cut in 1..=4_u64 {
            let boot = format!("boot {cut}");
            let (mut publisher, _) =
                open_without_thread(at_once(), &place(&dir, &boot), lines.clone(), 1).unwrap();
            let mut source = TestSource::new(0, 8);
            source.next = publisher.position(SOURCE);
            let held = publisher.source_messages();
            assert!(held >= durable, "what was durable is still there");
            lost += u32::from(held < published);
            kept += u32::from(held > durable);
            let until = (source.next + mix(seed * 8 + cut) % 700).min(TOTAL);
            publish(&mut publisher, &mut source, until);
            publisher.journal().sync().unwrap();
            durable = publisher.source_messages();
            let synced = root.path().join(format!("{cut} synced"));
            copy(&dir, &synced);
            let until = (until + mix(seed * 8 + cut + 4) % 500).min(TOTAL);
            publish(&mut publisher, &mut source, until);
            published = publisher.source_messages();
            let after = root.path().join(format!("{cut}"));
            power_cut(&synced, &dir, &after, seed * 8 + cut);
            dir = after;
            everything.append(&mut lines.take(Line::A));
        }
        let (mut publisher, store) =
            open_without_thread(at_once(), &place(&dir, "last"), lines.clone(), 1).unwrap();
        let mut source = TestSource::new(0, 8);
        source.next = publisher.position(SOURCE);
        publish(&mut publisher, &mut source, TOTAL);
        publisher.end_session(1).unwrap();
        let (store, grant) = store.unwrap();
        store.end_session(&grant).unwrap();
        everything.append(&mut lines.take(Line::A));
        messages(&everything);
        check(&dir, &expected, false);
    }
    assert!(
        lost > 10 && kept > 10,
        "of 36 cuts {lost} lost something, {kept} kept more than was durable"
    );
}
