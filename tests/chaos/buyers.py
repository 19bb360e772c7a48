"""Buyers: they search, order, repeat, release and cancel at random, and hold the service to its word."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from random import Random
from urllib.parse import quote

from tests.chaos.client import Answer, Client
from tests.chaos.ledger import Claim, Hand, Ledger, Purchase

AREA_CODES = ("212", "415", "800")
_MOST_OWNED = 5
_PATIENCE = 400
"""Requests until a buyer gives a definite answer up: far more than any outage lasts."""
_PAUSE_SECONDS = 0.15
_UNKNOWN_ID = "01932c07-2c4f-7000-8000-000000000000"

Accept = Callable[[Answer], bool]


class Buyer:
    """One customer's program: one request at a time."""

    def __init__(
        self, name: str, organization: str, client: Client, ledger: Ledger, seen: deque[str], random: Random
    ) -> None:
        """`seen`: numbers that any buyer has found lately, to quarrel about."""
        self._name = name
        self._organization = organization
        self._client = client
        self._ledger = ledger
        self._seen = seen
        self._random = random
        self._serial = 0
        self._purchases: list[Purchase] = []
        self._waiting: dict[str, str] = {}
        self._released: list[str] = []

    async def buy(self, goes_on: Callable[[], bool]) -> None:
        """Do one thing after the other."""
        while goes_on():
            await self._next_action()()
            await asyncio.sleep(self._random.expovariate(12))

    async def finish(self) -> None:
        """See what has become of what still waited."""
        for order_id in list(self._waiting):
            await self._look_at_bulk(order_id, may_cancel=False)
        for purchase in list(self._purchases):
            for claim in self._owned(purchase):
                await self._look_at(claim)
        self._client.close()

    def _next_action(self) -> Callable[[], Awaitable[None]]:
        owned = sum(len(self._owned(purchase)) for purchase in self._purchases)
        if owned == 0:
            actions = {self._order: 10, self._order_in_bulk: 2, self._look_at_waiting: 1}
        else:
            is_full = owned >= _MOST_OWNED
            actions = {
                self._order: 1 if is_full else 10,
                self._order_in_bulk: 0 if is_full else 3,
                self._look_at_waiting: 2,
                self._release: 4,
                self._return: 1,
                self._release_several: 4,
                self._cancel: 4,
                self._look: 1,
                self._patch: 1,
            }
        return self._random.choices(list(actions), list(actions.values()))[0]

    @staticmethod
    def _owned(purchase: Purchase) -> list[Claim]:
        return [claim for claim in purchase.claims if claim.hand is Hand.OWNED]

    def _any_owned(self) -> list[Claim]:
        return [claim for purchase in self._purchases for claim in self._owned(purchase)]

    def _forget_empty(self) -> None:
        self._purchases = [purchase for purchase in self._purchases if self._owned(purchase)]

    def _new_label(self) -> str:
        self._serial += 1
        return f"{self._name}-{self._serial}"

    def _key(self, label: str, share: float = 0.6) -> str | None:
        return f"key-{label}" if self._random.random() < share else None

    async def _send(
        self, method: str, path: str, expected: Collection[int], body: object = None, key: str | None = None
    ) -> Answer | None:
        answer = await self._send_unchecked(method, path, body, key)
        if answer is not None and answer.status not in (*expected, 503):
            self._unexpected(answer, method, path, key)
        return answer

    async def _send_unchecked(self, method: str, path: str, body: object, key: str | None) -> Answer | None:
        answer = await self._client.send(method, path, body, key)
        self._ledger.counts["requests"] += 1
        self._ledger.counts["no answer" if answer is None else f"status {answer.status}"] += 1
        return answer

    def _unexpected(self, answer: Answer, method: str, path: str, key: str | None) -> None:
        self._ledger.violation(
            f"{method} {path} (key {key}) was answered with {answer.status} {answer.body!r:.400}"
        )

    async def _insist(
        self, method: str, path: str, expected: Collection[int], body: object = None, key: str | None = None
    ) -> tuple[Answer, bool] | None:
        """Repeat a request until it is answered, and tell whether it was sent more than once."""
        for attempt in range(_PATIENCE):
            answer = await self._send_unchecked(method, path, body, key)
            is_busy = answer is not None and answer.status == 409 and answer.code == "IDEMPOTENCY_IN_PROGRESS"
            if answer is not None and is_busy and (key is None or attempt == 0):
                self._unexpected(answer, method, path, key)
            if answer is not None and answer.status != 503 and not is_busy:
                if answer.status not in expected:
                    self._unexpected(answer, method, path, key)
                return answer, attempt > 0
            self._ledger.counts["repeated"] += 1
            await asyncio.sleep(self._random.uniform(0.3, 1.0) * _PAUSE_SECONDS)
        self._ledger.violation(f"{method} {path} (key {key}) never had an outcome; body {body}")
        return None

    # Buying

    async def _find(self) -> list[str]:
        wish: dict[str, object] = {"quantity": self._random.randint(1, 10)}
        if self._random.random() < 0.8:
            wish["area_code"] = self._random.choice(AREA_CODES)
        if self._random.random() < 0.3:
            wish["pattern"] = str(self._random.randint(0, 9))
        answer = await self._send("POST", "/v1/phone-numbers/search", {200}, wish)
        if answer is None or answer.status != 200:
            return []
        found = [one["number"] for one in answer.data]
        if found != sorted(set(found)):
            self._ledger.violation(f"a search found {found}")
        self._seen.extend(found)
        return found

    async def _order(self) -> None:
        numbers = await self._find()
        if self._seen and self._random.random() < 0.4:
            numbers += self._random.sample(list(self._seen), min(2, len(self._seen)))
        numbers = list(dict.fromkeys(numbers))
        numbers = self._random.sample(numbers, min(len(numbers), self._random.randint(1, 4)))
        if not numbers:
            return
        label = self._new_label()
        key = self._key(label)
        body = {"numbers": numbers, "label": label}
        self._ledger.counts["orders placed"] += 1
        path = "/v1/phone-numbers/orders"
        if key is None:
            answer = await self._send("POST", path, {200, 409}, body)
            if answer is None or answer.status == 503:
                await self._find_out(answer, label, numbers)
                return
        else:
            insisted = await self._insist("POST", path, {200, 409}, body, key)
            if insisted is None:
                self._ledger.unknown.add(label)
                return
            answer, _ = insisted
        if answer.status == 200:
            self._take_order(answer, label, numbers)
        elif answer.status == 409:
            self._take_refusal(answer, label, numbers)
        if key is not None and self._random.random() < 0.3:
            await self._compare("POST", path, body, key, answer)

    def _take_order(self, answer: Answer, label: str, numbers: list[str]) -> None:
        order_id = answer.headers["location"].rpartition("/")[2]
        got = {one["number"]: one["id"] for one in answer.data}
        if (
            list(got) != numbers
            or {one["order_id"] for one in answer.data} != {order_id}
            or {one["label"] for one in answer.data} != {label}
        ):
            self._ledger.violation(f"{numbers} ({label}) ordered, got {answer.body!r}", order=order_id)
        self._ledger.counts["orders complete"] += 1
        self._purchases.append(self._ledger.bought(self._organization, order_id, label, got))

    def _take_refusal(self, answer: Answer, label: str, numbers: list[str]) -> None:
        order_id = answer.headers["location"].rpartition("/")[2]
        missing = answer.data["unavailable"]
        if (
            answer.code != "INSUFFICIENT_INVENTORY"
            or not missing
            or not set(missing) <= set(numbers)
            or answer.data["available_count"] != len(numbers) - len(missing)
        ):
            self._ledger.violation(
                f"{numbers} ({label}) ordered, refused with {answer.body!r}", order=order_id
            )
        self._ledger.counts["409 insufficient"] += 1
        self._ledger.refused[order_id] = self._organization
        self._ledger.nothing.add(label)

    async def _find_out(self, answer: Answer | None, label: str, numbers: list[str]) -> None:
        """Ask for the order of a request that has no Idempotency-Key and was not answered."""
        location = "" if answer is None else answer.headers.get("location", "")
        if not location:
            # Refused before anything was done, if there was an answer at all.
            (self._ledger.nothing if answer else self._ledger.unknown).add(label)
            return
        for _ in range(_PATIENCE):
            insisted = await self._insist("GET", location, {200, 404})
            if insisted is None or insisted[0].status == 404:
                break
            order = insisted[0].data
            if order["status"] == "complete":
                self._ledger.counts["orders complete after 503"] += 1
                await self._adopt(order["order_id"], label, numbers)
                return
            if order["status"] == "failed":
                self._ledger.refused[order["order_id"]] = self._organization
                self._ledger.nothing.add(label)
                return
            if order["status"] != "pending":
                self._ledger.violation(f"nobody cancelled {order}", order=order["order_id"])
                return
            await asyncio.sleep(_PAUSE_SECONDS)
        # What was sent to a store that did not answer may still come to be done.
        self._ledger.unknown.add(label)

    async def _adopt(self, order_id: str, label: str, numbers: list[str]) -> None:
        """Look up the resources of an order that is complete."""
        resources: dict[str, str] = {}
        for number in numbers:
            insisted = await self._insist("GET", f"/v1/phone-numbers?search={quote(number)}", {200})
            if insisted is None:
                return
            page = insisted[0]
            for one in page.data:
                if one["number"] == number and one["order_id"] == order_id and one["label"] == label:
                    resources[number] = one["id"]
            if number not in resources:
                self._ledger.violation(
                    f"order {order_id} of {self._organization} is complete and has not got {number}: "
                    f"{page.body!r}",
                    numbers=(number,),
                    order=order_id,
                )
        self._purchases.append(self._ledger.bought(self._organization, order_id, label, resources))

    async def _compare(self, method: str, path: str, body: object, key: str, first: Answer) -> None:
        """Repeat a request that was answered: the answer has to be the same."""
        again = await self._send(method, path, {first.status}, body, key)
        if again is None or again.status == 503:
            return
        self._ledger.counts["compared"] += 1
        order_id = first.headers.get("location", "").rpartition("/")[2]
        same = (again.status, again.body, again.headers.get("location"))
        if same != (first.status, first.body, first.headers.get("location")):
            self._ledger.violation(
                f"{method} {path} (key {key}) was answered with {first.status} {first.body!r:.500}, "
                f"and then with {again.status} {again.body!r:.500}",
                order=order_id,
            )
        if again.headers.get("idempotency-replayed") != "true":
            self._ledger.violation(
                f"{method} {path} (key {key}) was answered with {first.status} {first.body!r:.200}, "
                f"and then {again.status} as if for the first time",
                order=order_id,
            )

    # Buying in bulk

    async def _order_in_bulk(self) -> None:
        label = self._new_label()
        key = self._key(label)
        # Now and then more than there are.
        quantity = 120 if self._random.random() < 0.1 else self._random.randint(1, 12)
        body: dict[str, object] = {"quantity": quantity, "label": label}
        if self._random.random() < 0.7:
            body["area_code"] = self._random.choice(AREA_CODES)
        if self._random.random() < 0.3:
            body["pattern"] = str(self._random.randint(0, 9))
        self._ledger.counts["bulk orders placed"] += 1
        path = "/v1/phone-numbers/bulk"
        if key is None:
            answer = await self._send("POST", path, {200, 202}, body)
            if answer is None or answer.status == 503:
                await self._find_out_bulk(answer, label)
                return
        else:
            insisted = await self._insist("POST", path, {200, 202}, body, key)
            if insisted is None:
                self._ledger.unknown.add(label)
                return
            answer, _ = insisted
        order_id = answer.headers.get("location", "").rpartition("/")[2]
        if answer.status == 200:
            got = answer.data["assigned_numbers"]
            if len(set(got)) != quantity or answer.data["assigned_count"] != quantity:
                self._ledger.violation(f"{quantity} ordered ({label}), got {answer.body!r}", order=order_id)
            self._ledger.counts["bulk orders complete"] += 1
            await self._adopt(order_id, label, got)
        elif answer.status == 202:
            self._ledger.counts["bulk orders waiting"] += 1
            self._waiting[order_id] = label
            self._ledger.waiting[order_id] = label
        if key is not None and self._random.random() < 0.3:
            await self._compare("POST", path, body, key, answer)

    async def _find_out_bulk(self, answer: Answer | None, label: str) -> None:
        """Ask for a bulk order whose request was not answered; it may be looked at again later."""
        location = "" if answer is None else answer.headers.get("location", "")
        if not location:
            (self._ledger.nothing if answer else self._ledger.unknown).add(label)
            return
        self._ledger.unknown.add(label)
        await self._look_at_bulk(location.rpartition("/")[2], label=label)

    async def _look_at_waiting(self) -> None:
        if self._waiting:
            await self._look_at_bulk(self._random.choice(list(self._waiting)))

    async def _look_at_bulk(self, order_id: str, label: str = "", *, may_cancel: bool = True) -> None:
        label = label or self._waiting[order_id]
        insisted = await self._insist("GET", f"/v1/phone-numbers/bulk/{order_id}", {200, 404})
        if insisted is None:
            return
        answer = insisted[0]
        if answer.status == 404:
            if order_id in self._waiting:
                self._ledger.violation(f"bulk order {order_id} is gone", order=order_id)
            return
        if answer.status != 200:
            # It is on record as unexpected.
            return
        order = answer.data
        counts = order["assigned_count"] + order["pending_count"] + order["failed_count"]
        if counts != order["quantity"] or order["assigned_count"] != len(order["assigned_numbers"]):
            self._ledger.violation(f"bulk order {order} does not add up", order=order_id)
        if order["status"] == "pending":
            self._waiting[order_id] = label
            self._ledger.waiting[order_id] = label
            if may_cancel and self._random.random() < 0.3:
                await self._cancel_waiting(order_id)
            return
        self._waiting.pop(order_id, None)
        self._ledger.waiting.pop(order_id, None)
        self._ledger.unknown.discard(label)
        if order["status"] == "complete":
            self._ledger.counts["bulk orders filled later"] += 1
            await self._adopt(order_id, label, order["assigned_numbers"])
        elif order["status"] == "failed":
            self._ledger.refused[order_id] = self._organization
            self._ledger.nothing.add(label)
        else:
            self._ledger.violation(f"nobody cancelled {order}", order=order_id)

    async def _cancel_waiting(self, order_id: str) -> None:
        label = self._waiting[order_id]
        path = f"/v1/phone-numbers/orders/{order_id}/cancel"
        insisted = await self._insist("POST", path, {200, 202, 409}, None, self._key(f"{label}-cancel"))
        if insisted is None:
            return
        answer = insisted[0]
        self._ledger.counts["waiting bulk orders cancelled"] += 1
        del self._waiting[order_id]
        self._ledger.waiting.pop(order_id, None)
        if answer.status == 409:
            # Its time was over.
            self._ledger.nothing.add(label)
            self._ledger.refused[order_id] = self._organization
        else:
            purchase = self._ledger.bought(self._organization, order_id, label, {})
            purchase.is_cancelled = True

    # Giving up

    async def _release(self, *, to_carrier: bool = False) -> None:
        claim = self._random.choice(self._any_owned())
        key = self._key(f"{claim.resource_id}-release")
        path = f"/v1/phone-numbers/{claim.resource_id}" + ("?return_to_carrier=true" if to_carrier else "")
        self._ledger.giving_up([claim], to_carrier=to_carrier)
        insisted = await self._insist("DELETE", path, {200, 404}, None, key)
        if insisted is None:
            return
        answer, is_repeated = insisted
        if answer.status == 404 and (key is not None or not is_repeated):
            self._ledger.violation(f"DELETE {path} (key {key}, repeated: {is_repeated}) was 404", claim)
        if answer.status == 200 and key is not None and self._random.random() < 0.3:
            await self._compare("DELETE", path, None, key, answer)
        await self._have_given_up([claim])

    async def _return(self) -> None:
        await self._release(to_carrier=True)

    async def _release_several(self) -> None:
        mine = self._any_owned()
        claims = self._random.sample(mine, min(len(mine), self._random.randint(1, 4)))
        ids = [claim.resource_id for claim in claims]
        old = self._random.sample(self._released, min(1, len(self._released)))
        unknown = [_UNKNOWN_ID] if self._random.random() < 0.3 else []
        key = self._key(f"{ids[0]}-release-several")
        body = {"ids": ids + old + unknown}
        self._ledger.giving_up(claims)
        path = "/v1/phone-numbers/bulk/release"
        insisted = await self._insist("POST", path, {200}, body, key)
        if insisted is None:
            return
        answer, is_repeated = insisted
        report = answer.data
        as_first = {"released": sorted(ids), "unknown": unknown, "already_released": old}
        shown = {name: sorted(some) for name, some in report.items()}
        as_second = {"released": [], "unknown": unknown, "already_released": sorted(ids + old)}
        may_be = [as_first, as_second] if is_repeated and key is None else [as_first]
        if shown not in may_be:
            self._ledger.violation(f"{path} of {as_first} (key {key}): {report}", *claims)
        if key is not None and self._random.random() < 0.3:
            await self._compare("POST", path, body, key, answer)
        await self._have_given_up(claims)

    async def _cancel(self) -> None:
        purchases = [purchase for purchase in self._purchases if self._owned(purchase)]
        purchase = self._random.choice(purchases)
        claims = self._owned(purchase)
        path = f"/v1/phone-numbers/orders/{purchase.id}/cancel"
        key = self._key(f"{purchase.id}-cancel")
        self._ledger.giving_up(claims)
        purchase.is_cancelled = True
        insisted = await self._insist("POST", path, {200, 202}, None, key)
        if insisted is None:
            return
        answer = insisted[0]
        self._ledger.counts["orders cancelled"] += 1
        if answer.status < 300 and (answer.status == 202) != (answer.data["status"] == "cancelling"):
            self._ledger.violation(f"{path}: {answer.status} {answer.body!r}", *claims)
        if key is not None and self._random.random() < 0.3:
            await self._compare("POST", path, None, key, answer)
        await self._have_given_up(claims)

    async def _have_given_up(self, claims: list[Claim]) -> None:
        self._ledger.gave_up(claims)
        self._released += [claim.resource_id for claim in claims]
        self._released = self._released[-20:]
        self._forget_empty()
        if self._random.random() < 0.3:
            claim = self._random.choice(claims)
            answer = await self._send("GET", f"/v1/phone-numbers/{claim.resource_id}", {404})
            if answer is not None and answer.status == 200:
                self._ledger.violation(f"{claim.number} was released and is there", claim)

    # Looking

    async def _look(self) -> None:
        await self._look_at(self._random.choice(self._any_owned()))

    async def _look_at(self, claim: Claim) -> None:
        insisted = await self._insist("GET", f"/v1/phone-numbers/{claim.resource_id}", {200})
        if insisted is None:
            return
        answer = insisted[0]
        if answer.status != 200 or (answer.data["number"], answer.data["order_id"]) != (
            claim.number,
            claim.order.id,
        ):
            self._ledger.violation(f"{claim.number} is ours, and is {answer.status} {answer.body!r}", claim)

    async def _patch(self) -> None:
        claim = self._random.choice(self._any_owned())
        url = f"https://example.com/{self._random.randint(0, 999)}"
        path = f"/v1/phone-numbers/{claim.resource_id}"
        insisted = await self._insist("PATCH", path, {200}, {"inbound_url": url}, None)
        if insisted is not None and insisted[0].status == 200 and insisted[0].data["inbound_url"] != url:
            self._ledger.violation(f"PATCH {path}: {insisted[0].body!r}", claim)
