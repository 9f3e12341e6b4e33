"""A second, plain computation of a period's royalties, from single plays and contracts as they were written.

Nothing of the product is used: documents in (dicts and tuples), exact fractions, one rule after the other as in
docs/architecture/royalties.md, no care for speed. An error in either shows as a difference.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

DECIMALS = {"EUR": 2, "USD": 2, "JPY": 0, "KWD": 3}
Pool = tuple[str, str, str]  # country, tier, currency
Play = tuple[Pool, str, str, bool]  # one single play: pool, listener, track, chosen actively


def track_weights(model: str, pool: Pool, plays: list[Play], tracks: dict[str, Any]) -> dict[str, Fraction]:
    here = [play for play in plays if play[0] == pool]
    weights: dict[str, Fraction] = {}
    for _, listener, track, chosen in here:
        if model == "pro_rata":
            weight = Fraction(1)
        elif model == "user_centric":
            weight = Fraction(1, sum(1 for play in here if play[1] == listener))
        else:
            artist = tracks[track]["artist"]
            of_artist = [play for play in plays if tracks[play[2]]["artist"] == artist]
            of_listener = sum(1 for play in plays if play[1] == listener)
            weight = Fraction(2 if chosen else 1)
            if of_listener > tracks["cap"]:
                weight = weight * tracks["cap"] / of_listener
            if len(of_artist) >= tracks["streams"] and len({play[1] for play in of_artist}) >= tracks["listeners"]:
                weight = weight * 2
            if tracks[track]["noise"] or tracks[track]["annual"] < 1000:
                weight = Fraction(0)
        weights[track] = weights.get(track, Fraction(0)) + weight
    return weights


def in_force(row: dict[str, Any], period: str) -> bool:
    return bool(row["valid_from"] <= period and (row.get("valid_to") is None or row["valid_to"] >= period))


def is_newest(clause: dict[str, Any], clauses: list[dict[str, Any]]) -> bool:
    return bool(clause["version"] == max(c["version"] for c in clauses if c["clause_id"] == clause["clause_id"]))


def find_clause(agreement: dict[str, Any], pool: Pool, period: str) -> dict[str, Any]:
    best: tuple[int, int, int] | None = None
    found: dict[str, Any] = {}
    for clause in agreement["terms"]:
        if not is_newest(clause, agreement["terms"]) or not in_force(clause, period):
            continue
        own_country, own_tier = pool[0] in clause["territory"], pool[1] in clause.get("tiers", [])
        if (own_country or "world" in clause["territory"]) and (own_tier or not clause.get("tiers")):
            rank = (own_country, own_tier, 0)
            if best is None or rank > best:
                best, found = rank, clause
    return found


def exchange(rates: dict[tuple[str, str], Fraction], base: str, quote: str) -> Fraction:
    """What one minor unit of `base` is worth in minor units of `quote`."""
    if base == quote:
        return Fraction(1)
    whole = rates[base, quote] if (base, quote) in rates else 1 / rates[quote, base]
    return whole * 10 ** DECIMALS[quote] / 10 ** DECIMALS[base]


def pay_down(
    payees: dict[str, Any], payee: str, amount: Fraction, path: str, out: dict[str, Fraction], period: str
) -> None:
    kept = amount
    for step in payees[payee].get("passes_on", []):
        if in_force(step, period):
            kept -= amount * Fraction(step["share"])
            pay_down(
                payees, step["payee_id"], amount * Fraction(step["share"]), f"{path}>{step['payee_id']}", out, period
            )
    if kept:
        out[path] = out.get(path, Fraction(0)) + kept


def stepped(clause: dict[str, Any], first: int, count: int) -> Fraction:
    """The share or rate, averaged over streams number first+1 .. first+count, one stream after the other."""
    total = Fraction(0)
    for number in range(first + 1, first + count + 1):
        value = Fraction(clause["share"] if "share" in clause else clause["rate"])
        for step in clause.get("escalations", []):
            if number > step["above_streams"]:
                value = Fraction(step["value"])
        total += value
    return total / count


def pool_lines(
    period: str,
    pool: Pool,
    net: int,
    subscribers: int,
    plays: list[Play],
    tracks: dict[str, Any],
    book: dict[str, Any],
    rates: dict[tuple[str, str], Fraction],
    streams_before: dict[str, int],
) -> dict[str, int]:
    """Minor units by line: agreement/share type/track/chain/account."""
    payees = {row["payee_id"]: row for row in book["payees"]}
    rights = [row for row in book["rights"] if in_force(row, period)]
    held_tracks = {row["track_id"] for row in rights}
    exact: dict[str, Fraction] = {}
    for agreement in book["agreements"]:
        mine = [
            (row, holder)
            for row in rights
            for holder in row["holders"]
            if holder["agreement_id"] == agreement["agreement_id"]
        ]
        my_tracks = {row["track_id"] for row, _ in mine}
        volume = sum(1 for play in plays if play[2] in my_tracks)
        weights = track_weights(agreement["model"], pool, plays, tracks)
        total = sum((weight for track, weight in weights.items() if track in held_tracks), Fraction(0))
        rows = [(row, holder) for row, holder in mine if row["track_id"] in weights]
        if not rows:
            continue
        clause = find_clause(agreement, pool, period)
        first = streams_before.get(agreement["agreement_id"], 0) if clause.get("escalation_over") == "agreement" else 0
        value = stepped(clause, first, volume)
        count = {track: sum(1 for play in plays if play[0] == pool and play[2] == track) for track in weights}
        by_weight = [weights[r["track_id"]] * Fraction(h["share"]) / total if total else Fraction(0) for r, h in rows]
        by_count = [count[r["track_id"]] * Fraction(h["share"]) for r, h in rows]
        into_pool = 10 ** DECIMALS[agreement["currency"]] * exchange(rates, agreement["currency"], pool[2])
        share_or_rate = (
            [net * value * w for w in by_weight] if "share" in clause else [value * c * into_pool for c in by_count]
        )
        least_stream = [Fraction(clause.get("per_stream_minimum", 0)) * c * into_pool for c in by_count]
        least_head = [
            Fraction(clause.get("per_subscriber_minimum", 0)) * subscribers * w * into_pool for w in by_weight
        ]
        best = share_or_rate
        for other in (least_stream, least_head):
            if sum(other) > sum(best):
                best = other
        for (row, holder), amount in zip(rows, best, strict=True):
            status = holder.get("status", "active")
            place = f"{agreement['agreement_id']}/{row['share_type']}/{row['track_id']}"
            ends: dict[str, Fraction] = {}
            if status == "active":
                pay_down(payees, holder["payee_id"], Fraction(1), holder["payee_id"], ends, period)
            else:
                ends[holder.get("payee_id", "")] = Fraction(1)
            account = {"active": "payable", "disputed": "dispute", "unclaimed": "unclaimed"}[status]
            for chain, end in ends.items():
                exact[f"{place}/{chain}/{account}"] = amount * end
    every = sum(exact.values(), Fraction(0))
    target = every.numerator // every.denominator
    # the pool is rounded down first, then its whole units are shared in proportion
    quota = {name: amount / every * target if every else Fraction(0) for name, amount in exact.items()}
    whole = {name: part.numerator // part.denominator for name, part in quota.items()}
    left = target - sum(whole.values())
    for name in sorted(quota, key=lambda n: (whole[n] - quota[n], n))[:left]:
        whole[name] += 1
    return whole


def half_even(value: Fraction) -> int:
    down = value.numerator // value.denominator
    rest = value - down
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and down % 2):
        return down + 1
    return down


def add_month(period: str, months: int) -> str:
    year, month = int(period[:4]), int(period[5:])
    for _ in range(months):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return f"{year}-{month:02d}"


def pay_out(  # noqa: PLR0912, PLR0915 - one rule after the other
    period: str,
    lines: dict[Pool, dict[str, int]],
    book: dict[str, Any],
    rates: dict[tuple[str, str], Fraction],
    state: dict[str, Any],
    plays: list[Play],
) -> dict[tuple[str, str], int]:
    """Payable by agreement and payee; `state` (open advances and which were taken up, reserves, earned, streams) is
    carried on in place.
    """
    payable: dict[tuple[str, str], int] = {}
    for agreement in book["agreements"]:
        name = agreement["agreement_id"]
        income: dict[str, int] = {}
        held_up = 0
        sums: dict[tuple[str, bool, str], int] = {}
        for pool, rows in lines.items():
            for place, amount in rows.items():
                of, _, _, chain, account = place.split("/")
                if of == name:
                    key = (chain.split(">")[-1], account == "payable", pool[2])
                    sums[key] = sums.get(key, 0) + amount
        for (payee, is_payable, currency), amount in sums.items():
            worth = half_even(amount * exchange(rates, currency, agreement["currency"]))
            if is_payable:
                income[payee] = income.get(payee, 0) + worth
            else:
                held_up += worth
        accounting = agreement.get("accounting", [])
        rules = next((row for row in accounting if is_newest(row, accounting) and in_force(row, period)), {})
        carried = state["earned"].get(name, 0) + sum(income.values()) + held_up
        true_up = 0
        if rules.get("guarantee_minor"):
            months, month = 1, rules["valid_from"]
            while month != period:
                month, months = add_month(month, 1), months + 1
            if months % rules.get("guarantee_months", 1) == 0:
                true_up, carried = max(0, rules["guarantee_minor"] - carried), 0
            state["earned"][name] = carried
        held = [row for row in book["rights"] if in_force(row, period)]
        tracks = {r["track_id"] for r in held for h in r["holders"] if h["agreement_id"] == name}
        state["streams"][name] = state["streams"].get(name, 0) + sum(1 for play in plays if play[2] in tracks)
        for payee in [row["payee_id"] for row in book["payees"]]:
            total = income.get(payee, 0)
            reserve = Fraction(rules.get("reserve", 0)) * total
            held = reserve.numerator // reserve.denominator
            total -= held
            if payee == agreement["licensor"]:
                total += true_up
            waiting = state["reserves"].setdefault((name, payee), [])
            total += sum(amount for due, amount in waiting if due <= period)
            waiting[:] = [(due, amount) for due, amount in waiting if due > period]
            if held:
                waiting.append((add_month(period, rules["release_after_months"]), held))
            owed = state["advances"].get((name, payee), 0)
            for row in agreement.get("advances", []):
                advance = (name, row["advance_id"])
                if row["payee_id"] == payee and row["period"] <= period and advance not in state["taken"]:
                    state["taken"].add(advance)
                    owed += row["amount_minor"]
            back = min(owed, total)
            state["advances"][name, payee] = owed - back
            total -= back
            tax = Fraction(rules.get("withholding", 0)) * total
            total -= tax.numerator // tax.denominator
            if total:
                payable[name, payee] = total
    return payable
