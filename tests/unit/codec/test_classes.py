"""The users' own classes: restored when they are here and of the kind the record says, plain and marked otherwise."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import pickle
import sys
import threading
import types
from collections import Counter, OrderedDict, defaultdict
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pydantic
import pytest

from rootcellar.codec import Unrestored, decode, encode, register, unregister, unrestored_type
from rootcellar.errors import CodecError
from tests.unit.codec import shop
from tests.unit.codec.engines import assert_storable, jsonb
from tests.unit.codec.names import kind
from tests.unit.codec.sameness import same

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOP = "tests.unit.codec.shop"


def again(value: Any) -> Any:
    document, marks = encode(value)
    return decode(jsonb(document), jsonb(marks))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has never imported the shop."""
    monkeypatch.delitem(sys.modules, SHOP)


@pytest.fixture
def money() -> Iterator[type[shop.Money]]:
    register(
        shop.Money,
        name="money",
        encode=lambda money: (money.amount, money.currency),
        decode=lambda pair: shop.Money(*pair),
    )
    yield shop.Money
    unregister(shop.Money)


LINES = [shop.Line("nut", Decimal("0.10")), shop.Line("bolt", Decimal("1.20"), {"a": (1,)})]


class TestRestored:
    @pytest.mark.parametrize(
        "value",
        [
            *shop.Colour,
            *shop.Level,
            *shop.Word,
            *shop.Operator,
            shop.Right.READ,
            shop.Right.READ | shop.Right.RUN,
            shop.Right(0),
            shop.Outer.Inner.ONE,
            shop.Order(7, LINES, datetime(2026, 1, 1)),  # noqa: DTZ001
            shop.Seeded(seed=4),
            shop.Place(1, 2),
            shop.Point(1, float("nan"), b"x"),
            shop.Job("a", datetime(2026, 1, 1), ["x"]),  # noqa: DTZ001
            shop.Job("a", state="done"),
            shop.User(name="Ann", tags={"b", "a"}, best=LINES[0]),
            shop.Loose(name="x", **{"extra.one": {1, 2}}),
            shop.PageOfDecimals(items=[Decimal("1.5")]),
            shop.Markup("<b>\0"),
            shop.Metres(1.5),
        ],
        ids=kind,
    )
    def test_an_instance_comes_back_as_it_was(self, value: Any) -> None:
        assert same(again(value), value)
        assert same(again({"deep": [value, None]})["deep"][0], value)

    def test_fields_come_back_as_they_were_not_as_init_would_make_them(self) -> None:
        job = shop.Job("a")
        job.made = 17
        assert again(job).made == 17
        user = shop.User(name="Ann")
        assert again(user).name == "Ann!"

    def test_a_frozen_dataclass_that_computes_its_fields_is_not_computed_again(self) -> None:
        order = shop.Order(7, list(LINES), datetime(2026, 1, 1))  # noqa: DTZ001
        order.lines.append(shop.Line("late", Decimal(100)))
        assert again(order).total == Decimal("1.30")

    def test_a_model_knows_still_which_fields_were_set(self) -> None:
        user = shop.User(name="Ann", born=None)
        assert again(user).model_dump(exclude_unset=True) == {"name": "Ann!", "born": None}

    def test_a_model_keeps_its_private_attributes(self) -> None:
        user = shop.User(name="Ann")
        user._secret = 42
        assert again(user)._secret == 42

    def test_a_field_that_was_never_set_stays_unset(self) -> None:
        assert not hasattr(again(shop.Seeded(seed=1)), "late")

    def test_many_rows_of_one_class_have_one_entry(self) -> None:
        assert encode([shop.Place(n) for n in range(100)]).types == {"*": f"dataclass:{SHOP}:Place"}


class TestUnrestored:
    @pytest.mark.parametrize(
        ("value", "plain", "mark"),
        [
            (shop.Colour.RED, "red", f"enum:{SHOP}:Colour"),
            (shop.Level.HIGH, 2, f"enum:{SHOP}:Level"),
            (shop.Right.READ | shop.Right.RUN, 5, f"enum:{SHOP}:Right"),
            (shop.Operator.HERE, "HERE", f"member:{SHOP}:Operator"),
            (shop.Place(1), {"x": 1, "y": 0}, f"dataclass:{SHOP}:Place"),
            (shop.Line("a", Decimal(1)), {"article": "a", "price": Decimal(1), "note": None}, f"dataclass:{SHOP}:Line"),
            (shop.Point(1), {"x": 1, "y": 0.5, "label": None}, f"namedtuple:{SHOP}:Point"),
            (shop.Markup("<b>"), "<b>", f"subclass:{SHOP}:Markup"),
            (shop.Metres(1.5), 1.5, f"subclass:{SHOP}:Metres"),
            (shop.Loose(name="x"), {"name": "x"}, f"model:{SHOP}:Loose"),
            (shop.Colour.PAIR, (1, b"x"), f"enum:{SHOP}:Colour"),
        ],
        ids=kind,
    )
    @pytest.mark.usefixtures("elsewhere")
    def test_the_plain_value_comes_back_marked(self, value: Any, plain: Any, mark: str) -> None:
        document, marks = encode(value)
        before = set(sys.modules)
        back = decode(document, marks)
        assert back == plain
        assert isinstance(back, type(plain))
        assert isinstance(back, Unrestored)
        assert unrestored_type(back) == mark
        assert set(sys.modules) == before

    def test_stored_again_it_keeps_what_it_was(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """So records can pass through a process that knows nothing of the users' classes."""
        values = [
            shop.Place(1),
            {"line": LINES[0], "colours": [shop.Colour.RED, shop.Colour.PAIR]},
            shop.User(name="Ann", best=LINES[1]),
            shop.Markup("x"),
        ]
        encoded = [encode(value) for value in values]
        with monkeypatch.context() as gone:
            gone.delitem(sys.modules, SHOP)
            copies = [encode(decode(*one)) for one in encoded]
        assert copies == encoded
        assert all(same(decode(*copy), value) for copy, value in zip(copies, values, strict=True))

    @pytest.mark.usefixtures("elsewhere")
    def test_what_has_no_hash_leaves_its_set_a_list(self) -> None:
        back = decode(*encode({shop.Place(1)}))
        assert back == [{"x": 1, "y": 0}]
        assert unrestored_type(back) == "set"
        assert decode(*encode({shop.Place(1): 2})) == [[{"x": 1, "y": 0}, 2]]

    @pytest.mark.usefixtures("elsewhere")
    def test_none_and_bool_cannot_carry_a_mark(self) -> None:
        assert decode(*encode(shop.Colour.NOTHING)) is None

    @pytest.mark.usefixtures("elsewhere")
    def test_it_can_be_copied_and_sent(self) -> None:
        back = decode(*encode(shop.Place(1)))
        sent = pickle.loads(pickle.dumps(back))  # noqa: S301 - our own
        assert (sent, unrestored_type(sent)) == (back, unrestored_type(back))
        assert json.dumps(back) == '{"x": 1, "y": 0}'

    def test_other_values_are_not_marked(self) -> None:
        assert unrestored_type({"a": 1}) is None
        assert unrestored_type(None) is None

    def test_a_type_of_a_later_version_comes_back_plain(self) -> None:
        back = decode({"x": "y"}, {"x": "tensor:f32"})
        assert back == {"x": "y"}
        assert unrestored_type(back["x"]) == "tensor:f32"


class TestClassesThatChanged:
    @pytest.mark.parametrize(
        ("mark", "document"),
        [
            (f"dataclass:{SHOP}:Place", {"x": 1, "y": 2, "z": 3}),
            (f"dataclass:{SHOP}:Place", {"y": 2}),
            (f"dataclass:{SHOP}:Place", [1, 2]),
            (f"namedtuple:{SHOP}:Point", {"y": 2.0}),
            (f"namedtuple:{SHOP}:Point", {"x": 1, "q": 2.0}),
            (f"struct:{SHOP}:Job", {}),
            (f"struct:{SHOP}:Job", {"name": "a", "gone": 1}),
            (f"model:{SHOP}:User", {}),
            (f"model:{SHOP}:User", {"name": "a", "gone": 1}),
            (f"enum:{SHOP}:Colour", "purple"),
            (f"enum:{SHOP}:Colour", 2.0),
            (f"enum:{SHOP}:Right", 8),
            (f"member:{SHOP}:Operator", "NOWHERE"),
        ],
    )
    def test_what_does_not_fit_comes_back_plain_and_marked(self, mark: str, document: Any) -> None:
        back = decode(document, {"": mark})
        assert back == document
        assert unrestored_type(back) == mark

    @pytest.mark.parametrize(
        ("mark", "document", "value"),
        [
            (f"dataclass:{SHOP}:Place", {"x": 1}, shop.Place(1, 0)),
            (f"namedtuple:{SHOP}:Point", {"x": 1}, shop.Point(1)),
            (f"model:{SHOP}:Loose", {"name": "x", "new": 1}, shop.Loose(name="x", new=1)),  # type: ignore[call-arg]
        ],
    )
    def test_a_new_field_has_its_default(self, mark: str, document: Any, value: Any) -> None:
        assert same(decode(document, {"": mark}), value)

    def test_fields_new_to_structs_and_models_have_theirs(self) -> None:
        assert decode({"name": "a"}, {"": f"struct:{SHOP}:Job"}).tags == []
        assert decode({"name": "a"}, {"": f"model:{SHOP}:User"}).tags == set()


class TestHostileMarks:
    @pytest.mark.parametrize(
        "kind", ["enum", "member", "dataclass", "namedtuple", "struct", "model", "subclass", "object"]
    )
    @pytest.mark.parametrize(
        "reference",
        [
            "os:system",
            "builtins:eval",
            "builtins:object",
            "builtins:type",
            "builtins:dict",
            "builtins:int",
            "subprocess:Popen",
            "sys:modules",
            "antigravity:Fly",
            "email.mime.audio:MIMEAudio",
            f"{SHOP}:Money",
            f"{SHOP}:CardDeclined",
            f"{SHOP}:Line.__init__",
            f"{SHOP}:Outer",
            "pydantic:BaseModel",
            "msgspec:Struct",
            "enum:Enum",
            "typing:NamedTuple",
            "nothing",
            ":",
            "",
            "builtins:Page[int]",
            "..:~9",
        ],
    )
    def test_what_is_not_of_its_kind_comes_back_plain(
        self, kind: str, reference: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        before = set(sys.modules)
        for document in ("echo hacked", {"x": 1}, 5, ["a"]):
            back = decode(document, {"": f"{kind}:{reference}"})
            assert back == document
            assert type(back) in {int, str, dict, list} or isinstance(back, Unrestored)
        assert set(sys.modules) == before
        assert capfd.readouterr().out == ""

    @pytest.mark.parametrize("mark", ["system", "os.system", "__import__:os", "eval", "", ":", " of ", "json of json"])
    def test_marks_that_are_none_run_nothing(self, mark: str) -> None:
        before = set(sys.modules)
        with contextlib.suppress(CodecError):
            assert decode("echo hacked", {"": mark}) == "echo hacked"
        assert set(sys.modules) == before

    def test_a_lazy_module_is_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []
        module = types.ModuleType("lazy_module")
        module.__getattr__ = asked.append  # type: ignore[method-assign]
        monkeypatch.setitem(sys.modules, "lazy_module", module)
        assert decode({"x": 1}, {"": "dataclass:lazy_module:Thing"}) == {"x": 1}
        assert asked == []

    def test_a_proxy_in_a_module_is_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Proxy:
            @property  # type: ignore[misc]
            def __class__(self) -> Any:
                raise AssertionError("asked")

        monkeypatch.setattr(shop, "current_app", Proxy(), raising=False)
        assert decode({"x": 1}, {"": f"dataclass:{SHOP}:current_app"}) == {"x": 1}
        assert decode({"x": 1}, {"": f"dataclass:{SHOP}:current_app.task"}) == {"x": 1}

    @pytest.mark.parametrize(
        ("document", "marks"),
        [
            ("x", {"": "decimal"}),
            ({}, {"": "decimal"}),
            (5, {"": "decimal"}),
            ("x", {"": "datetime"}),
            (5, {"": "datetime"}),
            ("x", {"": "date"}),
            ("x", {"": "time"}),
            ("x", {"": "timedelta"}),
            ("1." + "9" * 40, {"": "timedelta"}),
            ("-", {"": "timedelta"}),
            (1e300, {"": "timedelta"}),
            ("x", {"": "uuid"}),
            (5, {"": "uuid"}),
            ("x", {"": "int"}),
            ("9" * 5000, {"": "int"}),
            ([], {"": "int"}),
            ("x", {"": "float"}),
            (True, {"": "float"}),
            ("é", {"": "bytes"}),
            ("a", {"": "bytes"}),
            (5, {"": "bytearray"}),
            (5, {"": "str"}),
            ("x", {"": "none"}),
            ("x", {"": "tuple"}),
            ({}, {"": "set"}),
            ("ab", {"": "dict"}),
            ([1], {"": "dict:int"}),
            ({"x": 1}, {"": "dict:int"}),
            ("x", {"": "counter"}),
            ([1], {"": "deque:x"}),
            ([1], {"": "deque:-1"}),
            ("x", {"": "defaultdict:list"}),
            ("{", {"": "json"}),
            (5, {"": "json"}),
            ([1], {"": "tuple of json"}),
            ("x", {"": "exception"}),
            ("x", {"a": "decimal"}),
            (5, {"*": "decimal"}),
            (["x"], {"a": "decimal"}),
            (["x"], {"*": "decimal"}),
            (["x"], {"0": "decimal"}),
            ({"a": ["x"]}, {"a.*": "decimal"}),
            ({"a": 1}, {"..": "decimal"}),
            ({"a": 1}, {".a": "decimal"}),
            ("x", {"": 5}),
            ("x", {5: "decimal"}),
            ("x", {"": None}),
            ("x", ["decimal"]),
            ("x", "decimal"),
            ("x", 5),
        ],
        ids=kind,
    )
    def test_what_does_not_belong_together_is_a_clear_error(self, document: Any, marks: Any) -> None:
        with pytest.raises(CodecError, match=r"^result(\.\S+)?: ") as caught:
            decode(document, marks, path=("result",))
        assert "9999" not in str(caught.value)

    @pytest.mark.parametrize(
        ("document", "marks"),
        [
            ({"a": 1}, {"b": "decimal"}),
            ([1], {"7": "decimal"}),
            ({"a": 1}, {"*": "decimal"}),
            ({"a": None}, {"a": "decimal"}),
            ({"a": None}, {"a.b.c": "decimal"}),
            ([], {"*.x": "decimal"}),
        ],
        ids=kind,
    )
    def test_marks_of_what_is_not_there_do_nothing(self, document: Any, marks: Any) -> None:
        assert decode(document, marks) == document

    def test_a_path_without_end_is_no_danger(self) -> None:
        with pytest.raises(CodecError):
            decode([1], {".".join("0" * 100_000): "decimal"})

    def test_text_that_parses_to_something_deep_is_a_clear_error(self) -> None:
        assert decode("[" * 100 + "]" * 100, {"": "json"})
        with pytest.raises(CodecError):
            decode("[" * 100_000 + "]" * 100_000, {"": "json"})


class TestUnknown:
    @pytest.mark.parametrize(
        ("value", "where", "name"),
        [
            ({"items": [1, 2, 3, shop.Money(Decimal(1), "EUR")]}, "result.items.3", "tests.unit.codec.shop.Money"),
            (shop.Money(Decimal(1), "EUR"), "result", "tests.unit.codec.shop.Money"),
            ((1, {2: {object()}}), "result.1.2", "object"),
            ({1: 2, "a": object()}, "result.a", "object"),
            ({None: object()}, "result.<NoneType key>", "object"),
            ({object(): 1}, "result.<object key>", "object"),
            (shop.Line("a", Decimal(1), object()), "result.note", "object"),
            ([lambda: 1], "result.0", "function"),
            ({"a": dict}, "result.a", "type"),
            ({"a.b": iter([])}, "result.a.b", "list_iterator"),
            ([{"a": 3j}], "result.0.a", "complex"),
            ({"\0\ud800": 3j}, "result.\\u0000\\ud800", "complex"),
        ],
    )
    def test_the_error_names_the_path_and_the_type_and_what_to_do(self, value: Any, where: str, name: str) -> None:
        with pytest.raises(CodecError) as caught:
            encode(value, path=("result",))
        start = f"{where}: cannot store a value of type {name}; register it with rootcellar.register("
        assert str(caught.value).startswith(start)

    def test_lenient_keeps_its_repr_in_its_place(self) -> None:
        document, marks = encode({"a": [1, shop.Unprintable(), Decimal(1)]}, lenient=True)
        assert document == {"a": [1, "<Unprintable object without a repr>", "1"]}
        back = decode(document, marks)
        assert unrestored_type(back["a"][1]) == f"repr:{SHOP}:Unprintable"
        assert back["a"][2] == Decimal(1)

    def test_lenient_takes_what_is_too_deep(self) -> None:
        loop: list[Any] = []
        loop.append(loop)
        document, marks = encode(loop, lenient=True)
        assert_storable(document)
        assert unrestored_type(decode(document, marks)) == "repr:builtins:list"

    def test_a_property_that_raises_is_a_clear_error(self) -> None:
        class Odd(datetime):
            def isoformat(self, *_arguments: Any) -> Any:
                raise AssertionError

        assert encode(Odd(2026, 1, 1)).document == "2026-01-01T00:00:00"

        class Broken(dict[str, Any]):
            def items(self) -> Any:
                raise ZeroDivisionError

        with pytest.raises(CodecError, match=r"^result: cannot be stored; reading it raised ZeroDivisionError$"):
            encode(Broken(a=1), path=("result",))


class TestSubclassesOfBuiltIns:
    """What Celery's JSON takes because it is a dict or a text besides, we take too; it comes back as that."""

    @pytest.mark.parametrize(
        ("value", "plain"),
        [
            (shop.Bag(a=Decimal(1)), {"a": Decimal(1)}),
            (shop.Chapters((1, 2)), (1, 2)),
            (shop.Moment(2026, 1, 1), datetime(2026, 1, 1)),  # noqa: DTZ001
            (type("Odd", (UUID,), {})(int=5), UUID(int=5)),
            (type("Bits", (set,), {})([1]), {1}),
            (type("Sorted", (OrderedDict,), {})(b=1, a=2), OrderedDict(b=1, a=2)),
            (type("Day", (date,), {})(2026, 1, 1), date(2026, 1, 1)),
        ],
        ids=kind,
    )
    def test_the_base_comes_back(self, value: Any, plain: Any) -> None:
        back = again(value)
        assert back == plain
        assert isinstance(back, type(plain))
        assert type(back) is not type(value)

    def test_a_text_with_something_attached_comes_back_without_it(self) -> None:
        value = shop.Linked("x")
        value.target = "y"
        back = again(value)
        assert back == "x"
        assert unrestored_type(back) == f"plain:{SHOP}:Linked"

    def test_what_describes_itself_as_json_comes_back_as_that(self) -> None:
        back = again([shop.Described()])[0]
        assert back == {"amount": Decimal("1.5")}
        assert unrestored_type(back) == f"plain:{SHOP}:Described"

    def test_a_factory_that_is_not_built_in_is_left_out(self) -> None:
        back = again(defaultdict(lambda: 3, a=1))
        assert back == defaultdict(None, a=1)
        assert back.default_factory is None

    def test_counts_come_back_whatever_they_are(self) -> None:
        assert same(again(Counter(a=0, b=-1)), Counter(a=0, b=-1))


class TestRegister:
    def test_a_registered_class_comes_back(self, money: type[shop.Money]) -> None:
        value = {"prices": [money(Decimal(1), "EUR"), money(Decimal(2), "USD")], money(Decimal(3), "X"): 1}
        assert again(value) == value

    def test_its_document_is_what_encode_returned(self, money: type[shop.Money]) -> None:
        assert encode(money(Decimal("1.5"), "EUR")) == (["1.5", "EUR"], {"": "object:money of tuple", "0": "decimal"})

    def test_without_it_the_plain_value_comes_back_marked(self, money: type[shop.Money]) -> None:
        encoded = encode({"price": money(Decimal(1), "EUR")})
        unregister(money)
        back = decode(*encoded)
        assert back == {"price": (Decimal(1), "EUR")}
        assert unrestored_type(back["price"]) == "object:money"

    def test_as_a_decorator(self) -> None:
        @register(name="celsius", encode=lambda value: value.degrees, decode=lambda degrees: Celsius(degrees))  # noqa: PLW0108 - not yet defined
        class Celsius:
            def __init__(self, degrees: float) -> None:
                self.degrees = degrees

        try:
            assert again(Celsius(36.6)).degrees == 36.6
            assert encode(Celsius(36.6)) == (36.6, {"": "object:celsius"})
        finally:
            unregister(Celsius)

    def test_a_local_class_of_a_known_kind_needs_no_functions(self) -> None:
        @register
        class Local(enum.Enum):
            ONE = 1

        @register(name="pair.of.ours")
        @dataclasses.dataclass
        class Pair:
            left: Any

        class Failed(Exception):
            pass

        register(Failed)
        try:
            assert again(Local.ONE) is Local.ONE
            assert again(Pair(b"x")) == Pair(b"x")
            assert encode(Pair(1)).types == {"": "dataclass:pair.of.ours"}
            assert type(again(Failed("x"))) is Failed
        finally:
            for cls in (Local, Pair, Failed):
                unregister(cls)
        assert (
            unrestored_type(again(Local.ONE)) == f"enum:{__name__}:TestRegister." + Local.__qualname__.partition(".")[2]
        )

    def test_none_as_what_it_encodes_to_comes_back(self) -> None:
        class Nothing:
            pass

        register(Nothing, encode=lambda _value: None, decode=lambda value: Nothing() if value is None else value)
        try:
            assert type(again([Nothing()])[0]) is Nothing
        finally:
            unregister(Nothing)

    def test_registering_takes_effect_at_once(self) -> None:
        with pytest.raises(CodecError):
            encode(shop.Money(Decimal(1), "EUR"))
        register(shop.Money, encode=lambda money: money.currency, decode=lambda text: shop.Money(Decimal(0), text))
        try:
            assert again(shop.Money(Decimal(0), "EUR")) == shop.Money(Decimal(0), "EUR")
        finally:
            unregister(shop.Money)
        with pytest.raises(CodecError):
            encode(shop.Money(Decimal(1), "EUR"))

    def test_a_class_defined_anew_replaces_itself(self) -> None:
        def define() -> type[Any]:
            class Reloaded:
                pass

            return register(Reloaded, encode=lambda _value: 1, decode=lambda _value: Reloaded())

        first, second = define(), define()
        try:
            assert type(again(second())) is second
        finally:
            unregister(second)
            unregister(first)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"cls": 5}, "only a class can be registered"),
            ({"cls": shop.Money, "encode": str}, "encode and decode belong together"),
            ({"cls": shop.Money, "decode": str}, "encode and decode belong together"),
            ({"cls": shop.Money}, "give encode and decode"),
            ({"cls": dict}, "built in"),
            ({"cls": Decimal, "encode": str, "decode": Decimal}, "built in"),
        ],
    )
    def test_what_could_not_work_is_a_clear_error(self, arguments: Any, message: str) -> None:
        with pytest.raises(CodecError, match=message):
            register(**arguments)

    def test_a_name_belongs_to_one_class(self, money: type[shop.Money]) -> None:
        with pytest.raises(CodecError, match=f"taken by {SHOP}:Money"):
            register(shop.Place, name="money")
        register(money, name="money", encode=lambda _value: 1, decode=lambda _value: money(Decimal(1), ""))

    def test_functions_that_fail_are_clear_errors(self) -> None:
        def fail(_value: Any) -> Any:
            raise ZeroDivisionError("secret")

        register(shop.Money, name="money", encode=fail, decode=fail)
        try:
            with pytest.raises(
                CodecError, match=r"^result\.0: the registered encode of money raised ZeroDivisionError$"
            ):
                encode([shop.Money(Decimal(1), "EUR")], path=("result",))
            with pytest.raises(CodecError, match=r"^result\.0: cannot be read as 'object'$"):
                decode([1], {"0": "object:money"}, path=("result",))
        finally:
            unregister(shop.Money)

    def test_from_many_threads_at_once(self) -> None:
        classes = [type(f"Threaded{number}", (), {}) for number in range(50)]
        failures: list[Exception] = []

        def use(cls: type[Any]) -> None:
            try:
                for _ in range(20):
                    register(cls, encode=lambda _value: 1, decode=lambda _value: cls())
                    if type(again([cls()])[0]) is not cls:
                        failures.append(AssertionError(cls))
                    unregister(cls)
            except Exception as error:  # noqa: BLE001 - to be seen by the test
                failures.append(error)

        threads = [threading.Thread(target=use, args=(cls,)) for cls in classes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []


def test_nothing_optional_is_imported_by_the_codec() -> None:
    """Pydantic and msgspec are looked for among what is there; Celery and drivers not even that."""
    import subprocess

    code = (
        "import sys; import importlib.util as u, types; "
        "package = types.ModuleType('rootcellar'); "
        "package.__path__ = [u.find_spec('rootcellar').submodule_search_locations[0]]; "
        "sys.modules['rootcellar'] = package; import rootcellar.codec as codec; "
        "codec.decode(*codec.encode({'a': {1, 2}, 'b': codec})) if 0 else codec.decode(*codec.encode({'a': {1, 2}})); "
        "print(sorted({'pydantic', 'msgspec', 'celery', 'kombu', 'psycopg', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_models_and_structs_need_their_libraries_only_to_exist() -> None:
    assert same(again([shop.Job("a"), shop.User(name="b")]), [shop.Job("a"), shop.User(name="b")])
    assert issubclass(shop.Job, msgspec.Struct)
    assert issubclass(shop.User, pydantic.BaseModel)
