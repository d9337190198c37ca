//! The thread of one channel where there are several sources or channels: it publishes what its queues bring.

use super::queue::{Batch, Found, Reader};
use crate::publisher::{Lines, PublishError};
use crate::run::{Now, RunError, Shell, Turn};
use crate::source::EventSink;
use twinline_wire::Frame;
use twinline_wire::session::SourcePosition;

/// How often the positions of sources that said nothing on the channel are published, in nanoseconds.
const RECORD_EVERY: u64 = 50_000_000;

/// How long the thread may sleep while nothing comes, in nanoseconds.
const LOOK_EVERY: u64 = 1_000_000;

/// A source as a channel sees it.
#[derive(Debug)]
struct Input {
    source: u16,
    reader: Reader,
    batch: Option<Batch>,
    /// Bytes of the batch that are published.
    at: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// It said everything.
    Ended,
    /// Its thread is over and it did not say everything.
    Gone,
}

/// The sources of a channel.
#[derive(Debug)]
pub(super) struct Inputs {
    inputs: Vec<Input>,
    recorded: u64,
}

impl Inputs {
    pub(super) fn new(readers: Vec<(u16, Reader)>) -> Self {
        let input = |(source, reader)| Input {
            source,
            reader,
            batch: None,
            at: 0,
            state: State::Open,
        };
        Self {
            inputs: readers.into_iter().map(input).collect(),
            recorded: 0,
        }
    }

    /// Publishes a batch of each source that has one.
    pub(super) fn turn<L: Lines>(&mut self, shell: &mut Shell<'_, L>, now: Now) -> Result<Turn, RunError> {
        let mut idle = true;
        for input in &mut self.inputs {
            if input.batch.is_none() && input.state == State::Open {
                input.receive();
            }
            if input.batch.is_none() {
                continue;
            }
            idle = false;
            match input.publish(shell, now) {
                Ok(()) => shell.fed(),
                Err(error) => {
                    shell.refused(error, now)?;
                    return Ok(Turn::Goes);
                }
            }
        }
        let over = self.inputs.iter().all(|input| input.state != State::Open);
        if now.mono - self.recorded >= RECORD_EVERY || idle && over {
            self.recorded = now.mono;
            shell.publisher.record_positions(now.unix)?;
        } else if idle {
            shell.publisher.flush(now.unix)?;
        }
        for input in &self.inputs {
            input.reader.commit(shell.publisher.committed(input.source));
        }
        if !idle {
            return Ok(Turn::Goes);
        }
        if over {
            let complete = self.inputs.iter().all(|input| input.state == State::Ended);
            return Ok(if complete { Turn::Complete } else { Turn::Halted });
        }
        shell.config.idle.idle(LOOK_EVERY);
        Ok(Turn::Goes)
    }
}

impl Input {
    fn receive(&mut self) {
        match self.reader.next() {
            Found::Batch(batch) => {
                self.at = 0;
                if batch.last {
                    self.state = State::Ended;
                }
                self.batch = Some(batch);
            }
            Found::Nothing => {}
            Found::Gone => self.state = State::Gone,
        }
    }

    /// Publishes the rest of the batch and gives it back. After an error it can be called again.
    fn publish<L: Lines>(&mut self, shell: &mut Shell<'_, L>, now: Now) -> Result<(), PublishError> {
        let Some(batch) = &self.batch else {
            return Ok(());
        };
        while self.at < batch.bytes.len() {
            let rest = &batch.bytes[self.at..];
            let left = shell.publisher.event(now.unix, |sink| say(rest, sink))?;
            self.at = batch.bytes.len() - left;
        }
        if let Some(batch) = self.batch.take() {
            self.reader.give_back(batch);
        }
        Ok(())
    }
}

/// Says the first event of `rest`; returns how many bytes stand behind it.
#[inline]
fn say(mut rest: &[u8], sink: &mut impl EventSink) -> usize {
    while let Some((frame, after)) = Frame::split(rest) {
        rest = after;
        if let Some(end) = frame.view::<SourcePosition>() {
            sink.end_event(end.source.get(), end.position.get());
            break;
        }
        sink.push_frame(&frame);
    }
    rest.len()
}
