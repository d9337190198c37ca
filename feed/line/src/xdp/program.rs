//! The program that picks a line's frames out of all that an interface receives, and sends them to the sockets of the queues
//! that they came by. Assembled by hand: no compiler on the user's machine.
//!
//! Ours are frames of IPv4 without options and no fragments, UDP, to the line's group and port, from one of its sources if there are
//! any. All else goes on to the kernel untouched: other groups, VLAN tags, fragments, options, frames too short, and what comes
//! by queues that have no socket here. Whether checksums are right is looked at later, where a wrong one can be counted.

use super::bpf::{self, Instruction};
use super::claim::{self, Claim};
use super::device::Device;
use super::error::XdpError;
use super::socket::patiently;
use crate::{Interface, LineAddress};
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel makes anything of a frame.
    Native,
    /// In the kernel, on any interface, after it has made its own copy.
    Generic,
}

impl Mode {
    /// `XDP_FLAGS_DRV_MODE` and `XDP_FLAGS_SKB_MODE`.
    fn flags(self) -> u32 {
        match self {
            Mode::Native => 1 << 2,
            Mode::Generic => 1 << 1,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Native => "native",
            Mode::Generic => "generic",
        })
    }
}

/// A line's program, attached to an interface until this is dropped.
#[derive(Debug)]
pub struct Program {
    _link: OwnedFd,
    _claim: Claim,
    sockets: OwnedFd,
    id: Option<u32>,
}

/// The programs of this process: what one of them has is not waited for.
static OURS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn ours() -> MutexGuard<'static, Vec<u32>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program that is attached to a device now.
fn attached(device: &Device) -> Option<u32> {
    Device::find(Some(&device.interface)).ok()?.program()
}

impl Program {
    /// Loads the program for a line, from all senders or from these, and attaches it to a device that receives by so many
    /// queues. Frames go on to the kernel until a queue has a socket.
    ///
    /// # Errors
    /// If another program is attached, the driver cannot run one natively, there is no permission or no memory.
    pub fn attach(
        device: &Device,
        line: &LineAddress,
        sources: &[Ipv4Addr],
        queues: u32,
        mode: Mode,
    ) -> Result<Self, XdpError> {
        let fail = |what| move |cause| XdpError::new(device.name(), what, cause);
        let sockets = bpf::map_of_sockets(queues).map_err(fail("make a map of sockets"))?;
        let instructions = assemble(line, sources, sockets.as_fd());
        let program = bpf::load(&instructions, &name(line)).map_err(fail("load an XDP program"))?;
        let attach = || bpf::link(program.as_fd(), device.interface.index, mode.flags());
        let is_ours = || attached(device).is_some_and(|id| ours().contains(&id));
        let link = match patiently(attach, |cause| is_there(cause) && !is_ours()) {
            Ok(link) => link,
            Err(cause) if is_there(&cause) => return Err(taken(device, line)),
            Err(cause) if mode == Mode::Native && cause.raw_os_error() != Some(libc::EPERM) => {
                return Err(XdpError::NotNative {
                    interface: device.name().into(),
                    cause,
                });
            }
            Err(cause) => return Err(fail("attach an XDP program")(cause)),
        };
        let claim = Claim::take(&device.interface, line)
            .map_err(fail("say that a line is taken (another program says so)"))?;
        let id = attached(device);
        ours().extend(id);
        Ok(Self {
            _link: link,
            _claim: claim,
            sockets,
            id,
        })
    }

    /// Sends what comes by a queue to this socket.
    ///
    /// # Errors
    /// If there is no such queue, or it is not a socket of that queue.
    pub fn send_to(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        bpf::put(self.sockets.as_fd(), queue, socket)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        ours().retain(|id| Some(*id) != self.id);
    }
}

/// What a line's program is called: the group and the port.
fn name(line: &LineAddress) -> String {
    format!("tl{:08x}{:04x}", u32::from(line.group), line.port)
}

/// That no program of ours takes the line from the interface's sockets; `None`: from that which the route leads through.
pub(crate) fn check_for_sockets(interface: Option<&Interface>, line: &LineAddress) -> Result<(), XdpError> {
    let Some(interface) = interface.cloned().or_else(|| claim::routed(line)) else {
        return Ok(());
    };
    let look = || match claim::is_taken(&interface, line) {
        true => Err(line_taken(&interface, line)),
        false => Ok(()),
    };
    patiently(look, |_| true)
}

fn line_taken(interface: &Interface, line: &LineAddress) -> XdpError {
    XdpError::LineTaken {
        interface: interface.name.clone(),
        line: line.endpoint().to_string(),
    }
}

/// That a program is attached already.
fn is_there(cause: &io::Error) -> bool {
    matches!(cause.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

/// Why there is no room for a program of ours.
fn taken(device: &Device, line: &LineAddress) -> XdpError {
    if claim::is_taken(&device.interface, line) {
        return line_taken(&device.interface, line);
    }
    let program = match attached(device).map(|id| (id, bpf::name_of(id))) {
        Some((_, Ok(there))) if !there.is_empty() => there,
        Some((id, _)) => format!("number {id}"),
        None => "of a name that the kernel does not tell".into(),
    };
    XdpError::ProgramThere {
        interface: device.name().into(),
        program,
    }
}

/// `XDP_PASS`.
const PASS: i32 = 2;
/// `bpf_redirect_map`.
const REDIRECT_MAP: i32 = 51;

// Where things are in a frame, in bytes (Ethernet, IPv4 without options, UDP).
const ETHERNET_TYPE: i16 = 12;
const VERSION_AND_LENGTH: i16 = 14;
const FRAGMENT: i16 = 20;
const PROTOCOL: i16 = 23;
const SOURCE: i16 = 26;
const DESTINATION: i16 = 30;
const PORT: i16 = 36;
const HEADERS: i32 = 42;

/// A place in the program that is not known yet when a jump there is written.
const TO_PASS: i16 = i16::MAX;
const TO_SOURCE_FOUND: i16 = i16::MAX - 1;

/// The program for a line, with the map's descriptor in it.
fn assemble(line: &LineAddress, sources: &[Ipv4Addr], sockets: BorrowedFd<'_>) -> Vec<Instruction> {
    // Numbers are compared as they lie in the frame: in network order.
    let address = |address: Ipv4Addr| i32::from_ne_bytes(address.octets());
    let half = |value: u16| i32::from(u16::from_ne_bytes(value.to_be_bytes()));
    let mut code = vec![
        move_register(6, 1),
        load(Size::Word, 2, 1, 0), // the frame's beginning
        load(Size::Word, 3, 1, 4), // its end
        move_register(4, 2),
        add(4, HEADERS),
        jump_if_greater(4, 3, TO_PASS),
        load(Size::Half, 5, 2, ETHERNET_TYPE),
        jump_unless_equal(5, half(0x0800), TO_PASS),
        load(Size::Byte, 5, 2, VERSION_AND_LENGTH),
        jump_unless_equal(5, 0x45, TO_PASS),
        load(Size::Half, 5, 2, FRAGMENT),
        and(5, half(0x3fff)), // more fragments, or not the first one
        jump_unless_equal(5, 0, TO_PASS),
        load(Size::Byte, 5, 2, PROTOCOL),
        jump_unless_equal(5, libc::IPPROTO_UDP, TO_PASS),
        load(Size::Word, 5, 2, DESTINATION),
        jump_unless_equal(5, address(line.group), TO_PASS),
        load(Size::Half, 5, 2, PORT),
        jump_unless_equal(5, half(line.port), TO_PASS),
    ];
    if !sources.is_empty() {
        code.push(load(Size::Word, 5, 2, SOURCE));
        code.extend(
            sources
                .iter()
                .map(|&source| jump_if_equal(5, address(source), TO_SOURCE_FOUND)),
        );
        code.push(jump(TO_PASS));
    }
    let found = code.len();
    code.push(load(Size::Word, 2, 6, 16)); // the queue
    code.extend(load_map(1, sockets));
    code.extend([set(3, PASS), call(REDIRECT_MAP), exit()]);
    let pass = code.len();
    code.extend([set(0, PASS), exit()]);
    for (at, instruction) in code.iter_mut().enumerate() {
        let target = match instruction.offset {
            TO_PASS => pass,
            TO_SOURCE_FOUND => found,
            _ => continue,
        };
        // From the instruction behind the jump.
        instruction.offset = (target - at - 1) as i16;
    }
    code
}

/// How much is loaded, as the instruction's code says it.
#[derive(Clone, Copy)]
enum Size {
    Word = 0x61,
    Half = 0x69,
    Byte = 0x71,
}

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, value: i32) -> Instruction {
    Instruction {
        code,
        registers: destination | source << 4,
        offset,
        value,
    }
}

fn load(size: Size, to: u8, from: u8, at: i16) -> Instruction {
    instruction(size as u8, to, from, at, 0)
}

fn move_register(to: u8, from: u8) -> Instruction {
    instruction(0xbf, to, from, 0, 0)
}

fn set(register: u8, value: i32) -> Instruction {
    instruction(0xb7, register, 0, 0, value)
}

fn add(register: u8, value: i32) -> Instruction {
    instruction(0x07, register, 0, 0, value)
}

/// In 32 bits, as all that is loaded here has no more: a 64-bit operation would extend the value's sign.
fn and(register: u8, value: i32) -> Instruction {
    instruction(0x54, register, 0, 0, value)
}

fn jump(to: i16) -> Instruction {
    instruction(0x05, 0, 0, to, 0)
}

fn jump_if_greater(register: u8, other: u8, to: i16) -> Instruction {
    instruction(0x2d, register, other, to, 0)
}

/// In 32 bits, see [`and`].
fn jump_if_equal(register: u8, value: i32, to: i16) -> Instruction {
    instruction(0x16, register, 0, to, value)
}

/// In 32 bits, see [`and`].
fn jump_unless_equal(register: u8, value: i32, to: i16) -> Instruction {
    instruction(0x56, register, 0, to, value)
}

/// The address of a map, which the kernel puts in for its descriptor: two instructions.
fn load_map(register: u8, map: BorrowedFd<'_>) -> [Instruction; 2] {
    const MAP_DESCRIPTOR: u8 = 1;
    [
        instruction(0x18, register, MAP_DESCRIPTOR, 0, map.as_raw_fd()),
        instruction(0, 0, 0, 0, 0),
    ]
}

fn call(function: i32) -> Instruction {
    instruction(0x85, 0, 0, 0, function)
}

fn exit() -> Instruction {
    instruction(0x95, 0, 0, 0, 0)
}
