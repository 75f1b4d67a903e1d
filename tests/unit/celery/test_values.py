"""Values that only Celery's serializers can store: kept as documents, loaded only where that is allowed and safe."""

from __future__ import annotations

import os
import pickle
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult
from kombu.exceptions import ContentDisallowed, EncodeError

from rootcellar.celery.values import Values
from rootcellar.errors import CodecError, SettingsError
from rootcellar.settings import Settings
from tests.unit.celery.conftest import MakeApp, a_request, record_of

pytestmark = pytest.mark.store("memory")

PICKLE = "application/x-python-serialize"
PICKLING = {"result_serializer": "pickle", "result_accept_content": ["json", "pickle"]}
KEY = "a-secret-of-this-test"


class Basket:
    """What the codec does not know."""

    def __init__(self, *items: str) -> None:
        self.items = items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Basket) and self.items == other.items

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def pickling(make_app: MakeApp) -> Celery:
    return make_app(**PICKLING, rootcellar_signing_key=KEY)


def values(key: str | None = KEY, accept: Any = (PICKLE,), serializer: str = "pickle") -> Values:
    return Values(serializer, accept, key)


def test_what_the_codec_knows_is_native_whatever_the_serializer(pickling: Celery) -> None:
    pickling.backend.mark_as_done("t1", {"rows": (1, 2)}, request=a_request())
    record = pickling.backend.store.fetch(["t1"])[0]
    assert record.result == {"rows": [1, 2]}
    assert AsyncResult("t1", app=pickling).result == {"rows": (1, 2)}


def test_what_it_does_not_know_is_pickled_and_signed(pickling: Celery) -> None:
    pickling.backend.mark_as_done("t1", [Basket("cup")], request=a_request())
    assert AsyncResult("t1", app=pickling).get(timeout=5) == [Basket("cup")]
    shown = record_of(pickling.backend).result
    assert set(shown) == {"rootcellar:serialized"}
    assert set(shown["rootcellar:serialized"]) == {"content_type", "content_encoding", "body", "signature"}


def test_progress_too(pickling: Celery) -> None:
    pickling.backend.store_result("t1", Basket("cup"), "PROGRESS", request=a_request())
    assert AsyncResult("t1", app=pickling).info == Basket("cup")


def test_yaml_needs_no_key() -> None:
    pytest.importorskip("yaml")
    encoded = values(None, {"application/x-yaml"}, "yaml")
    document = {
        "rootcellar:serialized": {"content_type": "application/x-yaml", "content_encoding": "utf-8", "body": "a: 1"}
    }
    assert encoded.decode(document, {"": "serialized"}) == {"a": 1}


def test_json_refuses_with_the_codecs_error(make_app: MakeApp) -> None:
    with pytest.raises(EncodeError, match="Basket"):
        make_app().backend.mark_as_done("t1", Basket("cup"), request=a_request())


def test_without_a_key_it_is_refused_on_writing(make_app: MakeApp) -> None:
    with pytest.raises(EncodeError, match="rootcellar_signing_key"):
        make_app(**PICKLING).backend.mark_as_done("t1", Basket("cup"), request=a_request())


def test_a_users_own_value_is_never_taken_for_a_serialized_one(pickling: Celery) -> None:
    inner = {"content_type": PICKLE, "content_encoding": "binary", "body": b64encode(pickle.dumps(1)).decode()}
    look_alike = {"rootcellar:serialized": inner}
    pickling.backend.mark_as_done("t1", look_alike, request=a_request())
    assert AsyncResult("t1", app=pickling).get(timeout=5) == look_alike


class Exploit:
    def __reduce__(self) -> Any:
        return os.mkdir, ("rootcellar-was-exploited",)


@pytest.fixture(autouse=True)
def nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("rootcellar-was-exploited").exists()


def hostile(**changes: Any) -> Any:
    """A signed document, changed."""
    document, types = values().encode(Basket("cup"))
    body = b64encode(pickle.dumps(Exploit())).decode()
    changed = {key: body if value == "exploit" else value for key, value in changes.items()}
    return {"rootcellar:serialized": {**document["rootcellar:serialized"], **changed}}, types


@pytest.mark.parametrize(
    "changes",
    [{"body": "exploit"}, {"signature": None}, {"signature": ""}, {"signature": "é"}, {"signature": "0" * 64},
     {"content_encoding": "utf-8"}, {"body": "exploit", "signature": None}],
    ids=str,
)  # fmt: skip
def test_a_tampered_one_is_not_loaded(changes: Any) -> None:
    with pytest.raises(ContentDisallowed, match="signature"):
        values().decode(*hostile(**changes))


def test_another_key_does_not_load_it() -> None:
    with pytest.raises(ContentDisallowed, match="another key"):
        values("another-secret").decode(*hostile())


def test_no_key_does_not_load_it() -> None:
    with pytest.raises(ContentDisallowed, match="rootcellar_signing_key is not set"):
        values(None).decode(*hostile())


def test_a_content_type_that_is_not_accepted() -> None:
    with pytest.raises(ContentDisallowed, match="result_accept_content"):
        values(accept={"application/json"}).decode(*hostile())


def test_a_pickle_under_a_harmless_name_is_no_pickle() -> None:
    document, types = hostile(body="exploit", content_type="application/json")
    with pytest.raises(Exception, match=r"."):
        values(accept={"application/json"}).decode(document, types)


@pytest.mark.parametrize("document", [None, [], "x", {}, {"rootcellar:serialized": 3}, {"rootcellar:serialized": {}}])
def test_one_of_another_shape(document: Any) -> None:
    with pytest.raises(CodecError, match="shape"):
        values().decode(document, {"": "serialized"})


def test_who_waits_for_an_unreadable_result_gets_the_error(make_app: MakeApp, sqlite_url: str) -> None:
    """And who waits for another task gets that."""
    writer = make_app("rootcellar+" + sqlite_url, **PICKLING, rootcellar_signing_key=KEY)
    reader = make_app("rootcellar+" + sqlite_url, rootcellar_signing_key=KEY)
    bad, good = AsyncResult("bad", app=reader), AsyncResult("good", app=reader)
    seen: list[Any] = []
    bad.then(lambda _result: seen.append("bad"), on_error=seen.append)
    writer.backend.mark_as_done("bad", Basket("cup"))
    writer.backend.mark_as_done("good", 5)
    assert good.get(timeout=30) == 5
    with pytest.raises(ContentDisallowed, match="result_accept_content"):
        bad.get(timeout=30)


def test_chords_carry_such_values(pickling: Celery) -> None:
    backend = pickling.backend
    payload = backend._payload("t1", "SUCCESS", Basket("cup"))
    assert backend._value(payload) == Basket("cup")


def test_the_key_is_shown_nowhere() -> None:
    assert KEY not in repr(Settings(signing_key=KEY))
    with pytest.raises(SettingsError) as raised:
        Settings.from_config({"rootcellar_signing_key": [KEY]})
    assert KEY not in str(raised.value)
