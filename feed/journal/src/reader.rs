//! Readers of a journal, in any process, while it is written.

use crate::control::{Location, Position};
use crate::seek::{End, Place, Segments};
use crate::{Head, JournalError, Region, Seek, SessionSpan};
use std::path::Path;
use twinline_wire::Packet;
use twinline_wire::header::{PacketHeader, align_up};
use twinline_wire::session::EpochStart;

/// A reader of a journal. A clone reads on its own from the same place and shares the mapped memory.
#[derive(Clone, Debug)]
pub struct JournalReader {
    segments: Segments,
    /// The control file's generation when the files were last looked at.
    seen: u64,
    /// The same, when the place was found.
    generation: u64,
    /// Where the next packet is or will be; `None` while there is no segment.
    place: Option<Place>,
    /// How the reader got there.
    origin: Origin,
    head: Option<HeadCache>,
}

/// How a reader got to its place: what it needs to find it again when files were replaced.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Oldest,
    Sought {
        session: u32,
        sequence: u64,
    },
    /// By reading the packet that stands at `at` in the segment `index`. Its header, if that is another segment than the
    /// reader's present one.
    Read {
        index: u64,
        at: usize,
        header: Option<PacketHeader>,
    },
}

/// What [`JournalReader::head`] found last, to go on from.
#[derive(Clone, Debug)]
struct HeadCache {
    end: End,
    oldest: u64,
    /// The oldest segment at that time.
    first: u64,
}

impl JournalReader {
    /// Opens the journal in `dir` for reading, at its oldest packet. After a power cut it shows what is known to be
    /// durable, until a writer has opened the journal and recovered the rest.
    ///
    /// # Errors
    /// If there is no journal, or one of another format.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let segments = Segments::open(dir)?;
        let seen = segments.control.generation();
        let mut reader = Self {
            segments,
            seen,
            generation: seen,
            place: None,
            origin: Origin::Oldest,
            head: None,
        };
        reader.seek_oldest()?;
        Ok(reader)
    }

    /// The journal's directory.
    pub fn dir(&self) -> &Path {
        &self.segments.dir
    }

    /// The journal's channel.
    pub fn channel(&self) -> u16 {
        self.segments.made.channel
    }

    /// The longest packet in bytes.
    pub fn max_packet(&self) -> usize {
        self.segments.made.max_packet
    }

    /// Goes to the packet that holds `sequence`, or the first one after it. In a listener's journal to the notice that
    /// says it is lost, too.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn seek(&mut self, session: u32, sequence: u64) -> Result<Seek, JournalError> {
        self.look_anew();
        // Most ask for what is near the place or near the head: no search among the files then.
        let here = self.place.as_ref().filter(|_| self.generation == self.seen);
        let head = self.head.as_ref().map(|cache| &cache.end.place);
        let mut found = None;
        for place in [here, head].into_iter().flatten() {
            if found.is_none() {
                found = self.segments.seek_in(&place.segment, session, sequence)?;
            }
        }
        let (seek, place) = match found {
            Some(found) => found,
            None => self.segments.seek(session, sequence)?,
        };
        if place.is_some() {
            self.stand(place, Origin::Sought { session, sequence });
        }
        Ok(seek)
    }

    /// Goes to a place behind a packet of this journal that its writer or a reader named since this reader looked at the files
    /// last, without a search. If they are replaced before anything is read there, it goes to `sequence` of `session`. False,
    /// with nothing changed, if that has happened already, or the place is not held any more.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn go_to(&mut self, location: Location, session: u32, sequence: u64) -> Result<bool, JournalError> {
        let to = Position::from(location);
        let Some(place) = &mut self.place else {
            return Ok(false);
        };
        if self.segments.control.generation() != self.generation
            || (place.segment.index != to.index() && !self.segments.reopen(&mut place.segment, to.index())?)
        {
            return Ok(false);
        }
        (place.at, self.origin) = (to.at(), Origin::Sought { session, sequence });
        Ok(true)
    }

    /// Goes to the oldest packet held.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn seek_oldest(&mut self) -> Result<(), JournalError> {
        self.look_anew();
        let place = self.segments.oldest()?;
        self.stand(place, Origin::Oldest);
        Ok(())
    }

    /// Goes behind the newest packet.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn seek_head(&mut self) -> Result<(), JournalError> {
        self.look_anew();
        let Some(end) = self.segments.newest()? else {
            return self.seek_oldest();
        };
        let (session, sequence) = (end.chain.tail.session, end.chain.tail.next);
        self.stand(Some(end.place), Origin::Sought { session, sequence });
        Ok(())
    }

    /// Goes to a place that was found in the files as they are now.
    fn stand(&mut self, place: Option<Place>, origin: Origin) {
        (self.place, self.origin, self.generation) = (place, origin, self.seen);
    }

    /// The error for having been overtaken by retention. The reader goes on at the oldest packet.
    fn fell_behind(&mut self) -> Result<JournalError, JournalError> {
        self.stand(None, Origin::Oldest);
        self.segments.behind()
    }

    /// Before a search: nothing that was known of older files counts.
    fn look_anew(&mut self) {
        let generation = self.segments.control.generation();
        if generation != self.seen {
            self.seen = generation;
            self.segments.renew_limit();
            self.head = None;
        }
    }

    /// The next packet; `None` at the head: call again later.
    ///
    /// # Errors
    /// [`JournalError::Behind`]: retention overtook the reader. [`JournalError::Discarded`]: what it read is void. After
    /// both it goes on where the error says, unless it seeks. Or a segment that cannot be read.
    #[expect(clippy::should_implement_trait, reason = "it lends, and it can fail")]
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, JournalError> {
        if !self.is_ready()? {
            return Ok(None);
        }
        let Some(place) = &mut self.place else {
            return Ok(None);
        };
        let at = place.at;
        let Some(packet) = place.segment.packet(at)? else {
            return Ok(None);
        };
        place.at = at + align_up(packet.bytes().len());
        self.origin = Origin::Read {
            index: place.segment.index,
            at,
            header: None,
        };
        Ok(Some(packet))
    }

    /// Where the reader stands: behind the packet that [`next`](Self::next) gave last, or where a search led. `None` while
    /// the journal is empty.
    pub fn location(&self) -> Option<Location> {
        let place = self.place.as_ref()?;
        Some(Position::new(place.segment.index, place.at).into())
    }

    /// As many whole packets of one segment as fit `max_bytes`, at least one; `None` at the head.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_region(&mut self, max_bytes: usize) -> Result<Option<Region>, JournalError> {
        if !self.is_ready()? {
            return Ok(None);
        }
        let Some(place) = &mut self.place else {
            return Ok(None);
        };
        // Checks the first packet's header, so that damage is an error.
        let Some(first) = place.segment.packet(place.at)? else {
            return Ok(None);
        };
        let first = (first.header().session.get(), first.sequence());
        let (mut length, mut last, mut end) = (0, 0, first.1);
        let segment = &place.segment;
        let run = segment.map.run(place.at, segment.end(), max_bytes, |bytes| {
            let Ok(packet) = Packet::trusted_prefix(bytes) else {
                return false;
            };
            last = length;
            length += align_up(bytes.len());
            end = packet.end().max(end);
            true
        });
        let Some(run) = run else { return Ok(None) };
        self.origin = Origin::Read {
            index: segment.index,
            at: place.at + last,
            header: None,
        };
        place.at += length;
        Ok(Some(Region::new(run, first, end)))
    }

    /// Goes to where the next packet is, over the end of a segment if need be. False if there is none yet.
    #[inline]
    fn is_ready(&mut self) -> Result<bool, JournalError> {
        if self.segments.control.generation() != self.generation {
            self.find_again()?;
        }
        loop {
            let Some(place) = &self.place else {
                self.place = self.segments.oldest()?;
                if self.place.is_none() {
                    return Ok(false);
                }
                continue;
            };
            let segment = &place.segment;
            if segment.is_committed(place.at) {
                return Ok(true);
            }
            if !segment.has_end_mark() {
                return Ok(false);
            }
            // The end mark came after the last packet: look again, with the mark seen.
            if segment.is_committed(place.at) {
                continue;
            }
            if !self.enter_next()? {
                return Ok(false);
            }
        }
    }

    /// Goes to the next segment. False if it is not there.
    #[cold]
    fn enter_next(&mut self) -> Result<bool, JournalError> {
        let Some(place) = &mut self.place else {
            return Ok(false);
        };
        let next = place.segment.index + 1;
        let mut origin = self.origin;
        if let Origin::Read { index, at, header } = &mut origin
            && *index == place.segment.index
        {
            *header = place.segment.packet(*at)?.map(|packet| *packet.header());
        }
        if !self.segments.reopen(&mut place.segment, next)? {
            // Retired, or just being cut off.
            return match self.segments.list()?.first() {
                Some(&oldest) if oldest > next => Err(self.fell_behind()?),
                _ => Ok(false),
            };
        }
        (place.at, self.origin) = (0, origin);
        Ok(true)
    }

    /// After files were replaced: finds the same place in the new ones, or says that it is void.
    #[cold]
    fn find_again(&mut self) -> Result<(), JournalError> {
        self.look_anew();
        match self.origin {
            Origin::Oldest => self.seek_oldest(),
            Origin::Sought { session, sequence } => match self.seek(session, sequence)? {
                Seek::Found | Seek::NotYet => Ok(()),
                Seek::TooOld { .. } | Seek::UnknownSession => Err(self.fell_behind()?),
            },
            Origin::Read { index, at, header } => self.find_read(index, at, header),
        }
    }

    /// Finds the place behind a packet that was read, by that packet.
    fn find_read(&mut self, index: u64, at: usize, header: Option<PacketHeader>) -> Result<(), JournalError> {
        let header = match (header, &self.place) {
            (Some(header), _) => Some(header),
            (None, Some(place)) => place.segment.packet(at)?.map(|packet| *packet.header()),
            (None, None) => None,
        };
        let Some(header) = header else {
            return self.seek_oldest();
        };
        if let Some(segment) = self.segments.segment(index)?
            && segment
                .packet(at)?
                .is_some_and(|packet| *packet.header() == header)
        {
            let next = at + align_up(usize::from(header.length.get()));
            let place = Place { segment, at: next };
            let header = None;
            self.stand(Some(place), Origin::Read { index, at, header });
            return Ok(());
        }
        // Retired, or cut off.
        let (session, read) = (header.session.get(), header.end());
        match self.segments.seek(session, read)? {
            (Seek::Found | Seek::NotYet, Some(place)) => self.check_cut(session, read, place),
            (Seek::UnknownSession, _) if self.segments.is_cut_before(session)? => {
                self.seek_head()?;
                Err(JournalError::Discarded {
                    session,
                    next: 1,
                    read,
                })
            }
            _ => Err(self.fell_behind()?),
        }
    }

    /// The packet that was read last is not where it was; `place` is where the reader goes on. What it read is void
    /// from where the journal was cut.
    fn check_cut(&mut self, session: u32, read: u64, place: Place) -> Result<(), JournalError> {
        let start = place.segment.packet(place.at)?.and_then(|packet| {
            let (_, frame) = packet.messages().next()?;
            Some(frame.view::<EpochStart>()?.valid_end.get())
        });
        let next = match start {
            Some(valid_end) => valid_end,
            None => self.segments.span(session)?.map_or(read, |span| span.next),
        };
        let sequence = read;
        self.stand(Some(place), Origin::Sought { session, sequence });
        if next < read {
            return Err(JournalError::Discarded { session, next, read });
        }
        Ok(())
    }

    /// Where the journal ends now; `None` while it is empty. Does not move the reader.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn head(&mut self) -> Result<Option<Head>, JournalError> {
        self.look_anew();
        let known = match self.head.take() {
            Some(mut cache) => {
                cache.end.advance()?;
                self.head_after(cache)?
            }
            None => None,
        };
        self.head = match known {
            Some(cache) => Some(cache),
            None => self.find_head()?,
        };
        Ok(self.head.as_ref().map(|cache| {
            let tail = cache.end.chain.tail;
            Head {
                session: tail.session,
                epoch: tail.epoch,
                epoch_base: tail.epoch_base,
                next: tail.next,
                ended: tail.ended,
                oldest: cache.oldest,
            }
        }))
    }

    /// What was known of the head, if it still is the head.
    fn head_after(&self, cache: HeadCache) -> Result<Option<HeadCache>, JournalError> {
        if cache.first != self.segments.control.first() {
            return Ok(None);
        }
        if cache.end.marked {
            let next = self.segments.segment(cache.end.place.segment.index + 1)?;
            if next.is_none_or(|next| next.is_committed(0)) {
                return Ok(None);
            }
        }
        Ok(Some(cache))
    }

    fn find_head(&self) -> Result<Option<HeadCache>, JournalError> {
        let first = self.segments.control.first();
        let Some(end) = self.segments.newest()? else {
            return Ok(None);
        };
        let session = end.chain.tail.session;
        let oldest = self.segments.oldest_of(session)?;
        Ok(oldest.map(|oldest| HeadCache { end, oldest, first }))
    }

    /// The first session from `session` on of which something is held; `None` if there is none. Does not move the reader.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn session_from(&mut self, session: u32) -> Result<Option<u32>, JournalError> {
        self.look_anew();
        self.segments.session_from(session)
    }

    /// What is held of `session`; `None` if nothing. Does not move the reader.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn session(&mut self, session: u32) -> Result<Option<SessionSpan>, JournalError> {
        self.look_anew();
        self.segments.span(session)
    }
}
