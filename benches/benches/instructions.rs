//! Does a fixed piece of work once, so that its instructions can be counted: `.ci/instruction_check.py` runs it under
//! callgrind. Prints, for each piece, the function that does it, how many units that are, and what a unit is.

use twinline_benches::micro::load::Load;
use twinline_benches::micro::pieces::{self, Books, Listening};

const PACKETS: usize = 64;
/// Times that the messages go through the books.
const ROUNDS: usize = 20;

fn main() {
    let load = Load::new(PACKETS);
    let packets = load.checked();
    let messages = load.messages();
    let mut listening = Listening::new();
    let mut books = Books::new();

    listening.in_order(&packets);
    println!("arbiter, in order\tListening::in_order\t{PACKETS}\tpacket");
    listening.duplicate(&packets);
    println!("arbiter, duplicate\tListening::duplicate\t{PACKETS}\tpacket");
    pieces::walk(&packets);
    println!("frame walk and validation\tpieces::walk\t{messages}\tmessage");
    let orders = pieces::encode(PACKETS);
    println!("encode, checksum and all\tpieces::encode\t{orders}\tmessage");
    // Books find their size at first; that is no part of what a message costs.
    (0..ROUNDS).for_each(|_| books.apply(&packets));
    println!("book\tBooks::apply\t{}\tmessage", ROUNDS * messages);
    pieces::checksums(&load);
    println!("checksum\tpieces::checksums\t{PACKETS}\tpacket");
    assert_eq!(
        listening.delivered(),
        messages as u64 + 1,
        "each message once, and the session's start"
    );
}
