/* Twinline's messages as packed structs: what twinline_event.block points at, by its template.
 *
 * Made from the schema; do not edit. Numbers are little endian, as on the wire, so this header is for little-endian
 * hosts. Prices count 10^-9 currency units. Text is padded with zero bytes and not terminated. A block may be longer
 * than its struct (from a newer sender) or shorter (from an older one): twinline_event.block_length says how much is there.
 */
#ifndef TWINLINE_MESSAGES_H
#define TWINLINE_MESSAGES_H

#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "twinline_messages.h is for little-endian hosts"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What stands for absent, in fields that say "may be absent". */
#define TWINLINE_NO_U16 UINT16_MAX
#define TWINLINE_NO_U32 UINT32_MAX
#define TWINLINE_NO_U64 UINT64_MAX
#define TWINLINE_NO_PRICE INT64_MAX
/* Units of a price in one unit of currency. */
#define TWINLINE_PRICE_SCALE INT64_C(1000000000)

#define TWINLINE_SCHEMA_ID 7331
#define TWINLINE_SCHEMA_VERSION 0

/* Marks on a market message. */
#define TWINLINE_EVENT_FLAGS_END_OF_EVENT 1
#define TWINLINE_EVENT_FLAGS_PRINTABLE 2

/* State of an instrument, or of a source's whole market. */
#define TWINLINE_STATUS_TRADING 1
#define TWINLINE_STATUS_HALTED 2
#define TWINLINE_STATUS_PAUSED 3
#define TWINLINE_STATUS_QUOTATION_ONLY 4
#define TWINLINE_STATUS_START_OF_MESSAGES 5
#define TWINLINE_STATUS_START_OF_SYSTEM_HOURS 6
#define TWINLINE_STATUS_START_OF_MARKET_HOURS 7
#define TWINLINE_STATUS_END_OF_MARKET_HOURS 8
#define TWINLINE_STATUS_END_OF_SYSTEM_HOURS 9
#define TWINLINE_STATUS_END_OF_MESSAGES 10
#define TWINLINE_STATUS_OPERATIONAL_HALT 11
#define TWINLINE_STATUS_OPERATIONAL_RESUME 12
#define TWINLINE_STATUS_OTHER 13

/* Which side of the book. */
#define TWINLINE_SIDE_BUY 1
#define TWINLINE_SIDE_SELL 2

/* What a ModifyOrder does with its quantity. */
#define TWINLINE_MODIFY_ACTION_REDUCE_BY 1
#define TWINLINE_MODIFY_ACTION_SET_KEEP_PRIORITY 2
#define TWINLINE_MODIFY_ACTION_SET_LOSE_PRIORITY 3

/* How a trade came about. */
#define TWINLINE_TRADE_KIND_NON_DISPLAYED 1
#define TWINLINE_TRADE_KIND_OPENING_CROSS 2
#define TWINLINE_TRADE_KIND_CLOSING_CROSS 3
#define TWINLINE_TRADE_KIND_HALT_CROSS 4
#define TWINLINE_TRADE_KIND_OTHER_CROSS 5
#define TWINLINE_TRADE_KIND_REGULAR 6

/* Which side an auction has too much of. */
#define TWINLINE_IMBALANCE_SIDE_BUY 1
#define TWINLINE_IMBALANCE_SIDE_SELL 2
#define TWINLINE_IMBALANCE_SIDE_NONE 3
#define TWINLINE_IMBALANCE_SIDE_INSUFFICIENT 4
#define TWINLINE_IMBALANCE_SIDE_PAUSED 5

/* Which auction. */
#define TWINLINE_CROSS_KIND_OPENING 1
#define TWINLINE_CROSS_KIND_CLOSING 2
#define TWINLINE_CROSS_KIND_HALT 3
#define TWINLINE_CROSS_KIND_OTHER 4

/* Why sequences were declared lost. */
#define TWINLINE_LOSS_REASON_TIMED_OUT 1
#define TWINLINE_LOSS_REASON_TOO_OLD 2
#define TWINLINE_LOSS_REASON_SKIPPED 3

/* One of the two lines. */
#define TWINLINE_LINE_NAME_A 0
#define TWINLINE_LINE_NAME_B 1
#define TWINLINE_LINE_NAME_BOTH 2

/* What happened to a line. */
#define TWINLINE_LINE_STATE_STALLED 1
#define TWINLINE_LINE_STATE_RESUMED 2
#define TWINLINE_LINE_STATE_STALE 3

/* What happened to a session. */
#define TWINLINE_SESSION_STATE_STARTED 1
#define TWINLINE_SESSION_STATE_EPOCH_STARTED 2
#define TWINLINE_SESSION_STATE_ENDED 3
#define TWINLINE_SESSION_STATE_ABANDONED 4

/* What a listener with fair release holds of its host's clock. */
#define TWINLINE_CLOCK_STATE_PLAUSIBLE 1
#define TWINLINE_CLOCK_STATE_BEHIND 2
#define TWINLINE_CLOCK_STATE_AHEAD 3
#define TWINLINE_CLOCK_STATE_UNSYNCHRONISED 4

#pragma pack(push, 1)

#define TWINLINE_TEMPLATE_EPOCH_START 1
/* The first message of an epoch, at the epoch's base. Cuts the stream: what older epochs put at or beyond validEnd is void, and [validEnd, base) never existed. */
typedef struct twinline_epoch_start {
    uint64_t valid_end; /* The end (exclusive) of what older epochs validly published. */
    uint32_t epoch; /* The epoch that starts, as in the packet header. */
} twinline_epoch_start;

#define TWINLINE_TEMPLATE_SESSION_START 2
/* The second message of a session. */
typedef struct twinline_session_start {
    uint32_t trading_date; /* The day, as YYYYMMDD. May be absent. */
    uint64_t source_time_origin; /* What source times count from, in nanoseconds since the Unix epoch; absent: midnight of the venue's day. May be absent. */
    char publisher[16]; /* The publisher's name. */
    uint32_t previous; /* The channel's session before this one: no session between the two was published. Absent: the publisher knows of none. May be absent. */
} twinline_session_start;

#define TWINLINE_TEMPLATE_END_OF_SESSION 3
/* The last message of a session. */
typedef struct twinline_end_of_session {
    uint64_t source_messages; /* Source messages published in the session on this channel. */
} twinline_end_of_session;

#define TWINLINE_TEMPLATE_SOURCE_POSITION 4
/* How far into a source the messages before this one reach: reading goes on from here. */
typedef struct twinline_source_position {
    uint64_t position; /* The position, in the source's own count (for files: messages read). */
    uint16_t source; /* The source. */
} twinline_source_position;

#define TWINLINE_TEMPLATE_INSTRUMENT_DEFINITION 10
/* Names an instrument. Comes before anything else about it, and again whenever something changes. */
typedef struct twinline_instrument_definition {
    uint64_t source_time; /* Source time in nanoseconds. */
    uint32_t instrument; /* The number that all other messages name it by. */
    char symbol[16]; /* The venue's symbol. */
    uint32_t lot_size; /* Units in a round lot. May be absent. */
    int64_t price_increment; /* Smallest price step. May be absent. */
    uint16_t source; /* The source. */
    char market[4]; /* The venue's market or tier, its own letters. */
    char class_letters[4]; /* The venue's classification, its own letters. */
    uint8_t flags; /* Marks. TWINLINE_EVENT_FLAGS_... */
} twinline_instrument_definition;

#define TWINLINE_TEMPLATE_TRADING_STATUS 11
/* The state of an instrument changes, or of the source's whole market (an instrument whose low 16 bits are 0). */
typedef struct twinline_trading_status {
    uint64_t source_time; /* Source time in nanoseconds. */
    uint32_t instrument; /* The instrument; with low 16 bits of 0, all of the source's. */
    uint8_t status; /* The new state. TWINLINE_STATUS_... */
    char reason[4]; /* The venue's reason, its own letters. */
    uint8_t flags; /* Marks. TWINLINE_EVENT_FLAGS_... */
} twinline_trading_status;

#define TWINLINE_TEMPLATE_ADD_ORDER 12
/* An order enters the book. */
typedef struct twinline_add_order {
    uint64_t source_time; /* Source time in nanoseconds. */
    uint64_t order_id; /* The venue's order number. */
    int64_t price; /* Limit price. */
    uint32_t quantity; /* Displayed quantity. */
    uint32_t instrument; /* The instrument. */
    char participant[4]; /* The participant, where the venue shows one. */
    uint8_t side; /* Side of the book. TWINLINE_SIDE_... */
    uint8_t flags; /* Marks. TWINLINE_EVENT_FLAGS_... */
} twinline_add_order;

#define TWINLINE_TEMPLATE_MODIFY_ORDER 13
/* An order's quantity changes. */
typedef struct twinline_modify_order {
    uint64_t source_time; /* Source time in nanoseconds. */
    uint64_t order_id; /* The order. */
    uint32_t quantity; /* How much, see action. */
    uint32_t instrument; /* The instrument. */
    uint8_t action; /* What quantity means. TWINLINE_MODIFY_ACTION_... */
    uint8_t flags; /* Marks. TWINLINE_EVENT_FLAGS_... */
} twinline_modify_order;

#define TWINLINE_TEMPLATE_REPLACE_ORDER 14
/* An order is replaced by another on the same side; the new one goes to the end of its queue. */
typedef struct twinline_replace_order {
    uint64_t source_time; /* Source time in nanoseconds. */
    uint64_t order_id; /* The order that goes. */
    uint64_t new_order_id; /* The order that comes. */
    int64_t price; /* Its limit price. */
    uint32_t quantity; /* Its displayed quantity. */
    uint32_t instrument; /* The instrument. */
    uint8_t flags; /* Marks. TWINLINE_EVENT_FLAGS_... */
} twinline_replace_order;

#define TWINLINE_TEMPLATE_DELETE_ORDER 15
/* An order leaves the book. */
typedef struct twinline_delete_order {
    uint64_t source_time; /* Source time in nanoseconds. */
    uint64_t order_id; /* The order. */
    uint32_t instrument; /* The instrument. */
    uint8_t flags; /* Marks. TWINLINE_EVENT_FLAGS_... */
} twinline_delete_order;

#define TWINLINE_TEMPLATE_EXECUTE_ORDER 16
/* An order in the book is executed, in part or in full. */
typedef struct twinline_execute_order {
    uint64_t source_time; /* Source time in nanoseconds. */
    uint64_t order_id; /* The order. */
    uint64_t match_id; /* The venue's number of the match. */
    int64_t price; /* The price, where it is not the order's own. May be absent. */
    uint32_t quantity; /* Executed quantity. */
    uint32_t instrument; /* The instrument. */
    uint8_t flags; /* Marks. TWINLINE_EVENT_FLAGS_... */
} twinline_execute_order;

#define TWINLINE_TEMPLATE_TRADE 17
/* A trade that changes no displayed order. */
typedef struct twinline_trade {
    uint64_t source_time; /* Source time in nanoseconds. */
    uint64_t match_id; /* The venue's number of the match. */
    int64_t price; /* Price. */
    uint64_t quantity; /* Quantity. */
    uint32_t instrument; /* The instrument. */
    uint8_t side; /* Side of the resting order, where the source says it. TWINLINE_SIDE_... */
    uint8_t kind; /* How it came about. TWINLINE_TRADE_KIND_... */
    uint8_t flags; /* Marks. TWINLINE_EVENT_FLAGS_... */
} twinline_trade;

#define TWINLINE_TEMPLATE_TRADE_CANCEL 18
/* A trade is broken. */
typedef struct twinline_trade_cancel {
    uint64_t source_time; /* Source time in nanoseconds. */
    uint64_t match_id; /* The number of the match that no longer counts. */
    uint32_t instrument; /* The instrument. */
    uint8_t flags; /* Marks. TWINLINE_EVENT_FLAGS_... */
} twinline_trade_cancel;

#define TWINLINE_TEMPLATE_IMBALANCE 19
/* The state of an auction that is being collected. */
typedef struct twinline_imbalance {
    uint64_t source_time; /* Source time in nanoseconds. */
    uint64_t paired_quantity; /* Quantity that would trade at the reference price. */
    uint64_t imbalance_quantity; /* Quantity left over. */
    int64_t far_price; /* Price at which the auction would clear with all orders in it. May be absent. */
    int64_t near_price; /* Price at which it would clear with continuous orders too. May be absent. */
    int64_t reference_price; /* Price that the quantities are for. May be absent. */
    uint32_t instrument; /* The instrument. */
    uint8_t side; /* Side of what is left over. TWINLINE_IMBALANCE_SIDE_... */
    uint8_t cross; /* Which auction. TWINLINE_CROSS_KIND_... */
    uint8_t flags; /* Marks. TWINLINE_EVENT_FLAGS_... */
} twinline_imbalance;

#define TWINLINE_TEMPLATE_BEST_BID_OFFER 20
/* The best bid and offer, from a source that sends no orders. */
typedef struct twinline_best_bid_offer {
    uint64_t source_time; /* Source time in nanoseconds. */
    int64_t bid_price; /* Best bid price. May be absent. */
    int64_t offer_price; /* Best offer price. May be absent. */
    uint64_t bid_quantity; /* Quantity at the best bid. */
    uint64_t offer_quantity; /* Quantity at the best offer. */
    uint32_t instrument; /* The instrument. */
    uint8_t flags; /* Marks. TWINLINE_EVENT_FLAGS_... */
} twinline_best_bid_offer;

#define TWINLINE_TEMPLATE_PRICE_TICK 21
/* A price, and nothing else: the plainest market data there is. */
typedef struct twinline_price_tick {
    uint64_t source_time; /* Source time in nanoseconds. */
    int64_t price; /* Price. */
    uint64_t quantity; /* Quantity, where there is one. May be absent. */
    uint32_t instrument; /* The instrument. */
    uint8_t flags; /* Marks. TWINLINE_EVENT_FLAGS_... */
} twinline_price_tick;

#define TWINLINE_TEMPLATE_UNSEEN_ORDER 22
/* An order that entered before the source's first message, of which the source tells only when something happens to it: stands before the message that says what, in the same event. No book shows it, before or after. */
typedef struct twinline_unseen_order {
    uint64_t source_time; /* Source time in nanoseconds. */
    uint64_t order_id; /* The venue's order number. */
    int64_t price; /* Limit price. */
    uint32_t quantity; /* Quantity that the next message takes from it. */
    uint32_t instrument; /* The instrument. */
    uint8_t side; /* Side of the book. TWINLINE_SIDE_... */
    uint8_t flags; /* Marks. TWINLINE_EVENT_FLAGS_... */
} twinline_unseen_order;

#define TWINLINE_TEMPLATE_LOST 60
/* Notice: these sequences are lost; books are invalid until a snapshot replaces the state. */
typedef struct twinline_lost {
    uint64_t begin; /* First sequence lost. */
    uint64_t end; /* First sequence not lost. */
    uint8_t reason; /* Why. TWINLINE_LOSS_REASON_... */
} twinline_lost;

#define TWINLINE_TEMPLATE_VOID 61
/* Notice: these sequences were delivered and are void; the state is invalid until a snapshot replaces it. */
typedef struct twinline_void {
    uint64_t begin; /* First sequence that is void. */
    uint64_t end; /* First sequence that is not. */
    uint32_t epoch; /* The epoch that cut them off. */
} twinline_void;

#define TWINLINE_TEMPLATE_STATE_REPLACED 62
/* Notice: the state before the next message is the snapshot in this file, not what the messages before add up to. */
typedef struct twinline_state_replaced {
    uint64_t sequence; /* The snapshot holds all valid messages below this sequence. */
    uint32_t epoch; /* The snapshot's epoch. */
    uint64_t file; /* Number of the snapshot's file. */
} twinline_state_replaced;

#define TWINLINE_TEMPLATE_LINE_EVENT 63
/* Notice: a line stalls or comes back. */
typedef struct twinline_line_event {
    uint64_t time; /* When, in nanoseconds since the Unix epoch. */
    uint8_t line; /* Which. TWINLINE_LINE_NAME_... */
    uint8_t state; /* What. TWINLINE_LINE_STATE_... */
} twinline_line_event;

#define TWINLINE_TEMPLATE_SESSION_EVENT 64
/* Notice: a session starts or ends, or an epoch starts. */
typedef struct twinline_session_event {
    uint64_t time; /* When, in nanoseconds since the Unix epoch. */
    uint8_t state; /* What. TWINLINE_SESSION_STATE_... */
} twinline_session_event;

#define TWINLINE_TEMPLATE_SESSIONS_MISSED 65
/* Notice: the sessions with these numbers, as far as there were any, are missing before the session that begins here; books are invalid until it fills them. */
typedef struct twinline_sessions_missed {
    uint32_t begin; /* First session that is missing. */
    uint32_t end; /* First session that is not. */
    uint8_t reason; /* Why. TWINLINE_LOSS_REASON_... */
} twinline_sessions_missed;

#define TWINLINE_TEMPLATE_CLOCK_EVENT 66
/* Notice: the clock that messages are released by becomes implausible, or plausible again. */
typedef struct twinline_clock_event {
    uint64_t time; /* When, in nanoseconds since the Unix epoch. */
    uint8_t state; /* What. TWINLINE_CLOCK_STATE_... */
    uint64_t offset; /* Lowest receive time minus sending time of the last ten seconds, in nanoseconds, without its sign: below zero where the state is Behind. Absent: nothing came. May be absent. */
} twinline_clock_event;

#pragma pack(pop)

#ifdef __cplusplus
}
#endif

#endif
