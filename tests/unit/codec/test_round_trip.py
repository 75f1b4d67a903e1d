"""What is stored comes back: the same value, of the same types, after whatever an engine does to the document."""

from __future__ import annotations

import copy
import json
import sys
from collections import OrderedDict
from datetime import datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootcellar.codec import decode, encode
from rootcellar.errors import CodecError
from tests.unit.codec import shop
from tests.unit.codec.engines import assert_storable, jsonb
from tests.unit.codec.names import kind
from tests.unit.codec.sameness import same
from tests.unit.codec.values import floats, leaves, values

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(), st.floats(-1e15, 1e15)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def through(engine: Callable[[Any], Any], value: Any) -> Any:
    document, types = encode(value)
    return decode(engine(document), engine(types))


@given(leaves)
def test_every_scalar_comes_back(value: Any) -> None:
    assert same(decode(*encode(value)), value)


@given(values)
def test_every_value_comes_back(value: Any) -> None:
    assert same(decode(*encode(value)), value)


@given(values)
def test_every_value_comes_back_from_an_engine_that_rewrites_numbers_and_sorts_keys(value: Any) -> None:
    assert same(through(jsonb, value), value)


@given(values)
def test_every_engine_takes_the_document_and_the_types(value: Any) -> None:
    document, types = encode(value)
    assert_storable(document)
    assert_storable(types)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert types is None or (types and all(type(mark) is str for mark in types.values()))


@given(PLAIN)
def test_a_plain_value_is_its_own_document(value: Any) -> None:
    document, types = encode(value)
    if types is None:
        assert document is value
    assert same(jsonb(document), jsonb(value)) or types is not None


@given(values)
def test_neither_encoding_nor_decoding_changes_its_input(value: Any) -> None:
    document, types = encode(value)
    kept = copy.deepcopy((document, types))
    decode(document, types)
    assert (document, types) == kept


@given(values)
def test_the_document_depends_on_the_value_alone(value: Any) -> None:
    """Also for sets, so that equal values give equal documents in every process."""
    assert encode(decode(*encode(value))) == encode(value)


@given(
    st.recursive(
        floats | floats.map(shop.Metres),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_exact_floats_leave_no_number_that_a_hasty_parser_gets_wrong(value: Any) -> None:
    document, types = encode(value, exact_floats=True)
    assert same(decode(jsonb(document), types), value)
    for number in _floats_of(document):
        digits = Decimal(repr(number)).normalize().as_tuple()
        assert len(digits.digits) <= 15
        assert isinstance(digits.exponent, int)
        assert abs(digits.exponent) <= 22


def _floats_of(node: Any) -> list[float]:
    if isinstance(node, list | dict):
        parts = node.values() if isinstance(node, dict) else node
        return [number for part in parts for number in _floats_of(part)]
    return [node] if isinstance(node, float) else []


@pytest.mark.parametrize("digits", [602, 603, 4_299, 4_301, 50_000])
@pytest.mark.parametrize("sign", [1, -1])
def test_integers_of_any_length_come_back(digits: int, sign: int) -> None:
    """Also those that Python does not convert to decimal text."""
    value = {"n": sign * 10**digits, sign * 7**digits: [0]}
    assert through(jsonb, value) == value
    assert_storable(encode(value).document)


class TestNesting:
    @pytest.mark.parametrize("depth", [1, 23, 24, 25, 31, 99, 100, 199, 200])
    @pytest.mark.parametrize(
        "wrap",
        [
            lambda inner: [inner],
            lambda inner: {"a": inner},
            lambda inner: {1: inner},
            lambda inner: {None: inner},
            lambda inner: (inner, Decimal(1)),
            lambda inner: shop.Point(1, label=inner),
            lambda inner: shop.Line("a", Decimal(1), inner),
            lambda inner: OrderedDict(b=inner, a=1),
        ],
        ids=["list", "dict", "int keys", "odd keys", "tuple", "named tuple", "dataclass", "ordered"],
    )
    def test_deep_values_come_back_and_stay_within_what_engines_take(self, wrap: Any, depth: int) -> None:
        value: Any = datetime(2026, 1, 1)  # noqa: DTZ001 - naive on purpose
        for _ in range(depth // 2 if isinstance(wrap(1), dict) and None in wrap(1) else depth):
            value = wrap(value)
        assert same(through(jsonb, value), value)
        assert_storable(encode(value).document)

    @pytest.mark.parametrize("depth", [201, 10_000])
    def test_too_deep_is_one_clear_error(self, depth: int) -> None:
        value: Any = None
        for _ in range(depth):
            value = [value]
        with pytest.raises(CodecError, match=r"^result\.0\..*: nested deeper than 200 levels") as caught:
            encode(value, path=("result",))
        assert len(str(caught.value)) < 200

    def test_a_value_that_contains_itself_is_the_same_error(self) -> None:
        value: dict[str, Any] = {}
        value["self"] = [value, value]
        with pytest.raises(CodecError, match="contains itself"):
            encode(value)

    def test_little_stack_left_is_a_clear_error_too(self) -> None:
        value: Any = [set()]
        for _ in range(150):
            value = [value]
        encoded = encode(value)

        def with_little_stack(call: Callable[[], Any], frames: int) -> Any:
            return call() if not frames else with_little_stack(call, frames - 1)

        for call in (lambda: encode(value), lambda: decode(*encoded)):
            with pytest.raises(CodecError, match="nested too deep"):
                with_little_stack(call, sys.getrecursionlimit() - _stack_depth() - 100)

    def test_very_long_keys_lead_to_their_values_still(self) -> None:
        key = "é" * 40_000
        assert same(through(jsonb, {key: Decimal(1)}), {key: Decimal(1)})
        assert_storable(encode({key: Decimal(1)}).document)

    def test_keys_too_long_together_are_a_clear_error(self) -> None:
        value: Any = Decimal(1)
        for _ in range(5):
            value = {"k" * 15_000: value}
        with pytest.raises(CodecError, match="too long together"):
            encode(value)


def _stack_depth() -> int:
    frame, depth = sys._getframe(), 0
    while frame.f_back:
        frame, depth = frame.f_back, depth + 1
    return depth


class TestTypes:
    """The map of types, which is stored beside each document, is small and readable."""

    def test_a_long_list_of_one_type_has_one_entry(self) -> None:
        assert encode([datetime(2026, 1, 1)] * 10_000).types == {"*": "datetime"}  # noqa: DTZ001

    def test_rows_that_lack_some_values_have_one_entry_still(self) -> None:
        rows = [{"at": datetime(2026, 1, 1)}, {"at": None}, {}, None, {"total": Decimal(1)}]  # noqa: DTZ001
        assert encode({"rows": rows * 100}).types == {"rows.*.at": "datetime", "rows.*.total": "decimal"}

    def test_a_few_infinities_among_floats_have_one_entry(self) -> None:
        assert encode([0.5, float("inf"), 1e300, -1.0]).types == {"*": "float"}

    def test_rows_as_tuples_have_one_entry_for_each_column(self) -> None:
        rows = [(1, Decimal(1)), (2, None), (3, Decimal(2))]
        assert encode(rows).types == {"*": "tuple", "*.1": "decimal"}

    def test_elements_of_different_types_have_their_own_entries(self) -> None:
        assert encode([Decimal(1), "1", b"1"]).types == {"0": "decimal", "2": "bytes"}

    @pytest.mark.parametrize(
        "rows",
        [
            [{"a": Decimal(1)}, {"a": "1"}],
            [{"a": Decimal(1)}, "text"],
            [[Decimal(1), Decimal(1)], [Decimal(1), "x"]],
            [1e300, 1],
            [2**64, 1.5],
            [(1,), [1]],
            [{1: 2}, {"1": 2}],
            [[Decimal(1)], {"0": "1"}],
            [{"*": Decimal(1)}, [1]],
            [{"a": {"b": Decimal(1)}}, {"a": "text"}],
            [shop.Place(1), {"x": 1, "y": 0}],
        ],
        ids=kind,
    )
    def test_lists_of_almost_one_shape_come_back_exactly(self, rows: Any) -> None:
        assert same(through(jsonb, rows), rows)

    @pytest.mark.parametrize("key", ["", "*", ".", "~", "a.b", "~0", "~2", "0", "$where", " of ", "\u2028"])
    def test_odd_keys_lead_to_their_values(self, key: str) -> None:
        value = {key: {key: Decimal(1)}, "other": [{key: (1,)}]}
        assert same(through(jsonb, value), value)

    def test_paths_read_as_one_would_write_them(self) -> None:
        value = {"total": Decimal("199.95"), "rows": ({"a.b": b""},)}
        assert encode(value).types == {"total": "decimal", "rows": "tuple", "rows.*.a~1b": "bytes"}


class TestReadability:
    """The document holds what one would filter by in SQL."""

    @pytest.mark.parametrize(
        ("value", "document", "types"),
        [
            (Decimal("199.95"), "199.95", {"": "decimal"}),
            (datetime.fromisoformat("2026-11-21T09:00:00+01:00"), "2026-11-21T09:00:00+01:00", {"": "datetime"}),
            (
                datetime(2026, 11, 21, 9, tzinfo=ZoneInfo("Europe/Berlin")),
                "2026-11-21T09:00:00+01:00",
                {"": "datetime:Europe/Berlin"},
            ),
            (time(9, 30, fold=1), "09:30:00", {"": "time:fold"}),
            (timedelta(minutes=2), 120, {"": "timedelta"}),
            (timedelta(milliseconds=-1500), -1.5, {"": "timedelta"}),
            (timedelta(days=999_999, microseconds=1), "86399913600.000001", {"": "timedelta"}),
            (b"abc", "YWJj", {"": "bytes"}),
            (float("nan"), "NaN", {"": "float"}),
            (-0.0, "-0.0", {"": "float"}),
            (2**64, "18446744073709551616", {"": "int"}),
            ("a\0b", "a\\u0000b", {"": "str"}),
            ({3, 1, 2}, [1, 2, 3], {"": "set"}),
            ({7: "x"}, {"7": "x"}, {"": "dict:int"}),
            ({None: "x"}, [[None, "x"]], {"": "dict"}),
            ({shop.Word.YES: 1}, {"yes": 1}, {"": "dict:enum:tests.unit.codec.shop:Word"}),
            (OrderedDict(b=1, a=2), {"b": 1, "a": 2}, {"": "ordereddict:b,a"}),
            (shop.Colour.RED, "red", {"": "enum:tests.unit.codec.shop:Colour"}),
            (shop.Colour.PRICE, "1.50", {"": "enum:tests.unit.codec.shop:Colour of decimal"}),
            (shop.Operator.HERE, "HERE", {"": "member:tests.unit.codec.shop:Operator"}),
            (shop.Place(1), {"x": 1, "y": 0}, {"": "dataclass:tests.unit.codec.shop:Place"}),
            (shop.Point(1), {"x": 1, "y": 0.5, "label": None}, {"": "namedtuple:tests.unit.codec.shop:Point"}),
        ],
        ids=kind,
    )
    def test_what_each_type_looks_like(self, value: Any, document: Any, types: Any) -> None:
        assert encode(value) == (document, types)
        assert same(decode(document, types), value)


class TestMoments:
    def test_an_ambiguous_local_time_keeps_its_fold(self) -> None:
        for fold in (0, 1):
            value = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
            assert same(decode(*encode(value)), value)

    def test_a_zone_that_this_machine_does_not_know_leaves_the_offset(self) -> None:
        value = decode("2026-11-21T09:00:00+01:00", {"": "datetime:Atlantis/Capital"})
        assert value.utcoffset() == timedelta(hours=1)

    def test_where_a_zones_rules_have_changed_the_moment_stays(self) -> None:
        value = decode("2026-11-21T09:00:00+05:00", {"": "datetime:Europe/Berlin"})
        assert (value.isoformat(), value.tzinfo) == ("2026-11-21T05:00:00+01:00", ZoneInfo("Europe/Berlin"))

    def test_other_zones_keep_their_offset(self) -> None:
        class Local(tzinfo):
            def utcoffset(self, _moment: datetime | None) -> timedelta:
                return timedelta(hours=2)

            def dst(self, _moment: datetime | None) -> None:
                return None

            def tzname(self, _moment: datetime | None) -> str:
                return "here"

        value = datetime(2026, 11, 21, 9, tzinfo=Local())
        assert decode(*encode(value)) == value
        assert encode(value) == ("2026-11-21T09:00:00+02:00", {"": "datetime"})
