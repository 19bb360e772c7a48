"""The saga of an order, as a model small enough that everything that can happen to it is tried.

It is the same saga as that of `shared/orders`, without the store: a *script* is one step that nobody can
divide, a *saga* is a program that runs one script after another. Between any two scripts anybody else may run
any of his, time may pass, and whoever runs a saga may die. The rules that keep a number in one place:

- A number moves in its area code, an order changes in its organization, and no script does both: so there is
  one script that decides, the *commit*; everything before it can be undone, everything after it finished.
- An order is in the hand of one *attempt* at a time, until a deadline. The next one may begin only when that
  is over; it takes over what the earlier ones hold, and takes from them the right to commit and to fail.
- A hold has the order's deadline: it is refused after it, and has a timer, so that the sweep looks at it when
  nobody else does. The sweep asks the organization whether it has the number by the order, or has it on its
  way out, and never undoes a hold of an order that somebody may still commit.
- *Fail* comes before *give back*: what is held for an order that has failed is held for nothing.
- What an organization loses is written down in the step in which it loses it. Only what is written down is
  moved, and struck out only if it is still the same.
- Every script looks for itself whether it is still right: each names the order, and the attempt where that
  matters, so whoever comes late does nothing.
- The Idempotency-Key of a failed order without an answer is let go when all its holds have been given back,
  not before: the request that comes again would be refused because of itself.
"""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pytest

A, B = "A", "B"
NUMBERS = (A, B)
"""Two numbers in two area codes: each is one unit of atomicity."""

X, Y, Z = "X", "Y", "Z"
ORDERS = (X, Y, Z)
"""Orders of one organization, which is the hardest case: nothing but the order tells its numbers apart."""


class Number(NamedTuple):
    """A number; that it is in one place only is what the scripts of an area code keep by themselves."""

    place: str = "available"
    """`available`, `held`, `assigned`, `quarantined` or `unknown`."""
    order: str = ""
    attempt: int = 0
    has_timer: bool = False
    is_offered: bool = True
    """A carrier offers it."""
    is_kept: bool = False
    """It was assigned once, and is ours to keep."""


class Order(NamedTuple):
    status: str = "none"
    attempt: int = 0
    is_waiting: bool = False
    """In nobody's hand, until there is stock."""
    is_bulk: bool = False
    has_key: bool = False
    numbers: tuple[str, ...] = ()
    """What it wants, or has picked."""


class State(NamedTuple):
    """All that the store holds."""

    numbers: tuple[Number, ...] = (Number(), Number())
    orders: tuple[Order, ...] = (Order(), Order(), Order())
    resources: tuple[str, ...] = ("", "")
    """For each number, the order by which the organization has it."""
    departures: tuple[str, ...] = ("", "")
    """For each number, `order target` when it has still to be moved."""
    late: frozenset[tuple[str, int]] = frozenset()
    """Attempts whose deadline is over."""
    key: tuple[str, str] | None = None
    """The order that the Idempotency-Key stands for, and the answer, if there is one."""
    told: frozenset[str] = frozenset()
    """Answers that the request with the Idempotency-Key got."""
    fault: str = ""
    """What must not happen, seen by the script that did it."""

    def number(self, name: str) -> Number:
        return self.numbers[NUMBERS.index(name)]

    def order(self, name: str) -> Order:
        return self.orders[ORDERS.index(name)]

    def with_number(self, name: str, number: Number) -> "State":
        return self._replace(numbers=_put(self.numbers, NUMBERS.index(name), number))

    def with_order(self, name: str, order: Order) -> "State":
        return self._replace(orders=_put(self.orders, ORDERS.index(name), order))

    def with_resource(self, number: str, order: str) -> "State":
        return self._replace(resources=_put(self.resources, NUMBERS.index(number), order))

    def with_departure(self, number: str, departure: str) -> "State":
        return self._replace(departures=_put(self.departures, NUMBERS.index(number), departure))

    def is_over(self, order: str) -> bool:
        """Tell whether nobody has an order in hand any more."""
        return self.order(order).is_waiting or (order, self.order(order).attempt) in self.late

    def after_deadline(self, order: str) -> "State":
        """Give the state when the deadline of an order's attempt is over, and those of earlier ones."""
        attempts = range(1, self.order(order).attempt + 1)
        return self._replace(late=self.late | {(order, attempt) for attempt in attempts})


def _put(values: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    return (*values[:place], value, *values[place + 1 :])


Step = tuple[State, Any]
"""What a script leaves, and its reply."""

Call = tuple[Any, ...]
"""The name of a script and its arguments."""


class Scripts:
    """The scripts, and what the sagas read; each is one step."""

    # In the area code of a number.

    def hold(self, state: State, order: str, attempt: int, name: str) -> Step:
        """Keep a number from others; a later attempt takes over what an earlier one holds."""
        number = state.number(name)
        if (order, attempt) in state.late:
            return state, "late"
        is_own = number.place == "held" and number.order == order
        if is_own and number.attempt > attempt:
            return state, "late"
        if number.place != "available" and not is_own:
            holder = state.order(number.order) if number.order else Order()
            if number.place == "held" and holder.has_key and state.order(order).has_key:
                state = state._replace(fault=f"{order} is refused {name} because of its own request")
            return state, "refused"
        held = number._replace(place="held", order=order, attempt=attempt, has_timer=True)
        return state.with_number(name, held), "held"

    def confirm(self, state: State, order: str, name: str) -> Step:
        """Give what a complete order holds to its organization."""
        number = state.number(name)
        if number.place != "held" or number.order != order:
            return state, 0
        return state.with_number(name, number._replace(place="assigned", has_timer=False, is_kept=True)), 1

    def give_back(self, state: State, order: str, attempt: int, name: str) -> Step:
        """Give back what attempts hold that came to nothing."""
        number = state.number(name)
        if number.place != "held" or number.order != order or number.attempt > attempt:
            return state, 0
        return state.with_number(name, free(number)), 1

    def take_back(self, state: State, order: str, target: str, name: str) -> Step:
        """Move a number that its organization, which had it by this order, has lost."""
        number = state.number(name)
        if number.place not in ("held", "assigned") or number.order != order:
            return state, 0
        kept = number._replace(is_kept=True)
        if target == "quarantined":
            return state.with_number(name, kept._replace(place=target, has_timer=True)), 1
        return state.with_number(name, free(kept)), 1

    def restock(self, state: State, name: str) -> Step:
        """End a quarantine, whose time may be over at any moment."""
        number = state.number(name)
        return (state.with_number(name, free(number)), 1) if number.place == "quarantined" else (state, 0)

    def withdraw(self, state: State, name: str) -> Step:
        """A carrier offers a number no more."""
        number = state.number(name)._replace(is_offered=False)
        return state.with_number(name, free(number) if number.place == "available" else number), 1

    # In the organization.

    def open_order(self, state: State, order: str, wanted: tuple[str, ...], has_key: bool) -> Step:
        """Write an order down, before anything is done for it; the key stands for one order."""
        if has_key and state.key is not None:
            return state, ("known", *state.key)
        opened = Order("pending", 1, has_key=has_key, numbers=wanted, is_bulk=not wanted)
        state = state.with_order(order, opened)
        return (state._replace(key=(order, "")) if has_key else state), ("opened", order, "")

    def take_order(self, state: State, name: str) -> Step:
        """Begin a new attempt at an order in nobody's hand."""
        order = state.order(name)
        if order.status != "pending":
            return state, ("ended", order.status)
        if not state.is_over(name):
            return state, ("busy", "")
        taken = order._replace(attempt=order.attempt + 1, is_waiting=False)
        return state.with_order(name, taken), ("taken", taken.attempt)

    def pick_numbers(self, state: State, name: str, attempt: int, picks: tuple[str, ...]) -> Step:
        """Write down what a bulk order is going to hold."""
        order = state.order(name)
        if order.status != "pending" or order.attempt != attempt:
            return state, 0
        # The attempt has its time from now on.
        late = state.late - {(name, attempt)}
        return state.with_order(name, order._replace(numbers=picks))._replace(late=late), 1

    def commit_order(self, state: State, name: str, attempt: int, held: tuple[str, ...]) -> Step:
        """Complete an order: from here on the numbers are its organization's."""
        order = state.order(name)
        if order.attempt != attempt:
            return state, "overtaken"
        if order.status != "pending":
            return state, order.status
        state = state.with_order(name, order._replace(status="complete", is_waiting=False))
        for number in held:
            if state.resources[NUMBERS.index(number)]:
                state = state._replace(fault=f"{number} is in two live orders")
            state = state.with_resource(number, name)
        return (state._replace(key=(name, "placed")) if order.has_key else state), "complete"

    def fail_order(self, state: State, name: str, attempt: int, answer: str) -> Step:
        """End an order that cannot be filled: it will never be complete."""
        order = state.order(name)
        if order.attempt != attempt:
            return state, "overtaken"
        if order.status != "pending":
            return state, order.status
        state = state.with_order(name, order._replace(status="failed", is_waiting=False))
        if answer and order.has_key:
            state = state._replace(key=(name, answer))
        return state, "failed"

    def let_key_go(self, state: State, name: str) -> Step:
        """Let the key of a failed order go that has no answer, for its request may come again."""
        return (state._replace(key=None) if state.key == (name, "") else state), 1

    def let_wait(self, state: State, name: str, attempt: int) -> Step:
        """Leave a bulk order until there is stock."""
        order = state.order(name)
        if order.status != "pending" or order.attempt != attempt:
            return state, 0
        return state.with_order(name, order._replace(is_waiting=True, numbers=())), 1

    def cancel_order(self, state: State, name: str) -> Step:
        """Take an order's numbers from its organization, or end one that waits."""
        order = state.order(name)
        if order.status == "complete":
            state = state.with_order(name, order._replace(status="cancelling"))
            for number in order.numbers:
                if state.resources[NUMBERS.index(number)] == name:
                    state = state.with_resource(number, "").with_departure(number, f"{name} available")
            return state, "cancelling"
        if order.status == "pending" and order.is_bulk:
            cancelled = order._replace(status="cancelled", is_waiting=False, numbers=())
            return state.with_order(name, cancelled), "cancelled"
        return state, order.status

    def release_number(self, state: State, name: str) -> Step:
        """Take one number from its organization, and write down where it has to go."""
        order = state.resources[NUMBERS.index(name)]
        if not order:
            return state, ""
        departure = f"{order} quarantined"
        return state.with_resource(name, "").with_departure(name, departure), departure

    def end_departure(self, state: State, name: str, departure: str) -> Step:
        """Strike out a number that has been moved, unless it departs again by now."""
        is_same = state.departures[NUMBERS.index(name)] == departure
        return (state.with_departure(name, ""), 1) if is_same else (state, 0)

    def end_cancel(self, state: State, name: str) -> Step:
        """End the cancelling of an order whose numbers have all been moved."""
        order = state.order(name)
        is_moving = any(departure.startswith(name) for departure in state.departures)
        if order.status != "cancelling" or is_moving:
            return state, 0
        return state.with_order(name, order._replace(status="cancelled")), 1

    # What is read, and may be old when it is used.

    def read_number(self, state: State, name: str) -> Step:
        """Give a number's place, order and attempt, and whether something is due for it."""
        number = state.number(name)
        is_due = number.has_timer and (
            number.place == "quarantined" or (number.order, number.attempt) in state.late
        )
        return state, (number.place, number.order, number.attempt) if is_due else ("", "", 0)

    def read_order(self, state: State, name: str) -> Step:
        """Give an order."""
        return state, state.order(name)

    def read_resources(self, state: State) -> Step:
        """Give by which orders the organization has numbers."""
        return state, state.resources

    def read_departures(self, state: State) -> Step:
        """Give where numbers have to go."""
        return state, state.departures

    def search(self, state: State) -> Step:
        """Give the available numbers."""
        return state, tuple(name for name in NUMBERS if state.number(name).place == "available")


def free(number: Number) -> Number:
    """Make a number available, or forget it when nobody offers it any more and it is not ours to keep."""
    stays = number.is_offered or number.is_kept
    return Number(
        "available" if stays else "unknown", is_offered=number.is_offered, is_kept=number.is_kept and stays
    )


Saga = Generator[list[Call], tuple[Any, ...], str]
"""A program: it gives the scripts to be run, several at a time in any order, and gets their replies."""

ANY_ATTEMPT = 99


class Sagas:
    """Who runs which script, and when."""

    def place(self, order: str, numbers: tuple[str, ...], has_key: bool) -> Saga:
        """An API process: a request for named numbers."""
        (begun,) = yield [("open_order", order, numbers, has_key)]
        attempt = 1
        while begun[0] == "known":
            _, known, answer = begun
            if answer:
                return str(answer)
            (taken,) = yield [("take_order", known)]
            if taken[0] == "taken":
                order, attempt = known, taken[1]
                break
            if taken[0] == "busy":
                return "in progress"
            if taken[1] == "failed":
                # The request died, and so did whoever settled it.
                yield [("give_back", known, ANY_ATTEMPT, number) for number in numbers]
                yield [("let_key_go", known)]
            (begun,) = yield [("open_order", order, numbers, has_key)]
        replies = yield [("hold", order, attempt, number) for number in numbers]
        if set(replies) != {"held"}:
            return (yield from self.refuse(order, attempt, numbers, replies))
        (status,) = yield [("commit_order", order, attempt, numbers)]
        if status == "complete":
            yield [("confirm", order, number) for number in numbers]
            return "placed"
        if status in ("failed", "cancelled"):
            yield [("give_back", order, attempt, number) for number in numbers]
        return "outcome unknown"

    def refuse(self, order: str, attempt: int, numbers: tuple[str, ...], replies: tuple[Any, ...]) -> Saga:
        """The end of an order that cannot be filled: first it fails, then its holds are given back."""
        answer = "" if "late" in replies else "refused"
        (status,) = yield [("fail_order", order, attempt, answer)]
        if status == "failed":
            # All of them: an earlier attempt may hold those that this one came too late for.
            yield [("give_back", order, attempt, number) for number in numbers]
            if not answer:
                yield [("let_key_go", order)]
        return answer if answer and status == "failed" else "outcome unknown"

    def place_bulk(self, order: str) -> Saga:
        """An API process: a request for any two numbers."""
        yield [("open_order", order, (), False)]
        return (yield from self.fill(order, 1))

    def fill_waiting(self, order: str) -> Saga:
        """The worker: fills a bulk order that waits."""
        (taken,) = yield [("take_order", order)]
        return (yield from self.fill(order, taken[1])) if taken[0] == "taken" else "not now"

    def fill(self, order: str, attempt: int) -> Saga:
        """Hold all that a bulk order wants and commit it, or let it wait."""
        (picks,) = yield [("search",)]
        if len(picks) == len(NUMBERS):
            (is_ours,) = yield [("pick_numbers", order, attempt, picks)]
            if not is_ours:
                return "outcome unknown"
            replies = yield [("hold", order, attempt, number) for number in picks]
            if "late" in replies:
                return "outcome unknown"
            if set(replies) == {"held"}:
                (status,) = yield [("commit_order", order, attempt, picks)]
                if status == "complete":
                    yield [("confirm", order, number) for number in picks]
                    return "placed"
                if status in ("failed", "cancelled"):
                    yield [("give_back", order, attempt, number) for number in picks]
                return "outcome unknown"
        (is_ours,) = yield [("let_wait", order, attempt)]
        if is_ours and picks:
            yield [("give_back", order, attempt, number) for number in picks]
        return "waiting"

    def cancel(self, order: str) -> Saga:
        """An API process cancels an order, and the worker moves its numbers."""
        (status,) = yield [("cancel_order", order)]
        return (yield from self.finish_cancel(order)) if status == "cancelling" else str(status)

    def finish_cancel(self, order: str) -> Saga:
        """Move what is left of an order that is being cancelled."""
        (departures,) = yield [("read_departures",)]
        yield from self.move(
            [
                (number, departure)
                for number, departure in zip(NUMBERS, departures, strict=True)
                if departure.startswith(order)
            ]
        )
        yield [("end_cancel", order)]
        return "cancelled"

    def release(self, number: str) -> Saga:
        """An API process releases a number."""
        (departure,) = yield [("release_number", number)]
        if departure:
            yield from self.move([(number, departure)])
        return "released"

    def hold_again(self, order: str, number: str) -> Saga:
        """The store gets an order's hold a second time, long after the first."""
        yield [("hold", order, 1, number)]
        return "held"

    def move(self, departures: list[tuple[str, str]]) -> Saga:
        """Move numbers in their area codes, then strike them out."""
        if departures:
            yield [("take_back", *departure.split(), number) for number, departure in departures]
            yield [("end_departure", number, departure) for number, departure in departures]
        return "moved"

    def feed(self, number: str) -> Saga:
        """A carrier's feed lacks a number."""
        yield [("withdraw", number)]
        return "withdrawn"

    def settle_order(self, name: str) -> Saga:
        """The sweep, in the organization: an order in nobody's hand."""
        (order,) = yield [("read_order", name)]
        if order.status == "cancelling":
            return (yield from self.finish_cancel(name))
        if order.status != "pending":
            return "nothing to do"
        (taken,) = yield [("take_order", name)]
        if taken[0] != "taken":
            return "not now"
        attempt = taken[1]
        if order.is_bulk and not order.is_waiting:
            (is_ended,) = yield [("let_wait", name, attempt)]
        else:
            (status,) = yield [("fail_order", name, attempt, "")]
            is_ended = status == "failed"
        if is_ended and order.numbers:
            yield [("give_back", name, attempt, number) for number in order.numbers]
        if is_ended and order.has_key:
            yield [("let_key_go", name)]
        return "settled"

    def settle_departures(self) -> Saga:
        """The sweep, in the organization: numbers that have still to be moved."""
        (departures,) = yield [("read_departures",)]
        return (yield from self.move([move for move in zip(NUMBERS, departures, strict=True) if move[1]]))

    def settle_number(self, number: str) -> Saga:
        """The sweep, in an area code: a number whose timer has run out."""
        ((place, name, attempt),) = yield [("read_number", number)]
        if place == "quarantined":
            yield [("restock", number)]
        if place != "held":
            return "settled"
        (order,) = yield [("read_order", name)]
        if order.status == "pending" and not order.is_waiting:
            return "whoever has it in hand decides"
        claim = yield from self.claim_of(name, number)
        if claim == "owned":
            yield [("confirm", name, number)]
        elif not claim:
            yield [("give_back", name, attempt, number)]
        return "settled"

    def claim_of(self, name: str, number: str) -> Saga:
        """Tell whether the organization has a number by an order, or had and whoever moves it will."""
        (resources,) = yield [("read_resources",)]
        # After the resources: one that goes meanwhile leaves its departure in the same step.
        (departures,) = yield [("read_departures",)]
        return claim_in(resources, departures, name, number)


def claim_in(resources: Sequence[str], departures: Sequence[str], name: str, number: str) -> str:
    place = NUMBERS.index(number)
    if resources[place] == name:
        return "owned"
    return "departing" if departures[place].startswith(name) else ""


# Everything that can happen.

PENDING = "…"
"""In the place of a reply: the script has not run yet."""


class Actor(NamedTuple):
    """Somebody in the middle of a saga; dead or only late, who knows."""

    saga: Call
    """Its name and arguments."""
    history: tuple[tuple[Any, ...], ...] = ()
    replies: tuple[Any, ...] = ()
    """To the scripts that are under way; none at its end."""


World = tuple[int, ...]
"""A moment: a state, and how far each actor has come; as numbers, for there are many."""


class Model:
    """The scripts and the sagas, and all that can come of them."""

    def __init__(self, scripts: Scripts, sagas: Sagas) -> None:
        self._scripts = scripts
        self._sagas = sagas
        self._states: list[State] = []
        self._actors: list[Actor] = []
        self._number_of: dict[State | Actor, int] = {}
        self._batch_of = lru_cache(maxsize=None)(self._find_batch)
        self._steps_of = lru_cache(maxsize=None)(self._find_steps)
        self._hours_of = lru_cache(maxsize=None)(self._find_hours)
        self._wrong_in = lru_cache(maxsize=None)(self._find_wrong)

    def _numbered(self, value: Any, values: list[Any]) -> int:
        number = self._number_of.setdefault(value, len(values))
        if number == len(values):
            values.append(value)
        return number

    def _find_batch(self, saga: Call, history: tuple[tuple[Any, ...], ...]) -> tuple[list[Call], str]:
        """Give what a saga runs next after these replies; at its end nothing, and what it says."""
        program = getattr(self._sagas, saga[0])(*saga[1:])
        try:
            batch = next(program)
            for replies in history:
                batch = program.send(replies)
        except StopIteration as end:
            return [], end.value
        return batch, ""

    def _run(self, state: State, call: Call) -> Step:
        step: Step = getattr(self._scripts, call[0])(state, *call[1:])
        return step

    def _find_steps(self, state_number: int, actor_number: int) -> list[tuple[str, int, int]]:
        """Give what an actor can do next, and what state and actor are then."""
        state, actor = self._states[state_number], self._actors[actor_number]
        batch = self._batch_of(actor.saga, actor.history)[0] if actor.replies else []
        steps = []
        for place, call in enumerate(batch):
            if actor.replies[place] is PENDING:
                after, reply = self._run(state, call)
                replies = _put(actor.replies, place, reply)
                if PENDING in replies:
                    now = actor._replace(replies=replies)
                else:
                    now, answer = self._go_on(actor, replies)
                    if answer:
                        after = after._replace(told=after.told | {answer})
                label = f"{_text(actor.saga)}: {_text(call)} -> {reply}"
                steps.append((label, self._numbered(after, self._states), self._numbered(now, self._actors)))
        return steps

    def _go_on(self, actor: Actor, replies: tuple[Any, ...]) -> tuple[Actor, str]:
        """Give an actor after the replies to all that was under way, and its answer to a keyed request."""
        history = (*actor.history, replies)
        batch, answer = self._batch_of(actor.saga, history)
        if batch:
            return Actor(actor.saga, history, (PENDING,) * len(batch)), ""
        is_answer = actor.saga[0] == "place" and actor.saga[-1] and answer in ("placed", "refused")
        return Actor(()), answer if is_answer else ""

    def _find_hours(self, state_number: int) -> list[tuple[str, int]]:
        """Give the deadlines that can pass, and the states after them."""
        state = self._states[state_number]
        return [
            (f"{name}'s deadline passes", self._numbered(after, self._states))
            for name in ORDERS
            if (after := state.after_deadline(name)) != state
        ]

    def _find_wrong(self, state_number: int) -> str:
        """Say what is wrong, now, or when everybody is dead but the sweep and time passes."""
        state = self._states[state_number]
        if wrong := unsafe(state):
            return wrong
        if state.told and (state.key is None or state.told != {state.key[1]}):
            return f"one request got the answers {set(state.told)}, and its key stands for {state.key}"
        for _ in range(5):
            before = state
            for name in ORDERS:
                state = state.after_deadline(name)
            for name in ORDERS:
                state = self._run_all(state, ("settle_order", name))
            state = self._run_all(state, ("settle_departures",))
            for number in NUMBERS:
                state = self._run_all(state, ("settle_number", number))
            if state == before:
                break
        wrong = not_at_rest(state)
        return f"if nobody but the sweep goes on: {wrong}" if wrong else ""

    def _run_all(self, state: State, saga: Call) -> State:
        history: tuple[tuple[Any, ...], ...] = ()
        while batch := self._batch_of(saga, history)[0]:
            replies = []
            for call in batch:
                state, reply = self._run(state, call)
                replies.append(reply)
            history = (*history, tuple(replies))
        return state

    def explore(self, sagas: Sequence[Call], state: State) -> int:
        """Go through all that can come of sagas in a state, check it, and give how many moments there are.

        Raises:
            Wrong: something can happen that must not.
        """
        actors = [Actor(saga, (), (PENDING,) * len(self._batch_of(saga, ())[0])) for saga in sagas]
        first = (
            self._numbered(state, self._states),
            *(self._numbered(actor, self._actors) for actor in actors),
        )
        came_from: dict[World, tuple[World, str]] = {first: (first, "")}
        queue = deque([first])
        while queue:
            world = queue.popleft()
            if wrong := self._wrong_in(world[0]):
                raise Wrong("\n".join([wrong, *_path(came_from, world)]))
            for label, following in self._next_worlds(world):
                if following not in came_from:
                    came_from[following] = world, label
                    queue.append(following)
        return len(came_from)

    def _next_worlds(self, world: World) -> Iterator[tuple[str, World]]:
        for label, state in self._hours_of(world[0]):
            yield label, (state, *world[1:])
        for place in range(1, len(world)):
            for label, state, actor in self._steps_of(world[0], world[place]):
                yield label, (state, *world[1:place], actor, *world[place + 1 :])


class Wrong(AssertionError):
    """Something can happen that must not; says how."""


def _text(call: Call) -> str:
    return " ".join("".join(map(str, part)) if isinstance(part, tuple) else str(part) for part in call)


def _path(came_from: dict[World, tuple[World, str]], world: World) -> list[str]:
    steps: list[str] = []
    while came_from[world][0] != world:
        world, label = came_from[world]
        steps.append(label)
    return steps[::-1]


def unsafe(state: State) -> str:
    """Say what is wrong at this moment, whoever is in the middle of what."""
    if state.fault:
        return state.fault
    for name, number, owner in zip(NUMBERS, state.numbers, state.resources, strict=True):
        if owner and (number.place not in ("held", "assigned") or number.order != owner):
            return f"the organization has {name} by {owner}, but it is {number}"
        if number.place == "unknown" and (number.is_offered or number.is_kept):
            return f"{name} is lost"
        if number.place == "available" and not (number.is_offered or number.is_kept):
            return f"{name} is nobody's to offer"
    return ""


def not_at_rest(state: State) -> str:
    """Say what is wrong when nothing happens any more."""
    for name, order in zip(ORDERS, state.orders, strict=True):
        if order.status not in ("none", "complete", "failed", "cancelled"):
            return f"{name} stays {order.status}"
    for name, number, owner, departure in zip(
        NUMBERS, state.numbers, state.resources, state.departures, strict=True
    ):
        if number.place not in ("available", "assigned", "unknown"):
            return f"{name} stays {number.place}"
        if (number.order if number.place == "assigned" else "") != owner:
            return f"{name} is {number}, but the organization has it by {owner or 'nothing'}"
        if departure:
            return f"the departure of {name} stays: {departure}"
    return unsafe(state)


EMPTY = State()
BOTH = (A, B)

COMPLETE = EMPTY._replace(
    numbers=(
        Number("assigned", X, 1, is_kept=True),
        Number("held", X, 1, has_timer=True),
    ),
    orders=(Order("complete", 1, numbers=BOTH), Order(), Order()),
    resources=(X, X),
)
"""Whoever placed X died before all was confirmed."""

WORLDS: dict[str, tuple[State, list[Call]]] = {
    "two API processes that want the same numbers, and a sweep": (
        EMPTY,
        [
            ("place", X, BOTH, False),
            ("place", Y, BOTH, False),
            ("settle_order", X),
            ("settle_number", A),
        ],
    ),
    "a request, its repetition, and a sweep": (
        EMPTY,
        [("place", X, BOTH, True), ("place", Z, BOTH, True), ("settle_order", X), ("settle_number", A)],
    ),
    "a request that comes three times": (
        EMPTY,
        [("place", X, BOTH, True), ("place", Z, BOTH, True), ("place", Y, BOTH, True)],
    ),
    "a request, its repetition, and a rival": (
        EMPTY,
        [("place", X, BOTH, True), ("place", Z, BOTH, True), ("place", Y, (B,), False)],
    ),
    "a request, a cancel, the next order, and a release": (
        EMPTY,
        [("place", X, BOTH, False), ("cancel", X), ("place", Y, (A,), False), ("release", A)],
    ),
    "a cancel, a second mover, the next order, and a release": (
        COMPLETE,
        [("cancel", X), ("finish_cancel", X), ("place", Y, (A,), False), ("release", A)],
    ),
    "a release, a cancel, a feed that withdraws, and a sweep": (
        COMPLETE,
        [("release", A), ("cancel", X), ("feed", A), ("settle_departures",), ("settle_number", A)],
    ),
    "a release of what is not confirmed, its hold once more, and sweeps": (
        COMPLETE,
        [
            ("release", B),
            ("hold_again", X, B),
            ("settle_number", B),
            ("settle_number", B),
            ("settle_departures",),
            ("feed", B),
        ],
    ),
    "a request, a feed that withdraws, and a sweep": (
        EMPTY,
        [("place", X, BOTH, False), ("feed", A), ("settle_order", X), ("settle_number", A)],
    ),
    "a bulk order, the worker, a rival, and a sweep": (
        EMPTY,
        [("place_bulk", X), ("fill_waiting", X), ("place", Y, BOTH, False), ("settle_number", A)],
    ),
    "a bulk order, the worker, and sweeps": (
        EMPTY,
        [("place_bulk", X), ("fill_waiting", X), ("settle_order", X), ("settle_number", A)],
    ),
    "a bulk order, the worker, a cancel, and a sweep": (
        EMPTY,
        [("place_bulk", X), ("fill_waiting", X), ("cancel", X), ("settle_number", A)],
    ),
}


@pytest.mark.parametrize(("state", "sagas"), WORLDS.values(), ids=WORLDS)
def test_whatever_happens_every_number_is_in_one_place_and_nothing_is_stuck(
    state: State, sagas: list[Call]
) -> None:
    assert Model(Scripts(), Sagas()).explore(sagas, state) > 1_000


# What each rule is good for: without it, something goes wrong.


class GivesBackBeforeFailing(Sagas):
    """The sweep gives back what an order holds, and only then fails it."""

    def settle_order(self, name: str) -> Saga:
        (order,) = yield [("read_order", name)]
        if order.status == "pending" and order.numbers:
            yield [("give_back", name, order.attempt, number) for number in order.numbers]
        return (yield from super().settle_order(name))


class GivesBackWhatIsPending(Sagas):
    """The sweep gives back a hold that has expired, though somebody may still commit its order."""

    def settle_number(self, number: str) -> Saga:
        ((place, name, attempt),) = yield [("read_number", number)]
        if place == "held":
            (order,) = yield [("read_order", name)]
            if order.status == "pending":
                yield [("give_back", name, attempt, number)]
                return "settled"
        return (yield from super().settle_number(number))


class ConfirmsWhatIsCancelled(Sagas):
    """The sweep takes what a cancelled bulk order has picked for what it got."""

    def settle_number(self, number: str) -> Saga:
        ((place, name, _),) = yield [("read_number", number)]
        if place == "held":
            (order,) = yield [("read_order", name)]
            if order.status == "cancelled":
                yield [("confirm", name, number)]
        return (yield from super().settle_number(number))


class ConfirmsWhatDeparts(Sagas):
    """The sweep confirms what is on its way out, for it is moved from there as well."""

    def claim_of(self, name: str, number: str) -> Saga:
        return "owned" if (yield from super().claim_of(name, number)) else ""


class AsksTheOrderAlone(Sagas):
    """The sweep confirms what a complete order wanted, whether the organization has it still or not."""

    def claim_of(self, name: str, number: str) -> Saga:
        (order,) = yield [("read_order", name)]
        is_its = order.status in ("complete", "cancelling") and number in order.numbers
        return "owned" if is_its else ""


class GivesBackAnyAttempt(Scripts):
    """Who gives back does not look whose attempt holds the number."""

    def give_back(self, state: State, order: str, attempt: int, name: str) -> Step:
        return super().give_back(state, order, attempt + ANY_ATTEMPT, name)


class HoldsWithoutDeadline(Scripts):
    """A hold is taken at any time, and for ever."""

    def hold(self, state: State, order: str, attempt: int, name: str) -> Step:
        after, reply = super().hold(state._replace(late=frozenset()), order, attempt, name)
        return after.with_number(name, after.number(name)._replace(has_timer=False))._replace(
            late=state.late
        ), reply


class HoldsWithoutTimer(Scripts):
    """A hold is refused after the deadline, but nobody is told to look at it."""

    def hold(self, state: State, order: str, attempt: int, name: str) -> Step:
        after, reply = super().hold(state, order, attempt, name)
        return after.with_number(name, after.number(name)._replace(has_timer=False)), reply


class StrikesOutAnything(Scripts):
    """Who has moved a number strikes its departure out, whichever it is by then."""

    def end_departure(self, state: State, name: str, departure: str) -> Step:
        del departure
        return state.with_departure(name, ""), 1


class ConfirmsAnything(Scripts):
    """Who comes late confirms what another order holds."""

    def confirm(self, state: State, order: str, name: str) -> Step:
        del order
        return super().confirm(state, state.number(name).order, name)


class TakesBackAnything(Scripts):
    """Who comes late takes a number back from its next owner."""

    def take_back(self, state: State, order: str, target: str, name: str) -> Step:
        del order
        return super().take_back(state, state.number(name).order, target, name)


class CommitsAnyAttempt(Scripts):
    """Who was overtaken commits all the same."""

    def commit_order(self, state: State, name: str, attempt: int, held: tuple[str, ...]) -> Step:
        del attempt
        return super().commit_order(state, name, state.order(name).attempt, held)


class CommitsWhatIsCancelled(Scripts):
    """Whoever commits does not look whether the order was cancelled meanwhile."""

    def commit_order(self, state: State, name: str, attempt: int, held: tuple[str, ...]) -> Step:
        if state.order(name).status == "cancelled":
            state = state.with_order(name, state.order(name)._replace(status="pending"))
        return super().commit_order(state, name, attempt, held)


class TakesBackOnlyWhatIsConfirmed(Scripts):
    """A number that departs before its order was confirmed is not moved."""

    def take_back(self, state: State, order: str, target: str, name: str) -> Step:
        is_confirmed = state.number(name).place == "assigned"
        return super().take_back(state, order, target, name) if is_confirmed else (state, 0)


class WritesNothingDown(Scripts):
    """What an organization loses is not written down."""

    def release_number(self, state: State, name: str) -> Step:
        after, departure = super().release_number(state, name)
        return after.with_departure(name, ""), departure


class EndsACancelAtOnce(Scripts):
    """An order is cancelled before its numbers have been moved."""

    def cancel_order(self, state: State, name: str) -> Step:
        after, status = super().cancel_order(state, name)
        if status != "cancelling":
            return after, status
        return after._replace(departures=state.departures), status


class LetsTheKeyGoAtOnce(Scripts):
    """An order that fails without an answer lets its key go, though it still holds numbers."""

    def fail_order(self, state: State, name: str, attempt: int, answer: str) -> Step:
        after, status = super().fail_order(state, name, attempt, answer)
        return (self.let_key_go(after, name)[0] if status == "failed" else after), status


class OpensTwice(Scripts):
    """A repeated request opens an order of its own."""

    def open_order(self, state: State, order: str, wanted: tuple[str, ...], has_key: bool) -> Step:
        return super().open_order(state._replace(key=None), order, wanted, has_key)


class GivesBackOnlyItsOwn(Sagas):
    """Who fails an order gives back what he holds himself, not what attempts before him do."""

    def refuse(self, order: str, attempt: int, numbers: tuple[str, ...], replies: tuple[Any, ...]) -> Saga:
        held = tuple(number for number, reply in zip(numbers, replies, strict=True) if reply == "held")
        return super().refuse(order, attempt, held or numbers, replies)


MISTAKES: list[tuple[type[Scripts] | type[Sagas], str]] = [
    (GivesBackBeforeFailing, "a request, its repetition, and a sweep"),
    (GivesBackWhatIsPending, "two API processes that want the same numbers, and a sweep"),
    (ConfirmsWhatDeparts, "a release of what is not confirmed, its hold once more, and sweeps"),
    (AsksTheOrderAlone, "a release of what is not confirmed, its hold once more, and sweeps"),
    (GivesBackAnyAttempt, "a bulk order, the worker, and sweeps"),
    (GivesBackOnlyItsOwn, "a request that comes three times"),
    (ConfirmsWhatIsCancelled, "a bulk order, the worker, a cancel, and a sweep"),
    (ConfirmsAnything, "a request, a cancel, the next order, and a release"),
    (HoldsWithoutDeadline, "two API processes that want the same numbers, and a sweep"),
    (HoldsWithoutTimer, "two API processes that want the same numbers, and a sweep"),
    (StrikesOutAnything, "a cancel, a second mover, the next order, and a release"),
    (TakesBackAnything, "a cancel, a second mover, the next order, and a release"),
    (TakesBackOnlyWhatIsConfirmed, "a cancel, a second mover, the next order, and a release"),
    (CommitsAnyAttempt, "a bulk order, the worker, and sweeps"),
    (CommitsWhatIsCancelled, "a bulk order, the worker, a cancel, and a sweep"),
    (WritesNothingDown, "a release, a cancel, a feed that withdraws, and a sweep"),
    (EndsACancelAtOnce, "a release, a cancel, a feed that withdraws, and a sweep"),
    (LetsTheKeyGoAtOnce, "a request, its repetition, and a sweep"),
    (OpensTwice, "a request, its repetition, and a sweep"),
]


@pytest.mark.parametrize(("mistake", "world"), MISTAKES, ids=[mistake.__name__ for mistake, _ in MISTAKES])
def test_without_any_of_the_rules_something_goes_wrong(
    mistake: type[Scripts] | type[Sagas], world: str
) -> None:
    rules = mistake()
    model = Model(rules, Sagas()) if isinstance(rules, Scripts) else Model(Scripts(), rules)
    state, sagas = WORLDS[world]
    with pytest.raises(Wrong):
        model.explore(sagas, state)
