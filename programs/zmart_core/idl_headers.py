"""Writes the C header that the program takes its interface from: names, numbers and layouts of the IDL.

Everything that the IDL says exists once, there: discriminators, error codes and messages, argument, account
and event types with their Borsh codecs, and which accounts an instruction takes in which order.

`python programs/zmart_core/idl_headers.py < zmartd/chain/idl/zmart_core.json` prints it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]


def header(idl: Json) -> str:
    """`interface.h` for an IDL of Anchor's specification 0.1.0. Raises ValueError if C cannot say it."""
    types = {entry["name"]: entry["type"] for entry in idl["types"]}
    enums = {name: type_ for name, type_ in types.items() if type_["kind"] == "enum"}
    structs = {name: type_["fields"] for name, type_ in types.items() if type_["kind"] == "struct"}
    arguments = {
        f"{entry['name']}_arguments": entry["args"] for entry in idl["instructions"] if entry["args"]
    }
    every_type = [field["type"] for fields in (*structs.values(), *arguments.values()) for field in fields]
    parts = [
        '/* Generated from the program\'s IDL. */\n#pragma once\n#include "runtime.h"',
        *_errors(idl["errors"]),
        *(_byte_array(length) for length in sorted(_array_lengths(every_type))),
        *(_enum(name, type_) for name, type_ in enums.items()),
        *(_option(inner) for inner in sorted(_option_types(every_type))),
        *(_struct(name, fields) for name, fields in (structs | arguments).items()),
        *(_account(entry, structs[entry["name"]]) for entry in idl["accounts"]),
        *(_event(entry, structs[entry["name"]]) for entry in idl["events"]),
        *_roles(idl["instructions"]),
        *(_instruction(entry) for entry in idl["instructions"]),
        _all_arguments(idl["instructions"]),
    ]
    return "\n\n".join(parts) + "\n"


def _errors(errors: Sequence[Json]) -> Iterable[str]:
    first = errors[0]["code"]
    if [error["code"] for error in errors] != list(range(first, first + len(errors))):
        raise ValueError("the error codes must be consecutive")
    yield _enumeration(f"E_{error['name']} = {error['code']}" for error in errors)
    texts = ",\n".join(
        f"    {{TEXT({_c_text(error['name'])}), TEXT({_c_text(error['msg'])})}}" for error in errors
    )
    yield f"#define FIRST_CUSTOM_ERROR {first}"
    yield f"static const ErrorText CUSTOM_ERRORS[] = {{\n{texts},\n}};"


def _byte_array(length: int) -> str:
    return (
        f"typedef struct {{ _Alignas(8) u8 bytes[{length}]; }} Bytes{length};\n"
        f"INLINE bool read_Bytes{length}(Reader *in, Bytes{length} *out)"
        f" {{ return read_bytes(in, out->bytes, {length}); }}\n"
        f"INLINE void write_Bytes{length}(Writer *out, const Bytes{length} *value)"
        f" {{ write_bytes(out, value->bytes, {length}); }}"
    )


def _enum(name: str, type_: Json) -> str:
    variants = [variant["name"] for variant in type_["variants"]]
    members = _enumeration(f"{name}_{variant} = {number}" for number, variant in enumerate(variants))
    return (
        f"typedef u8 {name};\n{members}\n"
        f"INLINE bool read_{name}(Reader *in, {name} *out)"
        f" {{ return read_u8(in, out) && *out < {len(variants)}; }}\n"
        f"INLINE void write_{name}(Writer *out, const {name} *value) {{ write_u8(out, value); }}"
    )


def _option(inner: str) -> str:
    name = f"Option_{inner}"
    return (
        f"typedef struct {{ bool is_some; {_c_name(inner)} value; }} {name};\n"
        f"INLINE bool read_{name}(Reader *in, {name} *out)"
        f" {{ return read_bool(in, &out->is_some) && (!out->is_some || read_{inner}(in, &out->value)); }}\n"
        f"INLINE void write_{name}(Writer *out, const {name} *value)"
        f" {{ write_bool(out, &value->is_some); if (value->is_some) write_{inner}(out, &value->value); }}"
    )


def _struct(name: str, fields: Sequence[Json]) -> str:
    members = "\n".join(f"    {_c_name(_type_name(field['type']))} {field['name']};" for field in fields)
    reads = "\n        && ".join(f"read_{_type_name(f['type'])}(in, &out->{f['name']})" for f in fields)
    writes = "\n".join(f"    write_{_type_name(f['type'])}(out, &value->{f['name']});" for f in fields)
    return (
        f"typedef struct {{\n{members}\n}} {name};\n"
        f"CODEC bool read_{name}(Reader *in, {name} *out) {{\n    return {reads};\n}}\n"
        f"CODEC void write_{name}(Writer *out, const {name} *value) {{\n{writes}\n}}"
    )


def _account(entry: Json, fields: Sequence[Json]) -> str:
    return (
        f"#define DISCRIMINATOR_{entry['name']} {_discriminator(entry)}\n"
        f"#define ENCODED_BYTES_{entry['name']} {8 + sum(map(_largest_size, fields))}"
    )


def _event(entry: Json, fields: Sequence[Json]) -> str:
    name, size = entry["name"], 8 + sum(map(_largest_size, fields))
    return (
        f"CODEC void emit_{name}(const {name} *event) {{\n"
        f"    u8 data[{size}];\n"
        f"    Writer out = {{data}};\n"
        f"    write_u64(&out, &(u64){{{_discriminator(entry)}}});\n"
        f"    write_{name}(&out, event);\n"
        f"    log_data(data, (u64)(out.at - data));\n"
        f"}}"
    )


def _roles(instructions: Sequence[Json]) -> Iterable[str]:
    roles = sorted({account["name"] for entry in instructions for account in entry["accounts"]})
    most = max(len(entry["accounts"]) for entry in instructions)
    yield _enumeration([f"ROLE_{role}" for role in roles] + ["ROLE_COUNT"])
    yield f"#define MOST_ACCOUNTS {most}"
    texts = ", ".join(f"TEXT({_c_text(role)})" for role in roles)
    yield f"static const Text ROLE_NAMES[] = {{{texts}}};"


def _instruction(entry: Json) -> str:
    name = entry["name"]
    rules = ", ".join(map(_rule, entry["accounts"]))
    return (
        f"#define DISCRIMINATOR_{name} {_discriminator(entry)}\n"
        f"#define LOG_{name} TEXT({_c_text('Instruction: ' + _pascal(name))})\n"
        f"static const Rule RULES_{name}[] = {{{rules}}};"
    )


def _rule(account: Json) -> str:
    signs, writable = (str(account.get(flag, False)).lower() for flag in ("signer", "writable"))
    return f"{{ROLE_{account['name']}, {signs}, {writable}}}"


def _all_arguments(instructions: Sequence[Json]) -> str:
    with_arguments = [entry["name"] for entry in instructions if entry["args"]]
    members = "\n".join(f"    {name}_arguments {name};" for name in with_arguments)
    parsers = "\n".join(
        f"static bool parse_{name}(Reader *in, Arguments *out)"
        f" {{ return read_{name}_arguments(in, &out->{name}); }}"
        for name in with_arguments
    )
    without = "\n".join(
        f"#define parse_{entry['name']} parse_nothing" for entry in instructions if not entry["args"]
    )
    return (
        f"typedef union {{\n{members}\n}} Arguments;\n{parsers}\n"
        "static bool parse_nothing(Reader *in, Arguments *out) { (void)in; (void)out; return true; }\n"
        f"{without}"
    )


def _type_name(type_: Any) -> str:
    """The name under which a type's reader, writer and C type go."""
    match type_:
        case str(primitive):
            return primitive
        case {"array": ["u8", int(length)]}:
            return f"Bytes{length}"
        case {"option": inner}:
            return f"Option_{_type_name(inner)}"
        case {"defined": {"name": name}}:
            return str(name)
    raise ValueError(f"the program's C has no type for {type_}")


def _c_name(type_name: str) -> str:
    return "Pubkey" if type_name == "pubkey" else type_name


def _largest_size(field: Json) -> int:
    def size(type_: Any) -> int:
        match type_:
            case {"array": ["u8", int(length)]}:
                return length
            case {"option": inner}:
                return 1 + size(inner)
            case {"defined": _} | "bool" | "u8":
                return 1
            case "pubkey":
                return 32
            case _:
                return int(type_[1:]) // 8

    return size(field["type"])


def _array_lengths(types: Iterable[Any]) -> set[int]:
    return {type_["array"][1] for type_ in types if isinstance(type_, dict) and "array" in type_}


def _option_types(types: Iterable[Any]) -> set[str]:
    return {_type_name(type_["option"]) for type_ in types if isinstance(type_, dict) and "option" in type_}


def _discriminator(entry: Json) -> str:
    return f"0x{int.from_bytes(bytes(entry['discriminator']), 'little'):016x}ull"


def _enumeration(members: Iterable[str]) -> str:
    return "enum {\n" + "".join(f"    {member},\n" for member in members) + "};"


def _pascal(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _c_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


if __name__ == "__main__":
    print(header(json.load(sys.stdin)), end="")
