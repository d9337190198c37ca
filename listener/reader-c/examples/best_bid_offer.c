/* Prints every change of a best bid or offer, from a listener on this host or from a recorded journal.
 *
 *   cc -o best_bid_offer best_bid_offer.c -I ../include -L ../../../target/release -ltwinline -lpthread -ldl -lm
 *   ./best_bid_offer ring /dev/shm/twinline 1 AAPL MSFT      the listener's ring of channel 1, these symbols
 *   ./best_bid_offer journal /var/lib/twinline/listener      a journal, all symbols
 *
 * A line each: session:epoch:sequence, symbol, bid quantity and price, offer quantity and price; what is wrong with the book.
 * Ends at the end of the session. SIGINT or SIGTERM: prints the position, from which START_AT goes on.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <inttypes.h>

#include "twinline.h"

static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
    (void)signal;
    stop = 1;
}

static void print_quote(const twinline_quote *quote)
{
    if (quote->price == TWINLINE_NO_PRICE) {
        printf(" -");
        return;
    }
    printf(" %" PRIu64 "@%" PRId64 ".%09" PRId64, quote->quantity, quote->price / TWINLINE_PRICE_SCALE,
           quote->price % TWINLINE_PRICE_SCALE);
}

static void print_best(twinline_reader *reader, const twinline_event *event)
{
    twinline_best best;
    const char *symbol = twinline_symbol(reader, event->instrument);
    if (!twinline_best_of(reader, event->instrument, &best))
        return;
    printf("%" PRIu32 ":%" PRIu32 ":%" PRIu64 " %s", event->session, event->epoch, event->sequence, symbol ? symbol : "?");
    print_quote(&best.bid);
    print_quote(&best.offer);
    if (!(best.flags & TWINLINE_BOOK_VALID))
        printf(" INVALID");
    if (best.flags & TWINLINE_BOOK_CROSSED)
        printf(" crossed");
    printf("\n");
}

/* True once the session is complete. */
static int print_notice(const twinline_event *event)
{
    if (event->kind == TWINLINE_MISSED) {
        fprintf(stderr, "missed %" PRIu64 " to %" PRIu64 "\n", event->begin, event->end);
    } else if (event->kind == TWINLINE_WRITER) {
        fprintf(stderr, "listener: state %" PRIu32 "\n", event->writer);
    } else if (event->kind == TWINLINE_NOTICE && event->template_id == TWINLINE_TEMPLATE_LOST) {
        twinline_lost lost;
        memcpy(&lost, event->block, sizeof lost);
        fprintf(stderr, "lost %" PRIu64 " to %" PRIu64 "\n", lost.begin, lost.end);
    } else if (event->kind == TWINLINE_NOTICE && event->template_id == TWINLINE_TEMPLATE_SESSION_EVENT) {
        twinline_session_event session;
        memcpy(&session, event->block, sizeof session);
        return session.state == TWINLINE_SESSION_STATE_ENDED;
    }
    return 0;
}

int main(int count, char **arguments)
{
    twinline_options options;
    twinline_error error;
    twinline_reader *reader;
    int is_ring = count >= 4 && strcmp(arguments[1], "ring") == 0;
    int first_symbol = is_ring ? 4 : 3;

    if (!is_ring && (count < 3 || strcmp(arguments[1], "journal") != 0)) {
        fprintf(stderr, "usage: %s ring DIRECTORY CHANNEL [SYMBOL...]\n       %s journal DIRECTORY [SYMBOL...]\n",
                arguments[0], arguments[0]);
        return 2;
    }
    twinline_options_init(&options);
    options.name = "best_bid_offer";
    if (!is_ring)
        options.start = TWINLINE_START_OLDEST;
    if (count > first_symbol) {
        options.symbols = (const char *const *)(arguments + first_symbol);
        options.symbol_count = (size_t)(count - first_symbol);
        options.books = TWINLINE_BOOKS_CHOSEN;
    }
    reader = is_ring ? twinline_attach(arguments[2], (uint16_t)atoi(arguments[3]), &options, &error)
                     : twinline_open_journal(arguments[2], &options, &error);
    if (!reader) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    while (!stop) {
        twinline_event event;
        int found = twinline_next(reader, UINT64_C(100000000), &event, &error);
        if (found < 0) {
            fprintf(stderr, "%s\n", error.text);
            twinline_close(reader);
            return 1;
        }
        if (!found && !is_ring)
            break;
        if (!found)
            continue;
        if (event.kind != TWINLINE_MESSAGE) {
            if (print_notice(&event))
                break;
        } else if (event.best_changed) {
            print_best(reader, &event);
        }
    }
    {
        char position[48];
        twinline_position(reader, position, sizeof position);
        fprintf(stderr, "position %s\n", position);
    }
    twinline_close(reader);
    return 0;
}
