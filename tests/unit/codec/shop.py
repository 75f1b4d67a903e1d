"""Classes of a user's, as tasks take and return them."""

from __future__ import annotations

import enum
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import pydantic

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    GREEN = 2
    PRICE = Decimal("1.50")
    PAIR = (1, b"x")
    NOTHING = None
    LIST = [1, 2]  # noqa: RUF012 - an enum member with a value that has no hash
    ODD = "\0\ud800"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = "yes"
    NO = "no"


class Right(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()
    RUN = enum.auto()


class Operator(enum.Enum):
    """The values are of a class that cannot be stored."""

    HERE = object()
    THERE = Exception

    def __repr__(self) -> str:
        """The same in every process, for the names of tests."""
        return f"<Operator.{self.name}>"


@dataclass
class Line:
    article: str
    price: Decimal
    note: Any = None


@dataclass(frozen=True, slots=True)
class Order:
    number: int
    lines: list[Line]
    at: datetime
    total: Decimal = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", sum((line.price for line in self.lines), Decimal(0)))


@dataclass
class Seeded:
    seed: InitVar[int]
    value: int = field(init=False)
    late: int = field(init=False, repr=False, compare=False)

    def __post_init__(self, seed: int) -> None:
        self.value = seed * 2


@dataclass(frozen=True)
class Place:
    x: int
    y: int = 0


class Point(NamedTuple):
    x: int
    y: float = 0.5
    label: Any = None


class Job(msgspec.Struct):
    name: str
    at: datetime | None = None
    tags: list[str] = []
    state: str | msgspec.UnsetType = msgspec.UNSET
    made: int = 0

    def __post_init__(self) -> None:
        self.made += 1


class User(pydantic.BaseModel):
    name: str
    born: datetime | None = None
    tags: set[str] = set()
    best: Line | None = None
    _secret: int = pydantic.PrivateAttr(default=0)

    @pydantic.field_validator("name")
    @classmethod
    def _upper(cls, value: str) -> str:
        return value + "!"


class Loose(pydantic.BaseModel, extra="allow"):
    name: str


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


PageOfDecimals = Page[Decimal]


class Outer:
    class Inner(enum.Enum):
        ONE = 1


class Markup(str):
    """A text that is safe to show, as template engines have it."""

    __slots__ = ()


class Metres(float):
    __slots__ = ()


class Linked(str):  # noqa: SLOT000 - something can be attached
    """A text with something attached that is not part of its value."""

    target: str


class Bag(dict[str, Any]):
    pass


class Moment(datetime):
    pass


class Chapters(tuple[int, ...]):
    __slots__ = ()


class Money:
    """A class of no kind that the codec knows."""

    def __init__(self, amount: Decimal, currency: str) -> None:
        self.amount, self.currency = amount, currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and (self.amount, self.currency) == (other.amount, other.currency)

    def __hash__(self) -> int:
        return hash((self.amount, self.currency))


class Described:
    def __json__(self) -> dict[str, Any]:
        return {"amount": Decimal("1.5")}


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError


class CardDeclined(Exception):
    """An exception whose ``__init__`` takes something else than its arguments."""

    calls = 0

    def __init__(self, *, code: str, amount: Decimal) -> None:
        type(self).calls += 1
        super().__init__(f"card declined: {code}")
        self.code, self.amount = code, amount


class Explained(Exception):
    def __init__(self, text: str, why: str) -> None:
        super().__init__(text)
        self.why = why

    def __str__(self) -> str:
        return f"{self.args[0]} because {self.why}"


class OutOfStock(OSError):
    pass


class Nested:
    class Missing(LookupError):
        pass


class Quit(BaseException):
    pass
