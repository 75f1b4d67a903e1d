"""Equal, of the same type, and so all the way down."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import fields, is_dataclass
from datetime import datetime, time
from decimal import Decimal
from typing import Any

import msgspec
import pydantic


def same(left: Any, right: Any) -> bool:  # noqa: PLR0911 - one line for each kind
    """Whether two values cannot be told apart."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return _same_float(left, right)
    if isinstance(left, Decimal):
        return str(left) == str(right)
    if isinstance(left, datetime | time):
        return _same_moment(left, right)
    if isinstance(left, BaseException):
        return same(left.args, right.args) and str(left) == str(right) and same(vars(left), vars(right))
    ours, theirs = _parts(left), _parts(right)
    if ours is not None and theirs is not None:
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(left == right)


def _same_float(left: float, right: float) -> bool:
    if math.isnan(left):
        return math.isnan(right)
    return left == right and math.copysign(1, left) == math.copysign(1, right)


def _same_moment(left: Any, right: Any) -> bool:
    if left.tzinfo != right.tzinfo or type(left.tzinfo) is not type(right.tzinfo) or left.fold != right.fold:
        return False
    return bool(left.replace(tzinfo=None) == right.replace(tzinfo=None))


def _parts(value: Any) -> list[Any] | None:  # noqa: PLR0911 - one line for each kind
    if isinstance(value, OrderedDict):
        return [part for item in value.items() for part in item]
    if isinstance(value, defaultdict):
        return [value.default_factory, dict(value)]
    if isinstance(value, dict | Counter):
        return [part for key in sorted(value, key=_order) for part in (key, value[key])]
    if isinstance(value, set | frozenset):
        return sorted(value, key=_order)
    if isinstance(value, deque):
        return [value.maxlen, *value]
    if isinstance(value, list | tuple):
        return list(value)
    if is_dataclass(value):
        return [getattr(value, field.name, ...) for field in fields(value)]
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    if isinstance(value, pydantic.BaseModel):
        return [
            *(value.__dict__, value.__pydantic_extra__, value.__pydantic_private__),
            sorted(value.__pydantic_fields_set__),
        ]
    return None


def _order(value: Any) -> tuple[str, str]:
    """Any order that is the same for the same contents; sets within keys make their repr no such order."""
    inner = sorted(map(_order, value)) if isinstance(value, frozenset | tuple) else ""
    return type(value).__qualname__, f"{inner}" or repr(value)
