"""How a method looks for landmarks: steps that now and then ask the networks, for one image or several together.

A `Search` is a generator: it yields what it asks, is sent the answer, and returns what it has found. So the steps of a
method are written for one image, and whoever runs several searches gives the networks what these ask at the same time
as one batch.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor

from anatomark.methods.calls import Calls

T = TypeVar("T")


class Question(NamedTuple):
    """What is asked of the networks: a call by its name, and its tensors.

    Those of an image are (1, ...) and can be stacked; those of one axis say which landmarks, and are the same for all.
    """

    call: str
    tensors: tuple[Tensor, ...]

    @property
    def kind(self) -> tuple[object, ...]:
        """Questions of the same kind can be asked together."""
        return self.call, *(tuple(t.tolist() if t.dim() == 1 else t.shape) for t in self.tensors)


Search: TypeAlias = Generator[Question, tuple[Tensor, ...], T]


def ask(call: str, *tensors: Tensor) -> Search[tuple[Tensor, ...]]:
    """What the networks answer to the call of that name."""
    return (yield Question(call, tensors))


def found(search: Search[T], calls: Calls) -> T:
    """What a search comes to."""
    return found_together([search], calls)[0]


def found_together(searches: Sequence[Search[T]], calls: Calls) -> list[T]:
    """What each search comes to; what they ask at the same time, in tensors of the same sizes, is asked as a batch."""
    ended: dict[int, T] = {}
    open_: dict[int, Question] = {}

    def go_on(number: int, answer: tuple[Tensor, ...] | None) -> None:
        try:
            open_[number] = next(searches[number]) if answer is None else searches[number].send(answer)
        except StopIteration as end:
            ended[number] = end.value

    with torch.inference_mode():
        for number in range(len(searches)):
            go_on(number, None)
        while open_:
            for numbers in _alike(open_):
                answers = _answers(calls, [open_.pop(number) for number in numbers])
                for number, answer in zip(numbers, answers, strict=True):
                    go_on(number, answer)
    return [ended[number] for number in range(len(searches))]


def _alike(questions: dict[int, Question]) -> list[list[int]]:
    """The numbers of the questions, those of one kind together."""
    if len(questions) == 1:
        return [list(questions)]
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, question in questions.items():
        groups.setdefault(question.kind, []).append(number)
    return list(groups.values())


def _answers(calls: Calls, questions: Sequence[Question]) -> list[tuple[Tensor, ...]]:
    """The answers to questions of one kind."""
    name, tensors = questions[0]
    if len(questions) == 1:
        return [calls[name](*tensors)]
    columns = zip(*(question.tensors for question in questions), strict=True)
    together = calls[name](*(column[0] if column[0].dim() == 1 else torch.cat(column) for column in columns))
    return [tuple(tensor[k : k + 1] for tensor in together) for k in range(len(questions))]
