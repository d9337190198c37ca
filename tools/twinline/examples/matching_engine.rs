//! A small matching engine that feeds a publisher in another process.
//!
//! Made-up traders send orders to one book; what happens to it (orders enter, are executed, are deleted) goes to the
//! publisher. The traders are decided by a seed, so the engine's state can be made again from the beginning: after a
//! crash it runs up to where the publisher's journal is, says nothing on the way, and goes on. An engine with real traders
//! would read its own input log in their place.
//!
//! ```text
//! twinline publish --source tcp=127.0.0.1:17020 --journal /tmp/twinline/engine
//! cargo run --release --example matching_engine -- --tcp 127.0.0.1:17020 --events 100000
//! ```
//!
//! or, through shared memory, `--source shm=/tmp/twinline/engine.socket` and `--shm /tmp/twinline/engine.socket`.

use clap::Parser;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use twinline_feed::engine::{EngineAddress, EngineClient, EngineError};
use twinline_line::random::Random;
use twinline_wire::field::{EventFlags, Optional, Text};
use twinline_wire::market::{AddOrder, DeleteOrder, ExecuteOrder, InstrumentDefinition};
use twinline_wire::{Message, Price, Side};

/// A matching engine of one made-up book, as an example of feeding a publisher.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    publisher: Publisher,
    /// How many orders the traders send
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// Orders a second [default: as fast as the publisher takes them]
    #[arg(long)]
    rate: Option<u64>,
    /// Decides what the traders do
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Wait so long for a publisher that is away
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    patience: u64,
}

/// Where the publisher is: one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Publisher {
    /// Where `twinline publish --source tcp=ADDRESS:PORT` listens
    #[arg(long, value_name = "ADDRESS:PORT")]
    tcp: Option<SocketAddr>,
    /// The socket of `twinline publish --source shm=SOCKET`: events go through shared memory
    #[arg(long, value_name = "SOCKET")]
    shm: Option<PathBuf>,
}

/// A tenth of a cent, in units of [`Price`].
const TICK: i64 = 1_000_000;
const INSTRUMENT: u32 = 1 << 16 | 1;

fn main() -> ExitCode {
    let args = Args::parse();
    let address = match (&args.publisher.tcp, &args.publisher.shm) {
        (Some(address), _) => EngineAddress::Tcp(*address),
        (None, path) => EngineAddress::Shared(path.clone().unwrap_or_default()),
    };
    match run(&args, address) {
        Ok(position) => {
            println!("all {position} events are journalled");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, address: EngineAddress) -> Result<u64, EngineError> {
    let mut publisher = EngineClient::connect(address, Duration::from_secs(args.patience))?;
    let resume_at = publisher.resume_at();
    eprintln!("connected; going on behind event {resume_at}");
    let mut engine = Engine::new(args.seed);
    let mut start = None;
    for event in 1..=args.events {
        // Up to the journal's position only the engine's own state is made again.
        engine.order(event, (event > resume_at).then_some(&mut publisher));
        if event <= resume_at {
            continue;
        }
        publisher.end_event()?;
        let Some(rate) = args.rate else { continue };
        let (first, from) = *start.get_or_insert((event, Instant::now()));
        let due = Duration::from_secs_f64((event - first) as f64 / rate as f64);
        if let Some(early) = due.checked_sub(from.elapsed()) {
            publisher.flush()?;
            thread::sleep(early);
        }
    }
    let position = publisher.position();
    publisher.finish()?;
    Ok(position)
}

/// A resting order.
#[derive(Clone, Copy, Debug)]
struct Resting {
    id: u64,
    quantity: u32,
}

/// The book: at each price the orders in the order of their time.
struct Engine {
    random: Random,
    bids: BTreeMap<i64, Vec<Resting>>,
    asks: BTreeMap<i64, Vec<Resting>>,
    next_order: u64,
    next_match: u64,
}

/// Says a message, if there is somebody to say it to.
fn say<M: Message>(publisher: &mut Option<&mut EngineClient>, message: &M) {
    if let Some(publisher) = publisher {
        publisher.push(message);
    }
}

impl Engine {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            bids: BTreeMap::new(),
            asks: BTreeMap::new(),
            next_order: 1,
            next_match: 1,
        }
    }

    /// A trader sends an order, or takes one back; everything that comes of it is one event.
    fn order(&mut self, event: u64, mut publisher: Option<&mut EngineClient>) {
        let time = 34_200_000_000_000 + event * 1_000;
        if event == 1 {
            let definition = InstrumentDefinition {
                source_time: time.into(),
                instrument: INSTRUMENT.into(),
                symbol: Text::new(b"ENGINE"),
                source: 1.into(),
                ..InstrumentDefinition::NULL
            };
            return say(&mut publisher, &definition);
        }
        if self.random.below(4) == 0 && self.take_back(time, &mut publisher) {
            return;
        }
        let side = if self.random.below(2) == 0 {
            Side::BUY
        } else {
            Side::SELL
        };
        let distance = self.random.below(20) as i64 - 4;
        let price = match side {
            Side::BUY => 100_000 - distance,
            _ => 100_000 + distance,
        };
        let quantity = 100 * (1 + self.random.below(5) as u32);
        let left = self.cross(side, price, quantity, time, &mut publisher);
        self.rest(side, price, left, time, &mut publisher);
    }

    /// Executes resting orders of the other side, best price first, then the oldest; returns what is left.
    fn cross(
        &mut self,
        side: Side,
        limit: i64,
        mut quantity: u32,
        time: u64,
        publisher: &mut Option<&mut EngineClient>,
    ) -> u32 {
        while quantity > 0 {
            let level = match side {
                Side::BUY => self.asks.first_entry().filter(|level| *level.key() <= limit),
                _ => self.bids.last_entry().filter(|level| *level.key() >= limit),
            };
            let Some(mut level) = level else { break };
            let orders = level.get_mut();
            let resting = &mut orders[0];
            let traded = quantity.min(resting.quantity);
            say(
                publisher,
                &ExecuteOrder {
                    source_time: time.into(),
                    order_id: resting.id.into(),
                    match_id: self.next_match.into(),
                    price: Optional::NONE,
                    quantity: traded.into(),
                    instrument: INSTRUMENT.into(),
                    flags: EventFlags::PRINTABLE,
                },
            );
            self.next_match += 1;
            quantity -= traded;
            resting.quantity -= traded;
            if resting.quantity == 0 {
                orders.remove(0);
            }
            if orders.is_empty() {
                level.remove();
            }
        }
        quantity
    }

    /// What is not executed enters the book.
    fn rest(
        &mut self,
        side: Side,
        price: i64,
        quantity: u32,
        time: u64,
        publisher: &mut Option<&mut EngineClient>,
    ) {
        if quantity == 0 {
            return;
        }
        let id = self.next_order;
        self.next_order += 1;
        let book = if side == Side::BUY {
            &mut self.bids
        } else {
            &mut self.asks
        };
        book.entry(price).or_default().push(Resting { id, quantity });
        say(
            publisher,
            &AddOrder {
                source_time: time.into(),
                order_id: id.into(),
                price: Price::new(price * TICK),
                quantity: quantity.into(),
                instrument: INSTRUMENT.into(),
                side,
                flags: EventFlags::default(),
                ..AddOrder::NULL
            },
        );
    }

    /// The oldest order of a price far from the middle is taken back; false if there is none.
    fn take_back(&mut self, time: u64, publisher: &mut Option<&mut EngineClient>) -> bool {
        let level = match self.random.below(2) {
            0 => self.bids.first_entry(),
            _ => self.asks.last_entry(),
        };
        let Some(mut level) = level else { return false };
        let order = level.get_mut().remove(0);
        if level.get().is_empty() {
            level.remove();
        }
        say(
            publisher,
            &DeleteOrder {
                source_time: time.into(),
                order_id: order.id.into(),
                instrument: INSTRUMENT.into(),
                flags: EventFlags::default(),
            },
        );
        true
    }
}
