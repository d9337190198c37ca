//! Between the header's structs and the reader's types.

use crate::{API_VERSION, TwinlineEvent, TwinlineOptions, string};
use std::ffi::CString;
use std::{ptr, slice};
use twinline_reader::{
    Event, Instruments, Message, Notice, NoticeKind, Options, Origin, Overrun, Start, Wait, WriterState,
};

pub(crate) const START_BOOKS: u32 = 0;
const START_NOW: u32 = 1;
const START_OLDEST: u32 = 2;
const START_AT: u32 = 3;
pub(crate) const OVERRUN_FILL: u32 = 0;
const OVERRUN_SKIP: u32 = 1;
pub(crate) const WAIT_BLOCK: u32 = 0;
const WAIT_SPIN: u32 = 1;
const BOOKS_NONE: u32 = 0;
pub(crate) const BOOKS_ALL: u32 = 1;
const BOOKS_CHOSEN: u32 = 2;

const MESSAGE: u32 = 1;
const NOTICE: u32 = 2;
const FILLING: u32 = 3;
const FILLED: u32 = 4;
const MISSED: u32 = 5;
const DISCARDED: u32 = 6;
const WRITER: u32 = 7;
const SNAPSHOT_UNUSABLE: u32 = 8;
const ORIGIN_UNKNOWN: u8 = 255;

/// `count` things at `at`; none of null.
///
/// # Safety
/// `at` is null or points at `count` things that live as long as the result is used.
unsafe fn array<'a, T>(at: *const T, count: usize) -> &'a [T] {
    match at.is_null() || count == 0 {
        true => &[],
        // SAFETY: it is not null; the rest by this function's own condition.
        false => unsafe { slice::from_raw_parts(at, count) },
    }
}

/// The reader's options.
///
/// # Safety
/// The pointers in `given` are null or point at as much as their counts say, of terminated strings.
pub(crate) unsafe fn options(given: &TwinlineOptions) -> Result<Options, String> {
    if given.version != API_VERSION {
        return Err(format!(
            "the program was built with version {} of twinline.h, this library has version {API_VERSION}: initialise the options \
             with twinline_options_init, and build the program with the library's header",
            given.version
        ));
    }
    let wrong = |what: &str, value: u32| Err(format!("there is no {what} {value}: see twinline.h"));
    // SAFETY: by this function's own condition.
    let (name, position) = unsafe { (string(given.name)?, string(given.position)?) };
    // SAFETY: by this function's own condition.
    let (symbols, templates) = unsafe {
        (
            array(given.symbols, given.symbol_count),
            array(given.templates, given.template_count),
        )
    };
    let mut names = Vec::new();
    for &symbol in symbols {
        // SAFETY: by this function's own condition.
        names.push(unsafe { string(symbol) }?.ok_or("a symbol is NULL")?);
    }
    let chosen = match given.symbols.is_null() {
        true => Instruments::All,
        false => Instruments::these(names),
    };
    Ok(Options {
        name: name.unwrap_or("C program").to_owned(),
        start: match (given.start, position) {
            (START_BOOKS, _) => Start::Books,
            (START_NOW, _) => Start::Now,
            (START_OLDEST, _) => Start::Oldest,
            (START_AT, Some(text)) => {
                let position = text.parse();
                Start::At(position.map_err(|error: twinline_reader::PositionError| error.to_string())?)
            }
            (START_AT, None) => return Err("TWINLINE_START_AT needs a position".to_owned()),
            (other, _) => return wrong("start", other),
        },
        overrun: match given.overrun {
            OVERRUN_FILL => Overrun::Fill,
            OVERRUN_SKIP => Overrun::Skip,
            other => return wrong("overrun policy", other),
        },
        wait: match given.wait {
            WAIT_BLOCK => Wait::Block,
            WAIT_SPIN => Wait::Spin,
            other => return wrong("way to wait", other),
        },
        books: match given.books {
            BOOKS_NONE => Instruments::None,
            BOOKS_ALL => Instruments::All,
            BOOKS_CHOSEN => chosen.clone(),
            other => return wrong("choice of books", other),
        },
        instruments: chosen,
        templates: (!given.templates.is_null()).then(|| templates.to_vec()),
        symbols: given.know_symbols != 0,
    })
}

/// What an event lends that stands nowhere else: the block of a notice, and text.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    block: Vec<u8>,
    text: CString,
}

fn empty(kind: u32) -> TwinlineEvent {
    TwinlineEvent {
        kind,
        template_id: 0,
        origin: ORIGIN_UNKNOWN,
        ends_event: 0,
        session: 0,
        epoch: 0,
        sequence: 0,
        sending_time: 0,
        receive_time: 0,
        instrument: 0,
        best_changed: 0,
        block: ptr::null(),
        block_length: 0,
        begin: 0,
        end: 0,
        end_session: 0,
        writer: 0,
        text: ptr::null(),
    }
}

/// The header's event. What it points at stands in the reader's own copy of the record, or in `lent`: until the reader is
/// used again.
pub(crate) fn fill(event: &Event<'_>, lent: &mut Filled) -> TwinlineEvent {
    match event {
        Event::Message(message) => of_message(message),
        Event::Notice(notice) => of_notice(notice, lent),
    }
}

fn of_message(message: &Message<'_>) -> TwinlineEvent {
    let block = message.frame.block();
    TwinlineEvent {
        template_id: message.frame.template(),
        origin: match message.origin {
            Some(Origin::LineA) => 0,
            Some(Origin::LineB) => 1,
            Some(Origin::Recovery) => 2,
            Some(Origin::Listener) | None => ORIGIN_UNKNOWN,
        },
        ends_event: message.ends_event().into(),
        session: message.session,
        epoch: message.epoch,
        sequence: message.sequence,
        sending_time: message.sending_time,
        receive_time: message.receive_time.unwrap_or(0),
        instrument: message.instrument().unwrap_or(0),
        best_changed: message.change.is_some().into(),
        block: block.as_ptr(),
        block_length: block.len(),
        ..empty(MESSAGE)
    }
}

fn of_notice(notice: &Notice<'_>, lent: &mut Filled) -> TwinlineEvent {
    let mut event = TwinlineEvent {
        session: notice.position.session,
        epoch: notice.position.epoch,
        sequence: notice.position.sequence,
        receive_time: notice.time.unwrap_or(0),
        ..empty(NOTICE)
    };
    match &notice.kind {
        NoticeKind::Lost(lost) => lend(&mut event, lent, lost),
        NoticeKind::Void(void) => lend(&mut event, lent, void),
        NoticeKind::StateReplaced(replaced) => lend(&mut event, lent, replaced),
        NoticeKind::Line(line) => lend(&mut event, lent, line),
        NoticeKind::Session(session) => lend(&mut event, lent, session),
        NoticeKind::SessionsMissed(missed) => lend(&mut event, lent, missed),
        NoticeKind::Unknown(frame) => {
            let block = frame.block();
            event.template_id = frame.template();
            (event.block, event.block_length) = (block.as_ptr(), block.len());
        }
        NoticeKind::Filling => event.kind = FILLING,
        NoticeKind::Filled { messages } => (event.kind, event.begin) = (FILLED, *messages),
        NoticeKind::Missed(missed) => {
            (event.kind, event.session) = (MISSED, missed.session);
            (event.begin, event.end, event.end_session) = (missed.begin, missed.end, missed.end_session);
        }
        NoticeKind::Discarded { session, begin, end } => {
            (event.kind, event.session) = (DISCARDED, *session);
            (event.begin, event.end) = (*begin, *end);
        }
        NoticeKind::Writer(state) => {
            event.kind = WRITER;
            event.writer = match state {
                WriterState::Alive => 0,
                WriterState::Silent => 1,
                WriterState::Dead => 2,
                WriterState::Closed => 3,
                WriterState::Replaced => 4,
            };
        }
        NoticeKind::SnapshotUnusable(why) => {
            event.kind = SNAPSHOT_UNUSABLE;
            lent.text = CString::new(why.replace('\0', "")).unwrap_or_default();
            event.text = lent.text.as_ptr();
        }
        // Those of batches, which this library does not give, and whatever comes later: known by its place only.
        _ => {}
    }
    event
}

/// Copies a listener's notice to where it stays.
fn lend<M: twinline_reader::wire::Message>(event: &mut TwinlineEvent, lent: &mut Filled, message: &M) {
    lent.block.clear();
    lent.block.extend_from_slice(message.as_bytes());
    event.template_id = M::TEMPLATE;
    (event.block, event.block_length) = (lent.block.as_ptr(), lent.block.len());
}
