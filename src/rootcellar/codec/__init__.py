"""Python values to plain documents and back, with nothing lost.

`encode` makes of a value a document, which every JSON engine gives back exactly, and a map of types; `decode` is the
inverse. Compression, encryption and the like are steps around this pair: they see documents, never values.

Decoding imports nothing. A user's class is restored when it is registered or already imported, and really is of the
kind the record says; otherwise the plain value comes back, marked (`Unrestored`, `unrestored_type`).
"""

from __future__ import annotations

from rootcellar.codec.decoding import decode, decode_exception
from rootcellar.codec.encoding import Encoded, encode, encode_exception
from rootcellar.codec.registration import register, unregister
from rootcellar.codec.stand_ins import StandIn
from rootcellar.codec.unrestored import Unrestored, unrestored_type

__all__ = [
    "Encoded",
    "StandIn",
    "Unrestored",
    "decode",
    "decode_exception",
    "encode",
    "encode_exception",
    "register",
    "unregister",
    "unrestored_type",
]
