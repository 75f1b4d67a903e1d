"""Exceptions keep class, module, arguments, message, traceback text, cause and context; and nothing of theirs runs."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from rootcellar.codec import StandIn, Unrestored, decode, decode_exception, encode, encode_exception, unrestored_type
from rootcellar.errors import CodecError
from tests.unit.codec import shop
from tests.unit.codec.engines import assert_storable, jsonb
from tests.unit.codec.names import kind
from tests.unit.codec.sameness import same
from tests.unit.codec.values import texts, values

if TYPE_CHECKING:
    from collections.abc import Callable


def again(exc: BaseException) -> BaseException:
    return decode_exception(jsonb(encode_exception(exc)))


def raised(call: Callable[[], Any]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - of any class
        call()
    return caught.value


class TestOwnClass:
    @pytest.mark.parametrize(
        "exc",
        [
            ValueError("bad"),
            ValueError(),
            KeyError("key"),
            LookupError(Decimal("1.5"), (1, b"x"), {3: shop.Colour.RED}),
            OSError(2, "No such file"),
            FileNotFoundError(2, "No such file", "/srv/x"),
            OSError(18, "Cross-device", "/a", None, "/b"),
            ImportError("no module", name="x", path="/x"),
            raised(b"\xff".decode),
            raised("\ud800".encode),
            SyntaxError("bad", ("file.py", 1, 2, "x =", 1, 3)),
            StopIteration(3),
            TimeoutError(),
            UnicodeError("x\0\ud800"),
            subprocess.CalledProcessError(1, ["false", "-x"], b"out"),
            shop.Explained("closed", why="Sunday"),
            shop.CardDeclined(code="51", amount=Decimal("9.99")),
            shop.OutOfStock("none left"),
            shop.Nested.Missing("x"),
            ExceptionGroup("several", [ValueError(1), ExceptionGroup("more", [KeyError("k")])]),
        ],
        ids=kind,
    )
    def test_an_exception_comes_back_as_it_was(self, exc: BaseException) -> None:
        assert same(again(exc), exc)

    def test_a_missing_file_keeps_its_name(self) -> None:
        exc = again(raised(lambda: open("/nowhere/at all")))  # noqa: PTH123, SIM115
        assert isinstance(exc, FileNotFoundError)
        assert (exc.errno, exc.filename) == (2, "/nowhere/at all")

    def test_no_init_of_a_users_runs(self) -> None:
        document = encode_exception(shop.CardDeclined(code="51", amount=Decimal(1)))
        before = shop.CardDeclined.calls
        exc = decode_exception(document)
        assert isinstance(exc, shop.CardDeclined)
        assert (exc.code, exc.amount, shop.CardDeclined.calls) == ("51", Decimal(1), before)

    def test_notes_are_kept(self) -> None:
        exc = ValueError("x")
        exc.add_note("seen\0 twice")
        assert again(exc).__notes__ == ["seen\\u0000 twice"]

    @given(values)
    def test_arguments_of_any_type_come_back(self, value: Any) -> None:
        exc = again(RuntimeError(value, 1))
        assert same(list(exc.args), [value, 1])

    @given(values)
    def test_every_engine_takes_the_document(self, value: Any) -> None:
        exc = RuntimeError(value)
        exc.extra = value  # type: ignore[attr-defined]
        exc.__cause__ = KeyError(value)
        assert_storable(encode_exception(exc, "tra\0ce\ud800"))

    @given(texts)
    def test_the_message_reads_as_it_was_where_engines_take_it(self, text: str) -> None:
        message = encode_exception(ValueError(text))["message"]
        assert message == text or "\\u" in message

    def test_a_registered_name_is_no_matter(self) -> None:
        document = encode_exception(shop.Explained("a", "b"))
        assert (document["module"], document["type"]) == ("tests.unit.codec.shop", "Explained")


class TestDocument:
    def test_it_is_readable(self) -> None:
        exc = shop.Explained("closed", why="Sunday")
        assert encode_exception(exc, "Traceback ...") == {
            "type": "Explained",
            "module": "tests.unit.codec.shop",
            "message": "closed because Sunday",
            "args": ["closed"],
            "args_types": None,
            "attributes": {"why": "Sunday"},
            "attributes_types": None,
            "traceback": "Traceback ...",
            "cause": None,
            "context": None,
        }

    def test_what_cannot_be_stored_becomes_its_repr_marked(self) -> None:
        exc = ValueError(object(), {"deep": [object()]}, shop.Unprintable())
        exc.response = object()  # type: ignore[attr-defined]
        back = again(exc)
        assert back.args[0].startswith("<object object at")
        assert unrestored_type(back.args[0]) == "repr:builtins:object"
        assert isinstance(back.args[1]["deep"][0], Unrestored)
        assert back.args[2] == "<Unprintable object without a repr>"
        assert isinstance(vars(back)["response"], Unrestored)

    def test_an_attribute_that_is_huge_is_left_out(self) -> None:
        exc = ValueError("x")
        exc.body = "x" * 1_000_000  # type: ignore[attr-defined]
        assert encode_exception(exc)["attributes"] == {"body": "<str>"}

    def test_what_drivers_hang_on_their_exceptions_is_not_stored(self) -> None:
        """Psycopg's errors carry the connection's parameters, SQLAlchemy's those of the statement."""
        exc = ValueError("cannot connect")
        exc.info = [shop.Line("password", Decimal(0), "s3cret")]  # type: ignore[attr-defined]
        exc.params = {"card": "s3cret"}  # type: ignore[attr-defined]
        exc.hide_parameters = True  # type: ignore[attr-defined]
        exc.headers = [{"Authorization": "s3cret"}]  # type: ignore[attr-defined]
        exc.request = shop.Place(3)  # type: ignore[attr-defined]
        exc.api_key = "s3cret"  # type: ignore[attr-defined]
        exc.status = 3  # type: ignore[attr-defined]
        document = encode_exception(exc)
        assert "s3cret" not in json.dumps(document)
        assert document["attributes"] == {
            "info": "<list>", "params": "<dict>", "hide_parameters": True, "headers": "<list>",
            "request": "<Place>", "api_key": "<str>", "status": 3,
        }  # fmt: skip

    def test_a_drivers_real_error_holds_no_password(self) -> None:
        psycopg = pytest.importorskip("psycopg")
        with pytest.raises(psycopg.OperationalError) as caught:
            psycopg.connect("host=127.0.0.1 port=1 user=me password=s3cret")
        text = json.dumps(encode_exception(caught.value))
        assert "s3cret" not in text
        assert b64encode(b"s3cret").decode().rstrip("=") not in text

    def test_an_exception_that_cannot_be_printed_is_stored_all_the_same(self) -> None:
        class Broken(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        assert encode_exception(Broken())["message"].startswith("<unprintable ")

    def test_arguments_without_end_are_stored_all_the_same(self) -> None:
        loop: list[Any] = []
        loop.append(loop)
        deep: list[Any] = []
        for _ in range(5_000):
            deep = [deep]
        for argument in (loop, deep):
            assert_storable(encode_exception(ValueError(argument)))


class TestChain:
    def test_cause_and_context_are_linked_again(self) -> None:
        def fail() -> None:
            try:
                try:
                    {1: 2}[3]
                except KeyError:
                    raise OSError(2, "middle")  # noqa: B904 - the context is what is tested
            except OSError as error:
                raise ValueError("outer") from error

        exc = again(raised(fail))
        assert isinstance(exc.__cause__, FileNotFoundError)
        assert exc.__suppress_context__
        assert isinstance(exc.__cause__.__context__, KeyError)
        assert exc.__cause__.__cause__ is None
        assert not exc.__cause__.__suppress_context__

    def test_from_none_stays_from_none(self) -> None:
        def fail() -> None:
            try:
                {1: 2}[3]
            except KeyError:
                raise ValueError("shown") from None

        exc = again(raised(fail))
        assert exc.__suppress_context__
        assert isinstance(exc.__context__, KeyError)

    def test_a_long_chain_is_cut(self) -> None:
        exc = ValueError(0)
        for number in range(1, 5_000):
            outer = ValueError(number)
            outer.__cause__ = exc
            exc = outer
        document = encode_exception(exc)
        assert_storable(document)
        links = 0
        back: BaseException | None = decode_exception(document)
        while back := back and back.__cause__:
            links += 1
        assert links == 8

    def test_a_circle_is_cut(self) -> None:
        left, right = ValueError("left"), ValueError("right")
        left.__cause__, right.__cause__ = right, left
        left.__context__ = left.__cause__
        exc = again(left)
        assert exc.__cause__ is not None
        assert exc.__cause__.args == ("right",)
        assert exc.__cause__.__cause__ is None

    def test_an_exception_that_holds_itself_is_stored_once(self) -> None:
        """As Celery's Retry, whose first argument is itself."""
        from celery.exceptions import Retry

        retry = Retry("again", exc=ValueError("x"), when=30)
        assert retry.args[0] is retry
        back = again(retry)
        assert isinstance(back, Retry)
        assert (back.message, back.when, str(back)) == ("again", 30, str(retry))
        assert isinstance(back.exc, ValueError)
        assert len(json.dumps(encode_exception(retry))) < 2_000

    def test_a_cause_that_is_an_attribute_too_is_both_again(self) -> None:
        """As in SQLAlchemy's errors, which keep the driver's."""
        exc, cause = ValueError("outer"), KeyError("inner")
        exc.orig = exc.__cause__ = cause  # type: ignore[attr-defined]
        back = again(exc)
        assert isinstance(back.__cause__, KeyError)
        assert isinstance(vars(back)["orig"], KeyError)

    def test_a_hostile_chain_without_end_is_read_in_part(self) -> None:
        document: dict[str, Any] = {"type": "ValueError", "module": "builtins", "args": []}
        for _ in range(50_000):
            document = {"type": "ValueError", "module": "builtins", "args": [], "cause": document}
        assert isinstance(decode_exception(document), ValueError)


class TestStandIn:
    def test_a_class_that_is_not_here_comes_back_as_a_stand_in(self) -> None:
        document = {**encode_exception(ValueError("no", 3)), "module": "shop.errors", "type": "Cart.Empty"}
        document["message"] = "the cart is empty"
        exc = decode_exception(document)
        assert isinstance(exc, StandIn)
        assert (type(exc).__name__, type(exc).__qualname__, type(exc).__module__) == (
            "Empty",
            "Cart.Empty",
            "shop.errors",
        )
        assert (exc.args, str(exc)) == (("no", 3), "the cart is empty")

    def test_the_same_class_each_time_so_that_it_can_be_compared(self) -> None:
        document = {"type": "Gone", "module": "far.away", "args": [], "message": ""}
        assert type(decode_exception(document)) is type(decode_exception(document))

    def test_celerys_own_stand_in_can_be_asked_for(self) -> None:
        from celery.utils.serialization import create_exception_cls

        document = {"type": "Gone", "module": "far.away", "args": ["x"], "message": "x"}
        exc = decode_exception(document, make_stand_in=create_exception_cls)
        assert repr(exc) == "Gone('x')"
        assert type(exc).__bases__ == (Exception,)

    @pytest.mark.parametrize("exc", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), shop.Quit("x")], ids=kind)
    def test_what_would_end_the_reader_comes_back_as_a_stand_in(self, exc: BaseException) -> None:
        back = again(exc)
        assert isinstance(back, Exception)
        assert type(back).__name__ == type(exc).__name__
        assert back.args == exc.args

    def test_a_local_class_comes_back_as_a_stand_in(self) -> None:
        class Local(Exception):
            pass

        back = again(Local("x"))
        assert isinstance(back, StandIn)
        assert str(back) == "x"


class TestHostileRecords:
    @pytest.mark.parametrize(
        ("module", "name"),
        [
            ("os", "system"),
            ("os", "path.join"),
            ("builtins", "eval"),
            ("builtins", "object"),
            ("builtins", "type"),
            ("builtins", "SystemExit"),
            ("subprocess", "Popen"),
            ("rootcellar", "open"),
            ("tests.unit.codec.shop", "Colour"),
            ("tests.unit.codec.shop", "Nested"),
            ("tests.unit.codec.shop", "Explained.__init__"),
            ("sys", "modules"),
            ("", ""),
            ("\0", "\0\ud800"),
            ("antigravity", "Error"),
            ("email.mime.audio", "Error"),
            ("os.path", "__class__"),
            ("builtins", "ValueError.__subclasses__"),
        ],
    )
    def test_what_is_no_exception_class_gives_a_stand_in_and_runs_nothing(
        self, module: str, name: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        before = set(sys.modules)
        exc = decode_exception({"type": name, "module": module, "message": "echo hacked", "args": ["echo hacked"]})
        assert isinstance(exc, StandIn)
        assert str(exc) == "echo hacked"
        assert set(sys.modules) == before
        assert capfd.readouterr().out == ""

    def test_a_module_that_imports_on_attribute_access_is_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []
        module = type(sys)("lazy_module")
        module.__getattr__ = asked.append  # type: ignore[method-assign]
        monkeypatch.setitem(sys.modules, "lazy_module", module)
        assert isinstance(decode_exception({"type": "Error", "module": "lazy_module"}), StandIn)
        assert asked == []

    @pytest.mark.parametrize("document", [None, [], "x", {}, {"type": None}, {"type": 3, "module": "os"}, 5], ids=kind)
    def test_what_is_no_document_of_an_exception_is_a_clear_error(self, document: Any) -> None:
        with pytest.raises(CodecError, match="no document of an exception"):
            decode_exception(document)

    @pytest.mark.parametrize(
        "damage",
        [
            {"args": None},
            {"args": 5},
            {"args": "text"},
            {"args_types": {"0": "decimal"}, "args": ["x"]},
            {"args_types": 7},
            {"attributes": [1]},
            {"attributes": {"filename": {}}, "type": "OSError"},
            {"attributes": {"x": "y"}, "attributes_types": {"x": "uuid"}},
            {"notes": 5},
            {"notes": [None]},
            {"module": None},
            {"message": None},
            {"message": {}},
            {"suppress_context": "yes"},
            {"type": "UnicodeDecodeError"},
            {"type": "ExceptionGroup", "args": ["x", []]},
        ],
        ids=kind,
    )
    def test_a_damaged_document_gives_an_exception_still(self, damage: dict[str, Any]) -> None:
        document = {"type": "ValueError", "module": "builtins", "message": "it broke", "args": ["it broke"], **damage}
        assert isinstance(decode_exception(document), Exception)

    def test_a_damaged_cause_is_a_clear_error(self) -> None:
        with pytest.raises(CodecError, match="no document of an exception"):
            decode_exception({"type": "ValueError", "module": "builtins", "cause": [1]})


class TestAsValues:
    def test_an_exception_in_a_result_comes_back(self) -> None:
        value = {"errors": [KeyError("a"), shop.Explained("b", "c")], "at": datetime(2026, 1, 1)}  # noqa: DTZ001
        document, types = encode(value)
        assert types == {"errors.*": "exception", "at": "datetime"}
        assert same(decode(jsonb(document), types), value)

    def test_however_deep_it_lies(self) -> None:
        exc = KeyError("a", Decimal(1))
        exc.__cause__ = ValueError([[[b"x"]]])
        value: Any = exc
        for depth in range(40):
            document, types = encode(value)
            assert_storable(document)
            back = decode(jsonb(document), types)
            for _ in range(depth):
                back = back[0]
            assert back.args == exc.args
            value = [value]
