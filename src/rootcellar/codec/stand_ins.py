"""Exceptions of stored documents: of their own class where it is in memory, otherwise stand-ins.

No ``__init__`` or ``__new__`` of a user's class runs. The instance is made by the built-in class beneath it, and gets
its arguments and attributes as they were stored. So an exception whose ``__init__`` takes other arguments than `args`
holds comes back whole, and a hostile record cannot make anything run.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from rootcellar.codec.exceptions import MEMBERS, NOTES
from rootcellar.codec.marks import quoted
from rootcellar.codec.plain import escaped
from rootcellar.codec.registry import class_of
from rootcellar.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

    #: `decode`, without the path.
    Decode = Callable[[Any, Any], Any]
    #: Makes an exception class of a qualified name and a module, as Celery's ``create_exception_cls`` does.
    MakeStandIn = Callable[[str, str], type[BaseException]]

#: Longer chains than are ever stored; a hostile record's own depth does not decide.
_LINKS: Final = 32
#: The flag of a class made by a ``class`` statement (``Py_TPFLAGS_HEAPTYPE``).
_HEAP_TYPE: Final = 1 << 9


class StandIn(Exception):
    """Base of the exceptions that stand in for a class this process does not know.

    The stand-in's class has the name and the module of the original; `args` and the text are the original's too.
    """

    message: str = ""

    def __str__(self) -> str:
        return self.message or super().__str__()


@lru_cache(maxsize=256)
def stand_in_class(qualname: str, module: str) -> type[StandIn]:
    """The stand-in for one class; the same each time."""
    name = escaped(qualname.rpartition(".")[2]) or StandIn.__name__
    return type(name, (StandIn,), {"__module__": module, "__qualname__": qualname})


def exception_of(document: Any, decode: Decode, make_stand_in: MakeStandIn, links: int = _LINKS) -> BaseException:
    """The exception of a document, with its causes and contexts. Raises `CodecError` when it is no such document."""
    if not isinstance(document, dict) or not isinstance(document.get("type"), str):
        raise CodecError("error: no document of an exception; it needs at least a type")
    exc = _instance(document, decode, make_stand_in)
    if links:
        exc.__cause__ = _linked(document.get("cause"), decode, make_stand_in, links - 1)
        exc.__context__ = _linked(document.get("context"), decode, make_stand_in, links - 1)
    exc.__suppress_context__ = bool(document.get("suppress_context", exc.__cause__ is not None))
    return exc


def _linked(document: Any, decode: Decode, make_stand_in: MakeStandIn, links: int) -> BaseException | None:
    return None if document is None else exception_of(document, decode, make_stand_in, links)


def _instance(document: dict[str, Any], decode: Decode, make_stand_in: MakeStandIn) -> BaseException:
    qualname, module = document["type"], document.get("module")
    module = module if isinstance(module, str) else StandIn.__module__
    message = document.get("message")
    args = _arguments(document, decode)
    cls = class_of(quoted(f"{module}:{qualname}"))
    exc = _rebuilt(cls, args) if cls is not None and Exception in cls.__mro__ else None
    if exc is None:
        exc = _stand_in(make_stand_in(qualname, module), args, message if isinstance(message, str) else "")
    _set_attributes(exc, document, decode)
    return exc


def _arguments(document: dict[str, Any], decode: Decode) -> tuple[Any, ...]:
    try:
        return tuple(decode(document["args"], document.get("args_types")))
    except (CodecError, KeyError, TypeError):  # damaged: the message says what the arguments would
        return (document.get("message"),)


def _rebuilt(cls: type[Any], args: tuple[Any, ...]) -> BaseException | None:
    """An instance, made by the built-in class beneath `cls`; None when that does not take these arguments."""
    base: Any = next(base for base in cls.__mro__ if not base.__flags__ & _HEAP_TYPE)
    try:
        exc = base.__new__(cls, *args)
        base.__init__(exc, *args)
        BaseException.args.__set__(exc, args)  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - a class in C may refuse in its own way
        return None
    return exc if isinstance(exc, BaseException) else None


def _stand_in(cls: type[BaseException], args: tuple[Any, ...], message: str) -> BaseException:
    exc = _rebuilt(cls, args)
    if exc is None:
        raise CodecError(f"{cls.__qualname__} cannot stand in for an exception: it does not take any arguments")
    if isinstance(exc, StandIn):
        exc.message = message
    return exc


def _set_attributes(exc: BaseException, document: dict[str, Any], decode: Decode) -> None:
    try:
        attributes = dict(decode(document.get("attributes") or {}, document.get("attributes_types")))
    except (CodecError, TypeError, ValueError):  # damaged: they are only an extra
        attributes = {}
    for cls, names in MEMBERS.items():
        if isinstance(exc, cls):
            for name in names:
                if name in attributes:
                    vars(cls)[name].__set__(exc, attributes.pop(name))
    vars(exc).update(attributes)
    notes = document.get("notes")
    if isinstance(notes, list):
        vars(exc)[NOTES] = [note for note in notes if isinstance(note, str)]
