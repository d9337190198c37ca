#!/usr/bin/env python3
"""Decodes Twinline's golden bytes with an SBE implementation that is not ours.

The Python package `sbe` (0.4.3) loads feed/wire/twinline.xml. With it, and with nothing of ours, this walks the golden
packets and the golden recovery stream in feed/wire/tests/golden/*.hex, and compares every header member, field, group
entry and data field with expected.json there, which a Rust test keeps. Ends with one line and exit code 0 (all equal),
1 (a difference) or 2 (it could not be done).

The package walks blocks, composites, enumerations, sets, null values and groups. Lengths in front of frames, and data
behind blocks, which it does not know, are walked here by the schema's own composites.
"""

import dataclasses
import json
import pathlib
import struct
import sys

WIRE = pathlib.Path(__file__).resolve().parent.parent / "feed" / "wire"
GOLDEN = WIRE / "tests" / "golden"
ALIGN = 64
VERSION = "0.4.3"


class Difference(Exception):
    """What was decoded is not what was expected."""


def read_hex(path):
    """The bytes of an annotated dump: `offset: bytes # explanation`."""
    data = bytearray()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        offset, _, rest = line.partition("#")[0].partition(":")
        if int(offset, 16) != len(data):
            raise Difference(f"{path.name}:{number}: the offset is not {len(data):04x}")
        data += bytes.fromhex(rest)
    return bytes(data)


def crc32c(data):
    """CRC-32C, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def compare(where, got, expected):
    """Raises a Difference that names the first place where the two are not equal."""
    if isinstance(got, dict) and isinstance(expected, dict):
        for key in sorted(got.keys() | expected.keys()):
            if key not in got or key not in expected:
                raise Difference(f"{where}.{key}: only {'expected' if key in expected else 'decoded'}")
            compare(f"{where}.{key}", got[key], expected[key])
    elif isinstance(got, list) and isinstance(expected, list) and len(got) == len(expected):
        for index, (one, other) in enumerate(zip(got, expected)):
            compare(f"{where}[{index}]", one, other)
    elif got != expected or type(got) is not type(expected):
        raise Difference(f"{where}: decoded {got!r}, expected {expected!r}")


class Reader:
    """Decodes with the package's schema; counts the values compared."""

    def __init__(self, sbe, schema):
        self.sbe = sbe
        self.schema = schema
        self.templates = set()
        self.values = 0
        # The package would take a data field for a composite in the block: they are set aside.
        self.data = {}
        for message in schema.messages.values():
            self.data[message.id] = [f for f in message.fields if self.is_data(f)]
            message.fields = [f for f in message.fields if not self.is_data(f)]

    def is_data(self, field):
        """Whether a field is variable-length data."""
        kind = getattr(field, "type", None)
        return isinstance(kind, self.sbe.Composite) and any(t.name == "varData" for t in kind.types)

    def composite(self, name, data):
        """The members of a header, and its size."""
        schema = dataclasses.replace(self.schema, header_type_name=name)
        size = sum(self.sbe.FORMAT_SIZES[t.primitiveType] for t in self.schema.types[name].types)
        return schema.decode_header(data), size

    def message(self, data):
        """A message from its SBE header to the end of its frame."""
        header, header_size = self.composite("messageHeader", data)
        compare("schemaId", header["schemaId"], int(self.schema.id))
        compare("version", header["version"], int(self.schema.version))
        decoded = self.schema.decode(data)
        message = self.schema.messages[header["templateId"]]
        compare(f"{message.name}.blockLength", header["blockLength"], message.blockLength)
        groups = {f.name for f in message.fields if isinstance(f, self.sbe.Group)}
        shown = {
            "template": message.id,
            "name": decoded.message_name,
            "fields": {name: value for name, value in decoded.value.items() if name not in groups},
        }
        shown.update({name: decoded.value[name] for name in groups})
        used = header_size + header["blockLength"]
        for field in message.fields:
            if isinstance(field, self.sbe.Group):
                dimension = sum(self.sbe.FORMAT_SIZES[t.primitiveType] for t in field.dimensionType.types)
                used += dimension + len(decoded.value[field.name]) * field.blockLength
        for field in self.data[message.id]:
            value, used = self.take_data(field, data, used)
            shown.setdefault("data", {})[field.name] = value
        if used != len(data):
            raise Difference(f"{message.name}: {len(data) - used} bytes are left over")
        self.templates.add(message.id)
        self.values += len(decoded.value) + len(self.data[message.id])
        return shown

    def take_data(self, field, data, at):
        """A data field at `at`: text as text, bytes in hex; and where it ends."""
        length_format = "<" + self.sbe.FORMAT[field.type.types[0].primitiveType]
        (length,) = struct.unpack_from(length_format, data, at)
        at += struct.calcsize(length_format)
        value = bytes(data[at : at + length])
        if len(value) != length:
            raise Difference(f"{field.name}: cut off")
        text = field.type.name == "varTextEncoding"
        return value.decode("utf-8") if text else value.hex(), at + length

    def packet(self, data):
        """A packet at the start of `data`, and its length."""
        header, at = self.composite("packetHeader", data)
        packet = data[: header["length"]]
        checksum_size = 4
        if crc32c(packet[: at - checksum_size] + packet[at:]) != header["checksum"]:
            raise Difference("the checksum is wrong")
        self.values += len(header)
        flags = self.schema.types["PacketFlags"].decode(header["flags"])
        notice = "Local" in flags
        messages = []
        for index in range(1 if notice else header["count"]):
            frame, frame_size = self.composite("frameHeader", packet[at:])
            _, sbe_size = self.composite("messageHeader", b"\0" * 8)
            end = at + frame["length"]
            message = self.message(packet[at + frame_size - sbe_size : end])
            messages.append({"sequence": header["sequence"] + index, **message})
            at = end
        if any(packet[at:]):
            raise Difference("the padding is not zero")
        return {"header": header, "messages": messages}, len(packet)

    def packets(self, data):
        """Packets back to back, each at a multiple of 64 bytes."""
        found, at = [], 0
        while at < len(data):
            packet, length = self.packet(data[at:])
            found.append(packet)
            at += -(-length // ALIGN) * ALIGN
        return found

    def stream(self, data):
        """Frames of the recovery protocol, one after the other."""
        found, at = [], 0
        while at < len(data):
            frame, frame_size = self.composite("streamHeader", data[at:])
            _, sbe_size = self.composite("messageHeader", b"\0" * 8)
            found.append(self.message(data[at + frame_size - sbe_size : at + frame["length"]]))
            at += frame["length"]
        return found


def check(sbe):
    """Decodes and compares everything; what was done, in words."""
    with open(WIRE / "twinline.xml", encoding="utf-8") as file:
        reader = Reader(sbe, sbe.Schema.parse(file))
    expected = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))
    packets = 0
    for name, values in expected.items():
        data = read_hex(GOLDEN / f"{name}.hex")
        got = reader.stream(data) if name == "stream" else reader.packets(data)
        compare(name, got, values)
        packets += 0 if name == "stream" else len(got)
    missing = reader.schema.messages.keys() - reader.templates
    if missing:
        raise Difference(f"no golden bytes hold the templates {sorted(missing)}")
    return f"{len(reader.templates)} templates, {packets} packets, {reader.values} values equal"


def main():
    """The check, one line and an exit code."""
    try:
        import sbe
        from importlib.metadata import version
    except ImportError as error:
        print(f"sbe check: cannot run: {error}; install it with `pip install sbe=={VERSION}`")
        return 2
    try:
        done = check(sbe)
    except OSError as error:
        print(f"sbe check: cannot run: {error}")
        return 2
    except Exception as error:  # whatever the package makes of bytes or a schema that are wrong
        print(f"sbe check: FAILED: {type(error).__name__}: {error}")
        return 1
    print(f"sbe check: ok: package sbe {version('sbe')}: {done}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
