//! Whether threads turn over, and answers that say so, or why not.

use super::http::{Answer, Request};
use serde_json::json;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether the threads' turns grow.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A thread whose turns have not grown for so long hangs: each turns over at least a few times a second, whatever it waits for.
const HANGS_AFTER: Duration = Duration::from_secs(5);

/// When each channel's thread was last seen to turn over.
pub(super) struct Health(Mutex<Vec<Pulse>>);

struct Pulse {
    turns: u64,
    seen: Instant,
}

impl Health {
    /// The threads begin with so many turns.
    pub(super) fn new(turns: Vec<u64>) -> Self {
        let seen = Instant::now();
        Self(Mutex::new(
            turns.into_iter().map(|turns| Pulse { turns, seen }).collect(),
        ))
    }

    /// Notes the turns.
    pub(super) fn look(&self, turns: &[u64]) {
        self.look_at(turns, Instant::now());
    }

    fn look_at(&self, turns: &[u64], now: Instant) {
        let mut pulses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (pulse, &turns) in pulses.iter_mut().zip(turns) {
            if pulse.turns != turns {
                *pulse = Pulse { turns, seen: now };
            }
        }
    }

    /// For each thread, that it hangs if it does.
    pub(super) fn hung(&self, turns: &[u64]) -> Vec<Option<String>> {
        self.hung_at(turns, Instant::now())
    }

    fn hung_at(&self, turns: &[u64], now: Instant) -> Vec<Option<String>> {
        self.look_at(turns, now);
        let pulses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hung = |pulse: &Pulse| {
            let still = now.saturating_duration_since(pulse.seen);
            (still >= HANGS_AFTER).then(|| {
                format!(
                    "its thread has not turned over for {} s: it hangs, or waits for a disk or a source that does not answer",
                    still.as_secs()
                )
            })
        };
        pulses.iter().map(hung).collect()
    }
}

/// Starts the thread that looks.
pub(super) fn start(look: impl Fn() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name("metrics-pulse".into());
    thread.spawn(move || {
        loop {
            look();
            thread::sleep(LOOK_EVERY);
        }
    })?;
    Ok(())
}

/// 200 if no channel has a reason why it is not so; otherwise 503 with all of them.
pub(super) fn answer(
    what: &str,
    channels: impl Iterator<Item = (u16, Vec<String>)>,
    request: &Request<'_>,
) -> Answer {
    let each =
        channels.flat_map(|(channel, reasons)| reasons.into_iter().map(move |reason| (channel, reason)));
    let reasons: Vec<(u16, String)> = each.collect();
    let status = if reasons.is_empty() { 200 } else { 503 };
    if request.wants_json {
        let reason = |(channel, reason): &(u16, String)| json!({ "channel": channel, "reason": reason });
        let reasons: Vec<_> = reasons.iter().map(reason).collect();
        return Answer::json(status, &json!({ what: status == 200, "reasons": reasons }));
    }
    let text = match status {
        200 => format!("{what}\n"),
        _ => {
            let line =
                |(channel, reason): &(u16, String)| format!("not {what}: channel {channel}: {reason}\n");
            reasons.iter().map(line).collect()
        }
    };
    Answer::text(status, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_hangs_once_its_turns_stand_still_for_long() {
        let health = Health::new(vec![0, 0]);
        let start = Instant::now();
        health.look_at(&[1, 1], start);
        let later = start + HANGS_AFTER / 2;
        assert_eq!(health.hung_at(&[1, 2], later), [None, None]);
        let hung = health.hung_at(&[1, 2], start + HANGS_AFTER);
        assert!(hung[0].as_ref().unwrap().contains("5 s"), "{hung:?}");
        assert_eq!(hung[1], None);
        assert_eq!(health.hung_at(&[2, 3], start + 2 * HANGS_AFTER), [None, None]);
    }

    #[test]
    fn an_answer_names_every_reason_and_its_channel() {
        let reasons = || {
            [
                (1, vec![]),
                (2, vec!["it is late".to_string(), "it is wrong".to_string()]),
            ]
            .into_iter()
        };
        let mut request = Request {
            path: "/readyz",
            wants_json: false,
        };
        let text = answer("ready", reasons(), &request);
        assert_eq!(text.status, 503);
        assert_eq!(
            text.body,
            "not ready: channel 2: it is late\nnot ready: channel 2: it is wrong\n"
        );
        assert_eq!(answer("ready", reasons().take(1), &request).body, "ready\n");
        request.wants_json = true;
        let json: serde_json::Value =
            serde_json::from_str(&answer("ready", reasons(), &request).body).unwrap();
        assert_eq!(
            (&json["ready"], &json["reasons"][1]["channel"]),
            (&false.into(), &2.into())
        );
    }
}
