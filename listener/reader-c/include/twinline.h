/* Twinline's reader library for C: a channel's stream on a listener's host, with order books, and nothing missing that is
 * not named. Link with -ltwinline. What each thing costs and promises is in docs/reader.md, which is of the Rust library
 * that this one wraps.
 *
 * One reader belongs to one thread at a time. No function blocks but twinline_next. Functions that can fail return NULL
 * or a negative number and fill `error`, which may be NULL.
 */
#ifndef TWINLINE_H
#define TWINLINE_H

#include <stddef.h>
#include <stdint.h>

#include "twinline_messages.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this interface. A library of another version refuses the options of this header. */
#define TWINLINE_API_VERSION 1

typedef struct twinline_reader twinline_reader;

/* What went wrong: one line, terminated. */
typedef struct twinline_error {
    char text[512];
} twinline_error;

/* Where to start. */
#define TWINLINE_START_BOOKS 0  /* behind the newest snapshot; without one, at the session's beginning */
#define TWINLINE_START_NOW 1    /* with what comes from now on */
#define TWINLINE_START_OLDEST 2 /* with all that the journal holds */
#define TWINLINE_START_AT 3     /* behind `position` */

/* When this reader was too slow for the ring. */
#define TWINLINE_OVERRUN_FILL 0 /* what it missed comes from the listener's journal */
#define TWINLINE_OVERRUN_SKIP 1 /* it goes on with the newest, and is told what it missed */

/* How twinline_next waits. */
#define TWINLINE_WAIT_BLOCK 0 /* sleeps, and is woken */
#define TWINLINE_WAIT_SPIN 1  /* looks again at once: the least latency, a core of its own */

/* Whose order books are kept. */
#define TWINLINE_BOOKS_NONE 0
#define TWINLINE_BOOKS_ALL 1
#define TWINLINE_BOOKS_CHOSEN 2 /* those of `symbols` */

/* Initialise with twinline_options_init. */
typedef struct twinline_options {
    uint32_t version; /* TWINLINE_API_VERSION */
    uint32_t start;
    uint32_t overrun;
    uint32_t wait;
    uint32_t books;
    uint32_t know_symbols;      /* 1: symbols are known from the start, also with START_NOW and START_AT */
    const char *name;           /* what operators see; may be NULL */
    const char *position;       /* for START_AT: what twinline_position gave */
    const char *const *symbols; /* deliver only these instruments' messages; NULL: all */
    size_t symbol_count;
    const uint16_t *templates; /* deliver only messages of these templates; NULL: all */
    size_t template_count;
} twinline_options;

/* Fills `options` with the defaults: start with the books, fill what was missed, block, all books, all messages. */
void twinline_options_init(twinline_options *options);

/* Attaches to the listener on this host that has its rings in `directory`. NULL options: the defaults. */
twinline_reader *twinline_attach(const char *directory, uint16_t channel, const twinline_options *options,
                                 twinline_error *error);

/* Reads the journal in `directory`, a listener's or a publisher's, with the same events: for back-tests. */
twinline_reader *twinline_open_journal(const char *directory, const twinline_options *options, twinline_error *error);

/* Lets go of a reader. NULL is allowed. */
void twinline_close(twinline_reader *reader);

/* What an event is. */
#define TWINLINE_MESSAGE 1 /* a message */
#define TWINLINE_NOTICE 2  /* the listener's notice: Lost, Void, StateReplaced, LineEvent, SessionEvent ..., by its template */
#define TWINLINE_FILLING 3 /* this reader was overrun; what it missed comes from the journal until FILLED */
#define TWINLINE_FILLED 4  /* it is in step again; `begin` is the number of messages that came from the journal */
#define TWINLINE_MISSED 5  /* messages from `begin` of `session` to `end` of `end_session` will not come */
#define TWINLINE_DISCARDED 6 /* messages `begin` to `end` were cut off the journal as void */
#define TWINLINE_WRITER 7    /* the listener: see `writer` */
#define TWINLINE_SNAPSHOT_UNUSABLE 8 /* a snapshot that the stream names cannot be read: `text` says why */

/* Who brought a message. */
#define TWINLINE_ORIGIN_LINE_A 0
#define TWINLINE_ORIGIN_LINE_B 1
#define TWINLINE_ORIGIN_RECOVERY 2
#define TWINLINE_ORIGIN_UNKNOWN 255 /* it comes from the journal, or is no message */

/* States of the listener. */
#define TWINLINE_WRITER_ALIVE 0
#define TWINLINE_WRITER_SILENT 1
#define TWINLINE_WRITER_DEAD 2
#define TWINLINE_WRITER_CLOSED 3
#define TWINLINE_WRITER_REPLACED 4

typedef struct twinline_event {
    uint32_t kind;
    uint16_t template_id; /* TWINLINE_TEMPLATE_...; of a message or a listener's notice */
    uint8_t origin;
    uint8_t ends_event; /* 1: a source event ends here, books are whole */
    uint32_t session;
    uint32_t epoch;
    uint64_t sequence;     /* of a notice: that of the next message */
    uint64_t sending_time; /* ns since the Unix epoch; 0 of notices */
    uint64_t receive_time; /* ns since the Unix epoch; 0 if it is not known */
    uint32_t instrument;   /* 0: none */
    uint32_t best_changed; /* 1: the message changed the best bid or offer of a book that is kept */
    const void *block;     /* the message's block, see twinline_messages.h; valid until the reader is used again */
    size_t block_length;
    uint64_t begin;
    uint64_t end;
    uint32_t end_session;
    uint32_t writer;
    const char *text; /* valid until the reader is used again; NULL if there is none */
} twinline_event;

/* The next event, if there is one now. 1: there is. 0: nothing yet; of a recorded journal: it is read to its end. -1: error. */
int twinline_poll(twinline_reader *reader, twinline_event *event, twinline_error *error);

/* The same, waited for no longer than `at_most_ns`. */
int twinline_next(twinline_reader *reader, uint64_t at_most_ns, twinline_event *event, twinline_error *error);

/* The symbol of an instrument, terminated, until the reader is used again; NULL if it is not known. */
const char *twinline_symbol(twinline_reader *reader, uint32_t instrument);

/* The instrument of a symbol, of several sources' the lowest; 0 if it is not known. */
uint32_t twinline_instrument(const twinline_reader *reader, const char *symbol);

typedef struct twinline_quote {
    int64_t price;     /* TWINLINE_NO_PRICE: nobody bids, or offers */
    uint64_t quantity;
    uint64_t orders;   /* 0 from a source that sends no orders */
} twinline_quote;

/* Bits of twinline_best.flags. */
#define TWINLINE_BOOK_VALID 1  /* nothing is missing in it */
#define TWINLINE_BOOK_STALE 2  /* lines or listener are silent, or this reader is behind */
#define TWINLINE_BOOK_CROSSED 4

typedef struct twinline_best {
    twinline_quote bid;
    twinline_quote offer;
    uint32_t flags;
    uint32_t spare;
} twinline_best;

/* The best bid and offer of an instrument. 1: there is a book. 0: none is kept, or nothing was said of it yet. */
int twinline_best_of(const twinline_reader *reader, uint32_t instrument, twinline_best *best);

/* Price levels of one side (TWINLINE_SIDE_BUY or _SELL), the best first, at most `room`. Returns how many. */
size_t twinline_depth(const twinline_reader *reader, uint32_t instrument, uint8_t side, twinline_quote *levels,
                      size_t room);

/* Where the reader stands, as text to be kept and given to START_AT. Returns its length; `text` is terminated if it has room
 * for more than that. 48 bytes always do. */
size_t twinline_position(const twinline_reader *reader, char *text, size_t room);

/* The library's version, terminated. */
const char *twinline_version(void);

#ifdef __cplusplus
}
#endif

#endif
