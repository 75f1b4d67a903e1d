"""MongoDB's addresses: every form of a URL, and the settings of Celery's own backend."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from pymongo.uri_parser import parse_uri

from rootcellar.errors import InvalidInput, StoreURLError
from rootcellar.store import open_url
from rootcellar.store.url import parse
from rootcellar.stores.mongodb import MongoDBStore
from rootcellar.stores.mongodb.address import Address, read_address

HARD_PASSWORD = "p@ss:w/ord%41?&é"
QUOTED = "p%40ss%3Aw%2Ford%2541%3F%26%C3%A9"


def address(url: str, **settings: Any) -> Address:
    return read_address(parse(url), settings)


def told(url: str, **settings: Any) -> dict[str, Any]:
    """What the driver makes of an address."""
    return parse_uri(address(url, **settings).uri)


class TestURL:
    """What a URL says."""

    def test_one_host(self) -> None:
        found = told("mongodb://db.example:27018/shop")
        assert found["nodelist"] == [("db.example", 27018)]
        assert address("mongodb://db.example:27018/shop").database == "shop"

    def test_no_host_and_no_database(self) -> None:
        assert told("mongodb://")["nodelist"] == [("localhost", 27017)]
        assert address("mongodb://").database == "celery"

    def test_several_hosts(self) -> None:
        found = told(f"mongodb://ann:{QUOTED}@one:27017,two:27018,[::1]:27019/shop?replicaSet=rs0")
        assert found["nodelist"] == [("one", 27017), ("two", 27018), ("::1", 27019)]
        assert (found["username"], found["password"]) == ("ann", HARD_PASSWORD)

    def test_a_host_of_ipv6(self) -> None:
        assert told("mongodb://[::1]:27020/shop")["nodelist"] == [("::1", 27020)]

    def test_a_socket(self) -> None:
        assert told("mongodb://%2Frun%2Fmongodb-27017.sock/shop")["nodelist"] == [("/run/mongodb-27017.sock", None)]

    def test_a_seed_list_of_dns(self) -> None:
        """Nothing is looked up before the first use."""
        assert (
            address("mongodb+srv://ann:secret@cluster.example/shop").uri == "mongodb+srv://ann:secret@cluster.example/"
        )

    @pytest.mark.parametrize("password", ["p@ss", "a:b", "a/b", "a@b:c/d", "%", "é ü"])
    def test_a_password_that_is_not_quoted(self, password: str) -> None:
        assert told(f"mongodb://ann:{password}@host/shop")["password"] == password

    def test_options_go_to_the_driver(self) -> None:
        options = told("mongodb://h/d?w=majority&journal=true&wtimeoutMS=500&readConcernLevel=majority")["options"]
        assert (options["w"], options["journal"], options["wTimeoutMS"]) == ("majority", True, 500)

    def test_time_limits_are_short_unless_the_url_says_else(self) -> None:
        assert address("mongodb://h/d").options["serverSelectionTimeoutMS"] == 5000
        url = "mongodb://h/d?serverselectiontimeoutms=100"
        assert told(url)["options"]["serverSelectionTimeoutMS"] == 0.1
        assert "serverSelectionTimeoutMS" not in address(url).options

    def test_our_own_parameters_are_not_the_drivers(self) -> None:
        store = open_url(
            "mongodb://h/d?table=tasks&indexes=metadata.user&large_values=refuse&log=events&log_bytes=4096"
        )
        assert isinstance(store, MongoDBStore)
        assert (store.names.task, store.names.chord) == ("tasks", "tasks_chord")
        assert [path.text for path in store.paths] == ["metadata.user"]

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("mongodb://h/d?nonsense=1", "nonsense"),
            ("mongodb://h/d?w=majority&journal=perhaps", "journal"),
            ("mongodb://h:port/d", "port"),
        ],
    )
    def test_a_url_that_means_nothing(self, url: str, message: str) -> None:
        with pytest.raises(StoreURLError, match=message):
            open_url(url)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"table": "a$b"}, "collection"),
            ({"table": "system.tasks"}, "collection"),
            ({"large_values": "s3"}, "gridfs"),
            ({"log_bytes": 0, "log": "events"}, "bytes"),
            ({"schema": "public"}, "schemas"),
            ({"indexes": "metadata.$user"}, "index"),
            ({"indexes": "state"}, "no path"),
            ({"settings": "host"}, "dict"),
        ],
    )
    def test_an_option_that_means_nothing(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            open_url("mongodb://h/d", **options)


class TestUsers:
    """Which database holds the user."""

    def test_that_of_the_url_comes_first_and_the_drivers_own_second(self) -> None:
        """By MongoDB's convention the former, by what Celery's backend does the latter."""
        assert address("mongodb://ann:secret@h/shop").auth_sources == ("shop", None)

    @pytest.mark.parametrize(
        "url",
        ["mongodb://h/shop", "mongodb://ann:secret@h/", "mongodb://ann:secret@h/shop?authSource=admin"],
    )
    def test_where_there_is_nothing_to_choose(self, url: str) -> None:
        assert address(url).auth_sources == (None,)


class TestSettings:
    """`mongodb_backend_settings`, as Celery reads them."""

    def test_all_of_them(self) -> None:
        settings = {
            "host": "db.example",
            "port": 27018,
            "user": "ann",
            "password": HARD_PASSWORD,
            "database": "tasks",
            "taskmeta_collection": "my_taskmeta",
            "groupmeta_collection": "my_groupmeta",
            "options": {"tz_aware": True},
            "max_pool_size": 3,
        }
        found = address("mongodb://", **settings)
        uri = parse_uri(found.uri)
        assert uri["nodelist"] == [("db.example", 27018)]
        assert (uri["username"], uri["password"]) == ("ann", HARD_PASSWORD)
        assert (found.database, found.task, found.group) == ("tasks", "my_taskmeta", "my_groupmeta")
        assert (found.options["tz_aware"], found.options["max_pool_size"]) == (True, 3)

    def test_they_go_before_the_url(self) -> None:
        found = address("mongodb://ann:secret@other/shop", host="db.example", database="tasks", user="bob")
        assert parse_uri(found.uri)["nodelist"] == [("db.example", 27017)]
        assert (parse_uri(found.uri)["username"], found.database) == ("bob", "tasks")

    def test_what_they_do_not_say_the_url_says(self) -> None:
        found = address("mongodb://ann:secret@one,two/shop", taskmeta_collection="tasks")
        assert parse_uri(found.uri)["nodelist"] == [("one", 27017), ("two", 27017)]
        assert (parse_uri(found.uri)["password"], found.database) == ("secret", "shop")

    def test_a_list_of_hosts(self) -> None:
        found = told("mongodb://", host=["one:27018", "two"], port=27019)
        assert found["nodelist"] == [("one", 27018), ("two", 27019)]

    def test_a_whole_uri_as_the_host(self) -> None:
        """With hosts and a user of its own; the port beside it means nothing."""
        found = address("mongodb://", host=f"mongodb://ann:{QUOTED}@one:27018,two/shop", port=1, database="tasks")
        uri = parse_uri(found.uri)
        assert uri["nodelist"] == [("one", 27018), ("two", 27017)]
        assert (uri["username"], uri["password"], found.database) == ("ann", HARD_PASSWORD, "tasks")

    def test_a_collection_of_the_settings_is_where_the_records_go(self) -> None:
        store = open_url("mongodb://h", settings={"taskmeta_collection": "meta", "groupmeta_collection": "groups"})
        assert isinstance(store, MongoDBStore)
        assert (store.names.task, store.names.group) == ("meta", "groups")


class TestSecrets:
    """No password is shown."""

    def test_in_no_repr(self) -> None:
        store = open_url(f"mongodb://ann:{QUOTED}@one,two/shop", settings={"password": "other-secret"})
        shown = repr(store) + repr(address("mongodb://ann:cellar-key@h/d"))
        for secret in (QUOTED, HARD_PASSWORD, "other-secret", "cellar-key"):
            assert secret not in shown

    def test_in_no_uri_of_the_backend(self) -> None:
        url = f"rootcellar+mongodb://ann:{QUOTED}@one:27017,two:27018/shop?replicaSet=rs0"
        app = Celery("shown", broker="memory://", backend=url, set_as_current=False)
        assert app.backend.as_uri() == "rootcellar+mongodb://ann:***@one:27017,two:27018/shop?replicaSet=rs0"

    def test_all_of_them_are_known(self) -> None:
        found = address("mongodb://ann:cellar-key@h/d?tlsCertificateKeyFilePassword=file-key&tls=true")
        assert set(found.secrets) == {"cellar-key", "file-key"}
