//! The `bpf(2)` system call, as far as one small program needs it: a map of sockets, a program, and a link that attaches it to
//! an interface. All three are file descriptors: they are gone with the process, however that ends.
//!
//! The kernel's `union bpf_attr` has one layout for each command (`include/uapi/linux/bpf.h`); what is not given is zero.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use zerocopy::{Immutable, IntoBytes};

const MAP_CREATE: i32 = 0;
const MAP_UPDATE: i32 = 2;
const PROGRAM_LOAD: i32 = 5;
const PROGRAM_BY_ID: i32 = 13;
const INFORMATION: i32 = 15;
const LINK_CREATE: i32 = 28;

/// `BPF_MAP_TYPE_XSKMAP`.
const SOCKETS: u32 = 17;
/// `BPF_PROG_TYPE_XDP`.
const XDP_PROGRAM: u32 = 6;
/// `BPF_XDP`.
const XDP_ATTACH: u32 = 37;

/// Bytes of a name, with the zero that ends it.
const NAME: usize = 16;
/// Where a program's name is in `struct bpf_prog_info`.
const NAME_IN_INFORMATION: usize = 64;

/// One instruction (`struct bpf_insn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Instruction {
    pub(super) code: u8,
    /// Destination in the lower four bits, source in the upper.
    pub(super) registers: u8,
    pub(super) offset: i16,
    pub(super) value: i32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    most_entries: u32,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; NAME],
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct MapUpdate {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
    name: [u8; NAME],
    interface: u32,
    attach: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach: u32,
    flags: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct ProgramById {
    id: u32,
    next: u32,
    flags: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Information {
    file: u32,
    length: u32,
    place: u64,
}

/// A map from an interface's queues, so many of them, to sockets.
pub(super) fn map_of_sockets(queues: u32) -> io::Result<OwnedFd> {
    let attributes = MapCreate {
        kind: SOCKETS,
        key_size: 4,
        value_size: 4,
        most_entries: queues,
        flags: 0,
        inner: 0,
        node: 0,
        name: name("tl_sockets"),
    };
    // SAFETY: the attributes hold no address.
    unsafe { file(MAP_CREATE, &attributes) }
}

/// Puts a queue's socket into the map.
pub(super) fn put(map: BorrowedFd<'_>, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    let value = number(socket);
    let attributes = MapUpdate {
        map: number(map),
        padding: 0,
        key: address(&queue),
        value: address(&value),
        flags: 0,
    };
    // SAFETY: the kernel reads four bytes each at the addresses of a key and a value, which live here.
    unsafe { call(MAP_UPDATE, &attributes) }.map(|_| ())
}

/// Loads an XDP program. Where the kernel's verifier refuses it, the error holds what it says.
pub(super) fn load(instructions: &[Instruction], called: &str) -> io::Result<OwnedFd> {
    let mut log = vec![0_u8; 16 << 10];
    let mut attributes = ProgramLoad {
        kind: XDP_PROGRAM,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel: 0,
        flags: 0,
        name: name(called),
        interface: 0,
        attach: XDP_ATTACH,
    };
    // SAFETY: the kernel reads so many instructions, and a C string, at these addresses; both live.
    let refused = match unsafe { file(PROGRAM_LOAD, &attributes) } {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EACCES)) => error,
        done => return done,
    };
    (attributes.log_level, attributes.log_size) = (1, log.len() as u32);
    attributes.log = log.as_mut_ptr() as u64;
    // SAFETY: as before, and the kernel writes no more than `log_size` bytes at the log's address.
    match unsafe { file(PROGRAM_LOAD, &attributes) } {
        Err(_) => {
            let said = String::from_utf8_lossy(&log);
            let said = said.trim_end_matches('\0').trim_end();
            // Without a word of the verifier's it is the permission that is missing.
            Err(match said.is_empty() {
                true => refused,
                false => io::Error::other(format!("the kernel's verifier: {said}")),
            })
        }
        done => done,
    }
}

/// Attaches a program to an interface for as long as the link is open. `flags` say how it runs.
pub(super) fn link(program: BorrowedFd<'_>, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        program: number(program),
        interface,
        attach: XDP_ATTACH,
        flags,
    };
    // SAFETY: the attributes hold no address.
    unsafe { file(LINK_CREATE, &attributes) }
}

/// The name of the program with this number.
pub(super) fn name_of(program: u32) -> io::Result<String> {
    let attributes = ProgramById {
        id: program,
        next: 0,
        flags: 0,
    };
    // SAFETY: the attributes hold no address.
    let program = unsafe { file(PROGRAM_BY_ID, &attributes) }?;
    let mut information = [0_u8; NAME_IN_INFORMATION + NAME];
    let attributes = Information {
        file: program.as_raw_fd() as u32,
        length: information.len() as u32,
        place: information.as_mut_ptr() as u64,
    };
    // SAFETY: the kernel writes no more than `length` bytes at the address of `information`, which lives. It reads them too,
    // as it would lists that it is to fill: there are none, all is zero.
    unsafe { call(INFORMATION, &attributes) }?;
    let name = String::from_utf8_lossy(&information[NAME_IN_INFORMATION..]);
    Ok(name.trim_end_matches('\0').to_owned())
}

/// At most 15 bytes of a name.
fn name(text: &str) -> [u8; NAME] {
    let mut name = [0; NAME];
    for (place, byte) in name[..NAME - 1].iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    name
}

fn number(file: BorrowedFd<'_>) -> u32 {
    file.as_raw_fd() as u32
}

fn address(value: &u32) -> u64 {
    std::ptr::from_ref(value) as u64
}

/// A command whose result is a file descriptor.
///
/// # Safety
/// As for [`call`].
unsafe fn file(command: i32, attributes: &(impl IntoBytes + Immutable)) -> io::Result<OwnedFd> {
    // SAFETY: as the caller says.
    let descriptor = unsafe { call(command, attributes) }?;
    // SAFETY: the commands that come here return a new descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// `bpf(command, attributes, size)`.
///
/// # Safety
/// All addresses in the attributes are those of memory that the kernel may read, or write, as far as the command does.
unsafe fn call(command: i32, attributes: &(impl IntoBytes + Immutable)) -> io::Result<i32> {
    let bytes = attributes.as_bytes();
    // SAFETY: the kernel reads so many bytes of the attributes, and uses the addresses in them, for which the caller answers.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, bytes.as_ptr(), bytes.len()) };
    match result {
        result if result < 0 => Err(io::Error::last_os_error()),
        result => Ok(result as i32),
    }
}
