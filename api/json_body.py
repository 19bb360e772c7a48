"""Strict JSON bodies: what Litestar would take laxly is refused, and every failing field is named.

A field's rule and its phrase stand together:
`Annotated[str, Meta(pattern=…, extra={"must": "be 3 digits"})]`. Items of a list are named by their place,
`numbers.3`; in a list with `extra={"unique": True}` none may come twice.
"""

import asyncio
from functools import lru_cache
from typing import Any, Final, get_args

import msgspec
from litestar import Request
from litestar.exceptions import InternalServerException
from litestar.typing import FieldDefinition
from msgspec import NODEFAULT, Struct
from msgspec.inspect import ListType, Metadata, UnionType, type_info

from api.authentication import check_still_known, header_values, ticket_of, wait_for_permit
from api.errors import InvalidInput, RequestTimeout, UnsupportedMediaType, ValidationFailed

BODY_SECONDS: Final = 10.0
"""In which a whole body has to come: at the most that it may have, 6.5 KB a second. The server ends slow
headers by itself, but would wait for a body for ever."""
MAX_BODY_BYTES: Final = 64 * 1024
_NO_ENCODING: Final = ("", "identity", "chunked")
"""What says nothing of the body's own bytes: nothing here decompresses, and 64 KiB could become 64 MiB."""

_TOO_GREAT: Final = object()


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON body arrives at the handler's `data` as the Struct it asks for, or not at all.

    A permit that is still to be asked for is asked for once the body is there, so that it travels with what
    the handler then sends to the store; the handler waits for it. What is wrong with a body, nobody is told
    without a permit.
    """

    async def body(self) -> bytes:
        """Give the body.

        Raises:
            UnsupportedMediaType: it says that it is something else than JSON, or that it is compressed.
            RequestTimeout: it comes too slowly.
            InvalidInput: it is empty, and the handler needs one.
            Unauthorized: the key has ended while it came.
            RateLimited: it is one of these, and one request too many.
        """
        if isinstance(self._body, bytes):
            # Litestar asks twice: whether there is a body, and for its JSON.
            return self._body
        try:
            body = await self._whole_body()
        except Exception:
            await wait_for_permit(self)
            raise
        await check_still_known(self)
        if ticket := ticket_of(self.scope):
            ticket.ask()
        return body

    async def json(self) -> Any:
        """Decode the body as the type of the handler's `data`; raises as `body` and `decode_body`."""
        try:
            return decode_body(await self.body(), self._parameter.annotation)
        except Exception:
            await wait_for_permit(self)
            raise

    async def _whole_body(self) -> bytes:
        if not self._is_plain_json():
            raise UnsupportedMediaType
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await super().body()
        except TimeoutError as error:
            raise RequestTimeout from error
        except InternalServerException as error:
            # What Litestar makes of a caller who hangs up: no error of ours, and nobody reads the answer.
            raise InvalidInput from error
        if not body and not self._parameter.has_default:
            raise InvalidInput
        return body

    def _is_plain_json(self) -> bool:
        """Tell whether the headers say so, and nothing else beside: a proxy may have believed the other."""
        content_types = header_values(self.scope, b"content-type") or [""]
        if len(content_types) != 1 or not _is_json(content_types[0]):
            return False
        encodings = header_values(self.scope, b"content-encoding", b"transfer-encoding")
        return all(encoding.strip().lower() in _NO_ENCODING for encoding in encodings)

    @property
    def _parameter(self) -> FieldDefinition:
        return self.route_handler.parsed_fn_signature.parameters["data"]


class PatchBody(Struct, frozen=True):
    """A body that changes what is there: a member that it does not know is one that cannot be changed."""


def decode_body(body: bytes, wanted: type[Struct]) -> Struct:
    """Decode a JSON object as `wanted`.

    Raises:
        InvalidInput: not JSON, or not an object; or an unknown member where `PatchBody` takes it so.
        ValidationFailed: fields of the wrong type or value, and unknown ones; all are named.
    """
    try:
        decoded = msgspec.json.decode(body, type=wanted)
    except msgspec.ValidationError:
        return _decode_slowly(body, wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput from error
    for name in _unique_lists(wanted):
        if repeated := _repeated(name, getattr(decoded, name)):
            raise ValidationFailed(repeated)
    return decoded


def _decode_slowly(body: bytes, wanted: type[Struct]) -> Struct:
    """Find all that is wrong; nothing is when only an earlier one of duplicate members was."""
    try:
        raw = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        members = {name: _decode_member(member) for name, member in raw.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput from error
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(wanted)}
    unknown = {name[:100]: "is not a known field" for name in members if name not in fields}
    if unknown and issubclass(wanted, PatchBody):
        raise InvalidInput(dict.fromkeys(unknown, "cannot be changed"))
    details = unknown | _details(members, wanted)
    if details:
        raise ValidationFailed(details)
    return msgspec.convert(members, wanted)


def _decode_member(member: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(member)
    except msgspec.ValidationError:
        # JSON has it, but it is a number that nothing here holds; it fits no type.
        return _TOO_GREAT


def _details(members: dict[str, Any], wanted: type[Struct]) -> dict[str, str]:
    details: dict[str, str] = {}
    for field in msgspec.structs.fields(wanted):
        name = field.encode_name
        is_required = field.default is NODEFAULT and field.default_factory is NODEFAULT
        if name not in members:
            if is_required:
                details[name] = "is required"
        elif not _fits(members[name], field.type):
            details |= _item_details(name, members[name], field.type) or {name: _phrase(field.type)}
        elif name in _unique_lists(wanted):
            details |= _repeated(name, members[name])
    return details


def _item_details(name: str, value: Any, wanted: Any) -> dict[str, str]:
    """Name the items of a list that do not fit; nothing when it is the list itself."""
    info = type_info(wanted)
    is_unique = False
    if isinstance(info, Metadata):
        is_unique = _is_unique(info)
        info = info.type
    if not isinstance(info, ListType) or not isinstance(value, list) or not _has_length(value, info):
        return {}
    item = get_args(get_args(wanted)[0])[0]
    return {f"{name}.{place}": _phrase(item) for place, one in enumerate(value) if not _fits(one, item)} | (
        _repeated(name, value) if is_unique else {}
    )


def _has_length(value: list[Any], info: ListType) -> bool:
    return len(value) >= (info.min_length or 0) and (info.max_length is None or len(value) <= info.max_length)


def _repeated(name: str, values: list[Any]) -> dict[str, str]:
    """Name the items that came before."""
    first: dict[str, int] = {}
    return {
        f"{name}.{place}": f"is the same as {name}.{first[value]}"
        for place, value in enumerate(values)
        if isinstance(value, str) and first.setdefault(value, place) != place
    }


@lru_cache
def _unique_lists(wanted: type[Struct]) -> tuple[str, ...]:
    return tuple(
        field.encode_name
        for field in msgspec.structs.fields(wanted)
        if isinstance(info := type_info(field.type), Metadata) and _is_unique(info)
    )


def _is_unique(info: Metadata) -> bool:
    return bool((info.extra or {}).get("unique"))


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
    if content_type == "application/json":
        return True
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type in ("", "application/json") or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
