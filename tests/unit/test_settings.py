"""Settings: every ``rootcellar_*`` key is known, typed, documented, or a clear error."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from rootcellar.errors import SettingsError
from rootcellar.settings import PREFIX, Settings, settings_table

ROOT = Path(__file__).parents[2]


def test_an_empty_configuration_gives_the_defaults() -> None:
    assert Settings.from_config({}) == Settings()


def test_every_default_is_a_value_that_the_setting_accepts() -> None:
    config = {setting.name: setting.default for setting in settings_table()}
    assert Settings.from_config(config) == Settings()


def test_keys_of_others_are_left_alone() -> None:
    assert Settings.from_config({"result_backend": "x", "broker_url": "y", "rootcellar": 1}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("table", "tasks", "tasks"),
        ("schema", "celery", "celery"),
        ("indexes", ["metadata.user"], ["metadata.user"]),
        ("indexes", ("metadata.user",), ["metadata.user"]),
        ("setup", False, False),
        ("metadata", ["user"], ["user"]),
        ("metadata", {"billing.*": ["user"]}, {"billing.*": ["user"]}),
        ("inherit_metadata", True, True),
        ("inherit_metadata", ["user"], ["user"]),
        ("expires", {"a.b": 60, "c.*": None}, {"a.b": 60.0, "c.*": None}),
        ("expires", {"a.b": timedelta(minutes=2)}, {"a.b": 120.0}),
        ("flush_interval", 1, 1.0),
        ("retry_for", timedelta(seconds=3), 3.0),
        ("spool", False, False),
        ("spool", Path("spools"), "spools"),
        ("spool", None, None),
    ],
)
def test_a_value_of_the_right_type_is_taken(name: str, value: Any, expected: Any) -> None:
    assert getattr(Settings.from_config({PREFIX + name: value}), name) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("table", 7),
        ("table", ""),
        ("indexes", "metadata.user"),
        ("setup", 1),
        ("capture_args", "yes"),
        ("metadata", "user"),
        ("metadata", {"a": "user"}),
        ("inherit_metadata", "user"),
        ("expires", 60),
        ("expires", {"a": 0}),
        ("flush_interval", 0),
        ("flush_size", True),
        ("flush_size", 0),
        ("retry_for", "5"),
        ("spool", 3),
        ("spool_limit", 1000),
    ],
)
def test_a_value_of_the_wrong_type_is_one_clear_error(name: str, value: Any) -> None:
    """The error names the setting, what it takes, and the value."""
    takes = next(setting.takes for setting in settings_table() if setting.name == PREFIX + name)
    with pytest.raises(SettingsError) as caught:
        Settings.from_config({PREFIX + name: value})
    message = str(caught.value)
    assert message.startswith(f"{PREFIX}{name} takes {takes}; it is {value!r}")
    assert "\n" not in message


def test_an_unknown_setting_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"no setting rootcellar_tabel; did you mean 'rootcellar_table'\?"):
        Settings.from_config({"rootcellar_tabel": "x"})


class _Capitals:
    CELERY_RESULT_EXPIRES = 60
    CELERY_ROOTCELLAR_TABLE = "from_namespace"
    ROOTCELLAR_OF_SOMEBODY_ELSE = "ignored"


def test_a_celery_configuration_with_a_namespace_is_understood() -> None:
    app = Celery("app", set_as_current=False)
    app.config_from_object(_Capitals, namespace="CELERY")
    app.conf.rootcellar_schema = "by_hand"
    settings = Settings.from_config(app.conf)
    assert (settings.table, settings.schema) == ("from_namespace", "by_hand")


def test_a_celery_configuration_without_namespace_is_understood() -> None:
    app = Celery("app", set_as_current=False)
    app.conf.update(rootcellar_table="plain")
    assert Settings.from_config(app.conf).table == "plain"


def test_an_unknown_setting_in_a_namespace_is_an_error_too() -> None:
    app = Celery("app", set_as_current=False)
    app.config_from_object({"CELERY_ROOTCELLAR_FLUSHSIZE": 1, "CELERY_RESULT_EXPIRES": 60}, namespace="CELERY")
    with pytest.raises(SettingsError, match="rootcellar_flush_size"):
        Settings.from_config(app.conf)


def test_expiry_goes_by_name_then_by_the_longest_pattern_then_by_default() -> None:
    settings = Settings(expires={"shop.*": 1.0, "shop.report.*": 2.0, "shop.report.daily": None})
    names = ("shop.report.daily", "shop.report.weekly", "shop.pay", "mail.send", None)
    assert [settings.expires_of(name, 9.0) for name in names] == [None, 2.0, 1.0, 9.0, 9.0]


def test_metadata_rules_of_a_list_hold_for_all_tasks() -> None:
    assert list(Settings(metadata=["user"]).metadata_rules()) == [("*", ["user"])]
    assert list(Settings(metadata={"a.*": ["b"]}).metadata_rules()) == [("a.*", ["b"])]


def test_store_options_are_those_that_differ_from_the_defaults() -> None:
    assert Settings().store_options() == {}
    assert Settings(table="t", indexes=["name"]).store_options() == {"table": "t", "indexes": ["name"]}


@pytest.mark.parametrize("setting", settings_table(), ids=lambda setting: setting.name)
def test_a_setting_is_documented_in_one_sentence(setting: Any) -> None:
    assert setting.takes
    assert re.fullmatch(r"[A-Z].*\.", setting.description)


@pytest.mark.parametrize("setting", settings_table(), ids=lambda setting: setting.name)
def test_the_page_of_settings_says_what_the_code_says(setting: Any) -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    default = f"{setting.default:_}" if type(setting.default) is int else repr(setting.default)
    assert f"| `{setting.name}` | {setting.takes} | `{default}` | {setting.description} |" in page


def test_the_page_of_settings_knows_no_others() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert set(re.findall(r"^\| `(rootcellar_\w+)`", page, re.MULTILINE)) == {s.name for s in settings_table()}


def test_every_setting_is_read_by_something() -> None:
    """No setting is there for show."""
    sources = [path.read_text() for path in (ROOT / "src").rglob("*.py") if path.name != "settings.py"]
    own = (ROOT / "src" / "rootcellar" / "settings.py").read_text()
    for setting in settings_table():
        name = setting.name.removeprefix(PREFIX)
        used = any(re.search(rf"settings\.{name}\b", source) for source in sources)
        assert used or f"self.{name}" in own or f'"{name}"' in own, f"nothing reads {setting.name}"
