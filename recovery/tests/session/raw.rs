//! A client's bytes without a client, and a service's frames without one.

use crate::common::Got;
use twinline_recovery::server::Store;
use twinline_recovery::{Range, ServerSession};
use twinline_wire::recovery::{Login, StreamHeartbeat};
use twinline_wire::stream;

pub(crate) fn login(version: u16, channel: u16) -> Vec<u8> {
    let login = Login {
        protocol_version: version.into(),
        channel: channel.into(),
    };
    let mut frame = [0; 128];
    let length = stream::put_with_data(&mut frame, &login, &[b"raw", b"token"]).expect("room");
    frame[..length].to_vec()
}

pub(crate) fn request(id: u32, session: u32, ranges: &[Range]) -> Vec<u8> {
    let request = twinline_wire::recovery::RangesRequest {
        request_id: id.into(),
        session: session.into(),
    };
    let mut frame = [0; 256];
    let length = stream::put_with_ranges(&mut frame, &request, ranges).expect("room");
    frame[..length].to_vec()
}

/// All that the server has to say, read by a client session that was told to expect anything.
pub(crate) fn replies(server: &mut ServerSession, store: &mut Store) -> Vec<Got> {
    let mut bytes = Vec::new();
    loop {
        let output = server.poll_output(0, store);
        let piece = [output.head, output.packets, output.control].concat();
        if piece.is_empty() {
            break;
        }
        server.consumed(piece.len(), 0);
        bytes.extend(piece);
    }
    let mut events = Vec::new();
    decode(&bytes, &mut events);
    events
}

/// Frames of a service as events, without a client session: it would refuse answers to what it did not ask.
fn decode(mut bytes: &[u8], events: &mut Vec<Got>) {
    use twinline_wire::recovery::{Data, LoginAccepted, Logout, Reject, RequestComplete};
    while let Some((frame, length)) = stream::StreamFrame::split(bytes, 1 << 20).expect("good frames") {
        bytes = &bytes[length..];
        if let Some(reject) = frame.view::<Reject>() {
            events.push(Got::Reject {
                request: reject.request_id.get(),
                begin: reject.begin.get(),
                end: reject.end.get(),
                code: reject.code,
                retry: reject.retry_after_ms.get(),
                next_session: reject.next_session.get().map(|session| session.get()),
            });
        } else if let Some(complete) = frame.view::<RequestComplete>() {
            events.push(Got::Complete {
                request: complete.request_id.get(),
                status: complete.status,
            });
        } else if let Some(logout) = frame.view::<Logout>() {
            events.push(Got::Logout(logout.reason));
        } else if let Some(accepted) = frame.view::<LoginAccepted>() {
            let (oldest, next) = (accepted.oldest.get(), accepted.next.get());
            events.push(Got::Accepted {
                session: accepted.session.get(),
                oldest,
                next,
            });
        } else if let Some(heartbeat) = frame.view::<StreamHeartbeat>() {
            events.push(Got::Heartbeat {
                session: heartbeat.session.get(),
                next: heartbeat.next.get(),
            });
        } else if let Some(data) = frame.view::<Data>() {
            let packet = frame.data().take().expect("data");
            let packet = twinline_wire::Packet::parse_prefix(packet).expect("a packet");
            events.push(Got::Packet {
                request: data.request_id.get(),
                session: packet.header().session.get(),
                begin: packet.sequence(),
                end: packet.end(),
            });
        }
    }
    assert!(bytes.is_empty(), "a whole number of frames");
}
