//! The reader library for C: what `include/twinline.h` declares, over `twinline-reader`.
//!
//! All unsafe code of the package is here, and it is of one kind: pointers that the C program hands over. Each function
//! names what it asks of them in its `# Safety` part; the header says the same in the program's terms. A panic, which would be
//! a bug, does not cross into C: it comes out as an error.

mod convert;
#[cfg(test)]
mod tests;

use convert::{Filled, fill, options};
use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;
use std::{ptr, slice};
use twinline_reader::wire::Side;
use twinline_reader::{Options, Reader};

/// `TWINLINE_API_VERSION`.
pub const API_VERSION: u32 = 1;
/// `TWINLINE_NO_PRICE`.
const NO_PRICE: i64 = i64::MAX;

/// `twinline_reader`.
#[derive(Debug)]
pub struct TwinlineReader {
    reader: Reader,
    /// What the last event lends beside the message itself.
    lent: Filled,
    symbol: CString,
}

/// `twinline_error`.
#[derive(Debug)]
#[repr(C)]
pub struct TwinlineError {
    text: [c_char; 512],
}

/// `twinline_options`.
#[derive(Debug)]
#[repr(C)]
pub struct TwinlineOptions {
    /// `TWINLINE_API_VERSION`.
    pub version: u32,
    /// `TWINLINE_START_...`.
    pub start: u32,
    /// `TWINLINE_OVERRUN_...`.
    pub overrun: u32,
    /// `TWINLINE_WAIT_...`.
    pub wait: u32,
    /// `TWINLINE_BOOKS_...`.
    pub books: u32,
    /// Whether symbols are known from the start.
    pub know_symbols: u32,
    /// What operators see.
    pub name: *const c_char,
    /// For `TWINLINE_START_AT`.
    pub position: *const c_char,
    /// Instruments to deliver.
    pub symbols: *const *const c_char,
    /// How many.
    pub symbol_count: usize,
    /// Templates to deliver.
    pub templates: *const u16,
    /// How many.
    pub template_count: usize,
}

/// `twinline_event`.
#[derive(Debug)]
#[repr(C)]
pub struct TwinlineEvent {
    /// `TWINLINE_MESSAGE` and so on.
    pub kind: u32,
    /// The template.
    pub template_id: u16,
    /// `TWINLINE_ORIGIN_...`.
    pub origin: u8,
    /// 1 if a source event ends here.
    pub ends_event: u8,
    /// Session.
    pub session: u32,
    /// Epoch.
    pub epoch: u32,
    /// Sequence.
    pub sequence: u64,
    /// Nanoseconds since the Unix epoch.
    pub sending_time: u64,
    /// Nanoseconds since the Unix epoch; 0 if not known.
    pub receive_time: u64,
    /// The instrument, or 0.
    pub instrument: u32,
    /// 1 if a best bid or offer changed.
    pub best_changed: u32,
    /// The block.
    pub block: *const u8,
    /// Its length.
    pub block_length: usize,
    /// See the header.
    pub begin: u64,
    /// See the header.
    pub end: u64,
    /// See the header.
    pub end_session: u32,
    /// `TWINLINE_WRITER_...`.
    pub writer: u32,
    /// Text, or null.
    pub text: *const c_char,
}

/// `twinline_quote`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TwinlineQuote {
    /// In 10^-9 of the currency's unit; `TWINLINE_NO_PRICE` if there is none.
    pub price: i64,
    /// Quantity.
    pub quantity: u64,
    /// Orders there; 0 if the source sends none.
    pub orders: u64,
}

/// `twinline_best`.
#[derive(Debug)]
#[repr(C)]
pub struct TwinlineBest {
    /// The best bid.
    pub bid: TwinlineQuote,
    /// The best offer.
    pub offer: TwinlineQuote,
    /// `TWINLINE_BOOK_...`.
    pub flags: u32,
    /// Zero.
    pub spare: u32,
}

impl TwinlineError {
    /// Writes `text`, cut off where there is no room for more, terminated.
    fn set(&mut self, text: &str) {
        let room = self.text.len() - 1;
        let bytes = text.bytes().take(room).filter(|byte| *byte != 0);
        self.text.fill(0);
        for (to, from) in self.text.iter_mut().zip(bytes) {
            *to = from as c_char;
        }
    }
}

/// Runs `work`; its error, or that it panicked, goes to `error`.
///
/// # Safety
/// `error` is null or points at an error that nobody else uses.
unsafe fn guarded<T>(error: *mut TwinlineError, work: impl FnOnce() -> Result<T, String>) -> Option<T> {
    let text = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => return Some(done),
        Ok(Err(text)) => text,
        Err(_) => "a panic in the library, which is a bug: close this reader".to_owned(),
    };
    // SAFETY: by this function's own condition.
    if let Some(error) = unsafe { error.as_mut() } {
        error.set(&text);
    }
    None
}

/// The string at `text`.
///
/// # Safety
/// `text` is null or points at a terminated string that lives as long as the result is used.
unsafe fn string<'a>(text: *const c_char) -> Result<Option<&'a str>, String> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: it is not null; the rest by this function's own condition.
    let text = unsafe { CStr::from_ptr(text) };
    let utf8 = text.to_str().map(Some);
    utf8.map_err(|_| format!("{text:?} is no UTF-8"))
}

/// Fills `options` with the defaults.
///
/// # Safety
/// `options` points at room for options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twinline_options_init(options: *mut TwinlineOptions) {
    let defaults = TwinlineOptions {
        version: API_VERSION,
        start: convert::START_BOOKS,
        overrun: convert::OVERRUN_FILL,
        wait: convert::WAIT_BLOCK,
        books: convert::BOOKS_ALL,
        know_symbols: 1,
        name: ptr::null(),
        position: ptr::null(),
        symbols: ptr::null(),
        symbol_count: 0,
        templates: ptr::null(),
        template_count: 0,
    };
    // SAFETY: by this function's own condition. What was there before is overwritten, not read.
    unsafe { options.write(defaults) };
}

/// Opens a reader with `open`.
///
/// # Safety
/// As for [`twinline_attach`].
unsafe fn open(
    directory: *const c_char,
    given: *const TwinlineOptions,
    error: *mut TwinlineError,
    open: impl FnOnce(&Path, Options) -> Result<Reader, twinline_reader::ReadError>,
) -> *mut TwinlineReader {
    let work = || {
        // SAFETY: by this function's own condition.
        let directory = unsafe { string(directory) }?.ok_or("no directory is given")?;
        // SAFETY: by this function's own condition.
        let given = match unsafe { given.as_ref() } {
            None => Options::default(),
            // SAFETY: by this function's own condition, everything in the options can be read.
            Some(given) => unsafe { options(given) }?,
        };
        open(Path::new(directory), given).map_err(|error| error.to_string())
    };
    // SAFETY: by this function's own condition.
    match unsafe { guarded(error, work) } {
        None => ptr::null_mut(),
        Some(reader) => Box::into_raw(Box::new(TwinlineReader {
            reader,
            lent: Filled::default(),
            symbol: CString::default(),
        })),
    }
}

/// Attaches to the listener on this host that has its rings in `directory`.
///
/// # Safety
/// `directory` is a terminated string; `options` is null or was initialised with [`twinline_options_init`], and its pointers are
/// null or point at as much as their counts say, of terminated strings; `error` is null or points at an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twinline_attach(
    directory: *const c_char,
    channel: u16,
    options: *const TwinlineOptions,
    error: *mut TwinlineError,
) -> *mut TwinlineReader {
    // SAFETY: by this function's own condition.
    unsafe {
        open(directory, options, error, |dir, options| {
            Reader::attach(dir, channel, options)
        })
    }
}

/// Reads the journal in `directory`.
///
/// # Safety
/// As for [`twinline_attach`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twinline_open_journal(
    directory: *const c_char,
    options: *const TwinlineOptions,
    error: *mut TwinlineError,
) -> *mut TwinlineReader {
    // SAFETY: by this function's own condition.
    unsafe { open(directory, options, error, Reader::open_journal) }
}

/// Lets go of a reader.
///
/// # Safety
/// `reader` is null, or came from this library and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twinline_close(reader: *mut TwinlineReader) {
    if !reader.is_null() {
        // SAFETY: it came from `Box::into_raw` in `open`, and by this function's own condition it is dropped once.
        let reader = unsafe { Box::from_raw(reader) };
        let _ = catch_unwind(AssertUnwindSafe(move || drop(reader)));
    }
}

/// The next event, if there is one now.
///
/// # Safety
/// `reader` came from this library, was not closed, and nobody else uses it now; `event` points at room for an event; `error` is null
/// or points at an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twinline_poll(
    reader: *mut TwinlineReader,
    event: *mut TwinlineEvent,
    error: *mut TwinlineError,
) -> c_int {
    // SAFETY: by this function's own condition.
    unsafe { next(reader, None, event, error) }
}

/// The next event, waited for no longer than `at_most_ns` nanoseconds.
///
/// # Safety
/// As for [`twinline_poll`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twinline_next(
    reader: *mut TwinlineReader,
    at_most_ns: u64,
    event: *mut TwinlineEvent,
    error: *mut TwinlineError,
) -> c_int {
    // SAFETY: by this function's own condition.
    unsafe { next(reader, Some(Duration::from_nanos(at_most_ns)), event, error) }
}

/// # Safety
/// As for [`twinline_poll`].
unsafe fn next(
    reader: *mut TwinlineReader,
    at_most: Option<Duration>,
    event: *mut TwinlineEvent,
    error: *mut TwinlineError,
) -> c_int {
    let work = || {
        // SAFETY: by this function's own condition.
        let reader = unsafe { reader.as_mut() }.ok_or("no reader is given")?;
        if event.is_null() {
            return Err("no event is given".to_owned());
        }
        let found = match at_most {
            None => reader.reader.poll(),
            Some(at_most) => reader.reader.next_within(at_most),
        };
        let Some(found) = found.map_err(|error| error.to_string())? else {
            return Ok(0);
        };
        let filled = fill(&found, &mut reader.lent);
        // SAFETY: it is not null, and by this function's own condition there is room.
        unsafe { event.write(filled) };
        Ok(1)
    };
    // SAFETY: by this function's own condition.
    unsafe { guarded(error, work) }.unwrap_or(-1)
}

/// The symbol of an instrument.
///
/// # Safety
/// `reader` is null, or came from this library, was not closed, and nobody else uses it now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twinline_symbol(reader: *mut TwinlineReader, instrument: u32) -> *const c_char {
    // SAFETY: by this function's own condition.
    let Some(reader) = (unsafe { reader.as_mut() }) else {
        return ptr::null();
    };
    let symbol = reader.reader.symbols().symbol(instrument);
    match symbol.and_then(|symbol| CString::new(symbol).ok()) {
        None => ptr::null(),
        Some(symbol) => {
            reader.symbol = symbol;
            reader.symbol.as_ptr()
        }
    }
}

/// The instrument of a symbol; 0 if it is not known.
///
/// # Safety
/// As for [`twinline_symbol`]; `symbol` is null or a terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twinline_instrument(reader: *const TwinlineReader, symbol: *const c_char) -> u32 {
    // SAFETY: by this function's own condition.
    let (reader, symbol) = unsafe { (reader.as_ref(), string(symbol)) };
    let (Some(reader), Ok(Some(symbol))) = (reader, symbol) else {
        return 0;
    };
    reader.reader.symbols().number(symbol).unwrap_or(0)
}

/// The best bid and offer of an instrument.
///
/// # Safety
/// As for [`twinline_symbol`]; `best` points at room for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twinline_best_of(
    reader: *const TwinlineReader,
    instrument: u32,
    best: *mut TwinlineBest,
) -> c_int {
    // SAFETY: by this function's own condition.
    let book = unsafe { reader.as_ref() }.and_then(|reader| reader.reader.book(instrument));
    let Some(book) = book.filter(|_| !best.is_null()) else {
        return 0;
    };
    let top = |side| {
        let level = book.depth(side).next();
        let quote = match side {
            Side::BUY => book.best().bid,
            _ => book.best().offer,
        };
        TwinlineQuote {
            price: quote.map_or(NO_PRICE, |quote| quote.price.mantissa()),
            quantity: quote.map_or(0, |quote| quote.quantity),
            orders: level.map_or(0, |level| level.orders.into()),
        }
    };
    let flags = u32::from(book.is_valid())
        | u32::from(book.is_stale()) << 1
        | u32::from(book.best().is_crossed()) << 2;
    let found = TwinlineBest {
        bid: top(Side::BUY),
        offer: top(Side::SELL),
        flags,
        spare: 0,
    };
    // SAFETY: it is not null, and by this function's own condition there is room.
    unsafe { best.write(found) };
    1
}

/// Price levels of one side, the best first.
///
/// # Safety
/// As for [`twinline_symbol`]; `levels` points at room for `room` levels.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twinline_depth(
    reader: *const TwinlineReader,
    instrument: u32,
    side: u8,
    levels: *mut TwinlineQuote,
    room: usize,
) -> usize {
    // SAFETY: by this function's own condition.
    let book = unsafe { reader.as_ref() }.and_then(|reader| reader.reader.book(instrument));
    let Some(book) = book.filter(|_| !levels.is_null()) else {
        return 0;
    };
    let mut count = 0;
    for level in book.depth(Side(side)).take(room) {
        let quote = TwinlineQuote {
            price: level.price.mantissa(),
            quantity: level.quantity,
            orders: level.orders.into(),
        };
        // SAFETY: `count` is below `room`, and by this function's own condition there is room for so many.
        unsafe { levels.add(count).write(quote) };
        count += 1;
    }
    count
}

/// Where the reader stands, as text.
///
/// # Safety
/// As for [`twinline_symbol`]; `text` is null or points at `room` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twinline_position(
    reader: *const TwinlineReader,
    text: *mut c_char,
    room: usize,
) -> usize {
    // SAFETY: by this function's own condition.
    let Some(reader) = (unsafe { reader.as_ref() }) else {
        return 0;
    };
    let position = reader.reader.position().to_string();
    if !text.is_null() && room > 0 {
        // SAFETY: by this function's own condition there are `room` bytes, which nobody else uses now; they are written as
        // bytes, whatever was there.
        let out = unsafe { slice::from_raw_parts_mut(text.cast::<std::mem::MaybeUninit<u8>>(), room) };
        let length = position.len().min(room - 1);
        for (to, from) in out.iter_mut().zip(position.bytes().take(length).chain([0])) {
            to.write(from);
        }
    }
    position.len()
}

/// The library's version.
#[unsafe(no_mangle)]
pub extern "C" fn twinline_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}
