/* Prints how the C compiler lays out the header's structs, for the test that holds the Rust side to it. */
#include <stdio.h>

#include "twinline.h"

#define SHOW(type, field) printf(#type "." #field " %zu %zu\n", offsetof(type, field), sizeof(((type *)0)->field))

int main(void)
{
    SHOW(twinline_options, version);
    SHOW(twinline_options, start);
    SHOW(twinline_options, overrun);
    SHOW(twinline_options, wait);
    SHOW(twinline_options, books);
    SHOW(twinline_options, know_symbols);
    SHOW(twinline_options, name);
    SHOW(twinline_options, position);
    SHOW(twinline_options, symbols);
    SHOW(twinline_options, symbol_count);
    SHOW(twinline_options, templates);
    SHOW(twinline_options, template_count);
    SHOW(twinline_event, kind);
    SHOW(twinline_event, template_id);
    SHOW(twinline_event, origin);
    SHOW(twinline_event, ends_event);
    SHOW(twinline_event, session);
    SHOW(twinline_event, epoch);
    SHOW(twinline_event, sequence);
    SHOW(twinline_event, sending_time);
    SHOW(twinline_event, receive_time);
    SHOW(twinline_event, instrument);
    SHOW(twinline_event, best_changed);
    SHOW(twinline_event, block);
    SHOW(twinline_event, block_length);
    SHOW(twinline_event, begin);
    SHOW(twinline_event, end);
    SHOW(twinline_event, end_session);
    SHOW(twinline_event, writer);
    SHOW(twinline_event, text);
    SHOW(twinline_quote, price);
    SHOW(twinline_quote, quantity);
    SHOW(twinline_quote, orders);
    SHOW(twinline_best, bid);
    SHOW(twinline_best, offer);
    SHOW(twinline_best, flags);
    SHOW(twinline_best, spare);
    printf("sizes %zu %zu %zu %zu %zu\n", sizeof(twinline_options), sizeof(twinline_event), sizeof(twinline_quote),
           sizeof(twinline_best), sizeof(twinline_error));
    printf("messages %zu %zu %zu\n", sizeof(twinline_add_order), sizeof(twinline_price_tick), sizeof(twinline_lost));
    return 0;
}
