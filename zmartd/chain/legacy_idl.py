"""An IDL of spec 0.1.0 rewritten in the older form, the only one that anchorpy 0.21 reads."""

from __future__ import annotations

from typing import Any

import msgspec

from zmartd.chain.idl import Idl, IdlField, TypeDefinition, WireType


def legacy_idl(idl: Idl) -> str:
    """The same interface as JSON of the form that Anchor wrote before version 0.30."""
    carriers = {item.name for item in (*idl.accounts, *idl.events)}
    types = {definition.name: definition for definition in idl.types}
    return msgspec.json.encode(
        {
            "version": idl.metadata.version,
            "name": idl.metadata.name,
            "instructions": [
                {
                    "name": camel(instruction.name),
                    "accounts": [
                        {"name": camel(account.name), "isMut": account.writable, "isSigner": account.signer}
                        for account in instruction.accounts
                    ],
                    "args": [_field(argument) for argument in instruction.args],
                }
                for instruction in idl.instructions
            ],
            "accounts": [_type(types[account.name]) for account in idl.accounts],
            "events": [
                {
                    "name": event.name,
                    "fields": [{**_field(field), "index": False} for field in types[event.name].type.fields],
                }
                for event in idl.events
            ],
            "types": [_type(definition) for name, definition in types.items() if name not in carriers],
            "errors": [msgspec.to_builtins(error) for error in idl.errors],
        }
    ).decode()


def camel(name: str) -> str:
    """`buy_shares` as `buyShares`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _field(field: IdlField) -> dict[str, Any]:
    return {"name": camel(field.name), "type": _kind(field.type)}


def _type(definition: TypeDefinition) -> dict[str, Any]:
    body = definition.type
    if body.kind == "enum":
        variants = [{"name": variant.name} for variant in body.variants]
        return {"name": definition.name, "type": {"kind": "enum", "variants": variants}}
    fields = [_field(field) for field in body.fields]
    return {"name": definition.name, "type": {"kind": "struct", "fields": fields}}


def _kind(kind: WireType) -> Any:
    match kind:
        case "pubkey":
            return "publicKey"
        case {"option": inner}:
            return {"option": _kind(inner)}
        case {"vec": inner}:
            return {"vec": _kind(inner)}
        case {"array": [inner, length]}:
            return {"array": [_kind(inner), length]}
        case {"defined": {"name": name}}:
            return {"defined": name}
    return kind
