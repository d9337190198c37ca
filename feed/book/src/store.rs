//! Orders and price levels of all instruments, in two pools, and the table that finds an order by its number.
//!
//! An order is 32 bytes, a level too: a message about an order touches a slot of the table, the order, its level and, if
//! it leaves, its neighbours in the queue. Entries never move; freed ones are used again first, so nothing is allocated
//! once the pools have reached the day's size.

use crate::table::{Slot, Table, hash};
use twinline_wire::field::Text;

/// No order, no level: the end of a queue or of the list of free entries.
const NONE: u32 = u32::MAX;

/// An order in a book.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) quantity: u32,
    pub(crate) participant: Text<4>,
    instrument: u32,
    pub(crate) level: u32,
    /// The order before it in the queue.
    previous: u32,
    /// The order behind it; of a free entry the next free one.
    next: u32,
}

/// All orders of one price on one side, in the order in which they will be executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    /// The price as its ladder sorts it.
    pub(crate) key: i64,
    /// Sum of the orders' quantities.
    pub(crate) quantity: u64,
    pub(crate) orders: u32,
    first: u32,
    /// The last order; of a free entry the next free one.
    last: u32,
    /// The book that it stands in, and the lowest bit is which of its ladders.
    home: u32,
}

impl Level {
    /// The number of the book.
    #[inline]
    pub(crate) fn book(&self) -> u32 {
        self.home >> 1
    }

    /// Which of the book's ladders.
    #[inline]
    pub(crate) fn side(&self) -> u8 {
        (self.home & 1) as u8
    }
}

const _: () = assert!(size_of::<Order>() == 32 && size_of::<Level>() == 32);

/// The pools.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    table: Table,
    orders: Vec<Order>,
    levels: Vec<Level>,
    free_order: u32,
    free_level: u32,
}

/// An order that was found: its entry, and where the table has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    slot: Slot,
    pub(crate) number: u32,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            table: Table::default(),
            orders: Vec::new(),
            levels: Vec::new(),
            free_order: NONE,
            free_level: NONE,
        }
    }
}

impl Store {
    /// Orders in all books.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Makes room for so many orders in all.
    pub(crate) fn reserve(&mut self, orders: usize) {
        self.table.reserve(orders);
        self.orders.reserve(orders.saturating_sub(self.orders.len()));
    }

    #[inline]
    pub(crate) fn order(&self, number: u32) -> &Order {
        &self.orders[number as usize]
    }

    #[inline]
    pub(crate) fn level(&self, number: u32) -> &Level {
        &self.levels[number as usize]
    }

    /// The order `id` of an instrument.
    #[inline]
    pub(crate) fn find(&self, instrument: u32, id: u64) -> Option<Found> {
        let wanted = |number| {
            let order = &self.orders[number as usize];
            order.id == id && order.instrument == instrument
        };
        let (slot, number) = self.table.find(hash(instrument, id), wanted)?;
        Some(Found { slot, number })
    }

    /// A level without orders.
    pub(crate) fn open_level(&mut self, book: u32, side: u8, key: i64) -> u32 {
        let level = Level {
            key,
            quantity: 0,
            orders: 0,
            first: NONE,
            last: NONE,
            home: book << 1 | u32::from(side),
        };
        let number = self.free_level;
        if let Some(free) = self.levels.get_mut(number as usize) {
            self.free_level = free.last;
            *free = level;
            return number;
        }
        self.levels.push(level);
        (self.levels.len() - 1) as u32
    }

    /// Gives a level back, of which the last order has left.
    pub(crate) fn close_level(&mut self, number: u32) {
        self.levels[number as usize].last = self.free_level;
        self.free_level = number;
    }

    /// Puts an order at the end of a level's queue. The book must not have one of this number.
    #[inline]
    pub(crate) fn enter(
        &mut self,
        instrument: u32,
        id: u64,
        quantity: u32,
        participant: Text<4>,
        level: u32,
    ) {
        let order = Order {
            id,
            quantity,
            participant,
            instrument,
            level,
            previous: NONE,
            next: NONE,
        };
        let number = match self.orders.get_mut(self.free_order as usize) {
            Some(free) => {
                let number = std::mem::replace(&mut self.free_order, free.next);
                *free = order;
                number
            }
            None => {
                self.orders.push(order);
                (self.orders.len() - 1) as u32
            }
        };
        self.table.insert(hash(instrument, id), number);
        self.queue(number);
    }

    /// Takes an order out of everything. Its level stays, even if it is empty now.
    #[inline]
    pub(crate) fn leave(&mut self, found: Found) {
        self.table.remove(found.slot);
        self.unqueue(found.number);
        self.orders[found.number as usize].next = std::mem::replace(&mut self.free_order, found.number);
    }

    /// Changes an order's quantity; its place stays.
    #[inline]
    pub(crate) fn set_quantity(&mut self, number: u32, quantity: u32) {
        let order = &mut self.orders[number as usize];
        let before = std::mem::replace(&mut order.quantity, quantity);
        let level = &mut self.levels[order.level as usize];
        level.quantity = level.quantity - u64::from(before) + u64::from(quantity);
    }

    /// Changes an order's quantity and sends it to the end of its queue.
    pub(crate) fn queue_again(&mut self, number: u32, quantity: u32) {
        self.unqueue(number);
        self.orders[number as usize].quantity = quantity;
        self.queue(number);
    }

    /// Appends an order to its level's queue.
    #[inline]
    fn queue(&mut self, number: u32) {
        let order = self.orders[number as usize];
        let level = &mut self.levels[order.level as usize];
        level.orders += 1;
        level.quantity += u64::from(order.quantity);
        let last = std::mem::replace(&mut level.last, number);
        match self.orders.get_mut(last as usize) {
            Some(last) => last.next = number,
            None => level.first = number,
        }
        let order = &mut self.orders[number as usize];
        (order.previous, order.next) = (last, NONE);
    }

    /// Takes an order out of its level's queue.
    #[inline]
    fn unqueue(&mut self, number: u32) {
        let order = self.orders[number as usize];
        let level = &mut self.levels[order.level as usize];
        level.orders -= 1;
        level.quantity -= u64::from(order.quantity);
        match self.orders.get_mut(order.previous as usize) {
            Some(previous) => previous.next = order.next,
            None => level.first = order.next,
        }
        match self.orders.get_mut(order.next as usize) {
            Some(next) => next.previous = order.previous,
            None => level.last = order.previous,
        }
    }

    /// The orders of a level, the next to be executed first.
    pub(crate) fn queue_of(&self, level: u32) -> impl Iterator<Item = &Order> + use<'_> {
        let at = |number: u32| self.orders.get(number as usize);
        std::iter::successors(at(self.level(level).first), move |order| at(order.next))
    }
}
