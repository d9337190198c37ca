//! The peers: for each, one end of a pair of one-way connections.

use crate::payload::Payloads;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{NodeBuilder, ServiceName, ipc};
use iceoryx2::sample_mut_uninit::SampleMutUninit;
use std::error::Error;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use twinline_ring::{Next, Origin, RingConfig, RingReader, RingWriter};

/// What there was to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Nothing,
    /// The message of this number, whole and right.
    Message(u64),
    Overrun,
    /// A message that is not what was sent.
    Wrong,
}

/// One end: it sends on one connection and receives on the other.
pub(crate) trait End {
    /// Sends message number `number`; false if there is no room for it.
    fn send(&mut self, number: u64) -> bool;

    /// Receives a message and compares its contents; `expected` is the next one's number.
    fn receive(&mut self, expected: u64) -> Received;
}

/// A line of the cache for each way: the least that there can be.
pub(crate) struct Line {
    out: Arc<Alone>,
    back: Arc<Alone>,
}

/// A word that has its line, and the line that is fetched with it, to itself.
#[repr(align(128))]
#[derive(Default)]
struct Alone(AtomicU64);

impl Line {
    pub(crate) fn pair() -> (Self, Self) {
        let (out, back) = (Arc::<Alone>::default(), Arc::<Alone>::default());
        let other = Self {
            out: Arc::clone(&back),
            back: Arc::clone(&out),
        };
        (Self { out, back }, other)
    }
}

impl End for Line {
    #[inline]
    fn send(&mut self, number: u64) -> bool {
        self.out.0.store(number + 1, Ordering::Release);
        true
    }

    #[inline]
    fn receive(&mut self, expected: u64) -> Received {
        match self.back.0.load(Ordering::Acquire) == expected + 1 {
            true => Received::Message(expected),
            false => Received::Nothing,
        }
    }
}

/// A queue of rtrb for each way, between threads.
pub(crate) struct Queue<T, const N: usize> {
    out: rtrb::Producer<T>,
    back: rtrb::Consumer<T>,
    payloads: Payloads<N>,
}

/// What goes through the queue.
pub(crate) trait Item<const N: usize> {
    fn of(frame: &[u8; N]) -> Self;
    fn frame(&self) -> &[u8; N];
}

/// Items back to back.
#[repr(align(8))]
pub(crate) struct Packed<const N: usize>([u8; N]);

/// Each item in a cache line of its own.
#[repr(align(64))]
pub(crate) struct Aligned<const N: usize>([u8; N]);

impl<const N: usize> Item<N> for Packed<N> {
    #[inline]
    fn of(frame: &[u8; N]) -> Self {
        Self(*frame)
    }

    #[inline]
    fn frame(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> Item<N> for Aligned<N> {
    #[inline]
    fn of(frame: &[u8; N]) -> Self {
        Self(*frame)
    }

    #[inline]
    fn frame(&self) -> &[u8; N] {
        &self.0
    }
}

impl<T: Item<N>, const N: usize> Queue<T, N> {
    /// Two ends; a queue holds `capacity` items.
    pub(crate) fn pair(capacity: usize) -> (Self, Self) {
        let (mut out, mut their_back) = rtrb::RingBuffer::new(capacity);
        let (their_out, back) = rtrb::RingBuffer::new(capacity);
        let payloads = Payloads::new();
        // Once round, so that its memory is there, as a ring's is.
        while out.push(T::of(payloads.frame(0))).is_ok() {}
        while their_back.pop().is_ok() {}
        let end = |out, back| Self { out, back, payloads };
        (end(out, back), end(their_out, their_back))
    }
}

impl<T: Item<N>, const N: usize> End for Queue<T, N> {
    #[inline]
    fn send(&mut self, number: u64) -> bool {
        self.out.push(T::of(self.payloads.frame(number))).is_ok()
    }

    #[inline]
    fn receive(&mut self, expected: u64) -> Received {
        match self.back.pop() {
            Ok(item) if item.frame() == self.payloads.frame(expected) => Received::Message(expected),
            Ok(_) => Received::Wrong,
            Err(_) => Received::Nothing,
        }
    }
}

/// A ring of ours for each way, between processes.
pub(crate) struct Rings<const N: usize> {
    out: RingWriter,
    back: RingReader,
    payloads: Payloads<N>,
}

impl<const N: usize> Rings<N> {
    /// The ring in `out` is made; call `open` once the other end has made that in `back`.
    pub(crate) fn new(out: RingWriter, back: &Path) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            out,
            back: RingReader::open(back, 1, "peers")?,
            payloads: Payloads::new(),
        })
    }
}

/// Makes a ring of `capacity` bytes in `dir`.
pub(crate) fn create_ring(dir: &Path, capacity: usize) -> Result<RingWriter, Box<dyn Error>> {
    let config = RingConfig {
        channel: 1,
        capacity,
        max_packet: 1408,
        journal: dir.join("journal"),
    };
    Ok(RingWriter::create(dir, &config)?)
}

/// Writes message number `number`. It is received so many nanoseconds after it was sent: that is how its reader knows it.
#[inline]
pub(crate) fn write_record<const N: usize>(ring: &mut RingWriter, payloads: &Payloads<N>, number: u64) {
    ring.messages(payloads.packet(number), 0, 1, number, Origin::LineA, number);
}

/// Reads and compares a record.
#[inline]
pub(crate) fn read_record<const N: usize>(ring: &mut RingReader, payloads: &Payloads<N>) -> Received {
    match ring.poll() {
        Next::Record(record) => {
            let number = record.receive_time;
            let right = record.frames == payloads.frame(number)
                && record.sequence == payloads.packet(number).sequence()
                && record.origin == Origin::LineA;
            match right {
                true => Received::Message(number),
                false => Received::Wrong,
            }
        }
        Next::Empty => Received::Nothing,
        Next::Overrun => Received::Overrun,
    }
}

impl<const N: usize> End for Rings<N> {
    #[inline]
    fn send(&mut self, number: u64) -> bool {
        write_record(&mut self.out, &self.payloads, number);
        true
    }

    #[inline]
    fn receive(&mut self, _: u64) -> Received {
        read_record(&mut self.back, &self.payloads)
    }
}

/// An iceoryx2 publish-subscribe service for each way, between processes, set up as that project's own benchmark does: a
/// buffer of one sample with overflow, the next sample lent before it is needed, the subscriber polled.
pub(crate) struct Iceoryx<const N: usize> {
    out: Publisher<ipc::Service, [u8; N], ()>,
    lent: Option<SampleMutUninit<ipc::Service, MaybeUninit<[u8; N]>, ()>>,
    back: Subscriber<ipc::Service, [u8; N], ()>,
    payloads: Payloads<N>,
}

impl<const N: usize> Iceoryx<N> {
    /// An end of the services whose names begin with `name`.
    pub(crate) fn new(name: &str, out: &str, back: &str) -> Result<Self, Box<dyn Error>> {
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        let service = |way: &str| {
            let name = ServiceName::new(&format!("{name}/{N}/{way}"))?;
            node.service_builder(&name)
                .publish_subscribe::<[u8; N]>()
                .max_publishers(1)
                .max_subscribers(1)
                .history_size(0)
                .subscriber_max_buffer_size(1)
                .enable_safe_overflow(true)
                .open_or_create()
                .map_err(Box::<dyn Error>::from)
        };
        let out = service(out)?.publisher_builder().create()?;
        Ok(Self {
            lent: Some(out.loan_uninit()?),
            out,
            back: service(back)?.subscriber_builder().create()?,
            payloads: Payloads::new(),
        })
    }
}

impl<const N: usize> End for Iceoryx<N> {
    #[inline]
    fn send(&mut self, number: u64) -> bool {
        let Some(sample) = self.lent.take() else {
            return false;
        };
        let sent = sample.write_payload(*self.payloads.frame(number)).send();
        self.lent = self.out.loan_uninit().ok();
        sent.is_ok()
    }

    #[inline]
    fn receive(&mut self, expected: u64) -> Received {
        match self.back.receive() {
            Ok(Some(sample)) if *sample.payload() == *self.payloads.frame(expected) => {
                Received::Message(expected)
            }
            Ok(None) => Received::Nothing,
            Ok(Some(_)) | Err(_) => Received::Wrong,
        }
    }
}
