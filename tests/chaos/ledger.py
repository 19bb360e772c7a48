"""What the buyers were told: the other side of what the service says in the end."""

import time
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from tests.chaos.picture import Violation


class Hand(Enum):
    """Whether a number is its buyer's."""

    OWNED = "owned"
    """The buyer was told so, and has asked for nothing else."""
    LEAVING = "leaving"
    """It was asked to be released or cancelled; no answer yet."""
    GONE = "gone"
    """The buyer was told that it is released or cancelled."""


@dataclass(eq=False)
class Claim:
    """A number that a buyer was told to be its own."""

    number: str
    resource_id: str
    order: "Purchase"
    hand: Hand = Hand.OWNED
    given_up_ms: int = 0
    """When the buyer first asked for it to be released or cancelled; Unix ms."""
    to_carrier: bool = False


@dataclass(eq=False)
class Purchase:
    """An order that a buyer was told to be complete."""

    organization: str
    id: str
    label: str
    claims: list[Claim] = field(default_factory=list)
    is_cancelled: bool = False


class Ledger:
    """The memory of all buyers of all organizations."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.purchases: dict[str, Purchase] = {}
        self.refused: dict[str, str] = {}
        """Order id → organization: orders that a buyer was told to have failed."""
        self.unknown: set[str] = set()
        """Labels of requests whose outcome nobody was told and nobody can ask for."""
        self.nothing: set[str] = set()
        """Labels of requests that came to nothing: no order of theirs may ever have had a number."""
        self.waiting: dict[str, str] = {}
        """Order id → label: bulk orders that a buyer was told to wait, and has not seen the end of."""
        self._holders: dict[str, Claim] = {}

    def violation(self, text: str, *claims: Claim, numbers: tuple[str, ...] = (), order: str = "") -> None:
        """Note something that must not be."""
        orders = {claim.order.id for claim in claims} | ({order} if order else set())
        shown = {*numbers, *(claim.number for claim in claims)}
        self.violations.append(Violation(text, tuple(sorted(shown)), tuple(sorted(orders))))

    def bought(self, organization: str, order_id: str, label: str, resources: dict[str, str]) -> Purchase:
        """Note what a buyer was told to have got: number → resource id."""
        if order_id in self.purchases:
            self.violation(f"order {order_id} was told to be new twice", order=order_id)
        purchase = Purchase(organization, order_id, label)
        self.purchases[order_id] = purchase
        self.waiting.pop(order_id, None)
        self.counts["numbers bought"] += len(resources)
        for number, resource_id in resources.items():
            claim = Claim(number, resource_id, purchase)
            purchase.claims.append(claim)
            other = self._holders.get(number)
            if other is not None and other.hand is Hand.OWNED:
                self.violation(
                    f"{number} was sold to {organization}/{order_id} while {other.order.organization}/"
                    f"{other.order.id} had it",
                    claim,
                    other,
                )
            self._holders[number] = claim
        return purchase

    def giving_up(self, claims: list[Claim], *, to_carrier: bool = False) -> None:
        """Note that a buyer is about to ask for numbers to be taken back."""
        for claim in claims:
            if claim.hand is Hand.OWNED:
                claim.hand = Hand.LEAVING
                claim.given_up_ms = time.time_ns() // 1_000_000
                claim.to_carrier = to_carrier

    def gave_up(self, claims: list[Claim]) -> None:
        """Note that a buyer was told that numbers were taken back."""
        for claim in claims:
            if claim.hand is Hand.LEAVING:
                claim.hand = Hand.GONE
                self.counts["numbers given up"] += 1
