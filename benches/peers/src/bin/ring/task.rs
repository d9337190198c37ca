//! What the two ends of a connection do together. The near end runs on core 0 and keeps the time; the far end runs on core 1,
//! in a thread or a process, and is told on a pipe what to do.

use crate::ends::{End, Received};
use std::error::Error;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

/// Who waits so long for a message gives up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Records between two looks at the clock of a paced stream.
const BURST: u64 = 32;

/// The far end's part: sends every message back, or takes in `count` messages and then says so with one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    Echo { count: u64 },
    Drain { count: u64 },
}

/// The far end of one connection: does a task, and tells how often it was overrun.
pub(crate) type Far = Box<dyn FnMut(Task) -> Result<u64, String>>;

/// The far part of `end`.
pub(crate) fn far<E: End + 'static>(mut end: E) -> Far {
    Box::new(move |task| match task {
        Task::Echo { count } => {
            for number in 0..count {
                wait_for(&mut end, number)?;
                end.send(number);
            }
            Ok(0)
        }
        Task::Drain { count } => {
            let overruns = drain(&mut end, count)?;
            end.send(0);
            Ok(overruns)
        }
    })
}

/// Receives messages up to number `count - 1`. All of them, unless it is overrun.
fn drain<E: End>(end: &mut E, count: u64) -> Result<u64, String> {
    let (mut expected, mut overruns, mut behind_overrun) = (0, 0, false);
    let mut idle = Idle::default();
    while expected < count {
        match end.receive(expected) {
            Received::Message(number) if number == expected || behind_overrun && number > expected => {
                (expected, behind_overrun) = (number + 1, false);
                idle = Idle::default();
            }
            Received::Message(number) => return Err(format!("message {number}, expected {expected}")),
            Received::Wrong => return Err(format!("message {expected} has wrong contents")),
            Received::Overrun => (overruns, behind_overrun) = (overruns + 1, true),
            Received::Nothing => idle.turn()?,
        }
    }
    Ok(overruns)
}

#[inline]
fn wait_for<E: End>(end: &mut E, number: u64) -> Result<(), String> {
    let mut idle = Idle::default();
    loop {
        match end.receive(number) {
            Received::Message(found) if found == number => return Ok(()),
            Received::Nothing => idle.turn()?,
            other => return Err(format!("{other:?} in place of message {number}")),
        }
    }
}

/// Counts polls that found nothing, and gives up after a while.
#[derive(Default)]
struct Idle {
    polls: u32,
    since: Option<Instant>,
}

impl Idle {
    #[inline]
    fn turn(&mut self) -> Result<(), String> {
        self.polls = self.polls.wrapping_add(1);
        if self.polls.is_multiple_of(1 << 16)
            && self.since.get_or_insert_with(Instant::now).elapsed() > PATIENCE
        {
            return Err("nothing came for ten seconds".into());
        }
        std::hint::spin_loop();
        Ok(())
    }
}

/// Does what `orders` say until they end: lines of which far end, what and how much. Each is answered with a line.
pub(crate) fn serve(fars: &mut [Far], orders: impl BufRead, mut answers: impl Write) -> std::io::Result<()> {
    for order in orders.lines() {
        let order = order?;
        let mut words = order.split(' ');
        let mut number = || {
            words
                .next()
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let (which, kind, count) = (number() as usize, number(), number());
        let task = match kind {
            0 => Task::Echo { count },
            _ => Task::Drain { count },
        };
        match fars[which](task) {
            Ok(overruns) => writeln!(answers, "{overruns}")?,
            Err(error) => writeln!(answers, "{error}")?,
        }
        answers.flush()?;
    }
    Ok(())
}

/// The pipes to whoever serves the far ends.
pub(crate) struct Pipes {
    orders: Box<dyn Write>,
    answers: Box<dyn BufRead>,
}

impl Pipes {
    pub(crate) fn new(orders: impl Write + 'static, answers: impl BufRead + 'static) -> Self {
        let (orders, answers) = (Box::new(orders), Box::new(answers));
        Self { orders, answers }
    }

    fn order(&mut self, far: usize, task: Task) -> std::io::Result<()> {
        let (kind, count) = match task {
            Task::Echo { count } => (0, count),
            Task::Drain { count } => (1, count),
        };
        // One write: the pipe of a child is not buffered.
        self.orders
            .write_all(format!("{far} {kind} {count}\n").as_bytes())?;
        self.orders.flush()
    }

    /// Waits until the far ends are there.
    pub(crate) fn ready(&mut self) -> Result<(), Box<dyn Error>> {
        self.answer().map(drop)
    }

    /// The answer to an order: how often the far end was overrun.
    fn answer(&mut self) -> Result<u64, Box<dyn Error>> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().map_err(|_| match line.trim() {
            "" => "the far end died".into(),
            error => format!("the far end: {error}").into(),
        })
    }
}

/// How a paced stream went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paced {
    /// Messages a second, until the far end had the last.
    pub(crate) rate: f64,
    /// Times that the reader was overrun, or that the queue was full.
    pub(crate) overruns: u64,
}

/// The near end of one connection, and what is measured with it.
pub(crate) trait Near {
    /// Half a round trip in nanoseconds: the median over `batches` of `pings` each.
    fn hop(&mut self, pipes: &mut Pipes, batches: usize, pings: u64) -> Result<f64, Box<dyn Error>>;

    /// Nanoseconds a message when `count` are sent one right behind the other, until the far end has the last.
    fn burst(&mut self, pipes: &mut Pipes, count: u64) -> Result<f64, Box<dyn Error>>;

    /// Sends `rate` messages a second for a while.
    fn paced(&mut self, pipes: &mut Pipes, rate: f64, time: Duration) -> Result<Paced, Box<dyn Error>>;
}

/// The near end of the connection whose far end is number `far`.
pub(crate) struct Local<E> {
    pub(crate) end: E,
    pub(crate) far: usize,
}

impl<E: End> Local<E> {
    /// Waits for the far end's message; if none comes, what it has to say of it.
    #[inline]
    fn wait_for(&mut self, pipes: &mut Pipes, number: u64) -> Result<(), Box<dyn Error>> {
        wait_for(&mut self.end, number).map_err(|error| match pipes.answer() {
            Ok(_) => error.into(),
            Err(told) => format!("{error}; {told}").into(),
        })
    }
}

impl<E: End> Near for Local<E> {
    fn hop(&mut self, pipes: &mut Pipes, batches: usize, pings: u64) -> Result<f64, Box<dyn Error>> {
        // The first batch wakes the far end up.
        let count = (batches as u64 + 1) * pings;
        pipes.order(self.far, Task::Echo { count })?;
        let mut times = Vec::with_capacity(batches);
        for batch in 0..=batches as u64 {
            let start = Instant::now();
            for number in batch * pings..(batch + 1) * pings {
                self.end.send(number);
                self.wait_for(pipes, number)?;
            }
            times.push(start.elapsed().as_nanos() as f64 / (2 * pings) as f64);
        }
        pipes.answer()?;
        let times = &mut times[1..];
        times.sort_by(f64::total_cmp);
        Ok(times[batches / 2])
    }

    fn burst(&mut self, pipes: &mut Pipes, count: u64) -> Result<f64, Box<dyn Error>> {
        pipes.order(self.far, Task::Echo { count: 1 })?;
        self.end.send(0);
        self.wait_for(pipes, 0)?;
        pipes.answer()?;
        pipes.order(self.far, Task::Drain { count })?;
        // The far end is in its loop before the time begins.
        std::thread::sleep(Duration::from_micros(200));
        let start = Instant::now();
        for number in 0..count {
            if !self.end.send(number) {
                return Err("a queue was full that holds them all".into());
            }
        }
        self.wait_for(pipes, 0)?;
        let time = start.elapsed();
        match pipes.answer()? {
            0 => Ok(time.as_nanos() as f64 / count as f64),
            _ => Err("a ring was overrun that holds them all".into()),
        }
    }

    fn paced(&mut self, pipes: &mut Pipes, rate: f64, time: Duration) -> Result<Paced, Box<dyn Error>> {
        let count = (rate * time.as_secs_f64()) as u64 / BURST * BURST;
        pipes.order(self.far, Task::Drain { count })?;
        std::thread::sleep(Duration::from_millis(1));
        let burst = BURST as f64 / rate;
        let mut full = 0;
        let start = Instant::now();
        for due in 0..count / BURST {
            let due_at = Duration::from_secs_f64(due as f64 * burst);
            while start.elapsed() < due_at {
                std::hint::spin_loop();
            }
            for number in due * BURST..(due + 1) * BURST {
                if !self.end.send(number) {
                    full += 1;
                    let waiting = Instant::now();
                    while !self.end.send(number) {
                        if waiting.elapsed() > PATIENCE {
                            pipes.answer()?;
                            return Err("a queue stays full".into());
                        }
                    }
                }
            }
        }
        self.wait_for(pipes, 0)?;
        let rate = count as f64 / start.elapsed().as_secs_f64();
        let overruns = full + pipes.answer()?;
        Ok(Paced { rate, overruns })
    }
}
