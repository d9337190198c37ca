//! Packets that wait in the order they came, in memory that was reserved at the start: what the impairer delays, and what
//! a listener holds until its moment. A ring of bytes in which each packet lies in one piece, and beside it what the owner
//! keeps of each.

use std::collections::VecDeque;

/// A packet that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting<T> {
    tag: T,
    at: usize,
    length: usize,
}

/// A bounded queue of packets, each with a tag. Nothing is allocated after it is made.
#[derive(Debug)]
pub struct PacketQueue<T> {
    order: VecDeque<Waiting<T>>,
    memory: Box<[u8]>,
    /// Where the next packet goes if there is room.
    write: usize,
    packets: usize,
    held: usize,
}

impl<T: Copy> PacketQueue<T> {
    /// A queue of at most `bytes` of at most `packets` packets.
    pub fn new(bytes: usize, packets: usize) -> Self {
        Self {
            order: VecDeque::with_capacity(packets),
            // Written, not only reserved: the first round through it is to meet no page fault either.
            memory: vec![0xff; bytes].into_boxed_slice(),
            write: 0,
            packets,
            held: 0,
        }
    }

    /// Copies `packet` behind the others. False if there is no room for it just now.
    #[inline]
    pub fn push(&mut self, tag: T, packet: &[u8]) -> bool {
        let length = packet.len();
        let Some(at) = self.place(length) else {
            return false;
        };
        self.memory[at..at + length].copy_from_slice(packet);
        self.order.push_back(Waiting { tag, at, length });
        self.write = at + length;
        self.held += length;
        true
    }

    /// Where so many bytes in one piece go. What waits is never touched: the place is before the first or behind the last.
    #[inline]
    fn place(&self, length: usize) -> Option<usize> {
        let room = |from: usize, to: usize| to - from >= length;
        if self.order.len() == self.packets || length == 0 {
            return None;
        }
        let Some(first) = self.order.front() else {
            // Used from its beginning again, a queue that is short stays in the cache.
            return room(0, self.memory.len()).then_some(0);
        };
        if self.write <= first.at {
            return room(self.write, first.at).then_some(self.write);
        }
        let behind = room(self.write, self.memory.len()).then_some(self.write);
        behind.or_else(|| room(0, first.at).then_some(0))
    }

    /// The packet that came first, and its tag.
    #[inline]
    pub fn front(&self) -> Option<(T, &[u8])> {
        let first = self.order.front()?;
        Some((first.tag, &self.memory[first.at..first.at + first.length]))
    }

    /// Takes the first packet out.
    #[inline]
    pub fn pop(&mut self) {
        if let Some(first) = self.order.pop_front() {
            self.held -= first.length;
        }
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Bytes of the packets that wait.
    pub fn bytes(&self) -> usize {
        self.held
    }

    /// True if none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_queue_that_is_empty_takes_a_packet_as_long_as_its_memory() {
        let mut queue = PacketQueue::new(100, 4);
        assert!(queue.push(1, &[1; 60]) && !queue.push(2, &[2; 60]));
        queue.pop();
        assert!(queue.push(3, &[3; 100]) && !queue.push(4, &[4; 1]));
        assert_eq!(queue.front(), Some((3, &[3; 100][..])));
        queue.pop();
        assert!(!queue.push(5, &[5; 101]));
        assert_eq!((queue.len(), queue.bytes(), queue.front()), (0, 0, None));
    }

    proptest! {
        #[test]
        fn what_went_in_comes_out_in_order_and_nothing_is_overwritten(
            steps in proptest::collection::vec((any::<bool>(), 1..70_usize), 1..300),
            bytes in 70..200_usize,
            packets in 1..9_usize,
        ) {
            let mut queue = PacketQueue::new(bytes, packets);
            let mut model: VecDeque<(usize, Vec<u8>)> = VecDeque::new();
            let capacity = queue.order.capacity();
            for (number, (put, length)) in steps.into_iter().enumerate() {
                if put {
                    let packet = vec![number as u8; length];
                    let held: usize = model.iter().map(|(_, packet)| packet.len()).sum();
                    let taken = queue.push(number, &packet);
                    // What is free may be in two pieces.
                    prop_assert!(taken || model.len() == packets || held + 2 * 70 > bytes);
                    if taken {
                        model.push_back((number, packet));
                    }
                } else {
                    queue.pop();
                    model.pop_front();
                }
                let first = model.front().map(|(tag, packet)| (*tag, packet.as_slice()));
                prop_assert_eq!(queue.front(), first);
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.bytes(), model.iter().map(|(_, packet)| packet.len()).sum::<usize>());
            }
            prop_assert_eq!(queue.order.capacity(), capacity);
        }
    }
}
