//! Aeron: a media driver for each end, driven by that end's own thread (INVOKER mode), as its authors advise where every
//! microsecond counts and cores are few. Driver, client and stream of an end live in one directory in shared memory.

use crate::Failure;
use crate::ends::{Message, Receiving, Sending};
use rusteron_media_driver::bindings::aeron_threading_mode_enum::AERON_THREADING_MODE_INVOKER;
use rusteron_media_driver::{
    Aeron, AeronContext, AeronDriver, AeronDriverContext, AeronExclusivePublication, AeronOfferError,
    AeronSubscription, Handlers,
};
use std::ffi::CString;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{Duration, Instant};

const STREAM: i32 = 1001;
/// Messages that one poll may deliver.
const FRAGMENTS: usize = 256;
/// Turns between two of the client's own work: keep-alives, a few a second, and what the driver tells it.
const CLIENT_TURN: u32 = 256;
/// While others are measured nobody drives it: nothing of it may be given up because of that.
const NEVER: Duration = Duration::from_secs(600);
/// How long a driver may take to answer its client.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the sockets' buffers and of the flow control's window: its defaults are for smaller rates.
const BUFFER: usize = 2 << 20;

/// A driver and its client.
struct End {
    // In the order in which they are to go.
    client: Aeron,
    driver: AeronDriver,
    turns: u32,
}

impl End {
    fn new(dir: &Path) -> Result<Self, Failure> {
        let dir = CString::new(dir.to_str().ok_or("a directory's name is not text")?)?;
        let context = AeronDriverContext::new()?;
        context.set_dir(&dir)?;
        context.set_dir_delete_on_start(true)?;
        context.set_dir_delete_on_shutdown(true)?;
        context.set_threading_mode(AERON_THREADING_MODE_INVOKER)?;
        context.set_term_buffer_sparse_file(false)?;
        context.set_socket_so_rcvbuf(BUFFER)?;
        context.set_socket_so_sndbuf(BUFFER)?;
        context.set_rcv_initial_window_length(BUFFER)?;
        let never = NEVER.as_nanos() as u64;
        context.set_client_liveness_timeout_ns(never)?;
        context.set_publication_unblock_timeout_ns(2 * never)?;
        context.set_image_liveness_timeout_ns(never)?;
        context.set_publication_connection_timeout_ns(never)?;
        context.set_flow_control_receiver_timeout_ns(never)?;
        let driver = AeronDriver::new(&context)?;
        driver.start(true)?;
        let context = AeronContext::new()?;
        context.set_dir(&dir)?;
        context.set_use_conductor_agent_invoker(true)?;
        context.set_pre_touch_mapped_memory(true)?;
        context.set_driver_timeout_ms(NEVER.as_millis() as u64)?;
        let client = Aeron::new(&context)?;
        client.start()?;
        Ok(Self {
            client,
            driver,
            turns: 0,
        })
    }

    #[inline]
    fn turn(&mut self) -> Result<(), Failure> {
        self.driver.main_do_work()?;
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(CLIENT_TURN) {
            self.client.main_do_work()?;
        }
        Ok(())
    }

    /// Turns until `done` has something.
    fn until<T>(&mut self, mut done: impl FnMut() -> Result<Option<T>, Failure>) -> Result<T, Failure> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.driver.main_do_work()?;
            self.client.main_do_work()?;
            if let Some(done) = done()? {
                return Ok(done);
            }
        }
        Err("Aeron's driver does not answer".into())
    }
}

/// The end that sends.
pub(crate) struct AeronSend {
    publication: AeronExclusivePublication,
    end: End,
}

/// The end that receives.
pub(crate) struct AeronReceive {
    subscription: AeronSubscription,
    end: End,
}

fn channel(group: SocketAddrV4) -> Result<CString, Failure> {
    Ok(CString::new(format!(
        "aeron:udp?endpoint={group}|interface=127.0.0.1"
    ))?)
}

/// Sends to `group`, its driver in `dir`.
pub(crate) fn sender(dir: &Path, group: SocketAddrV4) -> Result<AeronSend, Failure> {
    let mut end = End::new(&dir.join("aeron-sender"))?;
    let adding = end
        .client
        .async_add_exclusive_publication(&channel(group)?, STREAM)?;
    let publication = end.until(|| Ok(adding.poll()?))?;
    Ok(AeronSend { publication, end })
}

/// Receives from `group`, its driver in `dir`.
pub(crate) fn receiver(dir: &Path, group: SocketAddrV4) -> Result<AeronReceive, Failure> {
    let mut end = End::new(&dir.join("aeron-receiver"))?;
    let adding =
        end.client
            .async_add_subscription(&channel(group)?, STREAM, Handlers::NONE, Handlers::NONE)?;
    let subscription = end.until(|| Ok(adding.poll()?))?;
    Ok(AeronReceive { subscription, end })
}

impl Sending for AeronSend {
    #[inline]
    fn push(&mut self, message: Message) -> Result<bool, Failure> {
        match self.publication.offer(&message.bytes()) {
            Ok(_) => Ok(true),
            Err(
                AeronOfferError::NotConnected | AeronOfferError::BackPressured | AeronOfferError::AdminAction,
            ) => {
                self.end.turn()?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    #[inline]
    fn flush(&mut self) -> Result<(), Failure> {
        self.end.driver.main_do_work()?;
        Ok(())
    }

    #[inline]
    fn turn(&mut self) -> Result<(), Failure> {
        self.end.turn()
    }
}

impl Receiving for AeronReceive {
    #[inline]
    fn poll(&mut self, _: u64, took: &mut impl FnMut(Option<Message>)) -> Result<(), Failure> {
        self.end.turn()?;
        self.subscription
            .poll_fn(|bytes, _| took(Message::of(bytes)), FRAGMENTS)?;
        Ok(())
    }
}
