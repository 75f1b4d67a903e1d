"""Hypothesis strategies for everything that the codec promises to keep."""

from __future__ import annotations

import string
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from tests.unit.codec import shop

#: Every code point, lone surrogates and NUL among them, and more of what has a meaning to the codec or to an engine.
texts = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.text(st.sampled_from("\0\ud800\udfff\\u0~.*$,: ofa\U0001f600é")),
    st.text(string.ascii_letters),
)
integers = st.one_of(
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**30, -(10**600), 10**601]),
)
floats = st.one_of(
    st.floats(),
    st.sampled_from([1e15, 1e16, -1e16, 1e300, -0.0, 5e-324, 0.1 + 0.2, float("inf"), float("-inf"), float("nan")]),
)
zones = st.one_of(
    st.none(),
    st.sampled_from(["Europe/Berlin", "America/New_York", "UTC", "Asia/Kathmandu", "Etc/GMT+5"]).map(ZoneInfo),
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
)
datetimes = st.datetimes(timezones=zones, allow_imaginary=True)
times = st.one_of(
    st.times(timezones=st.one_of(st.none(), st.just(ZoneInfo("Europe/Berlin")), st.just(timezone(timedelta(hours=2))))),
    st.times().map(lambda moment: moment.replace(fold=1)),
)
decimals = st.one_of(
    st.decimals(),
    st.sampled_from(["NaN", "sNaN", "-0", "-0.00", "1E+500", "-Infinity", "NaN123", "-sNaN7"]).map(Decimal),
)
members = st.one_of(
    st.sampled_from(shop.Colour),
    st.sampled_from(shop.Level),
    st.sampled_from(shop.Word),
    st.sampled_from(shop.Operator),
    st.sampled_from(shop.Outer.Inner),
    st.integers(0, 7).map(shop.Right),
)

#: Values with a hash.
scalars = st.one_of(
    st.none(),
    st.booleans(),
    texts,
    integers,
    floats,
    st.binary(),
    datetimes,
    datetimes.map(lambda moment: moment.replace(fold=1)),
    st.dates(),
    times,
    st.timedeltas(),
    decimals.filter(lambda number: not number.is_snan()),
    st.uuids(),
    members,
    texts.map(shop.Markup),
    floats.map(shop.Metres),
    st.builds(shop.Place, st.integers(), st.integers()),
)
keys = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.builds(shop.Point, st.integers(), floats, inner),
    ),
    max_leaves=4,
)
leaves = st.one_of(keys, decimals, st.binary().map(bytearray))


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Everything that can hold `inner`."""
    by_text = st.dictionaries(texts, inner, max_size=4)
    by_key = st.dictionaries(keys, inner, max_size=4)
    items = st.lists(inner, max_size=4)
    return st.one_of(
        items,
        by_text,
        by_key,
        st.dictionaries(integers, inner, max_size=4),
        items.map(tuple),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
        items.map(deque),
        st.builds(deque, items, st.integers(4, 9)),
        by_text.map(OrderedDict),
        by_key.map(OrderedDict),
        st.builds(defaultdict, st.sampled_from([list, dict, int, set, None]), by_key),
        st.lists(keys, max_size=4).map(Counter),
        st.builds(shop.Line, texts, st.decimals(), inner),
        st.builds(shop.Place, st.integers()),
        st.builds(shop.Point, st.integers(), floats, inner),
        st.builds(shop.Job, texts, st.none() | datetimes, st.lists(texts, max_size=2)),
        st.builds(shop.User, name=st.text(), born=st.none() | st.datetimes()),
        st.dictionaries(st.sampled_from(["a", "b.c", "*"]), inner).map(lambda extra: shop.Loose(name="x", **extra)),
        st.lists(st.decimals(allow_nan=False, allow_infinity=False), max_size=3).map(
            lambda items: shop.PageOfDecimals(items=items)
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda row: [row] * 3),
    )


values = st.recursive(leaves, containers, max_leaves=12)
