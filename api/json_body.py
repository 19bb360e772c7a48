"""Strict JSON bodies: what Litestar would take laxly is refused, and every failing field is named.

A field's rule and its phrase stand together:
`Annotated[str, Meta(pattern=…, extra={"must": "be 3 digits"})]`.
"""

from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import InternalServerException
from msgspec import NODEFAULT, Struct
from msgspec.inspect import Metadata, UnionType, type_info

from api.errors import InvalidInput, UnsupportedMediaType, ValidationFailed


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON body arrives at the handler's `data` as the Struct it asks for, or not at all."""

    async def body(self) -> bytes:
        """Give the body.

        Raises:
            UnsupportedMediaType: it says that it is something else than JSON.
            InvalidInput: it is empty.
        """
        if not _is_json(self.headers.get("content-type", "")):
            raise UnsupportedMediaType
        try:
            body = await super().body()
        except InternalServerException as error:
            # What Litestar makes of a caller who hangs up: no error of ours, and nobody reads the answer.
            raise InvalidInput from error
        if not body:
            raise InvalidInput
        return body

    async def json(self) -> Any:
        """Decode the body as the type of the handler's `data`; raises as `decode_body`."""
        data = self.route_handler.parsed_fn_signature.parameters["data"]
        return decode_body(await self.body(), data.annotation)


def decode_body(body: bytes, wanted: type[Struct]) -> Struct:
    """Decode a JSON object as `wanted`.

    Raises:
        InvalidInput: not JSON, or not an object.
        ValidationFailed: fields of the wrong type or value, and unknown ones; all are named.
    """
    try:
        return msgspec.json.decode(body, type=wanted)
    except msgspec.ValidationError:
        return _decode_slowly(body, wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput from error


def _decode_slowly(body: bytes, wanted: type[Struct]) -> Struct:
    """Find all that is wrong; nothing is when only an earlier one of duplicate members was."""
    try:
        members = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput from error
    if not isinstance(members, dict):
        raise InvalidInput
    details = _details(members, wanted)
    if details:
        raise ValidationFailed(details)
    return msgspec.convert(members, wanted)


def _details(members: dict[str, Any], wanted: type[Struct]) -> dict[str, str]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(wanted)}
    details = {name[:100]: "is not a known field" for name in members if name not in fields}
    for name, field in fields.items():
        is_required = field.default is NODEFAULT and field.default_factory is NODEFAULT
        if name not in members:
            if is_required:
                details[name] = "is required"
        elif not _fits(members[name], field.type):
            details[name] = _phrase(field.type)
    return details


def _fits(value: Any, wanted: Any) -> bool:
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError:
        return False
    return True


def _phrase(wanted: Any) -> str:
    """Give the phrase of a type; a type without one is a mistake of ours."""
    info = type_info(wanted)
    for part in info.types if isinstance(info, UnionType) else (info,):
        if isinstance(part, Metadata) and part.extra and "must" in part.extra:
            return f"must {part.extra['must']}"
    raise TypeError(f"{wanted} has no phrase")


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type in ("", "application/json") or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
