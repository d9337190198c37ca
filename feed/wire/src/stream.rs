//! How the recovery protocol's messages travel over TCP: `length u32 | SBE header | block | groups | data`. The length
//! covers the whole frame; groups and data as in SBE (`blockLength u16, numInGroup u16`; data behind a `length u32`).

use crate::message::{Message, SbeHeader, View, view_block};
use crate::recovery::Range;
use crate::{SCHEMA_ID, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What precedes every block on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct StreamHeader {
    /// Bytes of the whole frame, these four included.
    pub length: U32,
    /// The SBE header.
    pub sbe: SbeHeader,
}

/// Bytes of a [`StreamHeader`].
pub const STREAM_HEADER_LEN: usize = size_of::<StreamHeader>();

/// The dimension of an SBE repeating group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GroupHeader {
    /// Bytes of one entry.
    pub block_length: U16,
    /// Entries.
    pub num_in_group: U16,
}

/// A frame of the stream that does not hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent a frame that does not hold together: {0}")]
pub struct StreamError(pub &'static str);

/// One frame, borrowed from the bytes received.
#[derive(Clone, Copy, Debug)]
pub struct StreamFrame<'a> {
    sbe: &'a SbeHeader,
    body: &'a [u8],
}

impl<'a> StreamFrame<'a> {
    /// Splits the first frame off `bytes`; `None` while it is not whole yet. Returns it and its length.
    ///
    /// # Errors
    /// If its header makes no sense, or it is longer than `limit` bytes.
    pub fn split(bytes: &'a [u8], limit: usize) -> Result<Option<(Self, usize)>, StreamError> {
        let Ok((header, _)) = StreamHeader::ref_from_prefix(bytes) else {
            return Ok(None);
        };
        let length = header.length.get() as usize;
        if length > limit {
            return Err(StreamError("longer than allowed"));
        }
        if length < STREAM_HEADER_LEN + usize::from(header.sbe.block_length.get()) {
            return Err(StreamError("shorter than its block"));
        }
        if header.sbe.schema_id.get() != SCHEMA_ID {
            return Err(StreamError("of another schema"));
        }
        let Some(frame) = bytes.get(STREAM_HEADER_LEN..length) else {
            return Ok(None);
        };
        Ok(Some((
            Self {
                sbe: &header.sbe,
                body: frame,
            },
            length,
        )))
    }

    /// The template id.
    pub fn template(&self) -> u16 {
        self.sbe.template_id.get()
    }

    /// The fixed block.
    pub fn block(&self) -> &'a [u8] {
        &self.body[..usize::from(self.sbe.block_length.get())]
    }

    /// The message as an `M`; `None` if it is another template.
    pub fn view<M: Message>(&self) -> Option<View<'a, M>> {
        (self.template() == M::TEMPLATE).then(|| view_block(self.block()))
    }

    /// The ranges of a [`RangesRequest`](crate::recovery::RangesRequest).
    ///
    /// # Errors
    /// If the group does not hold together.
    pub fn ranges(&self) -> Result<impl ExactSizeIterator<Item = Range> + use<'a>, StreamError> {
        let rest = &self.body[usize::from(self.sbe.block_length.get())..];
        let (group, rest) =
            GroupHeader::ref_from_prefix(rest).map_err(|_| StreamError("no group of ranges"))?;
        let entry = usize::from(group.block_length.get());
        let bytes = entry * usize::from(group.num_in_group.get());
        if entry < size_of::<Range>() || bytes > rest.len() {
            return Err(StreamError("its ranges do not fit it"));
        }
        Ok(rest[..bytes].chunks_exact(entry).map(|bytes| {
            let (range, _) = Range::read_from_prefix(bytes).expect("an entry was checked to hold a range");
            range
        }))
    }

    /// The data fields after the block, of a template without groups.
    pub fn data(&self) -> DataFields<'a> {
        DataFields {
            rest: &self.body[usize::from(self.sbe.block_length.get())..],
        }
    }
}

/// The variable-length data of a frame.
#[derive(Clone, Copy, Debug)]
pub struct DataFields<'a> {
    rest: &'a [u8],
}

impl<'a> DataFields<'a> {
    /// The next data field; empty if the sender, of an older schema version, did not write it.
    ///
    /// # Errors
    /// If its length is more than the frame holds.
    pub fn take(&mut self) -> Result<&'a [u8], StreamError> {
        if self.rest.is_empty() {
            return Ok(&[]);
        }
        let (length, rest) =
            U32::ref_from_prefix(self.rest).map_err(|_| StreamError("a data field is cut off"))?;
        let length = length.get() as usize;
        if length > rest.len() {
            return Err(StreamError("a data field is cut off"));
        }
        let (data, rest) = rest.split_at(length);
        self.rest = rest;
        Ok(data)
    }
}

/// Writes the stream and SBE headers and the block of `message` into `out`, of a frame that `tail` more bytes complete
/// (groups or data that the caller appends). Returns the bytes written, or `None` if `out` is too short for them.
pub fn put<M: Message>(out: &mut [u8], message: &M, tail: usize) -> Option<usize> {
    let written = STREAM_HEADER_LEN + size_of::<M>();
    let room = out.get_mut(..written)?;
    let length = U32::new(u32::try_from(written + tail).ok()?);
    room[..STREAM_HEADER_LEN].copy_from_slice(
        StreamHeader {
            length,
            sbe: SbeHeader::of::<M>(),
        }
        .as_bytes(),
    );
    room[STREAM_HEADER_LEN..].copy_from_slice(message.as_bytes());
    Some(written)
}

/// A whole frame of `message` with data fields, into `out`. Returns its length, or `None` if `out` is too short.
pub fn put_with_data<M: Message>(out: &mut [u8], message: &M, data: &[&[u8]]) -> Option<usize> {
    let tail = data.iter().map(|field| 4 + field.len()).sum();
    let mut at = put(out, message, tail)?;
    for field in data {
        let room = out.get_mut(at..at + 4 + field.len())?;
        room[..4].copy_from_slice(&u32::try_from(field.len()).ok()?.to_le_bytes());
        room[4..].copy_from_slice(field);
        at += 4 + field.len();
    }
    Some(at)
}

/// A whole frame of `message` with a group of ranges, into `out`. Returns its length, or `None` if `out` is too short.
pub fn put_with_ranges<M: Message>(out: &mut [u8], message: &M, ranges: &[Range]) -> Option<usize> {
    let group = GroupHeader {
        block_length: U16::new(size_of::<Range>() as u16),
        num_in_group: U16::new(u16::try_from(ranges.len()).ok()?),
    };
    let at = put(out, message, size_of::<GroupHeader>() + size_of_val(ranges))?;
    let end = at + size_of::<GroupHeader>() + size_of_val(ranges);
    let room = out.get_mut(at..end)?;
    room[..size_of::<GroupHeader>()].copy_from_slice(group.as_bytes());
    room[size_of::<GroupHeader>()..].copy_from_slice(ranges.as_bytes());
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::{Login, Logout, RangesRequest};

    const LIMIT: usize = 4096;

    fn request(ranges: &[Range]) -> Vec<u8> {
        let mut out = vec![0; LIMIT];
        let length = put_with_ranges(&mut out, &RangesRequest::NULL, ranges).expect("room");
        out.truncate(length);
        out
    }

    fn frame(bytes: &[u8]) -> StreamFrame<'_> {
        let (frame, length) = StreamFrame::split(bytes, LIMIT).expect("sound").expect("whole");
        assert_eq!(length, bytes.len());
        frame
    }

    #[test]
    fn a_frame_waits_until_it_is_whole() {
        let mut bytes = [0; 64];
        let length = put_with_data(&mut bytes, &Login::NULL, &[b"desk", b""]).expect("room");
        for cut in 0..length {
            assert!(
                StreamFrame::split(&bytes[..cut], LIMIT)
                    .expect("sound so far")
                    .is_none()
            );
        }
        let (frame, taken) = StreamFrame::split(&bytes, LIMIT).expect("sound").expect("whole");
        assert_eq!(taken, length);
        let mut data = frame.data();
        assert_eq!(data.take(), Ok(&b"desk"[..]));
        assert_eq!(data.take(), Ok(&b""[..]));
        assert_eq!(
            data.take(),
            Ok(&b""[..]),
            "an older writer's missing field is empty"
        );
    }

    #[test]
    fn a_frame_that_does_not_hold_together_is_an_error() {
        let good = request(&[]);
        for (at, value, error) in [
            (0, 11_u32, "shorter than its block"),
            (0, LIMIT as u32 + 1, "longer than allowed"),
            (0, u32::MAX, "longer than allowed"),
            (8, 7330, "of another schema"),
        ] {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert_eq!(StreamFrame::split(&bytes, LIMIT).err(), Some(StreamError(error)));
        }
    }

    #[test]
    fn ranges_of_a_newer_writer_are_read_and_ones_that_do_not_fit_refused() {
        let range = Range {
            begin: 5.into(),
            end: 9.into(),
        };
        let good = request(&[range, range]);
        let read: Vec<_> = frame(&good).ranges().expect("sound").collect();
        assert_eq!(read, [range, range]);

        let group = STREAM_HEADER_LEN + size_of::<RangesRequest>();
        let mut wider = good.clone();
        wider[group..group + 4].copy_from_slice(&[32, 0, 1, 0]);
        assert_eq!(
            frame(&wider).ranges().expect("sound").collect::<Vec<_>>(),
            [range]
        );

        for header in [
            [16, 0, 3, 0],
            [15, 0, 1, 0],
            [0, 0, 255, 255],
            [255, 255, 255, 255],
        ] {
            let mut bad = good.clone();
            bad[group..group + 4].copy_from_slice(&header);
            assert!(frame(&bad).ranges().is_err(), "{header:?}");
        }
    }

    #[test]
    fn nothing_is_written_past_a_short_buffer() {
        let mut out = [0; 64];
        let whole = put_with_data(&mut out, &Logout::NULL, &[b"bye"]).expect("room");
        for room in 0..whole {
            assert_eq!(put_with_data(&mut out[..room], &Logout::NULL, &[b"bye"]), None);
        }
    }
}
