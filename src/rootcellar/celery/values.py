"""Values between Celery and the store: native where the codec knows them, else by Celery's own serializer.

What the codec cannot store is refused under ``result_serializer = "json"``. Under another serializer it is kept as what
that makes of it: ``{"rootcellar:serialized": {"content_type": ..., "content_encoding": ..., "body": ...}}``, with a
type of its own beside it, so that no value of a user's is ever taken for one. `Store.get` shows that document and never
loads it; `AsyncResult` loads it if ``result_accept_content`` lets it.

Loading a pickle runs whatever it says. So what is not known to be harmless has to carry a signature besides, made with
the setting ``rootcellar_signing_key``: HMAC-SHA256 (RFC 2104) over content type, encoding and body.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Collection
from typing import Any, Final

import msgspec
from kombu import serialization
from kombu.exceptions import ContentDisallowed

from rootcellar import codec
from rootcellar.errors import CodecError
from rootcellar.record import TaskRecord
from rootcellar.store.documents import decode_record

_KEY: Final = "rootcellar:serialized"
#: No mark of the codec's; who does not know it sees the document.
_TYPES: Final = {"": "serialized"}
_JSON: Final = "application/json"
#: Loading these makes nothing but plain values: kombu reads YAML with the safe loader.
_HARMLESS: Final = frozenset({_JSON, "application/x-yaml", "application/x-msgpack", "text/plain"})


class Values:
    """Encodes and decodes the values of one backend.

    `serializer`: kombu's name of it. `accept`: the content types that may be loaded. `signing_key`: None for none.
    """

    def __init__(self, serializer: str, accept: Collection[str], signing_key: str | None) -> None:
        self._serializer = serializer
        self._accept = accept
        self._signing_key = signing_key

    def encode(self, value: Any) -> codec.Encoded:
        """The document of a value, and its types. Raises `CodecError`, or kombu's `EncodeError`."""
        try:
            return codec.encode(value)
        except CodecError as error:
            content_type, encoding, body = self._dumped(value, error)
        text = b64encode(body).decode() if isinstance(body, bytes) else body
        inner = {"content_type": content_type, "content_encoding": encoding, "body": text}
        if self._signing_key is not None:
            inner["signature"] = self._signature(inner)
        elif content_type not in _HARMLESS:
            raise CodecError(
                f"the value can only be stored by {self._serializer!r}, and that only signed: "
                "set rootcellar_signing_key to a secret text, the same in clients and workers"
            )
        return codec.Encoded({_KEY: inner}, dict(_TYPES))

    def _dumped(self, value: Any, error: CodecError) -> tuple[str, str, bytes | str]:
        if serialization.registry.name_to_type.get(self._serializer, _JSON) == _JSON:
            raise error
        dumped: tuple[str, str, bytes | str] = serialization.dumps(value, serializer=self._serializer)  # type: ignore[no-untyped-call]
        return dumped

    def decode(self, document: Any, types: dict[str, str] | None) -> Any:
        """The value of a document. Raises kombu's `ContentDisallowed` for what may not be loaded, else `CodecError`."""
        if types != _TYPES:
            return codec.decode(document, types)
        inner = document.get(_KEY) if isinstance(document, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("body"), str):
            raise CodecError("a serialized value is not of the shape that rootcellar writes")
        content_type = str(inner.get("content_type"))
        if content_type not in self._accept:
            raise ContentDisallowed(
                f"refusing to load a value of type {content_type}: add it to result_accept_content to allow that"
            )
        if content_type not in _HARMLESS:
            self._verify(inner)
        encoding = str(inner.get("content_encoding"))
        body = b64decode(inner["body"]) if encoding == "binary" else inner["body"]
        return serialization.loads(body, content_type, encoding, accept=self._accept)  # type: ignore[no-untyped-call]

    def decode_record(self, record: TaskRecord) -> TaskRecord:
        """As `rootcellar.store.documents.decode_record`, with serialized values loaded; raises what `decode` does."""
        loaded = {
            field: self.decode(getattr(record, field), _TYPES)
            for field in ("result", "progress")
            if getattr(record, field + "_types") == _TYPES
        }
        decoded = decode_record(record)
        return msgspec.structs.replace(decoded, **loaded) if loaded else decoded

    def _verify(self, inner: dict[str, Any]) -> None:
        if self._signing_key is None:
            raise ContentDisallowed("refusing to load a signed value: rootcellar_signing_key is not set here")
        given = str(inner.get("signature")).encode(errors="replace")
        if not hmac.compare_digest(given, self._signature(inner).encode()):
            raise ContentDisallowed("refusing to load a value: its signature is missing or was made with another key")

    def _signature(self, inner: dict[str, Any]) -> str:
        signed = [str(inner.get(part)) for part in ("content_type", "content_encoding", "body")]
        message = "\0".join(signed).encode(errors="surrogatepass")
        return hmac.new((self._signing_key or "").encode(), message, "sha256").hexdigest()
